/* Lanes are columns, elements of x are broadcast, 6 rows × 4 vectors of accumulators. A piece of a panel of DEPTH rows
 * stays in L1 while the rows of x, packed for it, come from L2; sums wait in y for the next piece, which does not round
 * them. */
#include "attention_update.h"
#include "product_block.h"

enum { DEPTH = 256, STRIP_COLUMNS = STRIP * LANES };
_Static_assert((int)PRODUCT_ROWS % (int)ROWS == 0, "a block is packed in whole groups of rows");
_Static_assert((int)PRODUCT_PANEL % (int)STRIP_COLUMNS == 0, "a panel is cut into whole strips");

/* y[r][lane] (+)= Σ_d x[r][d] w[d][lane]; `more`: there is a sum to go on with. */
static inline __attribute__((always_inline)) void tile(int rows, int vectors, int64_t depth, const float *restrict x,
                                                       const float *restrict w, float *restrict y, int64_t y_pitch,
                                                       bool more)
{
    lanes sum[ROWS][STRIP];
    UNROLL
    for (int r = 0; r < rows; r++)
        UNROLL
    for (int i = 0; i < vectors; i++)
        sum[r][i] = more ? load_loose(y + r * y_pitch + i * LANES) : (lanes){0};
    update(rows, 0, vectors, (struct factors){depth, x, 1, ROWS, w, PRODUCT_PANEL}, sum);
    UNROLL
    for (int r = 0; r < rows; r++)
        UNROLL
    for (int i = 0; i < vectors; i++)
        store_loose(y + r * y_pitch + i * LANES, sum[r][i]);
}

static __attribute__((noinline)) void tile_of(int rows, int vectors, int64_t depth, const float *x, const float *w,
                                              float *y, int64_t y_pitch, bool more)
{
#define CALL(r, n) tile(r, n, depth, x, w, y, y_pitch, more)
    EACH(CALL)
#undef CALL
}

/* The last columns, which are no whole vectors, by way of a tile of their own. */
static void tile_at_the_edge(int rows, int64_t columns, int64_t depth, const float *x, const float *w, float *y,
                             int64_t y_pitch, bool more)
{
    float edge[ROWS * STRIP_COLUMNS];
    const size_t bytes = (size_t)columns * sizeof *y;
    memset(edge, 0, sizeof edge);
    for (int r = 0; r < rows && more; r++)
        memcpy(edge + r * STRIP_COLUMNS, y + r * y_pitch, bytes);
    tile_of(rows, (int)((columns + LANES - 1) / LANES), depth, x, w, edge, STRIP_COLUMNS, more);
    for (int r = 0; r < rows; r++)
        memcpy(y + r * y_pitch, edge + r * STRIP_COLUMNS, bytes);
}

/* x packed as [rows / ROWS][DEPTH][ROWS], w a piece of a panel. */
static void panel_of(int64_t rows, int64_t columns, int64_t depth, const float *x, const float *w, float *y,
                     int64_t y_pitch, bool more)
{
    for (int64_t c = 0; c < columns; c += STRIP_COLUMNS)
        for (int64_t r = 0; r < rows; r += ROWS) {
            const int64_t width = least(columns - c, STRIP_COLUMNS);
            const int many = (int)least(rows - r, ROWS);
            float *to = y + r * y_pitch + c;
            if (width % LANES)
                tile_at_the_edge(many, width, depth, x + r * DEPTH, w + c, to, y_pitch, more);
            else
                tile_of(many, (int)(width / LANES), depth, x + r * DEPTH, w + c, to, y_pitch, more);
        }
}

/* Columns [d, d + piece) of rows from `first` on, as panel_of() takes them. */
static void pack_rows(const struct sable_product *product, int64_t first, int64_t rows, int64_t d, int64_t piece,
                      float *x)
{
    float some[ROWS * DEPTH];
    for (int64_t r = 0; r < rows; r += ROWS) {
        const int64_t many = least(rows - r, ROWS), at = (first + r) * product->x_pitch + d;
        if (!product->x_bf16) {
            transpose(many, piece, (const float *)product->x + at, product->x_pitch, x + r * DEPTH, ROWS);
            continue;
        }
        for (int64_t i = 0; i < many; i++)
            widen_rows(1, piece, (const uint16_t *)product->x + at + i * product->x_pitch, some + i * DEPTH, DEPTH);
        transpose(many, piece, some, DEPTH, x + r * DEPTH, ROWS);
    }
}

/* A piece of a panel as floats: widened once for all rows of a block, or where it is. */
static const float *piece_of(const struct sable_product *product, int64_t at, int64_t piece, float *room)
{
    if (!product->w_bf16)
        return (const float *)product->w + at * PRODUCT_PANEL;
    widen_rows(1, piece * PRODUCT_PANEL, (const uint16_t *)product->w + at * PRODUCT_PANEL, room, DEPTH);
    return room;
}

void SABLE_ISA_NAME(sable_product_block)(const struct sable_product *product, int64_t depth, int64_t first,
                                         int64_t panel, int64_t panels)
{
    float x[PRODUCT_ROWS * DEPTH], room[PRODUCT_PANEL * DEPTH] __attribute__((aligned(64)));
    const int64_t each = panels_of(product->width), rows = least(product->rows - first, PRODUCT_ROWS);
    const int64_t end = least(panel + PRODUCT_SOME_PANELS, panels);
    for (int64_t d = 0; d < depth; d += DEPTH) {
        const int64_t piece = least(depth - d, DEPTH);
        pack_rows(product, first, rows, d, piece, x);
        for (int64_t p = panel; p < end; p++) {
            const int64_t column = p % each * PRODUCT_PANEL;
            panel_of(rows, least(product->width - column, PRODUCT_PANEL), piece, x,
                     piece_of(product, p * depth + d, piece, room),
                     product->y + p / each * product->y_group + first * product->y_pitch + column, product->y_pitch,
                     d > 0);
        }
    }
}
