/* Inputs of a layer: x and weights, drawn or read, as floats or rounded to bfloat16. */
#include <math.h>

#include "attention_layer.h"
#include "input.h"

enum { PURPOSE_X = 52, PURPOSE_WEIGHT = 53 /* + weight */ };

static const char *const weight_names[] = {"wq", "wk", "wv", "wo"};

int layer_fetch_x(const struct layer *l, const struct sable_context *context, int64_t batch, int64_t first,
                  int64_t count, int64_t pitch, float *to, struct sable_error *error)
{
    bool from_file = context->input && sable_input_has(context->input, "x");
    for (int64_t r = 0; r < count && !error->code; r++) {
        const int64_t offset[] = {batch, first + r, 0}, extent[] = {1, 1, l->width};
        if (from_file)
            sable_input_read(context->input, "x", SABLE_F32, 3, offset, extent, to + r * pitch, error);
        else
            sable_attention_draw(context->seed, PURPOSE_X, (batch * l->a.shape.queries + first + r) * l->width,
                                 l->width, to + r * pitch);
        if (l->rounded)
            attention_round(l->width, to + r * pitch);
    }
    return error->code;
}

/* Drawn weights are scaled by the power of two next to 1/√depth: q, k, v and y then are of the size of x. */
int layer_fetch_weight(const struct layer *l, const struct sable_context *context, enum layer_weight weight,
                       int64_t head, float *to, struct sable_error *error)
{
    const struct sable_attention_shape *s = &l->a.shape;
    bool o = weight == WEIGHT_O;
    const int64_t rows = o ? s->dim_v : l->width, columns = o ? l->width : layer_weight_dim(s, weight);
    if (context->input && sable_input_has(context->input, weight_names[weight])) {
        const int64_t offset[] = {head, 0, 0}, extent[] = {1, rows, columns};
        if (sable_input_read(context->input, weight_names[weight], SABLE_F32, 3, offset, extent, to, error))
            return error->code;
    } else {
        const double depth = (double)(o ? s->heads * s->dim_v : l->width);
        const float scale = (float)exp2(-round(log2(depth) / 2));
        sable_attention_draw(context->seed, PURPOSE_WEIGHT + (uint32_t)weight, head * rows * columns, rows * columns,
                             to);
        for (int64_t i = 0; i < rows * columns; i++)
            to[i] *= scale;
    }
    if (l->rounded)
        attention_round(rows * columns, to);
    return SABLE_OK;
}

static int agree_with(const char *array, const char *what, int64_t *known, bool *set, int64_t found,
                      struct sable_error *error)
{
    if (*set && *known != found)
        return sable_fail(error, SABLE_BAD_INPUT, "--input: %s has %lld %s where another array has %lld", array,
                          (long long)found, what, (long long)*known);
    *known = found;
    *set = true;
    return SABLE_OK;
}

/* What is drawn fits what is read. */
int layer_read_shape(struct sable_input *input, struct sable_attention_shape *s, int64_t *width,
                     struct sable_error *error)
{
    int64_t x[3], w[3], before = s->dim;
    bool width_set = false, heads = false, kv = false, dim = false, dim_v = false;
    if (sable_input_has(input, "x")) {
        if (sable_input_shape(input, "x", 3, x, error) || agree_with("x", "channels", width, &width_set, x[2], error))
            return error->code;
        s->batch = x[0], s->queries = s->keys = x[1];
    }
    for (int i = 0; i < WEIGHTS; i++) {
        const char *name = weight_names[i];
        bool o = i == WEIGHT_O, by_query = i == WEIGHT_Q || o, v = i == WEIGHT_V || o;
        if (!sable_input_has(input, name))
            continue;
        if (sable_input_shape(input, name, 3, w, error) ||
            agree_with(name, "heads", by_query ? &s->heads : &s->kv_heads, by_query ? &heads : &kv, w[0], error) ||
            agree_with(name, "channels", width, &width_set, w[o ? 2 : 1], error) ||
            agree_with(name, "channels a head", v ? &s->dim_v : &s->dim, v ? &dim_v : &dim, w[o ? 1 : 2], error))
            return error->code;
    }
    if (heads && !kv)
        s->kv_heads = s->heads;
    if (dim && !dim_v)
        s->dim_v = s->dim;
    if (s->dim != before)
        s->scale = 1 / sqrt((double)s->dim);
    return attention_read_rules(input, s, error);
}

int layer_adopt(void *params, struct sable_input *input, struct sable_error *error)
{
    struct layer_params *p = params;
    struct sable_attention_shape shape = layer_shape(p);
    int64_t width = layer_width(p);
    if (layer_read_shape(input, &shape, &width, error) || layer_check(&shape, width, error))
        return error->code;
    attention_adopt_shape(&shape, &p->attention);
    p->width = width;
    return SABLE_OK;
}
