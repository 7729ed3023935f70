/* The ways in which ranks share attention:
 *
 *   heads      a rank computes whole heads: nothing is sent
 *   ulysses    rows of all heads become whole heads by an all-to-all, and the results rows again (Jacobs et al. 2023)
 *   ring       queries stay, keys and values go round; they travel while the last ones are computed with (Liu et al.
 * 2023) allgather  every rank gets all keys and values, then computes its queries */
#include "attention_rank.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "attention_share.h"
#include "sable_array.h"

/* ---- Faults ---- */

/* As if the second half of the keys held here had never arrived. Doing it again changes nothing. */
static void make_stale(int64_t heads, int64_t keys, int64_t dim, float *k)
{
    int64_t half = keys / 2;
    for (int64_t h = 0; h < heads; h++)
        memcpy(k + (h * keys + keys - half) * dim, k + h * keys * dim, (size_t)(half * dim) * sizeof *k);
}

static void spoil_before(struct attention_rank *a, int fault)
{
    bool ulysses = a->strategy == STRATEGY_ULYSSES;
    const int64_t words = attention_words(&a->shape, a->shape.dim);
    struct attention_keys shard = attention_keys_of(&a->shape, a->strategy, a->layout.rank, a->layout.ranks);
    if (fault == FAULT_STALE_KEYS && ulysses)
        make_stale(a->shape.batch * a->shape.kv_heads, attention_keys_count(&shard), words, a->shard_k);
    else if (fault == FAULT_STALE_KEYS)
        make_stale(a->kv_count, attention_keys_count(&a->keys), words, a->k);
}

/* The largest value of the middle row that this rank holds. */
static float *some_value(const struct attention_rank *a)
{
    float *out, *lse;
    struct sable_attention_part part = attention_result(a, &out, &lse);
    int64_t rows = part.heads * attention_rows_count(&part), most = 0;
    float *row = out + rows / 2 * a->shape.dim_v;
    for (int64_t d = 1; d < a->shape.dim_v && rows > 0; d++)
        most = fabsf(row[d]) > fabsf(row[most]) ? d : most;
    return rows > 0 ? row + most : NULL;
}

static void spoil_after(struct attention_rank *a, int fault)
{
    float *out, *lse, *value = some_value(a);
    struct sable_attention_part part = attention_result(a, &out, &lse);
    int64_t rows = part.heads * attention_rows_count(&part);
    uint32_t bits;
    if (fault == FAULT_LOST_RANK) /* every rank that is the last to hold anything loses the second half of it */
        memset(out + rows / 2 * a->shape.dim_v, 0, (size_t)((rows - rows / 2) * a->shape.dim_v) * sizeof *out);
    if (!value)
        return;
    memcpy(&bits, value, sizeof bits);
    bits ^= UINT32_C(1) << 22;
    if (fault == FAULT_FLIP_BIT)
        memcpy(value, &bits, sizeof bits);
    if (fault == FAULT_NAN)
        *value = NAN;
}

/* ---- Reference ---- */

void attention_reference_row(const struct sable_attention_shape *s, int fault, const float *q, int64_t seen,
                             const float *k, const float *v, double *room, double *out, double *lse)
{
    double *first = room + s->keys, before;
    int64_t count = s->leaf < seen ? s->leaf : seen, skip = fault == FAULT_SKIP_BLOCK && s->leaf < seen ? s->leaf : 0;
    if (fault != FAULT_WRONG_RESCALE) {
        sable_attention_row_reference(s, q, seen - skip, k + skip * s->dim, v + skip * s->dim_v, room, out, lse);
        return;
    }
    /* The first leaf's sums relative to a maximum that is too large: all its weights are twice what they should be. */
    sable_attention_row_reference(s, q, count, k, v, room, first, &before);
    sable_attention_row_reference(s, q, seen - count, k + count * s->dim, v + count * s->dim_v, room, out, lse);
    before += log(2);
    const double most = fmax(before, *lse), a = exp(before - most), b = exp(*lse - most);
    for (int64_t d = 0; d < s->dim_v && most > -INFINITY; d++)
        out[d] = (a * first[d] + b * out[d]) / (a + b);
    *lse = most > -INFINITY ? most + log(a + b) : most;
}

int attention_run_reference(struct attention_rank *a, struct sable_context *context, struct sable_error *error)
{
    struct sable_attention_shape s = a->shape;
    double *room = sable_array(s.keys + s.dim_v, 1, sizeof *room), *row = sable_array(s.dim_v, 1, sizeof *row), lse;
    if (!room || !row)
        sable_fail(error, SABLE_ENVIRONMENT, "attention: out of memory for a row of logits");
    spoil_before(a, context->fault);
    s.scale *= context->fault == FAULT_WRONG_SCALE ? 1.01 : 1;
    for (int64_t i = 0; i < a->part.heads * s.queries && !error->code; i++) {
        int64_t kv = sable_attention_kv_head(&s, a->part.head + i / s.queries) - a->kv_first, r = i % s.queries;
        int64_t seen = s.causal ? r + s.keys - s.queries + 1 : s.keys;
        attention_reference_row(&s, context->fault, a->q + i * s.dim, seen < 0 ? 0 : seen, a->k + kv * s.keys * s.dim,
                                a->v + kv * s.keys * s.dim_v, room, row, &lse);
        for (int64_t d = 0; d < s.dim_v; d++)
            a->out[i * s.dim_v + d] = (float)row[d];
        a->lse[i] = (float)lse;
    }
    sable_array_free(room);
    sable_array_free(row);
    spoil_after(a, context->fault);
    return error->code;
}

/* ---- Peers ---- */

int attention_open_peer(struct sable_context *context, const struct sable_attention_shape *shape, int64_t sequences,
                        const struct sable_attention_sequence *sequence, struct sable_attention_rows_peer **peer,
                        struct sable_error *error)
{
    static const char *const names[] = {
        [SABLE_ROWS_OPENBLAS] = "openblas", [SABLE_ROWS_ONEDNN] = "onednn", [SABLE_ROWS_LIBXSMM] = "libxsmm"};
    *peer = NULL;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(context->variant, names[i]) != 0)
            continue;
        *peer =
            sable_attention_rows_open((enum sable_row_library)i, shape, context->layout.threads, sequences, sequence);
        if (!*peer)
            return sable_fail(error, SABLE_ENVIRONMENT, "attention: %s cannot be loaded, or memory is short", names[i]);
        sable_note_that(context, "peer_library", "%s", sable_attention_rows_library(*peer));
    }
    return SABLE_OK;
}

int attention_by_rows(struct sable_attention_rows_peer *peer, const struct sable_attention_shape *shape, int fault,
                      int64_t head, int64_t heads, const float *q, const float *k, const float *v, float *out,
                      float *lse, struct sable_error *error)
{
    if (!sable_attention_by_rows(peer, head, heads, shape->scale * (fault == FAULT_WRONG_SCALE ? 1.01 : 1), q, k, v,
                                 fault == FAULT_SKIP_BLOCK ? shape->leaf : 0,
                                 fault == FAULT_WRONG_RESCALE ? shape->leaf : 0, out, lse))
        sable_fail(error, SABLE_ENVIRONMENT, "attention: %s refused a product", sable_attention_rows_library(peer));
    return error->code;
}

int attention_run_by_rows(struct attention_rank *a, struct sable_context *context, struct sable_error *error)
{
    spoil_before(a, context->fault);
    attention_by_rows(a->peer, &a->shape, context->fault, a->part.head, a->part.heads, a->q, a->k, a->v, a->out, a->lse,
                      error);
    spoil_after(a, context->fault);
    return error->code;
}

/* ---- Ring ---- */

/* The two ranges of keys of a rank, in arrays of all its key heads. */
static void ranges_of(const struct attention_keys *keys, const struct sable_attention_shape *s, const float *k,
                      const float *v, struct sable_attention_keys range[2])
{
    int64_t pitch = attention_keys_count(keys), before = keys->segment[0].count;
    for (int i = 0; i < 2; i++)
        range[i] = (struct sable_attention_keys){.first = keys->segment[i].first,
                                                 .count = keys->segment[i].count,
                                                 .k = k + (i ? before * attention_words(s, s->dim) : 0),
                                                 .v = v + (i ? before * attention_words(s, s->dim_v) : 0),
                                                 .pitch = pitch};
}

struct flight {
    MPI_Request request[4];
    int result;
};

/* Messages move on only while MPI is called. */
static void make_progress(void *data)
{
    struct flight *f = data;
    int done;
    int result = MPI_Testall(4, f->request, &done, MPI_STATUSES_IGNORE);
    f->result = f->result ? f->result : result;
}

/* Words of a row of k, or of v. */
static int64_t words_of(const struct attention_rank *a, bool v)
{
    return attention_words(&a->shape, v ? a->shape.dim_v : a->shape.dim);
}

/* Sends `held` to the next rank and receives the keys of rank `whose` from the one before, in rows of dim and dim_v. */
static int take_off(const struct attention_rank *a, struct sable_context *context, const MPI_Datatype row[2], int holds,
                    int whose, const float *const held[2], float *const arriving[2], struct flight *f,
                    struct sable_error *error)
{
    int ranks = a->layout.ranks, next = (a->layout.rank + 1) % ranks, before = (a->layout.rank + ranks - 1) % ranks;
    struct attention_keys mine = attention_keys_of(&a->shape, a->strategy, holds, ranks);
    struct attention_keys theirs = attention_keys_of(&a->shape, a->strategy, whose, ranks);
    int64_t sent = a->kv_count * attention_keys_count(&mine), got = a->kv_count * attention_keys_count(&theirs);
    for (int i = 0; i < 2; i++) {
        if (sable_check_mpi(MPI_Irecv(arriving[i], (int)got, row[i], before, i, context->comm, &f->request[i]),
                            "MPI_Irecv", error) ||
            sable_check_mpi(MPI_Isend(held[i], (int)sent, row[i], next, i, context->comm, &f->request[2 + i]),
                            "MPI_Isend", error))
            return error->code;
        sable_count_sent(context, (size_t)(sent * words_of(a, i)) * sizeof(float));
    }
    return SABLE_OK;
}

static int go_round(struct attention_rank *a, struct sable_context *context, const MPI_Datatype row[2],
                    struct sable_error *error)
{
    int ranks = a->layout.ranks, me = a->layout.rank;
    const float *held[2] = {a->k, a->v};
    sable_attention_begin(a->attention);
    for (int step = 0; step < ranks; step++) {
        int holds = (me - step + ranks) % ranks, whose = (holds - 1 + ranks) % ranks;
        float *const arriving[2] = {a->other_k[step % 2], a->other_v[step % 2]};
        struct flight f = {.request = {MPI_REQUEST_NULL, MPI_REQUEST_NULL, MPI_REQUEST_NULL, MPI_REQUEST_NULL}};
        struct attention_keys keys = attention_keys_of(&a->shape, a->strategy, holds, ranks);
        struct sable_attention_keys range[2];
        sable_phase(context, PHASE_COMMUNICATE);
        if (step + 1 < ranks && take_off(a, context, row, holds, whose, held, arriving, &f, error))
            return error->code;
        sable_phase(context, PHASE_COMPUTE);
        ranges_of(&keys, &a->shape, held[0], held[1], range);
        for (int i = 0; i < 2; i++)
            sable_attention_add(a->attention, a->q, &range[i], make_progress, &f);
        sable_phase(context, PHASE_WAIT);
        if (sable_check_mpi(f.result, "MPI_Testall", error) ||
            sable_check_mpi(MPI_Waitall(4, f.request, MPI_STATUSES_IGNORE), "MPI_Waitall", error))
            return error->code;
        held[0] = arriving[0], held[1] = arriving[1];
    }
    sable_phase(context, PHASE_COMPUTE);
    sable_attention_finish(a->attention, a->out, a->lse);
    return SABLE_OK;
}

/* ---- Allgather ---- */

static int gather(struct attention_rank *a, struct sable_context *context, const MPI_Datatype row[2],
                  struct sable_error *error)
{
    int ranks = a->layout.ranks, me = a->layout.rank;
    int *count = malloc(2 * (size_t)ranks * sizeof *count), *at = count ? count + ranks : NULL;
    struct sable_attention_keys *range = malloc(2 * (size_t)ranks * sizeof *range);
    if (!count || !range)
        sable_fail(error, SABLE_ENVIRONMENT, "attention: out of memory for an exchange");
    sable_phase(context, PHASE_COMMUNICATE);
    if (sable_agree(context->comm, error))
        goto done;
    for (int r = 0, total = 0; r < ranks; r++) {
        struct attention_keys keys = attention_keys_of(&a->shape, a->strategy, r, ranks);
        at[r] = total;
        count[r] = (int)(a->kv_count * attention_keys_count(&keys));
        struct sable_attention_keys both[2];
        ranges_of(&keys, &a->shape, a->other_k[0] + at[r] * words_of(a, false),
                  a->other_v[0] + at[r] * words_of(a, true), both);
        range[r] = both[0], range[2 * ranks - 1 - r] = both[1]; /* ascending */
        total += count[r];
        for (int i = 0; i < 2 && r != me; i++)
            sable_count_sent(context,
                             (size_t)(a->kv_count * attention_keys_count(&a->keys) * words_of(a, i)) * sizeof(float));
    }
    if (sable_check_mpi(MPI_Allgatherv(a->k, count[me], row[0], a->other_k[0], count, at, row[0], context->comm),
                        "MPI_Allgatherv", error) ||
        sable_check_mpi(MPI_Allgatherv(a->v, count[me], row[1], a->other_v[0], count, at, row[1], context->comm),
                        "MPI_Allgatherv", error))
        goto done;
    sable_phase(context, PHASE_COMPUTE);
    sable_attention(a->attention, a->q, 2 * ranks, range, a->out, a->lse);
done:
    free(count);
    free(range);
    return error->code;
}

/* The ranks' keys have to be countable in rows by an int. */
static int share_keys(struct attention_rank *a, struct sable_context *context, struct sable_error *error)
{
    MPI_Datatype row[2] = {MPI_DATATYPE_NULL, MPI_DATATYPE_NULL};
    const int64_t words[2] = {words_of(a, false), words_of(a, true)};
    if (a->kv_count * a->shape.keys > INT_MAX)
        return sable_fail(error, SABLE_BAD_INPUT, "attention: %lld rows of keys are more than MPI counts: use heads",
                          (long long)(a->kv_count * a->shape.keys));
    for (int i = 0; i < 2 && !error->code; i++)
        if (!sable_check_mpi(MPI_Type_contiguous((int)words[i], MPI_FLOAT, &row[i]), "MPI_Type_contiguous", error))
            sable_check_mpi(MPI_Type_commit(&row[i]), "MPI_Type_commit", error);
    if (!error->code && a->strategy == STRATEGY_RING)
        go_round(a, context, row, error);
    else if (!error->code)
        gather(a, context, row, error);
    for (int i = 0; i < 2; i++)
        if (row[i] != MPI_DATATYPE_NULL)
            MPI_Type_free(&row[i]);
    return error->code;
}

/* ---- Ulysses ---- */

static void parts_of_all(const struct attention_rank *a, struct sable_attention_part *queries,
                         struct sable_attention_part *query_shards, struct sable_attention_part *keys,
                         struct sable_attention_part *key_shards)
{
    const struct sable_attention_shape *s = &a->shape;
    int ranks = a->layout.ranks;
    for (int r = 0; r < ranks; r++) {
        struct attention_keys shard = attention_keys_of(s, STRATEGY_ULYSSES, r, ranks);
        queries[r] = attention_part_of(s, STRATEGY_ULYSSES, r, ranks);
        query_shards[r] = attention_shard_of(s, r, ranks);
        keys[r] = (struct sable_attention_part){.rows = {{0, s->keys}, {s->keys, 0}}};
        attention_kv_of(s, &queries[r], &keys[r].head, &keys[r].heads);
        key_shards[r] = (struct sable_attention_part){0, s->batch * s->kv_heads, {shard.segment[0], shard.segment[1]}};
    }
}

static int exchange_heads(struct attention_rank *a, struct sable_context *context, struct sable_error *error)
{
    const struct sable_attention_shape *s = &a->shape;
    size_t ranks = (size_t)a->layout.ranks;
    struct sable_attention_part *part = malloc(4 * ranks * sizeof *part);
    if (!part)
        sable_fail(error, SABLE_ENVIRONMENT, "attention: out of memory for an exchange");
    sable_phase(context, PHASE_COMMUNICATE);
    if (sable_agree(context->comm, error))
        goto done;
    struct sable_attention_part *shard = part + ranks, *keys = shard + ranks, *key_shard = keys + ranks;
    parts_of_all(a, part, shard, keys, key_shard);
    if (attention_move(context, words_of(a, false), shard, part, a->shard_q, a->q, a->parcel, error) ||
        attention_move(context, words_of(a, false), key_shard, keys, a->shard_k, a->k, a->parcel, error) ||
        attention_move(context, words_of(a, true), key_shard, keys, a->shard_v, a->v, a->parcel, error))
        goto done;
    sable_phase(context, PHASE_COMPUTE);
    struct sable_attention_keys range = {0, s->keys, a->k, a->v, s->keys};
    sable_attention(a->attention, a->q, 1, &range, a->out, a->lse);
    sable_phase(context, PHASE_COMMUNICATE);
    if (!attention_move(context, s->dim_v, part, shard, a->out, a->shard_out, a->parcel, error))
        attention_move(context, 1, part, shard, a->lse, a->shard_lse, a->parcel, error);
done:
    free(part);
    return error->code;
}

/* ---- All ---- */

int attention_run(struct attention_rank *a, struct sable_context *context, struct sable_error *error)
{
    spoil_before(a, context->fault);
    if (a->strategy == STRATEGY_ULYSSES) {
        exchange_heads(a, context, error);
    } else if (a->layout.ranks > 1 && a->strategy != STRATEGY_HEADS) {
        share_keys(a, context, error);
    } else {
        struct sable_attention_keys range = {0, a->shape.keys, a->k, a->v, a->shape.keys};
        sable_attention(a->attention, a->q, 1, &range, a->out, a->lse);
    }
    spoil_after(a, context->fault);
    return error->code;
}
