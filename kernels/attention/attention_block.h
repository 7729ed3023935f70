/* One block of queries against a range of keys, compiled for each SIMD level; private to kernels/attention. */
#ifndef ATTENTION_BLOCK_H
#define ATTENTION_BLOCK_H

#include <stdbool.h>
#include <stdint.h>

#include "sable_isa.h"

enum {
    BLOCK = 64,   /* queries of a block */
    TILE = 144,   /* keys between two looks at the maximum at most; a multiple of 6 rows and of 16 lanes */
    NODE_HEAD = 2 /* rows of a node before O: the maximum's exponent, the sum */
};

/* Softmax over some keys: for each query m (an integer), l = Σ 2^(t − m), o = Σ 2^(t − m) v.
 * A node is [2 + dim_v][BLOCK] floats: m, l, o transposed. */
struct attention_slot {
    int32_t level; /* of the tree over leaves: 2^level leaves from index·2^level on */
    int64_t index;
    float *node;
};

/* The pending nodes of one block of queries. */
struct attention_set {
    int count, room;
    struct attention_slot *slot;
};

/* Scratch of one thread. */
struct attention_scratch {
    float *q; /* [dim][BLOCK] */
    float *p; /* [TILE][BLOCK] */
    float *k; /* bf16: [TILE][dim], also for the block's q */
    float *v; /* bf16: [TILE][dim_v] */
};

struct attention_block {
    int64_t dim, dim_v, leaf; /* dim: of q and k */
    double scale;
    bool causal;
    int64_t offset;  /* query r sees keys c ≤ r + offset, if causal */
    int64_t row;     /* the block's first query */
    int rows;        /* of the block, at most BLOCK */
    const void *q;   /* [rows][dim], float or bf16 */
    int64_t first;   /* first key of this range, a multiple of `leaf` */
    int64_t keys;    /* of this range: it ends at a multiple of `leaf`, or is the last */
    const void *k;   /* [keys][dim] */
    const void *v;   /* [keys][dim_v] */
    bool bf16;       /* of q, k, v: rows are padded to an even number of elements */
    int64_t skipped; /* a leaf to leave out, or −1: the fault that verification must see */
};

/* Adds the keys to the set. */
SABLE_ISA_DECLARE(void, sable_attention_block,
                  (const struct attention_block *block, const struct attention_scratch *scratch,
                   struct attention_set *set));
/* Empties the set into out [rows][dim_v] and lse [rows]. */
SABLE_ISA_DECLARE(void, sable_attention_finish,
                  (int64_t dim_v, int rows, struct attention_set *set, float *out, float *lse));

#endif
