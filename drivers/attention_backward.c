/* attention/backward: the gradients dq, dk, dv of scaled dot-product attention, fp32 or bf16, with the weights computed
 * again from q, k and the log-sum-exp: five matrix products where the forward pass has two. It measures the
 * multiply-add limit of a core on products of which two go across lanes. Mathematics, work model, parallel scheme:
 * docs/attention.md. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "attention_gradient.h"
#include "attention_share.h"
#include "sable_array.h"

static const char *const strategies[] = {"heads", "pipeline", NULL};
static const struct sable_param parameters[] = {
    ATTENTION_PARAMETERS(
        strategies,
        "keys of a task: dk and dv of so many stay in a core's cache; it defines the bits, and is the pipeline's unit"),
    ATTENTION_TYPE("q, k, v and dout"),
    {0},
};
static const struct sable_class classes[] = {{"T", "batch=2 heads=6 kv_heads=3 queries=77 keys=131 dim=20 leaf=16"},
                                             {"S", "model=gpt2 queries=1024"},
                                             {"A", "model=gpt2 queries=4096"},
                                             {"B", "model=llama3_8b queries=8192"},
                                             {"C", "model=llama3_8b queries=16384"},
                                             {"D", "model=llama3_8b queries=65536"},
                                             {"E", "model=llama3_8b queries=524288"},
                                             {0}};
static const struct sable_growth weak[] = {{"batch", 1}, {0}};
static const char *const phases[] = {
    [PHASE_COMPUTE] = "compute", [PHASE_COMMUNICATE] = "communicate", [PHASE_WAIT] = "wait", NULL};
static const struct sable_fault faults[] = {
    [GRADIENT_SKIP_BLOCK - 1] = {"skip_block", "leave out the first leaf of keys"},
    [GRADIENT_STALE_KEYS - 1] = {"stale_keys", "take the first half of a rank's keys twice, as from a stale buffer"},
    [GRADIENT_WRONG_SCALE - 1] = {"wrong_scale", "scale the logits by 1 % too much"},
    [GRADIENT_LOST_ROWS - 1] = {"lost_rows", "leave the second half of each rank's dq 0"},
    [GRADIENT_LOST_KEYS - 1] = {"lost_keys", "leave the second half of each rank's dk 0"},
    [GRADIENT_FLIP_BIT - 1] = {"flip_bit", "flip a bit of one value of dk of each rank's middle key"},
    [GRADIENT_NAN - 1] = {"nan", "make one value of dk of each rank NaN"},
    {0},
};
static const struct sable_field inputs[] = {
    {"q", "[B, H, Sq, D]", "queries; the shape replaces that of the parameters"},
    {"k", "[B, Hk, Sk, D]", "keys"},
    {"v", "[B, Hk, Sk, Dv]", "values"},
    {"dout", "[B, H, Sq, Dv]", "gradient of the loss with respect to out"},
    {"causal, scale", "attributes of /", "instead of the parameters"},
    {0},
};
static const struct sable_field outputs[] = {
    {"dq", "[B, H, Sq, D]", "gradient with respect to q (--keep full)"},
    {"dk", "[B, Hk, Sk, D]", "gradient with respect to k (--keep full)"},
    {"dv", "[B, Hk, Sk, Dv]", "gradient with respect to v (--keep full)"},
    {0},
};

/* Products of length dim: the logits, dq, dk; of length dim_v: dout·v, dv. Memory: each array once, dq twice. */
static void work(const void *params, struct sable_layout layout, const void *state, struct sable_work *work)
{
    const struct gradient *g = state;
    const struct sable_attention_shape shape = g ? g->shape : attention_shape(params), *s = &shape;
    int strategy = g ? g->strategy : ((const struct attention_params *)params)->strategy;
    int64_t first, count;
    struct sable_attention_rows keys;
    gradient_part(s, strategy, layout, &first, &count, &keys, NULL);
    double heads = (double)(count * gradient_group(s)), rows = heads * (double)s->queries;
    double pairs = gradient_pairs(s, keys), held = (double)(count * keys.count), dims = (double)(s->dim + s->dim_v);
    bool sends = strategy == GRADIENT_PIPELINE && layout.rank + 1 < layout.ranks;
    double flops = 2 * (3 * (double)s->dim + 2 * (double)s->dim_v) * pairs * heads;
    double words = (double)(attention_words(s, s->dim) + attention_words(s, s->dim_v)); /* of q and dout, of k and v */
    double bytes = 4 * (rows * (words + dims + (double)s->dim + 1) + held * (words + dims));
    *work = (struct sable_work){
        .items = flops,
        .flops_fp32 = flops,
        .exponentials = pairs * heads,
        .bytes = bytes,
        .pattern = SABLE_READ,
        .working_set = bytes,
        .bytes_network = sends ? 4 * rows * (double)s->dim : 0,
        .messages = sends ? (double)count : 0,
        .memory = gradient_memory(s, strategy, layout, g && g->reference),
    };
}

static void free_state(void *state)
{
    gradient_free(state);
    free(state);
}

static int setup(const void *params, struct sable_context *context, void **state, struct sable_error *error)
{
    struct gradient *g = calloc(1, sizeof *g);
    if (!g)
        sable_fail(error, SABLE_ENVIRONMENT, "attention/backward: out of memory");
    *state = g;
    if (sable_agree(context->comm, error))
        return error->code;
    return gradient_make(params, context, strcmp(context->variant, "reference") == 0, g, error);
}

/* What a run does not write must not be right by chance. */
static int reset(void *state, struct sable_context *context, struct sable_error *error)
{
    (void)context, (void)error;
    struct gradient *g = state;
    const struct sable_attention_shape *s = &g->shape;
    int64_t held = g->kv_count * g->keys.count;
    for (int64_t i = 0; i < g->kv_count * gradient_group(s) * s->queries * s->dim; i++)
        g->dq[i] = NAN;
    for (int64_t i = 0; i < held * s->dim; i++)
        g->dk[i] = NAN;
    for (int64_t i = 0; i < held * s->dim_v; i++)
        g->dv[i] = NAN;
    return SABLE_OK;
}

static int run(void *state, struct sable_context *context, struct sable_error *error)
{
    return gradient_run(state, context, error);
}

static int run_reference(void *state, struct sable_context *context, struct sable_error *error)
{
    return gradient_run_reference(state, context, error);
}

static int verify(void *state, struct sable_context *context, struct sable_checks *checks, struct sable_error *error)
{
    return gradient_verify(state, context, checks, error);
}

/* Rows of all heads, contiguous in memory, of a tensor [heads][rows][width] whose parts the ranks hold. */
static int put(const struct gradient *g, struct sable_context *context, struct sable_sink *sink, const char *name,
               bool queries, int64_t width, const float *held, struct sable_error *error)
{
    const struct sable_attention_shape *s = &g->shape;
    int ranks = context->layout.ranks, me = context->layout.rank;
    int64_t heads = queries ? s->heads : s->kv_heads, rows = queries ? s->queries : s->keys;
    int64_t group = queries ? gradient_group(s) : 1;
    struct sable_attention_shape as_queries = *s; /* attention_shard_of() cuts queries */
    as_queries.heads = heads, as_queries.queries = rows;
    struct sable_attention_part *part = malloc(2 * (size_t)ranks * sizeof *part), *shard = part ? part + ranks : NULL;
    for (int r = 0; r < ranks && part; r++) {
        int64_t first, count;
        struct sable_attention_rows keys;
        bool has_dq;
        gradient_part(s, g->strategy, (struct sable_layout){r, ranks, context->layout.threads}, &first, &count, &keys,
                      &has_dq);
        part[r] = (struct sable_attention_part){first * group, count * group, {keys, {s->keys, 0}}};
        if (queries)
            part[r] = (struct sable_attention_part){
                first * group, has_dq ? count * group : 0, {{0, s->queries}, {s->queries, 0}}};
        shard[r] = attention_shard_of(&as_queries, r, ranks);
    }
    int64_t mine = part ? part[me].heads * attention_rows_count(&part[me]) : 0;
    int64_t wanted = part ? shard[me].heads * attention_rows_count(&shard[me]) : 0;
    float *parcel[2] = {sable_array(mine, width, sizeof(float)), sable_array(wanted, width, sizeof(float))};
    float *gathered = sable_array(wanted, width, sizeof *gathered);
    if (!part || !parcel[0] || !parcel[1] || !gathered)
        sable_fail(error, SABLE_ENVIRONMENT, "attention/backward: out of memory for the outputs");
    if (!sable_agree(context->comm, error) &&
        !attention_move(context, width, part, shard, held, gathered, parcel, error)) {
        struct sable_array array = {.name = name,
                                    .unit = "",
                                    .help = "gradient",
                                    .keep = SABLE_KEEP_FULL,
                                    .type = SABLE_F32,
                                    .dims = 4,
                                    .global = {s->batch, heads, rows, width},
                                    .offset = {0, 0, shard[me].rows[0].first, 0},
                                    .count = {s->batch, heads, shard[me].rows[0].count, width},
                                    .labels = {"batch", "head", queries ? "query" : "key", "channel"},
                                    .data = gathered};
        sable_put(sink, &array, error);
    }
    sable_array_free(parcel[0]);
    sable_array_free(parcel[1]);
    sable_array_free(gathered);
    free(part);
    return error->code;
}

static int output(void *state, struct sable_context *context, struct sable_sink *sink, struct sable_error *error)
{
    const struct gradient *g = state;
    const struct sable_attention_shape *s = &g->shape;
    if (!put(g, context, sink, "dq", true, s->dim, g->dq, error) &&
        !put(g, context, sink, "dk", false, s->dim, g->dk, error))
        put(g, context, sink, "dv", false, s->dim_v, g->dv, error);
    return error->code;
}

static const struct sable_variant variants[] = {
    {"reference", "the textbook in double precision, row by row, one thread a rank, key heads over ranks",
     run_reference},
    {"sable", "tiles with recomputed weights, SIMD, all threads; the same bits for any layout", run},
    {0},
};

const struct sable_workload sable_attention_backward_workload = {
    .name = "attention/backward",
    .summary = "gradients dq, dk, dv of exact softmax attention, weights recomputed, fp32 or bf16",
    .source = "Vaswani et al. (2017); Dao et al., FlashAttention (2022), algorithm 4; Higham (2002)",
    .fom = {"multiply-adds", "GFLOP/s", 1e9},
    .params_size = sizeof(struct attention_params),
    .params = parameters,
    .classes = classes,
    .weak = weak,
    .variants = variants,
    .phases = phases,
    .faults = faults,
    .inputs = inputs,
    .outputs = outputs,
    .layout_invariant = true,
    .check = attention_check,
    .work = work,
    .adopt = attention_adopt,
    .setup = setup,
    .reset = reset,
    .verify = verify,
    .output = output,
    .free = free_state,
};
