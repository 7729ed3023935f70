/* A block of rows by some panels of weights, compiled for each SIMD level; private to kernels/attention. */
#ifndef PRODUCT_BLOCK_H
#define PRODUCT_BLOCK_H

#include <stdint.h>

#include "sable_isa.h"
#include "sable_product.h"

enum {
    PRODUCT_PANEL = 64,     /* columns of a panel */
    PRODUCT_ROWS = 96,      /* the most rows of a block */
    PRODUCT_SOME_PANELS = 8 /* a block of rows is packed once for as many panels */
};

static inline int64_t panels_of(int64_t width)
{
    return (width + PRODUCT_PANEL - 1) / PRODUCT_PANEL;
}

/* Rows from `first` on by panels from `panel` on (of the `panels` of all groups): PRODUCT_ROWS by PRODUCT_SOME_PANELS,
 * or what is left of them. */
SABLE_ISA_DECLARE(void, sable_product_block,
                  (const struct sable_product *product, int64_t depth, int64_t first, int64_t panel, int64_t panels));

#endif
