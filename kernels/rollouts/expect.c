/* Exact moments of returns and lengths by backward recursion over the horizon: what Monte Carlo must agree with.
 * Shares no code with the play: it reads probabilities, not draws. See sable_rollouts.h. */
#include "sable_rollouts.h"

#include <string.h>

#include "sable_array.h"

enum { FIELDS = 4 }; /* value, square, length, length_square */

static bool field_arrays(int64_t states, double *field[FIELDS])
{
    bool good = true;
    for (int f = 0; f < FIELDS; f++)
        good = (field[f] = sable_array(states, 1, sizeof(double))) && good;
    return good;
}

static void free_arrays(double *field[FIELDS])
{
    for (int f = 0; f < FIELDS; f++)
        sable_array_free(field[f]);
}

/* One step more: next from now. */
static void backward(const struct sable_rollouts_outcome *outcome, int64_t count, double gamma,
                     double *const now[FIELDS], double moment[FIELDS])
{
    memset(moment, 0, FIELDS * sizeof *moment);
    for (int64_t k = 0; k < count; k++) {
        double p = outcome[k].probability, r = outcome[k].reward;
        int64_t to = outcome[k].next;
        double v = to < 0 ? 0 : now[0][to], w = to < 0 ? 0 : now[1][to];
        double l = to < 0 ? 0 : now[2][to], m = to < 0 ? 0 : now[3][to];
        moment[0] += p * (r + gamma * v);
        moment[1] += p * (r * r + 2 * r * gamma * v + gamma * gamma * w);
        moment[2] += p * (1 + l);
        moment[3] += p * (1 + 2 * l + m);
    }
}

/* Runs the recursion between two sets of fields. Returns which holds the result, −1 if memory is short. */
static int recursion(const void *model, sable_rollouts_outcomes *outcomes, int64_t states, int64_t most_outcomes,
                     double gamma, int64_t horizon, double *field[2][FIELDS])
{
    bool good = true;
    int64_t moved = 1;
    int64_t t = 0;
#pragma omp parallel reduction(&& : good)
    {
        struct sable_rollouts_outcome *outcome = sable_array(most_outcomes, 1, sizeof *outcome);
        good = outcome != NULL;
        for (int64_t step = 0; step < horizon; step++) {
#pragma omp barrier
#pragma omp single
            moved = 0;
#pragma omp for schedule(static) reduction(+ : moved)
            for (int64_t s = 0; s < states; s++) {
                double moment[FIELDS];
                if (!good)
                    continue;
                backward(outcome, outcomes(model, s, outcome), gamma, field[step & 1], moment);
                for (int f = 0; f < FIELDS; f++) {
                    moved += moment[f] != field[step & 1][f][s];
                    field[~step & 1][f][s] = moment[f];
                }
            }
#pragma omp single
            t = step + 1;
            if (moved == 0)
                break;
        }
        sable_array_free(outcome);
    }
    return good ? (int)(t & 1) : -1;
}

bool sable_rollouts_expect(const void *model, sable_rollouts_outcomes *outcomes, int64_t states, int64_t most_outcomes,
                           double gamma, int64_t horizon, struct sable_rollouts_expected *expected)
{
    double *field[2][FIELDS];
    int result = -1;
    bool good = field_arrays(states, field[0]);
    good = field_arrays(states, field[1]) && good;
    *expected = (struct sable_rollouts_expected){0};
    if (good) {
        for (int f = 0; f < FIELDS; f++)
            memset(field[0][f], 0, (size_t)states * sizeof(double));
        result = recursion(model, outcomes, states, most_outcomes, gamma, horizon, field);
    }
    if (result >= 0)
        *expected =
            (struct sable_rollouts_expected){field[result][0], field[result][1], field[result][2], field[result][3]};
    if (result != 0)
        free_arrays(field[0]);
    if (result != 1)
        free_arrays(field[1]);
    return result >= 0;
}

void sable_rollouts_expected_free(struct sable_rollouts_expected *expected)
{
    sable_array_free(expected->value);
    sable_array_free(expected->square);
    sable_array_free(expected->length);
    sable_array_free(expected->length_square);
    *expected = (struct sable_rollouts_expected){0};
}
