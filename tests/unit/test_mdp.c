/* Bellman sweeps over stored transitions: lanes against the textbook, bit for bit. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <math.h>
#include <omp.h>

#include "sable_array.h"
#include "sable_isa.h"
#include "sable_mdp.h"
#include "sable_random.h"

enum { STATES = 1003, ACTIONS = 5, LONGEST = 9, HALO = 40 };

/* A ragged model whose columns reach into a halo; some actions are unavailable, some rows sum to less than 1. */
struct pair {
    struct sable_mdp_csr csr;
    struct sable_mdp sell;
    int32_t *list; /* all blocks */
    int64_t padded;
    double *v, *next, *expected;
    int32_t *policy, *expected_policy;
};

static double unit(int64_t i, uint32_t j)
{
    struct sable_random_block drawn = sable_random(11, 1, (uint64_t)i, j);
    return sable_random_unit(drawn.word[0], drawn.word[1]);
}

static int64_t length_of(int64_t row)
{
    return row % ACTIONS == 3 && row % 7 < 4 ? 0 : (int64_t)(LONGEST * unit(row, 0));
}

static double reward_of(int64_t row)
{
    return row % ACTIONS == 3 && row % 7 < 4 ? -INFINITY : floor(8 * unit(row, 1)) - 3; /* ties, too */
}

static void fill_csr(struct sable_mdp_csr *csr, int64_t columns)
{
    csr->start[0] = 0;
    for (int64_t row = 0; row < STATES * ACTIONS; row++) {
        int64_t at = csr->start[row], length = length_of(row);
        for (int64_t j = 0; j < length; j++) {
            csr->column[at + j] = (int32_t)((double)columns * unit(row, 2 + (uint32_t)j));
            csr->probability[at + j] =
                floor(16 * unit(row, 20 + (uint32_t)j)) / 16 / (double)length; /* 129 different */
        }
        csr->reward[row] = reward_of(row);
        csr->start[row + 1] = at + length;
    }
}

static int make(void **state, bool coded, bool gathers)
{
    struct pair *p = calloc(1, sizeof *p);
    assert_non_null(p);
    int64_t blocks = sable_mdp_blocks(STATES);
    p->padded = blocks * SABLE_MDP_LANES;
    p->csr = (struct sable_mdp_csr){STATES,
                                    ACTIONS,
                                    sable_array(STATES * ACTIONS + 1, 1, sizeof(int64_t)),
                                    sable_array(STATES * ACTIONS, LONGEST, sizeof(int32_t)),
                                    sable_array(STATES * ACTIONS, LONGEST, sizeof(double)),
                                    sable_array(STATES, ACTIONS, sizeof(double))};
    fill_csr(&p->csr, p->padded + HALO);
    assert_true(sable_mdp_begin(&p->sell, STATES, ACTIONS));
    for (int64_t row = 0; row < STATES * ACTIONS; row++)
        sable_mdp_widen(&p->sell, row / ACTIONS, row % ACTIONS, length_of(row));
    struct sable_mdp_values values = SABLE_MDP_NO_VALUES;
    sable_mdp_values_add(&values, p->csr.start[STATES * ACTIONS], p->csr.probability);
    assert_true(values.count > 60 && values.count < SABLE_MDP_CODES);
    assert_true(coded ? sable_mdp_allocate_codes(&p->sell, &values) : sable_mdp_allocate(&p->sell));
    p->sell.gathers = gathers;
    for (int64_t row = 0; row < STATES * ACTIONS; row++) {
        int64_t at = p->csr.start[row];
        sable_mdp_put(&p->sell, row / ACTIONS, row % ACTIONS, p->csr.reward[row], length_of(row), p->csr.column + at,
                      p->csr.probability + at);
    }
    p->list = calloc((size_t)blocks, sizeof *p->list);
    p->v = calloc((size_t)(p->padded + HALO), sizeof(double));
    p->next = calloc((size_t)(p->padded + HALO), sizeof(double));
    p->expected = calloc((size_t)(p->padded + HALO), sizeof(double));
    p->policy = calloc((size_t)p->padded, sizeof(int32_t));
    p->expected_policy = calloc((size_t)p->padded, sizeof(int32_t));
    assert_true(p->list && p->v && p->next && p->expected && p->policy && p->expected_policy);
    for (int64_t b = 0; b < blocks; b++)
        p->list[b] = (int32_t)b;
    for (int64_t i = 0; i < p->padded + HALO; i++)
        p->v[i] = i < STATES || i >= p->padded ? floor(20 * unit(i, 50)) / 4 - 2 : 0;
    for (int64_t i = STATES; i < p->padded; i++)
        p->v[i] = p->v[STATES - 1];
    for (int64_t i = 0; i < p->padded; i++)
        p->policy[i] = -1;
    *state = p;
    return 0;
}

static int make_pair(void **state)
{
    return make(state, false, false);
}

static int make_gathered_pair(void **state)
{
    return make(state, false, true);
}

static int make_coded_pair(void **state)
{
    return make(state, true, false);
}

static int make_coded_gathered_pair(void **state)
{
    return make(state, true, true);
}

static int free_pair(void **state)
{
    struct pair *p = *state;
    sable_array_free(p->csr.start);
    sable_array_free(p->csr.column);
    sable_array_free(p->csr.probability);
    sable_array_free(p->csr.reward);
    sable_mdp_free(&p->sell);
    free(p->list);
    free(p->v);
    free(p->next);
    free(p->expected);
    free(p->policy);
    free(p->expected_policy);
    free(p);
    return 0;
}

static void assert_same_change(struct sable_mdp_change a, struct sable_mdp_change b)
{
    assert_true(a.low == b.low && a.high == b.high && a.magnitude == b.magnitude && a.finite == b.finite);
}

static void a_sweep_gives_the_bits_of_the_textbook(void **state)
{
    struct pair *p = *state;
    struct sable_mdp_change expected = SABLE_MDP_UNCHANGED;
    sable_mdp_reference_sweep(&p->csr, 0.97, p->v, p->expected, NULL, &expected);
    for (int threads = 1; threads <= 5; threads += 2) {
        omp_set_num_threads(threads);
        struct sable_mdp_change change = SABLE_MDP_UNCHANGED;
        memset(p->next, 0, (size_t)p->padded * sizeof(double));
        sable_mdp_sweep(&p->sell, 0.97, p->list, p->sell.blocks, p->v, p->next, &change);
        assert_memory_equal(p->next, p->expected, STATES * sizeof(double));
        assert_same_change(change, expected);
    }
}

static void a_sweep_of_some_blocks_leaves_the_others(void **state)
{
    struct pair *p = *state;
    struct sable_mdp_change change = SABLE_MDP_UNCHANGED;
    for (int64_t i = 0; i < p->padded + HALO; i++)
        p->next[i] = 77;
    const int32_t some[] = {3, 9};
    sable_mdp_sweep(&p->sell, 0.97, some, 2, p->v, p->next, &change);
    for (int64_t i = 0; i < p->padded + HALO; i++)
        assert_true((p->next[i] == 77) == (i / SABLE_MDP_LANES != 3 && i / SABLE_MDP_LANES != 9));
}

static void lanes_behind_the_last_state_repeat_it(void **state)
{
    struct pair *p = *state;
    struct sable_mdp_change change = SABLE_MDP_UNCHANGED;
    sable_mdp_sweep(&p->sell, 0.97, p->list, p->sell.blocks, p->v, p->next, &change);
    for (int64_t i = STATES; i < p->padded; i++)
        assert_true(p->next[i] == p->next[STATES - 1]);
}

static void an_improvement_takes_the_lowest_of_the_best_actions(void **state)
{
    struct pair *p = *state;
    struct sable_mdp_change expected = SABLE_MDP_UNCHANGED, change = SABLE_MDP_UNCHANGED;
    for (int64_t i = 0; i < p->padded + HALO; i++)
        p->v[i] = 0; /* q = r: many ties */
    sable_mdp_reference_sweep(&p->csr, 0.97, p->v, p->expected, p->expected_policy, &expected);
    omp_set_num_threads(2);
    int64_t changed =
        sable_mdp_improve(&p->sell, 0.97, p->list, p->sell.blocks, p->v, p->next, p->policy, NULL, &change);
    assert_int_equal(changed, STATES);
    assert_memory_equal(p->policy, p->expected_policy, STATES * sizeof(int32_t));
    assert_memory_equal(p->next, p->expected, STATES * sizeof(double));
    assert_same_change(change, expected);
    for (int64_t s = 0; s < STATES; s++)
        for (int64_t a = 0; a < p->policy[s]; a++)
            assert_true(p->csr.reward[s * ACTIONS + a] < p->next[s]);
    changed = sable_mdp_improve(&p->sell, 0.97, p->list, p->sell.blocks, p->v, p->next, p->policy, NULL, &change);
    assert_int_equal(changed, 0);
}

static void extracted_rows_evaluate_the_policy(void **state)
{
    struct pair *p = *state;
    struct sable_mdp rows;
    assert_true(sable_mdp_rows_allocate(&p->sell, &rows));
    for (int sweep = 0; sweep < 3; sweep++) { /* the second and third replace some blocks only */
        struct sable_mdp_change change = SABLE_MDP_UNCHANGED, expected = SABLE_MDP_UNCHANGED;
        sable_mdp_improve(&p->sell, 0.97, p->list, p->sell.blocks, p->v, p->next, p->policy, &rows, &change);
        change = expected;
        sable_mdp_sweep(&rows, 0.97, p->list, rows.blocks, p->v, p->next, &change);
        sable_mdp_reference_evaluate(&p->csr, 0.97, p->policy, p->v, p->expected, &expected);
        assert_memory_equal(p->next, p->expected, STATES * sizeof(double));
        assert_same_change(change, expected);
        for (int64_t i = 0; i < 90; i++)
            p->v[(i * 7 * (sweep + 1)) % (STATES - 1)] = unit(i, 60) * 9;
    }
    sable_mdp_free(&rows);
}

static void trying_both_ways_to_read_leaves_the_model(void **state)
{
    struct pair *p = *state;
    const bool gathers = p->sell.gathers;
    const bool pay = sable_mdp_gathers_pay(&p->sell, p->v, p->next);
    assert_true(p->sell.gathers == gathers);
    assert_true(!pay || sable_isa() == SABLE_ISA_V4);
    a_sweep_gives_the_bits_of_the_textbook(state);
}

static void a_value_that_is_not_finite_is_told(void **state)
{
    struct pair *p = *state;
    const double bad[] = {NAN, INFINITY, -INFINITY};
    for (int i = 0; i < 3; i++) {
        struct sable_mdp_change change = SABLE_MDP_UNCHANGED, expected = SABLE_MDP_UNCHANGED;
        for (int64_t k = 0; k < ACTIONS; k++) /* one state without a finite reward, as by a fault */
            sable_mdp_put(&p->sell, 500, k, bad[i], 0, NULL, NULL), p->csr.reward[500 * ACTIONS + k] = bad[i];
        sable_mdp_sweep(&p->sell, 0.97, p->list, p->sell.blocks, p->v, p->next, &change);
        sable_mdp_reference_sweep(&p->csr, 0.97, p->v, p->next, NULL, &expected);
        assert_false(change.finite);
        assert_false(expected.finite);
    }
}

/* Two states, γ = 1/2: stay for 1, or move for 0 to a state that pays 4 for staying. v = (4, 8). */
static void two_states_converge_to_the_value_known_by_hand(void **state)
{
    (void)state;
    int64_t start[] = {0, 1, 2, 3, 4};
    int32_t column[] = {0, 1, 1, 0}, policy[2];
    double probability[] = {1, 1, 1, 1}, reward[] = {1, 0, 4, 0}, v[2] = {0}, next[2];
    struct sable_mdp_csr model = {2, 2, start, column, probability, reward};
    for (int sweep = 0; sweep < 60; sweep++) {
        struct sable_mdp_change change = SABLE_MDP_UNCHANGED;
        sable_mdp_reference_sweep(&model, 0.5, v, next, policy, &change);
        memcpy(v, next, sizeof v);
    }
    assert_true(v[0] == 4 && v[1] == 8 && policy[0] == 1 && policy[1] == 0);
}

static void sizes_that_overflow_are_refused(void **state)
{
    (void)state;
    struct sable_mdp model;
    assert_false(sable_mdp_begin(&model, INT64_MAX / 2, 1000));
    sable_mdp_free(&model);
    assert_true(sable_mdp_begin(&model, 16, 1));
    sable_mdp_widen(&model, 0, 0, INT64_MAX / 16);
    sable_mdp_widen(&model, 8, 0, INT64_MAX / 16);
    assert_false(sable_mdp_allocate(&model));
    sable_mdp_free(&model);
}

static void more_values_than_codes_are_none(void **state)
{
    (void)state;
    struct sable_mdp_values some = SABLE_MDP_NO_VALUES, others = SABLE_MDP_NO_VALUES;
    for (int i = 255; i > 100; i--)
        sable_mdp_values_add(&some, 1, &(double){i / 256.0});
    for (int i = 1; i < 200; i++)
        sable_mdp_values_add(&others, 1, &(double){i / 256.0});
    sable_mdp_values_join(&some, &others);
    assert_int_equal(some.count, SABLE_MDP_CODES);
    for (int i = 0; i < SABLE_MDP_CODES; i++)
        assert_true(some.item[i] == i / 256.0);
    sable_mdp_values_add(&some, 1, &(double){1});
    assert_true(some.count < 0);
    sable_mdp_values_join(&others, &some);
    assert_true(others.count < 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_sweep_gives_the_bits_of_the_textbook, make_pair, free_pair),
        cmocka_unit_test_setup_teardown(a_sweep_gives_the_bits_of_the_textbook, make_coded_pair, free_pair),
        cmocka_unit_test_setup_teardown(a_sweep_gives_the_bits_of_the_textbook, make_gathered_pair, free_pair),
        cmocka_unit_test_setup_teardown(a_sweep_gives_the_bits_of_the_textbook, make_coded_gathered_pair, free_pair),
        cmocka_unit_test_setup_teardown(a_sweep_of_some_blocks_leaves_the_others, make_pair, free_pair),
        cmocka_unit_test_setup_teardown(lanes_behind_the_last_state_repeat_it, make_pair, free_pair),
        cmocka_unit_test_setup_teardown(an_improvement_takes_the_lowest_of_the_best_actions, make_pair, free_pair),
        cmocka_unit_test_setup_teardown(an_improvement_takes_the_lowest_of_the_best_actions, make_coded_pair,
                                        free_pair),
        cmocka_unit_test_setup_teardown(an_improvement_takes_the_lowest_of_the_best_actions, make_gathered_pair,
                                        free_pair),
        cmocka_unit_test_setup_teardown(extracted_rows_evaluate_the_policy, make_pair, free_pair),
        cmocka_unit_test_setup_teardown(extracted_rows_evaluate_the_policy, make_coded_pair, free_pair),
        cmocka_unit_test_setup_teardown(trying_both_ways_to_read_leaves_the_model, make_pair, free_pair),
        cmocka_unit_test_setup_teardown(a_value_that_is_not_finite_is_told, make_pair, free_pair),
        cmocka_unit_test(two_states_converge_to_the_value_known_by_hand),
        cmocka_unit_test(more_values_than_codes_are_none),
        cmocka_unit_test(sizes_that_overflow_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
