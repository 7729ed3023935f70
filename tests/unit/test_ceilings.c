/* The kernels behind the ceilings do all the work that they are timed for, at every SIMD level. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "sable_array.h"
#include "sable_isa.h"
#include "sable_latencies.h"
#include "sable_peaks.h"
#include "sable_streams.h"

static void use_level(int level)
{
    assert_int_equal(setenv("SABLE_ISA", sable_isa_name((enum sable_isa)level), 1), 0);
    assert_int_equal(sable_isa(), level);
}

static int leave_level(void **state)
{
    (void)state;
    return unsetenv("SABLE_ISA");
}

/* ---- Peaks ---- */

static void every_level_does_each_multiply_add(void **state)
{
    (void)state;
    const int64_t steps = 12345;
    double flops;
    for (int level = 0; level <= (int)sable_isa_best(); level++) {
        use_level(level);
        for (int threads = 1; threads <= 3; threads += 2) {
            assert_true(sable_peak_fma_fp64(threads, steps, 1, 3, &flops) == 3 * (double)steps);
            double per_step = flops / (double)steps / threads;
            assert_true(per_step >= 2 * 16 && fmod(per_step, 4) == 0); /* two of each of at least 16 lanes */
            assert_true(sable_peak_ops_fp64(threads, steps, 1, 3, &flops) == 3 * (double)steps);
            assert_true(flops / (double)steps / threads == per_step);
            assert_true(sable_peak_ops_int32(threads, steps, 0, 3, &flops) == 3 * (double)steps);
            assert_true(flops / (double)steps / threads == 2 * per_step);
            assert_true(sable_peak_fma_fp32(threads, steps, 1, 3, &flops) == 3 * (double)steps);
            assert_true(flops / (double)steps / threads == 2 * per_step);
        }
        assert_true(sable_peak_fma_fp64(1, 1, 0.5, 7, &flops) != sable_peak_fma_fp64(1, 1, 1, 7, &flops));
    }
}

static void each_bf16_unit_does_each_product(void **state)
{
    (void)state;
    static const double gain[] = {[SABLE_BF16_AVX512] = 4, [SABLE_BF16_AMX] = 64};
    const int64_t steps = 1001;
    for (int unit = 0; unit < SABLE_BF16_UNITS; unit++)
        for (int threads = 1; threads <= 3; threads += 2) {
            double flops = -1, mean = sable_peak_bf16((enum sable_bf16_unit)unit, threads, steps, &flops);
            bool available = sable_bf16_available((enum sable_bf16_unit)unit);
            assert_true(mean == (available ? gain[unit] * (double)steps : 0));
            assert_true(available ? flops >= 2 * gain[unit] * 16 * (double)steps * threads : flops == 0);
        }
}

/* Distance in units in the last place of the exact value. */
static double ulps_off(float computed, double exact)
{
    return fabs((double)computed - exact) / (double)(nextafterf((float)exact, INFINITY) - (float)exact);
}

enum { ARGUMENTS = 200003 };

static void fill_arguments(float *x)
{
    for (int i = 0; i < ARGUMENTS; i++)
        x[i] = -87.3F + 175.6F * (float)i / (ARGUMENTS - 1);
}

static void exponentials_are_within_two_ulps(void **state)
{
    (void)state;
    float *x = sable_array(ARGUMENTS, 1, sizeof *x), *y = sable_array(ARGUMENTS, 1, sizeof *y);
    fill_arguments(x);
    for (int level = 0; level <= (int)sable_isa_best(); level++) {
        use_level(level);
        sable_exp_fp32(ARGUMENTS, x, y);
        double worst = 0;
        for (int i = 0; i < ARGUMENTS; i++)
            worst = fmax(worst, ulps_off(y[i], exp((double)x[i])));
        assert_true(worst <= 2);
        float special[4] = {0, NAN, -INFINITY, INFINITY}, result[4];
        sable_exp_fp32(4, special, result);
        assert_true(result[0] == 1 && isnan(result[1]));
        assert_true(result[2] > 0 && result[2] < 1e-37F && result[3] > 1e38F && result[3] < INFINITY);
    }
    sable_array_free(x);
    sable_array_free(y);
}

static void levels_with_the_same_arithmetic_give_the_same_exponentials(void **state)
{
    (void)state;
    float *x = sable_array(ARGUMENTS, 1, sizeof *x), *y = sable_array(ARGUMENTS, SABLE_ISA_COUNT, sizeof *y);
    fill_arguments(x);
    for (int level = 0; level <= (int)sable_isa_best(); level++) {
        use_level(level);
        sable_exp_fp32(ARGUMENTS, x, y + (int64_t)level * ARGUMENTS);
    }
    static const int pair[2][2] = {{SABLE_ISA_BASE, SABLE_ISA_V2}, {SABLE_ISA_V3, SABLE_ISA_V4}};
    for (int p = 0; p < 2; p++)
        if (pair[p][1] <= (int)sable_isa_best())
            assert_memory_equal(y + (int64_t)pair[p][0] * ARGUMENTS, y + (int64_t)pair[p][1] * ARGUMENTS,
                                ARGUMENTS * sizeof *y);
    sable_array_free(x);
    sable_array_free(y);
}

static void timed_exponentials_have_the_right_mean(void **state)
{
    (void)state;
    for (int level = 0; level <= (int)sable_isa_best(); level++) {
        use_level(level);
        assert_true(fabs(sable_peak_exp_fp32(3, 2) - (1 - exp(-1))) < 1e-6);
        assert_true(sable_peak_exp_fp32(1, 0) == 0); /* no pass, no work: the mean shows it */
    }
}

static void barriers_order_writes_before_reads(void **state)
{
    (void)state;
    for (int threads = 1; threads <= 3; threads += 2)
        assert_int_equal(sable_peak_barriers(threads, 500), threads * 500);
}

/* ---- Streams ---- */

enum { DOUBLES = 37 * SABLE_STREAM_BLOCK };

static uint64_t bits_of(double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

/* Runs check(threads, route, x, y, z) at every level, with 1 and 3 threads and on both routes. */
static void with_arrays(void (*check)(int, enum sable_route, double *, double *, double *))
{
    double *x = sable_array(DOUBLES, 3, sizeof *x), *y = x + DOUBLES, *z = y + DOUBLES;
    assert_non_null(x);
    for (int level = 0; level <= (int)sable_isa_best(); level++)
        for (int threads = 1; threads <= 3; threads += 2)
            for (int route = SABLE_ROUTE_CACHED; route <= SABLE_ROUTE_STREAMING; route++) {
                use_level(level);
                for (int i = 0; i < DOUBLES; i++) {
                    x[i] = 1.0 / (i + 1);
                    z[i] = i * 0.1;
                    y[i] = -1;
                }
                check(threads, (enum sable_route)route, x, y, z);
            }
    sable_array_free(x);
}

static void check_read(int threads, enum sable_route route, double *x, double *y, double *z)
{
    (void)y, (void)z;
    uint64_t expected = 0;
    for (int i = 0; i < DOUBLES; i++)
        expected += bits_of(x[i]);
    assert_true(sable_stream_read(threads, DOUBLES, 3, route, x) == 3 * expected);
}

static void check_copy(int threads, enum sable_route route, double *x, double *y, double *z)
{
    double beyond = z[0]; /* z follows y */
    sable_stream_copy(threads, DOUBLES, 1, route, x, y);
    assert_memory_equal(x, y, DOUBLES * sizeof *x);
    assert_true(z[0] == beyond);
}

static void check_triad(int threads, enum sable_route route, double *x, double *y, double *z)
{
    sable_stream_triad(threads, DOUBLES, 1, route, 3, x, z, y);
    for (int i = 0; i < DOUBLES; i++) {
        double product = 3 * z[i];
        assert_true(y[i] == x[i] + product);
    }
}

static void reading_sums_every_word(void **state)
{
    (void)state;
    with_arrays(check_read);
}

static void copying_copies_every_word_and_no_other(void **state)
{
    (void)state;
    with_arrays(check_copy);
}

static void triads_write_the_same_bits_at_every_level(void **state)
{
    (void)state;
    with_arrays(check_triad);
}

static void filling_reaches_every_word(void **state)
{
    (void)state;
    double *x = sable_array(DOUBLES, 1, sizeof *x);
    memset(x, 0, DOUBLES * sizeof *x);
    sable_stream_fill(3, DOUBLES, 2.5, x);
    for (int i = 0; i < DOUBLES; i++)
        assert_true(x[i] == 2.5);
    sable_array_free(x);
}

/* ---- Random access ---- */

static void gathers_read_what_the_index_names(void **state)
{
    (void)state;
    enum { WORDS = 1 << 12, COUNT = 5001, FIRST = 77 };
    uint64_t *table = sable_array(WORDS, 1, sizeof *table);
    for (int threads = 1; threads <= 3; threads += 2) {
        sable_gather_fill(threads, WORDS, table);
        uint64_t expected = 0;
        for (uint32_t i = 0; i < (uint32_t)(threads * COUNT); i++)
            expected += sable_gather_index(FIRST + i) & (WORDS - 1);
        for (int level = 0; level <= (int)sable_isa_best(); level++) {
            use_level(level);
            assert_true(sable_gather(threads, WORDS, FIRST, COUNT, table) == expected);
        }
    }
    sable_array_free(table);
}

static void listed_gathers_read_every_line_as_often(void **state)
{
    (void)state;
    enum { WORDS = 1 << 15, PLACES = WORDS / 8 };
    uint64_t *table = sable_array(WORDS, 1, sizeof *table);
    uint32_t *place = sable_array(PLACES, 1, sizeof *place);
    int seen[WORDS / 8] = {0};
    sable_gather_fill(3, WORDS, table);
    sable_gather_list(3, WORDS, PLACES, place);
    uint64_t whole = 0;
    for (int i = 0; i < PLACES; i++) {
        assert_true(place[i] < WORDS);
        assert_int_equal(seen[place[i] / 8]++, 0);
        whole += place[i];
    }
    for (int level = 0; level <= (int)sable_isa_best(); level++) {
        use_level(level);
        for (int wide = 0; wide <= 1; wide++) {
            assert_true(sable_gather_listed(1, PLACES, SABLE_GATHER_RUN, PLACES, wide, place, table) == whole);
            assert_true(sable_gather_listed(2, PLACES, 0, PLACES / 2, wide, place, table) == whole);
        }
    }
    sable_array_free(place);
    sable_array_free(table);
}

static void gather_indices_spread_evenly(void **state)
{
    (void)state;
    enum { BINS = 256, DRAWS = 1 << 16 };
    int seen[BINS] = {0};
    for (uint32_t i = 0; i < DRAWS; i++)
        seen[sable_gather_index(i) & (BINS - 1)]++;
    double chi_square = 0, expected = (double)DRAWS / BINS;
    for (int b = 0; b < BINS; b++)
        chi_square += (seen[b] - expected) * (seen[b] - expected) / expected;
    assert_true(chi_square < BINS - 1 + 5 * sqrt(2.0 * (BINS - 1))); /* mean and five standard deviations */
}

static void the_chase_visits_the_whole_cycle(void **state)
{
    (void)state;
    enum { MOST_BITS = 13 };
    struct sable_chase_node *table = sable_array(1 << MOST_BITS, 1, sizeof *table);
    for (int bits = 0; bits <= MOST_BITS; bits++)
        for (int threads = 1; threads <= 3; threads += 2) {
            int64_t n = INT64_C(1) << bits, steps = 0;
            sable_chase_link(threads, n, 5, table);
            const struct sable_chase_node *at = table;
            do {
                at = at->next;
                steps++;
            } while (at != table && steps <= n);
            assert_true(steps == n);
            assert_true(sable_chase(1, n, n - 1, n, table) == n - 1); /* once around */
            int64_t next = table->next - table;
            assert_true(sable_chase(1, n, 0, 1, table) == next);
        }
    sable_array_free(table);
}

static void the_chase_is_not_sequential(void **state)
{
    (void)state;
    enum { NODES = 1 << 12 };
    struct sable_chase_node *table = sable_array(NODES, 1, sizeof *table);
    sable_chase_link(1, NODES, 5, table);
    int near = 0;
    for (int64_t i = 0; i < NODES; i++)
        near += llabs(table[i].next - &table[i]) <= 8;
    assert_true(near < 50); /* 16 expected: 17 of 4096 neighbours for each node, itself excluded */
    sable_array_free(table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(every_level_does_each_multiply_add, leave_level),
        cmocka_unit_test(each_bf16_unit_does_each_product),
        cmocka_unit_test_teardown(exponentials_are_within_two_ulps, leave_level),
        cmocka_unit_test_teardown(levels_with_the_same_arithmetic_give_the_same_exponentials, leave_level),
        cmocka_unit_test_teardown(timed_exponentials_have_the_right_mean, leave_level),
        cmocka_unit_test(barriers_order_writes_before_reads),
        cmocka_unit_test_teardown(reading_sums_every_word, leave_level),
        cmocka_unit_test_teardown(copying_copies_every_word_and_no_other, leave_level),
        cmocka_unit_test_teardown(triads_write_the_same_bits_at_every_level, leave_level),
        cmocka_unit_test(filling_reaches_every_word),
        cmocka_unit_test_teardown(gathers_read_what_the_index_names, leave_level),
        cmocka_unit_test_teardown(listed_gathers_read_every_line_as_often, leave_level),
        cmocka_unit_test(gather_indices_spread_evenly),
        cmocka_unit_test(the_chase_visits_the_whole_cycle),
        cmocka_unit_test(the_chase_is_not_sequential),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
