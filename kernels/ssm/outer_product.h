/* C = A B for outer.isa.c: A by scalars with any strides, lanes along the columns of B and C, tiles of 6 rows in
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
enum { TILE_ROWS = 6 };

/* What becomes of C: the product; factor × C + product; C + factor × product, or this streamed to `to`. Factors belong
 * to rows. */
enum finish { PRODUCT, DECAY_AND_ADD, SCALE_AND_ADD, SCALE_ADD_STREAM };
/* LOWER: A[i, j] = 0 for j > i. LOWER_RESULT: C[i, j] is not wanted for j > i. */
enum shape { FULL, LOWER, LOWER_RESULT };

struct product {
    int64_t rows, columns, depth;
    const float *a;
    int64_t row_stride, depth_stride; /* of A */
    const float *b;
    int64_t b_pitch;
    float *c;
    int64_t c_pitch;
    const float *factor;
    int64_t factor_stride; /* 0: one factor for all rows */
    float *to;             /* to whole vectors' boundaries */
    int64_t to_pitch;
};

static inline __attribute__((always_inline)) void product_tile(enum finish finish, int rows, int vectors,
                                                               const struct product *x, int64_t row, int64_t column,
                                                               int64_t depth)
{
    lanes sum[TILE_ROWS][MOST_VECTORS] = {{{0}}};
    const float *a = x->a + row * x->row_stride, *b = x->b + column;
    for (int64_t k = 0; k < depth; k++, a += x->depth_stride, b += x->b_pitch) {
        lanes of_b[MOST_VECTORS];
#pragma GCC unroll 4
        for (int j = 0; j < vectors; j++)
            of_b[j] = lanes_load(b + j * LANES);
#pragma GCC unroll 6
        for (int i = 0; i < rows; i++) {
            lanes of_a = lanes_all(a[i * x->row_stride]);
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

static inline __attribute__((always_inline)) void product_panel(enum finish finish, enum shape shape, int vectors,
                                                                const struct product *x, int64_t column)
{
    int64_t row = shape == LOWER_RESULT ? column / TILE_ROWS * TILE_ROWS : 0;
    for (; row < x->rows; row += TILE_ROWS) {
        int64_t depth = shape == LOWER ? row + TILE_ROWS : x->depth; /* the same for any tile */
        int64_t i = row, left = x->rows - row;
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
    int64_t column = 0;
    for (; column + MOST_VECTORS * LANES <= x->columns; column += MOST_VECTORS * LANES)
        product_panel(finish, shape, MOST_VECTORS, x, column);
    for (; column < x->columns; column += LANES)
        product_panel(finish, shape, 1, x, column);
}

#endif
