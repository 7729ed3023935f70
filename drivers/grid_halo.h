/* Two-dimensional grids over ranks: the block that a rank owns, and the exchange of its halo.
 *
 * A grid of rows × columns is cut into rank_rows × rank_columns rectangular blocks, one a rank; heights (and widths)
 * differ by at most one. Rows count southwards, columns eastwards. Around its block a rank keeps a halo of `depth`
 * cells, the edge of the neighbours' blocks. Beyond a border of the grid nothing is exchanged: those halo cells are the
 * caller's. */
#ifndef SABLE_GRID_HALO_H
#define SABLE_GRID_HALO_H

#include "driver.h"

enum sable_side {
    SABLE_NORTH, /* the row above the block */
    SABLE_EAST,
    SABLE_SOUTH,
    SABLE_WEST,
    SABLE_NORTH_EAST,
    SABLE_SOUTH_EAST,
    SABLE_SOUTH_WEST,
    SABLE_NORTH_WEST,
    SABLE_SIDES
};

struct sable_block {
    int64_t rows, columns;       /* of the whole grid */
    int64_t row, column;         /* this block's first cell, … */
    int64_t height, width;       /* … and its extent: 0 × 0 for a rank that got nothing */
    int rank_rows, rank_columns; /* blocks of the whole grid; block (i, j) is rank i·rank_columns + j */
    int neighbour[SABLE_SIDES];  /* ranks, or MPI_PROC_NULL at a border; may be the rank itself if periodic */
};

/* The block of `rank` out of `ranks`, pure arithmetic. The cut is the one with the shortest inner edges, and of two
 * equal ones that with the longer rows. If the grid has no `ranks` blocks of at least one cell in a regular cut, the
 * last ranks get none. `periodic_columns`: the westernmost column is the eastern neighbour of the easternmost
 * (longitudes). */
void sable_block_of(int64_t rows, int64_t columns, bool periodic_columns, struct sable_layout layout,
                    struct sable_block *block);

/* What this rank sends in one exchange of `cell_size` bytes a cell: self-copies and borders don't count. */
void sable_halo_traffic(const struct sable_block *block, struct sable_layout layout, int depth, bool corners,
                        size_t cell_size, double *bytes, double *messages);

/* One field of the grid: cell (r, c) of the block, −depth ≤ r < height + depth and c alike, is the `size`
 * bytes at cells + (r·pitch + c)·size. Owned by the caller. */
struct sable_field_view {
    void *cells;
    int64_t pitch; /* cells between rows, ≥ width + 2·depth */
    size_t size;   /* bytes of a cell */
};

enum { SABLE_HALO_FIELDS = 4 }; /* most fields in one exchange */

struct sable_halo; /* buffers and persistent requests */

/* For every rank of `comm`, the communicator whose ranks the block was made for; no communication yet. Prepares
 * exchanges of `fields` fields together (one message a neighbour), cells of sizes[0..fields) bytes; `corners`: also the
 * four at the diagonals. No block beside another may be flatter than `depth`. *halo is owned by the caller; on an error
 * it is NULL. */
int sable_halo_create(MPI_Comm comm, const struct sable_block *block, int depth, bool corners, int fields,
                      const size_t sizes[], struct sable_halo **halo, struct sable_error *error);
void sable_halo_free(struct sable_halo *halo);

/* Bytes that sable_halo_create() allocates. */
double sable_halo_memory(const struct sable_block *block, int depth, bool corners, size_t cell_size);

/* Begins to exchange the halos of `fields` (as many, in sizes as created): their edges are copied out, so they may be
 * changed at once, but their halos not until sable_halo_finish() of the same fields, which fills them in. Counts what
 * is sent into `context`. One exchange of a halo object at a time. */
int sable_halo_start(struct sable_halo *halo, struct sable_context *context, const struct sable_field_view fields[],
                     struct sable_error *error);
int sable_halo_finish(struct sable_halo *halo, const struct sable_field_view fields[], struct sable_error *error);

#endif
