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
#include "sea_chart.h"
#include "sea_field.h"

/* ---- Parameters ---- */

struct sea_params {
    struct sable_point port; /* latitude, longitude */
    double speed, drift, gap, ice;
    int canals;
    int64_t coarsen, refine;
};

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
    SWEEPS_PER_TEST = 16,    /* between two agreements on whether to stop: the same for any layout */
    ROUNDS = 4,              /* attempts to certify, each after sweeping to a smaller change */
    SUMMARY_CELLS = 1 << 21, /* of a larger grid, --keep summary stores a sample only … */
    SAMPLE_COLUMNS = 1440    /* … of at most so many columns */
};
static const double PORT_LIMIT = 200; /* km */

/* ---- State ---- */

struct sea_state {
    struct sea_params params;
    struct sable_sea_grid grid;
    struct sable_sea_field field;
    int64_t port_row, port_column; /* in the grid */
    int8_t *heading;               /* [height × width] */
    double *axis;                  /* room for lat or lon of the block */
    int64_t sweeps[2];             /* without and with drift */
    struct sable_sea_bounds bounds;
};

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

enum pass { FREE, DRIFTING }; /* without and with drift */

/* Most sweeps with drift. Those without took as many as the longest voyage has legs; with drift a voyage has half as
 * many again, and its spread is far less than its length. Whatever needs more is not converging: it ends as a FAIL. */
static int64_t most_sweeps(const struct sea_state *s)
{
    return 8 * s->sweeps[FREE] + 512;
}

/* Sweeps until no cell changes by more than `target` of its row's shortest leg, or to the limit. Collective. */
static int iterate(struct sea_state *s, struct sable_context *context, const struct sable_sea_method *method,
                   enum pass pass, double target, struct sable_error *error)
{
    struct sable_sea_disorder disorder = {.skipped_tile = -1};
    if (pass == DRIFTING && context->fault == FAULT_SKIP_BLOCK)
        disorder.skipped_tile = sable_sea_fullest_tile(&s->field);
    disorder.stale_halo = pass == DRIFTING && context->fault == FAULT_STALE_HALO;
    double own, change;
    sable_sea_field_touch(&s->field);
    do {
        for (int i = 0; i < SWEEPS_PER_TEST; i++)
            if (sable_sea_field_sweep(&s->field, context, method, pass == FREE ? 0 : s->params.drift, &disorder, &own,
                                      error))
                return error->code;
        s->sweeps[pass] += SWEEPS_PER_TEST;
        sable_phase(context, SABLE_SEA_PHASE_AGREE);
        if (sable_check_mpi(MPI_Allreduce(&own, &change, 1, MPI_DOUBLE, MPI_MAX, context->comm), "MPI_Allreduce",
                            error))
            return error->code;
    } while (change > target && (pass == FREE || s->sweeps[pass] < most_sweeps(s)));
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

static double gap(const struct sea_state *s)
{
    return s->bounds.above + s->bounds.below;
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
    if (iterate(s, context, method, FREE, 0, error))
        return error->code;
    double target = s->params.gap / 2;
    for (int round = 0; round < ROUNDS; round++, target /= 8) {
        if (iterate(s, context, method, DRIFTING, target, error) || certify(s, context, method->threads, error))
            return error->code;
        if (gap(s) <= s->params.gap || s->sweeps[DRIFTING] >= most_sweeps(s))
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
    sable_halo_traffic(&block, layout, true, sizeof(double), &halo_bytes, &halo_messages);
    double cells = (double)block.height * (double)block.width, updates = s ? s->field.updates : 0;
    double exchanges = s ? (double)(s->sweeps[FREE] + s->sweeps[DRIFTING] + 1) : 0;
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

/* ---- Verification: by the reference, with legs computed anew ---- */

enum { WRONG_KIND, CUT_OFF, TOO_NEAR, NOT_GREEDY, NOT_BOUNDED, COUNTS };

struct examination {
    struct sable_sea_row *row; /* [height] */
    int8_t *heading;           /* [width] */
    double count[COUNTS];
    struct sable_sea_bounds bounds;
};

static void examine_cell(const struct sea_state *s, const struct examination *e, int64_t r, int64_t c, double *count)
{
    const struct sable_sea_field *field = &s->field;
    const struct sable_sea_grid *grid = &s->grid;
    const double *v = field->now + r * field->pitch + c;
    int64_t row = field->block.row + r, column = field->block.column + c;
    int heading = s->heading[r * field->block.width + c];
    bool sea = field->cell[r * field->block.width + c] == SABLE_CHART_SEA;
    bool port = row == s->port_row && column == s->port_column;
    count[WRONG_KIND] += sea ? (port ? !(*v == 0) : !(*v > 0)) : !isnan(*v);
    count[NOT_GREEDY] += heading != e->heading[c];
    if (!sea || port)
        return;
    if (*v < INFINITY) {
        double direct =
            sable_sea_distance(grid->lat0 + (double)row * grid->dlat, (double)column * grid->dlon,
                               grid->lat0 + (double)s->port_row * grid->dlat, (double)s->port_column * grid->dlon);
        count[TOO_NEAR] += *v * s->params.speed * SABLE_SEA_KNOT < direct * (1 - 1e-9);
        count[NOT_BOUNDED] +=
            !sable_sea_bounded(&e->row[r], s->params.drift, v, field->pitch, heading, s->bounds.above);
    } else {
        double reached;
        sable_sea_sweep_reference(&e->row[r], 0, 1, 1, v, &reached, field->pitch);
        count[CUT_OFF] += reached < INFINITY;
    }
}

static void examine(const struct sea_state *s, struct examination *e)
{
    const struct sable_sea_field *field = &s->field;
    for (int64_t r = 0; r < field->block.height; r++) {
        struct sable_sea_bounds bounds;
        sable_sea_greedy(&e->row[r], s->params.drift, 1, field->block.width, field->now + r * field->pitch,
                         field->pitch, e->heading, field->block.width, &bounds);
        e->bounds.above = fmax(e->bounds.above, bounds.above);
        e->bounds.below = fmax(e->bounds.below, bounds.below);
        for (int64_t c = 0; c < field->block.width; c++)
            examine_cell(s, e, r, c, e->count);
    }
}

static int sea_verify(void *state, struct sable_context *context, struct sable_checks *checks,
                      struct sable_error *error)
{
    struct sea_state *s = state;
    const struct sable_block *block = &s->field.block;
    struct examination e = {.row = sable_array(block->height, 1, sizeof *e.row),
                            .heading = sable_array(block->width, 1, 1)};
    double count[COUNTS], largest[2];
    if (!e.row || !e.heading)
        sable_fail(error, SABLE_ENVIRONMENT, "value_iteration/sea: out of memory for the verification");
    if (sable_agree(context->comm, error) || sable_sea_field_exchange(&s->field, context, error))
        goto done;
    sable_sea_rows(&s->grid, s->params.speed, block->row, block->height, e.row);
    examine(s, &e);
    if (sable_check_mpi(MPI_Allreduce(e.count, count, COUNTS, MPI_DOUBLE, MPI_SUM, context->comm), "MPI_Allreduce",
                        error) ||
        sable_check_mpi(
            MPI_Allreduce((double[]){e.bounds.below, e.bounds.above}, largest, 2, MPI_DOUBLE, MPI_MAX, context->comm),
            "MPI_Allreduce", error))
        goto done;
    sable_check(checks, "cells without a number of their kind", count[WRONG_KIND], 0, 0);
    sable_check(checks, "cells cut off beside a way", count[CUT_OFF], 0, 0);
    sable_check(checks, "cells nearer than the great circle", count[TOO_NEAR], 0, 0);
    sable_check(checks, "headings that are not the best", count[NOT_GREEDY], 0, 0);
    sable_check(checks, "cells where T_pi w > w", count[NOT_BOUNDED], 0, 0);
    sable_check_at_most(checks, "certified gap", largest[0] + largest[1], s->params.gap);
done:
    sable_array_free(e.row);
    sable_array_free(e.heading);
    return error->code;
}

/* ---- Outputs ---- */

/* Every `step`-th cell of a range [first, first + count) of an axis: the one in the middle of each step. */
struct sample {
    int64_t total, offset, count, start; /* start: first sampled cell, counted from `first` */
};

static struct sample take_sample(int64_t whole, int64_t first, int64_t count, int64_t step)
{
    int64_t middle = step / 2;
    int64_t before = (first - middle + step - 1) / step, until = (first + count - middle + step - 1) / step;
    return (struct sample){(whole - middle + step - 1) / step, before, until - before, before * step + middle - first};
}

/* A map, whole (step 1) or sampled: its arrays' names end in `suffix`. */
struct map {
    int64_t step;
    const char *suffix;
    enum sable_keep keep;
    bool no_digest;
};

/* lat or lon; of the ranks that share a stretch of it, one gives it. */
static int put_axis(struct sea_state *s, struct sable_sink *sink, const struct map *map, bool lat,
                    struct sable_error *error)
{
    const struct sable_block *block = &s->field.block;
    const struct sable_sea_grid *grid = &s->grid;
    int64_t whole = lat ? grid->rows : grid->columns, first = lat ? block->row : block->column;
    bool mine = (lat ? block->column : block->row) == 0;
    struct sample sample = take_sample(whole, first, lat ? block->height : block->width, map->step);
    for (int64_t i = 0; i < sample.count; i++)
        s->axis[i] = (lat ? grid->lat0 : grid->lon0) +
                     (double)(first + sample.start + i * map->step) * (lat ? grid->dlat : grid->dlon);
    char name[32];
    snprintf(name, sizeof name, "%s%s", lat ? "lat" : "lon", map->suffix);
    struct sable_array axis = {.name = name,
                               .unit = lat ? "degrees_north" : "degrees_east",
                               .help = lat ? "centres of the rows" : "centres of the columns",
                               .keep = map->keep,
                               .no_digest = true,
                               .type = SABLE_F64,
                               .dims = 1,
                               .global = {sample.total},
                               .offset = {sample.offset},
                               .count = {mine ? sample.count : 0},
                               .labels = {name},
                               .data = s->axis};
    return sable_put(sink, &axis, error);
}

/* `array` holds name, unit, help, type and data, the latter with rows `pitch` elements of `size` bytes apart. */
static int put_field(const struct sea_state *s, struct sable_sink *sink, const struct map *map,
                     struct sable_array array, int64_t pitch, size_t size, struct sable_error *error)
{
    const struct sable_block *block = &s->field.block;
    struct sample rows = take_sample(s->grid.rows, block->row, block->height, map->step);
    struct sample columns = take_sample(s->grid.columns, block->column, block->width, map->step);
    char name[32], lat[32], lon[32];
    snprintf(name, sizeof name, "%s%s", array.name, map->suffix);
    snprintf(lat, sizeof lat, "lat%s", map->suffix);
    snprintf(lon, sizeof lon, "lon%s", map->suffix);
    array.name = name;
    array.labels[0] = lat;
    array.labels[1] = lon;
    array.keep = map->keep;
    array.no_digest |= map->no_digest;
    array.dims = 2;
    array.global[0] = rows.total;
    array.global[1] = columns.total;
    array.offset[0] = rows.offset;
    array.offset[1] = columns.offset;
    array.count[0] = rows.count;
    array.count[1] = columns.count;
    array.stride[0] = map->step * pitch;
    array.stride[1] = map->step;
    if (rows.count > 0 && columns.count > 0)
        array.data = (const char *)array.data + (size_t)(rows.start * pitch + columns.start) * size;
    return sable_put(sink, &array, error);
}

static int put_map(struct sea_state *s, struct sable_sink *sink, const struct map *map, struct sable_error *error)
{
    int64_t width = s->field.block.width;
    const struct sable_array hours = {
        .name = "hours", .unit = "h", .help = "expected hours to the port", .type = SABLE_F64, .data = s->field.next};
    const struct sable_array heading = {.name = "heading",
                                        .unit = "45 degrees",
                                        .help = "best heading, clockwise from north; 8 port, -1 no way, -2 land",
                                        .type = SABLE_I8,
                                        .data = s->heading};
    const struct sable_array mask = {.name = "mask",
                                     .unit = "",
                                     .help = "0 land, 1 sea, 2 closed by ice",
                                     .no_digest = true,
                                     .type = SABLE_U8,
                                     .data = s->field.cell};
    if (put_axis(s, sink, map, true, error) || put_axis(s, sink, map, false, error) ||
        put_field(s, sink, map, hours, s->field.pitch, sizeof(double), error) ||
        put_field(s, sink, map, heading, width, 1, error))
        return error->code;
    return put_field(s, sink, map, mask, width, 1, error);
}

/* A few numbers, the same on every rank. */
static int put_numbers(struct sable_sink *sink, struct sable_context *context, const char *name, const char *unit,
                       const char *help, enum sable_number type, int64_t count, const void *data,
                       struct sable_error *error)
{
    struct sable_array numbers = {.name = name,
                                  .unit = unit,
                                  .help = help,
                                  .keep = SABLE_KEEP_SUMMARY,
                                  .no_digest = true,
                                  .type = type,
                                  .dims = 1,
                                  .global = {count},
                                  .count = {context->layout.rank == 0 ? count : 0},
                                  .labels = {"value"},
                                  .data = data};
    return sable_put(sink, &numbers, error);
}

/* The hours as they are given out: +inf on land, in the store that sweeps write to. Returns the longest. */
static double prepare_hours(struct sea_state *s)
{
    const struct sable_sea_field *field = &s->field;
    double longest = 0;
#pragma omp parallel for schedule(static) reduction(max : longest)
    for (int64_t r = 0; r < field->block.height; r++)
        for (int64_t c = 0; c < field->block.width; c++) {
            bool land = field->cell[r * field->block.width + c] != SABLE_CHART_SEA;
            double v = land ? INFINITY : field->now[r * field->pitch + c];
            field->next[r * field->pitch + c] = v;
            longest = v < INFINITY && v > longest ? v : longest;
        }
    return longest;
}

static int sea_output(void *state, struct sable_context *context, struct sable_sink *sink, struct sable_error *error)
{
    struct sea_state *s = state;
    double own = prepare_hours(s), longest;
    if (sable_check_mpi(MPI_Allreduce(&own, &longest, 1, MPI_DOUBLE, MPI_MAX, context->comm), "MPI_Allreduce", error))
        return error->code;
    bool large = s->grid.rows > SUMMARY_CELLS / s->grid.columns;
    const struct map whole = {1, "", large ? SABLE_KEEP_FULL : SABLE_KEEP_SUMMARY, false};
    const struct map sampled = {(s->grid.columns + SAMPLE_COLUMNS - 1) / SAMPLE_COLUMNS, "_coarse", SABLE_KEEP_SUMMARY,
                                true};
    const double port[2] = {s->grid.lat0 + (double)s->port_row * s->grid.dlat,
                            s->grid.lon0 + (double)s->port_column * s->grid.dlon};
    const double bounds[2] = {1 - s->bounds.below, 1 + s->bounds.above}, hours = gap(s) * longest, relative = gap(s);
    if (put_map(s, sink, &whole, error) || (large && put_map(s, sink, &sampled, error)) ||
        put_numbers(sink, context, "bounds", "", "the true hours, and those of the headings, lie between these x hours",
                    SABLE_F64, 2, bounds, error) ||
        put_numbers(sink, context, "gap", "", "difference of the bounds", SABLE_F64, 1, &relative, error) ||
        put_numbers(sink, context, "gap_hours", "h", "gap of the longest voyage", SABLE_F64, 1, &hours, error) ||
        put_numbers(sink, context, "sweeps", "", "without and with drift", SABLE_I64, 2, s->sweeps, error))
        return error->code;
    return put_numbers(sink, context, "port", "degrees", "latitude, longitude of the port's cell", SABLE_F64, 2, port,
                       error);
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
