/* Products of rows by weights, y = x·w, as the projections of a layer are: fp32. Each element of y is one chain of
 * fused multiply-adds from 0 over the depth in order, so the bits are the same for any threads, tiles and SIMD level.
 * Source: Goto & van de Geijn, Anatomy of High-Performance Matrix Multiplication (2008). */
#ifndef SABLE_PRODUCT_H
#define SABLE_PRODUCT_H

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* x [rows][depth] times `groups` matrices w [depth][width], packed one after the other: y [groups][rows][width]. Rows
 * of x and y begin x_pitch and y_pitch elements apart, groups of y y_group. A group is a head, or there is only one. x
 * and w are float, or uint16_t where they are bfloat16, with the bits of the same values as floats. */
struct sable_product {
    int64_t rows, width, groups;
    const void *x;
    int64_t x_pitch;
    const void *w;
    float *y;
    int64_t y_pitch, y_group;
    bool x_bf16, w_bf16;
};

/* Elements of one packed matrix. */
int64_t sable_product_packed(int64_t depth, int64_t width);
/* Packs w [depth][width] into panels of 64 columns, the last one filled up with zeros. `packed` is aligned to 64 bytes,
 * as sable_array() gives it. */
void sable_product_pack(int64_t depth, int64_t width, const float *w, float *packed);
/* The same rounded to bfloat16. */
void sable_product_pack_bf16(int64_t depth, int64_t width, const float *w, uint16_t *packed);

/* n products of the same depth, over the threads together. */
void sable_products(int threads, int64_t depth, int64_t n, const struct sable_product *product);

/* y [width] of one row in double precision: the oracle. w [depth][width] is not packed. */
void sable_product_row_reference(int64_t depth, int64_t width, const float *x, const float *w, double *y);

#ifdef __cplusplus
}
#endif
#endif
