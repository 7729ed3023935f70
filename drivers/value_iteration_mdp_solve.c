/* Solving a decision process over ranks: value iteration, modified, inexact and full policy iteration. All are the same
 * loop (Puterman 1994, §6.5; Gargiani et al., SIAM J. Optim., 2024): one Bellman sweep T v, whose change proves a bound
 * of the distance to V*; if that is not enough, the values T v are brought closer to those of their greedy policy:
 * not at all (vi), by some sweeps of evaluation (mpi), by a Krylov method loosely (ipi) or tightly (pi); or closer to
 * V* itself, by sweeps in place (gs) or by combining the last sweeps (anderson). */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "value_iteration_mdp.h"

static const double exact = 1e-10; /* pi: how far the residual of an evaluation falls */

/* ---- One step ---- */

static void compute(struct mdp_rank *g, enum mdp_step step, const int32_t *list, int64_t count, const double *v,
                    double *next, struct sable_mdp_change *change)
{
    struct sable_mdp rows = g->rows;
    if (step == MDP_PRODUCT)
        rows.reward = g->no_reward;
    if (step == MDP_IMPROVE)
        sable_mdp_improve(&g->model, g->gamma, list, count, v, next, g->policy, g->rows.blocks ? &g->rows : NULL,
                          change);
    else
        sable_mdp_sweep(step == MDP_SWEEP ? &g->model : &rows, g->gamma, list, count, v, next, change);
}

static void compute_reference(struct mdp_rank *g, enum mdp_step step, const double *v, double *next,
                              struct sable_mdp_change *change)
{
    struct sable_mdp_csr csr = g->csr;
    if (step == MDP_PRODUCT)
        csr.reward = g->no_reward;
    if (step == MDP_SWEEP || step == MDP_IMPROVE)
        sable_mdp_reference_sweep(&csr, g->gamma, v, next, step == MDP_IMPROVE ? g->policy : NULL, change);
    else
        sable_mdp_reference_evaluate(&csr, g->gamma, g->policy, v, next, change);
}

static double start_value(const struct mdp_rank *g)
{
    double horizon = 1 / (1 - g->source->gamma * g->facts.row_most);
    if (g->params.start == MDP_START_LOW)
        return fmin(g->reward_low, 0) * horizon;
    return g->params.start == MDP_START_HIGH ? fmax(g->reward_high, 0) * horizon : 0;
}

/* Faults: one rank has no halo, so there the second half of the states sees the first as it was at the start. */
static int go_stale(struct mdp_rank *g, enum mdp_step step, const double *v, double *next, struct sable_error *error)
{
    const int64_t half = g->padded / SABLE_MDP_LANES / 2 * SABLE_MDP_LANES;
    struct sable_mdp_change change = SABLE_MDP_UNCHANGED;
    double *stale = malloc((size_t)g->padded * sizeof *stale), *result = malloc((size_t)g->padded * sizeof *result);
    if (!stale || !result || half == 0)
        sable_fail(error, SABLE_BAD_INPUT, "stale_halo: eight states have no seam; use a larger model or more ranks");
    else {
        memcpy(stale, v, (size_t)g->padded * sizeof *stale);
        for (int64_t s = 0; s < half; s++)
            stale[s] = start_value(g);
        if (g->reference)
            compute_reference(g, step, stale, result, &change);
        else
            compute(g, step, g->list, g->inner + g->outer, stale, result, &change);
        memcpy(next + half, result + half, (size_t)(g->padded - half) * sizeof *next);
    }
    free(stale);
    free(result);
    return error->code;
}

static int spoil_step(struct mdp_rank *g, const struct sable_context *context, enum mdp_step step, const double *v,
                      double *next, struct sable_error *error)
{
    if (context->fault == MDP_FAULT_LOST_ROWS && context->layout.rank == 0)
        for (int64_t s = 0; s < SABLE_MDP_LANES; s++)
            next[s] = step == MDP_PRODUCT ? 0 : start_value(g);
    if (context->fault == MDP_FAULT_STALE_HALO && context->layout.ranks == 1 && g->exchanges > 1)
        return go_stale(g, step, v, next, error);
    return SABLE_OK;
}

int mdp_apply(struct mdp_rank *g, struct sable_context *context, enum mdp_step step, double *v, double *next,
              struct sable_mdp_change *change, struct sable_error *error)
{
    bool lost = context->fault == MDP_FAULT_STALE_HALO && g->exchanges > 0;
    g->exchanges++;
    *change = SABLE_MDP_UNCHANGED;
    if (lost) /* receives go into both vectors of values in turn: ghosts stay at the start in both */
        for (int64_t i = 0; i < g->ghosts; i++)
            v[g->padded + i] = start_value(g);
    sable_phase(context, MDP_PHASE_HALO);
    if (!lost && mdp_halo_start(g, context, v, error))
        return error->code;
    sable_phase(context, MDP_PHASE_COMPUTE);
    if (!g->reference)
        compute(g, step, g->list, g->inner, v, next, change);
    sable_phase(context, MDP_PHASE_HALO);
    if (!lost && mdp_halo_finish(g, v, error))
        return error->code;
    sable_phase(context, MDP_PHASE_COMPUTE);
    if (g->reference)
        compute_reference(g, step, v, next, change);
    else
        compute(g, step, g->list + g->inner, g->outer, v, next, change);
    return spoil_step(g, context, step, v, next, error);
}

int mdp_reduce(struct sable_context *context, struct sable_mdp_change *change, struct sable_error *error)
{
    double own[4] = {-change->low, change->high, change->magnitude, change->finite ? 0 : 1}, all[4];
    sable_phase(context, MDP_PHASE_REDUCE);
    sable_count_sent(context, sizeof own);
    if (sable_check_mpi(MPI_Allreduce(own, all, 4, MPI_DOUBLE, MPI_MAX, context->comm), "MPI_Allreduce", error))
        return error->code;
    *change = (struct sable_mdp_change){0 - all[0], all[1] + 0.0, all[2], all[3] == 0};
    return SABLE_OK;
}

/* ---- Between two improvements ---- */

/* Some sweeps with the policy held fixed; ends early when the extent of their change has fallen enough. */
static int evaluate(struct mdp_rank *g, struct sable_context *context, double extent, int *now,
                    struct sable_error *error)
{
    struct sable_mdp_change change;
    for (int64_t k = 0; k < g->params.inner; k++) {
        double *v = g->value[*now], *next = g->value[1 - *now];
        if (mdp_apply(g, context, MDP_EVALUATE, v, next, &change, error) || mdp_reduce(context, &change, error))
            return error->code;
        *now = 1 - *now;
        g->evaluations++;
        if (!change.finite || change.high - change.low <= g->params.forcing * extent)
            break;
    }
    return SABLE_OK;
}

/* auto: is evaluation worth it after this sweep? Yes, unless it last gained (by the logarithm of the extents' ratio for
 * one reading of the model) less than twice what a sweep alone is sure to gain, three times in a row; then 15 sweeps go
 * without. Depends on extents and counts only: the same on any layout. */
static bool pays(struct mdp_rank *g, double extent)
{
    enum { FAILURES = 3, WITHOUT = 15 };
    struct mdp_choice *c = &g->choice;
    if (c->extent > 0) {
        const double read = 1 + (double)(g->evaluations - c->evaluations) / (double)g->source->actions;
        const bool gains = log(c->extent / extent) / read >= -2 * log(g->gamma * g->facts.row_most);
        c->failures = gains ? 0 : c->failures + 1;
        c->without = c->failures >= FAILURES ? WITHOUT : 0;
    }
    const bool evaluates = c->without == 0;
    c->without -= !evaluates;
    c->extent = evaluates ? extent : 0;
    c->evaluations = g->evaluations;
    return evaluates;
}

static int approach(struct mdp_rank *g, struct sable_context *context, double extent, double shift, int64_t most,
                    int *now, struct sable_error *error)
{
    switch (g->params.method) {
    case MDP_AUTO:
        return pays(g, extent) ? evaluate(g, context, extent, now, error) : SABLE_OK;
    case MDP_MODIFIED:
        return evaluate(g, context, extent, now, error);
    case MDP_COLOURED:
        return mdp_gauss_seidel(g, context, extent, shift, now, error);
    case MDP_ANDERSON:
        return mdp_anderson(g, context, extent, now, error);
    case MDP_INEXACT:
    case MDP_POLICY:
        mdp_diagonal(g);
        return (g->params.krylov == MDP_PETSC      ? mdp_ksp_solve
                : g->params.krylov == MDP_BICGSTAB ? mdp_bicgstab
                                                   : mdp_gmres)(
            g, context, g->params.method == MDP_POLICY ? exact : g->params.forcing, most, now, error);
    default:
        return SABLE_OK;
    }
}

/* ---- The loop ---- */

/* Sweeps after which value iteration by a contraction must have met the tolerance, and twice that: a solver that needs
 * more is wrong, and is stopped to be told so by verification. */
static int64_t most_steps(const struct mdp_rank *g)
{
    double rate = g->source->gamma * g->facts.row_most, least = 0;
    if (g->facts.reward_most > 0)
        least = g->params.tol * (1 - rate) * (1 - rate) / (4 * g->facts.reward_most);
    double enough = rate > 0 && least > 0 && least < 1 ? 2 * log(least) / log(rate) : 0;
    const bool sweeps =
        g->params.method == MDP_MODIFIED || g->params.method == MDP_COLOURED || g->params.method == MDP_AUTO;
    const bool products = g->params.method == MDP_INEXACT || g->params.method == MDP_POLICY;
    double per_improvement = 1 + (double)(sweeps ? g->params.inner : products ? g->params.restart : 0);
    enough = (enough + 100) * per_improvement;
    return enough < (double)g->params.max_sweeps ? (int64_t)enough : g->params.max_sweeps;
}

static int64_t steps(const struct mdp_rank *g)
{
    return g->sweeps + g->evaluations + g->products;
}

/* Improves until the bound is small enough. T v is then in value[*now], and the policy belongs to v. */
static int iterate(struct mdp_rank *g, struct sable_context *context, int *now, struct sable_mdp_bound *bound,
                   struct sable_error *error)
{
    const int64_t most = most_steps(g);
    struct sable_mdp_change change;
    double last = 0, before = INFINITY;
    *now = 0;
    while (true) {
        /* Value iteration needs no policy before its last sweep: guess by the bounds so far that this one is it. */
        bool improve = g->params.method != MDP_VI || last * last / before <= g->params.tol;
        double *v = g->value[*now], *next = g->value[1 - *now];
        if (mdp_apply(g, context, improve ? MDP_IMPROVE : MDP_SWEEP, v, next, &change, error) ||
            mdp_reduce(context, &change, error))
            return error->code;
        *now = 1 - *now;
        g->sweeps++;
        *bound = sable_mdp_certify(&g->facts, g->gamma, change, g->params.stop == 0);
        before = last > 0 ? last : INFINITY;
        last = bound->bound;
        bool done = bound->bound <= g->params.tol || bound->exhausted || !change.finite || steps(g) >= most;
        if (done && !improve) { /* the guess was wrong: the same sweep again, for its policy */
            g->sweeps++;
            return mdp_apply(g, context, MDP_IMPROVE, v, next, &change, error);
        }
        if (done)
            return SABLE_OK;
        if (approach(g, context, change.high - change.low, bound->shift, most - steps(g), now, error))
            return error->code;
    }
}

/* fault: spoils the largest value of the rank that owns the last state. */
static void spoil_result(struct mdp_rank *g, const struct sable_context *context)
{
    if ((context->fault != MDP_FAULT_FLIP_BIT && context->fault != MDP_FAULT_NAN) || g->part.count == 0 ||
        g->part.first + g->part.count != g->source->states)
        return;
    double *largest = g->v;
    for (int64_t s = 0; s < g->part.count; s++)
        if (fabs(g->v[s]) > fabs(*largest))
            largest = &g->v[s];
    uint64_t bits;
    memcpy(&bits, largest, sizeof bits);
    bits = context->fault == MDP_FAULT_NAN ? UINT64_C(0x7ff8000000000000) : bits ^ UINT64_C(1) << 52;
    memcpy(largest, &bits, sizeof bits);
}

void mdp_start(struct mdp_rank *g)
{
    double start = start_value(g);
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < g->padded + g->ghosts; i++)
        g->value[0][i] = g->value[1][i] = start;
    for (int64_t i = 0; i < g->padded; i++)
        g->policy[i] = -1;
    g->v = g->value[0];
    g->choice = (struct mdp_choice){0};
    g->kept = 0, g->last_extent = INFINITY;
    g->exchanges = g->sweeps = g->evaluations = g->products = g->vectors = 0;
    g->bound = INFINITY;
}

int mdp_solve(struct mdp_rank *g, struct sable_context *context, struct sable_error *error)
{
    struct sable_mdp_bound bound = {0};
    int now;
    if (context->fault == MDP_FAULT_GAMMA)
        g->gamma = g->source->gamma < 0.5 ? g->source->gamma + 0.1 : g->source->gamma - 0.1;
    iterate(g, context, &now, &bound, error);
    g->gamma = g->source->gamma;
    if (error->code)
        return error->code;
    if (bound.exhausted && !(bound.bound <= g->params.tol) && !context->fault)
        return sable_fail(error, SABLE_BAD_INPUT, "tol=%g is finer than double precision can prove here: at least %.2g",
                          g->params.tol, bound.bound);
    g->v = g->value[now];
    g->bound = bound.bound;
#pragma omp parallel for schedule(static)
    for (int64_t s = 0; s < g->padded; s++)
        g->v[s] += bound.shift;
    spoil_result(g, context);
    return SABLE_OK;
}
