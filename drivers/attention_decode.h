/* One rank's part of attention/decode: whole key heads, or a range of the keys of all of them. */
#ifndef ATTENTION_DECODE_H
#define ATTENTION_DECODE_H

#include "attention_rank.h"
#include "sable_attention_decode.h"

enum decode_strategy { DECODE_HEADS, DECODE_TREE };
enum decode_fault {
    DECODE_SKIP_BLOCK = 1,
    DECODE_STALE_KEYS,
    DECODE_WRONG_SCALE,
    DECODE_WRONG_RESCALE,
    DECODE_LOST_ROWS,
    DECODE_FLIP_BIT,
    DECODE_NAN
};

struct decode_rank {
    struct attention_rank base; /* shape, inputs and results; q, out [kv_heads·H/Hk][…], k, v [kv_heads][keys][…] */
    int strategy;
    struct sable_attention_decode_part part;
    float *parcel; /* nodes that are sent or arrive */
    struct sable_attention_decode *decode;
};

struct decode_extents {
    int64_t rows, cache, parcel; /* query heads, key heads × keys, floats */
};

/* Query heads that read one key head. */
int64_t decode_group(const struct sable_attention_shape *shape);
struct sable_attention_decode_part decode_part_of(const struct sable_attention_shape *shape, int strategy, int rank,
                                                  int ranks);
struct decode_extents decode_extents_of(const struct sable_attention_shape *shape, int strategy,
                                        const struct sable_attention_decode_part *part, struct sable_layout layout);
/* Floats of out and lse. */
int64_t decode_result_floats(const struct sable_attention_shape *shape);
/* What a rank sends in a repetition by `tree`. */
void decode_traffic(const struct sable_attention_shape *shape, struct sable_layout layout, double *bytes,
                    double *messages);

/* Collective. */
int decode_make(const struct attention_params *params, struct sable_context *context, bool reference,
                struct decode_rank *d, struct sable_error *error);
/* Heads, of the B·H, that rank `rank` verifies and stores: those it computed; by tree, where all have all, a share. */
struct sable_attention_rows decode_own_heads(const struct decode_rank *d, int rank);
/* Collective. The result of all heads on rank 0, nothing on others. Arrays are the caller's to free. */
int decode_gather_result(const struct decode_rank *d, struct sable_context *context, float **out, float **lse,
                         struct sable_error *error);
void decode_free(struct decode_rank *d);

/* Collective, timed. Fill base.out and base.lse: of the part's heads (tree: of all). */
int decode_run(struct decode_rank *d, struct sable_context *context, struct sable_error *error);
int decode_run_reference(struct decode_rank *d, struct sable_context *context, struct sable_error *error);

#endif
