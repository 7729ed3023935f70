/* attention/prefill: scaled dot-product attention of a whole sequence, forward: out and log-sum-exp. It measures
 * how near a core comes to its multiply-add limit when matrix products are interleaved with exponentials, and, over
 * ranks, an all-to-all, a ring or a gather of the keys. Mathematics, work model, parallel scheme: docs/attention.md. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "attention_share.h"
#include "sable_array.h"

static const char *const strategies[] = {"heads", "ulysses", "ring", "allgather", NULL};
static const struct sable_param parameters[] = {
    ATTENTION_PARAMETERS(
        strategies,
        "keys summed one after another; it defines the bits, and is the unit in which ring and allgather share keys"),
    ATTENTION_TYPE("q, k and v"),
    {0},
};

static const struct sable_class classes[] = {{"T", "batch=2 heads=6 kv_heads=3 queries=77 keys=131 dim=20 leaf=16"},
                                             {"S", "model=gpt2 queries=1024"},
                                             {"A", "model=gpt2 queries=4096"},
                                             {"B", "model=llama3_8b queries=8192"},
                                             {"C", "model=llama3_8b queries=32768"},
                                             {"D", "model=llama3_8b queries=131072"},
                                             {"E", "model=llama3_8b queries=1048576"},
                                             {0}};
static const struct sable_growth weak[] = {{"batch", 1}, {0}};
static const char *const phases[] = {
    [PHASE_COMPUTE] = "compute", [PHASE_COMMUNICATE] = "communicate", [PHASE_WAIT] = "wait", NULL};
static const struct sable_fault faults[] = {
    [FAULT_SKIP_BLOCK - 1] = {"skip_block", "leave out the first leaf of keys"},
    [FAULT_STALE_KEYS - 1] = {"stale_keys", "attend to the first half of a rank's keys twice, as from a stale buffer"},
    [FAULT_WRONG_SCALE - 1] = {"wrong_scale", "scale the logits by 1 % too much"},
    [FAULT_WRONG_RESCALE - 1] = {"wrong_rescale",
                                 "raise the maximum of each row's first keys without rescaling their sums"},
    [FAULT_LOST_RANK - 1] = {"lost_rows", "leave the second half of each rank's rows 0"},
    [FAULT_FLIP_BIT - 1] = {"flip_bit", "flip a bit of one value of each rank's middle row"},
    [FAULT_NAN - 1] = {"nan", "make one value of each rank NaN"},
    {0},
};
static const struct sable_field inputs[] = {
    {"q", "[B, H, Sq, D]", "queries; the shape replaces that of the parameters"},
    {"k", "[B, Hk, Sk, D]", "keys"},
    {"v", "[B, Hk, Sk, Dv]", "values"},
    {"causal, scale", "attributes of /", "instead of the parameters"},
    {0},
};
static const struct sable_field outputs[] = {
    {"out", "[B, H, Sq, Dv]", "attention (--keep full)"},
    {"lse", "[B, H, Sq]", "natural logarithm of the sum of exponentials; -inf where nothing is seen (--keep full)"},
    {0},
};

/* 2·dim flops for a logit, 2·dim_v for its value. Memory: each array once. */
static void work(const void *params, struct sable_layout layout, const void *state, struct sable_work *work)
{
    const struct attention_rank *a = state;
    const struct sable_attention_shape shape = a ? a->shape : attention_shape(params), *s = &shape;
    int strategy = a ? a->strategy : ((const struct attention_params *)params)->strategy;
    struct sable_attention_part part = attention_part_of(s, strategy, layout.rank, layout.ranks);
    int64_t first, kv;
    attention_kv_of(s, &part, &first, &kv);
    double pairs =
        (double)part.heads * (sable_attention_pairs(s, part.rows[0]) + sable_attention_pairs(s, part.rows[1]));
    double rows = (double)part.heads * (double)attention_rows_count(&part), keys = (double)kv * (double)s->keys;
    double traffic, messages, dims = (double)(s->dim + s->dim_v), words = (double)attention_words(s, s->dim);
    double bytes = 4 * (rows * (words + (double)s->dim_v + 1) + keys * (words + (double)attention_words(s, s->dim_v)));
    attention_traffic(s, strategy, layout, &traffic, &messages);
    *work = (struct sable_work){
        .items = 2 * dims * pairs,
        .flops_fp32 = 2 * dims * pairs,
        .exponentials = pairs,
        .bytes = bytes,
        .pattern = SABLE_READ,
        .working_set = bytes,
        .bytes_network = traffic,
        .messages = messages,
        .memory = attention_memory(s, strategy, layout, a && a->reference) +
                  (a && a->peer ? sable_attention_rows_memory(layout.threads, 1, s->keys) : 0),
    };
}

static void free_state(void *state)
{
    attention_free(state);
    free(state);
}

static int setup(const void *params, struct sable_context *context, void **state, struct sable_error *error)
{
    struct attention_rank *a = calloc(1, sizeof *a);
    if (!a)
        sable_fail(error, SABLE_ENVIRONMENT, "attention/prefill: out of memory");
    *state = a;
    if (sable_agree(context->comm, error))
        return error->code;
    if (attention_make(params, context, strcmp(context->variant, "sable") != 0, a, error))
        return error->code;
    return attention_open_peer(context, &a->shape, 0, NULL, &a->peer, error);
}

/* What a run does not write must not be right by chance. */
static int reset(void *state, struct sable_context *context, struct sable_error *error)
{
    (void)context, (void)error;
    float *out, *lse;
    struct sable_attention_part part = attention_result(state, &out, &lse);
    int64_t rows = part.heads * attention_rows_count(&part);
    for (int64_t i = 0; i < rows * ((struct attention_rank *)state)->shape.dim_v; i++)
        out[i] = NAN;
    for (int64_t i = 0; i < rows; i++)
        lse[i] = NAN;
    return SABLE_OK;
}

static int run(void *state, struct sable_context *context, struct sable_error *error)
{
    return attention_run(state, context, error);
}

static int run_reference(void *state, struct sable_context *context, struct sable_error *error)
{
    return attention_run_reference(state, context, error);
}

#ifdef ATTENTION_HAS_PEERS
static int run_by_rows(void *state, struct sable_context *context, struct sable_error *error)
{
    return attention_run_by_rows(state, context, error);
}
#endif

/* A peer may sum a row's terms one after another, not by leaves: its bound has as many roundings. */
static int verify(void *state, struct sable_context *context, struct sable_checks *checks, struct sable_error *error)
{
    struct attention_rank a = *(struct attention_rank *)state;
    a.shape.leaf = a.peer && a.shape.keys > a.shape.leaf ? a.shape.keys : a.shape.leaf;
    return attention_verify(&a, context, checks, error);
}

static int output(void *state, struct sable_context *context, struct sable_sink *sink, struct sable_error *error)
{
    const struct attention_rank *a = state;
    const struct sable_attention_shape *s = &a->shape;
    float *out, *lse;
    struct sable_attention_part shard = attention_shard_of(s, context->layout.rank, context->layout.ranks);
    if (!attention_gather_result(a, context, &out, &lse, error)) {
        struct sable_array array = {.name = "out",
                                    .unit = "",
                                    .help = "attention",
                                    .keep = SABLE_KEEP_FULL,
                                    .type = SABLE_F32,
                                    .dims = 4,
                                    .global = {s->batch, s->heads, s->queries, s->dim_v},
                                    .offset = {0, 0, shard.rows[0].first, 0},
                                    .count = {s->batch, s->heads, shard.rows[0].count, s->dim_v},
                                    .labels = {"batch", "head", "query", "channel"},
                                    .data = out};
        struct sable_array sums = array;
        sums.name = "lse", sums.help = "log of the sum of exponentials", sums.dims = 3, sums.data = lse;
        if (!sable_put(sink, &array, error))
            sable_put(sink, &sums, error);
    }
    sable_array_free(out);
    sable_array_free(lse);
    return error->code;
}

static const struct sable_variant variants[] = {
    {"reference", "the textbook in double precision, row by row, one thread a rank, heads over ranks", run_reference},
    {"sable", "tiles with a running maximum, SIMD over queries, all threads; the same bits for any layout", run},
    ATTENTION_PEERS(run_by_rows, "heads over ranks"){0},
};

const struct sable_workload sable_attention_prefill = {
    .name = "attention/prefill",
    .summary = "exact softmax attention of a whole sequence, forward, fp32 or bf16",
    .source = "Vaswani et al. (2017); Dao et al., FlashAttention (2022); Liu et al., Ring Attention (2023)",
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
