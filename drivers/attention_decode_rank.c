/* One rank's part of attention/decode: who holds what, the tree over ranks, making and freeing. The workload itself is
 * in attention_decode.c.
 *
 *   heads   a rank computes whole key heads: nothing is sent
 *   tree    a rank holds a range of the keys of all heads; partial results go up a binomial tree of ranks, the result
 *           goes down (Shyam et al., Tree Attention, 2024) */
#include "attention_decode.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "attention_share.h"
#include "sable_array.h"

/* ---- Who holds what ---- */

int64_t decode_group(const struct sable_attention_shape *s)
{
    return s->heads / s->kv_heads;
}

struct sable_attention_decode_part decode_part_of(const struct sable_attention_shape *s, int strategy, int rank,
                                                  int ranks)
{
    const int64_t heads = s->batch * s->kv_heads;
    if (strategy == DECODE_TREE)
        return (struct sable_attention_decode_part){0, heads, attention_cut(s->keys, s->leaf, rank, ranks)};
    struct sable_attention_rows own = attention_cut(heads, 1, rank, ranks);
    return (struct sable_attention_decode_part){own.first, own.count, {0, s->keys}};
}

/* ---- The tree over ranks ---- */

/* Keys that the ranks [rank, end) hold. */
static struct sable_attention_rows keys_of_ranks(const struct sable_attention_shape *s, int rank, int end, int ranks)
{
    end = end < ranks ? end : ranks;
    struct sable_attention_rows first = attention_cut(s->keys, s->leaf, rank, ranks);
    struct sable_attention_rows last = attention_cut(s->keys, s->leaf, end - 1, ranks);
    return (struct sable_attention_rows){first.first, last.first + last.count - first.first};
}

int64_t decode_result_floats(const struct sable_attention_shape *s)
{
    return s->batch * s->heads * (s->dim_v + 1);
}

/* What rank `rank` sends upwards with one message (or not), and how often it hands the result down. */
void decode_traffic(const struct sable_attention_shape *s, struct sable_layout layout, double *bytes, double *messages)
{
    *bytes = *messages = 0;
    for (int step = 1; step < layout.ranks; step *= 2) {
        if (layout.rank & step) {
            int64_t floats = sable_attention_decode_floats(
                s, s->batch * s->kv_heads, keys_of_ranks(s, layout.rank, layout.rank + step, layout.ranks));
            *bytes += 4 * (double)floats;
            *messages += floats > 0;
            return;
        }
        if (layout.rank + step < layout.ranks) {
            *bytes += 4 * (double)decode_result_floats(s);
            *messages += 2;
        }
    }
}

static int send_floats(struct sable_context *context, const float *from, int64_t floats, int to,
                       struct sable_error *error)
{
    sable_count_sent(context, (size_t)floats * sizeof *from);
    return sable_check_mpi(MPI_Send(from, (int)floats, MPI_FLOAT, to, 0, context->comm), "MPI_Send", error);
}

static int receive_floats(struct sable_context *context, float *to, int64_t floats, int from, struct sable_error *error)
{
    return sable_check_mpi(MPI_Recv(to, (int)floats, MPI_FLOAT, from, 0, context->comm, MPI_STATUS_IGNORE), "MPI_Recv",
                           error);
}

/* Rows of nodes go up a binomial tree to rank 0, in ⌈log2 ranks⌉ steps; returns the step at which this rank sent. */
static int go_up(struct decode_rank *d, struct sable_context *context, int *sent_at, struct sable_error *error)
{
    const struct sable_attention_shape *s = &d->base.shape;
    const int rank = context->layout.rank, ranks = context->layout.ranks;
    int step = 1;
    for (; step < ranks && !(rank & step); step *= 2) {
        if (rank + step >= ranks)
            continue;
        struct sable_attention_rows keys = keys_of_ranks(s, rank + step, rank + 2 * step, ranks);
        int64_t floats = sable_attention_decode_floats(s, d->part.kv_heads, keys);
        if (floats == 0)
            continue;
        sable_phase(context, PHASE_WAIT);
        if (receive_floats(context, d->parcel, floats, rank + step, error))
            return error->code;
        sable_phase(context, PHASE_COMPUTE);
        sable_attention_decode_join(d->decode, keys, d->parcel);
    }
    *sent_at = step;
    if (step >= ranks)
        return SABLE_OK;
    int64_t floats = sable_attention_decode_floats(s, d->part.kv_heads, keys_of_ranks(s, rank, rank + step, ranks));
    if (floats == 0)
        return SABLE_OK;
    sable_phase(context, PHASE_COMMUNICATE);
    sable_attention_decode_pack(d->decode, d->parcel);
    return send_floats(context, d->parcel, floats, rank - step, error);
}

/* The result goes down the same tree. */
static int go_down(struct decode_rank *d, struct sable_context *context, int step, struct sable_error *error)
{
    const struct sable_attention_shape *s = &d->base.shape;
    const int rank = context->layout.rank, ranks = context->layout.ranks;
    const int64_t rows = s->batch * s->heads;
    if (step < ranks) {
        sable_phase(context, PHASE_WAIT);
        if (receive_floats(context, d->base.out, rows * s->dim_v, rank - step, error) ||
            receive_floats(context, d->base.lse, rows, rank - step, error))
            return error->code;
    }
    sable_phase(context, PHASE_COMMUNICATE);
    for (step /= 2; step > 0; step /= 2)
        if (rank + step < ranks && (send_floats(context, d->base.out, rows * s->dim_v, rank + step, error) ||
                                    send_floats(context, d->base.lse, rows, rank + step, error)))
            return error->code;
    return SABLE_OK;
}

/* ---- Running ---- */

static void spoil_before(struct decode_rank *d, int fault)
{
    const int64_t keys = d->part.keys.count, half = keys / 2;
    const int64_t words = attention_words(&d->base.shape, d->base.shape.dim);
    for (int64_t h = 0; h < d->part.kv_heads && fault == DECODE_STALE_KEYS; h++)
        memcpy(d->base.k + (h * keys + keys - half) * words, d->base.k + h * keys * words,
               (size_t)(half * words) * sizeof(float));
}

static void spoil_after(struct decode_rank *d, int fault)
{
    const int64_t rows = d->part.kv_heads * decode_group(&d->base.shape), dim = d->base.shape.dim_v;
    float *value = d->base.out + rows / 2 * dim;
    uint32_t bits;
    if (rows == 0)
        return;
    for (int64_t i = 1; i < dim; i++)
        value = fabsf(d->base.out[rows / 2 * dim + i]) > fabsf(*value) ? d->base.out + rows / 2 * dim + i : value;
    if (fault == DECODE_LOST_ROWS)
        memset(d->base.out + rows / 2 * dim, 0, (size_t)((rows - rows / 2) * dim) * sizeof *value);
    memcpy(&bits, value, sizeof bits);
    bits ^= UINT32_C(1) << 22;
    if (fault == DECODE_FLIP_BIT)
        memcpy(value, &bits, sizeof bits);
    if (fault == DECODE_NAN)
        *value = NAN;
}

int decode_run(struct decode_rank *d, struct sable_context *context, struct sable_error *error)
{
    int step = 1;
    spoil_before(d, context->fault);
    sable_attention_decode_add(d->decode, d->base.q, d->base.k, d->base.v);
    if (d->strategy == DECODE_TREE && go_up(d, context, &step, error))
        return error->code;
    sable_phase(context, PHASE_COMPUTE);
    if (d->strategy == DECODE_HEADS || context->layout.rank == 0)
        sable_attention_decode_finish(d->decode, d->base.out, d->base.lse);
    if (d->strategy == DECODE_TREE && go_down(d, context, step, error))
        return error->code;
    spoil_after(d, context->fault);
    return SABLE_OK;
}

/* A row by the textbook; with the fault, the mean of its two halves. */
static void reference_row(const struct sable_attention_shape *s, const float *q, const float *k, const float *v,
                          int fault, double *logit, double *row, double *other, double *lse)
{
    const int64_t skip = fault == DECODE_SKIP_BLOCK && s->leaf < s->keys ? s->leaf : 0, half = s->keys / 2;
    if (fault != DECODE_WRONG_RESCALE || half == 0) {
        sable_attention_row_reference(s, q, s->keys - skip, k + skip * s->dim, v + skip * s->dim_v, logit, row, lse);
        return;
    }
    sable_attention_row_reference(s, q, half, k, v, logit, other, lse);
    sable_attention_row_reference(s, q, s->keys - half, k + half * s->dim, v + half * s->dim_v, logit, row, lse);
    for (int64_t i = 0; i < s->dim_v; i++)
        row[i] = (row[i] + other[i]) / 2;
}

int decode_run_reference(struct decode_rank *d, struct sable_context *context, struct sable_error *error)
{
    struct sable_attention_shape s = d->base.shape;
    double *logit = malloc((size_t)s.keys * sizeof *logit), *row = malloc(2 * (size_t)s.dim_v * sizeof *row), lse;
    if (!logit || !row)
        sable_fail(error, SABLE_ENVIRONMENT, "attention/decode: out of memory for a row of logits");
    spoil_before(d, context->fault);
    s.scale *= context->fault == DECODE_WRONG_SCALE ? 1.01 : 1;
    for (int64_t i = 0; i < d->part.kv_heads * decode_group(&s) && !error->code; i++) {
        int64_t at = i / decode_group(&s) * s.keys;
        reference_row(&s, d->base.q + i * s.dim, d->base.k + at * s.dim, d->base.v + at * s.dim_v, context->fault,
                      logit, row, row + s.dim_v, &lse);
        for (int64_t c = 0; c < s.dim_v; c++)
            d->base.out[i * s.dim_v + c] = (float)row[c];
        d->base.lse[i] = (float)lse;
    }
    free(logit);
    free(row);
    spoil_after(d, context->fault);
    return error->code;
}

/* ---- Making and freeing ---- */

struct decode_extents decode_extents_of(const struct sable_attention_shape *s, int strategy,
                                        const struct sable_attention_decode_part *part, struct sable_layout layout)
{
    struct decode_extents e = {part->kv_heads * decode_group(s), part->kv_heads * part->keys.count, 0};
    for (int step = 1; strategy == DECODE_TREE && step < layout.ranks; step *= 2) {
        int from = layout.rank & step ? layout.rank : layout.rank + step;
        if (from < layout.ranks) {
            int64_t floats =
                sable_attention_decode_floats(s, part->kv_heads, keys_of_ranks(s, from, from + step, layout.ranks));
            e.parcel = floats > e.parcel ? floats : e.parcel;
        }
        if (layout.rank & step)
            break;
    }
    return e;
}

static float *floats(int64_t rows, int64_t columns, bool *no)
{
    float *array = sable_array(rows, columns, sizeof *array);
    *no = *no || !array;
    return array;
}

static int allocate(struct decode_rank *d, struct sable_context *context, struct sable_error *error)
{
    const struct sable_attention_shape *s = &d->base.shape;
    const struct decode_extents e = decode_extents_of(s, d->strategy, &d->part, context->layout);
    struct sable_attention_shape computed = *s;
    computed.scale *= context->fault == DECODE_WRONG_SCALE ? 1.01 : 1;
    bool no = false;
    d->base.q = floats(e.rows, attention_words(s, s->dim), &no), d->base.out = floats(e.rows, s->dim_v, &no);
    d->base.lse = floats(e.rows, 1, &no), d->parcel = floats(e.parcel, 1, &no);
    d->base.k = floats(e.cache, attention_words(s, s->dim), &no);
    d->base.v = floats(e.cache, attention_words(s, s->dim_v), &no);
    d->decode = sable_attention_decode_create(&computed, &d->part, context->layout.threads);
    if (no || !d->decode)
        return sable_fail(error, SABLE_ENVIRONMENT, "attention/decode: out of memory for the cache");
    if (e.parcel > INT_MAX || decode_result_floats(s) > INT_MAX)
        return sable_fail(error, SABLE_BAD_INPUT, "attention/decode: partial results are more than MPI counts");
    if (context->fault == DECODE_SKIP_BLOCK)
        sable_attention_decode_leave_out(d->decode, 0);
    if (context->fault == DECODE_WRONG_RESCALE)
        sable_attention_decode_forget_maxima(d->decode);
    return SABLE_OK;
}

/* Each leaf by the thread that will read it, or nearly so: its pages lie where that runs. */
static int fill(struct decode_rank *d, const struct sable_context *context, struct sable_error *error)
{
    const struct attention_rank *a = &d->base;
    const struct sable_attention_shape *s = &a->shape;
    const int64_t keys = d->part.keys.count, leaves = (keys + s->leaf - 1) / s->leaf, group = decode_group(s);
    const int64_t words = attention_words(s, s->dim), words_v = attention_words(s, s->dim_v);
    const bool drawn = !context->input;
    bool finite = true;
#pragma omp parallel for schedule(static) reduction(&& : finite) if (drawn)
    for (int64_t i = 0; i < d->part.kv_heads * leaves; i++) {
        struct sable_error mine = {0};
        const int64_t head = i / leaves, first = i % leaves * s->leaf, left = keys - first, at = head * keys + first;
        const struct sable_attention_rows rows = {d->part.keys.first + first, left < s->leaf ? left : s->leaf};
        if (!attention_fetch_rows(a, context, TENSOR_K, d->part.kv_head + head, rows, a->k + at * words, &finite,
                                  &mine))
            attention_fetch_rows(a, context, TENSOR_V, d->part.kv_head + head, rows, a->v + at * words_v, &finite,
                                 &mine);
        if (mine.code)
#pragma omp critical(decode_fill)
            *error = mine;
    }
    const struct sable_attention_rows one = {0, 1};
    for (int64_t h = 0; h < d->part.kv_heads * group && !error->code; h++)
        attention_fetch_rows(a, context, TENSOR_Q, d->part.kv_head * group + h, one, a->q + h * words, &finite, error);
    d->base.finite = finite;
    return error->code;
}

static int shape_of(const struct attention_params *params, struct sable_input *input,
                    struct sable_attention_shape *shape, struct sable_error *error)
{
    struct attention_params p = *params;
    p.queries = 1;
    if (!attention_shape_of(&p, input, shape, error) && shape->queries != 1)
        sable_fail(error, SABLE_BAD_INPUT, "--input: q holds %lld queries a head instead of 1",
                   (long long)shape->queries);
    return error->code;
}

int decode_make(const struct attention_params *params, struct sable_context *context, bool reference,
                struct decode_rank *d, struct sable_error *error)
{
    d->base = (struct attention_rank){.reference = reference, .layout = context->layout, .from_file = context->input};
    d->strategy = d->base.reference ? DECODE_HEADS : params->strategy;
    shape_of(params, context->input, &d->base.shape, error);
    if (sable_agree(context->comm, error))
        return error->code;
    d->base.rounded = d->base.shape.bf16;
    d->base.shape.bf16 = d->base.rounded && !reference; /* the textbook computes with floats of the rounded values */
    d->part = decode_part_of(&d->base.shape, d->strategy, context->layout.rank, context->layout.ranks);
    d->base.kv_first = d->part.kv_head, d->base.kv_count = d->part.kv_heads;
    d->base.keys = (struct attention_keys){{d->part.keys, {d->base.shape.keys, 0}}};
    allocate(d, context, error);
    if (sable_agree(context->comm, error))
        return error->code;
    return fill(d, context, error);
}

struct sable_attention_rows decode_own_heads(const struct decode_rank *d, int rank)
{
    const struct sable_attention_shape *s = &d->base.shape;
    const int64_t group = decode_group(s);
    if (d->strategy == DECODE_TREE)
        return attention_cut(s->batch * s->heads, 1, rank, d->base.layout.ranks);
    const struct sable_attention_decode_part part = decode_part_of(s, d->strategy, rank, d->base.layout.ranks);
    return (struct sable_attention_rows){part.kv_head * group, part.kv_heads * group};
}

int decode_gather_result(const struct decode_rank *d, struct sable_context *context, float **out, float **lse,
                         struct sable_error *error)
{
    const struct sable_attention_shape *s = &d->base.shape;
    const int ranks = context->layout.ranks, me = context->layout.rank;
    const struct sable_attention_rows own = decode_own_heads(d, me);
    const int64_t before = own.first - d->part.kv_head * decode_group(s), all = me == 0 ? s->batch * s->heads : 0;
    struct sable_attention_part *from = malloc(2 * (size_t)ranks * sizeof *from), *to = from ? from + ranks : NULL;
    for (int r = 0; r < ranks && from; r++) {
        const struct sable_attention_rows heads = decode_own_heads(d, r);
        from[r] = (struct sable_attention_part){heads.first, heads.count, {{0, 1}, {1, 0}}};
        to[r] = (struct sable_attention_part){0, r == 0 ? s->batch * s->heads : 0, {{0, 1}, {1, 0}}};
    }
    float *parcel[2] = {sable_array(own.count, s->dim_v, sizeof(float)), sable_array(all, s->dim_v, sizeof(float))};
    *out = sable_array(all, s->dim_v, sizeof **out), *lse = sable_array(all, 1, sizeof **lse);
    if (!from || !parcel[0] || !parcel[1] || !*out || !*lse)
        sable_fail(error, SABLE_ENVIRONMENT, "attention/decode: out of memory for the outputs");
    if (!sable_agree(context->comm, error) &&
        !attention_move(context, s->dim_v, from, to, d->base.out + before * s->dim_v, *out, parcel, error))
        attention_move(context, 1, from, to, d->base.lse + before, *lse, parcel, error);
    sable_array_free(parcel[0]);
    sable_array_free(parcel[1]);
    free(from);
    return error->code;
}

void decode_free(struct decode_rank *d)
{
    attention_free(&d->base);
    sable_array_free(d->parcel);
    sable_attention_decode_free(d->decode);
}
