/* value_iteration/sea: the hours to a port, and the best heading, from every cell of the world's seas.
 *
 * Undiscounted stochastic shortest paths by value iteration (Jacobi sweeps) on the real coastline: a nine-point stencil
 * over rectangular blocks, one a rank, whose halo wraps round in longitude. First the hours without drift from +inf
 * (Bellman–Ford): they are a lower bound, and tell which waters have no way to the port. From them the sweeps with
 * drift rise to V*; they end when the hours are certified to a relative gap from below and above (sable_sea.h).
 * A sweep leaves out the tiles whose surroundings didn't change in the last one: bit for bit plain Jacobi, since equal
 * inputs give equal outputs. Mathematics, work model, references: docs/value_iteration_sea.md. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sable_array.h"
#include "sea_state.h"

/* ---- Parameters ---- */

#define SEA(field) offsetof(struct sea_params, field)
static const char *const canal_choices[] = {"closed", "open", NULL};
static const struct sable_param parameters[] = {
    {"port", SABLE_POINT, SEA(port), "deg", -90, 90, -180, 360, NULL, "51.98,4.05",
     "latitude,longitude of the destination (Rotterdam): the nearest sea cell within 200 km"},
    {"speed", SABLE_REAL, SEA(speed), "knots", 0.1, 1000, 0, 0, NULL, "14", "speed of the ship"},
    {"drift", SABLE_REAL, SEA(drift), "", 0, 0.45, 0, 0, NULL, "0.1",
     "probability to be set off to the neighbouring heading, for each side"},
    {"gap", SABLE_REAL, SEA(gap), "", 1e-9, 0.1, 0, 0, NULL, "1e-6",
     "certified difference of the upper and the lower bound of the hours, relative, at which to stop"},
    {"ice", SABLE_REAL, SEA(ice), "deg", 0, 90, 0, 0, NULL, "72",
     "latitude, north and south, beyond which the sea is closed by ice; 90 opens the Arctic"},
    {"canals", SABLE_CHOICE, SEA(canals), "", 0, 0, 0, 0, canal_choices, "open", "ship canals (Suez, Panama)"},
    {"coarsen", SABLE_INT, SEA(coarsen), "", 1, 64, 0, 0, NULL, "1", "cells of the chart merged into one, each way"},
    {"refine", SABLE_INT, SEA(refine), "", 1, 256, 0, 0, NULL, "1",
     "cells that one of the chart is cut into, each way"},
    {0},
};

static const struct sable_class classes[] = {
    {"T", "coarsen=8"}, {"S", "coarsen=2"}, {"A", "refine=1"},  {"B", "refine=2"},
    {"C", "refine=4"},  {"D", "refine=16"}, {"E", "refine=64"}, {0}};
static const struct sable_growth weak[] = {{"refine", 0.5}, {0}};

static const char *const phases[] = {"sweep", "halo", "agree", "certify", NULL};

static const struct sable_fault faults[] = {
    {"stale_halo", "leave out the halo exchanges once there is drift"},
    {"skip_block", "leave out one tile of each rank once there is drift"},
    {"flip_bit", "flip one bit of one cell of each rank"},
    {"nan", "put a NaN into one cell of each rank"},
    {"wrong_cost", "make every leg to the east 1 % too short"},
    {0},
};
enum { FAULT_STALE_HALO = 1, FAULT_SKIP_BLOCK, FAULT_FLIP_BIT, FAULT_NAN, FAULT_WRONG_COST };

enum {
    FILE_ROWS = 720, /* of data/sea.h5, on which predictions rest */
    FILE_COLUMNS = 1440,
    SWEEPS_PER_TEST = 16, /* between two agreements on whether to stop: the same for any layout */
    ROUNDS = 4            /* attempts to certify, each after sweeping to a smaller change */
};
static const double PORT_LIMIT = 200; /* km */

/* ---- Set-up ---- */

static void sea_free(void *state)
{
    struct sea_state *s = state;
    sable_sea_field_free(&s->field);
    sable_array_free(s->heading);
    sable_array_free(s->axis);
    free(s);
}

static int read_chart(struct sea_state *s, struct sable_context *context, struct sable_chart *chart,
                      struct sable_error *error)
{
    const struct sea_params *p = &s->params;
    const struct sable_chart_options options = {p->coarsen, p->refine, p->ice, p->canals != 0};
    struct sable_block block;
    if (sable_chart_open(context->input, &options, chart, error))
        return error->code;
    s->grid = chart->grid;
    sable_block_of(s->grid.rows, s->grid.columns, true, context->layout, &block);
    if (sable_sea_field_create(context->comm, &block, &s->field, error))
        return error->code;
    s->heading = sable_array(block.height, block.width, 1);
    s->axis = sable_array(block.height > block.width ? block.height : block.width, 1, sizeof(double));
    if (!s->heading || !s->axis)
        return sable_fail(error, SABLE_ENVIRONMENT, "value_iteration/sea: out of memory for the headings");
    return sable_chart_read(chart, &block, s->field.cell, error);
}

static int sea_setup(const void *params, struct sable_context *context, void **state, struct sable_error *error)
{
    struct sea_state *s = calloc(1, sizeof *s);
    if (!s)
        return sable_fail(error, SABLE_ENVIRONMENT, "value_iteration/sea: out of memory");
    *state = s;
    s->params = *(const struct sea_params *)params;
    struct sable_chart chart;
    read_chart(s, context, &chart, error);
    sable_chart_close(&chart);
    if (sable_agree(context->comm, error) ||
        sable_chart_nearest(&chart, &s->field.block, s->field.cell, context->comm, s->params.port, PORT_LIMIT,
                            &s->port_row, &s->port_column, error))
        return error->code;
    const struct sable_block *block = &s->field.block;
    sable_sea_rows(&s->grid, s->params.speed, block->row, block->height, s->field.row);
    for (int64_t r = 0; r < block->height && context->fault == FAULT_WRONG_COST; r++)
        s->field.row[r].leg[SABLE_SEA_E] *= 0.99;
    return SABLE_OK;
}

static int sea_reset(void *state, struct sable_context *context, struct sable_error *error)
{
    (void)context, (void)error;
    struct sea_state *s = state;
    sable_sea_field_reset(&s->field, s->port_row, s->port_column);
    s->sweeps[0] = s->sweeps[1] = 0;
    return SABLE_OK;
}

/* ---- Solving ---- */

/* Most sweeps with drift. Those without took as many as the longest voyage has legs; with drift a voyage has half as
 * many again, and its spread is far less than its length. Whatever needs more is not converging: it ends as a FAIL. */
static int64_t most_sweeps(const struct sea_state *s)
{
    return 8 * s->sweeps[SEA_FREE] + 512;
}

/* Sweeps until no cell changes by more than `target` of its row's shortest leg, or to the limit. Collective. */
static int iterate(struct sea_state *s, struct sable_context *context, const struct sable_sea_method *method,
                   enum sea_pass pass, double target, struct sable_error *error)
{
    struct sable_sea_disorder disorder = {.skipped_tile = -1};
    if (pass == SEA_DRIFTING && context->fault == FAULT_SKIP_BLOCK)
        disorder.skipped_tile = sable_sea_fullest_tile(&s->field);
    disorder.stale_halo = pass == SEA_DRIFTING && context->fault == FAULT_STALE_HALO;
    double own, change;
    sable_sea_field_touch(&s->field);
    do {
        for (int i = 0; i < SWEEPS_PER_TEST; i++)
            if (sable_sea_field_sweep(&s->field, context, method, pass == SEA_FREE ? 0 : s->params.drift, &disorder,
                                      &own, error))
                return error->code;
        s->sweeps[pass] += SWEEPS_PER_TEST;
        sable_phase(context, SABLE_SEA_PHASE_AGREE);
        if (sable_check_mpi(MPI_Allreduce(&own, &change, 1, MPI_DOUBLE, MPI_MAX, context->comm), "MPI_Allreduce",
                            error))
            return error->code;
    } while (change > target && (pass == SEA_FREE || s->sweeps[pass] < most_sweeps(s)));
    return SABLE_OK;
}

/* The greedy headings and the bounds of all ranks. Collective. */
static int certify(struct sea_state *s, struct sable_context *context, int threads, struct sable_error *error)
{
    const struct sable_sea_field *field = &s->field;
    int64_t width = field->block.width;
    double above = 0, below = 0;
    sable_phase(context, SABLE_SEA_PHASE_HALO);
    if (sable_sea_field_exchange(&s->field, context, error))
        return error->code;
    sable_phase(context, SABLE_SEA_PHASE_CERTIFY);
#pragma omp parallel for schedule(dynamic) num_threads(threads) reduction(max : above, below)
    for (int64_t r = 0; r < field->block.height; r++) {
        struct sable_sea_bounds bounds;
        sable_sea_greedy(field->row + r, s->params.drift, 1, width, field->now + r * field->pitch, field->pitch,
                         s->heading + r * width, width, &bounds);
        above = bounds.above > above ? bounds.above : above;
        below = bounds.below > below ? bounds.below : below;
    }
    double own[2] = {above, below}, all[2];
    sable_phase(context, SABLE_SEA_PHASE_AGREE);
    if (sable_check_mpi(MPI_Allreduce(own, all, 2, MPI_DOUBLE, MPI_MAX, context->comm), "MPI_Allreduce", error))
        return error->code;
    s->bounds = (struct sable_sea_bounds){.above = all[0], .below = all[1]};
    return SABLE_OK;
}

/* The first cell of this rank that has a way to the port, or NULL. */
static double *some_cell(const struct sable_sea_field *field)
{
    for (int64_t r = 0; r < field->block.height; r++)
        for (int64_t c = 0; c < field->block.width; c++)
            if (field->now[r * field->pitch + c] > 0 && field->now[r * field->pitch + c] < INFINITY)
                return &field->now[r * field->pitch + c];
    return NULL;
}

static void spoil(const struct sable_sea_field *field, int fault)
{
    double *cell = some_cell(field);
    uint64_t bits;
    if (!cell)
        return;
    memcpy(&bits, cell, sizeof bits);
    bits ^= UINT64_C(1) << 40; /* of the 52 of the fraction: a relative error of 1/4096 */
    if (fault == FAULT_FLIP_BIT)
        memcpy(cell, &bits, sizeof bits);
    if (fault == FAULT_NAN)
        *cell = NAN;
}

/* The hours without drift; from them those with drift, until they are certified. */
static int solve(struct sea_state *s, struct sable_context *context, const struct sable_sea_method *method,
                 struct sable_error *error)
{
    if (iterate(s, context, method, SEA_FREE, 0, error))
        return error->code;
    double target = s->params.gap / 2;
    for (int round = 0; round < ROUNDS; round++, target /= 8) {
        if (iterate(s, context, method, SEA_DRIFTING, target, error) || certify(s, context, method->threads, error))
            return error->code;
        if (sea_gap(s) <= s->params.gap || s->sweeps[SEA_DRIFTING] >= most_sweeps(s))
            break;
    }
    spoil(&s->field, context->fault);
    return SABLE_OK;
}

static int run_reference(void *state, struct sable_context *context, struct sable_error *error)
{
    const struct sable_sea_method method = {sable_sea_sweep_reference, 1, true};
    return solve(state, context, &method, error);
}

static int run_sable(void *state, struct sable_context *context, struct sable_error *error)
{
    const struct sable_sea_method method = {sable_sea_sweep(), context->layout.threads, false};
    return solve(state, context, &method, error);
}

/* ---- Work model ---- */

static void grid_size(const struct sea_params *p, int64_t *rows, int64_t *columns)
{
    *rows = FILE_ROWS / p->coarsen * p->refine;
    *columns = FILE_COLUMNS / p->coarsen * p->refine;
}

static int sea_check(const void *params, struct sable_layout layout, struct sable_error *error)
{
    (void)layout;
    const struct sea_params *p = params;
    if (p->coarsen > 1 && p->refine > 1)
        return sable_fail(error, SABLE_BAD_INPUT, "coarsen=%lld and refine=%lld: one of them must be 1",
                          (long long)p->coarsen, (long long)p->refine);
    return SABLE_OK;
}

static void sea_work(const void *params, struct sable_layout layout, const void *state, struct sable_work *work)
{
    const struct sea_state *s = state;
    struct sable_block block;
    double halo_bytes, halo_messages;
    int64_t rows, columns;
    grid_size(params, &rows, &columns);
    if (s)
        block = s->field.block;
    else
        sable_block_of(rows, columns, true, layout, &block);
    sable_halo_traffic(&block, layout, 1, true, sizeof(double), &halo_bytes, &halo_messages);
    double cells = (double)block.height * (double)block.width, updates = s ? s->field.updates : 0;
    double exchanges = s ? (double)(s->sweeps[SEA_FREE] + s->sweeps[SEA_DRIFTING] + 1) : 0;
    *work = (struct sable_work){
        .items = updates,
        .flops_fp64 = 40 * updates,      /* 8 legs; for 8 headings 2 products, 2 sums */
        .operations_fp64 = 68 * updates, /* and 28 selections */
        .bytes = 16 * updates,           /* hours read and written */
        .pattern = SABLE_COPY,
        .working_set = 16 * cells,
        .bytes_network = exchanges * halo_bytes,
        .messages = exchanges * halo_messages,
        .memory = (double)sizeof *s + sable_sea_field_memory(&block) + cells + 8 * (double)(block.height + block.width),
    };
}

/* ---- The workload ---- */

static const struct sable_field inputs[] = {
    {"mask", "[lat, lon] uint8", "0 land, 1 sea, 2 fairway (sea however cells are merged), 3 ship canal"},
    {"lat", "[lat]", "centres of the rows in degrees, ascending in equal steps (absent: -90 to 90)"},
    {"lon", "[lon]", "centres of the columns in degrees, ascending, once round the Earth (absent: -180 to 180)"},
    {0},
};

static const struct sable_field outputs[] = {
    {"lat, lon", "[lat], [lon]", "centres of the cells in degrees"},
    {"hours", "[lat, lon]", "expected hours to the port; +inf on land and where there is no way"},
    {"heading", "[lat, lon]", "best heading, 0 to 7 clockwise from north; 8 port, -1 no way, -2 land"},
    {"mask", "[lat, lon]", "0 land, 1 sea, 2 closed by ice"},
    {"..._coarse", "", "of grids beyond 2 million cells: every k-th cell (the whole with --keep full)"},
    {"bounds", "[2]", "the true hours lie between bounds[0] and bounds[1] times `hours`: certified"},
    {"gap, gap_hours", "[1]", "difference of the bounds: relative, and in hours for the longest voyage"},
    {"sweeps", "[2]", "without and with drift"},
    {"port", "[2]", "latitude and longitude of the cell that is the port"},
    {0},
};

static const struct sable_variant variants[] = {
    {"reference", "cell by cell, every tile in every sweep, one thread a rank", run_reference},
    {"sable", "SIMD and threads over the tiles whose surroundings changed", run_sable},
    {0},
};

const struct sable_workload sable_value_iteration_sea = {
    .name = "value_iteration/sea",
    .summary = "ship routing on the real coastline: stochastic shortest paths with certified bounds",
    .source = "Bertsekas & Tsitsiklis, Math. Oper. Res. 16 (1991) 580-595",
    .fom = {"state updates", "Gupdate/s", 1e9},
    .params_size = sizeof(struct sea_params),
    .params = parameters,
    .classes = classes,
    .weak = weak,
    .variants = variants,
    .phases = phases,
    .faults = faults,
    .inputs = inputs,
    .outputs = outputs,
    .layout_invariant = true,
    .check = sea_check,
    .work = sea_work,
    .setup = sea_setup,
    .reset = sea_reset,
    .verify = sea_verify,
    .output = sea_output,
    .free = sea_free,
};
