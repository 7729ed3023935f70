/* Fixed-block sums and counter-based randomness: the same bits however the work is split. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>
#include <math.h>
#include <omp.h>

#include "sable_array.h"
#include "sable_random.h"
#include "sable_sum.h"

enum { BLOCKS = 77 };

static void any_split_of_the_blocks_gives_the_same_bits(void **state)
{
    (void)state;
    double sums[BLOCKS];
    for (int b = 0; b < BLOCKS; b++)
        sums[b] = sable_random_unit(sable_random(7, 1, (uint64_t)b, 0).word[0], 0) * pow(10, b % 19 - 9);
    struct sable_sum_nodes whole;
    sable_sum_range(sums, 0, BLOCKS, &whole);
    double expected = sable_sum_total(&whole);
    for (int parts = 1; parts <= BLOCKS; parts++) {
        struct sable_sum_nodes all = {0}, part;
        for (int p = 0; p < parts; p++) {
            int64_t first = (int64_t)p * BLOCKS / parts, end = (int64_t)(p + 1) * BLOCKS / parts;
            sable_sum_range(sums + first, first, end - first, &part);
            sable_sum_join(&all, &part);
        }
        assert_true(sable_sum_total(&all) == expected);
    }
}

static void any_number_of_threads_gives_the_same_bits(void **state)
{
    (void)state;
    int64_t n = 3 * SABLE_SUM_BLOCK + 1717;
    double *x = sable_array(n, 1, sizeof *x), *scratch = sable_array(sable_sum_blocks(n), 1, sizeof *scratch);
    for (int64_t i = 0; i < n; i++)
        x[i] = sable_random_unit(sable_random(3, 1, (uint64_t)i, 0).word[0], 1) - 0.3;
    omp_set_num_threads(1);
    double sum = sable_sum(x, n, scratch), dot = sable_dot(x, x, n, scratch);
    omp_set_num_threads(3);
    assert_true(sable_sum(x, n, scratch) == sum);
    assert_true(sable_dot(x, x, n, scratch) == dot);
    double plain = 0;
    for (int64_t i = 0; i < n; i++)
        plain += x[i];
    assert_true(fabs(plain - sum) < 1e-9);
    sable_array_free(x);
    sable_array_free(scratch);
}

static void empty_sums_are_zero(void **state)
{
    (void)state;
    double scratch[1] = {1};
    assert_true(sable_sum(scratch, 0, scratch) == 0);
}

/* Random123's published known answers for philox4x32-10 (kat_vectors). */
static void philox_gives_the_published_answers(void **state)
{
    (void)state;
    struct sable_random_block zero = sable_random(0, 0, 0, 0);
    const uint32_t of_zero[4] = {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8};
    struct sable_random_block ones = sable_random(UINT64_MAX, UINT32_MAX, UINT64_MAX, UINT32_MAX);
    const uint32_t of_ones[4] = {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd};
    struct sable_random_block pi = sable_random(0x299f31d0a4093822, 0x03707344, 0x85a308d3243f6a88, 0x13198a2e);
    const uint32_t of_pi[4] = {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1};
    for (int i = 0; i < 4; i++) {
        assert_int_equal(zero.word[i], of_zero[i]);
        assert_int_equal(ones.word[i], of_ones[i]);
        assert_int_equal(pi.word[i], of_pi[i]);
    }
}

static void overflowing_sizes_give_no_array(void **state)
{
    (void)state;
    assert_null(sable_array(INT64_MAX, 2, 8));
    assert_null(sable_array(INT64_MAX / 4, 1, 8));
    assert_null(sable_array(-1, 1, 8));
    void *nothing = sable_array(0, 5, 8);
    assert_non_null(nothing);
    sable_array_free(nothing);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_split_of_the_blocks_gives_the_same_bits),
        cmocka_unit_test(any_number_of_threads_gives_the_same_bits),
        cmocka_unit_test(empty_sums_are_zero),
        cmocka_unit_test(philox_gives_the_published_answers),
        cmocka_unit_test(overflowing_sizes_give_no_array),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
