/* The fast sweeps' blocking in space and time. Rows are dealt out to the threads in fixed bands, so that each finds its
 * rows in its own memory, and cut into panels whose rows stay in the second-level cache. */
#include <math.h>
#include <omp.h>
#include <stdatomic.h>
#include <stddef.h>

#include "gridworld_sweep.h"

enum {
    PANEL = 4096,         /* columns: eight sweeps keep ten rows of U, U′ and cells, 680 KiB */
    PLAIN_PANEL = 8192,   /* one sweep: three rows of U are 192 KiB */
    WORTH_THREADS = 16384 /* updates below which one thread is faster than waking the others */
};

typedef void sweep_row_function(const struct gridworld_constants *, const uint8_t *, const double *, int64_t, int64_t,
                                bool, double *, struct sable_gridworld_change *);

static struct gridworld_constants constants(const struct sable_gridworld_model *model, bool ends)
{
    struct gridworld_constants made = {
        .gamma = model->gamma,
        .intended = 1 - model->slip,
        .sideways = model->slip / 2,
        .boundary = model->boundary,
        .ends = ends,
    };
    for (int kind = 0; kind < SABLE_CELL_KINDS; kind++) {
        made.reward[kind] = sable_gridworld_reward(model, (enum sable_gridworld_kind)kind);
        made.gamma_of[kind] = kind == SABLE_CELL_GOAL || kind == SABLE_CELL_HOLE ? 0 : model->gamma;
    }
    return made;
}

static int64_t at_least(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static int64_t at_most(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

void sable_gridworld_start(const struct sable_gridworld_model *model, const struct sable_gridworld_block *block,
                           int depth, double value, double *u)
{
#pragma omp parallel for schedule(static)
    for (int64_t r = 0; r < block->height; r++) {
        int64_t above = r == 0 ? -depth : r, below = r == block->height - 1 ? r + depth : r;
        for (int64_t row = above; row <= below; row++) /* the halo rows go with the outermost ones */
            for (int64_t s = row * block->pitch - depth; s < row * block->pitch + block->width + depth; s++) {
                const uint8_t kind = block->cells[s];
                const double reward = sable_gridworld_reward(model, kind);
                u[s] = kind == SABLE_CELL_OBSTACLE     ? (double)NAN
                       : sable_gridworld_decides(kind) ? fma(model->gamma, value, reward)
                                                       : reward;
            }
    }
}

/* ---- One sweep ---- */

struct sable_gridworld_change sable_gridworld_sweep(const struct sable_gridworld_model *model,
                                                    const struct sable_gridworld_block *block, const double *u,
                                                    struct sable_gridworld_range range, bool stream, double *next)
{
    const struct gridworld_constants loop = constants(model, block->ends);
    const int64_t pitch = block->pitch, columns = range.column_end - range.column;
    sweep_row_function *sweep_row = SABLE_ISA_PICK(gridworld_sweep_row);
    double least = INFINITY, most = -INFINITY;
#pragma omp parallel reduction(min                                                                                     \
                               : least) reduction(max                                                                  \
                                                  : most) if ((range.row_end - range.row) * columns >= WORTH_THREADS)
    {
        struct sable_gridworld_change change = {INFINITY, -INFINITY};
        for (int64_t column = range.column; column < range.column_end; column += PLAIN_PANEL) {
#pragma omp for schedule(static) nowait
            for (int64_t r = range.row; r < range.row_end; r++) {
                int64_t s = r * pitch + column;
                sweep_row(&loop, &block->cells[s], &u[s], pitch, at_most(range.column_end - column, PLAIN_PANEL),
                          stream, &next[s], &change);
            }
        }
        if (stream) /* streaming stores are weakly ordered: the others shall see them after the barrier */
            atomic_thread_fence(memory_order_seq_cst);
        least = change.least;
        most = change.most;
    }
    return (struct sable_gridworld_change){least, most};
}

/* ---- Several sweeps in one pass ----
 *
 * Sweep t of a row needs sweep t − 1 of the row and of the two beside it. So a wave of sweeps follows each other down
 * the rows, one row apart (sweep t of row k + 1 − t at step k), and the rows between its crest and its end stay in
 * cache. Two arrays suffice: sweep t overwrites t − 2 of its row, which sweep t − 1 of the row below was the last to
 * read.
 *
 * Bands of rows, one a thread, are swept at once where they don't need each other: sweep t leaves out the t − 1 rows
 * next to a seam. After a barrier the triangles at the seams are swept, each by one thread. At the edge of a
 * neighbour's block the block is enlarged by `count` − t rows and columns instead, from the halo.
 *
 * Panels of columns are slanted by a cache line a sweep, so that each needs but what the one to its left has left. */
struct passage {
    const struct gridworld_constants *model;
    const struct sable_gridworld_block *block;
    struct sable_gridworld_sides sides;
    int count;
    double *const *u;
    sweep_row_function *sweep_row;
};

enum { SLANT = 8 /* columns: a cache line */ };

/* Rows of sweep t in a piece: [first + first_step·(t − 1), end + end_step·(t − 1)). */
struct piece {
    int64_t first, end;
    int first_step, end_step;
};

/* Sweep t of one row within one panel. */
static void sweep_panel_row(const struct passage *p, int t, int64_t row, int64_t panel, int64_t panels,
                            struct sable_gridworld_change *change)
{
    const int64_t width = p->block->width, pitch = p->block->pitch, slant = SLANT * (t - 1);
    const bool last = t == p->count;
    int64_t column = panel > 0 ? panel * PANEL - slant : p->sides.west && !last ? -SLANT : 0;
    int64_t end = panel < panels - 1 ? (panel + 1) * PANEL - slant : width + (p->sides.east ? p->count - t : 0);
    int64_t s = row * pitch + column;
    p->sweep_row(p->model, &p->block->cells[s], &p->u[(t - 1) % 2][s], pitch, end - column, false, &p->u[t % 2][s],
                 last ? change : NULL);
}

static void sweep_piece(const struct passage *p, struct piece piece, struct sable_gridworld_change *change)
{
    const int64_t panels = at_least(1, (p->block->width + PANEL - 1) / PANEL);
    const int64_t top = at_most(piece.first, piece.first + piece.first_step * (p->count - 1));
    const int64_t bottom = at_least(piece.end, piece.end + piece.end_step * (p->count - 1));
    for (int64_t panel = 0; panel < panels; panel++)
        for (int64_t k = top; k < bottom + p->count - 1; k++)
            for (int t = 1; t <= p->count; t++) {
                int64_t row = k + 1 - t;
                if (row >= piece.first + piece.first_step * (t - 1) && row < piece.end + piece.end_step * (t - 1))
                    sweep_panel_row(p, t, row, panel, panels, change);
            }
}

/* Band `i` of `bands`, and the triangle at its upper seam. */
static struct piece band_of(const struct passage *p, int i, int bands)
{
    const int64_t height = p->block->height;
    struct piece band = {height * i / bands, height * (i + 1) / bands, 1, -1};
    if (i == 0) {
        band.first -= p->sides.north ? p->count - 1 : 0;
        band.first_step = p->sides.north;
    }
    if (i == bands - 1) {
        band.end += p->sides.south ? p->count - 1 : 0;
        band.end_step = -p->sides.south;
    }
    return band;
}

static struct piece seam_of(const struct passage *p, int i, int bands)
{
    const int64_t row = p->block->height * i / bands;
    return (struct piece){row, row, -1, 1};
}

struct sable_gridworld_change sable_gridworld_sweeps(const struct sable_gridworld_model *model,
                                                     const struct sable_gridworld_block *block,
                                                     struct sable_gridworld_sides sides, int count, double *const u[2])
{
    const struct gridworld_constants loop = constants(model, block->ends);
    const struct passage passage = {&loop, block, sides, count, u, SABLE_ISA_PICK(gridworld_sweep_row)};
    /* Each band holds the triangles of both of its seams. */
    const int64_t most_bands =
        at_most(block->height / (2 * count), block->height * block->width * count / WORTH_THREADS);
    const int bands = (int)at_least(1, at_most(most_bands, omp_get_max_threads()));
    double least = INFINITY, most = -INFINITY;
#pragma omp parallel num_threads(bands) reduction(min : least) reduction(max : most)
    {
        struct sable_gridworld_change change = {INFINITY, -INFINITY};
#pragma omp for schedule(static)
        for (int i = 0; i < bands; i++)
            sweep_piece(&passage, band_of(&passage, i, bands), &change);
#pragma omp for schedule(static)
        for (int i = 1; i < bands; i++)
            sweep_piece(&passage, seam_of(&passage, i, bands), &change);
        least = change.least;
        most = change.most;
    }
    return (struct sable_gridworld_change){least, most};
}

/* ---- The policy ---- */

void sable_gridworld_policy(const struct sable_gridworld_model *model, const struct sable_gridworld_block *block,
                            const double *u, double shift, double *v, int8_t *policy)
{
    const struct gridworld_constants loop = constants(model, block->ends);
    const int64_t pitch = block->pitch;
    void (*policy_row)(const struct gridworld_constants *, const uint8_t *, const double *, int64_t, int64_t, double,
                       double *, int8_t *) = SABLE_ISA_PICK(gridworld_policy_row);
#pragma omp parallel for schedule(static)
    for (int64_t r = 0; r < block->height; r++) {
        int64_t s = r * pitch;
        policy_row(&loop, &block->cells[s], &u[s], pitch, block->width, shift, &v[s], &policy[s]);
    }
}
