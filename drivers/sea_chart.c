#include "sea_chart.h"

#include <math.h>
#include <stdlib.h>

#include "input.h"
#include "sable_array.h"

enum { STORED_LAND, STORED_SEA, STORED_FAIRWAY, STORED_CANAL }; /* values of the dataset `mask` */
enum { SLAB_ROWS = 256 };                                       /* stored rows read at a time: a chunk of data/sea.h5 */

/* ---- The axes ---- */

/* A regular ascending axis, from the file or, if it has none, over the whole range. */
static int read_axis(struct sable_input *input, const char *name, int64_t count, double from, double to, double *first,
                     double *step, struct sable_error *error)
{
    *step = (to - from) / (double)count;
    *first = from + *step / 2;
    if (!sable_input_has(input, name))
        return SABLE_OK;
    int64_t length, zero = 0;
    if (sable_input_shape(input, name, 1, &length, error))
        return error->code;
    const char *path = sable_input_path(input);
    if (length != count)
        return sable_fail(error, SABLE_BAD_INPUT, "%s: %s has %lld values, but mask has %lld cells along it", path,
                          name, (long long)length, (long long)count);
    double *value = sable_array(count, 1, sizeof *value);
    if (!value)
        return sable_fail(error, SABLE_ENVIRONMENT, "out of memory for %lld values of %s", (long long)count, name);
    if (!sable_input_read(input, name, SABLE_F64, 1, &zero, &count, value, error)) {
        *first = value[0];
        *step = (value[count - 1] - value[0]) / (double)(count - 1);
        for (int64_t i = 0; i < count && !error->code; i++)
            if (!(*step > 0) || !(fabs(value[i] - (*first + (double)i * *step)) <= 1e-3 * *step))
                sable_fail(error, SABLE_BAD_INPUT,
                           "%s: %s[%lld] = %g: the values must ascend in equal steps (from %g, by %g)", path, name,
                           (long long)i, value[i], *first, *step);
    }
    sable_array_free(value);
    return error->code;
}

static int read_axes(struct sable_chart *chart, struct sable_error *error)
{
    const char *path = sable_input_path(chart->input);
    struct sable_sea_grid *grid = &chart->grid;
    int64_t shape[2];
    if (sable_input_shape(chart->input, "mask", 2, shape, error))
        return error->code;
    if (shape[0] < 2 || shape[1] < 4)
        return sable_fail(error, SABLE_BAD_INPUT, "%s: mask has %lld × %lld cells; at least 2 × 4 are needed", path,
                          (long long)shape[0], (long long)shape[1]);
    *grid = (struct sable_sea_grid){.rows = shape[0], .columns = shape[1]};
    if (read_axis(chart->input, "lat", grid->rows, -90, 90, &grid->lat0, &grid->dlat, error) ||
        read_axis(chart->input, "lon", grid->columns, -180, 180, &grid->lon0, &grid->dlon, error))
        return error->code;
    double last = grid->lat0 + (double)(grid->rows - 1) * grid->dlat;
    if (!(grid->lat0 >= -90 && last <= 90))
        return sable_fail(error, SABLE_BAD_INPUT, "%s: lat runs from %g to %g: it must lie in [-90, 90]", path,
                          grid->lat0, last);
    if (!(fabs(grid->dlon * (double)grid->columns - 360) <= 1e-3 * grid->dlon && fabs(grid->lon0) <= 360))
        return sable_fail(error, SABLE_BAD_INPUT,
                          "%s: %lld columns of %g degrees from lon = %g do not go round the Earth once", path,
                          (long long)grid->columns, grid->dlon, grid->lon0);
    grid->dlon = 360 / (double)grid->columns;
    return SABLE_OK;
}

/* From the stored grid to the one that is computed on. */
static int rescale(struct sable_chart *chart, struct sable_error *error)
{
    struct sable_sea_grid *grid = &chart->grid;
    int64_t merge = chart->options.coarsen, cut = chart->options.refine;
    if (grid->rows % merge || grid->columns % merge || grid->rows / merge < 2 || grid->columns / merge < 4)
        return sable_fail(
            error, SABLE_BAD_INPUT, "coarsen=%lld does not divide the %lld × %lld cells of %s into 2 × 4 or more",
            (long long)merge, (long long)grid->rows, (long long)grid->columns, sable_input_path(chart->input));
    double factor = (double)merge / (double)cut;
    grid->lat0 += (factor - 1) / 2 * grid->dlat;
    grid->lon0 += (factor - 1) / 2 * grid->dlon;
    grid->dlat *= factor;
    grid->dlon *= factor;
    grid->rows /= merge;
    grid->columns /= merge;
    int64_t cells;
    if (!sable_multiply(grid->rows, cut, &grid->rows) || !sable_multiply(grid->columns, cut, &grid->columns) ||
        !sable_multiply(grid->rows, grid->columns, &cells))
        return sable_fail(error, SABLE_BAD_INPUT, "refine=%lld makes more cells than can be counted", (long long)cut);
    return SABLE_OK;
}

int sable_chart_open(struct sable_input *input, const struct sable_chart_options *options, struct sable_chart *chart,
                     struct sable_error *error)
{
    *chart = (struct sable_chart){.options = *options, .input = input};
    if (!input) {
        char path[1024];
        if (sable_data_path("sea.h5", path, sizeof path, error) || sable_input_open(path, &chart->input, error))
            return error->code;
        chart->opened = true;
    }
    if (read_axes(chart, error))
        return error->code;
    return rescale(chart, error);
}

void sable_chart_close(struct sable_chart *chart)
{
    if (chart->opened)
        sable_input_close(chart->input);
    chart->input = NULL;
    chart->opened = false;
}

/* ---- The cells ---- */

/* Stored cells [first, first + count) along an axis, under the computed ones [from, from + length). */
struct range {
    int64_t first, count;
};

static struct range stored_under(const struct sable_chart *chart, int64_t from, int64_t length)
{
    int64_t merge = chart->options.coarsen, cut = chart->options.refine;
    int64_t first = from * merge / cut, end = ((from + length) * merge + cut - 1) / cut;
    return (struct range){first, end - first};
}

/* The cell that is made of stored ones [rows × columns], pitch apart. */
static uint8_t merged(const uint8_t *stored, int64_t rows, int64_t columns, int64_t pitch, bool canals)
{
    int64_t sea = 0;
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < columns; c++) {
            uint8_t value = stored[r * pitch + c];
            if (value == STORED_FAIRWAY || (value == STORED_CANAL && canals))
                return SABLE_CHART_SEA;
            sea += value == STORED_SEA;
        }
    return 2 * sea >= rows * columns ? SABLE_CHART_SEA : SABLE_CHART_LAND;
}

/* Rows [from, from + count) of the block, out of the stored rows and columns read for them. */
static void fill_rows(const struct sable_chart *chart, const struct sable_block *block, int64_t from, int64_t count,
                      const uint8_t *stored, struct range rows, struct range columns, uint8_t *cell)
{
    int64_t merge = chart->options.coarsen;
    for (int64_t r = from; r < from + count; r++) {
        double lat = chart->grid.lat0 + (double)(block->row + r) * chart->grid.dlat;
        bool frozen = fabs(lat) > chart->options.ice;
        int64_t first_row = stored_under(chart, block->row + r, 1).first - rows.first;
        for (int64_t c = 0; c < block->width; c++) {
            int64_t first_column = stored_under(chart, block->column + c, 1).first - columns.first;
            uint8_t kind = merged(stored + first_row * columns.count + first_column, merge, merge, columns.count,
                                  chart->options.canals);
            cell[r * block->width + c] = kind == SABLE_CHART_SEA && frozen ? SABLE_CHART_ICE : kind;
        }
    }
}

int sable_chart_read(const struct sable_chart *chart, const struct sable_block *block, uint8_t *cell,
                     struct sable_error *error)
{
    if (block->height == 0 || block->width == 0)
        return SABLE_OK;
    struct range columns = stored_under(chart, block->column, block->width);
    int64_t slab = SLAB_ROWS * chart->options.refine / chart->options.coarsen;
    slab = slab < 1 ? 1 : slab > block->height ? block->height : slab;
    uint8_t *stored = sable_array((slab + 1) * chart->options.coarsen + 1, columns.count, 1);
    if (!stored)
        return sable_fail(error, SABLE_ENVIRONMENT, "out of memory for %lld columns of the chart",
                          (long long)columns.count);
    for (int64_t from = 0; from < block->height && !error->code; from += slab) {
        int64_t count = block->height - from < slab ? block->height - from : slab;
        struct range rows = stored_under(chart, block->row + from, count);
        if (sable_input_read(chart->input, "mask", SABLE_U8, 2, (int64_t[]){rows.first, columns.first},
                             (int64_t[]){rows.count, columns.count}, stored, error))
            break;
        for (int64_t i = 0; i < rows.count * columns.count && !error->code; i++)
            if (stored[i] > STORED_CANAL)
                sable_fail(error, SABLE_BAD_INPUT,
                           "%s: mask[%lld, %lld] = %d: it must be 0 (land), 1 (sea), 2 (fairway) or 3 (canal)",
                           sable_input_path(chart->input), (long long)(rows.first + i / columns.count),
                           (long long)(columns.first + i % columns.count), stored[i]);
        if (!error->code)
            fill_rows(chart, block, from, count, stored, rows, columns, cell);
    }
    sable_array_free(stored);
    return error->code;
}

/* ---- The port ---- */

int sable_chart_nearest(const struct sable_chart *chart, const struct sable_block *block, const uint8_t *cell,
                        MPI_Comm comm, struct sable_point place, double limit, int64_t *row, int64_t *column,
                        struct sable_error *error)
{
    const struct sable_sea_grid *grid = &chart->grid;
    double own = INFINITY, nearest;
    int64_t own_index = INT64_MAX, index;
    for (int64_t r = 0; r < block->height; r++)
        for (int64_t c = 0; c < block->width; c++) {
            double lat = grid->lat0 + (double)(block->row + r) * grid->dlat;
            if (cell[r * block->width + c] != SABLE_CHART_SEA)
                continue;
            double distance =
                sable_sea_distance(place.x, place.y, lat, grid->lon0 + (double)(block->column + c) * grid->dlon);
            if (distance < own) {
                own = distance;
                own_index = (block->row + r) * grid->columns + block->column + c;
            }
        }
    if (sable_check_mpi(MPI_Allreduce(&own, &nearest, 1, MPI_DOUBLE, MPI_MIN, comm), "MPI_Allreduce", error))
        return error->code;
    if (own != nearest)
        own_index = INT64_MAX;
    if (sable_check_mpi(MPI_Allreduce(&own_index, &index, 1, MPI_INT64_T, MPI_MIN, comm), "MPI_Allreduce", error))
        return error->code;
    if (!(nearest <= limit))
        return sable_fail(
            error, SABLE_BAD_INPUT,
            "port=%g,%g: the nearest open sea is %.0f km away (at most %.0f): give latitude,longitude of a "
            "place on the coast",
            place.x, place.y, nearest, limit);
    *row = index / grid->columns;
    *column = index % grid->columns;
    return SABLE_OK;
}
