/* Binding and its judgement on synthetic topologies, where every answer is known; sampling and describing on whatever
 * machine the test runs. */
#define _XOPEN_SOURCE 700 /* nftw */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <ftw.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "binding.h"
#include "cgroup.h"
#include "provenance.h"
#include "variety.h"

static double seconds_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* ---- Cpusets as text ---- */

static void a_cpuset_is_read_as_it_was_written(void **state)
{
    (void)state;
    static const char *const texts[] = {"0", "0-3", "0-3,8", "1,3,5-7,16383"};
    hwloc_cpuset_t set = hwloc_bitmap_alloc();
    char written[SABLE_CPUSET_SIZE];
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        assert_int_equal(sable_cpuset_parse(texts[i], set), 0);
        sable_cpuset_format(set, written);
        assert_string_equal(written, texts[i]);
    }
    hwloc_bitmap_free(set);
}

static void what_is_no_cpuset_is_refused(void **state)
{
    (void)state;
    static const char *const texts[] = {"",     "?",   "-1",   "1-", "3-1",   "a",
                                        "1,,2", "1, ", "0-3 ", "0,", "1-2-3", "0-99999999999999999999"};
    hwloc_cpuset_t set = hwloc_bitmap_alloc();
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        assert_int_equal(sable_cpuset_parse(texts[i], set), -1);
    hwloc_bitmap_free(set);
}

static void a_set_too_long_to_write_is_cut_behind_a_number_and_read_as_unknown(void **state)
{
    (void)state;
    hwloc_cpuset_t set = hwloc_bitmap_alloc();
    char text[SABLE_CPUSET_SIZE];
    for (unsigned cpu = 100; cpu < 500; cpu += 2)
        hwloc_bitmap_set(set, cpu);
    sable_cpuset_format(set, text);
    assert_true(strlen(text) < SABLE_CPUSET_SIZE);
    assert_int_equal(strncmp(text, "100,102,104,", 12), 0);
    assert_int_equal((strlen(text) - strlen(",...")) % 4, 3); /* whole numbers of three digits */
    assert_string_equal(text + strlen(text) - 4, ",...");
    assert_int_equal(sable_cpuset_parse(text, set), -1);
    hwloc_bitmap_zero(set);
    sable_cpuset_format(set, text);
    assert_string_equal(text, "?");
    hwloc_bitmap_free(set);
}

/* ---- Dealing out: two packages of four cores of two hardware threads, numbered core by core ---- */

enum { PROCESSORS = 16, MOST_PLACES = 32 };

static hwloc_topology_t synthetic(const char *description)
{
    hwloc_topology_t topology;
    assert_int_equal(hwloc_topology_init(&topology), 0);
    assert_int_equal(hwloc_topology_set_synthetic(topology, description), 0);
    assert_int_equal(hwloc_topology_load(topology), 0);
    return topology;
}

static int load_two_packages(void **state)
{
    *state = synthetic("package:2 core:4 pu:2");
    return 0;
}

static int destroy(void **state)
{
    hwloc_topology_destroy(*state);
    return 0;
}

/* Deals to ranks that were given the low 64 bits of `given`. */
static void deal(hwloc_topology_t topology, const unsigned long given[], int ranks, int threads, unsigned long place[])
{
    static struct sable_mask from[MOST_PLACES], to[MOST_PLACES];
    memset(from, 0, sizeof from);
    for (int r = 0; r < ranks; r++)
        from[r].word[0] = given[r];
    sable_deal_processors(topology, from, ranks, threads, to);
    for (int i = 0; i < ranks * threads; i++)
        place[i] = to[i].word[0];
}

static void places_are_apart(const unsigned long place[], int count, int size)
{
    unsigned long taken = 0;
    for (int i = 0; i < count; i++) {
        assert_int_equal(__builtin_popcountl(place[i]), size);
        assert_true((taken & place[i]) == 0);
        taken |= place[i];
    }
}

static void ranks_given_the_same_processors_get_cores_of_their_own(void **state)
{
    static const unsigned long given[] = {0xffff, 0xffff, 0xffff, 0xffff};
    unsigned long place[MOST_PLACES];
    deal(*state, given, 4, 2, place);
    places_are_apart(place, 8, 2);
    assert_true(place[0] == 0x3 && place[7] == 0xc000); /* in the order of ranks */
}

static void hardware_threads_are_dealt_out_when_cores_run_out(void **state)
{
    static const unsigned long given[] = {0xffff, 0xffff, 0xffff, 0xffff};
    unsigned long place[MOST_PLACES];
    deal(*state, given, 4, 4, place);
    places_are_apart(place, 16, 1);
    deal(*state, given, 3, 3, place);
    places_are_apart(place, 9, 1);
}

static void nobody_is_bound_where_threads_outnumber_processors(void **state)
{
    static const unsigned long given[] = {0xff, 0xff, 0xff};
    unsigned long place[MOST_PLACES];
    deal(*state, given, 3, 3, place); /* nine threads on eight processors */
    for (int i = 0; i < 9; i++)
        assert_true(place[i] == 0);
}

static void few_threads_are_spread_over_the_packages(void **state)
{
    static const unsigned long given[] = {0xffff};
    unsigned long place[MOST_PLACES];
    deal(*state, given, 1, 2, place);
    assert_true(place[0] == 0x0003 && place[1] == 0x0300);
}

static void a_rank_stays_in_the_set_of_its_launcher(void **state)
{
    static const unsigned long given[] = {0x000f, 0x00f0, 0x5500}; /* the last: one hardware thread of four cores */
    unsigned long place[MOST_PLACES];
    deal(*state, given, 3, 2, place);
    assert_true(place[0] == 0x3 && place[1] == 0xc);
    assert_true(place[2] == 0x30 && place[3] == 0xc0);
    assert_true(place[4] == 0x100 && place[5] == 0x1000);
}

static void sets_that_overlap_otherwise_are_left_alone(void **state)
{
    static const unsigned long given[] = {0x00ff, 0x000f, 0xff00};
    unsigned long place[MOST_PLACES];
    deal(*state, given, 3, 1, place);
    assert_true(place[0] == 0 && place[1] == 0);
    assert_true(place[2] == 0x0300);
}

static void a_rank_that_wants_no_binding_gets_none_and_hinders_nobody(void **state)
{
    static const unsigned long given[] = {0, 0xffff, 0xffff};
    unsigned long place[MOST_PLACES];
    deal(*state, given, 3, 1, place);
    assert_true(place[0] == 0);
    places_are_apart(place + 1, 2, 2);
}

/* ---- The guard ---- */

static char guard[SABLE_REASON_SIZE], notice[SABLE_REASON_SIZE];

/* Judges one thread on each of the cpusets, on a host with no limit of its cgroup. */
static void judge(hwloc_topology_t topology, int count, const char *const cpusets[])
{
    struct sable_binding binding[MOST_PLACES] = {0};
    for (int i = 0; i < count; i++) {
        binding[i] = (struct sable_binding){.rank = i, .host = "node7"};
        snprintf(binding[i].cpuset, SABLE_CPUSET_SIZE, "%s", cpusets[i]);
    }
    sable_binding_judge(topology, binding, count, INFINITY, "bind them", guard, notice);
}

static void threads_on_cores_of_their_own_are_trusted(void **state)
{
    judge(*state, 3, (const char *const[]){"0-1", "2-3", "14"});
    assert_string_equal(guard, "");
    assert_string_equal(notice, "");
}

static void two_threads_on_one_processor_are_not_trusted(void **state)
{
    judge(*state, 3, (const char *const[]){"0", "5", "5"});
    assert_non_null(strstr(guard, "2 threads share 1 of the 16 processors of node7 (5)"));
    assert_non_null(strstr(guard, "bind them"));
}

static void sets_that_hold_more_threads_than_processors_are_not_trusted(void **state)
{
    judge(*state, 3,
          (const char *const[]){"0-1", "0", "0-1"}); /* no two of them are equal and too full by themselves */
    assert_non_null(strstr(guard, "3 threads share 2"));
    judge(*state, 2, (const char *const[]){"0-1", "0"});
    assert_string_equal(guard, "");
}

static void more_threads_than_processors_are_not_trusted(void **state)
{
    const char *cpusets[PROCESSORS + 1];
    for (int i = 0; i <= PROCESSORS; i++)
        cpusets[i] = "0-15";
    judge(*state, PROCESSORS + 1, cpusets);
    assert_non_null(strstr(guard, "node7 runs 17 threads on 16 processors"));
    judge(*state, PROCESSORS, cpusets);
    assert_string_equal(guard, "");
    cpusets[0] = cpusets[1] = "0"; /* as many processors as threads, but badly shared out: more are no remedy */
    judge(*state, PROCESSORS, cpusets);
    assert_non_null(strstr(guard, "bind them"));
}

static void threads_that_share_a_core_are_noticed(void **state)
{
    judge(*state, 2, (const char *const[]){"6", "7"});
    assert_string_equal(guard, "");
    assert_non_null(strstr(notice, "2 threads share 1 cores"));
}

static void unbound_threads_are_noticed(void **state)
{
    judge(*state, 2, (const char *const[]){"0-15", "2-3"});
    assert_string_equal(guard, "");
    assert_non_null(strstr(notice, "1 of 2 threads of node7 are not bound"));
}

static void an_unknown_set_is_no_offence(void **state)
{
    judge(*state, 3, (const char *const[]){"?", "0,2,4,...", "?"});
    assert_string_equal(guard, "");
    assert_non_null(strstr(notice, "3 of 3 threads"));
}

static void more_threads_than_a_cgroup_grants_time_are_not_trusted(void **state)
{
    struct sable_binding binding[2] = {{0, 0, "node7", "0"}, {0, 1, "node7", "2"}};
    sable_binding_judge(*state, binding, 2, 1.5, "bind them", guard, notice);
    assert_non_null(strstr(guard, "limited to 1.5 processors"));
    sable_binding_judge(*state, binding, 2, 2, "bind them", guard, notice);
    assert_string_equal(guard, "");
}

static void sixteen_thousand_threads_are_judged_at_once(void **state)
{
    (void)state;
    enum { THREADS = 4096 * 4, ON_HOST = 256 };
    hwloc_topology_t topology = synthetic("package:2 core:64 pu:2");
    struct sable_binding *binding = calloc(THREADS, sizeof *binding);
    assert_non_null(binding);
    for (int i = 0; i < THREADS; i++) {
        binding[i] = (struct sable_binding){.rank = i / 4, .thread = i % 4, .host = "big"};
        snprintf(binding[i].cpuset, SABLE_CPUSET_SIZE, "%d", i % ON_HOST);
    }
    double start = seconds_now();
    for (int first = 0; first < THREADS; first += ON_HOST) {
        sable_binding_judge(topology, binding + first, ON_HOST, INFINITY, "bind them", guard, notice);
        assert_string_equal(guard, "");
    }
    sable_binding_judge(topology, binding, THREADS, INFINITY, "bind them", guard, notice);
    assert_non_null(strstr(guard, "16384 threads on 256 processors"));
    assert_true(seconds_now() - start < 5);
    free(binding);
    hwloc_topology_destroy(topology);
}

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

static void only_known_values_of_sable_bind_pass(void **state)
{
    (void)state;
    static const char *const good[] = {"", "none", "cores", "auto"}, *const bad[] = {"core", "NONE", "1", "none "};
    for (int i = 0; i < 4; i++) {
        struct sable_error error = {0};
        setenv("SABLE_BIND", good[i], 1);
        assert_int_equal(sable_bind_check(&error), SABLE_OK);
        setenv("SABLE_BIND", bad[i], 1);
        assert_int_equal(sable_bind_check(&error), SABLE_BAD_INPUT);
        assert_non_null(strstr(error.text, bad[i]));
    }
    unsetenv("SABLE_BIND");
    struct sable_error error = {0};
    assert_int_equal(sable_bind_check(&error), SABLE_OK);
}

static int count_processors(struct sable_mask mask)
{
    int count = 0;
    for (int w = 0; w < SABLE_MASK_WORDS; w++)
        count += __builtin_popcountl(mask.word[w]);
    return count;
}

/* How many processors the freest thread of a team has after binding. */
static int most_processors_of_a_thread_after_binding(const char *request, int threads)
{
    int most = 0;
    setenv("SABLE_BIND", request, 1);
    sable_bind_threads(MPI_COMM_WORLD, threads);
    unsetenv("SABLE_BIND");
#pragma omp parallel num_threads(threads) reduction(max : most)
    most = count_processors(sable_mask_of_thread());
    return most;
}

static void binding_narrows_threads_to_a_core_unless_told_not_to(void **state)
{
    (void)state;
    int before = count_processors(sable_mask_of_thread()), ranks;
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    if (before < 2 * ranks)
        skip(); /* under a launcher that binds, or a machine too small */
    assert_int_equal(most_processors_of_a_thread_after_binding("none", 2), before);
    int after = most_processors_of_a_thread_after_binding("cores", 2);
    assert_true(after < before);
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
#define ON_TWO_PACKAGES(test) cmocka_unit_test_setup_teardown(test, load_two_packages, destroy)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_cpuset_is_read_as_it_was_written),
        cmocka_unit_test(what_is_no_cpuset_is_refused),
        cmocka_unit_test(a_set_too_long_to_write_is_cut_behind_a_number_and_read_as_unknown),
        ON_TWO_PACKAGES(ranks_given_the_same_processors_get_cores_of_their_own),
        ON_TWO_PACKAGES(hardware_threads_are_dealt_out_when_cores_run_out),
        ON_TWO_PACKAGES(nobody_is_bound_where_threads_outnumber_processors),
        ON_TWO_PACKAGES(few_threads_are_spread_over_the_packages),
        ON_TWO_PACKAGES(a_rank_stays_in_the_set_of_its_launcher),
        ON_TWO_PACKAGES(sets_that_overlap_otherwise_are_left_alone),
        ON_TWO_PACKAGES(a_rank_that_wants_no_binding_gets_none_and_hinders_nobody),
        ON_TWO_PACKAGES(threads_on_cores_of_their_own_are_trusted),
        ON_TWO_PACKAGES(two_threads_on_one_processor_are_not_trusted),
        ON_TWO_PACKAGES(sets_that_hold_more_threads_than_processors_are_not_trusted),
        ON_TWO_PACKAGES(more_threads_than_processors_are_not_trusted),
        ON_TWO_PACKAGES(threads_that_share_a_core_are_noticed),
        ON_TWO_PACKAGES(unbound_threads_are_noticed),
        ON_TWO_PACKAGES(an_unknown_set_is_no_offence),
        ON_TWO_PACKAGES(more_threads_than_a_cgroup_grants_time_are_not_trusted),
        cmocka_unit_test(sixteen_thousand_threads_are_judged_at_once),
        cmocka_unit_test_setup_teardown(the_strictest_cgroup_above_counts, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(cgroups_of_version_1_are_read, make_folder, remove_folder),
        cmocka_unit_test(hosts_that_agree_are_described_once),
        cmocka_unit_test(every_host_is_counted_whatever_the_order_of_merging),
        cmocka_unit_test(a_fact_is_one_line_of_plain_text),
        cmocka_unit_test(only_known_values_of_sable_bind_pass),
        cmocka_unit_test(disturbance_never_decreases_and_costs_little),
        cmocka_unit_test(this_machine_is_described),
        cmocka_unit_test(secrets_and_foreign_variables_are_not_published),
        cmocka_unit_test(variables_beyond_the_room_are_counted),
        cmocka_unit_test(binding_narrows_threads_to_a_core_unless_told_not_to), /* last: it stays bound */
    };
    int provided;
    MPI_Init_thread(&argc, &argv, MPI_THREAD_FUNNELED, &provided);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    MPI_Finalize();
    return failed;
}
