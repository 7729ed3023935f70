/* One rank's part of attention/backward. Whole key heads, or (pipeline) a range of the keys of all of them. */
#ifndef ATTENTION_GRADIENT_H
#define ATTENTION_GRADIENT_H

#include "attention_rank.h"
#include "sable_attention_backward.h"

enum gradient_strategy { GRADIENT_HEADS, GRADIENT_PIPELINE };
enum gradient_fault {
    GRADIENT_SKIP_BLOCK = 1,
    GRADIENT_STALE_KEYS,
    GRADIENT_WRONG_SCALE,
    GRADIENT_LOST_ROWS,
    GRADIENT_LOST_KEYS,
    GRADIENT_FLIP_BIT,
    GRADIENT_NAN
};

struct gradient {
    struct sable_attention_shape shape;
    bool reference, finite, rounded; /* rounded: inputs are those of bf16, stored as such if shape.bf16 */
    int strategy;
    struct sable_layout layout;
    int64_t kv_first, kv_count;       /* key heads of the B·Hk, and the query heads that read them */
    struct sable_attention_rows keys; /* of each */
    bool has_dq;                      /* dq ends up here */
    float *q, *dout, *out, *lse, *dq; /* [query heads][Sq][…]; q, dout, k and v of bf16 as in struct attention_rank */
    float *k, *v, *dk, *dv;           /* [key heads][keys][…] */
    struct sable_attention_backward *backward;
};

/* Where attention_fetch() gets the inputs from. */
struct attention_rank gradient_source(const struct gradient *g);
/* Key heads and keys of a rank; `has_dq` may be NULL. */
void gradient_part(const struct sable_attention_shape *shape, int strategy, struct sable_layout layout, int64_t *first,
                   int64_t *count, struct sable_attention_rows *keys, bool *has_dq);
/* Pairs of one of these keys and a query that sees it, of one query head. */
double gradient_pairs(const struct sable_attention_shape *shape, struct sable_attention_rows keys);
/* Query heads that read one key head. */
int64_t gradient_group(const struct sable_attention_shape *shape);
double gradient_memory(const struct sable_attention_shape *shape, int strategy, struct sable_layout layout,
                       bool reference);

/* Collective. Inputs drawn or read; out and lse by the forward pass. */
int gradient_make(const struct attention_params *params, struct sable_context *context, bool reference,
                  struct gradient *g, struct sable_error *error);
void gradient_free(struct gradient *g);

/* Collective, timed. */
int gradient_run(struct gradient *g, struct sable_context *context, struct sable_error *error);
int gradient_run_reference(struct gradient *g, struct sable_context *context, struct sable_error *error);

/* Collective. The verification of docs/attention.md. */
int gradient_verify(const struct gradient *g, struct sable_context *context, struct sable_checks *checks,
                    struct sable_error *error);

#endif
