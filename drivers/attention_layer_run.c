/* A layer's three steps: projections by heads, attention as attention/prefill does it, the output projection. */
#include <stdlib.h>
#include <string.h>

#include "attention_layer.h"
#include "attention_share.h"
#include "sable_array.h"
#include "sable_product.h"

static const struct layer_side *side_of(const struct layer *l, enum layer_weight weight)
{
    return weight == WEIGHT_Q ? &l->queries : &l->keys;
}

/* Heads [*first, *end) of the b-th batch of a side, within the batch. */
static void heads_of(const struct layer_side *side, int64_t b, int64_t *first, int64_t *end)
{
    const int64_t before = (layer_batch(side) + b) * side->per_batch;
    *first = side->head > before ? side->head - before : 0;
    *end = side->head + side->heads < before + side->per_batch ? side->head + side->heads - before : side->per_batch;
}

/* ---- Projections ---- */

/* The products of the b-th batch of a side: rows of x by the weights of its heads. */
static struct sable_product product_of(const struct layer *l, enum layer_weight weight, int64_t b)
{
    const struct layer_side *side = side_of(l, weight);
    const int64_t dim = layer_weight_dim(&l->a.shape, weight), rows = layer_rows(side);
    int64_t first, end;
    heads_of(side, b, &first, &end);
    return (struct sable_product){
        .rows = rows,
        .width = dim,
        .groups = end - first,
        .x = layer_x(l, side, b * rows),
        .x_pitch = l->x_pitch,
        .w = layer_weight(l, weight, layer_slot(side, first) * sable_product_packed(l->width, dim)),
        .y = layer_projected(l, weight) + ((layer_batch(side) + b) * side->per_batch + first - side->head) * rows * dim,
        .y_pitch = dim,
        .y_group = rows * dim,
        .x_bf16 = l->bf16,
        .w_bf16 = l->bf16,
    };
}

static int project(struct layer *l, struct sable_error *error)
{
    const int64_t q = layer_batches(&l->queries), kv = layer_batches(&l->keys);
    struct sable_product *product = calloc((size_t)(q + 2 * kv + 1), sizeof *product);
    int64_t n = 0;
    if (!product)
        return sable_fail(error, SABLE_ENVIRONMENT, "attention/layer: out of memory for a list of products");
    for (int w = WEIGHT_Q; w <= WEIGHT_V; w++)
        for (int64_t b = 0; b < (w == WEIGHT_Q ? q : kv); b++)
            product[n++] = product_of(l, (enum layer_weight)w, b);
    sable_products(l->a.layout.threads, l->width, n, product);
    free(product);
    return SABLE_OK;
}

/* out [B·H][rows][dim_v] as rows of all heads. */
static void merge(struct layer *l, int fault)
{
    const struct sable_attention_shape *s = &l->a.shape;
    const int64_t rows = attention_rows_count(&l->result), heads = s->heads - (fault == FAULT_LOST_HEAD);
    const float *out = layer_out(l);
    const int threads = l->a.layout.threads;
#pragma omp parallel for collapse(2) schedule(static) num_threads(threads)
    for (int64_t b = 0; b < s->batch; b++)
        for (int64_t r = 0; r < rows; r++) {
            float *to = l->merged + (b * rows + r) * l->o_pitch;
            memset(to + heads * s->dim_v, 0, (size_t)(l->o_pitch - heads * s->dim_v) * sizeof *to);
            for (int64_t h = 0; h < heads; h++)
                memcpy(to + h * s->dim_v, out + ((b * s->heads + h) * rows + r) * s->dim_v,
                       (size_t)s->dim_v * sizeof *to);
        }
}

static int move(struct layer *l, struct sable_context *context, struct sable_error *error)
{
    return l->moved ? attention_move(context, l->a.shape.dim_v, l->part, l->shard, l->a.out, l->moved, l->parcel, error)
                    : SABLE_OK;
}

/* ---- Faults ---- */

/* The last channel of x does not count in the first head of q. Doing it again changes nothing. */
static void lose_channel(struct layer *l)
{
    const int64_t dim = l->a.shape.dim, packed = sable_product_packed(l->width, dim);
    const size_t size = l->bf16 ? sizeof(uint16_t) : sizeof(float);
    if (l->queries.heads == 0)
        return;
    if (l->a.reference)
        memset(layer_weight(l, WEIGHT_Q, (l->width - 1) * dim), 0, (size_t)dim * size);
    const int64_t panel = sable_product_packed(l->width, 1), columns = panel / l->width;
    for (int64_t p = 0; p < packed / panel && !l->a.reference; p++)
        memset(layer_weight(l, WEIGHT_Q, p * panel + (l->width - 1) * columns), 0, (size_t)columns * size);
}

/* ---- Everything ---- */

int layer_run(struct layer *l, struct sable_context *context, struct sable_error *error)
{
    const struct sable_attention_shape *s = &l->a.shape;
    sable_phase(context, PHASE_PROJECT);
    if (context->fault == FAULT_LOST_CHANNEL)
        lose_channel(l);
    project(l, error);
    if (sable_agree(context->comm, error))
        return error->code;
    sable_phase(context, PHASE_COMPUTE);
    if (attention_run(&l->a, context, error))
        return error->code;
    sable_phase(context, PHASE_COMMUNICATE);
    if (move(l, context, error))
        return error->code;
    sable_phase(context, PHASE_PROJECT);
    merge(l, context->fault);
    const struct sable_product out = {.rows = s->batch * attention_rows_count(&l->result),
                                      .width = l->width,
                                      .groups = 1,
                                      .x = l->merged,
                                      .x_pitch = l->o_pitch,
                                      .w = l->weight[WEIGHT_O],
                                      .y = l->y,
                                      .y_pitch = l->width,
                                      .w_bf16 = l->bf16};
    sable_products(l->a.layout.threads, s->heads * s->dim_v, 1, &out);
    return SABLE_OK;
}

/* ---- Reference ---- */

/* y [rows][width] = x · w row by row in double precision; `exact` is room for a row. */
static void multiply(int64_t rows, int64_t depth, int64_t width, const float *x, int64_t x_pitch, const float *w,
                     double *exact, float *y)
{
    for (int64_t r = 0; r < rows; r++) {
        sable_product_row_reference(depth, width, x + r * x_pitch, w, exact);
        for (int64_t c = 0; c < width; c++)
            y[r * width + c] = (float)exact[c];
    }
}

static double *row_of_doubles(const struct layer *l, struct sable_error *error)
{
    const struct sable_attention_shape *s = &l->a.shape;
    int64_t most = s->dim > s->dim_v ? s->dim : s->dim_v;
    double *row = sable_array(l->width > most ? l->width : most, 1, sizeof *row);
    if (!row)
        sable_fail(error, SABLE_ENVIRONMENT, "attention/layer: out of memory for a row");
    return row;
}

int layer_run_reference(struct layer *l, struct sable_context *context, struct sable_error *error)
{
    const struct sable_attention_shape *s = &l->a.shape;
    double *row = row_of_doubles(l, error);
    sable_phase(context, PHASE_PROJECT);
    if (context->fault == FAULT_LOST_CHANNEL)
        lose_channel(l);
    for (int w = WEIGHT_Q; w <= WEIGHT_V && row; w++) {
        const struct layer_side *side = side_of(l, (enum layer_weight)w);
        const int64_t dim = layer_weight_dim(&l->a.shape, (enum layer_weight)w), rows = layer_rows(side);
        for (int64_t b = 0, first, end; b < layer_batches(side); b++) {
            heads_of(side, b, &first, &end);
            for (int64_t h = first; h < end; h++)
                multiply(rows, l->width, dim, layer_x(l, side, b * rows), l->x_pitch,
                         layer_weight(l, (enum layer_weight)w, layer_slot(side, h) * l->width * dim), row,
                         layer_projected(l, (enum layer_weight)w) +
                             ((layer_batch(side) + b) * side->per_batch + h - side->head) * rows * dim);
        }
    }
    if (sable_agree(context->comm, error))
        goto done;
    sable_phase(context, PHASE_COMPUTE);
    if (attention_run_reference(&l->a, context, error), sable_agree(context->comm, error))
        goto done;
    sable_phase(context, PHASE_COMMUNICATE);
    if (move(l, context, error))
        goto done;
    sable_phase(context, PHASE_PROJECT);
    merge(l, context->fault);
    multiply(s->batch * attention_rows_count(&l->result), s->heads * s->dim_v, l->width, l->merged, l->o_pitch,
             l->weight[WEIGHT_O], row, l->y);
done:
    sable_array_free(row);
    return error->code;
}

/* ---- For the verification ---- */

int layer_project_anew(const struct attention_rank *a, const struct sable_context *context,
                       enum attention_tensor tensor, int64_t head, int64_t first, int64_t count, float *to,
                       struct sable_error *error)
{
    enum { SOME = 96 };
    const struct layer *l = (const struct layer *)a; /* its first member */
    const enum layer_weight weight = tensor == TENSOR_Q ? WEIGHT_Q : tensor == TENSOR_K ? WEIGHT_K : WEIGHT_V;
    const struct layer_side *side = side_of(l, weight);
    const int64_t dim = layer_weight_dim(&l->a.shape, weight), slot = layer_slot(side, head % side->per_batch);
    float *x = sable_array(SOME, l->x_pitch, sizeof *x);
    double *row = row_of_doubles(l, error);
    if (!x)
        sable_fail(error, SABLE_ENVIRONMENT, "attention/layer: out of memory for the verification");
    for (int64_t r = 0; r < count && !error->code; r += SOME) {
        const int64_t some = count - r < SOME ? count - r : SOME;
        if (layer_fetch_x(l, context, head / side->per_batch, first + r, some, l->x_pitch, x, error))
            break;
        const struct sable_product product = {
            .rows = some,
            .width = dim,
            .groups = 1,
            .x = x,
            .x_pitch = l->x_pitch,
            .w = layer_weight(l, weight, slot * sable_product_packed(l->width, dim)),
            .y = to + r * dim,
            .y_pitch = dim,
            .w_bf16 = l->bf16,
        };
        if (a->reference)
            multiply(some, l->width, dim, x, l->x_pitch, layer_weight(l, weight, slot * l->width * dim), row,
                     to + r * dim);
        else
            sable_products(a->layout.threads, l->width, 1, &product);
    }
    sable_array_free(x);
    sable_array_free(row);
    return error->code;
}
