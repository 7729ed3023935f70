/* Setting up one rank's part of a gridworld: its cells, drawn or read by blocks, and its arrays. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "gridworld_rank.h"
#include "input.h"
#include "sable_array.h"

enum { BAND_BYTES = 1 << 22 }; /* of an input file read at once */

static const double reward_most = 1e6;      /* as of the parameters */
static const double stream_from = 32 << 20; /* bytes of U and U′ from which streaming stores pay */

struct sable_gridworld_model gridworld_model(const struct gridworld_params *p)
{
    /* + 0.0: a reward of −0 would let equal values differ in their sign. */
    return (struct sable_gridworld_model){.gamma = p->gamma,
                                          .slip = p->slip,
                                          .boundary = p->boundary + 0.0,
                                          .forbidden = p->forbidden + 0.0,
                                          .target = p->target + 0.0,
                                          .hole = p->hole + 0.0,
                                          .other = p->other + 0.0};
}

static int64_t most(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* The same on every rank: a halo is not deeper than the flattest block beyond it. */
int gridworld_depth(const struct gridworld_params *params, const struct sable_block *block)
{
    int64_t depth = least(params->depth ? params->depth : SABLE_GRIDWORLD_DEPTH, params->check);
    if (block->rank_rows > 1)
        depth = least(depth, block->rows / block->rank_rows);
    if (block->rank_columns > 1)
        depth = least(depth, block->columns / block->rank_columns);
    return (int)depth;
}

static int64_t array_elements(const struct sable_block *block, int depth)
{
    return (block->height + 2 * depth) * sable_gridworld_pitch(block->width, depth);
}

double gridworld_memory(const struct sable_block *block, int depth)
{
    return (double)(2 * sizeof(double) + 2) * (double)array_elements(block, depth) +
           sable_halo_memory(block, depth, depth > 1, sizeof(double));
}

/* ---- Input ---- */

/* Rewards that the file names take the place of the parameters. */
static int input_rewards(struct gridworld_rank *g, struct sable_input *input, struct sable_error *error)
{
    const struct {
        const char *name;
        double *reward;
    } all[] = {{"r_boundary", &g->model.boundary},
               {"r_forbidden", &g->model.forbidden},
               {"r_target", &g->model.target},
               {"r_hole", &g->model.hole},
               {"r_other", &g->model.other}};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        bool found;
        if (sable_input_real(input, "/", all[i].name, all[i].reward, &found, error))
            return error->code;
        if (!(fabs(*all[i].reward) <= reward_most))
            return sable_fail(error, SABLE_BAD_INPUT, "%s: %s=%g is not in [%g, %g]", sable_input_path(input),
                              all[i].name, *all[i].reward, -reward_most, reward_most);
        *all[i].reward += 0.0; /* as in gridworld_model() */
    }
    return SABLE_OK;
}

static int input_model(struct gridworld_rank *g, struct sable_input *input, struct sable_error *error)
{
    bool found;
    if (sable_input_real(input, "/", "gamma", &g->model.gamma, &found, error) ||
        sable_input_real(input, "/", "slip", &g->model.slip, &found, error))
        return error->code;
    if (!(g->model.gamma >= 0 && g->model.gamma < 1))
        return sable_fail(error, SABLE_BAD_INPUT, "%s: gamma=%g is not in [0, 1)", sable_input_path(input),
                          g->model.gamma);
    if (!(g->model.slip >= 0 && g->model.slip <= 1))
        return sable_fail(error, SABLE_BAD_INPUT, "%s: slip=%g is not in [0, 1]", sable_input_path(input),
                          g->model.slip);
    return input_rewards(g, input, error);
}

/* Copies a band of codes into `kinds`, refusing what is no kind. */
static int place_band(const struct gridworld_rank *g, struct sable_input *input, const int64_t offset[2],
                      const int64_t count[2], const uint8_t *band, uint8_t *kinds, struct sable_error *error)
{
    for (int64_t r = 0; r < count[0]; r++)
        for (int64_t c = 0; c < count[1]; c++) {
            uint8_t kind = band[r * count[1] + c];
            if (kind >= SABLE_CELL_KINDS)
                return sable_fail(error, SABLE_BAD_INPUT, "%s: cells[%lld,%lld] is %d; codes are 0 to %d",
                                  sable_input_path(input), (long long)(offset[0] + r), (long long)(offset[1] + c), kind,
                                  SABLE_CELL_KINDS - 1);
            kinds[(offset[0] + r - g->part.row) * g->block.pitch + offset[1] + c - g->part.column] = kind;
        }
    return SABLE_OK;
}

/* The rank's block and its halo, as far as they lie in the grid. */
static struct sable_gridworld_range seen_of(const struct gridworld_rank *g)
{
    const struct sable_block *part = &g->part;
    const int depth = g->depth;
    return (struct sable_gridworld_range){
        most(part->row - depth, 0), least(part->row + part->height + depth, part->rows), most(part->column - depth, 0),
        least(part->column + part->width + depth, part->columns)};
}

static int read_kinds(const struct gridworld_rank *g, struct sable_input *input, uint8_t *kinds,
                      struct sable_error *error)
{
    const struct sable_gridworld_range seen = seen_of(g);
    const int64_t row = seen.row, row_end = seen.row_end, column = seen.column, column_end = seen.column_end;
    int64_t band_rows = most(1, BAND_BYTES / (column_end - column));
    uint8_t *band = sable_array(band_rows, column_end - column, 1);
    if (!band)
        return sable_fail(error, SABLE_ENVIRONMENT, "value_iteration/gridworld: out of memory for a band of cells");
    for (int64_t r = row; r < row_end && !error->code; r += band_rows) {
        int64_t offset[2] = {r, column}, count[2] = {least(band_rows, row_end - r), column_end - column};
        if (!sable_input_read(input, "cells", SABLE_U8, 2, offset, count, band, error))
            place_band(g, input, offset, count, band, kinds, error);
    }
    sable_array_free(band);
    return error->code;
}

static void draw_kinds(const struct gridworld_rank *g, uint64_t seed, uint8_t *kinds)
{
    const struct sable_block *part = &g->part;
    const struct sable_gridworld_range seen = seen_of(g);
#pragma omp parallel for schedule(static)
    for (int64_t r = seen.row; r < seen.row_end; r++)
        for (int64_t c = seen.column; c < seen.column_end; c++)
            kinds[(r - part->row) * g->block.pitch + c - part->column] =
                (uint8_t)sable_gridworld_draw(seed, &g->params.share, (uint64_t)(r * part->columns + c));
}

/* ---- Arrays ---- */

static void *array_at_origin(const struct gridworld_rank *g, size_t size)
{
    char *memory = sable_array(array_elements(&g->part, g->depth), 1, size);
    return memory ? memory + (size_t)sable_gridworld_origin(g->block.pitch, g->depth) * size : NULL;
}

static void free_at_origin(const struct gridworld_rank *g, void *cell, size_t size)
{
    if (cell)
        sable_array_free((char *)cell - (size_t)sable_gridworld_origin(g->block.pitch, g->depth) * size);
}

void gridworld_free(struct gridworld_rank *g)
{
    sable_halo_free(g->halo);
    free_at_origin(g, g->cells, 1);
    free_at_origin(g, g->policy, 1);
    free_at_origin(g, g->value[0], sizeof(double));
    free_at_origin(g, g->value[1], sizeof(double));
    free(g->change);
}

/* Obstacles beyond the border and until something better is known; by the threads that will own the rows. */
static void fill_obstacles(const struct gridworld_rank *g, uint8_t *kinds)
{
    const int64_t pitch = g->block.pitch, height = g->block.height, halo = g->depth * pitch;
    uint8_t *first = kinds - sable_gridworld_origin(pitch, g->depth);
    memset(first, SABLE_CELL_OBSTACLE, (size_t)halo);
    memset(first + halo + height * pitch, SABLE_CELL_OBSTACLE, (size_t)halo);
#pragma omp parallel for schedule(static)
    for (int64_t r = 0; r < height; r++)
        memset(first + halo + r * pitch, SABLE_CELL_OBSTACLE, (size_t)pitch);
}

static int make_cells(struct gridworld_rank *g, struct sable_context *context, struct sable_error *error)
{
    uint8_t *kinds = g->cells;
    fill_obstacles(g, kinds);
    if (g->part.height == 0)
        ;
    else if (!context->input)
        draw_kinds(g, context->seed, kinds);
    else if (read_kinds(g, context->input, kinds, error))
        return error->code;
    int64_t states = 0, ends = 0;
#pragma omp parallel for schedule(static) reduction(+ : states, ends)
    for (int64_t r = 0; r < g->block.height; r++)
        for (int64_t c = 0; c < g->block.width; c++) {
            enum sable_gridworld_kind kind = kinds[r * g->block.pitch + c];
            states += kind != SABLE_CELL_OBSTACLE;
            ends += kind == SABLE_CELL_GOAL || kind == SABLE_CELL_HOLE;
        }
    g->states = states;
    g->block.ends = ends > 0;
    return SABLE_OK;
}

static int make_part(struct gridworld_rank *g, struct sable_context *context, struct sable_error *error)
{
    int64_t shape[2] = {g->params.n, g->params.columns ? g->params.columns : g->params.n};
    if (context->input &&
        (input_model(g, context->input, error) || sable_input_shape(context->input, "cells", 2, shape, error)))
        return error->code;
    sable_block_of(shape[0], shape[1], false, context->layout, &g->part);
    g->block.height = g->part.height;
    g->block.width = g->part.width;
    g->depth = gridworld_depth(&g->params, &g->part);
    g->block.pitch = sable_gridworld_pitch(g->part.width, g->depth);
    g->cells = array_at_origin(g, 1);
    g->policy = array_at_origin(g, 1);
    g->value[0] = array_at_origin(g, sizeof(double));
    g->value[1] = array_at_origin(g, sizeof(double));
    g->block.cells = g->cells;
    if (!g->cells || !g->policy || !g->value[0] || !g->value[1])
        return sable_fail(error, SABLE_ENVIRONMENT, "value_iteration/gridworld: out of memory for %lld × %lld cells",
                          (long long)g->part.height, (long long)g->part.width);
    return make_cells(g, context, error);
}

int gridworld_make(const struct gridworld_params *params, struct sable_context *context, bool reference,
                   struct gridworld_rank *g, struct sable_error *error)
{
    *g = (struct gridworld_rank){.params = *params, .model = gridworld_model(params), .reference = reference};
    if (!make_part(g, context, error)) {
        const size_t size = sizeof(double);
        sable_halo_create(context->comm, &g->part, g->depth, g->depth > 1, 1, &size, &g->halo, error);
    }
    if (sable_agree(context->comm, error))
        return error->code;
    int ends = g->block.ends, any;
    if (sable_check_mpi(MPI_Allreduce(&ends, &any, 1, MPI_INT, MPI_LOR, context->comm), "MPI_Allreduce", error))
        return error->code;
    g->block.ends = any;
    double working_set = 2.0 * sizeof(double) * (double)g->block.height * (double)g->block.width;
    g->stream = params->stores == STORES_STREAMING || (params->stores == STORES_AUTO && working_set > stream_from);
    return SABLE_OK;
}
