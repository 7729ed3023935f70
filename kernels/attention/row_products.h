/* A library's single-precision matrix product as attention_rows.c calls it; private to kernels/attention. */
#ifndef ROW_PRODUCTS_H
#define ROW_PRODUCTS_H

#include <stdbool.h>
#include <stdint.h>

/* c [m][n] = a [m][depth] · b, rows `c_pitch`, `a_pitch` and `b_pitch` elements apart; b is [depth][n], or, if
 * transposed, [n][depth]. By OpenMP thread `thread`, which no other call shares. False if it failed. */
struct row_product {
    bool transposed;
    int64_t m, n, depth, a_pitch, b_pitch, c_pitch;
};
struct row_library {
    bool (*multiply)(void *library, int thread, const struct row_product *shape, const float *a, const float *b,
                     float *c);
    void (*close)(void *library);
    void *library;
    bool dense; /* faster where rows follow each other without a gap */
    char name[160];
};

/* False if the library is not to be had. */
bool row_library_openblas(struct row_library *library);
bool row_library_onednn(int threads, struct row_library *library);
bool row_library_libxsmm(int threads, struct row_library *library);

#endif
