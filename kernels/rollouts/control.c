/* Control and off-policy prediction on finite processes: pairs of state and action as a chain, greedy policies, the
 * optimum by backward induction, and exact moments of weighted returns. See sable_rollouts.h. */
#include "sable_rollouts.h"

#include <string.h>

#include "sable_array.h"

/* ---- Pairs ---- */

int64_t sable_rollouts_pair_outcomes(const void *model, int64_t pair, struct sable_rollouts_outcome *outcome)
{
    const struct sable_rollouts_pairs *pairs = model;
    const struct sable_rollouts_process *process = pairs->process;
    const int64_t actions = process->actions;
    int64_t count = 0;
    if (!sable_rollouts_available(process, pair))
        return 0;
    for (int64_t k = process->indptr[pair]; k < process->indptr[pair + 1]; k++) {
        double p = process->chance[k], r = process->reward[k];
        int64_t next = process->next[k];
        if (p <= 0)
            continue;
        if (next < 0) {
            outcome[count++] = (struct sable_rollouts_outcome){p, r, -1};
            continue;
        }
        for (int64_t a = 0; a < actions; a++)
            if (pairs->policy[next * actions + a] > 0)
                outcome[count++] =
                    (struct sable_rollouts_outcome){p * pairs->policy[next * actions + a], r, next * actions + a};
    }
    return count;
}

int64_t sable_rollouts_pair_width(const struct sable_rollouts_process *process, int64_t width)
{
    int64_t most = 1;
    for (int64_t pair = 0; pair < process->states * process->actions; pair++) {
        int64_t count = 0;
        for (int64_t k = process->indptr[pair]; k < process->indptr[pair + 1]; k++)
            count += process->chance[k] <= 0 ? 0 : process->next[k] < 0 ? 1 : width;
        most = count > most ? count : most;
    }
    return most;
}

/* ---- Policies ---- */

void sable_rollouts_soft_policy(const struct sable_rollouts_process *process, int64_t state, int64_t action,
                                double epsilon, double *policy)
{
    int64_t available = 0;
    for (int64_t a = 0; a < process->actions; a++)
        available += sable_rollouts_available(process, state * process->actions + a);
    double each = (action < 0 ? 1 : epsilon) / (double)available;
    for (int64_t a = 0; a < process->actions; a++)
        policy[a] = sable_rollouts_available(process, state * process->actions + a) ? each : 0;
    if (action >= 0)
        policy[action] += 1 - epsilon;
}

int64_t sable_rollouts_best_action(const struct sable_rollouts_process *process, int64_t state, const double *q)
{
    int64_t best = -1;
    for (int64_t a = 0; a < process->actions; a++)
        if (sable_rollouts_available(process, state * process->actions + a) && q[a] == q[a] &&
            (best < 0 || q[a] > q[best]))
            best = a;
    return best;
}

/* ---- The optimum ---- */

/* One step more of a state: the ε-soft maximum over its actions. */
static double soft_maximum(const struct sable_rollouts_process *process, double epsilon, int64_t state,
                           const double *value)
{
    double best = 0, sum = 0;
    int64_t available = 0;
    for (int64_t pair = state * process->actions; pair < (state + 1) * process->actions; pair++) {
        double q = 0;
        if (!sable_rollouts_available(process, pair))
            continue;
        for (int64_t k = process->indptr[pair]; k < process->indptr[pair + 1]; k++)
            q += process->chance[k] *
                 (process->reward[k] + (process->next[k] < 0 ? 0 : process->gamma * value[process->next[k]]));
        best = available++ == 0 || q > best ? q : best;
        sum += q;
    }
    return available ? (1 - epsilon) * best + epsilon * sum / (double)available : 0;
}

bool sable_rollouts_optimum(const struct sable_rollouts_process *process, double epsilon, double *value)
{
    double *next = sable_array(process->states, 1, sizeof *next), *now = value;
    int64_t moved = 1;
    if (!next)
        return false;
    double *const other = next;
    memset(value, 0, (size_t)process->states * sizeof *value);
    for (int64_t t = 0; t < process->horizon && moved; t++) {
        moved = 0;
#pragma omp parallel for schedule(static) reduction(+ : moved)
        for (int64_t s = 0; s < process->states; s++) {
            next[s] = soft_maximum(process, epsilon, s, now);
            moved += next[s] != now[s];
        }
        double *swap = now;
        now = next;
        next = swap;
    }
    if (now != value)
        memcpy(value, now, (size_t)process->states * sizeof *value);
    sable_array_free(other);
    return true;
}

/* ---- Moments of weighted returns ---- */

enum { MOMENTS = 4 }; /* E[W G], E[W²], E[W² G], E[W² G²] */

static void weigh_backward(const struct sable_rollouts_process *process, const double *behaviour, const double *ratio,
                           int64_t state, double *const now[MOMENTS], double moment[MOMENTS])
{
    const double gamma = process->gamma;
    bool live = false;
    memset(moment, 0, MOMENTS * sizeof *moment);
    for (int64_t pair = state * process->actions; pair < (state + 1) * process->actions; pair++) {
        if (!sable_rollouts_available(process, pair) || behaviour[pair] <= 0)
            continue;
        live = true;
        for (int64_t k = process->indptr[pair]; k < process->indptr[pair + 1]; k++) {
            double p = behaviour[pair] * process->chance[k], r = process->reward[k], rho = ratio[pair];
            int64_t to = process->next[k];
            double v = to < 0 ? 0 : now[0][to], a = to < 0 ? 1 : now[1][to];
            double b = to < 0 ? 0 : now[2][to], c = to < 0 ? 0 : now[3][to];
            moment[0] += p * rho * (r + gamma * v);
            moment[1] += p * rho * rho * a;
            moment[2] += p * rho * rho * (r * a + gamma * b);
            moment[3] += p * rho * rho * (r * r * a + 2 * r * gamma * b + gamma * gamma * c);
        }
    }
    if (!live)
        moment[1] = 1;
}

bool sable_rollouts_expect_weights(const struct sable_rollouts_process *process, const double *behaviour,
                                   const double *ratio, struct sable_rollouts_weights_expected *expected)
{
    double *field[2][MOMENTS];
    bool good = true;
    int64_t moved = 1, t = 0;
    for (int f = 0; f < 2 * MOMENTS; f++)
        good = (field[f / MOMENTS][f % MOMENTS] = sable_array(process->states, 1, sizeof(double))) && good;
    for (int64_t s = 0; s < process->states && good; s++)
        for (int f = 0; f < MOMENTS; f++)
            field[0][f][s] = f == 1; /* an episode of no steps has the weight 1 */
    for (; t < process->horizon && moved && good; t++) {
        moved = 0;
#pragma omp parallel for schedule(static) reduction(+ : moved)
        for (int64_t s = 0; s < process->states; s++) {
            double moment[MOMENTS];
            weigh_backward(process, behaviour, ratio, s, field[t & 1], moment);
            for (int f = 0; f < MOMENTS; f++) {
                moved += moment[f] != field[t & 1][f][s];
                field[~t & 1][f][s] = moment[f];
            }
        }
    }
    for (int f = 0; f < MOMENTS; f++)
        sable_array_free(field[~t & 1][f]);
    double **result = field[t & 1];
    *expected = (struct sable_rollouts_weights_expected){result[0], result[1], result[2], result[3]};
    if (!good)
        sable_rollouts_weights_expected_free(expected);
    return good;
}

void sable_rollouts_weights_expected_free(struct sable_rollouts_weights_expected *expected)
{
    sable_array_free(expected->value);
    sable_array_free(expected->weight_square);
    sable_array_free(expected->cross);
    sable_array_free(expected->product_square);
    *expected = (struct sable_rollouts_weights_expected){0};
}
