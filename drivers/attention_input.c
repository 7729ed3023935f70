/* Inputs of attention: drawn or read, as floats or rounded to bfloat16. */
#include "attention_rank.h"

#include <math.h>
#include <string.h>

#include "input.h"
#include "sable_array.h"

enum { PURPOSE_ATTENTION = 40 }; /* + tensor */

/* ---- bfloat16 ---- */

int64_t attention_words(const struct sable_attention_shape *s, int64_t dim)
{
    return s->bf16 ? sable_attention_pitch(s, dim) / 2 : dim;
}

void attention_round(int64_t count, float *x)
{
    for (int64_t i = 0; i < count; i++) {
        uint16_t half[2];
        sable_attention_to_bf16(1, 1, x + i, half);
        x[i] = sable_attention_from_bf16(half[0]);
    }
}

float attention_element(const struct sable_attention_shape *s, int64_t dim, const float *array, int64_t r, int64_t d)
{
    uint16_t half;
    if (!s->bf16)
        return array[r * dim + d];
    memcpy(&half, (const char *)array + (size_t)(r * sable_attention_pitch(s, dim) + d) * sizeof half, sizeof half);
    return sable_attention_from_bf16(half);
}

/* ---- Inputs ---- */

static const char *const tensor_names[] = {"q", "k", "v", "dout"};

int attention_fetch(const struct attention_rank *a, const struct sable_context *context, enum attention_tensor tensor,
                    int64_t head, int64_t first, int64_t count, float *to, struct sable_error *error)
{
    const struct sable_attention_shape *s = &a->shape;
    if (a->fetch)
        return a->fetch(a, context, tensor, head, first, count, to, error);
    bool by_query = tensor == TENSOR_Q || tensor == TENSOR_DOUT;
    int64_t heads = by_query ? s->heads : s->kv_heads, rows = by_query ? s->queries : s->keys;
    int64_t dim = tensor == TENSOR_V || tensor == TENSOR_DOUT ? s->dim_v : s->dim;
    if (!context->input || !sable_input_has(context->input, tensor_names[tensor])) {
        sable_attention_draw(context->seed, PURPOSE_ATTENTION + (uint32_t)tensor, (head * rows + first) * dim,
                             count * dim, to);
    } else {
        const int64_t offset[] = {head / heads, head % heads, first, 0}, extent[] = {1, 1, count, dim};
        if (count && sable_input_read(context->input, tensor_names[tensor], SABLE_F32, 4, offset, extent, to, error))
            return error->code;
    }
    if (a->rounded)
        attention_round(count * dim, to);
    return SABLE_OK;
}

int attention_fetch_rows(const struct attention_rank *a, const struct sable_context *context,
                         enum attention_tensor tensor, int64_t head, struct sable_attention_rows rows, float *to,
                         bool *finite, struct sable_error *error)
{
    const int64_t dim = tensor == TENSOR_V || tensor == TENSOR_DOUT ? a->shape.dim_v : a->shape.dim, count = rows.count;
    float *plain = a->shape.bf16 ? sable_array(count, dim, sizeof *plain) : to;
    if (!plain)
        return sable_fail(error, SABLE_ENVIRONMENT, "attention: out of memory for rows of a head");
    if (!attention_fetch(a, context, tensor, head, rows.first, count, plain, error)) {
        for (int64_t i = 0; i < count * dim; i++)
            *finite = *finite && isfinite(plain[i]);
        if (a->shape.bf16)
            sable_attention_to_bf16(count, dim, plain, (void *)to);
    }
    if (a->shape.bf16)
        sable_array_free(plain);
    return error->code;
}

int attention_fill(struct attention_rank *a, const struct sable_context *context, enum attention_tensor tensor,
                   int64_t head, int64_t heads, const struct sable_attention_rows rows[2], float *to,
                   struct sable_error *error)
{
    const int64_t words = attention_words(&a->shape, tensor == TENSOR_V ? a->shape.dim_v : a->shape.dim);
    const int64_t count = rows[0].count + rows[1].count;
    bool drawn = !context->input, finite = a->finite;
#pragma omp parallel for schedule(static) reduction(&& : finite) if (drawn)
    for (int64_t h = 0; h < heads; h++) {
        struct sable_error mine = {0};
        for (int i = 0; i < 2 && !mine.code; i++)
            attention_fetch_rows(a, context, tensor, head + h, rows[i],
                                 to + (h * count + (i ? rows[0].count : 0)) * words, &finite, &mine);
        if (mine.code)
#pragma omp critical(attention_fill)
            *error = mine;
    }
    a->finite = finite;
    return error->code;
}

static int agree_with(const char *what, int64_t *known, bool *set, int64_t found, struct sable_error *error)
{
    if (*set && *known != found)
        return sable_fail(error, SABLE_BAD_INPUT, "--input: q, k and v differ in their %s: %lld and %lld", what,
                          (long long)*known, (long long)found);
    *known = found;
    *set = true;
    return SABLE_OK;
}

int attention_read_shape(struct sable_input *input, struct sable_attention_shape *s, struct sable_error *error)
{
    int64_t shape[TENSORS][4];
    bool has[TENSORS], batch = false, kv = false, keys = false, dim = false;
    for (int t = 0; t < TENSORS; t++)
        if ((has[t] = sable_input_has(input, tensor_names[t])) &&
            sable_input_shape(input, tensor_names[t], 4, shape[t], error))
            return error->code;
    bool dim_given = has[TENSOR_Q] || has[TENSOR_K];
    for (int t = 0; t < TENSORS; t++)
        if (has[t] && (agree_with("batches", &s->batch, &batch, shape[t][0], error) ||
                       (t != TENSOR_Q && agree_with("key heads", &s->kv_heads, &kv, shape[t][1], error)) ||
                       (t != TENSOR_Q && agree_with("keys", &s->keys, &keys, shape[t][2], error)) ||
                       (t != TENSOR_V && agree_with("head size", &s->dim, &dim, shape[t][3], error))))
            return error->code;
    if (has[TENSOR_Q])
        s->heads = shape[TENSOR_Q][1], s->queries = shape[TENSOR_Q][2];
    if (has[TENSOR_Q] && !kv) /* what is drawn fits what is read */
        s->kv_heads = s->heads;
    if (has[TENSOR_Q] && !keys)
        s->keys = s->queries;
    if (dim_given)
        s->dim_v = s->dim;
    if (has[TENSOR_V])
        s->dim_v = shape[TENSOR_V][3];
    if (dim_given)
        s->scale = 1 / sqrt((double)s->dim);
    return attention_read_rules(input, s, error);
}

int attention_read_rules(struct sable_input *input, struct sable_attention_shape *s, struct sable_error *error)
{
    double value;
    bool found;
    if (sable_input_real(input, "/", "causal", &value, &found, error))
        return error->code;
    if (found && value != 0 && value != 1)
        return sable_fail(error, SABLE_BAD_INPUT, "--input: attribute causal is %g instead of 0 or 1", value);
    s->causal = found ? value == 1 : s->causal;
    if (sable_input_real(input, "/", "scale", &value, &found, error))
        return error->code;
    s->scale = found ? value : s->scale;
    return SABLE_OK;
}

void attention_adopt_shape(const struct sable_attention_shape *s, struct attention_params *p)
{
    p->batch = s->batch, p->heads = s->heads, p->kv_heads = s->kv_heads, p->queries = s->queries, p->keys = s->keys;
    p->dim = s->dim, p->dim_v = s->dim_v, p->causal = s->causal, p->scale = s->scale;
}

int attention_adopt(void *params, struct sable_input *input, struct sable_error *error)
{
    struct sable_attention_shape shape;
    if (!attention_shape_of(params, input, &shape, error))
        attention_adopt_shape(&shape, params);
    return error->code;
}
