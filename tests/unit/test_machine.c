/* What is told of machines: limits of cgroups on made-up files, facts of several hosts, and the description and
 * sampling of whatever machine the test runs on. */
#define _XOPEN_SOURCE 700 /* nftw */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "cgroup.h"
#include "machine.h"
#include "provenance.h"
#include "variety.h"

/* ---- Limits of cgroups, from made-up files ---- */

enum { PATH_SIZE = 256 };
static char made_up[PATH_SIZE];

static void put(const char *name, const char *text)
{
    char path[2 * PATH_SIZE];
    snprintf(path, sizeof path, "%s/%s", made_up, name);
    for (char *slash = path + strlen(made_up) + 1; (slash = strchr(slash, '/')); *slash++ = '/') {
        *slash = '\0';
        mkdir(path, 0700);
    }
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0 && fclose(file) == 0);
}

static struct sable_cgroup read_made_up(void)
{
    char groups[2 * PATH_SIZE];
    snprintf(groups, sizeof groups, "%s/groups", made_up);
    return sable_cgroup_read(groups, made_up);
}

static int make_folder(void **state)
{
    (void)state;
    const char *folder = getenv("TMPDIR");
    snprintf(made_up, sizeof made_up, "%.200s/sable-cgroup-XXXXXX", folder ? folder : "/tmp");
    return mkdtemp(made_up) ? 0 : -1;
}

static int remove_entry(const char *path, const struct stat *status, int type, struct FTW *walk)
{
    (void)status, (void)type, (void)walk;
    return remove(path);
}

static int remove_folder(void **state)
{
    (void)state;
    return nftw(made_up, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

static void the_strictest_cgroup_above_counts(void **state)
{
    (void)state;
    put("groups", "0::/job/step/task\n");
    put("job/memory.max", "3000\n");
    put("job/memory.current", "2900\n");
    put("job/memory.stat", "anon 1\ninactive_file 400\n");
    put("job/cpu.max", "150000 100000\n");
    put("job/step/memory.max", "2000\n");
    put("job/step/memory.current", "100\n");
    put("job/step/cpu.max", "max 100000\n");
    put("job/step/task/memory.max", "max\n");
    struct sable_cgroup limits = read_made_up();
    assert_true(limits.memory == 2000);
    assert_true(limits.memory_left == 500); /* of the job: 3000 - 2900 and what can be reclaimed */
    assert_true(limits.cpus == 1.5);
}

static void cgroups_of_version_1_are_read(void **state)
{
    (void)state;
    put("groups", "5:cpuacct,cpu:/docker/abc\n4:memory:/docker/abc\n1:name=systemd:/\n0::/\n");
    put("cpu/docker/abc/cpu.cfs_quota_us", "-1\n");
    put("cpu/docker/abc/cpu.cfs_period_us", "100000\n");
    put("memory/docker/abc/memory.limit_in_bytes", "9223372036854771712\n");
    put("memory/docker/abc/memory.usage_in_bytes", "5\n");
    struct sable_cgroup limits = read_made_up();
    assert_true(isinf(limits.cpus) && isinf(limits.memory) && isinf(limits.memory_left));
    put("cpu/cpu.cfs_quota_us", "50000\n"); /* a container sees its own group as the root */
    put("cpu/cpu.cfs_period_us", "100000\n");
    put("memory/docker/abc/memory.limit_in_bytes", "1000\n");
    put("memory/docker/abc/memory.usage_in_bytes", "1001\n");
    limits = read_made_up();
    assert_true(limits.cpus == 0.5 && limits.memory == 1000 && limits.memory_left == 0);
}

/* ---- Facts ---- */

static void hosts_that_agree_are_described_once(void **state)
{
    (void)state;
    struct sable_variety all = {0}, host = sable_variety_of("fast");
    char text[200];
    for (int h = 0; h < 3; h++)
        sable_variety_merge(&host, &all);
    sable_variety_write(&all, sizeof text, text);
    assert_string_equal(text, "fast");
    host = sable_variety_of("a slow one");
    sable_variety_merge(&host, &all);
    sable_variety_write(&all, sizeof text, text);
    assert_string_equal(text, "a slow one (1 host); fast (3 hosts)");
}

static void every_host_is_counted_whatever_the_order_of_merging(void **state)
{
    (void)state;
    struct sable_variety left = {0}, right = {0}, ab, ba;
    for (int h = 0; h < 10; h++) {
        char name[8];
        snprintf(name, sizeof name, "kind%d", h % 7);
        struct sable_variety host = sable_variety_of(name);
        sable_variety_merge(&host, h < 4 ? &left : &right);
    }
    ab = right, ba = left;
    sable_variety_merge(&left, &ab);
    sable_variety_merge(&right, &ba);
    int hosts_ab = ab.others, hosts_ba = ba.others;
    for (int k = 0; k < SABLE_VARIETY_KINDS; k++) {
        hosts_ab += ab.kind[k].hosts;
        hosts_ba += ba.kind[k].hosts;
        assert_true(k == 0 || strcmp(ab.kind[k - 1].text, ab.kind[k].text) < 0);
    }
    assert_true(ab.kinds == SABLE_VARIETY_KINDS && ab.others > 0);
    assert_int_equal(hosts_ab, 10);
    assert_int_equal(hosts_ba, 10);
}

static void a_fact_is_one_line_of_plain_text(void **state)
{
    (void)state;
    static struct sable_machine machine;
    machine.facts = 0;
    sable_add_fact(&machine, "name", "%s", "tab\there, \xc3\xa9\nsecond line");
    assert_string_equal(machine.fact[0].text, "tab?here, ??");
}

/* ---- This machine ---- */

static double seconds_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static void disturbance_never_decreases_and_costs_little(void **state)
{
    (void)state;
    struct sable_disturbance before, after;
    double least = INFINITY;
    sable_disturbance_sample(&before);
    for (int i = 0; i < 20; i++) {
        double start = seconds_now();
        sable_disturbance_sample(&after);
        least = fmin(least, seconds_now() - start);
        assert_true(after.steal_seconds >= before.steal_seconds);
        assert_true(after.involuntary_switches >= before.involuntary_switches);
        assert_true(after.peak_rss >= before.peak_rss && after.peak_rss > 1 << 20);
#if defined(__x86_64__) || defined(__aarch64__)
        assert_true(after.clock_ghz > 0.3 && after.clock_ghz < 10);
#else
        assert_true(isnan(after.clock_ghz));
#endif
        before = after;
    }
    assert_true(least < 200e-6);
}

static const char *find_fact(const struct sable_machine *machine, const char *name)
{
    for (int i = 0; i < machine->facts; i++)
        if (strcmp(machine->fact[i].name, name) == 0)
            return machine->fact[i].text;
    return NULL;
}

static void this_machine_is_described(void **state)
{
    (void)state;
    enum { THREADS = 2 };
    static const char *const expected[] = {"hosts", "cpu_model", "cores", "memory", "mpi_library", "compiler", "simd"};
    struct sable_error error = {0};
    static struct sable_machine machine;
    int rank, ranks;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    assert_int_equal(sable_machine_describe(MPI_COMM_WORLD, THREADS, &machine, &error), SABLE_OK);
    assert_true(machine.hosts >= 1 && machine.memory_available > 0);
    assert_int_equal(machine.bindings, rank == 0 ? ranks * THREADS : 0);
    for (size_t i = 0; i < sizeof expected / sizeof *expected && rank == 0; i++)
        assert_non_null(find_fact(&machine, expected[i]));
    for (int i = 0; i < machine.facts; i++) /* names become attributes of one HDF5 group */
        assert_ptr_equal(find_fact(&machine, machine.fact[i].name), machine.fact[i].text);
    for (int64_t i = 0; i < machine.bindings; i++) {
        assert_int_equal(machine.binding[i].rank, i / THREADS);
        assert_int_equal(machine.binding[i].thread, i % THREADS);
        assert_true(machine.binding[i].host[0] && machine.binding[i].cpuset[0]);
    }
    sable_machine_free(&machine);
}

static void secrets_and_foreign_variables_are_not_published(void **state)
{
    (void)state;
    static struct sable_machine machine;
    setenv("SLURM_JOB_ID", "77", 1);
    setenv("SLURM_JWT", "hidden", 1);
    setenv("OMPI_MCA_orte_precondition_transports", "hidden", 1);
    setenv("UCX_TLS", "tcp\nhidden", 1);
    setenv("PATH_OF_MINE", "hidden", 1);
    machine.facts = 0;
    sable_describe_environment(&machine);
    assert_string_equal(find_fact(&machine, "SLURM_JOB_ID"), "77");
    assert_string_equal(find_fact(&machine, "UCX_TLS"), "tcp");
    for (int i = 0; i < machine.facts; i++)
        assert_null(strstr(machine.fact[i].text, "hidden"));
}

static void variables_beyond_the_room_are_counted(void **state)
{
    (void)state;
    static struct sable_machine machine;
    const int room = sizeof machine.fact / sizeof *machine.fact;
    for (int i = 0; i < room; i++) {
        char name[32];
        snprintf(name, sizeof name, "SLURM_TEST_%d", i);
        setenv(name, "x", 1);
    }
    machine.facts = 0;
    sable_describe_environment(&machine);
    assert_int_equal(machine.facts, room);
    assert_string_equal(machine.fact[room - 1].name, "environment_left_out");
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_strictest_cgroup_above_counts, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(cgroups_of_version_1_are_read, make_folder, remove_folder),
        cmocka_unit_test(hosts_that_agree_are_described_once),
        cmocka_unit_test(every_host_is_counted_whatever_the_order_of_merging),
        cmocka_unit_test(a_fact_is_one_line_of_plain_text),
        cmocka_unit_test(disturbance_never_decreases_and_costs_little),
        cmocka_unit_test(this_machine_is_described),
        cmocka_unit_test(secrets_and_foreign_variables_are_not_published),
        cmocka_unit_test(variables_beyond_the_room_are_counted),
    };
    int provided;
    MPI_Init_thread(&argc, &argv, MPI_THREAD_FUNNELED, &provided);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    MPI_Finalize();
    return failed;
}
