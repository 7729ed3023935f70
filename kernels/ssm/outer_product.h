/* C = A B for outer.isa.c: A by scalars, lanes along the columns of B and C, tiles of 6 rows in
 * registers. Each element of C is one chain of fused multiply-adds in the order of the depth, whatever the tile, so all
 * SIMD levels give the same bits. Columns are padded to 16. */
#ifndef SABLE_OUTER_PRODUCT_H
#define SABLE_OUTER_PRODUCT_H

#include "lanes.h"

#if defined(__AVX512F__)
enum { MOST_VECTORS = 4 };
#else
enum { MOST_VECTORS = 2 };
#endif
enum { TILE_ROWS = 6, HALF_TILE = 3 };

/* Two pointers and one pitch reach six rows; gcc would rather have six registers, and then fetch some of them from
 * the stack at every step. */
#define KEEP(pointer) __asm__("" : "+r"(pointer))

/* What becomes of C: the product; factor × C + product; C + factor × product, or this streamed to `to`. Factors belong
 * to rows. */
enum finish { PRODUCT, DECAY_AND_ADD, SCALE_AND_ADD, SCALE_ADD_STREAM };
/* LOWER: A[i, j] = 0 for j > i. LOWER_RESULT: C[i, j] is not wanted for j > i. */
enum shape { FULL, LOWER, LOWER_RESULT };

/* Rows that will be read soon, but lie where hardware does not see them coming. */
struct rows_ahead {
    const float *from;
    int64_t rows, columns, pitch;
};

struct product {
    int64_t rows, columns, depth;
    const float *a;
    int64_t a_pitch;
    const float *b;
    int64_t b_pitch;
    float *c;
    int64_t c_pitch;
    const float *factor;
    int64_t factor_stride; /* 0: one factor for all rows */
    float *to;             /* to whole vectors' boundaries */
    int64_t to_pitch;
    const struct rows_ahead *ahead; /* asked for meanwhile; up to one without rows; or NULL */
};

static inline __attribute__((always_inline)) void product_tile(enum finish finish, int rows, int vectors,
                                                               const struct product *x, int64_t row, int64_t column,
                                                               int64_t depth)
{
    lanes sum[TILE_ROWS][MOST_VECTORS] = {{{0}}};
    const int64_t a_pitch = x->a_pitch, b_pitch = x->b_pitch;
    const float *b = x->b + column, *a[2] = {x->a + row * a_pitch, x->a + (row + HALF_TILE) * a_pitch};
    KEEP(a[1]);
#pragma GCC unroll 4 /* a twentieth of the rate, where the depth is 64 */
    for (int64_t k = 0; k < depth; k++, a[0]++, a[1]++, b += b_pitch) {
        lanes of_b[MOST_VECTORS];
#pragma GCC unroll 4
        for (int j = 0; j < vectors; j++)
            of_b[j] = lanes_load(b + j * LANES);
#pragma GCC unroll 6
        for (int i = 0; i < rows; i++) {
            lanes of_a = lanes_all(a[i / HALF_TILE][i % HALF_TILE * a_pitch]);
#pragma GCC unroll 4
            for (int j = 0; j < vectors; j++)
                sum[i][j] = lanes_fma(of_a, of_b[j], sum[i][j]);
        }
    }
#pragma GCC unroll 6
    for (int i = 0; i < rows; i++) {
        float *c = x->c + (row + i) * x->c_pitch + column;
        lanes factor = lanes_all(finish == PRODUCT ? 0 : x->factor[(row + i) * x->factor_stride]);
#pragma GCC unroll 4
        for (int j = 0; j < vectors; j++, c += LANES) {
            if (finish == PRODUCT)
                lanes_store(c, sum[i][j]);
            else if (finish == DECAY_AND_ADD)
                lanes_store(c, lanes_fma(factor, lanes_load(c), sum[i][j]));
            else if (finish == SCALE_AND_ADD)
                lanes_store(c, lanes_fma(factor, sum[i][j], lanes_load(c)));
            else
                lanes_stream(x->to + (row + i) * x->to_pitch + column + j * LANES,
                             lanes_fma(factor, sum[i][j], lanes_load(c)));
        }
    }
}

/* A tile's share of the rows ahead: memory answers while products go on. All at once would wait for it. */
static inline void ask(const struct product *x, int64_t row)
{
    const int64_t end = row + TILE_ROWS < x->rows ? row + TILE_ROWS : x->rows;
    for (const struct rows_ahead *ahead = x->ahead; ahead && ahead->rows > 0; ahead++)
        for (int64_t i = row * ahead->rows / x->rows; i < end * ahead->rows / x->rows; i++)
            for (int64_t j = 0; j < ahead->columns; j += 16)
                __builtin_prefetch(ahead->from + i * ahead->pitch + j, 0, 2);
}

static inline __attribute__((always_inline)) void product_panel(enum finish finish, enum shape shape, int vectors,
                                                                const struct product *x, int64_t column)
{
    int64_t row = shape == LOWER_RESULT ? column / TILE_ROWS * TILE_ROWS : 0;
    for (; row < x->rows; row += TILE_ROWS) {
        int64_t depth = shape == LOWER ? row + TILE_ROWS : x->depth; /* the same for any tile */
        int64_t i = row, left = x->rows - row;
        if (column == 0)
            ask(x, row);
        if (left >= TILE_ROWS) {
            product_tile(finish, TILE_ROWS, vectors, x, row, column, depth);
            continue;
        }
        if (left >= 4) { /* rows one by one would wait for their own sums */
            product_tile(finish, 4, vectors, x, i, column, depth);
            i += 4, left -= 4;
        }
        if (left >= 2) {
            product_tile(finish, 2, vectors, x, i, column, depth);
            i += 2, left -= 2;
        }
        if (left > 0)
            product_tile(finish, 1, vectors, x, i, column, depth);
    }
}

static inline __attribute__((always_inline)) void product(enum finish finish, enum shape shape, const struct product *x)
{
    /* narrow panels leave out more of what is not wanted */
    const int wide = shape == LOWER_RESULT ? 2 : MOST_VECTORS;
    int64_t column = 0;
    for (; column + wide * LANES <= x->columns; column += wide * LANES)
        product_panel(finish, shape, wide, x, column);
    for (; wide > 2 && column + 2 * LANES <= x->columns; column += 2 * LANES)
        product_panel(finish, shape, 2, x, column);
    for (; column < x->columns; column += LANES)
        product_panel(finish, shape, 1, x, column);
}

#endif
