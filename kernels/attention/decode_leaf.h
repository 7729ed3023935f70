/* One query a head against one leaf of keys, compiled for each SIMD level; private to kernels/attention. */
#ifndef DECODE_LEAF_H
#define DECODE_LEAF_H

#include <stdbool.h>
#include <stdint.h>

#include "sable_isa.h"

enum {
    DECODE_WIDTH = 16,   /* partial sums of a dot product */
    DECODE_STRANDS = 4,  /* in which the keys of a leaf are read side by side */
    DECODE_NODE_HEAD = 2 /* floats of a node before o: the maximum's exponent, the sum */
};

/* Keys of a strand: a quarter of a leaf, rounded up to whole vectors of the four strands' keys. */
static inline int64_t decode_strand(int64_t keys)
{
    const int64_t each = (keys + DECODE_STRANDS - 1) / DECODE_STRANDS, unit = DECODE_WIDTH / DECODE_STRANDS;
    return (each + unit - 1) / unit * unit;
}

/* A node is [2 + dim_v] floats of one query: m, l, o. */
struct decode_leaf {
    int64_t dim, dim_v, keys;
    int queries; /* query heads that read this key head */
    double scale;
    bool bf16;        /* k and v are: uint16_t instead of float */
    const float *q;   /* [dim / 16, rounded up][queries][16], zeros behind dim */
    const void *k;    /* [keys][pitch], of which dim count */
    const void *v;    /* [keys][pitch_v], of which dim_v count */
    const void *next; /* what is read after v: keys of `pitch` */
    int64_t pitch, pitch_v;
    float *p;    /* [tiles of 16 keys][queries][16], aligned to 64 bytes */
    float *sum;  /* [queries][16], aligned to 64 bytes */
    float *node; /* [queries][2 + dim_v] */
};

SABLE_ISA_DECLARE(void, sable_decode_leaf, (const struct decode_leaf *leaf));
/* a ← a and b together, of `queries` nodes each; `rescale` 0 makes a wrong answer. */
SABLE_ISA_DECLARE(void, sable_decode_join,
                  (int64_t queries, int64_t dim_v, float *restrict a, const float *restrict b, int rescale));

#endif
