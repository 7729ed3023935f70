#include "sea_field.h"

#include <math.h>
#include <string.h>

#include "sable_array.h"
#include "sea_chart.h"

enum {
    TILE_ROWS = 16,
    TILE_COLUMNS = 64, /* with its surroundings, old and new, a tile fits the first-level cache */
    LANES = 8          /* doubles of a cache line */
};

/* ---- Memory ---- */

static int64_t pitch_of(const struct sable_block *block)
{
    return (block->width + 2 + LANES - 1) / LANES * LANES;
}

/* Cell (0, 0) lies on a cache line, one before the first being left for the halo. */
static int64_t store_size(const struct sable_block *block)
{
    return (block->height + 2) * pitch_of(block) + 2 * LANES;
}

static void count_tiles(const struct sable_block *block, struct sable_sea_tiles *tiles)
{
    tiles->rows = (block->height + TILE_ROWS - 1) / TILE_ROWS;
    tiles->columns = (block->width + TILE_COLUMNS - 1) / TILE_COLUMNS;
    tiles->pitch = tiles->columns + 2;
}

double sable_sea_field_memory(const struct sable_block *block)
{
    struct sable_sea_tiles tiles;
    count_tiles(block, &tiles);
    return 2.0 * (double)store_size(block) * sizeof(double) + (double)block->height * (double)block->width +
           (double)block->height * sizeof(struct sable_sea_row) +
           (double)(tiles.rows + 2) * (double)tiles.pitch * (2 * sizeof(bool) + 2 * sizeof(int64_t)) +
           sable_halo_memory(block, 1, true, sizeof(double));
}

int sable_sea_field_create(MPI_Comm comm, const struct sable_block *block, struct sable_sea_field *field,
                           struct sable_error *error)
{
    struct sable_sea_tiles *tiles = &field->tiles;
    *field = (struct sable_sea_field){.block = *block, .pitch = pitch_of(block)};
    count_tiles(block, tiles);
    field->row = sable_array(block->height, 1, sizeof *field->row);
    field->cell = sable_array(block->height, block->width, 1);
    for (int i = 0; i < 2; i++)
        field->store[i] = sable_array(store_size(block), 1, sizeof(double));
    tiles->changed = sable_array(tiles->rows + 2, tiles->pitch, sizeof(bool));
    tiles->changed_before = sable_array(tiles->rows + 2, tiles->pitch, sizeof(bool));
    tiles->sea = sable_array(tiles->rows, tiles->columns, sizeof(int64_t));
    tiles->list = sable_array(tiles->rows, tiles->columns, sizeof(int64_t));
    if (!field->row || !field->cell || !field->store[0] || !field->store[1] || !tiles->changed ||
        !tiles->changed_before || !tiles->sea || !tiles->list)
        return sable_fail(error, SABLE_ENVIRONMENT,
                          "value_iteration/sea: out of memory for a block of %lld × %lld cells",
                          (long long)block->height, (long long)block->width);
    field->now = field->store[0] + field->pitch + LANES;
    field->next = field->store[1] + field->pitch + LANES;
    return sable_halo_create(comm, block, 1, true, 1, (size_t[]){sizeof(double)}, &field->halo, error);
}

void sable_sea_field_free(struct sable_sea_field *field)
{
    sable_halo_free(field->halo);
    sable_array_free(field->row);
    sable_array_free(field->cell);
    sable_array_free(field->store[0]);
    sable_array_free(field->store[1]);
    sable_array_free(field->tiles.changed);
    sable_array_free(field->tiles.changed_before);
    sable_array_free(field->tiles.sea);
    sable_array_free(field->tiles.list);
}

/* ---- Cells and tiles ---- */

static struct sable_sea_cells tile_cells(const struct sable_sea_field *field, int64_t tile)
{
    struct sable_sea_cells cells = {tile / field->tiles.columns * TILE_ROWS, tile % field->tiles.columns * TILE_COLUMNS,
                                    TILE_ROWS, TILE_COLUMNS};
    if (cells.height > field->block.height - cells.row)
        cells.height = field->block.height - cells.row;
    if (cells.width > field->block.width - cells.column)
        cells.width = field->block.width - cells.column;
    return cells;
}

int64_t sable_sea_fullest_tile(const struct sable_sea_field *field)
{
    int64_t fullest = -1;
    for (int64_t t = 0; t < field->tiles.rows * field->tiles.columns; t++)
        if (field->tiles.sea[t] > (fullest < 0 ? 0 : field->tiles.sea[fullest]))
            fullest = t;
    return fullest;
}

/* The cell at (row, column) of the grid in `now`, or NULL on ranks that don't hold it. */
static double *cell_at(const struct sable_sea_field *field, int64_t row, int64_t column)
{
    int64_t r = row - field->block.row, c = column - field->block.column;
    bool own = r >= 0 && r < field->block.height && c >= 0 && c < field->block.width;
    return own ? field->now + r * field->pitch + c : NULL;
}

/* Both stores get the same values, since tiles without sea are never swept; what lies beyond the poles is land. */
void sable_sea_field_reset(struct sable_sea_field *field, int64_t port_row, int64_t port_column)
{
    const struct sable_block *block = &field->block;
    int64_t size = store_size(block);
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < size; i++)
        field->store[0][i] = field->store[1][i] = NAN;
#pragma omp parallel for schedule(dynamic)
    for (int64_t t = 0; t < field->tiles.rows * field->tiles.columns; t++) {
        struct sable_sea_cells cells = tile_cells(field, t);
        field->tiles.sea[t] = 0;
        for (int64_t r = cells.row; r < cells.row + cells.height; r++)
            for (int64_t c = cells.column; c < cells.column + cells.width; c++)
                if (field->cell[r * block->width + c] == SABLE_CHART_SEA) {
                    field->now[r * field->pitch + c] = field->next[r * field->pitch + c] = INFINITY;
                    field->tiles.sea[t]++;
                }
    }
    double *port = cell_at(field, port_row, port_column);
    if (port)
        *port = field->next[port - field->now] = 0;
    field->updates = 0;
}

/* ---- Which tiles to sweep ---- */

static bool on_edge(const struct sable_sea_tiles *tiles, int64_t tile)
{
    int64_t i = tile / tiles->columns, j = tile % tiles->columns;
    return i == 0 || j == 0 || i == tiles->rows - 1 || j == tiles->columns - 1;
}

static bool *flag(bool *flags, const struct sable_sea_tiles *tiles, int64_t i, int64_t j)
{
    return flags + (i + 1) * tiles->pitch + j + 1;
}

static bool surroundings_changed(const struct sable_sea_tiles *tiles, int64_t tile)
{
    bool any = false;
    for (int64_t i = -1; i <= 1; i++)
        for (int64_t j = -1; j <= 1; j++)
            any |= *flag(tiles->changed_before, tiles, tile / tiles->columns + i, tile % tiles->columns + j);
    return any;
}

/* Lists the tiles to sweep, of the block's edge or of its interior; returns how many. */
static int64_t list_tiles(struct sable_sea_tiles *tiles, bool edge, bool all, int64_t skipped)
{
    int64_t count = 0;
    for (int64_t t = 0; t < tiles->rows * tiles->columns; t++)
        if (tiles->sea[t] > 0 && t != skipped && on_edge(tiles, t) == edge && (all || surroundings_changed(tiles, t)))
            tiles->list[count++] = t;
    return count;
}

/* Along one axis of the block: the cells of tile `index`, or the one of the halo before or behind all tiles. */
static void extent(int64_t index, int64_t tiles, int64_t tile_size, int64_t size, int64_t *first, int64_t *count)
{
    *first = index < 0 ? -1 : index == tiles ? size : index * tile_size;
    *count = index < 0 || index == tiles ? 1 : index == tiles - 1 ? size - *first : tile_size;
}

/* Did the halo change since the last sweep, whose halo `next` still has? Compares bits: land is NaN. */
static void flag_halo(struct sable_sea_field *field)
{
    struct sable_sea_tiles *tiles = &field->tiles;
    for (int64_t i = -1; i <= tiles->rows; i++) {
        bool inside = i >= 0 && i < tiles->rows;
        for (int64_t j = -1; j <= tiles->columns; j += inside ? tiles->columns + 1 : 1) {
            struct sable_sea_cells cells;
            extent(i, tiles->rows, TILE_ROWS, field->block.height, &cells.row, &cells.height);
            extent(j, tiles->columns, TILE_COLUMNS, field->block.width, &cells.column, &cells.width);
            bool changed = false;
            for (int64_t r = cells.row; r < cells.row + cells.height; r++) {
                int64_t first = r * field->pitch + cells.column;
                changed |= memcmp(field->now + first, field->next + first, (size_t)cells.width * sizeof(double)) != 0;
            }
            *flag(tiles->changed_before, tiles, i, j) = changed;
        }
    }
}

static void flag_tiles(struct sable_sea_tiles *tiles, bool changed)
{
    memset(tiles->changed, changed, (size_t)((tiles->rows + 2) * tiles->pitch) * sizeof *tiles->changed);
}

void sable_sea_field_touch(struct sable_sea_field *field)
{
    flag_tiles(&field->tiles, true);
}

/* ---- Sweeping ---- */

/* Sweeps the listed tiles; returns the largest change. */
static double sweep_tiles(struct sable_sea_field *field, const struct sable_sea_method *method, double drift,
                          int64_t count)
{
    struct sable_sea_tiles *tiles = &field->tiles;
    double largest = 0, updates = 0;
#pragma omp parallel for schedule(dynamic) num_threads(method->threads) reduction(max : largest) reduction(+ : updates)
    for (int64_t k = 0; k < count; k++) {
        int64_t t = tiles->list[k];
        struct sable_sea_cells cells = tile_cells(field, t);
        int64_t first = cells.row * field->pitch + cells.column;
        double change = method->sweep(field->row + cells.row, drift, cells.height, cells.width, field->now + first,
                                      field->next + first, field->pitch);
        *flag(tiles->changed, tiles, t / tiles->columns, t % tiles->columns) = change > 0;
        largest = change > largest ? change : largest;
        updates += (double)tiles->sea[t];
    }
    field->updates += updates;
    return largest;
}

int sable_sea_field_exchange(struct sable_sea_field *field, struct sable_context *context, struct sable_error *error)
{
    struct sable_field_view view = {field->now, field->pitch, sizeof(double)};
    if (sable_halo_start(field->halo, context, &view, error))
        return error->code;
    return sable_halo_finish(field->halo, &view, error);
}

int sable_sea_field_sweep(struct sable_sea_field *field, struct sable_context *context,
                          const struct sable_sea_method *method, double drift,
                          const struct sable_sea_disorder *disorder, double *change, struct sable_error *error)
{
    struct sable_sea_tiles *tiles = &field->tiles;
    struct sable_field_view view = {field->now, field->pitch, sizeof(double)};
    bool *flags = tiles->changed_before;
    tiles->changed_before = tiles->changed;
    tiles->changed = flags;
    flag_tiles(tiles, false);

    sable_phase(context, SABLE_SEA_PHASE_HALO);
    if (!disorder->stale_halo && sable_halo_start(field->halo, context, &view, error))
        return error->code;
    sable_phase(context, SABLE_SEA_PHASE_SWEEP);
    double interior =
        sweep_tiles(field, method, drift, list_tiles(tiles, false, method->all_tiles, disorder->skipped_tile));
    sable_phase(context, SABLE_SEA_PHASE_HALO);
    if (!disorder->stale_halo && sable_halo_finish(field->halo, &view, error))
        return error->code;
    flag_halo(field);
    sable_phase(context, SABLE_SEA_PHASE_SWEEP);
    double edge = sweep_tiles(field, method, drift, list_tiles(tiles, true, method->all_tiles, disorder->skipped_tile));
    *change = interior > edge ? interior : edge;

    double *swap = field->now;
    field->now = field->next;
    field->next = swap;
    return SABLE_OK;
}
