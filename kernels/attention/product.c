#include "sable_product.h"

#include <string.h>

#include "product_block.h"
#include "sable_attention.h"

int64_t sable_product_packed(int64_t depth, int64_t width)
{
    return panels_of(width) * PRODUCT_PANEL * depth;
}

void sable_product_pack(int64_t depth, int64_t width, const float *w, float *packed)
{
    for (int64_t c = 0; c < width; c += PRODUCT_PANEL) {
        const int64_t columns = width - c < PRODUCT_PANEL ? width - c : PRODUCT_PANEL;
        for (int64_t d = 0; d < depth; d++, packed += PRODUCT_PANEL) {
            memcpy(packed, w + d * width + c, (size_t)columns * sizeof *packed);
            memset(packed + columns, 0, (size_t)(PRODUCT_PANEL - columns) * sizeof *packed);
        }
    }
}

void sable_product_pack_bf16(int64_t depth, int64_t width, const float *w, uint16_t *packed)
{
    for (int64_t c = 0; c < width; c += PRODUCT_PANEL) {
        const int64_t columns = width - c < PRODUCT_PANEL ? width - c : PRODUCT_PANEL;
        for (int64_t d = 0; d < depth; d++, packed += PRODUCT_PANEL) {
            memset(packed, 0, PRODUCT_PANEL * sizeof *packed);
            sable_attention_to_bf16(1, columns, w + d * width + c, packed);
        }
    }
}

void sable_products(int threads, int64_t depth, int64_t n, const struct sable_product *product)
{
#pragma omp parallel num_threads(threads)
    for (int64_t i = 0; i < n; i++) {
        const struct sable_product *p = &product[i];
        const int64_t panels = p->groups * panels_of(p->width);
#pragma omp for collapse(2) schedule(dynamic) nowait
        for (int64_t r = 0; r < p->rows; r += PRODUCT_ROWS)
            for (int64_t panel = 0; panel < panels; panel += PRODUCT_SOME_PANELS)
                SABLE_ISA_PICK(sable_product_block)(p, depth, r, panel, panels);
    }
}

void sable_product_row_reference(int64_t depth, int64_t width, const float *x, const float *w, double *y)
{
    for (int64_t c = 0; c < width; c++)
        y[c] = 0;
    for (int64_t d = 0; d < depth; d++)
        for (int64_t c = 0; c < width; c++)
            y[c] += (double)x[d] * (double)w[d * width + c];
}
