/* attention/layer: a whole multi-head attention layer, fp32 or with x and weights in bf16: projections of x to q, k, v,
 * exact attention, and the output projection. It measures what a transformer's layer costs without its feed-forward
 * part: large matrix products around a small-tile computation, and how their sharing among ranks fits together.
 * docs/attention.md. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "attention_layer.h"
#include "attention_share.h"
#include "sable_array.h"

static const char *const strategies[] = {"heads", "ulysses", "ring", "allgather", NULL};
static const struct sable_param parameters[] = {
    ATTENTION_PARAMETERS(
        strategies,
        "keys summed one after another; it defines the bits, and is the unit in which ring and allgather share keys"),
    {"width", SABLE_INT, offsetof(struct layer_params, width), "", 0, 1e6, 0, 0, NULL, "0",
     "channels of x and y; 0: of the model (768, 4096, 2048, 1152)"},
    ATTENTION_TYPE("x and the weights"),
    {0},
};

static const struct sable_class classes[] = {
    {"T", "batch=2 heads=6 kv_heads=3 queries=77 dim=10 dim_v=11 leaf=16 width=37"},
    {"S", "model=gpt2 queries=1024"},
    {"A", "model=gpt2 queries=4096"},
    {"B", "model=llama3_8b queries=8192"},
    {"C", "model=llama3_8b queries=32768"},
    {"D", "model=llama3_8b queries=131072"},
    {"E", "model=llama3_8b queries=1048576"},
    {0}};
static const struct sable_growth weak[] = {{"batch", 1}, {0}};
static const char *const phases[] = {[PHASE_COMPUTE] = "attend",
                                     [PHASE_COMMUNICATE] = "communicate",
                                     [PHASE_WAIT] = "wait",
                                     [PHASE_PROJECT] = "project",
                                     NULL};
static const struct sable_fault faults[] = {
    [FAULT_SKIP_BLOCK - 1] = {"skip_block", "leave out the first leaf of keys"},
    [FAULT_STALE_KEYS - 1] = {"stale_keys", "attend to the first half of a rank's keys twice, as from a stale buffer"},
    [FAULT_WRONG_SCALE - 1] = {"wrong_scale", "scale the logits by 1 % too much"},
    [FAULT_WRONG_RESCALE - 1] = {"wrong_rescale",
                                 "raise the maximum of each row's first keys without rescaling their sums"},
    [FAULT_LOST_RANK - 1] = {"lost_rows", "leave the second half of each rank's rows of out 0"},
    [FAULT_FLIP_BIT - 1] = {"flip_bit", "flip a bit of one value of out of each rank's middle row"},
    [FAULT_NAN - 1] = {"nan", "make one value of out of each rank NaN"},
    [FAULT_LOST_HEAD - 1] = {"lost_head", "leave the last head out of the output projection"},
    [FAULT_LOST_CHANNEL - 1] = {"lost_channel", "leave the last channel of x out of the first head of q of each rank"},
    {0},
};
static const struct sable_field inputs[] = {
    {"x", "[B, S, W]", "input; its shape, and those of the weights, replace that of the parameters"},
    {"wq", "[H, W, D]", "weights of q: q[b, h, s] = x[b, s] wq[h]"},
    {"wk", "[Hk, W, D]", "of k"},
    {"wv", "[Hk, W, Dv]", "of v"},
    {"wo", "[H, Dv, W]", "of y: y[b, s] = sum over h of out[b, h, s] wo[h]"},
    {"causal, scale", "attributes of /", "instead of the parameters"},
    {0},
};
static const struct sable_field outputs[] = {
    {"y", "[B, S, W]", "output of the layer (--keep full)"},
    {0},
};

static int check(const void *params, struct sable_layout layout, struct sable_error *error)
{
    (void)layout;
    struct sable_attention_shape shape = layer_shape(params);
    return layer_check(&shape, layer_width(params), error);
}

/* Figure of merit: flops of the mathematics, of all ranks; key heads that two ranks project count once. */
static void work(const void *params, struct sable_layout layout, const void *state, struct sable_work *work)
{
    const struct layer *l = state;
    const struct sable_attention_shape shape = l ? l->a.shape : layer_shape(params), *s = &shape;
    const int strategy = l ? l->a.strategy : ((const struct layer_params *)params)->attention.strategy;
    const int64_t width = l ? l->width : layer_width(params);
    const bool bf16 = l ? l->bf16 : ((const struct layer_params *)params)->attention.bf16;
    const struct sable_attention_part part = attention_part_of(s, strategy, layout.rank, layout.ranks);
    const double dims = (double)(s->dim + s->dim_v), heads = (double)s->heads, kv = (double)s->kv_heads;
    const double pairs =
        (double)part.heads * (sable_attention_pairs(s, part.rows[0]) + sable_attention_pairs(s, part.rows[1]));
    const double all_pairs =
        (double)s->batch * heads * sable_attention_pairs(s, (struct sable_attention_rows){0, s->queries});
    const double rows = (double)s->batch * (double)s->queries, channels = (double)width;
    const double weights = channels * (heads * dims + kv * dims);
    const double mine = rows / layout.ranks, inputs = (bf16 ? 2 : 4) * (weights + mine * channels);
    double bytes, messages;
    layer_traffic(s, strategy, layout, &bytes, &messages);
    *work = (struct sable_work){
        .items = 2 * (rows * weights + dims * all_pairs) / layout.ranks,
        .flops_fp32 = layer_projection_flops(s, width, strategy, layout) + 2 * dims * pairs,
        .exponentials = pairs,
        .bytes = inputs + 4 * mine * (channels + 2 * (heads + kv) * dims),
        .pattern = SABLE_READ,
        .working_set = inputs + 4 * mine * (channels + (heads + kv) * dims),
        .bytes_network = bytes,
        .messages = messages,
        .memory = layer_memory(s, width, bf16, strategy, layout, l && l->a.reference),
    };
}

static void free_state(void *state)
{
    layer_free(state);
    free(state);
}

static int setup(const void *params, struct sable_context *context, void **state, struct sable_error *error)
{
    struct layer *l = calloc(1, sizeof *l);
    if (!l)
        sable_fail(error, SABLE_ENVIRONMENT, "attention/layer: out of memory");
    *state = l;
    if (sable_agree(context->comm, error))
        return error->code;
    return layer_make(params, context, strcmp(context->variant, "reference") == 0, l, error);
}

static int64_t y_size(const struct layer *l)
{
    return l->a.shape.batch * attention_rows_count(&l->result) * l->width;
}

/* What a run does not write must not be right by chance. */
static int reset(void *state, struct sable_context *context, struct sable_error *error)
{
    (void)context, (void)error;
    struct layer *l = state;
    for (int64_t i = 0; i < y_size(l); i++)
        l->y[i] = NAN;
    return SABLE_OK;
}

static int run(void *state, struct sable_context *context, struct sable_error *error)
{
    return layer_run(state, context, error);
}

static int run_reference(void *state, struct sable_context *context, struct sable_error *error)
{
    return layer_run_reference(state, context, error);
}

static int verify(void *state, struct sable_context *context, struct sable_checks *checks, struct sable_error *error)
{
    return layer_verify(state, context, checks, error);
}

/* y as contiguous rows: ring and allgather hold two pieces of each sequence. */
static int in_order(const struct layer *l, struct sable_context *context, float *y, struct sable_error *error)
{
    const int ranks = context->layout.ranks, me = context->layout.rank;
    const struct sable_attention_shape *s = &l->a.shape;
    struct sable_attention_part *from = calloc(2 * (size_t)ranks, sizeof *from), *to = from ? from + ranks : NULL;
    for (int r = 0; r < ranks && from; r++) {
        from[r] = layer_result_of(s, l->a.strategy, r, ranks);
        to[r] = layer_result_of(s, STRATEGY_HEADS, r, ranks);
    }
    float *parcel[2] = {sable_array(y_size(l), 1, sizeof(float)),
                        sable_array(s->batch * (to ? attention_rows_count(&to[me]) : 0), l->width, sizeof(float))};
    if (!from || !parcel[0] || !parcel[1] || !y)
        sable_fail(error, SABLE_ENVIRONMENT, "attention/layer: out of memory for the output");
    if (!sable_agree(context->comm, error))
        attention_move(context, l->width, from, to, l->y, y, parcel, error);
    sable_array_free(parcel[0]);
    sable_array_free(parcel[1]);
    free(from);
    return error->code;
}

static int output(void *state, struct sable_context *context, struct sable_sink *sink, struct sable_error *error)
{
    const struct layer *l = state;
    const struct sable_attention_shape *s = &l->a.shape;
    const struct sable_attention_part held =
        layer_result_of(s, STRATEGY_HEADS, context->layout.rank, context->layout.ranks);
    float *y = sable_array(s->batch * held.rows[0].count, l->width, sizeof *y);
    if (!in_order(l, context, y, error)) {
        const struct sable_array array = {.name = "y",
                                          .unit = "",
                                          .help = "output of the layer",
                                          .keep = SABLE_KEEP_FULL,
                                          .type = SABLE_F32,
                                          .dims = 3,
                                          .global = {s->batch, s->queries, l->width},
                                          .offset = {0, held.rows[0].first, 0},
                                          .count = {s->batch, held.rows[0].count, l->width},
                                          .labels = {"batch", "token", "channel"},
                                          .data = y};
        sable_put(sink, &array, error);
    }
    sable_array_free(y);
    return error->code;
}

static const struct sable_variant variants[] = {
    {"reference", "the textbook in double precision, row by row, one thread a rank, heads over ranks", run_reference},
    {"sable", "products in tiles of packed weights around attention/prefill, all threads; the same bits", run},
    {0},
};

const struct sable_workload sable_attention_layer = {
    .name = "attention/layer",
    .summary = "a multi-head attention layer: projections, attention, output projection, fp32 or bf16",
    .source =
        "Vaswani et al. (2017), 3.2.2; Shoeybi et al., Megatron-LM (2019); Jacobs et al., DeepSpeed Ulysses (2023)",
    .fom = {"multiply-adds", "GFLOP/s", 1e9},
    .params_size = sizeof(struct layer_params),
    .params = parameters,
    .classes = classes,
    .weak = weak,
    .variants = variants,
    .phases = phases,
    .faults = faults,
    .inputs = inputs,
    .outputs = outputs,
    .layout_invariant = true,
    .check = check,
    .work = work,
    .adopt = layer_adopt,
    .setup = setup,
    .reset = reset,
    .verify = verify,
    .output = output,
    .free = free_state,
};
