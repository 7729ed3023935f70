/* The answer of value_iteration/sea: its verification, and its outputs. */
#include <math.h>
#include <stdio.h>

#include "sable_array.h"
#include "sea_state.h"

enum {
    SUMMARY_CELLS = 1 << 21, /* of a larger grid, --keep summary stores a sample only … */
    SAMPLE_COLUMNS = 1440    /* … of at most so many columns */
};

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

int sea_verify(void *state, struct sable_context *context, struct sable_checks *checks, struct sable_error *error)
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

static int put_numbers(struct sable_sink *sink, const char *name, const char *unit, const char *help,
                       enum sable_number type, int64_t count, const void *data, struct sable_error *error)
{
    const struct sable_array numbers = {.name = name,
                                        .unit = unit,
                                        .help = help,
                                        .no_digest = true,
                                        .type = type,
                                        .dims = 1,
                                        .global = {count},
                                        .labels = {"value"},
                                        .data = data};
    return sable_put_whole(sink, &numbers, error);
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

int sea_output(void *state, struct sable_context *context, struct sable_sink *sink, struct sable_error *error)
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
    const double bounds[2] = {1 - s->bounds.below, 1 + s->bounds.above}, hours = sea_gap(s) * longest,
                 relative = sea_gap(s);
    if (put_map(s, sink, &whole, error) || (large && put_map(s, sink, &sampled, error)) ||
        put_numbers(sink, "bounds", "", "the true hours, and those of the headings, lie between these x hours",
                    SABLE_F64, 2, bounds, error) ||
        put_numbers(sink, "gap", "", "difference of the bounds", SABLE_F64, 1, &relative, error) ||
        put_numbers(sink, "gap_hours", "h", "gap of the longest voyage", SABLE_F64, 1, &hours, error) ||
        put_numbers(sink, "sweeps", "", "without and with drift", SABLE_I64, 2, s->sweeps, error))
        return error->code;
    return put_numbers(sink, "port", "degrees", "latitude, longitude of the port's cell", SABLE_F64, 2, port, error);
}
