/* Ways to bring values closer to V* between two Bellman sweeps without a policy. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "value_iteration_mdp.h"

/* ---- Gauss–Seidel ----
 * Blocks of MDP_BLOCK states have colours in turn by their place in the whole model. All blocks of a colour are swept
 * from the same values, then these take their place: what is swept later sees them, on whatever rank it is
 * (Bertsekas & Tsitsiklis, Parallel and Distributed Computation, 1989, §1.2). */

/* value[now] takes over the colour's blocks from value[1 − now]. */
static void take_over(struct mdp_rank *g, const struct mdp_colour *colour, int now, struct sable_mdp_change *change)
{
    double *v = g->value[now], low = INFINITY, high = -INFINITY, magnitude = 0;
    const double *next = g->value[1 - now];
    bool finite = true;
#pragma omp parallel for schedule(static) reduction(min : low) reduction(max : high, magnitude) reduction(&& : finite)
    for (int64_t b = 0; b < colour->inner + colour->outer; b++) {
        const int64_t begin = colour->list[b] * SABLE_MDP_LANES, end = begin + SABLE_MDP_LANES;
        for (int64_t s = begin; s < end && s < g->part.count; s++) {
            low = fmin(low, next[s] - v[s]), high = fmax(high, next[s] - v[s]);
            magnitude = fmax(magnitude, fabs(next[s]));
            finite = finite && isfinite(next[s]);
        }
        memcpy(v + begin, next + begin, SABLE_MDP_LANES * sizeof *v);
    }
    change->low = fmin(change->low, low), change->high = fmax(change->high, high);
    change->magnitude = fmax(change->magnitude, magnitude);
    change->finite = change->finite && finite;
    g->vectors += 3;
}

static int sweep_in_place(struct mdp_rank *g, struct sable_context *context, int now, struct sable_mdp_change *change,
                          struct sable_error *error)
{
    int32_t *const list = g->list;
    const int64_t inner = g->inner, outer = g->outer;
    *change = SABLE_MDP_UNCHANGED;
    for (int64_t c = 0; c < g->params.colours && !error->code; c++) {
        struct sable_mdp_change unused;
        g->list = g->colour[c].list, g->inner = g->colour[c].inner, g->outer = g->colour[c].outer;
        if (!mdp_apply(g, context, MDP_SWEEP, g->value[now], g->value[1 - now], &unused, error))
            take_over(g, &g->colour[c], now, change);
    }
    g->list = list, g->inner = inner, g->outer = outer;
    return error->code;
}

/* A sweep in place takes away little of an error that all states share, and the bounds know its middle: away with it.
 */
static void shift_values(struct mdp_rank *g, double shift, double *v)
{
#pragma omp parallel for schedule(static)
    for (int64_t s = 0; s < g->padded; s++)
        v[s] += shift;
    g->vectors += 2;
}

int mdp_gauss_seidel(struct mdp_rank *g, struct sable_context *context, double extent, double shift, int *now,
                     struct sable_error *error)
{
    struct sable_mdp_change change;
    shift_values(g, shift, g->value[*now]);
    for (int64_t k = 0; k < g->params.inner; k++) {
        if (sweep_in_place(g, context, *now, &change, error) || mdp_reduce(context, &change, error))
            return error->code;
        g->sweeps++;
        if (!change.finite || change.high - change.low <= g->params.forcing * extent)
            break;
    }
    return SABLE_OK;
}

/* ---- Anderson acceleration ----
 * With f = T v − v of this and of up to `depth` earlier sweeps: v ← T v − Σ θ_j ΔT_j where θ makes |f − Σ θ_j Δf_j|
 * least (Anderson, J. ACM 12, 1965; Walker & Ni, SIAM J. Numer. Anal. 49, 2011; for T: Geist & Scherrer, 2018). T is no
 * linear map and not smooth, so a combination may be worse than T v. It is taken only if the extent of the sweep's
 * change has fallen by the contraction's factor since the last one that was; else v ← T v, which lets it fall: so the
 * method converges no slower than a constant times value iteration. */

static void difference(struct mdp_rank *g, const double *x, const double *y, double *z)
{
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < g->padded; i++)
        z[i] = x[i] - y[i];
    g->vectors += 3;
}

/* Solves gram·theta = rhs by Cholesky's factorisation in place; false where the matrix is numerically singular. */
static bool solve(int64_t n, double *gram, double *theta)
{
    double most = 0;
    for (int64_t j = 0; j < n; j++)
        most = fmax(most, gram[j * n + j]);
    for (int64_t j = 0; j < n; j++) {
        for (int64_t i = j; i < n; i++) {
            for (int64_t k = 0; k < j; k++)
                gram[i * n + j] -= gram[i * n + k] * gram[j * n + k];
            if (i == j && !(gram[j * n + j] > 1e-13 * most))
                return false;
            gram[i * n + j] = i == j ? sqrt(gram[j * n + j]) : gram[i * n + j] / gram[j * n + j];
        }
        for (int64_t k = 0; k < j; k++)
            theta[j] -= gram[j * n + k] * theta[k];
        theta[j] /= gram[j * n + j];
    }
    for (int64_t j = n - 1; j >= 0; j--) {
        for (int64_t i = j + 1; i < n; i++)
            theta[j] -= gram[i * n + j] * theta[i];
        theta[j] /= gram[j * n + j];
    }
    return true;
}

/* Products of the difference in `slot` with all, and of all with f. */
static int update_products(struct mdp_rank *g, struct sable_context *context, int64_t slot, int64_t n, double *f,
                           double *theta, struct sable_error *error)
{
    const int64_t depth = g->params.depth;
    double *const *df = g->vector + 2, *row = malloc((size_t)depth * sizeof *row);
    if (!row)
        return sable_fail(error, SABLE_ENVIRONMENT, "out of memory for Anderson acceleration");
    if (!mdp_dots(g, context, n, df, df[slot], row, error))
        for (int64_t j = 0; j < n; j++)
            g->gram[slot * depth + j] = g->gram[j * depth + slot] = row[j];
    free(row);
    return error->code ? error->code : mdp_dots(g, context, n, df, f, theta, error);
}

/* v −= Σ θ_j ΔT_j; false if the differences depend on one another. */
static int extrapolate(struct mdp_rank *g, int64_t n, double *theta, double *v, bool *independent,
                       struct sable_error *error)
{
    const int64_t depth = g->params.depth;
    double *gram = malloc((size_t)(n * n) * sizeof *gram);
    if (!gram)
        return sable_fail(error, SABLE_ENVIRONMENT, "out of memory for Anderson acceleration");
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < n; j++)
            gram[i * n + j] = g->gram[i * depth + j];
    *independent = solve(n, gram, theta);
    free(gram);
    for (int64_t j = 0; j < n; j++)
        theta[j] = -theta[j];
    if (*independent)
        mdp_combine(g, n, g->vector + 2 + depth, theta, v);
    return SABLE_OK;
}

int mdp_anderson(struct mdp_rank *g, struct sable_context *context, double extent, int *now, struct sable_error *error)
{
    enum { MOST_DEPTH = 32 };
    const int64_t depth = g->params.depth;
    double *v = g->value[*now], *f = g->value[1 - *now], theta[MOST_DEPTH] = {0};
    double *last_f = g->vector[0], *last_v = g->vector[1];
    bool independent = true;
    sable_phase(context, MDP_PHASE_COMPUTE);
    difference(g, v, f, f); /* f = T v − v takes the place of v */
    if (g->kept > 0) {
        const int64_t slot = (g->kept - 1) % depth, n = g->kept < depth ? g->kept : depth;
        difference(g, f, last_f, g->vector[2 + slot]);
        difference(g, v, last_v, g->vector[2 + depth + slot]);
        memcpy(last_f, f, (size_t)g->padded * sizeof *f);
        memcpy(last_v, v, (size_t)g->padded * sizeof *v);
        if (update_products(g, context, slot, n, f, theta, error))
            return error->code;
        if (extent <= g->gamma * g->facts.row_most * g->last_extent) {
            if (extrapolate(g, n, theta, v, &independent, error))
                return error->code;
            g->last_extent = extent;
        }
        g->kept = independent ? g->kept + 1 : 1; /* else begins anew from this sweep */
    } else {
        memcpy(last_f, f, (size_t)g->padded * sizeof *f);
        memcpy(last_v, v, (size_t)g->padded * sizeof *v);
        g->kept = 1;
    }
    return SABLE_OK;
}
