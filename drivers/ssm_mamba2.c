/* ssm/mamba2: Mamba-2's state-space duality: each head is a matrix of states with one decay a step, chunks of time are
 * matrix products. It measures multiply-adds in small products with a carried state; ranks share sequences, heads, or
 * time. Mathematics, work model, bounds: docs/ssm_mamba2.md. */
#include <math.h>

#include "input.h"
#include "sable_vmath.h"
#include "ssm_outer.h"

#define PARAM(field) offsetof(struct outer_params, field)
static const char *const forms[] = {"recurrent", "chunked", NULL};
static const struct sable_param parameters[] = {
    {"batch", SABLE_INT, PARAM(batch), "sequences", 1, 1e9, 0, 0, NULL, "1", "sequences"},
    {"heads", SABLE_INT, PARAM(heads), "", 1, 1e6, 0, 0, NULL, "24", "heads of a sequence"},
    {"groups", SABLE_INT, PARAM(groups), "", 1, 1e6, 0, 0, NULL, "1", "groups of heads that share B and C"},
    {"head_dim", SABLE_INT, PARAM(values), "", 1, 1024, 0, 0, NULL, "64", "channels of a head"},
    {"states", SABLE_INT, PARAM(keys), "", 1, 1024, 0, 0, NULL, "128", "states of a channel (d_state)"},
    {"length", SABLE_INT, PARAM(length), "steps", 1, 1e12, 0, 0, NULL, "2048", "steps of a sequence"},
    {"chunk", SABLE_INT, PARAM(chunk), "steps", 1, SABLE_OUTER_CHUNK, 0, 0, NULL, "64",
     "steps of a chunk; changes bits"},
    {"form", SABLE_CHOICE, PARAM(form), "", 0, 0, 0, 0, forms, "chunked", "matrix products of chunks, or step by step"},
    {"strategy", SABLE_CHOICE, PARAM(strategy), "", 0, 0, 0, 0, outer_strategies, "auto",
     "what ranks share: heads, sequences, or time; auto: sequences and heads, and time if these are fewer than ranks"},
    {0},
};
static const struct sable_growth weak[] = {{"batch", 1}, {0}};
static const struct sable_class classes[] = {{"T", "batch=2 heads=6 groups=2 head_dim=9 states=7 length=67 chunk=24"},
                                             {"S", "heads=24 length=8192"},
                                             {"A", "batch=4 heads=80 length=8192"},
                                             {"B", "batch=16 heads=128 length=16384"},
                                             {"C", "batch=64 heads=128 groups=8 length=32768"},
                                             {"D", "batch=256 heads=128 groups=8 length=65536"},
                                             {"E", "batch=1024 heads=256 groups=8 length=131072"},
                                             {0}};
static const struct sable_field inputs[] = {
    {"x", "[batch, length, heads, head_dim]", "input"},
    {"delta_raw", "[batch, length, heads]", "Δ before bias and softplus"},
    {"a", "[heads]", "≤ 0"},
    {"b, c", "[batch, length, groups, states]", ""},
    {"d, delta_bias", "[heads]", ""},
    {0},
};
static const struct sable_field outputs[] = {
    {"y", "[batch, length, heads, head_dim]", "(--keep full)"},
    {"state", "[batch, heads, states, head_dim]", "after the last step"},
    {0},
};

/* x and b say them. */
static int sizes(struct outer_params *p, struct sable_input *input, struct sable_error *error)
{
    int64_t x[4], b[4];
    if (sable_input_has(input, "x")) {
        if (sable_input_shape(input, "x", 4, x, error))
            return error->code;
        p->batch = x[0], p->length = x[1], p->heads = x[2], p->values = x[3];
    }
    if (sable_input_has(input, "b")) {
        if (sable_input_shape(input, "b", 4, b, error))
            return error->code;
        p->groups = b[2], p->keys = b[3];
    }
    return SABLE_OK;
}

/* Δ = softplus(raw + bias), and the decays' logarithms Δ A. */
static void prepare(struct outer_state *s)
{
    const int64_t heads = s->scan.heads, steps = s->scan.sequences * s->scan.length;
#pragma omp parallel for schedule(static)
    for (int64_t t = 0; t < steps; t++) {
        float *weight = s->weight + t * heads, *decay = s->decay + t * heads;
        for (int64_t h = 0; h < heads; h++)
            weight[h] = s->raw[t * heads + h] + s->bias[h];
        sable_vmath(SABLE_VSOFTPLUS, heads, weight, weight);
        for (int64_t h = 0; h < heads; h++)
            decay[h] = weight[h] * s->a[h];
    }
}

/* The same in float64, with the relative error of the float one: of the rounded sum through the softplus, of the
 * softplus (3 ulp), of a product. */
static void exact(const struct outer_state *s, int64_t row, double *decay, double *weight, double *error)
{
    const double u = 0x1p-24;
    const int64_t heads = s->scan.heads, h = row % heads;
    for (int64_t t = 0; t < s->scan.length; t++) {
        double raw = (double)s->raw[(row / heads * s->scan.length + t) * heads + h] + (double)s->bias[h];
        double delta = raw > 30 ? raw : log1p(exp(raw));
        weight[t] = delta;
        decay[t] = delta * (double)s->a[h];
        error[t] = u * fabs(raw) / (1 + exp(-raw)) / delta + 8 * u;
    }
}

static int fill(struct outer_state *s, struct sable_context *context, struct sable_error *error)
{
    const struct outer_params *p = &s->params;
    if (outer_fill(s, context, "x", SSM_V, -1, 1, false, p->values, s->v, error) ||
        outer_fill(s, context, "delta_raw", SSM_DELTA, -2, 2, false, 0, s->raw, error) ||
        outer_fill(s, context, "b", SSM_B, -1, 1, true, p->keys, s->k, error) ||
        outer_fill(s, context, "c", SSM_C, -1, 1, true, p->keys, s->q, error) ||
        outer_fill_heads(s, context, "a", SSM_A, -16, -1, 0, s->a, error) || /* as Mamba-2 starts */
        outer_fill_heads(s, context, "d", SSM_D, 0.5, 1.5, 0, s->skip, error) ||
        outer_fill_heads(s, context, "delta_bias", SSM_BIAS, -6.9, -2.2, 0, s->bias, error)) /* Δ of 0.001 to 0.1 */
        return error->code;
    return ssm_at_most_0(context, "a", s->scan.heads, s->a, error);
}

static const struct outer_model model = {.name = "ssm/mamba2",
                                         .weighted = true,
                                         .skips = true,
                                         .sizes = sizes,
                                         .fill = fill,
                                         .prepare = prepare,
                                         .exact = exact};

static int setup(const void *params, struct sable_context *context, void **state, struct sable_error *error)
{
    return outer_setup(&model, params, context, state, error);
}

static const struct sable_variant variants[] = {
    {"reference", "the formula in float64, step by step", outer_run},
    {"sable", "matrix products of chunks with the state in a cache", outer_run},
    {0},
};

const struct sable_workload sable_ssm_mamba2 = {
    .name = "ssm/mamba2",
    .summary = "Mamba-2's chunked scan with matrix states (SSD)",
    .source = "Dao & Gu, Transformers are SSMs, ICML 2024",
    .fom = {"state updates", "Gupdate/s", 1e9},
    .params_size = sizeof(struct outer_params),
    .params = parameters,
    .classes = classes,
    .weak = weak,
    .variants = variants,
    .phases = outer_phases,
    .faults = outer_faults,
    .inputs = inputs,
    .outputs = outputs,
    .layout_invariant = true,
    .check = outer_check,
    .work = outer_work,
    .setup = setup,
    .reset = outer_reset,
    .verify = outer_verify,
    .output = outer_output,
    .free = outer_free,
};
