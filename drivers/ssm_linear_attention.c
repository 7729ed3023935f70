/* ssm/linear_attention: attention without a softmax, as a recurrence with a matrix of states per head: RetNet's
 * retention (one decay a head) and RWKV-6's time mixing (a decay for each key and step, and a bonus for the step
 * itself), each in recurrent, chunkwise and parallel form. Mathematics, work model, bounds:
 * docs/ssm_linear_attention.md. */
#include <math.h>
#include <string.h>

#include "input.h"
#include "ssm_outer.h"

#define PARAM(field) offsetof(struct outer_params, field)
static const char *const models[] = {[OUTER_ONE_DECAY] = "retnet", [OUTER_DECAY_BY_KEY] = "rwkv", NULL};
static const char *const forms[] = {"recurrent", "chunkwise", "parallel", NULL};
static const struct sable_param parameters[] = {
    {"model", SABLE_CHOICE, PARAM(decays), "", 0, 0, 0, 0, models, "retnet", "RetNet, or RWKV-6"},
    {"form", SABLE_CHOICE, PARAM(form), "", 0, 0, 0, 0, forms, "chunkwise", "one result, three ways to compute it"},
    {"batch", SABLE_INT, PARAM(batch), "sequences", 1, 1e9, 0, 0, NULL, "1", "sequences"},
    {"heads", SABLE_INT, PARAM(heads), "", 1, 1e6, 0, 0, NULL, "32", "heads of a sequence"},
    {"key_dim", SABLE_INT, PARAM(keys), "", 1, 1024, 0, 0, NULL, "64", "elements of a query and a key"},
    {"value_dim", SABLE_INT, PARAM(values), "", 1, 1024, 0, 0, NULL, "64", "elements of a value"},
    {"length", SABLE_INT, PARAM(length), "steps", 1, 1e12, 0, 0, NULL, "2048", "steps of a sequence"},
    {"chunk", SABLE_INT, PARAM(chunk), "steps", 1, SABLE_OUTER_CHUNK, 0, 0, NULL, "64",
     "steps of a chunk; changes bits of the chunkwise and parallel forms"},
    {"strategy", SABLE_CHOICE, PARAM(strategy), "", 0, 0, 0, 0, outer_strategies, "auto",
     "what ranks share: heads, sequences, or time; auto: sequences and heads, and time if these are fewer than ranks"},
    {0},
};
static const struct sable_growth weak[] = {{"batch", 1}, {0}};
static const struct sable_class classes[] = {{"T", "batch=2 heads=3 key_dim=10 value_dim=7 length=67 chunk=24"},
                                             {"S", "heads=32 length=4096"},
                                             {"A", "batch=4 heads=64 length=8192"},
                                             {"B", "batch=16 heads=64 length=16384"},
                                             {"C", "batch=64 heads=64 length=32768"},
                                             {"D", "batch=256 heads=128 length=65536"},
                                             {"E", "batch=1024 heads=128 length=131072"},
                                             {0}};
static const struct sable_field inputs[] = {
    {"q, k", "[batch, length, heads, key_dim]", "queries (receptances) and keys"},
    {"v", "[batch, length, heads, value_dim]", "values"},
    {"log_decay", "[heads], or with rwkv [batch, length, heads, key_dim]", "≤ 0: log γ, or log w"},
    {"bonus", "[heads, key_dim]", "rwkv's u"},
    {0},
};
static const struct sable_field outputs[] = {
    {"y", "[batch, length, heads, value_dim]", "(--keep full)"},
    {"state", "[batch, heads, key_dim, value_dim]", "after the last step; not from form=parallel"},
    {0},
};

/* q and v say them. */
static int sizes(struct outer_params *p, struct sable_input *input, struct sable_error *error)
{
    int64_t q[4], v[4];
    if (sable_input_has(input, "q")) {
        if (sable_input_shape(input, "q", 4, q, error))
            return error->code;
        p->batch = q[0], p->length = q[1], p->heads = q[2], p->keys = q[3];
    }
    if (sable_input_has(input, "v")) {
        if (sable_input_shape(input, "v", 4, v, error))
            return error->code;
        p->batch = v[0], p->length = v[1], p->heads = v[2], p->values = v[3];
    }
    return SABLE_OK;
}

/* γ_h = 1 − 2^(−5−h) (RetNet, eq. 8), or what the file has: for every step. */
static int retnet_decays(struct outer_state *s, struct sable_context *context, struct sable_error *error)
{
    const int64_t heads = s->scan.heads;
    if (context->input && sable_input_has(context->input, "bonus"))
        return sable_fail(error, SABLE_BAD_INPUT, "%s: 'bonus' belongs to model=rwkv, and this is retnet",
                          sable_input_path(context->input));
    if (context->input && sable_input_has(context->input, "log_decay")) {
        if (outer_fill_heads(s, context, "log_decay", SSM_DECAY, -1, 0, 0, s->a, error))
            return error->code;
    } else
        for (int64_t h = 0; h < heads; h++)
            s->a[h] = (float)log1p(-exp2(-5 - (double)(s->part.part.column + h)));
    for (int64_t t = 0; t < s->scan.sequences * s->scan.length; t++)
        memcpy(s->decay + t * heads, s->a, (size_t)heads * sizeof *s->a);
    return SABLE_OK;
}

/* w = exp(−exp(x)), x in [−6, 1): from 0.07 to 0.998, as RWKV-6 has it; or what the file has. */
static int rwkv_decays(struct outer_state *s, struct sable_context *context, struct sable_error *error)
{
    const int64_t keys = s->params.keys, all = s->scan.sequences * s->scan.length * s->scan.heads * keys;
    if (outer_fill(s, context, "log_decay", SSM_DECAY, -6, 1, false, keys, s->decay, error) ||
        outer_fill_heads(s, context, "bonus", SSM_BONUS, -1, 1, keys, s->bonus, error))
        return error->code;
    if (!context->input || !sable_input_has(context->input, "log_decay"))
#pragma omp parallel for schedule(static)
        for (int64_t i = 0; i < all; i++)
            s->decay[i] = -(float)exp((double)s->decay[i]);
    return SABLE_OK;
}

static int fill(struct outer_state *s, struct sable_context *context, struct sable_error *error)
{
    const struct outer_params *p = &s->params;
    const int64_t decays = s->scan.sequences * s->scan.length * s->scan.heads * (s->by_key ? p->keys : 1);
    if (outer_fill(s, context, "q", SSM_Q, -1, 1, false, p->keys, s->q, error) ||
        outer_fill(s, context, "k", SSM_K, -1, 1, false, p->keys, s->k, error) ||
        outer_fill(s, context, "v", SSM_V, -1, 1, false, p->values, s->v, error) ||
        (s->by_key ? rwkv_decays(s, context, error) : retnet_decays(s, context, error)))
        return error->code;
    return ssm_at_most_0(context, "log_decay", decays, s->decay, error);
}

static const struct outer_model model = {.name = "ssm/linear_attention", .sizes = sizes, .fill = fill};

static int setup(const void *params, struct sable_context *context, void **state, struct sable_error *error)
{
    return outer_setup(&model, params, context, state, error);
}

static const struct sable_variant variants[] = {
    {"reference", "the formula in float64, step by step, whatever the form", outer_run},
    {"sable", "form=: matrix products of chunks, a tile of states in registers, or all pairs of steps", outer_run},
    {0},
};

const struct sable_workload sable_ssm_linear_attention = {
    .name = "ssm/linear_attention",
    .summary = "linear attention with decay: RetNet and RWKV-6, recurrent, chunkwise, parallel",
    .source = "Sun et al., RetNet, 2023; Peng et al., Eagle and Finch (RWKV-6), 2024",
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
