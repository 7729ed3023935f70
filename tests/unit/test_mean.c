/* Means: Welford's updates and Chan's merging, blocks in lanes, normal noise and stochastic approximation. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "sable_isa.h"
#include "sable_mean.h"

static struct sable_mean one(double x)
{
    return (struct sable_mean){.count = 1, .mean = x, .sum = (int64_t)x, .sum_of_squares = (int64_t)(x * x)};
}

/* The textbook's two passes. */
static struct sable_mean direct(const double *x, int64_t count)
{
    struct sable_mean all = {.count = count};
    for (int64_t i = 0; i < count; i++) {
        all.mean += x[i] / (double)count;
        all.sum += (int64_t)x[i];
        all.sum_of_squares += (int64_t)(x[i] * x[i]);
    }
    for (int64_t i = 0; i < count; i++)
        all.squares += (x[i] - all.mean) * (x[i] - all.mean);
    return all;
}

static void assert_same(struct sable_mean a, struct sable_mean b, double tolerance)
{
    assert_int_equal(a.count, b.count);
    assert_int_equal(a.sum, b.sum);
    assert_int_equal(a.sum_of_squares, b.sum_of_squares);
    assert_true(fabs(a.mean - b.mean) <= tolerance * (1 + fabs(b.mean)));
    assert_true(fabs(a.squares - b.squares) <= tolerance * (1 + b.squares));
}

static void merging_is_by_chans_formula(void **state)
{
    (void)state;
    struct sable_mean a = {.count = 3, .mean = 2, .squares = 2}, b = {.count = 1, .mean = 6, .squares = 0};
    struct sable_mean both = sable_mean_merge(a, b); /* 1, 2, 3 and 6: mean 3, squares 2 + 16·3/4 = 14 */
    assert_int_equal(both.count, 4);
    assert_true(both.mean == 3 && both.squares == 14);
}

static void an_empty_part_changes_nothing(void **state)
{
    (void)state;
    const struct sable_mean empty = {0}, a = {.count = 3, .mean = 0.1, .squares = 0.7, .sum = 5, .sum_of_squares = 9};
    struct sable_mean left = sable_mean_merge(empty, a), right = sable_mean_merge(a, empty);
    assert_memory_equal(&left, &a, sizeof a);
    assert_memory_equal(&right, &a, sizeof a);
    assert_int_equal(sable_mean_merge(empty, empty).count, 0);
}

/* Values far from 0 with a small spread: a sum of squares in float64 would have no digit right (σ²/x² = 10⁻¹⁸). */
static void merging_keeps_the_digits_of_a_small_variance(void **state)
{
    (void)state;
    struct sable_mean list[9];
    double x[9];
    for (int i = 0; i < 9; i++) {
        x[i] = 1e9 + (i * 5) % 9;
        list[i] = one(x[i]);
    }
    struct sable_mean tree = sable_mean_tree(list, 9);
    assert_true(tree.mean == 1e9 + 4);
    assert_true(fabs(tree.squares - 60) < 1e-5); /* Σ (i − 4)²; δ is known to 2⁻²³ */
}

static void a_tree_of_any_size_is_the_direct_mean(void **state)
{
    (void)state;
    for (int64_t count = 1; count < 70; count++) {
        struct sable_mean list[70];
        double x[70];
        for (int64_t i = 0; i < count; i++)
            list[i] = one(x[i] = (double)(i * i % 11));
        struct sable_mean expected = direct(x, count);
        assert_same(sable_mean_tree(list, count), expected, 1e-14);
    }
}

static void blocks_in_lanes_give_the_bits_of_the_textbook(void **state)
{
    (void)state;
    static const char *const levels[] = {"base", "v2", "v3", "v4"};
    static const int64_t counts[] = {1, 31, 32, 33, 127, 129, 1000, SABLE_MEAN_BLOCK - 1, SABLE_MEAN_BLOCK};
    for (int level = 0; level <= (int)sable_isa_best(); level++)
        for (size_t k = 0; k < sizeof counts / sizeof *counts; k++)
            for (int m = 0; m < 2; m++) {
                const enum sable_mean_method method = m ? SABLE_MEAN_SUMS : SABLE_MEAN_INCREMENTAL;
                setenv("SABLE_ISA", levels[level], 1);
                struct sable_mean lanes = sable_mean_block()(7, 4 * (INT64_C(1) << 33), counts[k], method);
                struct sable_mean textbook = sable_mean_block_reference(7, 4 * (INT64_C(1) << 33), counts[k], method);
                assert_memory_equal(&lanes, &textbook, sizeof lanes);
                if (method == SABLE_MEAN_INCREMENTAL) { /* Welford's mean is that of the exact sums */
                    double mean = (double)lanes.sum / (double)lanes.count;
                    assert_true(fabs(lanes.mean - mean) <= 1e-13 * mean);
                    assert_true(fabs(lanes.squares - ((double)lanes.sum_of_squares - mean * (double)lanes.sum)) <=
                                1e-10 * (1 + lanes.squares));
                }
            }
    unsetenv("SABLE_ISA");
}

static void samples_do_not_depend_on_where_a_block_begins(void **state)
{
    (void)state;
    struct sable_mean parts[3];
    for (int i = 0; i < 3; i++)
        parts[i] = sable_mean_block()(3, 400 + 100 * i, 100, SABLE_MEAN_INCREMENTAL);
    assert_same(sable_mean_tree(parts, 3), sable_mean_block()(3, 400, 300, SABLE_MEAN_INCREMENTAL), 1e-13);
}

/* α = 1/k makes the mean of the samples so far, whatever the start. */
static void steps_of_one_over_k_make_the_mean(void **state)
{
    (void)state;
    const struct sable_mean_rule rule = {.kind = SABLE_RULE_MEAN, .steps = 1000, .start = 1e4};
    double noise, w = sable_mean_approximate(11, 2, &rule, &noise);
    struct sable_mean mean = sable_mean_block()(11, 2000, 1000, SABLE_MEAN_INCREMENTAL);
    assert_true(fabs(w - mean.mean) < 1e-11 && noise == 0);
}

/* One step of a = c = 1 from anywhere leads to the root plus noise: η itself. */
static void noise_is_standard_normal_and_differs_from_step_to_step(void **state)
{
    (void)state;
    enum { COUNT = 100000 };
    const struct sable_mean_rule rule = {
        .kind = SABLE_RULE_LINEAR, .steps = 1, .start = 3, .a = 1, .c = 1, .root = 1, .sigma = 1};
    double sums[5] = {0}, most = 0, before = 0;
    for (int64_t r = 0; r < COUNT; r++) {
        double noise, w = sable_mean_approximate(5, r, &rule, &noise), power = 1;
        assert_true(fabs(w - 1 + noise) < 1e-12);
        for (int k = 1; k < 5; k++)
            sums[k] += power *= noise;
        sums[0] += noise * before; /* of neighbours: cosine and sine of one pair, or of two */
        before = noise;
        most = fmax(most, fabs(noise));
    }
    /* Moments 0, 1, 0, 3 with variances 1, 2, 15, 96 over n; five standard errors. */
    static const double expected[5] = {0, 0, 1, 0, 3}, variance[5] = {1, 1, 2, 15, 96};
    for (int k = 0; k < 5; k++)
        assert_true(fabs(sums[k] / COUNT - expected[k]) <= 5 * sqrt(variance[k] / COUNT));
    assert_true(most > 3.5 && most < 6.8);
}

static void without_noise_a_rule_is_its_recursion(void **state)
{
    (void)state;
    struct sable_mean_rule rule = {.kind = SABLE_RULE_TANH, .steps = 5, .start = 3, .a = 1, .c = 1, .root = 1};
    double noise, w = 3;
    for (int k = 1; k <= 5; k++)
        w -= tanh(w - 1) / k;
    assert_true(fabs(sable_mean_approximate(1, 9, &rule, &noise) - w) < 1e-15 && noise == 0);
    rule.kind = SABLE_RULE_LINEAR;
    rule.c = 0.5, rule.k0 = 1; /* off by 2 at first: times 3/4, 5/6, 7/8, 9/10, 11/12 */
    double off = 2 * 0.75 * 5 / 6 * 0.875 * 0.9 * 11 / 12;
    assert_true(fabs(sable_mean_approximate(1, 9, &rule, &noise) - 1 - off) < 1e-15);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(merging_is_by_chans_formula),
        cmocka_unit_test(an_empty_part_changes_nothing),
        cmocka_unit_test(merging_keeps_the_digits_of_a_small_variance),
        cmocka_unit_test(a_tree_of_any_size_is_the_direct_mean),
        cmocka_unit_test(blocks_in_lanes_give_the_bits_of_the_textbook),
        cmocka_unit_test(samples_do_not_depend_on_where_a_block_begins),
        cmocka_unit_test(steps_of_one_over_k_make_the_mean),
        cmocka_unit_test(noise_is_standard_normal_and_differs_from_step_to_step),
        cmocka_unit_test(without_noise_a_rule_is_its_recursion),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
