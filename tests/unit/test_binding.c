/* Binding and its judgement, on synthetic topologies where every answer is known, and of the test's own threads. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "binding.h"

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
    judge(*state, 3, (const char *const[]){"0-1", "0", "0-1"}); /* neither set is too full by its own threads */
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

/* ---- This process ---- */

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
        cmocka_unit_test(only_known_values_of_sable_bind_pass),
        cmocka_unit_test(binding_narrows_threads_to_a_core_unless_told_not_to), /* last: it stays bound */
    };
    int provided;
    MPI_Init_thread(&argc, &argv, MPI_THREAD_FUNNELED, &provided);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    MPI_Finalize();
    return failed;
}
