/* Packed sequences of different lengths: who holds which, inputs drawn or read. The workload is in
 * attention_varlen.c. */
#ifndef ATTENTION_VARLEN_H
#define ATTENTION_VARLEN_H

#include "attention_rank.h"
#include "sable_attention_packed.h"

enum varlen_strategy { VARLEN_HEADS, VARLEN_SEQUENCES };
enum varlen_lengths { LENGTHS_FIXED, LENGTHS_UNIFORM, LENGTHS_GEOMETRIC, LENGTHS_ZIPF };
enum varlen_fault { /* the first ones are those of attention_rank.h */
                    VARLEN_LEAKED_KEY = FAULT_NAN + 1,
                    VARLEN_TOP_LEFT
};

struct varlen_params {
    struct attention_params base; /* batch: sequences; queries, keys: mean lengths */
    int lengths;
    int64_t rows[2], most_keys; /* what --input has: rows of q and of k, the most keys of a sequence; 0: no such file */
};

/* All sequences, in their order. */
struct varlen_batch {
    int64_t sequences, queries, keys; /* rows of q and of k of all */
    int64_t most_keys;                /* of a sequence */
    struct sable_attention_sequence *sequence;
};

/* What a rank computes: heads [head, head + heads) of some sequences, in ascending order. */
struct varlen_part {
    int64_t head, heads, kv_first, kv_count;
    int64_t sequences, queries, keys, most_keys;
    int64_t *index;                            /* [sequences], in the batch */
    struct sable_attention_sequence *sequence; /* [sequences], places in the rank's arrays */
};

struct varlen_rank {
    struct sable_attention_shape shape; /* batch 1; queries and keys: rows of the rank's arrays */
    bool reference, finite, rounded; /* reference: the textbook or a peer; rounded: inputs are those of bf16, stored as
                                        such if shape.bf16 */
    int strategy;
    struct varlen_batch batch;
    struct varlen_part part;
    float *q, *k, *v, *out, *lse;              /* [heads][queries][dim] …; of bf16 as in struct attention_rank */
    struct sable_attention_sequence *computed; /* [part.sequences], as the fault has them */
    struct sable_attention_packed *packed;
    struct sable_attention_rows_peer *peer; /* another library's products, or NULL */
};

/* The lengths that the parameters give, the same for every seed; queries and keys of the shape are the totals. Freed by
 * varlen_free_batch(), as after a failure. */
int varlen_draw_batch(const struct varlen_params *params, struct varlen_batch *batch, struct sable_error *error);
/* Those of --input, if it has any. */
int varlen_read_batch(struct sable_input *input, const struct varlen_params *params,
                      struct sable_attention_shape *shape, struct varlen_batch *batch, struct sable_error *error);
void varlen_free_batch(struct varlen_batch *batch);
/* Pairs of a query and a key that it sees, of one head of a sequence. */
double varlen_pairs(const struct sable_attention_shape *shape, const struct sable_attention_sequence *sequence);
/* The part of rank `rank`; false if memory is short. Freed by varlen_free_part(). */
bool varlen_part_of(const struct sable_attention_shape *shape, const struct varlen_batch *batch, int strategy, int rank,
                    int ranks, struct varlen_part *part);
void varlen_free_part(struct varlen_part *part);
/* Which rank has which sequence by `sequences`: owner [batch->sequences]. False if memory is short. */
bool varlen_share(const struct sable_attention_shape *shape, const struct varlen_batch *batch, int ranks, int *owner);

/* Rows [first, first + count) of the packed rows of one head. */
int varlen_fetch(const struct varlen_rank *a, const struct sable_context *context, enum attention_tensor tensor,
                 int64_t head, int64_t first, int64_t count, float *to, struct sable_error *error);
/* Collective. */
int varlen_make(const struct varlen_params *params, struct sable_context *context, bool reference,
                struct varlen_rank *a, struct sable_error *error);
void varlen_free(struct varlen_rank *a);
/* Collective, timed. */
int varlen_run(struct varlen_rank *a, struct sable_context *context, struct sable_error *error);
int varlen_run_reference(struct varlen_rank *a, struct sable_context *context, struct sable_error *error);
int varlen_run_by_rows(struct varlen_rank *a, struct sable_context *context, struct sable_error *error);
/* A head and a row of a sequence (of the part) that see a key: the ones that faults spoil and verification looks at.
 * False if there are none. */
bool varlen_middle(const struct varlen_rank *a, int64_t *head, int64_t *sequence, int64_t *row);
/* Collective. Rows of all heads, [rows][heads][dim_v], of an even share of the packed rows: attention_cut(). Arrays are
 * the caller's to free. */
int varlen_gather_rows(const struct varlen_rank *a, struct sable_context *context, float **out, float **lse,
                       struct sable_error *error);
/* Collective. The verification of docs/attention.md. */
int varlen_verify(struct varlen_rank *a, struct sable_context *context, struct sable_checks *checks,
                  struct sable_error *error);

#endif
