/* The fast sweep's blocking: rows dealt out to the threads in fixed shares, so that each finds its rows in its own
 * memory, and cut into panels whose three rows stay in the second-level cache. */
#include <math.h>
#include <stdatomic.h>

#include "gridworld_sweep.h"

enum {
    PANEL = 8192,         /* columns: three rows of U are 192 KiB */
    WORTH_THREADS = 16384 /* cells below which one thread is faster than waking the others */
};

static struct gridworld_constants constants(const struct sable_gridworld_model *model)
{
    return (struct gridworld_constants){
        .gamma = model->gamma,
        .intended = 1 - model->slip,
        .sideways = model->slip / 2,
        .boundary = model->boundary,
        .other = model->other,
        .forbidden = model->forbidden,
        .target = model->target,
        .bump_other = model->boundary - model->other,
        .bump_forbidden = model->boundary - model->forbidden,
        .bump_target = model->boundary - model->target,
    };
}

void sable_gridworld_start(const struct sable_gridworld_model *model, const struct sable_gridworld_block *block,
                           double value, double *u)
{
#pragma omp parallel for schedule(static)
    for (int64_t r = 0; r < block->height; r++) {
        int64_t above = r == 0 ? -1 : r, below = r == block->height - 1 ? r + 1 : r;
        for (int64_t row = above; row <= below; row++) /* the halo rows go with the outermost ones */
            for (int64_t c = -1; c <= block->width; c++) {
                int64_t s = row * block->pitch + c;
                enum sable_gridworld_kind kind = sable_gridworld_kind(block->cells[s]);
                double v = block->cells[s] & SABLE_IS_FIXED ? 0 : value;
                u[s] = kind == SABLE_CELL_OBSTACLE ? 0 : sable_gridworld_reward(model, kind) + model->gamma * v;
            }
    }
}

struct sable_gridworld_change sable_gridworld_sweep(const struct sable_gridworld_model *model,
                                                    const struct sable_gridworld_block *block, const double *u,
                                                    struct sable_gridworld_range range, bool stream, double *next)
{
    const struct gridworld_constants loop = constants(model);
    const int64_t pitch = block->pitch, panels = (range.column_end - range.column + PANEL - 1) / PANEL;
    const int64_t cells = (range.row_end - range.row) * (range.column_end - range.column);
    void (*sweep_row)(const struct gridworld_constants *, const uint8_t *, const double *, int64_t, int64_t, bool,
                      double *, struct sable_gridworld_change *) = SABLE_ISA_PICK(gridworld_sweep_row);
    double least = INFINITY, most = -INFINITY;
#pragma omp parallel reduction(min : least) reduction(max : most) if (cells >= WORTH_THREADS)
    {
        struct sable_gridworld_change change = {INFINITY, -INFINITY};
        for (int64_t p = 0; p < panels; p++) {
            int64_t column = range.column + p * PANEL, left = range.column_end - column;
#pragma omp for schedule(static) nowait
            for (int64_t r = range.row; r < range.row_end; r++) {
                int64_t s = r * pitch + column;
                sweep_row(&loop, &block->cells[s], &u[s], pitch, left < PANEL ? left : PANEL, stream, &next[s],
                          &change);
            }
        }
        if (stream) /* streaming stores are weakly ordered: the others shall see them after the barrier */
            atomic_thread_fence(memory_order_seq_cst);
        least = change.least;
        most = change.most;
    }
    return (struct sable_gridworld_change){least, most};
}

void sable_gridworld_policy(const struct sable_gridworld_model *model, const struct sable_gridworld_block *block,
                            const double *u, double shift, double *v, int8_t *policy)
{
    const struct gridworld_constants loop = constants(model);
    const int64_t pitch = block->pitch;
    void (*policy_row)(const struct gridworld_constants *, const uint8_t *, const double *, int64_t, int64_t, double,
                       double *, int8_t *) = SABLE_ISA_PICK(gridworld_policy_row);
#pragma omp parallel for schedule(static)
    for (int64_t r = 0; r < block->height; r++) {
        int64_t s = r * pitch;
        policy_row(&loop, &block->cells[s], &u[s], pitch, block->width, shift, &v[s], &policy[s]);
    }
}
