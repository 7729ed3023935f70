/* Gradients from one leaf of keys, compiled for each SIMD level; private to kernels/attention. */
#ifndef ATTENTION_BACKWARD_H
#define ATTENTION_BACKWARD_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "sable_isa.h"

enum {
    QUERIES = 64,   /* of a block: lanes */
    KEY_TILE = 96,  /* keys of a tile */
    KEY_GROUP = 16, /* the same on the diagonal of a causal mask */
    PADDED_TO = 16  /* channels of rows in scratch: whole vectors at every level */
};

static inline int64_t backward_padded(int64_t dim)
{
    return (dim + PADDED_TO - 1) / PADDED_TO * PADDED_TO;
}

/* Of each query: p = 2^(c·s − power)·factor. */
struct backward_rows {
    float *power, *factor, *delta; /* [heads][queries]; power is an integer; delta is −δ */
};

/* Scratch of one thread. */
struct backward_scratch {
    float *q, *dout;           /* transposed: [dim][QUERIES], [dim_v][QUERIES] */
    float *q_rows, *dout_rows; /* [QUERIES][padded dim], [QUERIES][padded dim_v] */
    float *p, *s;              /* [KEY_TILE][QUERIES] */
    float *dq;                 /* transposed: [dim][QUERIES] */
    float *dk, *dv;            /* [leaf][padded dim], [leaf][padded dim_v] */
    float *row;                /* power, factor, delta: [3][QUERIES] */
    float *k, *v;              /* of bfloat16, the leaf's: [leaf][dim], [leaf][dim_v] */
};

struct backward_leaf {
    int64_t dim, dim_v, queries;
    double scale;
    bool causal;
    int64_t offset;            /* query r sees keys c ≤ r + offset, if causal */
    int64_t leaf;              /* its number: the turn in which it adds to dq */
    int64_t first, keys;       /* of the whole sequence */
    bool bf16;                 /* k, v, q and dout are: uint16_t instead of float, rows padded to an even size */
    const void *k, *v;         /* [keys][dim], [keys][dim_v] */
    float *dk, *dv;            /* the same: written */
    int64_t heads;             /* query heads that read these keys */
    const void *q, *dout;      /* [heads][queries][dim], [heads][queries][dim_v] */
    float *dq;                 /* [heads][queries][dim] */
    struct backward_rows rows; /* [heads][queries] */
    _Atomic int64_t *turn;     /* [heads][blocks of queries]: the leaf that may add to dq next */
};

SABLE_ISA_DECLARE(void, sable_attention_backward_leaf,
                  (const struct backward_leaf *leaf, const struct backward_scratch *scratch));

#endif
