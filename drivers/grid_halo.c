#include "grid_halo.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "sable_array.h"

static const struct step {
    int row, column;
} steps[SABLE_SIDES] = {
    [SABLE_NORTH] = {-1, 0},      [SABLE_EAST] = {0, 1},         [SABLE_SOUTH] = {1, 0},
    [SABLE_WEST] = {0, -1},       [SABLE_NORTH_EAST] = {-1, 1},  [SABLE_SOUTH_EAST] = {1, 1},
    [SABLE_SOUTH_WEST] = {1, -1}, [SABLE_NORTH_WEST] = {-1, -1},
};

static const enum sable_side opposite[SABLE_SIDES] = {
    [SABLE_NORTH] = SABLE_SOUTH,           [SABLE_EAST] = SABLE_WEST,
    [SABLE_SOUTH] = SABLE_NORTH,           [SABLE_WEST] = SABLE_EAST,
    [SABLE_NORTH_EAST] = SABLE_SOUTH_WEST, [SABLE_SOUTH_EAST] = SABLE_NORTH_WEST,
    [SABLE_SOUTH_WEST] = SABLE_NORTH_EAST, [SABLE_NORTH_WEST] = SABLE_SOUTH_EAST,
};

static int sides(bool corners)
{
    return corners ? SABLE_SIDES : SABLE_WEST + 1;
}

/* ---- The partition ---- */

/* The best regular cut into exactly `blocks` blocks; false if there is none with a cell in each. */
static bool cut(int64_t rows, int64_t columns, bool periodic_columns, int blocks, struct sable_block *block)
{
    bool found = false;
    double shortest = 0;
    for (int down = blocks; down >= 1; down--) {
        int across = blocks / down;
        if (blocks % down != 0 || down > rows || across > columns)
            continue;
        int seams = periodic_columns && across > 1 ? across : across - 1;
        double edges = (double)(down - 1) * (double)columns + (double)seams * (double)rows;
        if (!found || edges < shortest) {
            shortest = edges;
            block->rank_rows = down;
            block->rank_columns = across;
            found = true;
        }
    }
    return found;
}

/* Part `index` of `parts` of [0, n): the first n mod parts are longer by one. */
static void part(int64_t n, int parts, int index, int64_t *first, int64_t *count)
{
    int64_t each = n / parts, longer = n % parts;
    *first = index * each + (index < longer ? index : longer);
    *count = each + (index < longer);
}

void sable_block_of(int64_t rows, int64_t columns, bool periodic_columns, struct sable_layout layout,
                    struct sable_block *block)
{
    *block = (struct sable_block){.rows = rows, .columns = columns};
    for (int side = 0; side < SABLE_SIDES; side++)
        block->neighbour[side] = MPI_PROC_NULL;
    int blocks = layout.ranks;
    while (!cut(rows, columns, periodic_columns, blocks, block)) /* one block always fits */
        blocks--;
    if (layout.rank >= blocks)
        return;
    int i = layout.rank / block->rank_columns, j = layout.rank % block->rank_columns;
    part(rows, block->rank_rows, i, &block->row, &block->height);
    part(columns, block->rank_columns, j, &block->column, &block->width);
    for (int side = 0; side < SABLE_SIDES; side++) {
        int row = i + steps[side].row, column = j + steps[side].column;
        if (periodic_columns)
            column = (column + block->rank_columns) % block->rank_columns;
        if (row >= 0 && row < block->rank_rows && column >= 0 && column < block->rank_columns)
            block->neighbour[side] = row * block->rank_columns + column;
    }
}

/* ---- What is exchanged ---- */

struct rectangle {
    int64_t row, column, height, width;
};

/* The cells of the block that its neighbour on `side` sees, or the halo cells there (`outside`). */
static struct rectangle edge(const struct sable_block *block, enum sable_side side, int depth, bool outside)
{
    struct step step = steps[side];
    return (struct rectangle){
        .row = step.row > 0   ? block->height - (outside ? 0 : depth)
               : step.row < 0 ? -(outside ? depth : 0)
                              : 0,
        .column = step.column > 0   ? block->width - (outside ? 0 : depth)
                  : step.column < 0 ? -(outside ? depth : 0)
                                    : 0,
        .height = step.row ? depth : block->height,
        .width = step.column ? depth : block->width,
    };
}

static int64_t edge_cells(const struct sable_block *block, enum sable_side side, int depth)
{
    struct rectangle cells = edge(block, side, depth, false);
    return block->neighbour[side] == MPI_PROC_NULL ? 0 : cells.height * cells.width;
}

static int64_t halo_cells(const struct sable_block *block, int depth, bool corners)
{
    int64_t cells = 0;
    for (int side = 0; side < sides(corners); side++)
        cells += edge_cells(block, (enum sable_side)side, depth);
    return cells;
}

void sable_halo_traffic(const struct sable_block *block, struct sable_layout layout, int depth, bool corners,
                        size_t cell_size, double *bytes, double *messages)
{
    *bytes = *messages = 0;
    for (int side = 0; side < sides(corners); side++) {
        if (block->neighbour[side] == MPI_PROC_NULL || block->neighbour[side] == layout.rank)
            continue;
        *bytes += (double)edge_cells(block, (enum sable_side)side, depth) * (double)cell_size;
        *messages += 1;
    }
}

double sable_halo_memory(const struct sable_block *block, int depth, bool corners, size_t cell_size)
{
    return 2.0 * (double)halo_cells(block, depth, corners) * (double)cell_size;
}

/* ---- The exchange ---- */

struct sable_halo {
    struct sable_block block;
    int rank, depth, sides, fields, requests;
    size_t size[SABLE_HALO_FIELDS], cell_size; /* cell_size: of all fields together */
    char *out, *in;                            /* edges to be sent and received, side after side */
    char *send[SABLE_SIDES], *receive[SABLE_SIDES];
    MPI_Datatype cell;
    MPI_Request request[2 * SABLE_SIDES];
};

static int add_messages(struct sable_halo *halo, MPI_Comm comm, enum sable_side side, struct sable_error *error)
{
    int64_t cells = edge_cells(&halo->block, side, halo->depth);
    int peer = halo->block.neighbour[side];
    if (cells == 0 || peer == halo->rank)
        return SABLE_OK;
    if (cells > INT_MAX)
        return sable_fail(error, SABLE_BAD_INPUT, "a block edge of %lld cells is more than MPI counts: use more ranks",
                          (long long)cells);
    /* The tag is the direction of travel: with two ranks around a ring, both neighbours are the same rank. */
    if (sable_check_mpi(MPI_Recv_init(halo->receive[side], (int)cells, halo->cell, peer, (int)opposite[side], comm,
                                      &halo->request[halo->requests]),
                        "MPI_Recv_init", error))
        return error->code;
    halo->requests++;
    if (sable_check_mpi(MPI_Send_init(halo->send[side], (int)cells, halo->cell, peer, (int)side, comm,
                                      &halo->request[halo->requests]),
                        "MPI_Send_init", error))
        return error->code;
    halo->requests++;
    return SABLE_OK;
}

static int prepare(struct sable_halo *halo, MPI_Comm comm, bool corners, struct sable_error *error)
{
    int64_t cells = halo_cells(&halo->block, halo->depth, corners);
    halo->out = sable_array(cells, 1, halo->cell_size);
    halo->in = sable_array(cells, 1, halo->cell_size);
    if (!halo->out || !halo->in)
        return sable_fail(error, SABLE_ENVIRONMENT, "out of memory for halos of %lld cells", (long long)cells);
    if (sable_check_mpi(MPI_Comm_rank(comm, &halo->rank), "MPI_Comm_rank", error) ||
        sable_check_mpi(MPI_Type_contiguous((int)halo->cell_size, MPI_BYTE, &halo->cell), "MPI_Type_contiguous",
                        error) ||
        sable_check_mpi(MPI_Type_commit(&halo->cell), "MPI_Type_commit", error))
        return error->code;
    size_t at = 0;
    for (int side = 0; side < halo->sides; side++) {
        halo->send[side] = halo->out + at;
        halo->receive[side] = halo->in + at;
        at += (size_t)edge_cells(&halo->block, (enum sable_side)side, halo->depth) * halo->cell_size;
        if (add_messages(halo, comm, (enum sable_side)side, error))
            return error->code;
    }
    return SABLE_OK;
}

int sable_halo_create(MPI_Comm comm, const struct sable_block *block, int depth, bool corners, int fields,
                      const size_t sizes[], struct sable_halo **halo, struct sable_error *error)
{
    *halo = NULL;
    struct sable_halo *made = calloc(1, sizeof *made);
    if (!made)
        return sable_fail(error, SABLE_ENVIRONMENT, "out of memory for a halo exchange");
    made->block = *block;
    made->depth = depth;
    made->sides = sides(corners);
    made->fields = fields;
    made->cell = MPI_DATATYPE_NULL;
    for (int f = 0; f < fields; f++) {
        made->size[f] = sizes[f];
        made->cell_size += sizes[f];
    }
    if (prepare(made, comm, corners, error)) {
        sable_halo_free(made);
        return error->code;
    }
    *halo = made;
    return SABLE_OK;
}

void sable_halo_free(struct sable_halo *halo)
{
    if (!halo)
        return;
    for (int i = 0; i < halo->requests; i++)
        MPI_Request_free(&halo->request[i]);
    if (halo->cell != MPI_DATATYPE_NULL)
        MPI_Type_free(&halo->cell);
    sable_array_free(halo->out);
    sable_array_free(halo->in);
    free(halo);
}

enum direction { PACK, UNPACK };

/* Copies a rectangle of every field to (PACK) or from the message, field after field. */
static void copy_edge(const struct sable_halo *halo, const struct sable_field_view fields[], struct rectangle cells,
                      enum direction direction, char *message)
{
    for (int f = 0; f < halo->fields; f++) {
        size_t row_bytes = (size_t)cells.width * halo->size[f];
        for (int64_t r = cells.row; r < cells.row + cells.height; r++) {
            char *row = (char *)fields[f].cells + (r * fields[f].pitch + cells.column) * (int64_t)halo->size[f];
            if (direction == PACK)
                memcpy(message, row, row_bytes);
            else
                memcpy(row, message, row_bytes);
            message += row_bytes;
        }
    }
}

int sable_halo_start(struct sable_halo *halo, struct sable_context *context, const struct sable_field_view fields[],
                     struct sable_error *error)
{
    for (int side = 0; side < halo->sides; side++) {
        size_t bytes = (size_t)edge_cells(&halo->block, (enum sable_side)side, halo->depth) * halo->cell_size;
        if (bytes == 0)
            continue;
        copy_edge(halo, fields, edge(&halo->block, (enum sable_side)side, halo->depth, false), PACK, halo->send[side]);
        if (halo->block.neighbour[side] == halo->rank)
            memcpy(halo->receive[opposite[side]], halo->send[side], bytes);
        else
            sable_count_sent(context, bytes);
    }
    return sable_check_mpi(MPI_Startall(halo->requests, halo->request), "MPI_Startall (halo)", error);
}

int sable_halo_finish(struct sable_halo *halo, const struct sable_field_view fields[], struct sable_error *error)
{
    if (sable_check_mpi(MPI_Waitall(halo->requests, halo->request, MPI_STATUSES_IGNORE), "MPI_Waitall (halo)", error))
        return error->code;
    for (int side = 0; side < halo->sides; side++)
        if (halo->block.neighbour[side] != MPI_PROC_NULL)
            copy_edge(halo, fields, edge(&halo->block, (enum sable_side)side, halo->depth, true), UNPACK,
                      halo->receive[side]);
    return SABLE_OK;
}
