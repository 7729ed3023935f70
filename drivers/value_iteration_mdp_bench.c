/* What the workloads over stored transitions share beside the solver: their lists, work model, verification, outputs.
 */
#include <float.h>
#include <math.h>
#include <stdlib.h>

#include "value_iteration_mdp_partition.h"

const char *const mdp_methods[] = {"vi", "mpi", "ipi", "pi", "gs", "anderson", "auto", NULL};
const char *const mdp_krylovs[] = {"gmres", "bicgstab", NULL};
const char *const mdp_preconditioners[] = {"none", "jacobi", NULL};
const char *const mdp_probabilities[] = {"float64", "codes", NULL};
const char *const mdp_reads[] = {"auto", "gathers", "loads", NULL};
const char *const mdp_partitions[] = {"block", "scotch", NULL};
const char *const mdp_stops[] = {"span", "residual", NULL};
const char *const mdp_starts[] = {"zero", "low", "high", NULL};
const char *const mdp_phases[] = {
    [MDP_PHASE_COMPUTE] = "compute", [MDP_PHASE_HALO] = "halo", [MDP_PHASE_REDUCE] = "reduce", NULL};
const struct sable_fault mdp_faults[] = {
    [MDP_FAULT_STALE_HALO - 1] = {"stale_halo",
                                  "exchange values in the first sweep only (one rank: between its halves)"},
    [MDP_FAULT_LOST_ROWS - 1] = {"lost_rows", "leave out the first eight states in every sweep"},
    [MDP_FAULT_GAMMA - 1] = {"wrong_gamma", "discount by 0.1 too little or too much"},
    [MDP_FAULT_FLIP_BIT - 1] = {"flip_bit", "flip a bit of one value of the result"},
    [MDP_FAULT_NAN - 1] = {"nan", "make one value of the result NaN"},
    {0},
};
const struct sable_field mdp_outputs[] = {
    {"v", "[states]", "value of each state (--keep full)"},
    {"policy", "[states] int32", "greedy action of each state (--keep full)"},
    {"bound", "[1]", "guaranteed bound of max |V - V*|; the policy loses at most twice that"},
    {"sweeps", "[3]", "Bellman sweeps, sweeps of evaluation, Krylov products"},
    {0},
};

/* ---- Work model ---- */

void mdp_work(const struct mdp_rank *g, struct sable_work *work)
{
    const double states = (double)g->padded, actions = (double)g->source->actions;
    const double sweeps = (double)g->sweeps, others = (double)(g->evaluations + g->products);
    const double swept = sweeps * (double)g->transitions, evaluated = others * (double)g->evaluated;
    const double gathers = swept + evaluated, transition = g->model.code ? 5 : 12;
    double memory = work->memory;
    *work = (struct sable_work){
        .items = (double)g->entries * (sweeps + others / actions),
        .flops_fp64 = 2 * gathers + 3 * actions * states * sweeps + 2 * states * others,
        /* Columns and probabilities, rewards, v read and written. */
        .bytes = transition * swept + 12 * evaluated +
                 states * (sweeps * (8 * actions + 16) + others * 24 + 8 * (double)g->vectors),
        .pattern = SABLE_READ,
        .working_set = transition * (double)g->transitions + states * (8 * actions + 16),
        .random_accesses = gathers,
        .random_set = 8 * (states + (double)g->ghosts),
        .bytes_network = g->halo_bytes * (double)g->exchanges + 32 * (sweeps + (double)g->evaluations),
        .messages = g->halo_messages * (double)g->exchanges + sweeps + (double)g->evaluations,
        .memory = memory,
    };
}

/* ---- Verification ---- */

/* Renumbered states: no state is lost, and each that a row leads to is found where its value goes. Values are numbers
 * of the model here. */
static int check_partition(struct mdp_rank *g, struct sable_context *context, const double *number, double *wrong,
                           struct sable_error *error)
{
    const struct mdp_partition *p = g->source->partition;
    if (mdp_partition_lost(p, context->comm, wrong, error))
        return error->code;
    for (int64_t i = 0; i < p->knowns; i++) {
        const int64_t at = mdp_local(g, p->fresh[i]);
        *wrong += at < 0 || !(number[at] == (double)p->known[i]);
    }
    return SABLE_OK;
}

/* Every ghost must get the value of the state that it stands for: tried with the states' own numbers. */
static int check_halo(struct mdp_rank *g, struct sable_context *context, double *wrong, struct sable_error *error)
{
    const struct mdp_partition *p = g->source->partition;
    double *number = g->v == g->value[0] ? g->value[1] : g->value[0];
    for (int64_t s = 0; s < g->part.count; s++)
        number[s] = (double)(p ? p->original[s] : g->part.first + s);
    if (mdp_halo_start(g, context, number, error) || mdp_halo_finish(g, number, error))
        return error->code;
    *wrong = 0;
    if (p)
        return check_partition(g, context, number, wrong, error);
    for (int64_t i = 0; i < g->ghosts; i++)
        *wrong += !(number[g->padded + i] == (double)g->ghost[i]);
    return SABLE_OK;
}

/* What the examination of a result finds, as in gridworlds: V − b ≤ T(V − b) and T(V + b) ≤ V + b prove the bound b. */
struct evidence {
    double below, above, loss;
};

static double worst(double a, double b)
{
    return isnan(a) || isnan(b) ? INFINITY : fmax(a, b);
}

/* One state, from the rows of the source: no code or storage of the sweeps. */
static void examine_state(const struct mdp_rank *g, int64_t s, int64_t *column, double *probability,
                          struct evidence *found)
{
    const double b = g->bound, v = g->v[s], gamma = g->source->gamma;
    double low = -INFINITY, high = -INFINITY, best = -INFINITY, chosen = -INFINITY;
    for (int64_t a = 0; a < g->source->actions; a++) {
        double reward, sum = 0, mass = 0;
        int64_t length = g->source->row(g->source->self, g->part.first + s, a, &reward, column, probability);
        if (!(reward > -INFINITY))
            continue;
        for (int64_t j = 0; j < length; j++) {
            sum += probability[j] * g->v[mdp_local(g, column[j])];
            mass += probability[j];
        }
        double q = (g->source->minimise ? -reward : reward) + gamma * sum;
        low = worst(low, q - gamma * b * mass);
        high = worst(high, q + gamma * b * mass);
        best = worst(best, q);
        if (a == g->policy[s])
            chosen = q;
    }
    found->below = worst(found->below, (v - b) - low);
    found->above = worst(found->above, high - (v + b));
    found->loss = worst(found->loss, best - chosen);
}

static int examine(const struct mdp_rank *g, struct evidence *found, struct sable_error *error)
{
    bool fits = true;
    double below = -INFINITY, above = -INFINITY, loss = -INFINITY;
#pragma omp parallel reduction(max : below, above, loss) reduction(&& : fits)
    {
        struct evidence own = {-INFINITY, -INFINITY, -INFINITY};
        int64_t *column = malloc(((size_t)g->source->longest + 1) * sizeof *column);
        double *probability = malloc(((size_t)g->source->longest + 1) * sizeof *probability);
        fits = column && probability;
#pragma omp for schedule(static)
        for (int64_t s = 0; s < g->part.count; s++)
            if (fits)
                examine_state(g, s, column, probability, &own);
        below = own.below, above = own.above, loss = own.loss;
        free(column);
        free(probability);
    }
    *found = (struct evidence){below, above, loss};
    return fits ? SABLE_OK : sable_fail(error, SABLE_ENVIRONMENT, "out of memory to examine the result");
}

int mdp_verify(struct mdp_rank *g, struct sable_context *context, struct sable_checks *checks,
               struct sable_error *error)
{
    struct evidence found = {0};
    double wrong, magnitude = 0;
    if (check_halo(g, context, &wrong, error) || mdp_halo_start(g, context, g->v, error) ||
        mdp_halo_finish(g, g->v, error))
        return error->code;
    examine(g, &found, error);
    if (sable_agree(context->comm, error))
        return error->code;
    for (int64_t s = 0; s < g->part.count; s++)
        magnitude = fmax(magnitude, fabs(g->v[s]));
    double own[4] = {found.below, found.above, found.loss, magnitude}, all[4], all_wrong;
    if (sable_check_mpi(MPI_Allreduce(own, all, 4, MPI_DOUBLE, MPI_MAX, context->comm), "MPI_Allreduce", error) ||
        sable_check_mpi(MPI_Allreduce(&wrong, &all_wrong, 1, MPI_DOUBLE, MPI_SUM, context->comm), "MPI_Allreduce",
                        error))
        return error->code;
    /* A row here is twice as many additions as in a sweep, over values of at most |v| + b. */
    double b = isfinite(g->bound) ? g->bound : 0;
    double rounding = 2 * sable_mdp_rounding(&g->facts, g->source->gamma, all[3] + b) + DBL_EPSILON * (all[3] + b);
    sable_check_at_most(checks, "bound of max |V - V*|", g->bound, g->params.tol);
    sable_check_at_most(checks, "V - bound is a subsolution", all[0], rounding);
    sable_check_at_most(checks, "V + bound is a supersolution", all[1], rounding);
    sable_check_at_most(checks, "loss of the policy's action", all[2], 2 * g->bound + rounding);
    sable_check(checks, "values that went to a wrong place", all_wrong, 0, 0);
    return SABLE_OK;
}

/* ---- Outputs ---- */

int mdp_put_states(const struct mdp_rank *g, struct sable_context *context, struct sable_sink *sink,
                   struct sable_array *array, MPI_Datatype type, struct sable_error *error)
{
    const struct mdp_partition *p = g->source->partition;
    const struct mdp_part part = p ? p->home : g->part;
    int size;
    MPI_Type_size(type, &size);
    void *home = p ? malloc(((size_t)part.count + 1) * (size_t)size) : NULL;
    if (p && !home)
        sable_fail(error, SABLE_ENVIRONMENT, "out of memory for outputs");
    if (sable_agree(context->comm, error) ||
        (p && mdp_partition_return(p, context->comm, type, array->data, home, error))) {
        free(home);
        return error->code;
    }
    array->data = p ? home : array->data;
    array->offset[0] = part.first, array->count[0] = part.count;
    sable_put(sink, array, error);
    free(home);
    return error->code;
}

int mdp_output(const struct mdp_rank *g, struct sable_context *context, struct sable_sink *sink,
               struct sable_error *error)
{
    struct sable_array array = {.name = "policy",
                                .unit = "",
                                .help = "greedy action of each state",
                                .keep = SABLE_KEEP_FULL,
                                .type = SABLE_I32,
                                .dims = 1,
                                .global = {g->source->states},
                                .labels = {"state"},
                                .data = g->policy};
    if (mdp_put_states(g, context, sink, &array, MPI_INT32_T, error))
        return error->code;
    double *cost = NULL;
    if (g->source->minimise) {
        if (!(cost = malloc(((size_t)g->part.count + 1) * sizeof *cost)))
            sable_fail(error, SABLE_ENVIRONMENT, "out of memory for values");
        for (int64_t s = 0; cost && s < g->part.count; s++)
            cost[s] = 0 - g->v[s];
    }
    if (sable_agree(context->comm, error)) {
        free(cost);
        return error->code;
    }
    array.name = "v", array.help = "value of each state", array.type = SABLE_F64;
    array.tolerance = 2 * g->params.tol; /* each is within tol of V* */
    array.data = cost ? cost : g->v;
    mdp_put_states(g, context, sink, &array, MPI_DOUBLE, error);
    free(cost);
    /* They depend on the method, not on the model: no part of the digest. */
    const int64_t counts[3] = {g->sweeps, g->evaluations, g->products};
    const struct sable_array bound = {.name = "bound",
                                      .help = "guaranteed bound of max |V - V*|",
                                      .no_digest = true,
                                      .type = SABLE_F64,
                                      .dims = 1,
                                      .global = {1},
                                      .labels = {"value"},
                                      .data = &g->bound};
    const struct sable_array sweeps = {.name = "sweeps",
                                       .help = "Bellman sweeps, sweeps of evaluation, Krylov products",
                                       .no_digest = true,
                                       .type = SABLE_I64,
                                       .dims = 1,
                                       .global = {3},
                                       .labels = {"value"},
                                       .data = counts};
    if (error->code || sable_put_whole(sink, &bound, error))
        return error->code;
    return sable_put_whole(sink, &sweeps, error);
}
