/* Bellman sweeps over compressed sparse rows, as a textbook writes them: for every state, for every action, for every
 * transition (Puterman 1994, eq. 6.3.2). Bound by the latency of v[column]. */
#include "sable_mdp.h"

#include <math.h>

static void widen(struct sable_mdp_change *change, double old, double new)
{
    double d = new - old;
    change->finite = change->finite && isfinite(new);
    change->low = d < change->low ? d : change->low;
    change->high = d > change->high ? d : change->high;
    change->magnitude = fabs(new) > change->magnitude ? fabs(new) : change->magnitude;
}

static double action_value(const struct sable_mdp_csr *model, double gamma, int64_t row, const double *v)
{
    double sum = 0;
    for (int64_t k = model->start[row]; k < model->start[row + 1]; k++)
        sum = fma(model->probability[k], v[model->column[k]], sum);
    return fma(gamma, sum, model->reward[row]);
}

void sable_mdp_reference_sweep(const struct sable_mdp_csr *model, double gamma, const double *v, double *next,
                               int32_t *policy, struct sable_mdp_change *change)
{
    for (int64_t s = 0; s < model->states; s++) {
        double best = -INFINITY;
        int32_t greedy = 0;
        for (int64_t a = 0; a < model->actions; a++) {
            double q = action_value(model, gamma, s * model->actions + a, v);
            if (q > best) {
                best = q;
                greedy = (int32_t)a;
            }
        }
        next[s] = best;
        if (policy)
            policy[s] = greedy;
        widen(change, v[s], best);
    }
}

void sable_mdp_reference_evaluate(const struct sable_mdp_csr *model, double gamma, const int32_t *policy,
                                  const double *v, double *next, struct sable_mdp_change *change)
{
    for (int64_t s = 0; s < model->states; s++) {
        next[s] = action_value(model, gamma, s * model->actions + policy[s], v);
        widen(change, v[s], next[s]);
    }
}
