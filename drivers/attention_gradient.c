/* Partition, inputs and the computation of attention/backward.
 *
 *   heads      a rank computes whole key heads with the queries that read them: nothing is sent
 *   pipeline   a rank holds a range of keys of all heads, in whole leaves of about the same work; dq of one key head's
 *              queries after the other goes from rank to rank and gains what each contributes, so that dk and dv never
 *              travel and the order of additions is that of one rank. The last rank has dq. */
#include "attention_gradient.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "input.h"
#include "sable_array.h"

int64_t gradient_group(const struct sable_attention_shape *s)
{
    return s->heads / s->kv_heads;
}

/* ---- Who holds what ---- */

double gradient_pairs(const struct sable_attention_shape *s, struct sable_attention_rows keys)
{
    if (!s->causal)
        return (double)s->queries * (double)keys.count;
    /* Key c is seen by the queries from c − offset on: by all up to c = offset, then by one less for each key. */
    int64_t offset = s->keys - s->queries, end = keys.first + keys.count;
    int64_t first = offset + 1 > keys.first ? offset + 1 : keys.first;
    first = first < end ? first : end;
    double all = (double)(first - keys.first) * (double)s->queries, n = (double)(end - first);
    return all + n * (double)(s->queries + offset - first) - n * (n - 1) / 2;
}

/* The leaf at which rank `rank` begins: what lies before is rank/ranks of the pairs, or just more. */
static int64_t leaf_of_rank(const struct sable_attention_shape *s, int rank, int ranks)
{
    int64_t leaves = (s->keys + s->leaf - 1) / s->leaf, leaf = 0;
    double all = gradient_pairs(s, (struct sable_attention_rows){0, s->keys});
    while (leaf < leaves && gradient_pairs(s, (struct sable_attention_rows){0, leaf * s->leaf}) * ranks < all * rank)
        leaf++;
    return rank == ranks ? leaves : leaf;
}

void gradient_part(const struct sable_attention_shape *s, int strategy, struct sable_layout layout, int64_t *first,
                   int64_t *count, struct sable_attention_rows *keys, bool *has_dq)
{
    int64_t kv = s->batch * s->kv_heads, each = kv / layout.ranks, more = kv % layout.ranks, rank = layout.rank;
    *first = rank * each + (rank < more ? rank : more);
    *count = each + (rank < more);
    *keys = (struct sable_attention_rows){0, s->keys};
    bool pipeline = strategy == GRADIENT_PIPELINE && layout.ranks > 1;
    if (has_dq)
        *has_dq = !pipeline || layout.rank == layout.ranks - 1;
    if (!pipeline)
        return;
    int64_t from = leaf_of_rank(s, layout.rank, layout.ranks) * s->leaf;
    int64_t to = leaf_of_rank(s, layout.rank + 1, layout.ranks) * s->leaf;
    from = from < s->keys ? from : s->keys, to = to < s->keys ? to : s->keys;
    *first = 0, *count = kv, *keys = (struct sable_attention_rows){from, to - from};
}

/* ---- Room ---- */

double gradient_memory(const struct sable_attention_shape *s, int strategy, struct sable_layout layout, bool reference)
{
    int64_t first, count;
    struct sable_attention_rows keys;
    gradient_part(s, reference ? GRADIENT_HEADS : strategy, layout, &first, &count, &keys, NULL);
    double dims = (double)(s->dim + s->dim_v), threads = layout.threads, group = (double)gradient_group(s);
    double rows = (double)count * group * (double)s->queries, held = (double)count * (double)keys.count;
    double saved = dims - (double)(attention_words(s, s->dim) + attention_words(s, s->dim_v)); /* by bf16 */
    double floats = rows * (2 * dims + (double)s->dim_v + 1) + 2 * held * dims - (rows + held) * saved;
    double head = (double)s->keys * dims + group * (double)s->queries * (dims + 1); /* forward, and the proof */
    double proof = threads * (double)(3 * s->keys + 8 * (s->dim + s->dim_v)) * 8;
    double share = (double)(s->batch * s->kv_heads) / layout.ranks + 1; /* outputs: rows of all heads */
    double output = 2 * (share * (double)s->keys * dims + share * group * (double)s->queries * (double)s->dim);
    double oracle = reference ? 8 * (double)s->keys * dims : 0;
    return 4 * (floats + head + output) + proof + oracle +
           sable_attention_backward_memory(s, count, keys.count > 0 ? keys.count : 1, layout.threads) +
           8 * threads * (double)((s->dim_v + 256 + s->dim) * 64) * 4;
}

static int allocate(struct gradient *g, int fault, struct sable_error *error)
{
    const struct sable_attention_shape *s = &g->shape;
    int64_t heads = g->kv_count * gradient_group(s), rows = heads * s->queries, held = g->kv_count * g->keys.count;
    const int64_t words = attention_words(s, s->dim), words_v = attention_words(s, s->dim_v);
    struct sable_attention_shape computed = *s;
    computed.scale *= fault == GRADIENT_WRONG_SCALE ? 1.01 : 1;
    g->q = sable_array(rows, words, sizeof *g->q), g->dq = sable_array(rows, s->dim, sizeof *g->dq);
    g->dout = sable_array(rows, words_v, sizeof *g->dout), g->out = sable_array(rows, s->dim_v, sizeof *g->out);
    g->lse = sable_array(rows, 1, sizeof *g->lse);
    g->k = sable_array(held, words, sizeof *g->k), g->dk = sable_array(held, s->dim, sizeof *g->dk);
    g->v = sable_array(held, words_v, sizeof *g->v), g->dv = sable_array(held, s->dim_v, sizeof *g->dv);
    int64_t kv = g->kv_count > 0 ? g->kv_count : 1;
    g->backward =
        sable_attention_backward_create(&computed, kv, g->keys.count > 0 ? g->keys.count : 1, g->layout.threads);
    if (!g->q || !g->dq || !g->dout || !g->out || !g->lse || !g->k || !g->dk || !g->v || !g->dv || !g->backward)
        return sable_fail(error, SABLE_ENVIRONMENT, "attention/backward: out of memory for inputs and gradients");
    if (fault == GRADIENT_SKIP_BLOCK)
        sable_attention_backward_leave_out(g->backward, 0);
    return SABLE_OK;
}

void gradient_free(struct gradient *g)
{
    float *const arrays[] = {g->q, g->dout, g->out, g->lse, g->dq, g->k, g->v, g->dk, g->dv};
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++)
        sable_array_free(arrays[i]);
    sable_attention_backward_free(g->backward);
}

/* ---- Inputs, and the forward pass ---- */

struct attention_rank gradient_source(const struct gradient *g)
{
    return (struct attention_rank){.shape = g->shape, .rounded = g->rounded};
}

static int fill(struct gradient *g, const struct sable_context *context, struct sable_error *error)
{
    const struct sable_attention_shape *s = &g->shape;
    const struct attention_rank source = gradient_source(g);
    const int64_t group = gradient_group(s), words = attention_words(s, s->dim), words_v = attention_words(s, s->dim_v);
    const struct sable_attention_rows queries = {0, s->queries};
    for (int64_t kv = 0; kv < g->kv_count; kv++) {
        int64_t at = kv * g->keys.count, head = g->kv_first + kv;
        if (attention_fetch_rows(&source, context, TENSOR_K, head, g->keys, g->k + at * words, &g->finite, error) ||
            attention_fetch_rows(&source, context, TENSOR_V, head, g->keys, g->v + at * words_v, &g->finite, error))
            return error->code;
        for (int64_t h = kv * group; h < (kv + 1) * group; h++) {
            int64_t row = h * s->queries;
            head = g->kv_first * group + h;
            if (attention_fetch_rows(&source, context, TENSOR_Q, head, queries, g->q + row * words, &g->finite,
                                     error) ||
                attention_fetch_rows(&source, context, TENSOR_DOUT, head, queries, g->dout + row * words_v, &g->finite,
                                     error))
                return error->code;
        }
    }
    return SABLE_OK;
}

/* out and lse of one key head's queries, from all its keys. */
static int forward(struct gradient *g, const struct sable_context *context, int64_t kv, float *k, float *v,
                   struct sable_error *error)
{
    const struct sable_attention_shape *s = &g->shape;
    const struct attention_rank source = gradient_source(g);
    const struct sable_attention_rows all = {0, s->keys};
    int64_t group = gradient_group(s), row = kv * group * s->queries;
    const struct sable_attention_part part = {(g->kv_first + kv) * group, group, {{0, s->queries}, {s->queries, 0}}};
    if (attention_fetch_rows(&source, context, TENSOR_K, g->kv_first + kv, all, k, &g->finite, error) ||
        attention_fetch_rows(&source, context, TENSOR_V, g->kv_first + kv, all, v, &g->finite, error))
        return error->code;
    struct sable_attention *a = sable_attention_create(s, &part, g->layout.threads, 0, NULL);
    if (!a)
        return sable_fail(error, SABLE_ENVIRONMENT, "attention/backward: out of memory for the forward pass");
    const struct sable_attention_keys range = {0, s->keys, k, v, s->keys};
    sable_attention(a, g->q + row * attention_words(s, s->dim), 1, &range, g->out + row * s->dim_v, g->lse + row);
    sable_attention_free(a);
    return SABLE_OK;
}

/* In a pipeline, all ranks hold all queries: each computes its share of the heads and tells the others. */
static int forward_all(struct gradient *g, const struct sable_context *context, struct sable_error *error)
{
    const struct sable_attention_shape *s = &g->shape;
    bool shared = g->strategy == GRADIENT_PIPELINE && g->layout.ranks > 1;
    float *k = sable_array(s->keys, attention_words(s, s->dim), sizeof *k);
    float *v = sable_array(s->keys, attention_words(s, s->dim_v), sizeof *v);
    if (!k || !v)
        sable_fail(error, SABLE_ENVIRONMENT, "attention/backward: out of memory for the forward pass");
    for (int64_t kv = 0; kv < g->kv_count && !error->code; kv++)
        if (!shared || kv % g->layout.ranks == g->layout.rank)
            forward(g, context, kv, k, v, error);
    int64_t group = gradient_group(s);
    if (shared && !sable_agree(context->comm, error))
        for (int64_t h = 0; h < g->kv_count * group && !error->code; h++) {
            int root = (int)(h / group % g->layout.ranks), n = (int)s->queries;
            for (int64_t d = 0; d < s->dim_v && !error->code; d++) /* a row's count is an int, a head's may not be */
                sable_check_mpi(MPI_Bcast(g->out + (h * s->dim_v + d) * s->queries, n, MPI_FLOAT, root, context->comm),
                                "MPI_Bcast", error);
            if (!error->code)
                sable_check_mpi(MPI_Bcast(g->lse + h * s->queries, n, MPI_FLOAT, root, context->comm), "MPI_Bcast",
                                error);
        }
    sable_array_free(k);
    sable_array_free(v);
    return error->code;
}

static int check_dout(const struct sable_context *context, const struct sable_attention_shape *s,
                      struct sable_error *error)
{
    int64_t shape[4];
    if (!context->input || !sable_input_has(context->input, "dout"))
        return SABLE_OK;
    if (sable_input_shape(context->input, "dout", 4, shape, error))
        return error->code;
    if (shape[0] != s->batch || shape[1] != s->heads || shape[2] != s->queries || shape[3] != s->dim_v)
        return sable_fail(error, SABLE_BAD_INPUT,
                          "--input: dout is [%lld, %lld, %lld, %lld], out is [%lld, %lld, %lld, %lld]",
                          (long long)shape[0], (long long)shape[1], (long long)shape[2], (long long)shape[3],
                          (long long)s->batch, (long long)s->heads, (long long)s->queries, (long long)s->dim_v);
    return SABLE_OK;
}

int gradient_make(const struct attention_params *params, struct sable_context *context, bool reference,
                  struct gradient *g, struct sable_error *error)
{
    *g = (struct gradient){.reference = reference, .finite = true, .layout = context->layout};
    g->strategy = reference ? GRADIENT_HEADS : params->strategy;
    if (!attention_shape_of(params, context->input, &g->shape, error) && !check_dout(context, &g->shape, error) &&
        g->shape.queries > INT_MAX)
        sable_fail(error, SABLE_BAD_INPUT, "attention/backward: more queries than MPI counts");
    if (sable_agree(context->comm, error))
        return error->code;
    g->rounded = g->shape.bf16;
    g->shape.bf16 = g->rounded && !reference; /* the textbook computes with floats of the rounded values */
    gradient_part(&g->shape, g->strategy, g->layout, &g->kv_first, &g->kv_count, &g->keys, &g->has_dq);
    allocate(g, context->fault, error);
    if (!error->code)
        fill(g, context, error);
    if (sable_agree(context->comm, error))
        return error->code;
    return forward_all(g, context, error);
}

/* ---- Faults ---- */

/* As if the second half of the keys held here had never arrived. Doing it again changes nothing. */
static void make_stale(struct gradient *g)
{
    int64_t half = g->keys.count / 2, words = attention_words(&g->shape, g->shape.dim);
    for (int64_t h = 0; h < g->kv_count; h++) {
        float *k = g->k + h * g->keys.count * words;
        memcpy(k + (g->keys.count - half) * words, k, (size_t)(half * words) * sizeof *k);
    }
}

static void spoil_after(struct gradient *g, int fault)
{
    const struct sable_attention_shape *s = &g->shape;
    int64_t rows = g->kv_count * gradient_group(s) * s->queries, held = g->kv_count * g->keys.count;
    if (fault == GRADIENT_LOST_ROWS && g->has_dq)
        memset(g->dq + rows / 2 * s->dim, 0, (size_t)((rows - rows / 2) * s->dim) * sizeof *g->dq);
    if (held == 0)
        return;
    float *row = g->dk + held / 2 * s->dim, *most = row;
    if (fault == GRADIENT_LOST_KEYS)
        memset(row, 0, (size_t)((held - held / 2) * s->dim) * sizeof *row);
    for (int64_t d = 1; d < s->dim; d++)
        most = fabsf(row[d]) > fabsf(*most) ? row + d : most;
    uint32_t bits;
    memcpy(&bits, most, sizeof bits);
    bits ^= UINT32_C(1) << 22;
    if (fault == GRADIENT_FLIP_BIT)
        memcpy(most, &bits, sizeof bits);
    if (fault == GRADIENT_NAN)
        *most = NAN;
}

/* ---- Run ---- */

static void compute(struct gradient *g, int64_t kv, int64_t count)
{
    const struct sable_attention_shape *s = &g->shape;
    int64_t row = kv * gradient_group(s) * s->queries, at = kv * g->keys.count;
    const int64_t words = attention_words(s, s->dim), words_v = attention_words(s, s->dim_v);
    const struct sable_attention_keys range = {g->keys.first, g->keys.count, g->k + at * words, g->v + at * words_v,
                                               g->keys.count};
    sable_attention_backward(g->backward, count, g->q + row * words, g->dout + row * words_v, g->out + row * s->dim_v,
                             g->lse + row, &range, g->dq + row * s->dim, g->dk + at * s->dim, g->dv + at * s->dim_v);
}

/* All messages are announced first; dq of a key head's queries is `dim` messages of a count that fits. */
static int pass_along(struct gradient *g, struct sable_context *context, struct sable_error *error)
{
    const struct sable_attention_shape *s = &g->shape;
    int rank = g->layout.rank, ranks = g->layout.ranks;
    int64_t rows = gradient_group(s) * s->queries;
    MPI_Datatype block = MPI_DATATYPE_NULL;
    MPI_Request *request = malloc(2 * (size_t)g->kv_count * sizeof *request), *sent = request + g->kv_count;
    if (!request)
        sable_fail(error, SABLE_ENVIRONMENT, "attention/backward: out of memory for messages");
    sable_phase(context, PHASE_COMMUNICATE);
    if (sable_agree(context->comm, error))
        goto done;
    for (int64_t i = 0; i < 2 * g->kv_count; i++)
        request[i] = MPI_REQUEST_NULL;
    if (sable_check_mpi(MPI_Type_contiguous((int)s->dim, MPI_FLOAT, &block), "MPI_Type_contiguous", error) ||
        sable_check_mpi(MPI_Type_commit(&block), "MPI_Type_commit", error))
        goto done;
    for (int64_t kv = 0; kv < g->kv_count && rank > 0; kv++)
        if (sable_check_mpi(MPI_Irecv(g->dq + kv * rows * s->dim, (int)rows, block, rank - 1, (int)(kv % 32768),
                                      context->comm, &request[kv]),
                            "MPI_Irecv", error))
            goto done;
    for (int64_t kv = 0; kv < g->kv_count; kv++) {
        sable_phase(context, PHASE_WAIT);
        if (sable_check_mpi(MPI_Wait(&request[kv], MPI_STATUS_IGNORE), "MPI_Wait", error))
            goto done;
        sable_phase(context, PHASE_COMPUTE);
        compute(g, kv, 1);
        sable_phase(context, PHASE_COMMUNICATE);
        if (rank + 1 == ranks)
            continue;
        if (sable_check_mpi(MPI_Isend(g->dq + kv * rows * s->dim, (int)rows, block, rank + 1, (int)(kv % 32768),
                                      context->comm, &sent[kv]),
                            "MPI_Isend", error))
            goto done;
        sable_count_sent(context, (size_t)(rows * s->dim) * sizeof(float));
    }
    sable_phase(context, PHASE_WAIT);
    sable_check_mpi(MPI_Waitall((int)g->kv_count, sent, MPI_STATUSES_IGNORE), "MPI_Waitall", error);
done:
    if (block != MPI_DATATYPE_NULL)
        MPI_Type_free(&block);
    free(request);
    return error->code;
}

int gradient_run(struct gradient *g, struct sable_context *context, struct sable_error *error)
{
    if (context->fault == GRADIENT_STALE_KEYS)
        make_stale(g);
    bool pipeline = g->strategy == GRADIENT_PIPELINE && g->layout.ranks > 1;
    if (!pipeline || g->layout.rank == 0)
        memset(g->dq, 0,
               (size_t)(g->kv_count * gradient_group(&g->shape) * g->shape.queries * g->shape.dim) * sizeof *g->dq);
    if (pipeline)
        pass_along(g, context, error);
    else
        compute(g, 0, g->kv_count);
    spoil_after(g, context->fault);
    return error->code;
}

int gradient_run_reference(struct gradient *g, struct sable_context *context, struct sable_error *error)
{
    struct sable_attention_shape s = g->shape;
    int64_t group = gradient_group(&s), keys = s.keys, dims = s.dim + s.dim_v;
    double *room = sable_array(keys + 2 * dims, 1, sizeof *room), *sums = sable_array(keys, dims, sizeof *sums);
    if (!room || !sums)
        sable_fail(error, SABLE_ENVIRONMENT, "attention/backward: out of memory for sums");
    if (context->fault == GRADIENT_STALE_KEYS)
        make_stale(g);
    s.scale *= context->fault == GRADIENT_WRONG_SCALE ? 1.01 : 1;
    int64_t skip = context->fault == GRADIENT_SKIP_BLOCK ? (s.leaf < keys ? s.leaf : keys) : 0;
    for (int64_t kv = 0; kv < g->kv_count && !error->code; kv++) {
        double *dk = sums, *dv = sums + keys * s.dim, *o = room + keys, *dq = o + s.dim_v;
        memset(sums, 0, (size_t)(keys * dims) * sizeof *sums);
        for (int64_t i = kv * group * s.queries; i < (kv + 1) * group * s.queries; i++) {
            int64_t r = i % s.queries, seen = s.causal ? r + keys - s.queries + 1 : keys, left = skip < seen ? skip : 0;
            sable_attention_backward_row_reference(&s, g->q + i * s.dim, g->dout + i * s.dim_v,
                                                   (seen < 0 ? 0 : seen) - left, g->k + (kv * keys + left) * s.dim,
                                                   g->v + (kv * keys + left) * s.dim_v, room, o, dq, dk + left * s.dim,
                                                   dv + left * s.dim_v);
            for (int64_t d = 0; d < s.dim; d++)
                g->dq[i * s.dim + d] = (float)dq[d];
        }
        for (int64_t i = 0; i < keys * s.dim; i++)
            g->dk[kv * keys * s.dim + i] = (float)dk[i];
        for (int64_t i = 0; i < keys * s.dim_v; i++)
            g->dv[kv * keys * s.dim_v + i] = (float)dv[i];
    }
    sable_array_free(room);
    sable_array_free(sums);
    spoil_after(g, context->fault);
    return error->code;
}
