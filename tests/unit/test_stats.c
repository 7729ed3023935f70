/* Statistics against published tables: Le Boudec, table of order-statistics intervals at 95 %. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "stats.h"

static void interval_of_n_is(size_t n, double low, double high)
{
    double values[1000];
    for (size_t i = 0; i < n; i++)
        values[i] = (double)(n - i); /* 1 … n, unsorted */
    struct sable_interval interval = sable_median_interval(values, n);
    assert_true(interval.exists);
    assert_true(interval.low == low);
    assert_true(interval.high == high);
}

static void interval_of_the_median_matches_the_table(void **state)
{
    (void)state;
    interval_of_n_is(6, 1, 6);
    interval_of_n_is(8, 1, 8);
    interval_of_n_is(10, 2, 9);
    interval_of_n_is(20, 6, 15);
    interval_of_n_is(50, 18, 33);
    interval_of_n_is(100, 40, 61);
}

static void no_interval_exists_below_six(void **state)
{
    (void)state;
    double values[5] = {3, 1, 2, 5, 4};
    struct sable_interval interval = sable_median_interval(values, 5);
    assert_false(interval.exists);
    assert_true(interval.mid == 3 && interval.low == 1 && interval.high == 5);
}

static void quantiles_interpolate(void **state)
{
    (void)state;
    double values[4] = {4, 1, 3, 2};
    assert_true(sable_quantile(values, 4, 0) == 1);
    assert_true(sable_quantile(values, 4, 0.5) == 2.5);
    assert_true(sable_quantile(values, 4, 1) == 4);
    assert_true(isnan(sable_quantile(values, 0, 0.5)));
}

static void ratio_cancels_a_common_mood(void **state)
{
    (void)state;
    double a[20], b[20];
    for (int i = 0; i < 20; i++) {
        b[i] = 1 + 0.5 * (i % 7); /* the machine's mood: up to 4 × */
        a[i] = 1.1 * b[i];
    }
    struct sable_interval ratio = sable_ratio_interval(a, b, 20);
    assert_true(fabs(ratio.mid - 1.1) < 1e-12 && ratio.high - ratio.low < 1e-12);
}

static void ratio_of_independent_launches_adds_in_squares(void **state)
{
    (void)state;
    double a[50], b[50];
    for (int i = 0; i < 50; i++) { /* scattered, so that signs about the median do not follow each other */
        int k = (i * 17) % 50;
        b[i] = exp(0.001 * k);
        a[i] = 1.08 * exp(0.001 * ((i * 23) % 50));
    }
    struct sable_interval one = sable_median_interval(b, 50), ratio = sable_independent_ratio(a, 50, b, 50);
    double below = log(one.mid / one.low), above = log(one.high / one.mid);
    assert_true(ratio.exists);
    assert_true(fabs(ratio.mid - 1.08) < 1e-12);
    assert_true(fabs(log(ratio.mid / ratio.low) - hypot(below, above)) < 1e-12);
    assert_true(fabs(log(ratio.high / ratio.mid) - hypot(below, above)) < 1e-12);
}

static void slow_repetitions_that_follow_each_other_widen_the_interval(void **state)
{
    (void)state;
    double drifting[60], scattered[60], base[60];
    for (int i = 0; i < 60; i++) {
        base[i] = 1;
        scattered[i] = 1 + 0.001 * ((i * 17) % 60);
        drifting[i] = 1 + 0.001 * i;
    }
    struct sable_interval wide = sable_independent_ratio(drifting, 60, base, 60);
    struct sable_interval narrow = sable_independent_ratio(scattered, 60, base, 60);
    assert_true(fabs(wide.mid - narrow.mid) < 1e-12); /* the same values in another order */
    assert_true(wide.high - wide.low > 2 * (narrow.high - narrow.low));
}

static void no_ratio_exists_below_six_or_of_times_that_are_none(void **state)
{
    (void)state;
    double good[8] = {1, 2, 3, 4, 5, 6, 7, 8}, zero[8] = {0}, wild[8] = {NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN};
    assert_false(sable_independent_ratio(good, 8, good, 5).exists);
    assert_true(sable_independent_ratio(good, 8, good, 8).exists);
    assert_false(sable_independent_ratio(good, 8, zero, 8).exists);
    assert_false(sable_independent_ratio(wild, 8, good, 8).exists);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(interval_of_the_median_matches_the_table),
        cmocka_unit_test(no_interval_exists_below_six),
        cmocka_unit_test(quantiles_interpolate),
        cmocka_unit_test(ratio_cancels_a_common_mood),
        cmocka_unit_test(ratio_of_independent_launches_adds_in_squares),
        cmocka_unit_test(slow_repetitions_that_follow_each_other_widen_the_interval),
        cmocka_unit_test(no_ratio_exists_below_six_or_of_times_that_are_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
