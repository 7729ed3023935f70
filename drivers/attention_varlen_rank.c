/* One rank's part of attention/varlen: inputs, the runs, faults, and the rows of the result. Within a rank heads lie
 * apart, [heads][rows][dim], as in attention/prefill; files have packed rows of all heads, [rows][heads][dim]. */
#include "attention_varlen.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "input.h"
#include "sable_array.h"

enum { PURPOSE_VARLEN = 62 }; /* + tensor */

/* ---- Inputs ---- */

static int64_t dim_of(const struct sable_attention_shape *s, enum attention_tensor tensor)
{
    return tensor == TENSOR_V ? s->dim_v : s->dim;
}

int varlen_fetch(const struct varlen_rank *a, const struct sable_context *context, enum attention_tensor tensor,
                 int64_t head, int64_t first, int64_t count, float *to, struct sable_error *error)
{
    static const char *const names[] = {"q", "k", "v"};
    const int64_t heads = tensor == TENSOR_Q ? a->shape.heads : a->shape.kv_heads, dim = dim_of(&a->shape, tensor);
    const int64_t offset[] = {first, head, 0}, extent[] = {count, 1, dim};
    if (count == 0)
        return SABLE_OK;
    const bool read = context->input && sable_input_has(context->input, names[tensor]);
    if (read && sable_input_read(context->input, names[tensor], SABLE_F32, 3, offset, extent, to, error))
        return error->code;
    for (int64_t r = 0; r < count && !read; r++)
        sable_attention_draw(context->seed, PURPOSE_VARLEN + (uint32_t)tensor, ((first + r) * heads + head) * dim, dim,
                             to + r * dim);
    if (a->rounded)
        attention_round(count * dim, to);
    return SABLE_OK;
}

/* The same as they are stored. */
static int fetch_rows(struct varlen_rank *a, const struct sable_context *context, enum attention_tensor tensor,
                      int64_t head, int64_t first, int64_t count, float *to, struct sable_error *error)
{
    const int64_t dim = dim_of(&a->shape, tensor);
    float *plain = a->shape.bf16 ? sable_array(count, dim, sizeof *plain) : to;
    if (!plain)
        return sable_fail(error, SABLE_ENVIRONMENT, "attention/varlen: out of memory for rows of a head");
    if (!varlen_fetch(a, context, tensor, head, first, count, plain, error)) {
        for (int64_t i = 0; i < count * dim; i++)
            a->finite = a->finite && isfinite(plain[i]);
        if (a->shape.bf16)
            sable_attention_to_bf16(count, dim, plain, (void *)to);
    }
    if (a->shape.bf16)
        sable_array_free(plain);
    return error->code;
}

/* Sequences that follow one another in the batch also do here: they are fetched together. */
static int fill(struct varlen_rank *a, const struct sable_context *context, enum attention_tensor tensor, float *to,
                struct sable_error *error)
{
    const struct varlen_part *p = &a->part;
    const bool query = tensor == TENSOR_Q;
    const int64_t head = query ? p->head : p->kv_first, heads = query ? p->heads : p->kv_count;
    const int64_t rows = query ? p->queries : p->keys, words = attention_words(&a->shape, dim_of(&a->shape, tensor));
    for (int64_t i = 0, end; i < p->sequences; i = end) {
        int64_t count = 0, place = query ? p->sequence[i].query : p->sequence[i].key;
        for (end = i; end < p->sequences && p->index[end] - p->index[i] == end - i; end++)
            count += query ? p->sequence[end].queries : p->sequence[end].keys;
        const struct sable_attention_sequence *first = &a->batch.sequence[p->index[i]];
        for (int64_t h = 0; h < heads; h++)
            if (fetch_rows(a, context, tensor, head + h, query ? first->query : first->key, count,
                           to + (h * rows + place) * words, error))
                return error->code;
    }
    return SABLE_OK;
}

/* ---- Faults ---- */

/* The sequences as they are computed. */
static void spoil_sequences(const struct varlen_part *p, int fault, struct sable_attention_sequence *s)
{
    for (int64_t i = 0; i < p->sequences; i++) {
        s[i] = p->sequence[i];
        if (fault == VARLEN_LEAKED_KEY && s[i].key + s[i].keys < p->keys)
            s[i].keys++;
        if (fault == VARLEN_TOP_LEFT && s[i].keys > s[i].queries)
            s[i].keys = s[i].queries;
    }
}

/* As if the second half of the keys had never arrived. Doing it again changes nothing. */
static void make_stale(const struct varlen_rank *a)
{
    const int64_t keys = a->part.keys, half = keys / 2, words = attention_words(&a->shape, a->shape.dim);
    for (int64_t h = 0; h < a->part.kv_count; h++)
        memcpy(a->k + (h * keys + keys - half) * words, a->k + h * keys * words, (size_t)(half * words) * sizeof *a->k);
}

bool varlen_middle(const struct varlen_rank *a, int64_t *head, int64_t *sequence, int64_t *row)
{
    const struct varlen_part *p = &a->part;
    *head = p->heads / 2;
    for (int64_t i = 0; i < p->sequences && p->heads > 0; i++) {
        *sequence = (p->sequences / 2 + i) % p->sequences;
        const struct sable_attention_sequence *s = &p->sequence[*sequence];
        const int64_t seeing = s->queries < s->keys ? s->queries : s->keys;
        *row = s->queries - 1 - (seeing - 1) / 2;
        if (seeing > 0)
            return true;
    }
    return false;
}

static void spoil_value(float *value, int fault)
{
    uint32_t bits;
    memcpy(&bits, value, sizeof bits);
    bits ^= UINT32_C(1) << 22;
    if (fault == FAULT_FLIP_BIT)
        memcpy(value, &bits, sizeof bits);
    if (fault == FAULT_NAN)
        *value = NAN;
}

static void spoil_after(const struct varlen_rank *a, int fault)
{
    const int64_t rows = a->part.heads * a->part.queries, dim = a->shape.dim_v;
    int64_t head, sequence, row, most = 0;
    if (fault == FAULT_LOST_RANK)
        memset(a->out + rows / 2 * dim, 0, (size_t)((rows - rows / 2) * dim) * sizeof *a->out);
    if (!varlen_middle(a, &head, &sequence, &row))
        return;
    float *out = a->out + (head * a->part.queries + a->part.sequence[sequence].query + row) * dim;
    for (int64_t d = 1; d < dim; d++)
        most = fabsf(out[d]) > fabsf(out[most]) ? d : most;
    spoil_value(out + most, fault);
}

/* ---- Making and freeing ---- */

static int allocate(struct varlen_rank *a, struct sable_context *context, struct sable_error *error)
{
    const struct varlen_part *p = &a->part;
    const int64_t rows = p->heads * p->queries, keys = p->kv_count * p->keys;
    struct sable_attention_shape shape = a->shape;
    shape.scale *= context->fault == FAULT_WRONG_SCALE ? 1.01 : 1;
    const int64_t words = attention_words(&shape, shape.dim), words_v = attention_words(&shape, shape.dim_v);
    a->q = sable_array(rows, words, sizeof *a->q), a->out = sable_array(rows, shape.dim_v, sizeof *a->out);
    a->k = sable_array(keys, words, sizeof *a->k), a->v = sable_array(keys, words_v, sizeof *a->v);
    a->lse = sable_array(rows, 1, sizeof *a->lse);
    a->computed = sable_array(p->sequences, 1, sizeof *a->computed);
    if (a->computed) {
        spoil_sequences(p, context->fault, a->computed);
        a->packed = sable_attention_packed_create(&shape, p->head, p->heads, context->layout.threads, p->sequences,
                                                  a->computed);
    }
    if (!a->q || !a->k || !a->v || !a->out || !a->lse || !a->packed)
        return sable_fail(error, SABLE_ENVIRONMENT, "attention/varlen: out of memory for q, k, v and out");
    if (context->fault == FAULT_SKIP_BLOCK)
        sable_attention_packed_leave_out(a->packed, 0);
    if (context->fault == FAULT_WRONG_RESCALE)
        sable_attention_packed_raise_maximum(a->packed);
    return SABLE_OK;
}

static int make_batch(const struct varlen_params *params, struct sable_context *context, struct varlen_rank *a,
                      struct sable_error *error)
{
    a->shape = attention_shape(&params->base);
    a->rounded = a->shape.bf16;
    a->shape.bf16 = a->rounded && !a->reference;
    if (context->input ? varlen_read_batch(context->input, params, &a->shape, &a->batch, error)
                       : varlen_draw_batch(params, &a->batch, error))
        return error->code;
    a->shape.batch = 1, a->shape.queries = a->batch.queries, a->shape.keys = a->batch.keys;
    if (attention_check_shape(&a->shape, error))
        return error->code;
    if (!varlen_part_of(&a->shape, &a->batch, a->strategy, context->layout.rank, context->layout.ranks, &a->part))
        return sable_fail(error, SABLE_ENVIRONMENT, "attention/varlen: out of memory for the sequences");
    a->shape.queries = a->part.queries, a->shape.keys = a->part.keys;
    return SABLE_OK;
}

int varlen_make(const struct varlen_params *params, struct sable_context *context, bool reference,
                struct varlen_rank *a, struct sable_error *error)
{
    *a = (struct varlen_rank){.reference = reference, .finite = true, .strategy = params->base.strategy};
    make_batch(params, context, a, error);
    if (sable_agree(context->comm, error))
        return error->code;
    allocate(a, context, error);
    if (sable_agree(context->comm, error))
        return error->code;
    if (!fill(a, context, TENSOR_Q, a->q, error) && !fill(a, context, TENSOR_K, a->k, error))
        fill(a, context, TENSOR_V, a->v, error);
    if (!error->code)
        attention_open_peer(context, &a->shape, a->part.sequences, a->computed, &a->peer, error);
    return error->code;
}

void varlen_free(struct varlen_rank *a)
{
    float *const arrays[] = {a->q, a->k, a->v, a->out, a->lse};
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++)
        sable_array_free(arrays[i]);
    sable_array_free(a->computed);
    sable_attention_packed_free(a->packed);
    sable_attention_rows_close(a->peer);
    varlen_free_part(&a->part);
    varlen_free_batch(&a->batch);
}

/* ---- Runs ---- */

int varlen_run(struct varlen_rank *a, struct sable_context *context, struct sable_error *error)
{
    if (context->fault == FAULT_STALE_KEYS)
        make_stale(a);
    sable_attention_packed(a->packed, a->q, a->k, a->v, a->out, a->lse);
    spoil_after(a, context->fault);
    return error->code;
}

int varlen_run_by_rows(struct varlen_rank *a, struct sable_context *context, struct sable_error *error)
{
    if (context->fault == FAULT_STALE_KEYS)
        make_stale(a);
    attention_by_rows(a->peer, &a->shape, context->fault, a->part.head, a->part.heads, a->q, a->k, a->v, a->out, a->lse,
                      error);
    spoil_after(a, context->fault);
    return error->code;
}

/* The rows of one sequence. room: [most keys] and twice [dim_v]. */
static void reference_sequence(const struct varlen_rank *a, int fault, const struct sable_attention_sequence *own,
                               const struct sable_attention_shape *s, double *room)
{
    double *row = room + s->keys + s->dim_v, sum;
    for (int64_t h = 0; h < a->part.heads; h++) {
        const int64_t kv = sable_attention_kv_head(s, a->part.head + h) - a->part.kv_first;
        const int64_t key = kv * a->part.keys + own->key;
        for (int64_t r = 0; r < own->queries; r++) {
            const int64_t seen = s->causal ? r + own->keys - own->queries + 1 : own->keys;
            const int64_t at = h * a->part.queries + own->query + r;
            attention_reference_row(s, fault, a->q + at * s->dim, seen < 0 ? 0 : seen, a->k + key * s->dim,
                                    a->v + key * s->dim_v, room, row, &sum);
            for (int64_t d = 0; d < s->dim_v; d++)
                a->out[at * s->dim_v + d] = (float)row[d];
            a->lse[at] = (float)sum;
        }
    }
}

int varlen_run_reference(struct varlen_rank *a, struct sable_context *context, struct sable_error *error)
{
    struct sable_attention_shape s = a->shape;
    s.keys = a->part.most_keys + 1; /* a fault may add one */
    s.scale *= context->fault == FAULT_WRONG_SCALE ? 1.01 : 1;
    double *room = sable_array(s.keys + 2 * s.dim_v, 1, sizeof *room);
    if (!room)
        return sable_fail(error, SABLE_ENVIRONMENT, "attention/varlen: out of memory for a row of logits");
    if (context->fault == FAULT_STALE_KEYS)
        make_stale(a);
    for (int64_t i = 0; i < a->part.sequences; i++)
        reference_sequence(a, context->fault, &a->computed[i], &s, room);
    sable_array_free(room);
    spoil_after(a, context->fault);
    return SABLE_OK;
}
