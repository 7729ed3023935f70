/* Rows of random decision processes, and the bound that a sweep's change proves. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>

#include "sable_garnet.h"
#include "sable_mdp.h"

enum { BRANCHING = 7 };

static void check_row(const struct sable_garnet *garnet, int64_t state, int64_t action)
{
    int64_t column[BRANCHING];
    double probability[BRANCHING], reward, sum = 0;
    assert_int_equal(sable_garnet_row(garnet, state, action, &reward, column, probability), BRANCHING);
    assert_true(reward >= 0 && reward < 1);
    for (int j = 0; j < BRANCHING; j++) {
        int64_t apart = column[j] > state ? column[j] - state : state - column[j];
        apart = apart > garnet->states / 2 ? garnet->states - apart : apart;
        assert_true(column[j] >= 0 && column[j] < garnet->states);
        assert_true(j == 0 || column[j] > column[j - 1]);
        assert_true(garnet->locality == 0 || apart <= garnet->locality);
        assert_true(probability[j] >= 0);
        sum += probability[j];
    }
    assert_true(fabs(sum - 1) < 1e-14);
}

static void rows_hold_different_successors_in_range_and_sum_to_one(void **state)
{
    (void)state;
    const int64_t states[] = {BRANCHING, 100, 1003, INT64_C(5000000000)}, locality[] = {0, 3, 40};
    for (int i = 0; i < 4; i++)
        for (int l = 0; l < 3; l++) {
            struct sable_garnet garnet = {9, states[i], 3, BRANCHING, locality[l]};
            for (int64_t k = 0; k < 200; k++)
                check_row(&garnet, k < 20 ? k % states[i] : states[i] - 1 - k % states[i], k % 3);
        }
}

static void successors_of_large_models_lie_beyond_32_bits(void **state)
{
    (void)state;
    struct sable_garnet garnet = {9, INT64_C(5000000000), 3, BRANCHING, 0};
    int64_t column[BRANCHING], largest = 0;
    double probability[BRANCHING], reward;
    for (int64_t s = 0; s < 50; s++) {
        sable_garnet_row(&garnet, s, 0, &reward, column, probability);
        largest = column[BRANCHING - 1] > largest ? column[BRANCHING - 1] : largest;
    }
    assert_true(largest > INT64_C(4294967296));
}

static void successors_are_uniform(void **state)
{
    (void)state;
    enum { STATES = 50, ROWS = 20000 };
    struct sable_garnet garnet = {3, STATES, 1, BRANCHING, 0};
    int64_t count[STATES] = {0}, column[BRANCHING];
    double probability[BRANCHING], reward, mean = 0;
    for (int64_t k = 0; k < ROWS; k++) {
        garnet.seed = (uint64_t)k;
        sable_garnet_row(&garnet, 1, 0, &reward, column, probability);
        mean += reward / ROWS;
        for (int j = 0; j < BRANCHING; j++)
            count[column[j]]++;
    }
    /* Binomial: p = 7/50, so 2800 ± 49; five standard deviations. */
    for (int s = 0; s < STATES; s++)
        assert_true(fabs((double)count[s] - (double)ROWS * BRANCHING / STATES) < 5 * 49.1);
    assert_true(fabs(mean - 0.5) < 5 / sqrt(12.0 * ROWS));
}

/* One state that pays 1 for ever: V* = 1/(1 − γ), and one sweep from any V proves it but for roundings. */
static void the_span_of_one_state_proves_its_value_at_once(void **state)
{
    (void)state;
    struct sable_mdp_facts facts = {1, 1, 1, 1};
    const double gamma = 0.9, start[] = {0, -3, 12};
    for (int i = 0; i < 3; i++) {
        double next = 1 + gamma * start[i], moved = next - start[i];
        struct sable_mdp_change change = {moved, moved, fabs(next), true};
        struct sable_mdp_bound bound = sable_mdp_certify(&facts, gamma, change, true);
        assert_true(fabs(next + bound.shift - 10) <= bound.bound);
        assert_true(bound.bound < 1e-12 && bound.exhausted);
        bound = sable_mdp_certify(&facts, gamma, change, false);
        assert_true(bound.shift == 0 && fabs(next - 10) <= bound.bound && bound.bound < fabs(next - 10) + 1e-12);
    }
}

/* Two states that pay 1 and leave the process with chance 1 and 0: V* = (1, 10). A shift of all values that ignores the
 * end would be off. */
static void the_bound_holds_where_episodes_end(void **state)
{
    (void)state;
    struct sable_mdp_facts facts = {0, 1, 1, 1};
    const double gamma = 0.9;
    double v[2] = {0, 0};
    for (int sweep = 0; sweep < 30; sweep++) {
        double next[2] = {1, 1 + gamma * v[1]}, d[2] = {next[0] - v[0], next[1] - v[1]};
        struct sable_mdp_change change = {fmin(d[0], d[1]), fmax(d[0], d[1]), next[1], true};
        struct sable_mdp_bound bound = sable_mdp_certify(&facts, gamma, change, true);
        assert_true(fabs(next[0] + bound.shift - 1) <= bound.bound);
        assert_true(fabs(next[1] + bound.shift - 10) <= bound.bound);
        v[0] = next[0], v[1] = next[1];
    }
}

static void a_value_that_is_not_finite_has_no_bound(void **state)
{
    (void)state;
    struct sable_mdp_facts facts = {1, 1, 1, 1};
    struct sable_mdp_change change = {0, 0, 1, false};
    assert_true(isinf(sable_mdp_certify(&facts, 0.9, change, true).bound));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_hold_different_successors_in_range_and_sum_to_one),
        cmocka_unit_test(successors_of_large_models_lie_beyond_32_bits),
        cmocka_unit_test(successors_are_uniform),
        cmocka_unit_test(the_span_of_one_state_proves_its_value_at_once),
        cmocka_unit_test(the_bound_holds_where_episodes_end),
        cmocka_unit_test(a_value_that_is_not_finite_has_no_bound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
