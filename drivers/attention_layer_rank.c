/* Who holds what of a layer, and its room. x and y are cut by rows, but for `heads`, where every rank has
 * the rows of x of its batches, projects its own heads, and the heads of out become rows of all heads by one
 * all-to-all. Weights of heads that a rank does not compute are not held; wo is held whole. */
#include "attention_layer.h"

#include <math.h>
#include <stdlib.h>

#include "attention_share.h"
#include "sable_array.h"
#include "sable_product.h"

enum { PITCH_MORE = 16 }; /* words, so that rows of a power of two don't compete for the same cache sets */

static const int64_t widths[] = {768, 4096, 2048, 1152}; /* of attention_models */

struct sable_attention_shape layer_shape(const struct layer_params *p)
{
    struct sable_attention_shape shape = attention_shape(&p->attention);
    shape.bf16 = false;
    return shape;
}

int64_t layer_width(const struct layer_params *p)
{
    return p->width ? p->width : widths[p->attention.model];
}

int layer_check(const struct sable_attention_shape *s, int64_t width, struct sable_error *error)
{
    int64_t all, rows, most = s->dim > s->dim_v ? s->dim : s->dim_v;
    if (attention_check_shape(s, error))
        return error->code;
    if (s->keys != s->queries)
        return sable_fail(error, SABLE_BAD_INPUT, "keys=%lld: a layer attends to its own %lld rows; leave keys at 0",
                          (long long)s->keys, (long long)s->queries);
    if (!sable_multiply(s->heads, most, &all) || !sable_multiply(all, width, &all) ||
        !sable_multiply(s->batch, s->queries, &rows) || !sable_multiply(rows, width + PITCH_MORE, &rows) ||
        all > INT64_MAX / 64 || rows > INT64_MAX / 64)
        return sable_fail(error, SABLE_BAD_INPUT, "a layer of this shape has more elements than can be counted");
    return SABLE_OK;
}

/* ---- Who holds what ---- */

int64_t layer_rows(const struct layer_side *side)
{
    return side->rows[0].count + side->rows[1].count;
}

int64_t layer_batch(const struct layer_side *side)
{
    return side->head / side->per_batch;
}

int64_t layer_batches(const struct layer_side *side)
{
    return side->heads ? (side->head + side->heads - 1) / side->per_batch + 1 - layer_batch(side) : 0;
}

int64_t layer_heads_held(const struct layer_side *side)
{
    return side->heads < side->per_batch ? side->heads : side->per_batch;
}

int64_t layer_slot(const struct layer_side *side, int64_t head)
{
    const int64_t first = side->heads < side->per_batch ? side->head : 0;
    return ((head - first) % side->per_batch + side->per_batch) % side->per_batch;
}

struct layer_side layer_side_of(const struct sable_attention_shape *s, int strategy, struct sable_layout layout,
                                bool keys)
{
    struct sable_attention_part part = strategy == STRATEGY_ULYSSES
                                           ? attention_shard_of(s, layout.rank, layout.ranks)
                                           : attention_part_of(s, strategy, layout.rank, layout.ranks);
    struct layer_side side = {part.head, part.heads, s->heads, {part.rows[0], part.rows[1]}, NULL};
    if (keys) {
        struct attention_keys held = attention_keys_of(s, strategy, layout.rank, layout.ranks);
        side.per_batch = s->kv_heads, side.rows[0] = held.segment[0], side.rows[1] = held.segment[1];
        attention_kv_of(s, &part, &side.head, &side.heads);
    }
    return side;
}

struct sable_attention_part layer_result_of(const struct sable_attention_shape *s, int strategy, int rank, int ranks)
{
    struct sable_attention_part part = strategy == STRATEGY_RING || strategy == STRATEGY_ALLGATHER
                                           ? attention_part_of(s, strategy, rank, ranks)
                                           : attention_shard_of(s, rank, ranks);
    part.heads = s->batch;
    return part;
}

static bool same_rows(const struct layer_side *a, const struct layer_side *b)
{
    bool same = layer_batch(a) == layer_batch(b) && layer_batches(a) == layer_batches(b);
    for (int i = 0; i < 2; i++)
        same = same && a->rows[i].count == b->rows[i].count &&
               (a->rows[i].count == 0 || a->rows[i].first == b->rows[i].first);
    return same;
}

float *layer_projected(const struct layer *l, enum layer_weight weight)
{
    bool ulysses = l->a.strategy == STRATEGY_ULYSSES;
    float *const own[] = {l->a.q, l->a.k, l->a.v}, *const shard[] = {l->a.shard_q, l->a.shard_k, l->a.shard_v};
    return ulysses ? shard[weight] : own[weight];
}

void *layer_x(const struct layer *l, const struct layer_side *side, int64_t row)
{
    return (char *)side->x + (size_t)(row * l->x_pitch) * (l->bf16 ? sizeof(uint16_t) : sizeof(float));
}

void *layer_weight(const struct layer *l, enum layer_weight weight, int64_t at)
{
    return (char *)l->weight[weight] + (size_t)at * (l->bf16 ? sizeof(uint16_t) : sizeof(float));
}

const float *layer_out(const struct layer *l)
{
    float *out, *lse;
    attention_result(&l->a, &out, &lse);
    return l->moved ? l->moved : out;
}

/* ---- Sizes ---- */

static double weight_size(const struct sable_attention_shape *s, int64_t width, const struct layer_side side[2],
                          enum layer_weight weight, bool reference)
{
    if (weight == WEIGHT_O)
        return reference ? (double)s->heads * (double)s->dim_v * (double)width
                         : (double)sable_product_packed(s->heads * s->dim_v, width);
    int64_t dim = layer_weight_dim(s, weight);
    return (double)layer_heads_held(&side[weight != WEIGHT_Q]) *
           (double)(reference ? width * dim : sable_product_packed(width, dim));
}

/* Words between rows of x, and those of x of a side. */
static int64_t x_words(int64_t width, bool bf16)
{
    return (bf16 ? (width + 1) / 2 : width) + PITCH_MORE;
}

static int64_t x_size(const struct layer_side *side, int64_t width, bool bf16)
{
    return layer_batches(side) * layer_rows(side) * x_words(width, bf16);
}

static bool moves(int strategy, struct sable_layout layout)
{
    return strategy == STRATEGY_HEADS && layout.ranks > 1;
}

double layer_memory(const struct sable_attention_shape *s, int64_t width, bool bf16, int strategy,
                    struct sable_layout layout, bool reference)
{
    strategy = reference ? STRATEGY_HEADS : strategy;
    struct layer_side side[2] = {layer_side_of(s, strategy, layout, false), layer_side_of(s, strategy, layout, true)};
    struct sable_attention_part result = layer_result_of(s, strategy, layout.rank, layout.ranks);
    double rows = (double)s->batch * (double)attention_rows_count(&result), out = (double)s->heads * (double)s->dim_v;
    double floats = (double)x_size(&side[0], width, bf16) + rows * (out + PITCH_MORE + (double)width);
    if (!same_rows(&side[0], &side[1]))
        floats += (double)x_size(&side[1], width, bf16);
    for (int w = 0; w < WEIGHTS; w++)
        floats += weight_size(s, width, side, (enum layer_weight)w, reference) / (bf16 ? 2 : 1);
    if (moves(strategy, layout)) {
        struct sable_attention_part part = attention_part_of(s, strategy, layout.rank, layout.ranks);
        floats += 2 * rows * out + (double)part.heads * (double)attention_rows_count(&part) * (double)s->dim_v;
    }
    /* Weights of a head and x of a batch, fetched anew; in the output, y before and after it is put in order. */
    double proof = (double)width * (double)(s->dim > s->dim_v ? s->dim : s->dim_v) +
                   (double)s->queries * (double)width + 4 * ((double)width + out);
    double output = 3 * rows * (double)width;
    double unpacked =
        reference ? 0 : (double)width * (double)s->heads * (double)(s->dim > s->dim_v ? s->dim : s->dim_v);
    return 4 * (floats + fmax(unpacked, fmax(proof, output))) + attention_memory(s, strategy, layout, reference);
}

void layer_traffic(const struct sable_attention_shape *s, int strategy, struct sable_layout layout, double *bytes,
                   double *messages)
{
    attention_traffic(s, strategy, layout, bytes, messages);
    struct sable_attention_part part = attention_part_of(s, strategy, layout.rank, layout.ranks);
    for (int r = 0; r < layout.ranks && moves(strategy, layout); r++) {
        struct sable_attention_part shard = attention_shard_of(s, r, layout.ranks);
        *bytes += r == layout.rank ? 0 : 4 * (double)s->dim_v * (double)attention_common(&part, &shard);
        *messages += r != layout.rank;
    }
}

double layer_projection_flops(const struct sable_attention_shape *s, int64_t width, int strategy,
                              struct sable_layout layout)
{
    struct layer_side queries = layer_side_of(s, strategy, layout, false),
                      keys = layer_side_of(s, strategy, layout, true);
    struct sable_attention_part result = layer_result_of(s, strategy, layout.rank, layout.ranks);
    return 2 * (double)width *
           ((double)queries.heads * (double)layer_rows(&queries) * (double)s->dim +
            (double)keys.heads * (double)layer_rows(&keys) * (double)(s->dim + s->dim_v) +
            (double)s->batch * (double)attention_rows_count(&result) * (double)s->heads * (double)s->dim_v);
}

/* ---- Making and freeing ---- */

static float *floats(double n, bool *short_of_memory)
{
    float *array = n < 0x1p60 ? sable_array((int64_t)n, 1, sizeof *array) : NULL;
    *short_of_memory = *short_of_memory || !array;
    return array;
}

static int fill_x(struct layer *l, const struct sable_context *context, const struct layer_side *side,
                  struct sable_error *error)
{
    float *row = l->bf16 ? sable_array(l->width, 1, sizeof *row) : NULL;
    if (l->bf16 && !row)
        return sable_fail(error, SABLE_ENVIRONMENT, "attention/layer: out of memory for a row");
    for (int64_t b = 0; b < layer_batches(side); b++)
        for (int i = 0; i < 2; i++)
            for (int64_t r = 0; r < side->rows[i].count && !error->code; r++) {
                void *to = layer_x(l, side, b * layer_rows(side) + (i ? side->rows[0].count : 0) + r);
                if (!layer_fetch_x(l, context, layer_batch(side) + b, side->rows[i].first + r, 1, 0, l->bf16 ? row : to,
                                   error) &&
                    l->bf16)
                    sable_attention_to_bf16(1, l->width, row, to);
            }
    sable_array_free(row);
    return error->code;
}

static void pack(const struct layer *l, int64_t depth, int64_t width, const float *w, void *to)
{
    if (l->bf16)
        sable_product_pack_bf16(depth, width, w, to);
    else
        sable_product_pack(depth, width, w, to);
}

static int fill_weights(struct layer *l, const struct sable_context *context, float *one, struct sable_error *error)
{
    const struct sable_attention_shape *s = &l->a.shape;
    for (int w = 0; w < WEIGHT_O; w++) {
        const struct layer_side *side = w == WEIGHT_Q ? &l->queries : &l->keys;
        const int64_t dim = layer_weight_dim(s, (enum layer_weight)w), held = layer_heads_held(side);
        const int64_t each = l->a.reference ? l->width * dim : sable_product_packed(l->width, dim);
        for (int64_t i = 0; i < held; i++) {
            const int64_t head = (side->heads < side->per_batch ? side->head + i : i) % side->per_batch;
            void *to = layer_weight(l, (enum layer_weight)w, layer_slot(side, head) * each);
            if (layer_fetch_weight(l, context, (enum layer_weight)w, head, l->a.reference ? to : one, error))
                return error->code;
            if (!l->a.reference)
                pack(l, l->width, dim, one, to);
        }
    }
    float *whole = l->a.reference ? l->weight[WEIGHT_O] : one;
    for (int64_t h = 0; h < s->heads; h++)
        if (layer_fetch_weight(l, context, WEIGHT_O, h, whole + h * s->dim_v * l->width, error))
            return error->code;
    if (!l->a.reference)
        pack(l, s->heads * s->dim_v, l->width, one, l->weight[WEIGHT_O]);
    return SABLE_OK;
}

static int allocate(struct layer *l, struct sable_error *error)
{
    const struct sable_attention_shape *s = &l->a.shape;
    struct layer_side side[2] = {l->queries, l->keys};
    const double rows = (double)s->batch * (double)attention_rows_count(&l->result);
    bool no = false;
    l->queries.x = floats((double)x_size(&l->queries, l->width, l->bf16), &no);
    l->keys.x = l->one_x ? l->queries.x : floats((double)x_size(&l->keys, l->width, l->bf16), &no);
    for (int w = 0; w < WEIGHTS; w++)
        l->weight[w] =
            floats(weight_size(s, l->width, side, (enum layer_weight)w, l->a.reference) / (l->bf16 ? 2 : 1), &no);
    l->merged = floats(rows * (double)l->o_pitch, &no), l->y = floats(rows * (double)l->width, &no);
    if (moves(l->a.strategy, l->a.layout)) {
        const int ranks = l->a.layout.ranks;
        const double out = rows * (double)s->heads * (double)s->dim_v;
        l->moved = floats(out, &no), l->parcel[1] = floats(out, &no);
        l->parcel[0] = floats((double)l->a.part.heads * (double)s->queries * (double)s->dim_v, &no);
        l->part = calloc(2 * (size_t)ranks, sizeof *l->part);
        for (int r = 0; r < ranks && l->part; r++) {
            l->part[r] = attention_part_of(s, l->a.strategy, r, ranks);
            l->part[ranks + r] = attention_shard_of(s, r, ranks);
        }
        l->shard = l->part ? l->part + ranks : NULL;
        no = no || !l->part;
    }
    return no ? sable_fail(error, SABLE_ENVIRONMENT, "attention/layer: out of memory for x, weights and y") : SABLE_OK;
}

int layer_make(const struct layer_params *params, struct sable_context *context, bool reference, struct layer *l,
               struct sable_error *error)
{
    struct sable_attention_shape shape = layer_shape(params);
    int64_t width = layer_width(params);
    if (context->input)
        layer_read_shape(context->input, &shape, &width, error);
    if (!error->code)
        layer_check(&shape, width, error);
    if (sable_agree(context->comm, error) ||
        attention_prepare(&shape, params->attention.strategy, context, reference, &l->a, error))
        return error->code;
    l->a.fetch = layer_project_anew;
    l->rounded = params->attention.bf16, l->bf16 = l->rounded && !reference;
    l->width = width, l->x_pitch = x_words(width, l->bf16) * (l->bf16 ? 2 : 1),
    l->o_pitch = shape.heads * shape.dim_v + PITCH_MORE;
    l->queries = layer_side_of(&shape, l->a.strategy, context->layout, false);
    l->keys = layer_side_of(&shape, l->a.strategy, context->layout, true);
    l->one_x = same_rows(&l->queries, &l->keys);
    l->result = layer_result_of(&shape, l->a.strategy, context->layout.rank, context->layout.ranks);
    allocate(l, error);
    const int64_t most = shape.dim > shape.dim_v ? shape.dim : shape.dim_v;
    float *one = sable_array(reference ? 1 : width, shape.heads * most, sizeof *one); /* unpacked weights */
    if (!one)
        sable_fail(error, SABLE_ENVIRONMENT, "attention/layer: out of memory for weights");
    if (!sable_agree(context->comm, error) && !fill_x(l, context, &l->queries, error) &&
        !(l->one_x ? error->code : fill_x(l, context, &l->keys, error)))
        fill_weights(l, context, one, error);
    sable_array_free(one);
    return error->code;
}

void layer_free(struct layer *l)
{
    if (!l->one_x)
        sable_array_free(l->keys.x);
    sable_array_free(l->queries.x);
    for (int w = 0; w < WEIGHTS; w++)
        sable_array_free(l->weight[w]);
    sable_array_free(l->moved);
    sable_array_free(l->merged);
    sable_array_free(l->y);
    sable_array_free(l->parcel[0]);
    sable_array_free(l->parcel[1]);
    free(l->part);
    attention_free(&l->a);
}
