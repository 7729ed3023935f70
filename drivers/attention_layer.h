/* One rank's part of a whole multi-head layer: q, k, v = x·(wq, wk, wv) by heads, attention, y = concat(out)·wo. */
#ifndef ATTENTION_LAYER_H
#define ATTENTION_LAYER_H

#include "attention_rank.h"

enum layer_phase { PHASE_PROJECT = PHASE_WAIT + 1 };
enum layer_fault { FAULT_LOST_HEAD = FAULT_NAN + 1, FAULT_LOST_CHANNEL };
enum layer_weight { WEIGHT_Q, WEIGHT_K, WEIGHT_V, WEIGHT_O, WEIGHTS };

struct layer_params {
    struct attention_params attention; /* first: its table of parameters tells offsets */
    int64_t width;
};

/* Rows of x that this rank turns into q, or into k and v, and the heads for which. */
struct layer_side {
    int64_t head, heads, per_batch;      /* of the B·per_batch */
    struct sable_attention_rows rows[2]; /* of each batch that these heads belong to */
    void *x;                             /* [batches][rows of both segments][pitch]: float, or uint16_t of bf16 */
};

struct layer {
    struct attention_rank a;
    bool rounded, bf16;       /* x and the weights have the values of bf16; they are stored as such */
    int64_t width;            /* channels of x and y */
    int64_t x_pitch, o_pitch; /* elements between rows of x and of `merged` */
    struct layer_side queries, keys;
    bool one_x;                         /* both sides have the same rows: keys.x is queries.x */
    void *weight[WEIGHTS];              /* q, k, v of the heads held here, from heads % per_batch on; o of all. Packed
                                            (sable_product.h); not so for the reference: [heads][width][dim], [H·dim_v][width] */
    struct sable_attention_part result; /* rows of y: `heads` are the batches */
    float *moved, *merged, *y; /* [B·H][rows][dim_v] where heads became rows; [B][rows][o_pitch]; [B][rows][width] */
    float *parcel[2];
    struct sable_attention_part *part, *shard; /* heads: of all ranks, for the move */
};

/* Of an attention in fp32, whatever x and the weights are. */
struct sable_attention_shape layer_shape(const struct layer_params *params);
int64_t layer_width(const struct layer_params *params);
/* Refuses what makes no layer, with one line. */
int layer_check(const struct sable_attention_shape *shape, int64_t width, struct sable_error *error);

/* Rows of one batch that this side has; its first batch, and how many. */
int64_t layer_rows(const struct layer_side *side);
int64_t layer_batch(const struct layer_side *side);
int64_t layer_batches(const struct layer_side *side);
struct layer_side layer_side_of(const struct sable_attention_shape *shape, int strategy, struct sable_layout layout,
                                bool keys);
/* Heads of one batch that are held: whole weights, or those of this part. */
int64_t layer_heads_held(const struct layer_side *side);
int64_t layer_slot(const struct layer_side *side, int64_t head);
/* Rows of y of rank `rank`. */
struct sable_attention_part layer_result_of(const struct sable_attention_shape *shape, int strategy, int rank,
                                            int ranks);
/* Row `row` of the x of a side, element `at` of the weights, as they are stored. */
void *layer_x(const struct layer *l, const struct layer_side *side, int64_t row);
void *layer_weight(const struct layer *l, enum layer_weight weight, int64_t at);
/* Where q (weight WEIGHT_Q), k or v of this rank's side are. */
float *layer_projected(const struct layer *l, enum layer_weight weight);
/* out that the rows of y are made of: [B·H][rows][dim_v]. */
const float *layer_out(const struct layer *l);

/* Channels of a head of q, k or v. */
static inline int64_t layer_weight_dim(const struct sable_attention_shape *shape, enum layer_weight weight)
{
    return weight == WEIGHT_V ? shape->dim_v : shape->dim;
}

/* The shape and width that the arrays of --input have; the same into a struct layer_params. */
int layer_read_shape(struct sable_input *input, struct sable_attention_shape *shape, int64_t *width,
                     struct sable_error *error);
int layer_adopt(void *params, struct sable_input *input, struct sable_error *error);
double layer_memory(const struct sable_attention_shape *shape, int64_t width, bool bf16, int strategy,
                    struct sable_layout layout, bool reference);
/* Bytes that a rank sends in a repetition, in how many messages. */
void layer_traffic(const struct sable_attention_shape *shape, int strategy, struct sable_layout layout, double *bytes,
                   double *messages);
/* Multiply-adds, times two, of this rank's projections. */
double layer_projection_flops(const struct sable_attention_shape *shape, int64_t width, int strategy,
                              struct sable_layout layout);

/* Rows [first, first + count) of x of one batch; the weights of one head [width][dim], or (WEIGHT_O) its rows of wo
 * [dim_v][width]: drawn, or read from context->input. */
int layer_fetch_x(const struct layer *l, const struct sable_context *context, int64_t batch, int64_t first,
                  int64_t count, int64_t pitch, float *to, struct sable_error *error);
int layer_fetch_weight(const struct layer *l, const struct sable_context *context, enum layer_weight weight,
                       int64_t head, float *to, struct sable_error *error);

/* An attention_fetcher: rows of q, k or v of a head that is held here, projected again from x fetched anew. */
attention_fetcher layer_project_anew;

int layer_make(const struct layer_params *params, struct sable_context *context, bool reference, struct layer *l,
               struct sable_error *error);
void layer_free(struct layer *l);

/* Collective, timed. */
int layer_run(struct layer *l, struct sable_context *context, struct sable_error *error);
int layer_run_reference(struct layer *l, struct sable_context *context, struct sable_error *error);

/* Collective. The verification of docs/attention.md. */
int layer_verify(struct layer *l, struct sable_context *context, struct sable_checks *checks,
                 struct sable_error *error);

#endif
