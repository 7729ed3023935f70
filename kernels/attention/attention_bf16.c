#include "sable_attention.h"

#include <string.h>

static uint16_t rounded(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    if (x != x)
        return (uint16_t)(bits >> 16 | 0x40); /* quiet, whatever bits are lost */
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

void sable_attention_to_bf16(int64_t rows, int64_t dim, const float *from, uint16_t *to)
{
    const int64_t pitch = dim + (dim & 1);
    for (int64_t r = 0; r < rows; r++) {
        for (int64_t d = 0; d < dim; d++)
            to[r * pitch + d] = rounded(from[r * dim + d]);
        for (int64_t d = dim; d < pitch; d++)
            to[r * pitch + d] = 0;
    }
}
