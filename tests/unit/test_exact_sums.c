/* Exact sums of returns: integers in limbs that no order, grouping or rank changes. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "sable_mean.h"
#include "sable_random.h"
#include "sable_rollouts.h"

static void sums_do_not_depend_on_order_or_grouping(void **state)
{
    (void)state;
    struct sable_exact_moments forwards = {0}, backwards = {0}, halves = {0}, part = {0};
    int64_t value[300];
    for (int i = 0; i < 300; i++) {
        struct sable_random_block drawn = sable_random(5, 1, (uint64_t)i, 0);
        value[i] = (int64_t)((uint64_t)drawn.word[0] << 32 | drawn.word[1]) >> (2 + i % 40);
    }
    for (int i = 0; i < 300; i++) {
        sable_exact_add_value(&forwards, value[i]);
        sable_exact_add_value(&backwards, value[299 - i]);
        sable_exact_add_value(i < 111 ? &halves : &part, value[i]);
    }
    sable_exact_add(&halves, &part);
    assert_memory_equal(&forwards, &backwards, sizeof forwards);
    assert_memory_equal(&forwards, &halves, sizeof forwards);
}

static void limbs_of_ranks_may_be_added_before_they_are_carried(void **state)
{
    (void)state;
    struct sable_exact_moments one = {0}, carried = {0}, plain = {0};
    sable_exact_add_value(&one, -123456789012);
    for (int rank = 0; rank < 1000; rank++) {
        sable_exact_add(&carried, &one);
        for (int i = 0; i < SABLE_EXACT_WORDS; i++)
            ((int64_t *)&plain)[i] += ((const int64_t *)&one)[i];
    }
    sable_exact_carry(plain.sum, SABLE_EXACT_SUM);
    sable_exact_carry(plain.squares, SABLE_EXACT_SQUARES);
    assert_memory_equal(&plain, &carried, sizeof plain);
    assert_true(sable_exact_mean(&plain) == -123456789012 * SABLE_QUANTUM);
}

static void equal_values_have_variance_zero_however_large(void **state)
{
    (void)state;
    struct sable_exact_moments moments = {0};
    for (int i = 0; i < 1000; i++)
        sable_exact_add_value(&moments, (INT64_C(1) << 61) + 1);
    assert_true(sable_exact_variance(&moments) == 0);
}

static void the_variance_is_that_of_a_known_sample(void **state)
{
    (void)state;
    struct sable_exact_moments moments = {0};
    assert_true(isnan(sable_exact_variance(&moments)));
    for (int k = 1; k <= 10; k++) /* one huge offset: a float64 sum of squares would lose everything */
        sable_exact_add_value(&moments, sable_exact_quantise(1e9 + k));
    assert_true(sable_exact_mean(&moments) == 1e9 + 5.5);
    assert_true(fabs(sable_exact_variance(&moments) - 55.0 / 6) < 1e-14);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sums_do_not_depend_on_order_or_grouping),
        cmocka_unit_test(limbs_of_ranks_may_be_added_before_they_are_carried),
        cmocka_unit_test(equal_values_have_variance_zero_however_large),
        cmocka_unit_test(the_variance_is_that_of_a_known_sample),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
