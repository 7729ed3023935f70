/* attention/decode: one query a head over a long cache of keys and values, fp32 or bf16, as for each token that a
 * transformer writes. It measures how much of the memory's read bandwidth is left when each row that is loaded is
 * multiplied with the queries that share it, and, over ranks, a tree of partial results. Mathematics, work model,
 * parallel scheme: docs/attention.md. */
#include "attention_decode.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "sable_array.h"

static const char *const strategies[] = {"heads", "tree", NULL};
static const struct sable_param parameters[] = {
    ATTENTION_MODEL,
    {"batch", SABLE_INT, ATTENTION_PARAM(batch), "", 1, 1e9, 0, 0, NULL, "1",
     "sequences, each with a cache of its own"},
    ATTENTION_HEADS,
    {"keys", SABLE_INT, ATTENTION_PARAM(keys), "tokens", 1, 1e12, 0, 0, NULL, "8192", "length of the cache"},
    ATTENTION_DIMS,
    ATTENTION_LEAF("256",
                   "keys of a leaf; it defines the bits, and is the unit in which threads and ranks share the cache"),
    ATTENTION_STRATEGY(strategies, "tree",
                       "how ranks share the cache: whole key heads, or keys, with a tree of partial results"),
    ATTENTION_TYPE("q, k and v"),
    {0},
};

static const struct sable_class classes[] = {{"T", "batch=2 heads=6 kv_heads=2 keys=733 dim=20 dim_v=13 leaf=16"},
                                             {"S", "model=gpt2 keys=65536"},
                                             {"A", "model=llama3_8b keys=131072"},
                                             {"B", "model=llama3_8b keys=131072 batch=16"},
                                             {"C", "model=llama3_8b keys=1048576 batch=16"},
                                             {"D", "model=llama3_8b keys=1048576 batch=128"},
                                             {"E", "model=llama3_8b keys=1048576 batch=1024"},
                                             {0}};
static const struct sable_growth weak[] = {{"keys", 1}, {0}};
static const char *const phases[] = {
    [PHASE_COMPUTE] = "compute", [PHASE_COMMUNICATE] = "communicate", [PHASE_WAIT] = "wait", NULL};
static const struct sable_fault faults[] = {
    [DECODE_SKIP_BLOCK - 1] = {"skip_block", "leave out the first leaf of keys"},
    [DECODE_STALE_KEYS - 1] = {"stale_keys", "attend to the first half of a rank's keys twice, as to a stale cache"},
    [DECODE_WRONG_SCALE - 1] = {"wrong_scale", "scale the logits by 1 % too much"},
    [DECODE_WRONG_RESCALE - 1] = {"wrong_rescale", "join partial results without rescaling them"},
    [DECODE_LOST_ROWS - 1] = {"lost_rows", "leave the second half of each rank's heads 0"},
    [DECODE_FLIP_BIT - 1] = {"flip_bit", "flip a bit of one value of each rank's middle head"},
    [DECODE_NAN - 1] = {"nan", "make one value of each rank NaN"},
    {0},
};
static const struct sable_field inputs[] = {
    {"q", "[B, H, 1, D]", "queries; the shape replaces that of the parameters"},
    {"k", "[B, Hk, Sk, D]", "keys"},
    {"v", "[B, Hk, Sk, Dv]", "values"},
    {"causal, scale", "attributes of /", "instead of the parameter; causal changes nothing"},
    {0},
};
static const struct sable_field outputs[] = {
    {"out", "[B, H, 1, Dv]", "attention (--keep full)"},
    {"lse", "[B, H, 1]", "natural logarithm of the sum of exponentials (--keep full)"},
    {0},
};

static void work(const void *params, struct sable_layout layout, const void *state, struct sable_work *work)
{
    const struct decode_rank *d = state;
    const struct attention_params *p = params;
    const struct sable_attention_shape shape = d ? d->base.shape : attention_shape(p), *s = &shape;
    const int strategy = d ? d->strategy : p->strategy;
    const struct sable_attention_decode_part part = decode_part_of(s, strategy, layout.rank, layout.ranks);
    const struct decode_extents e = decode_extents_of(s, strategy, &part, layout);
    const double dims = (double)(s->dim + s->dim_v), words = (double)attention_words(s, s->dim);
    const double cache = 4 * (words + (double)attention_words(s, s->dim_v)) * (double)e.cache;
    const double pairs = (double)e.cache * (double)decode_group(s);
    double bytes = 0, messages = 0;
    if (strategy == DECODE_TREE)
        decode_traffic(s, layout, &bytes, &messages);
    *work = (struct sable_work){
        .items = cache,
        .flops_fp32 = 2 * dims * pairs,
        .exponentials = pairs,
        .bytes = cache,
        .pattern = SABLE_READ,
        .working_set = cache,
        .bytes_network = bytes,
        .messages = messages,
        .memory = cache + 4 * ((double)e.rows * (words + (double)s->dim_v + 1) + (double)e.parcel) +
                  sable_attention_decode_memory(s, &part, layout.threads) +
                  (double)s->keys * (4 * dims + 8.0 * layout.threads), /* verification: one head, logits */
    };
}

static void free_state(void *state)
{
    struct decode_rank *d = state;
    if (!d)
        return;
    decode_free(d);
    free(d);
}

/* What a run does not write must not be right by chance. */
static int reset(void *state, struct sable_context *context, struct sable_error *error)
{
    (void)context, (void)error;
    struct decode_rank *d = state;
    const int64_t rows = d->part.kv_heads * decode_group(&d->base.shape);
    for (int64_t i = 0; i < rows * d->base.shape.dim_v; i++)
        d->base.out[i] = NAN;
    for (int64_t i = 0; i < rows; i++)
        d->base.lse[i] = NAN;
    return SABLE_OK;
}

static int setup(const void *params, struct sable_context *context, void **state, struct sable_error *error)
{
    struct decode_rank *d = calloc(1, sizeof *d);
    *state = d;
    if (!d)
        sable_fail(error, SABLE_ENVIRONMENT, "attention/decode: out of memory");
    if (sable_agree(context->comm, error))
        return error->code;
    return decode_make(params, context, strcmp(context->variant, "reference") == 0, d, error);
}

static int run(void *state, struct sable_context *context, struct sable_error *error)
{
    return decode_run(state, context, error);
}

static int run_reference(void *state, struct sable_context *context, struct sable_error *error)
{
    return decode_run_reference(state, context, error);
}

/* By tree: do all ranks have the same result? A sum of its words tells. */
static int check_copies(const struct decode_rank *d, struct sable_context *context, struct sable_checks *checks,
                        struct sable_error *error)
{
    const int64_t rows = d->base.shape.batch * d->base.shape.heads;
    uint64_t sum[2] = {0}, least[2];
    for (int64_t i = 0; i < rows * d->base.shape.dim_v; i++) {
        uint32_t word;
        memcpy(&word, &d->base.out[i], sizeof word);
        sum[0] = sum[0] * 31 + word;
    }
    sum[1] = ~sum[0]; /* its least is the largest sum */
    if (sable_check_mpi(MPI_Allreduce(sum, least, 2, MPI_UINT64_T, MPI_MIN, context->comm), "MPI_Allreduce", error))
        return error->code;
    sable_check(checks, "ranks with another result", least[0] != ~least[1], 0, 0);
    return SABLE_OK;
}

/* As attention/prefill with one query, but for its second computation, whose sums have another order. */
static int verify(void *state, struct sable_context *context, struct sable_checks *checks, struct sable_error *error)
{
    struct decode_rank *d = state;
    const struct sable_attention_rows own = decode_own_heads(d, context->layout.rank);
    const int64_t before = own.first - d->part.kv_head * decode_group(&d->base.shape);
    struct attention_rank part = d->base;
    part.reference = true;
    part.strategy = STRATEGY_HEADS;
    part.part = (struct sable_attention_part){own.first, own.count, {{0, 1}, {1, 0}}};
    part.out += before * d->base.shape.dim_v;
    part.lse += before;
    if (d->strategy == DECODE_TREE && check_copies(d, context, checks, error))
        return error->code;
    return attention_verify(&part, context, checks, error);
}

/* The heads of a rank are no block of [B, H] where they begin or end amid a batch: rank 0 gathers them. */
static int output(void *state, struct sable_context *context, struct sable_sink *sink, struct sable_error *error)
{
    const struct decode_rank *d = state;
    const struct sable_attention_shape *s = &d->base.shape;
    float *out, *lse;
    if (!decode_gather_result(d, context, &out, &lse, error)) {
        const int64_t batches = context->layout.rank == 0 ? s->batch : 0;
        struct sable_array array = {.name = "out",
                                    .unit = "",
                                    .help = "attention",
                                    .keep = SABLE_KEEP_FULL,
                                    .type = SABLE_F32,
                                    .dims = 4,
                                    .global = {s->batch, s->heads, 1, s->dim_v},
                                    .count = {batches, s->heads, 1, s->dim_v},
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
    {"reference", "the textbook in double precision, one thread a rank, heads over ranks", run_reference},
    {"sable", "leaves of the cache as four streams, SIMD over channels, all threads, a tree of partial results", run},
    {0},
};

const struct sable_workload sable_attention_decode_workload = {
    .name = "attention/decode",
    .summary = "exact softmax attention of one new token to a long cache, fp32 or bf16",
    .source = "Dao et al., Flash-Decoding (2023); Shyam et al., Tree Attention (2024)",
    .fom = {"bytes of the cache", "GB/s", 1e9},
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
