/* One rank's part of a decision process with more states than 32 bits count, on more ranks than any machine has. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>
#include <math.h>

#include "sable_garnet.h"
#include "value_iteration_mdp.h"

enum { RANKS = 1 << 30, ACTIONS = 3, BRANCHING = 5, LOCALITY = 700 };

static const int64_t states = (INT64_C(1) << 40) + 12345; /* some 1024 a rank */
static const double gamma_of_model = 0.9;

static int64_t row_of(const void *self, int64_t state, int64_t action, double *reward, int64_t *column,
                      double *probability)
{
    return sable_garnet_row(self, state, action, reward, column, probability);
}

/* A value of each state that single precision and 32-bit numbers would confuse. */
static double value_of(int64_t state)
{
    return (double)(state % 1000003) + (double)(state >> 20) * 0x1p-20;
}

static double backup(const struct sable_garnet *garnet, int64_t state)
{
    double best = -INFINITY;
    for (int64_t a = 0; a < ACTIONS; a++) {
        int64_t column[BRANCHING];
        double probability[BRANCHING], reward, sum = 0;
        int64_t length = sable_garnet_row(garnet, state, a, &reward, column, probability);
        for (int64_t j = 0; j < length; j++)
            sum = fma(probability[j], value_of(column[j]), sum);
        best = fmax(best, fma(gamma_of_model, sum, reward));
    }
    return best;
}

static void sweep(const struct mdp_rank *g)
{
    struct sable_mdp_change change = SABLE_MDP_UNCHANGED;
    if (g->reference)
        sable_mdp_reference_sweep(&g->csr, g->gamma, g->value[0], g->value[1], NULL, &change);
    else
        sable_mdp_sweep(&g->model, g->gamma, g->list, g->inner + g->outer, g->value[0], g->value[1], &change);
}

/* Each of the states outside the part that rows lead to, and no other, is a ghost; they wrap around the ends. */
static void check_ghosts(const struct mdp_rank *g)
{
    for (int64_t i = 0; i < g->ghosts; i++) {
        const int64_t ghost = g->ghost[i];
        const int64_t below = (g->part.first - ghost + states) % states;
        const int64_t above = (ghost - (g->part.first + g->part.count - 1) + states) % states;
        assert_true(ghost >= 0 && ghost < states && (i == 0 || ghost > g->ghost[i - 1]));
        assert_true((below > 0 && below <= LOCALITY) || (above > 0 && above <= LOCALITY));
        assert_int_equal(mdp_local(g, ghost), g->padded + i);
    }
    assert_true(g->ghosts > LOCALITY && g->ghosts <= 2 * LOCALITY);
}

static void a_rank_of_very_many_sweeps_its_states(void **state)
{
    (void)state;
    static const int ranks[] = {0, 1, RANKS / 2 - 1, 987654321, RANKS - 1};
    const struct sable_garnet garnet = {5, states, ACTIONS, BRANCHING, LOCALITY};
    const struct mdp_source source = {.states = states,
                                      .actions = ACTIONS,
                                      .longest = BRANCHING,
                                      .gamma = gamma_of_model,
                                      .self = &garnet,
                                      .row = row_of};
    const struct mdp_params params = {.tol = 1e-6, .restart = 1, .colours = 2, .depth = 1};
    for (size_t i = 0; i < sizeof ranks / sizeof *ranks; i++)
        for (int reference = 0; reference < 2; reference++) {
            struct mdp_rank g;
            struct sable_error error = {0};
            const struct sable_layout layout = {.rank = ranks[i], .ranks = RANKS, .threads = 1};
            assert_int_equal(mdp_build_own(&params, &source, layout, reference, &g, &error), SABLE_OK);
            assert_true(g.part.count >= 900 && g.part.count <= 1100);
            check_ghosts(&g);
            for (int64_t s = 0; s < g.padded; s++)
                g.value[0][s] = s < g.part.count ? value_of(g.part.first + s) : 0;
            for (int64_t k = 0; k < g.ghosts; k++)
                g.value[0][g.padded + k] = value_of(g.ghost[k]);
            sweep(&g);
            for (int64_t s = 0; s < g.part.count; s++)
                assert_true(g.value[1][s] == backup(&garnet, g.part.first + s));
            mdp_free(&g);
        }
}

static void parts_join_and_owners_are_found(void **state)
{
    (void)state;
    for (int64_t i = 0; i < 2000; i++) {
        const int rank = (int)(i * 536870 % RANKS);
        const struct mdp_part part = mdp_part_of(states, rank, RANKS);
        assert_int_equal(mdp_part_of(states, rank + 1, RANKS).first, part.first + part.count);
        assert_int_equal(mdp_owner_of(states, RANKS, part.first), rank);
        assert_int_equal(mdp_owner_of(states, RANKS, part.first + part.count - 1), rank);
    }
    const struct mdp_part last = mdp_part_of(states, RANKS - 1, RANKS);
    assert_int_equal(last.first + last.count, states);
    assert_int_equal(mdp_owner_of(states, RANKS, states - 1), RANKS - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_rank_of_very_many_sweeps_its_states),
        cmocka_unit_test(parts_join_and_owners_are_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
