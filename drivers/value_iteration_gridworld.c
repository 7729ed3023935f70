/* value_iteration/gridworld: discounted value iteration on a gridworld of n × n cells, matrix-free, to a guaranteed
 * bound. It measures memory arithmetic on a stencil of max and plus, several sweeps in one pass
 * through memory, and, in strong scaling, the latency of a halo exchange a pass and a reduction every few sweeps.
 * Mathematics, work model, parallel scheme: docs/value_iteration.md. */
#include <math.h>
#include <stdlib.h>

#include "gridworld_rank.h"

/* With selections (of the reward and the four arrivals) an update is 19 operations on a lane, and the two extremes of
 * the change make it 22; the policy's is 31: kernels/value_iteration/gridworld_lanes.h, gridworld_sweep.isa.c. */
enum {
    FLOPS_OF_UPDATE = 17,
    FLOPS_OF_POLICY = 17,
    OPERATIONS_OF_UPDATE = 19,
    OPERATIONS_OF_CHANGE = 3,
    OPERATIONS_OF_POLICY = 31,
    SAMPLES = 64
};

#define PARAM(field) offsetof(struct gridworld_params, field)
static const char *const stops[] = {"span", "residual", NULL};
static const char *const starts[] = {"zero", "low", "high", NULL};
static const char *const stores[] = {"auto", "regular", "streaming", NULL};
static const struct sable_param parameters[] = {
    {"n", SABLE_INT, PARAM(n), "cells", 1, 2e9, 0, 0, NULL, "512", "rows, and columns unless `columns` is given"},
    {"columns", SABLE_INT, PARAM(columns), "cells", 0, 2e9, 0, 0, NULL, "0", "columns; 0: as many as rows"},
    {"gamma", SABLE_REAL, PARAM(gamma), "", 0, 0.9999999, 0, 0, NULL, "0.95", "discount"},
    {"slip", SABLE_REAL, PARAM(slip), "", 0, 1, 0, 0, NULL, "0.2", "chance that a move goes to one of its two sides"},
    {"tol", SABLE_REAL, PARAM(tol), "", 0, 1e9, 0, 0, NULL, "1e-6", "guaranteed bound of max |V - V*|"},
    {"stop", SABLE_CHOICE, PARAM(stop), "", 0, 0, 0, 0, stops, "span", "which bound: MacQueen-Porteus, or residual"},
    {"start", SABLE_CHOICE, PARAM(start), "", 0, 0, 0, 0, starts, "zero",
     "V before the first sweep: 0, or the least or largest value that the rewards allow"},
    {"check", SABLE_INT, PARAM(check), "sweeps", 1, 1e6, 0, 0, NULL, "8",
     "look at the bound after each so many; the last ones run while the ranks tell each other"},
    {"depth", SABLE_INT, PARAM(depth), "sweeps", 0, SABLE_GRIDWORLD_DEPTH, 0, 0, NULL, "0",
     "in one pass over a block, at most `check` (0: 8); with 1 the inner cells are swept while the halo travels"},
    {"max_sweeps", SABLE_INT, PARAM(max_sweeps), "", 2, 1e15, 0, 0, NULL, "10000000", "give up (FAIL) after so many"},
    {"stores", SABLE_CHOICE, PARAM(stores), "", 0, 0, 0, 0, stores, "auto", "past the caches, or through them"},
    {"obstacles", SABLE_REAL, PARAM(share.obstacles), "", 0, 1, 0, 0, NULL, "0.1",
     "share of cells that can't be entered"},
    {"forbidden", SABLE_REAL, PARAM(share.forbidden), "", 0, 1, 0, 0, NULL, "0.1", "share of cells with a penalty"},
    {"goals", SABLE_REAL, PARAM(share.goals), "", 0, 1, 0, 0, NULL, "0", "share of cells that end it with r_target"},
    {"holes", SABLE_REAL, PARAM(share.holes), "", 0, 1, 0, 0, NULL, "0", "share of cells that end it with r_hole"},
    {"targets", SABLE_REAL, PARAM(share.targets), "", 0, 1, 0, 0, NULL, "0.001",
     "share of cells paying r_target again and again"},
    {"r_boundary", SABLE_REAL, PARAM(boundary), "", -1e6, 1e6, 0, 0, NULL, "-1", "reward for running into something"},
    {"r_forbidden", SABLE_REAL, PARAM(forbidden), "", -1e6, 1e6, 0, 0, NULL, "-1",
     "reward for entering a forbidden cell"},
    {"r_target", SABLE_REAL, PARAM(target), "", -1e6, 1e6, 0, 0, NULL, "1", "reward for entering a target or goal"},
    {"r_hole", SABLE_REAL, PARAM(hole), "", -1e6, 1e6, 0, 0, NULL, "-1", "reward for falling into a hole"},
    {"r_other", SABLE_REAL, PARAM(other), "", -1e6, 1e6, 0, 0, NULL, "0", "reward for any other step"},
    {0},
};

static const struct sable_class classes[] = {
    {"T", "n=97 columns=131 gamma=0.95 tol=1e-6"}, {"S", "n=512 gamma=0.95 tol=1e-6"},
    {"A", "n=2048 gamma=0.95 tol=1e-3"},           {"B", "n=8192 gamma=0.95 tol=0.1"},
    {"C", "n=32768 gamma=0.95 tol=0.1"},           {"D", "n=131072 gamma=0.95 tol=0.1"},
    {"E", "n=524288 gamma=0.95 tol=0.1"},          {0}};
static const struct sable_growth weak[] = {{"n", 0.5}, {"columns", 0.5}, {0}};
static const char *const phases[] = {
    [PHASE_COMPUTE] = "compute", [PHASE_HALO] = "halo", [PHASE_REDUCE] = "reduce", NULL};
static const struct sable_fault faults[] = {
    [FAULT_STALE_HALO - 1] = {"stale_halo",
                              "exchange the halo in the first sweep only (one rank: half a block's seam)"},
    [FAULT_SKIP_BLOCK - 1] = {"skip_block", "leave out some rows of rank 0 in every sweep"},
    [FAULT_WRONG_GAMMA - 1] = {"wrong_gamma", "discount by 0.1 too little or too much"},
    [FAULT_FLIP_BIT - 1] = {"flip_bit", "flip a bit of one value of the result"},
    [FAULT_NAN - 1] = {"nan", "make one value of the result NaN"},
    {0},
};
static const struct sable_field inputs[] = {
    {"cells", "[rows, columns] uint8", "0 free, 1 obstacle, 2 forbidden, 3 goal, 4 hole, 5 target"},
    {"gamma, slip, r_boundary, r_forbidden, r_target, r_hole, r_other", "attributes of /", "instead of the parameters"},
    {0},
};
static const struct sable_field outputs[] = {
    {"v", "[rows, columns]", "values, 0 on obstacles, goals and holes (--keep full)"},
    {"policy", "[rows, columns] int8", "0 stay, 1 north, 2 east, 3 south, 4 west, -1 none (--keep full)"},
    {"v_sampled", "[at most 64, at most 64]", "values of every k-th row and column"},
    {"change", "[looks, 2]", "least and most change of r + gamma V in every `check`-th sweep"},
    {"sweeps", "[1]", "backups of every state"},
    {"bound", "[1]", "guaranteed bound of max |V - V*|"},
    {0},
};

static int64_t columns_of(const struct gridworld_params *p)
{
    return p->columns ? p->columns : p->n;
}

static int check(const void *params, struct sable_layout layout, struct sable_error *error)
{
    (void)layout;
    const struct gridworld_params *p = params;
    double share = p->share.obstacles + p->share.forbidden + p->share.goals + p->share.holes + p->share.targets;
    if (!(share <= 1))
        return sable_fail(
            error, SABLE_BAD_INPUT,
            "obstacles + forbidden + goals + holes + targets = %g: the shares of cells add up to at most 1", share);
    struct sable_gridworld_model model = gridworld_model(p);
    if (!(p->tol >= sable_gridworld_floor(&model)))
        return sable_fail(error, SABLE_BAD_INPUT, "tol=%g is finer than double precision can prove here: at least %.2g",
                          p->tol, sable_gridworld_floor(&model));
    return SABLE_OK;
}

/* ---- Work model ---- */

static void work(const void *params, struct sable_layout layout, const void *state, struct sable_work *work)
{
    const struct gridworld_params *p = params;
    const struct gridworld_rank *g = state;
    struct sable_block part;
    sable_block_of(g ? g->part.rows : p->n, g ? g->part.columns : columns_of(p), false, layout, &part);
    const int depth = gridworld_depth(p, &part);
    const double cells = (double)part.height * (double)part.width;
    const double sweeps = g ? (double)g->sweeps - 1 : 0, policies = g ? 1 : 0, looks = g ? (double)g->looks : 0;
    const double passes = g ? (double)g->passes : 0, reductions = fmax(looks - 1, 0);
    double bytes_halo, messages_halo;
    sable_halo_traffic(&part, layout, depth, depth > 1, sizeof(double), &bytes_halo, &messages_halo);
    *work = (struct sable_work){
        .items = (g ? (double)g->states : cells * (1 - p->share.obstacles)) * (sweeps + policies),
        .flops_fp64 = cells * (FLOPS_OF_UPDATE * sweeps + FLOPS_OF_POLICY * policies),
        .operations_fp64 =
            cells * (OPERATIONS_OF_UPDATE * sweeps + OPERATIONS_OF_CHANGE * looks + OPERATIONS_OF_POLICY * policies),
        .bytes = cells * (17 * passes + 18 * policies), /* U, a byte a cell, U′; at last the policy, too */
        .pattern = SABLE_COPY,
        .working_set = 17 * cells,
        .bytes_network = bytes_halo * (passes + policies) + 2 * sizeof(double) * reductions,
        .messages = messages_halo * (passes + policies) + reductions,
        .memory = gridworld_memory(&part, depth),
    };
}

/* ---- Setup and run ---- */

static void free_state(void *state)
{
    gridworld_free(state);
    free(state);
}

static int setup(const void *params, struct sable_context *context, void **state, struct sable_error *error)
{
    struct gridworld_rank *g = calloc(1, sizeof *g);
    if (!g)
        sable_fail(error, SABLE_ENVIRONMENT, "value_iteration/gridworld: out of memory");
    *state = g;
    if (sable_agree(context->comm, error))
        return error->code;
    return gridworld_make(params, context, context->variant[0] == 'r', g, error);
}

static int reset(void *state, struct sable_context *context, struct sable_error *error)
{
    (void)context, (void)error;
    gridworld_start(state);
    return SABLE_OK;
}

static int run(void *state, struct sable_context *context, struct sable_error *error)
{
    return gridworld_solve(state, context, error);
}

/* ---- Verification ---- */

/* Up to this many cells the reference is solved, too, and must agree in every bit. */
static const double compare_up_to = 1 << 20;

static int64_t differences(const struct gridworld_rank *a, const struct gridworld_rank *b)
{
    int64_t count = 0;
    for (int64_t r = 0; r < a->block.height; r++)
        for (int64_t s = r * a->block.pitch; s < r * a->block.pitch + a->block.width; s++)
            count += !(a->v[s] == b->v[s]) || a->policy[s] != b->policy[s];
    return count;
}

static int check_reference(struct gridworld_rank *g, struct sable_context *context, struct sable_checks *checks,
                           struct sable_error *error)
{
    struct sable_context own = *context;
    own.fault = 0;
    struct gridworld_rank reference;
    int64_t differ = 0, all = 0;
    if (!gridworld_make(&g->params, &own, true, &reference, error)) {
        gridworld_start(&reference);
        if (!gridworld_solve(&reference, &own, error))
            differ = differences(g, &reference);
    }
    gridworld_free(&reference);
    if (error->code ||
        sable_check_mpi(MPI_Allreduce(&differ, &all, 1, MPI_INT64_T, MPI_SUM, context->comm), "MPI_Allreduce", error))
        return error->code;
    sable_check(checks, "cells that differ from the reference", (double)all, 0, 0);
    return SABLE_OK;
}

/* That v − bound and v + bound enclose V* is proved from the result alone: the one is a subsolution of Bellman's
 * equation, the other a supersolution (docs). Limits are roundings of the proof; that of the policy is derived there.
 */
static int verify(void *state, struct sable_context *context, struct sable_checks *checks, struct sable_error *error)
{
    struct gridworld_rank *g = state;
    if (gridworld_exchange_result(g, context, error))
        return error->code;
    struct sable_gridworld_evidence found = sable_gridworld_examine(&g->model, &g->block, g->v, g->policy, g->bound);
    double mine[4] = {found.below, found.above, found.loss, found.fixed}, all[4];
    if (sable_check_mpi(MPI_Allreduce(mine, all, 4, MPI_DOUBLE, MPI_MAX, context->comm), "MPI_Allreduce", error))
        return error->code;
    double rounding = sable_gridworld_examine_rounding(&g->model);
    sable_check_at_most(checks, "bound of max |V - V*|", g->bound, g->params.tol);
    sable_check_at_most(checks, "V - bound is a subsolution", all[0], rounding);
    sable_check_at_most(checks, "V + bound is a supersolution", all[1], rounding);
    sable_check_at_most(checks, "loss of the policy's action", all[2], 2 * g->bound + rounding);
    sable_check(checks, "values of obstacles, goals, holes", all[3], 0, 0);
    if (!g->reference && (double)g->part.rows * (double)g->part.columns <= compare_up_to)
        return check_reference(g, context, checks, error);
    return SABLE_OK;
}

/* ---- Outputs ---- */

static struct sable_array whole_grid(const struct gridworld_rank *g)
{
    return (struct sable_array){.dims = 2,
                                .unit = "",
                                .global = {g->part.rows, g->part.columns},
                                .offset = {g->part.row, g->part.column},
                                .count = {g->part.height, g->part.width},
                                .stride = {g->block.pitch, 1},
                                .labels = {"row", "column"}};
}

/* Keeps every step-th index of a dimension: those of the rank that are multiples of `step`. Returns the first. */
static int64_t thin(struct sable_array *array, int dimension, int64_t step)
{
    int64_t offset = array->offset[dimension], first = (offset + step - 1) / step;
    int64_t end = (offset + array->count[dimension] + step - 1) / step;
    array->global[dimension] = (array->global[dimension] + step - 1) / step;
    array->offset[dimension] = first;
    array->count[dimension] = end - first;
    array->stride[dimension] *= step;
    return first * step - offset;
}

static int put_grids(const struct gridworld_rank *g, struct sable_sink *sink, struct sable_error *error)
{
    struct sable_array v = whole_grid(g), policy = v, sampled = v;
    v.name = "v", v.help = "value of each state", v.keep = SABLE_KEEP_FULL, v.type = SABLE_F64, v.data = g->v;
    v.tolerance = 2 * g->params.tol; /* each is within tol of V* */
    policy.name = "policy", policy.help = "0 stay, 1 north, 2 east, 3 south, 4 west, -1 none";
    policy.keep = SABLE_KEEP_FULL, policy.type = SABLE_I8, policy.data = g->policy;
    int64_t row = thin(&sampled, 0, (g->part.rows + SAMPLES - 1) / SAMPLES);
    int64_t column = thin(&sampled, 1, (g->part.columns + SAMPLES - 1) / SAMPLES);
    sampled.name = "v_sampled", sampled.help = "value of every k-th row and column", sampled.no_digest = true;
    sampled.keep = SABLE_KEEP_SUMMARY, sampled.type = SABLE_F64;
    sampled.tolerance = v.tolerance;
    sampled.data = sampled.count[0] * sampled.count[1] > 0 ? g->v + row * g->block.pitch + column : g->v;
    if (sable_put(sink, &v, error) || sable_put(sink, &policy, error))
        return error->code;
    return sable_put(sink, &sampled, error);
}

static int output(void *state, struct sable_context *context, struct sable_sink *sink, struct sable_error *error)
{
    (void)context;
    const struct gridworld_rank *g = state;
    const struct sable_array change = {.name = "change",
                                       .no_digest = true,
                                       .help = "least and most change of r + gamma V in each sweep that was looked at",
                                       .type = SABLE_F64,
                                       .dims = 2,
                                       .global = {g->changes, 2},
                                       .labels = {"look", "least, most"},
                                       .data = g->change};
    const struct sable_array sweeps = {.name = "sweeps",
                                       .no_digest = true,
                                       .help = "backups of every state, the policy's included",
                                       .type = SABLE_I64,
                                       .dims = 1,
                                       .global = {1},
                                       .labels = {"value"},
                                       .data = &g->sweeps};
    const struct sable_array bound = {.name = "bound",
                                      .no_digest = true,
                                      .help = "guaranteed bound of max |V - V*|",
                                      .type = SABLE_F64,
                                      .dims = 1,
                                      .global = {1},
                                      .labels = {"value"},
                                      .data = &g->bound};
    if (put_grids(g, sink, error) || sable_put_whole(sink, &change, error) || sable_put_whole(sink, &sweeps, error))
        return error->code;
    return sable_put_whole(sink, &bound, error);
}

static const struct sable_variant variants[] = {
    {"reference", "the textbook's sweep over V, one thread a rank", run},
    {"sable", "arrival values, SIMD, all threads, streaming stores, overlapped halos; the same bits", run},
    {0},
};

const struct sable_workload sable_value_iteration_gridworld = {
    .name = "value_iteration/gridworld",
    .summary = "value iteration on an n x n gridworld, matrix-free, to a guaranteed bound",
    .source = "Puterman, Markov Decision Processes (1994), 6.3, 6.6; Zhao, Mathematical Foundations of RL (2025), 4.1",
    .fom = {"state updates", "Gupdate/s", 1e9},
    .params_size = sizeof(struct gridworld_params),
    .params = parameters,
    .classes = classes,
    .weak = weak,
    .variants = variants,
    .phases = phases,
    .faults = faults,
    .inputs = inputs,
    .outputs = outputs,
    .layout_invariant = true,
    .check = check,
    .work = work,
    .setup = setup,
    .reset = reset,
    .verify = verify,
    .output = output,
    .free = free_state,
};
