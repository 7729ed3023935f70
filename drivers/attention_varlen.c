/* attention/varlen: attention of sequences of different lengths, packed one after another without padding, forward,
 * as models are trained and served. It measures what is left of the multiply-add limit when lengths differ, and
 * how evenly they are shared. Mathematics, work model, parallel scheme: docs/attention.md. */
#include "attention_varlen.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "sable_array.h"

static const char *const strategies[] = {"heads", "sequences", NULL};
static const char *const distributions[] = {"fixed", "uniform", "geometric", "zipf", NULL};
static const struct sable_param parameters[] = {
    ATTENTION_MODEL,
    {"mask", SABLE_CHOICE, ATTENTION_PARAM(causal), "", 0, 0, 0, 0, attention_masks, "causal",
     "causal: query r of a sequence sees its keys up to r + keys - queries"},
    {"sequences", SABLE_INT, ATTENTION_PARAM(batch), "", 1, 1e7, 0, 0, NULL, "16", "number of sequences"},
    {"lengths", SABLE_CHOICE, offsetof(struct varlen_params, lengths), "", 0, 0, 0, 0, distributions, "uniform",
     "of the sequences: all the mean; from 0 to twice the mean; geometric from 0 on; n-th longest 1/n of the longest"},
    {"queries", SABLE_INT, ATTENTION_PARAM(queries), "tokens", 1, 1e9, 0, 0, NULL, "512", "mean length of a sequence"},
    {"keys", SABLE_INT, ATTENTION_PARAM(keys), "tokens", 0, 1e9, 0, 0, NULL, "0",
     "mean length of its keys, drawn apart; 0: each as many as queries"},
    ATTENTION_HEADS,
    ATTENTION_DIMS,
    ATTENTION_LEAF("512", "keys summed one after another; it defines the bits"),
    ATTENTION_STRATEGY(strategies, "heads",
                       "what ranks share: heads of all sequences, or whole sequences, of about equal work"),
    ATTENTION_TYPE("q, k and v"),
    {0},
};

static const struct sable_class classes[] = {
    {"T", "sequences=26 lengths=geometric queries=35 keys=50 heads=6 kv_heads=3 dim=20 dim_v=13 leaf=16"},
    {"S", "model=gpt2 sequences=16 queries=512"},
    {"A", "model=gpt2 sequences=64 queries=1024"},
    {"B", "model=llama3_8b sequences=64 queries=2048"},
    {"C", "model=llama3_8b sequences=256 queries=4096"},
    {"D", "model=llama3_8b sequences=1024 queries=8192"},
    {"E", "model=llama3_8b sequences=8192 queries=8192"},
    {0}};
static const struct sable_growth weak[] = {{"sequences", 1}, {0}};
static const char *const phases[] = {"compute", NULL};
static const struct sable_fault faults[] = {
    [FAULT_SKIP_BLOCK - 1] = {"skip_block", "leave out the first leaf of keys of each sequence"},
    [FAULT_STALE_KEYS - 1] = {"stale_keys", "attend to the first half of a rank's keys twice, as from a stale buffer"},
    [FAULT_WRONG_SCALE - 1] = {"wrong_scale", "scale the logits by 1 % too much"},
    [FAULT_WRONG_RESCALE - 1] = {"wrong_rescale",
                                 "raise the maximum of each row's first keys without rescaling their sums"},
    [FAULT_LOST_RANK - 1] = {"lost_rows", "leave the second half of each rank's rows 0"},
    [FAULT_FLIP_BIT - 1] = {"flip_bit", "flip a bit of one value of each rank's middle row"},
    [FAULT_NAN - 1] = {"nan", "make one value of each rank NaN"},
    [VARLEN_LEAKED_KEY - 1] = {"leaked_key", "let each sequence see the first key of the next"},
    [VARLEN_TOP_LEFT - 1] = {"top_left", "use no more keys than queries, as with a mask aligned at the top left"},
    {0},
};
static const struct sable_field inputs[] = {
    {"q", "[Tq, H, D]", "packed queries; the shape replaces that of the parameters"},
    {"k", "[Tk, Hk, D]", "packed keys"},
    {"v", "[Tk, Hk, Dv]", "packed values"},
    {"cu_seqlens_q", "[sequences + 1]", "where sequences begin in q, and the end; needed with any of the arrays"},
    {"cu_seqlens_k", "[sequences + 1]", "the same of k and v; if absent, that of q"},
    {"causal, scale", "attributes of /", "instead of the parameters"},
    {0},
};
static const struct sable_field outputs[] = {
    {"out", "[Tq, H, Dv]", "attention (--keep full)"},
    {"lse", "[Tq, H]", "natural logarithm of the sum of exponentials; -inf where nothing is seen (--keep full)"},
    {"cu_seqlens_q", "[sequences + 1]", "where sequences begin in q, and the end"},
    {"cu_seqlens_k", "[sequences + 1]", "the same of k and v"},
    {0},
};

/* ---- Work model ---- */

static struct sable_attention_shape totals(const struct varlen_params *p, const struct varlen_batch *b)
{
    struct sable_attention_shape s = attention_shape(&p->base);
    s.batch = 1, s.queries = b->queries, s.keys = b->keys;
    return s;
}

static int check(const void *params, struct sable_layout layout, struct sable_error *error)
{
    (void)layout;
    struct varlen_batch batch = {0};
    if (!varlen_draw_batch(params, &batch, error)) {
        const struct sable_attention_shape shape = totals(params, &batch);
        attention_check_shape(&shape, error);
    }
    varlen_free_batch(&batch);
    return error->code;
}

/* The rows and the heads that a file has; of its lengths, the most keys. */
static int adopt(void *params, struct sable_input *input, struct sable_error *error)
{
    struct varlen_params *p = params;
    struct varlen_batch batch = {0};
    struct sable_attention_shape shape = attention_shape(&p->base);
    if (!varlen_read_batch(input, p, &shape, &batch, error)) {
        shape.batch = 1, shape.queries = batch.queries, shape.keys = batch.keys;
        if (!attention_check_shape(&shape, error)) {
            attention_adopt_shape(&shape, &p->base);
            p->base.batch = batch.sequences;
            p->rows[0] = batch.queries, p->rows[1] = batch.keys, p->most_keys = batch.most_keys;
        }
    }
    varlen_free_batch(&batch);
    return error->code;
}

/* As attention/prefill: 2·dim flops for a logit, 2·dim_v for its value; each array once. */
static void fill_work(const struct sable_attention_shape *s, const struct varlen_part *p, struct sable_layout layout,
                      int64_t all_rows, int strategy, struct sable_work *work)
{
    const double dims = (double)(s->dim + s->dim_v), heads = (double)p->heads;
    const double rows = heads * (double)p->queries, keys = (double)p->kv_count * (double)p->keys;
    const double share = (double)attention_cut(all_rows, 1, layout.rank, layout.ranks).count * (double)s->heads;
    double pairs = 0;
    for (int64_t i = 0; i < p->sequences && p->sequence; i++)
        pairs += heads * varlen_pairs(s, &p->sequence[i]);
    const double words = (double)attention_words(s, s->dim), words_v = (double)attention_words(s, s->dim_v);
    const double bytes = 4 * (rows * (words + (double)s->dim_v + 1) + keys * (words + words_v));
    const double moved =
        strategy == VARLEN_SEQUENCES ? 4 * (rows * (double)s->dim_v + share * (2 * (double)s->dim_v + 1)) : 0;
    const double proof = (double)p->most_keys * (4 * dims + 8.0 * layout.threads);
    *work = (struct sable_work){
        .items = 2 * dims * pairs,
        .flops_fp32 = 2 * dims * pairs,
        .exponentials = pairs,
        .bytes = bytes,
        .pattern = SABLE_READ,
        .working_set = bytes,
        .memory = bytes + (moved > proof ? moved : proof) +
                  sable_attention_packed_memory(s, layout.threads, p->sequences, p->most_keys),
    };
}

/* From a file, whose lengths are not looked at here: by `sequences`, a rank may hold all rows. */
static struct varlen_part part_of_file(const struct varlen_params *p, const struct sable_attention_shape *s,
                                       struct sable_layout layout)
{
    const struct sable_attention_rows all = {0, s->heads};
    const struct sable_attention_rows heads =
        p->base.strategy == VARLEN_HEADS ? attention_cut(s->heads, 1, layout.rank, layout.ranks) : all;
    struct varlen_part part = {.head = heads.first,
                               .heads = heads.count,
                               .sequences = p->base.batch,
                               .queries = p->rows[0],
                               .keys = p->rows[1],
                               .most_keys = p->most_keys};
    const struct sable_attention_part some = {part.head, part.heads, {{0, 0}, {0, 0}}};
    attention_kv_of(s, &some, &part.kv_first, &part.kv_count);
    return part;
}

static void work(const void *params, struct sable_layout layout, const void *state, struct sable_work *work)
{
    const struct varlen_rank *a = state;
    const struct varlen_params *p = params;
    struct varlen_batch batch = {0};
    struct varlen_part part = {0};
    struct sable_error error = {0};
    struct sable_attention_shape s = attention_shape(&p->base);
    if (a) {
        fill_work(&a->shape, &a->part, layout, a->batch.queries, a->strategy, work);
        if (a->peer)
            work->memory += sable_attention_rows_memory(layout.threads, a->part.sequences, a->part.most_keys + 1);
    } else if (p->rows[0]) {
        part = part_of_file(p, &s, layout);
        fill_work(&s, &part, layout, p->rows[0], p->base.strategy, work);
    } else if (!varlen_draw_batch(p, &batch, &error)) {
        s = totals(p, &batch);
        if (varlen_part_of(&s, &batch, p->base.strategy, layout.rank, layout.ranks, &part))
            fill_work(&s, &part, layout, batch.queries, p->base.strategy, work);
    }
    work->memory += 4.0 * (double)(a ? a->batch.sequences : p->base.batch) * sizeof(struct sable_attention_sequence);
    varlen_free_part(&part);
    varlen_free_batch(&batch);
}

/* ---- The run ---- */

static void free_state(void *state)
{
    if (state)
        varlen_free(state);
    free(state);
}

static int setup(const void *params, struct sable_context *context, void **state, struct sable_error *error)
{
    struct varlen_rank *a = calloc(1, sizeof *a);
    *state = a;
    if (!a)
        sable_fail(error, SABLE_ENVIRONMENT, "attention/varlen: out of memory");
    if (sable_agree(context->comm, error))
        return error->code;
    return varlen_make(params, context, strcmp(context->variant, "sable") != 0, a, error);
}

/* What a run does not write must not be right by chance. */
static int reset(void *state, struct sable_context *context, struct sable_error *error)
{
    (void)context, (void)error;
    struct varlen_rank *a = state;
    const int64_t rows = a->part.heads * a->part.queries;
    for (int64_t i = 0; i < rows * a->shape.dim_v; i++)
        a->out[i] = NAN;
    for (int64_t i = 0; i < rows; i++)
        a->lse[i] = NAN;
    return SABLE_OK;
}

static int run(void *state, struct sable_context *context, struct sable_error *error)
{
    return varlen_run(state, context, error);
}

static int run_reference(void *state, struct sable_context *context, struct sable_error *error)
{
    return varlen_run_reference(state, context, error);
}

#ifdef ATTENTION_HAS_PEERS
static int run_by_rows(void *state, struct sable_context *context, struct sable_error *error)
{
    return varlen_run_by_rows(state, context, error);
}
#endif

/* A peer may sum a row's terms one after another, not by leaves: its bound has as many roundings. */
static int verify(void *state, struct sable_context *context, struct sable_checks *checks, struct sable_error *error)
{
    struct varlen_rank a = *(struct varlen_rank *)state;
    a.shape.leaf = a.peer && a.batch.most_keys > a.shape.leaf ? a.batch.most_keys : a.shape.leaf;
    return varlen_verify(&a, context, checks, error);
}

/* ---- Outputs ---- */

static int put_places(const struct varlen_batch *b, bool keys, struct sable_sink *sink, struct sable_error *error)
{
    int64_t *cu = sable_array(b->sequences + 1, 1, sizeof *cu);
    if (!cu)
        return sable_fail(error, SABLE_ENVIRONMENT, "attention/varlen: out of memory for the outputs");
    for (int64_t i = 0; i < b->sequences; i++)
        cu[i] = keys ? b->sequence[i].key : b->sequence[i].query;
    cu[b->sequences] = keys ? b->keys : b->queries;
    const struct sable_array array = {.name = keys ? "cu_seqlens_k" : "cu_seqlens_q",
                                      .unit = "",
                                      .help = "where sequences begin, and the end",
                                      .no_digest = true,
                                      .type = SABLE_I64,
                                      .dims = 1,
                                      .global = {b->sequences + 1},
                                      .labels = {"sequence"},
                                      .data = cu};
    sable_put_whole(sink, &array, error);
    sable_array_free(cu);
    return error->code;
}

static int output(void *state, struct sable_context *context, struct sable_sink *sink, struct sable_error *error)
{
    const struct varlen_rank *a = state;
    const struct sable_attention_shape *s = &a->shape;
    const struct sable_attention_rows share =
        attention_cut(a->batch.queries, 1, context->layout.rank, context->layout.ranks);
    float *out = NULL, *lse = NULL;
    struct sable_array array = {.name = "out",
                                .unit = "",
                                .help = "attention",
                                .keep = SABLE_KEEP_FULL,
                                .type = SABLE_F32,
                                .dims = 3,
                                .global = {a->batch.queries, s->heads, s->dim_v},
                                .labels = {"token", "head", "channel"}};
    struct sable_array sums = array;
    sums.name = "lse", sums.help = "log of the sum of exponentials", sums.dims = 2;
    if (a->strategy == VARLEN_HEADS) {
        array.offset[1] = sums.offset[1] = a->part.head;
        array.count[0] = sums.count[0] = a->part.queries, array.count[1] = sums.count[1] = a->part.heads;
        array.stride[0] = s->dim_v, array.stride[1] = a->part.queries * s->dim_v, array.stride[2] = 1;
        sums.stride[0] = 1, sums.stride[1] = a->part.queries;
        array.data = a->out, sums.data = a->lse;
    } else if (!varlen_gather_rows(a, context, &out, &lse, error)) {
        array.offset[0] = sums.offset[0] = share.first;
        array.count[0] = sums.count[0] = share.count, array.count[1] = sums.count[1] = s->heads;
        array.data = out, sums.data = lse;
    }
    array.count[2] = s->dim_v;
    if (!error->code && !sable_put(sink, &array, error) && !sable_put(sink, &sums, error) &&
        !put_places(&a->batch, false, sink, error))
        put_places(&a->batch, true, sink, error);
    sable_array_free(out);
    sable_array_free(lse);
    return error->code;
}

static const struct sable_variant variants[] = {
    {"reference", "the textbook in double precision, row by row, one thread a rank", run_reference},
    {"sable", "prefill's tiles for each sequence, the longest first, all threads; the same bits for any layout", run},
    ATTENTION_PEERS(run_by_rows, "ranks as `sable`"){0},
};

const struct sable_workload sable_attention_varlen = {
    .name = "attention/varlen",
    .summary = "exact softmax attention of packed sequences of different lengths, forward, fp32 or bf16",
    .source = "Dao et al., FlashAttention (2022) and its varlen interface; Vaswani et al. (2017)",
    .fom = {"multiply-adds", "GFLOP/s", 1e9},
    .params_size = sizeof(struct varlen_params),
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
    .adopt = adopt,
    .setup = setup,
    .reset = reset,
    .verify = verify,
    .output = output,
    .free = free_state,
};
