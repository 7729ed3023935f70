/* Jacobi value iteration over the ranks. A pass exchanges a halo as deep as it has sweeps and makes them all; a pass of
 * one sweep sends the edges of the block, sweeps the inner cells while they travel, then the frame. After every
 * `check`-th sweep the ranks reduce the change; the stopping rule hears of it after `check` more, so no rank ever waits
 * for the slowest at once, and every layout makes the same number of sweeps. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "gridworld_rank.h"

static double start_value(const struct gridworld_rank *g)
{
    const struct sable_gridworld_model *m = &g->model;
    const double reward[] = {m->boundary, m->forbidden, m->target, m->hole, m->other};
    double low = 0, high = 0;
    for (size_t i = 0; i < sizeof reward / sizeof *reward; i++) {
        low = fmin(low, reward[i]);
        high = fmax(high, reward[i]);
    }
    double bound = g->params.start == START_LOW ? low : g->params.start == START_HIGH ? high : 0;
    return bound / (1 - m->gamma);
}

void gridworld_start(struct gridworld_rank *g)
{
    double start = start_value(g);
    if (!g->reference) {
        sable_gridworld_start(&g->model, &g->block, g->depth, start, g->value[0]);
        sable_gridworld_start(&g->model, &g->block, g->depth, start, g->value[1]);
        return;
    }
    for (int64_t r = -g->depth; r < g->block.height + g->depth; r++)
        for (int64_t c = -g->depth; c < g->block.width + g->depth; c++) {
            int64_t s = r * g->block.pitch + c;
            g->value[0][s] = g->value[1][s] = sable_gridworld_decides(g->block.cells[s]) ? start : 0;
        }
}

static struct sable_field_view view(const struct gridworld_rank *g, const double *u)
{
    return (struct sable_field_view){(void *)(uintptr_t)u, g->block.pitch, sizeof *u};
}

/* ---- One sweep ---- */

struct frame {
    struct sable_gridworld_range inner, side[4]; /* the sides need the halo */
};

static int64_t at_least(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static int64_t at_most(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Columns at the sides of the frame come in whole cache lines, which streaming stores fill at once. */
static struct frame frame_of(const struct gridworld_rank *g)
{
    const int64_t height = g->block.height, width = g->block.width, line = 8;
    const int *neighbour = g->part.neighbour;
    int64_t row = neighbour[SABLE_NORTH] == MPI_PROC_NULL ? 0 : at_most(1, height);
    int64_t row_end = neighbour[SABLE_SOUTH] == MPI_PROC_NULL ? height : at_least(row, height - 1);
    int64_t column = neighbour[SABLE_WEST] == MPI_PROC_NULL ? 0 : at_most(line, width);
    int64_t column_end = neighbour[SABLE_EAST] == MPI_PROC_NULL ? width : at_least(column, (width - 1) / line * line);
    return (struct frame){
        .inner = {row, row_end, column, column_end},
        .side = {{0, row, 0, width},
                 {row_end, height, 0, width},
                 {row, row_end, 0, column},
                 {row, row_end, column_end, width}},
    };
}

static struct sable_gridworld_change either(struct sable_gridworld_change a, struct sable_gridworld_change b)
{
    return (struct sable_gridworld_change){a.least < b.least ? a.least : b.least, a.most > b.most ? a.most : b.most};
}

/* Which exchanges the fault leaves out: all but the first. */
static bool halo_lost(const struct gridworld_rank *g, const struct sable_context *context)
{
    return context->fault == FAULT_STALE_HALO && g->sweeps > 0;
}

static int exchange(struct gridworld_rank *g, struct sable_context *context, const double *u, struct sable_error *error)
{
    struct sable_field_view field = view(g, u);
    if (sable_halo_start(g->halo, context, &field, error))
        return error->code;
    return sable_halo_finish(g->halo, &field, error);
}

static int sweep_reference(struct gridworld_rank *g, struct sable_context *context, const double *u, double *next,
                           struct sable_gridworld_change *change, struct sable_error *error)
{
    sable_phase(context, PHASE_HALO);
    if (!halo_lost(g, context) && exchange(g, context, u, error))
        return error->code;
    sable_phase(context, PHASE_COMPUTE);
    *change = sable_gridworld_reference_sweep(&g->model, &g->block, u, next);
    return SABLE_OK;
}

static int sweep_overlapped(struct gridworld_rank *g, struct sable_context *context, const double *u, double *next,
                            struct sable_gridworld_change *change, struct sable_error *error)
{
    struct frame frame = frame_of(g);
    struct sable_field_view field = view(g, u);
    bool lost = halo_lost(g, context);
    sable_phase(context, PHASE_HALO);
    if (!lost && sable_halo_start(g->halo, context, &field, error))
        return error->code;
    sable_phase(context, PHASE_COMPUTE);
    *change = sable_gridworld_sweep(&g->model, &g->block, u, frame.inner, g->stream, next);
    sable_phase(context, PHASE_HALO);
    if (!lost && sable_halo_finish(g->halo, &field, error))
        return error->code;
    sable_phase(context, PHASE_COMPUTE);
    for (int i = 0; i < 4; i++)
        *change = either(*change, sable_gridworld_sweep(&g->model, &g->block, u, frame.side[i], g->stream, next));
    return SABLE_OK;
}

static int sweep(struct gridworld_rank *g, struct sable_context *context, const double *u, double *next,
                 struct sable_gridworld_change *change, struct sable_error *error)
{
    return (g->reference ? sweep_reference : sweep_overlapped)(g, context, u, next, change, error);
}

/* ---- Faults (--inject-fault) ---- */

/* One rank has no halo: there the lower half sees the row above its seam as it was at the start. */
static int sweep_stale_seam(struct gridworld_rank *g, struct sable_context *context, double *u, double *next,
                            struct sable_gridworld_change *change, struct sable_error *error)
{
    const struct sable_gridworld_block whole = g->block;
    const int64_t seam = whole.height / 2, pitch = whole.pitch;
    const size_t bytes = (size_t)whole.width * sizeof(double);
    double *fresh = malloc(bytes);
    if (seam == 0 || !fresh) {
        free(fresh);
        return sable_fail(error, SABLE_BAD_INPUT, "stale_halo: one row has no seam; use more rows or more ranks");
    }
    struct sable_gridworld_change upper, lower;
    sweep(g, context, u, next, &upper, error); /* the upper half is right, the lower one is done again */
    memcpy(fresh, u + (seam - 1) * pitch, bytes);
    memset(u + (seam - 1) * pitch, 0, bytes);
    g->block.height -= seam;
    g->block.cells += seam * pitch;
    sweep(g, context, u + seam * pitch, next + seam * pitch, &lower, error);
    *change = either(upper, lower);
    g->block = whole;
    memcpy(u + (seam - 1) * pitch, fresh, bytes);
    free(fresh);
    return error->code;
}

static int sweep_with_fault(struct gridworld_rank *g, struct sable_context *context, double *u, double *next,
                            struct sable_gridworld_change *change, struct sable_error *error)
{
    if (context->fault == FAULT_STALE_HALO && context->layout.ranks == 1)
        return sweep_stale_seam(g, context, u, next, change, error);
    if (sweep(g, context, u, next, change, error))
        return error->code;
    if (context->fault == FAULT_SKIP_BLOCK && context->layout.rank == 0) {
        int64_t row = g->block.height / 2, rows = at_least(1, g->block.height / 8);
        memcpy(next + row * g->block.pitch, u + row * g->block.pitch, (size_t)(rows * g->block.pitch) * sizeof *u);
    }
    return SABLE_OK;
}

static void spoil_result(struct gridworld_rank *g, const struct sable_context *context, double *v)
{
    if ((context->fault != FAULT_FLIP_BIT && context->fault != FAULT_NAN) || context->layout.rank != 0)
        return;
    double *largest = v;
    for (int64_t r = 0; r < g->block.height; r++)
        for (int64_t c = 0; c < g->block.width; c++)
            if (fabs(v[r * g->block.pitch + c]) > fabs(*largest))
                largest = &v[r * g->block.pitch + c];
    uint64_t bits;
    memcpy(&bits, largest, sizeof bits);
    bits = context->fault == FAULT_NAN ? UINT64_C(0x7ff8000000000000) : bits ^ UINT64_C(1) << 52;
    memcpy(largest, &bits, sizeof bits);
}

/* ---- Several sweeps ---- */

/* `count` sweeps in one pass, from u[0] to u[count mod 2]. */
static int pass(struct gridworld_rank *g, struct sable_context *context, int count, double *const u[2],
                struct sable_gridworld_change *change, struct sable_error *error)
{
    const int *neighbour = g->part.neighbour;
    const struct sable_gridworld_sides sides = {
        neighbour[SABLE_NORTH] != MPI_PROC_NULL, neighbour[SABLE_EAST] != MPI_PROC_NULL,
        neighbour[SABLE_SOUTH] != MPI_PROC_NULL, neighbour[SABLE_WEST] != MPI_PROC_NULL};
    sable_phase(context, PHASE_HALO);
    if (!halo_lost(g, context) && exchange(g, context, u[0], error))
        return error->code;
    sable_phase(context, PHASE_COMPUTE);
    *change = sable_gridworld_sweeps(&g->model, &g->block, sides, count, u);
    return SABLE_OK;
}

/* `count` sweeps; *now is the index of the newest values, *change that of the last sweep. */
static int sweep_times(struct gridworld_rank *g, struct sable_context *context, int64_t count, int *now,
                       struct sable_gridworld_change *change, struct sable_error *error)
{
    bool single = g->reference || g->depth == 1 || context->fault == FAULT_SKIP_BLOCK ||
                  (context->fault == FAULT_STALE_HALO && context->layout.ranks == 1);
    while (count > 0) {
        double *const u[2] = {g->value[*now], g->value[1 - *now]};
        int sweeps = single ? 1 : (int)at_most(g->depth, count);
        if (single ? sweep_with_fault(g, context, u[0], u[1], change, error)
                   : pass(g, context, sweeps, u, change, error))
            return error->code;
        *now = (*now + sweeps) % 2;
        g->sweeps += sweeps;
        g->passes++;
        count -= sweeps;
    }
    g->looks++;
    return SABLE_OK;
}

/* ---- The iteration ---- */

/* The reduction of one sweep's changes over the ranks: {−least, most}, so that both are maxima. */
struct reduction {
    double mine[2], all[2];
    MPI_Request request;
};

static int reduce_start(struct reduction *reduction, struct sable_gridworld_change change,
                        struct sable_context *context, struct sable_error *error)
{
    reduction->mine[0] = -change.least;
    reduction->mine[1] = change.most;
    return sable_check_mpi(
        MPI_Iallreduce(reduction->mine, reduction->all, 2, MPI_DOUBLE, MPI_MAX, context->comm, &reduction->request),
        "MPI_Iallreduce", error);
}

static int reduce_finish(struct reduction *reduction, struct sable_gridworld_change *change, struct sable_error *error)
{
    if (sable_check_mpi(MPI_Wait(&reduction->request, MPI_STATUS_IGNORE), "MPI_Wait (Iallreduce)", error))
        return error->code;
    /* 0 − x, x + 0: a maximum of +0 and −0 may be either, depending on the layout. */
    *change = (struct sable_gridworld_change){0 - reduction->all[0], reduction->all[1] + 0.0};
    return SABLE_OK;
}

static int remember(struct gridworld_rank *g, const struct sable_context *context, struct sable_gridworld_change change,
                    struct sable_error *error)
{
    if (context->layout.rank != 0)
        return SABLE_OK;
    if (g->changes == g->room) {
        int64_t room = 2 * g->room + 256;
        double *larger = realloc(g->change, (size_t)room * 2 * sizeof *larger);
        if (!larger)
            return sable_fail(error, SABLE_ENVIRONMENT, "out of memory for the changes of %lld sweeps",
                              (long long)room);
        g->change = larger;
        g->room = room;
    }
    g->change[2 * g->changes] = change.least;
    g->change[2 * g->changes + 1] = change.most;
    g->changes++;
    return SABLE_OK;
}

/* Sweeps after which a contraction by γ must have met the tolerance: γ^k 2R/(1 − γ)² ≤ tol, and twice that to leave
 * room for rounding near the floor. A solver that needs more is wrong, and is stopped to be told so by verification. */
static int64_t most_sweeps(const struct gridworld_rank *g)
{
    const struct sable_gridworld_model *m = &g->model;
    double rewards =
        fmax(fmax(fabs(m->boundary), fabs(m->forbidden)), fmax(fmax(fabs(m->target), fabs(m->hole)), fabs(m->other)));
    double least = g->params.tol * (1 - m->gamma) * (1 - m->gamma) / (2 * rewards);
    double enough = m->gamma > 0 && least > 0 && least < 1 ? 2 * log(least) / log(m->gamma) : 0;
    return enough + 100 < (double)g->params.max_sweeps ? (int64_t)enough + 100 : g->params.max_sweeps;
}

/* Sweeps until the bound is small enough that a change of `check` sweeps ago gives; *now is the index of the newest
 * values. */
static int iterate(struct gridworld_rank *g, struct sable_context *context, int *now,
                   struct sable_gridworld_bound *bound, struct sable_error *error)
{
    struct reduction reduction = {.request = MPI_REQUEST_NULL};
    struct sable_gridworld_change change;
    const enum sable_gridworld_stop stop = (enum sable_gridworld_stop)g->params.stop;
    const int64_t most = most_sweeps(g);
    *now = 0;
    do {
        struct sable_gridworld_change before;
        int64_t count = at_least(1, at_most(g->params.check, most - g->sweeps));
        if (sweep_times(g, context, count, now, &change, error))
            return error->code;
        sable_phase(context, PHASE_REDUCE);
        bound->bound = INFINITY;
        if (g->looks > 1) {
            if (reduce_finish(&reduction, &before, error) || remember(g, context, before, error))
                return error->code;
            *bound = sable_gridworld_certify(&g->model, stop, before, count);
        }
        bool done = bound->bound <= g->params.tol || (g->sweeps >= most && g->looks > 1);
        if (done)
            return SABLE_OK;
        if (reduce_start(&reduction, change, context, error))
            return error->code;
        sable_count_sent(context, sizeof reduction.mine);
    } while (true);
}

static int solve(struct gridworld_rank *g, struct sable_context *context, struct sable_error *error)
{
    struct sable_gridworld_bound bound = {0, INFINITY};
    int now;
    if (iterate(g, context, &now, &bound, error))
        return error->code;
    double *u = g->value[now], *v = g->value[1 - now];
    sable_phase(context, PHASE_HALO);
    if (!halo_lost(g, context) && exchange(g, context, u, error))
        return error->code;
    sable_phase(context, PHASE_COMPUTE);
    if (g->reference)
        sable_gridworld_reference_policy(&g->model, &g->block, u, bound.shift, v, g->policy);
    else
        sable_gridworld_policy(&g->model, &g->block, u, bound.shift, v, g->policy);
    g->sweeps++;
    g->bound = bound.bound;
    g->v = v;
    spoil_result(g, context, v);
    return SABLE_OK;
}

int gridworld_solve(struct gridworld_rank *g, struct sable_context *context, struct sable_error *error)
{
    const double gamma = g->model.gamma;
    if (context->fault == FAULT_WRONG_GAMMA)
        g->model.gamma = gamma < 0.5 ? gamma + 0.1 : gamma - 0.1;
    g->sweeps = g->passes = g->looks = g->changes = 0;
    g->v = g->value[0];
    solve(g, context, error);
    g->model.gamma = gamma;
    return error->code;
}

int gridworld_exchange_result(struct gridworld_rank *g, struct sable_context *context, struct sable_error *error)
{
    return exchange(g, context, g->v, error);
}
