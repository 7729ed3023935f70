/* What is verified of attention/varlen, at every class, by the bounds of attention_proof.c: every row, if there are few
 * enough, else a sample, against the textbook in double precision on inputs fetched anew; one block of queries a rank,
 * against the bits that attention/prefill's kernel has for its sequence alone, with the keys that it must not see set
 * to NaN; everything: finite, and no larger than the largest value. */
#include "attention_proof.h"
#include "attention_varlen.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "sable_array.h"
#include "sable_random.h"

enum { PURPOSE_SAMPLE = 66, SAMPLES = 64 };

struct proof {
    double out_error, sum_error; /* over their bounds */
    double not_finite, too_large, differing;
    struct attention_proof_head head;
    double *logit, *row; /* [threads][most keys], [threads][dim_v] */
};

/* The shape of one sequence of the part alone. */
static struct sable_attention_shape shape_of(const struct varlen_rank *a, int64_t sequence)
{
    struct sable_attention_shape s = a->shape;
    s.queries = a->part.sequence[sequence].queries, s.keys = a->part.sequence[sequence].keys;
    return s;
}

static int fetch_head(const struct varlen_rank *a, const struct sable_context *context, int64_t sequence, int64_t head,
                      struct attention_proof_head *h, struct sable_error *error)
{
    const struct sable_attention_shape s = shape_of(a, sequence);
    const int64_t key = a->batch.sequence[a->part.index[sequence]].key;
    const int64_t kv = sable_attention_kv_head(&s, a->part.head + head), index = sequence * s.kv_heads + kv;
    if (h->index == index)
        return SABLE_OK;
    if (varlen_fetch(a, context, TENSOR_K, kv, key, s.keys, h->k, error) ||
        varlen_fetch(a, context, TENSOR_V, kv, key, s.keys, h->v, error))
        return error->code;
    h->index = index;
    attention_measure_head(&s, h);
    return SABLE_OK;
}

/* The packed row of the rank's result. */
static int64_t place_of(const struct varlen_rank *a, int64_t sequence, int64_t head, int64_t row)
{
    return head * a->part.queries + a->part.sequence[sequence].query + row;
}

static int prove_rows(const struct varlen_rank *a, const struct sable_context *context, int64_t sequence, int64_t head,
                      int64_t first, int64_t rows, struct proof *p, struct sable_error *error)
{
    const struct sable_attention_shape s = shape_of(a, sequence);
    const int64_t most = a->part.most_keys, at = place_of(a, sequence, head, first);
    const int64_t query = a->batch.sequence[a->part.index[sequence]].query + first;
    const int threads = context->layout.threads;
    double out_error = 0, sum_error = 0;
    float *q = sable_array(rows, s.dim, sizeof *q);
    if (!q)
        return sable_fail(error, SABLE_ENVIRONMENT, "attention/varlen: out of memory for the verification");
    if (!fetch_head(a, context, sequence, head, &p->head, error) &&
        !varlen_fetch(a, context, TENSOR_Q, a->part.head + head, query, rows, q, error)) {
#pragma omp parallel for schedule(static, 1) num_threads(threads) reduction(max : out_error, sum_error)
        for (int t = 0; t < threads; t++)
            for (int64_t r = t; r < rows; r += threads)
                attention_prove_row(&s, &p->head, first + r, q + r * s.dim, a->out + (at + r) * s.dim_v, a->lse[at + r],
                                    p->logit + t * most, p->row + t * s.dim_v, &out_error, &sum_error);
        p->out_error = fmax(p->out_error, out_error);
        p->sum_error = fmax(p->sum_error, sum_error);
    }
    sable_array_free(q);
    return error->code;
}

static int prove_all(const struct varlen_rank *a, const struct sable_context *context, struct proof *p,
                     struct sable_error *error)
{
    for (int64_t i = 0; i < a->part.sequences; i++)
        for (int64_t h = 0; h < a->part.heads; h++)
            if (prove_rows(a, context, i, h, 0, a->part.sequence[i].queries, p, error))
                return error->code;
    return SABLE_OK;
}

/* The sequence that packed row `row` belongs to. */
static int64_t sequence_of(const struct varlen_batch *b, int64_t row)
{
    int64_t from = 0, end = b->sequences;
    while (end - from > 1) { /* the last one that begins at or before the row: those without rows are passed over */
        const int64_t middle = from + (end - from) / 2;
        *(b->sequence[middle].query <= row ? &from : &end) = middle;
    }
    return from;
}

/* A packed row of the batch, if this rank has it. */
static int prove_packed(const struct varlen_rank *a, const struct sable_context *context, int64_t head, int64_t row,
                        struct proof *p, struct sable_error *error)
{
    const int64_t sequence = sequence_of(&a->batch, row);
    int64_t i = 0;
    while (i < a->part.sequences && a->part.index[i] != sequence)
        i++;
    if (i == a->part.sequences || head < a->part.head || head >= a->part.head + a->part.heads)
        return SABLE_OK;
    return prove_rows(a, context, i, head - a->part.head, row - a->batch.sequence[sequence].query, 1, p, error);
}

/* The first and the last row, the last one of the sequence with the most keys, the middle of each rank, and rows drawn
 * for the whole. */
static int prove_sample(const struct varlen_rank *a, const struct sable_context *context, struct proof *p,
                        struct sable_error *error)
{
    const struct varlen_batch *b = &a->batch;
    int64_t head, sequence, row, longest = -1;
    for (int64_t i = 0; i < b->sequences; i++)
        if (b->sequence[i].queries > 0 && (longest < 0 || b->sequence[i].keys > b->sequence[longest].keys))
            longest = i;
    if (varlen_middle(a, &head, &sequence, &row) && prove_rows(a, context, sequence, head, row, 1, p, error))
        return error->code;
    if (prove_packed(a, context, 0, 0, p, error) ||
        prove_packed(a, context, a->shape.heads - 1, b->queries - 1, p, error) ||
        prove_packed(a, context, 0, b->sequence[longest].query + b->sequence[longest].queries - 1, p, error))
        return error->code;
    for (uint64_t i = 0; i < SAMPLES; i++) {
        const struct sable_random_block drawn = sable_random(context->seed, PURPOSE_SAMPLE, i, 0);
        head = (int64_t)(sable_random_unit(drawn.word[0], drawn.word[1]) * (double)a->shape.heads);
        row = (int64_t)(sable_random_unit(drawn.word[2], drawn.word[3]) * (double)b->queries);
        if (prove_packed(a, context, head, row, p, error))
            return error->code;
    }
    return SABLE_OK;
}

/* ---- A block computed alone ---- */

static void compare_block(const struct varlen_rank *a, int64_t sequence, int64_t head, int64_t first, int64_t rows,
                          int64_t blind_above, const float *out, const float *lse, struct proof *p)
{
    const int64_t dim = a->shape.dim_v, at = place_of(a, sequence, head, first);
    for (int64_t r = 0; r < rows && first + r <= blind_above; r++) {
        p->differing += memcmp(out + r * dim, a->out + (at + r) * dim, (size_t)dim * sizeof *out) != 0;
        p->differing += memcmp(lse + r, a->lse + at + r, sizeof *lse) != 0;
    }
}

/* The block around the middle of what this rank holds, by sable_attention() for its sequence alone. */
static int repeat_block(const struct varlen_rank *a, const struct sable_context *context, struct proof *p,
                        struct sable_error *error)
{
    int64_t head, sequence, row;
    if (!varlen_middle(a, &head, &sequence, &row))
        return SABLE_OK;
    struct sable_attention_shape s = shape_of(a, sequence);
    s.bf16 = false; /* which has the bits of the same values as floats */
    const int64_t first = row / SABLE_ATTENTION_BLOCK * SABLE_ATTENTION_BLOCK, left = s.queries - first;
    const int64_t rows = left < SABLE_ATTENTION_BLOCK ? left : SABLE_ATTENTION_BLOCK;
    const int64_t seen = s.causal ? row + s.keys - s.queries + 1 : s.keys;
    const int64_t query = a->batch.sequence[a->part.index[sequence]].query + first;
    const struct sable_attention_part alone = {a->part.head + head, 1, {{first, rows}, {s.queries, 0}}};
    struct sable_attention *again = sable_attention_create(&s, &alone, 1, 0, NULL);
    float *q = sable_array(rows, s.dim, sizeof *q), *out = sable_array(rows, s.dim_v, sizeof *out);
    float *lse = sable_array(rows, 1, sizeof *lse);
    if (!again || !q || !out || !lse)
        sable_fail(error, SABLE_ENVIRONMENT, "attention/varlen: out of memory for the verification");
    else if (!fetch_head(a, context, sequence, head, &p->head, error) &&
             !varlen_fetch(a, context, TENSOR_Q, a->part.head + head, query, rows, q, error)) {
        for (int64_t i = seen * s.dim; i < s.keys * s.dim; i++)
            p->head.k[i] = NAN;
        for (int64_t i = seen * s.dim_v; i < s.keys * s.dim_v; i++)
            p->head.v[i] = NAN;
        p->head.index = -1;
        const struct sable_attention_keys range = {0, s.keys, p->head.k, p->head.v, s.keys};
        sable_attention(again, q, 1, &range, out, lse);
        compare_block(a, sequence, head, first, rows, s.causal ? row : s.queries, out, lse, p);
    }
    sable_attention_free(again);
    sable_array_free(q);
    sable_array_free(out);
    sable_array_free(lse);
    return error->code;
}

/* ---- Everything ---- */

static void look_through(const struct varlen_rank *a, double largest, struct proof *p)
{
    const int64_t rows = a->part.heads * a->part.queries, dim = a->shape.dim_v;
    const double limit = largest * (1 + 4 * (double)(a->shape.leaf + 64) * 0x1p-24);
    for (int64_t i = 0; i < rows; i++) {
        for (int64_t d = 0; d < dim; d++) {
            p->not_finite += !isfinite(a->out[i * dim + d]);
            p->too_large += fabs((double)a->out[i * dim + d]) > limit;
        }
        p->not_finite += isnan(a->lse[i]) || a->lse[i] == INFINITY;
    }
}

static int prove(const struct varlen_rank *a, const struct sable_context *context, struct proof *p,
                 struct sable_error *error)
{
    const struct sable_attention_shape *s = &a->shape;
    const int64_t most = a->part.most_keys;
    double work = 0;
    p->head = (struct attention_proof_head){-1, sable_array(most, s->dim, sizeof(float)),
                                            sable_array(most, s->dim_v, sizeof(float)), 0,
                                            sable_array(s->dim_v, 1, sizeof(double))};
    p->logit = sable_array(most, context->layout.threads, sizeof(double));
    p->row = sable_array(s->dim_v, context->layout.threads, sizeof(double));
    for (int64_t i = 0; i < a->batch.sequences; i++)
        work += (double)s->heads * varlen_pairs(s, &a->batch.sequence[i]) * (double)(s->dim + s->dim_v);
    if (!p->head.k || !p->head.v || !p->head.largest || !p->logit || !p->row)
        sable_fail(error, SABLE_ENVIRONMENT, "attention/varlen: out of memory for the verification");
    else if (!(work <= ATTENTION_WHOLE_UP_TO ? prove_all : prove_sample)(a, context, p, error) && !a->reference)
        repeat_block(a, context, p, error);
    sable_array_free(p->head.k);
    sable_array_free(p->head.v);
    sable_array_free(p->head.largest);
    sable_array_free(p->logit);
    sable_array_free(p->row);
    return error->code;
}

int varlen_verify(struct varlen_rank *a, struct sable_context *context, struct sable_checks *checks,
                  struct sable_error *error)
{
    struct proof p = {0};
    double most[4] = {0}, count[3];
    if (prove(a, context, &p, error), sable_agree(context->comm, error))
        return error->code;
    for (int64_t i = 0; i < a->part.kv_count * a->part.keys; i++)
        for (int64_t d = 0; d < a->shape.dim_v; d++) {
            const double v = fabs((double)attention_element(&a->shape, a->shape.dim_v, a->v, i, d));
            most[0] = isfinite(v) ? fmax(most[0], v) : most[0];
        }
    most[1] = a->finite ? 0 : 1, most[2] = p.out_error, most[3] = p.sum_error;
    if (sable_check_mpi(MPI_Allreduce(MPI_IN_PLACE, most, 4, MPI_DOUBLE, MPI_MAX, context->comm), "MPI_Allreduce",
                        error))
        return error->code;
    look_through(a, most[0], &p);
    count[0] = p.not_finite, count[1] = p.too_large, count[2] = p.differing;
    if (sable_check_mpi(MPI_Allreduce(MPI_IN_PLACE, count, 3, MPI_DOUBLE, MPI_SUM, context->comm), "MPI_Allreduce",
                        error))
        return error->code;
    sable_check_at_most(checks, "error of out over its bound", most[2], 1);
    sable_check_at_most(checks, "error of a row's sum of weights over its bound", most[3], 1);
    if (most[1] == 0) {
        sable_check(checks, "outputs that are not finite", count[0], 0, 0);
        sable_check(checks, "outputs beyond the largest value", count[1], 0, 0);
    }
    if (!a->reference)
        sable_check(checks, "rows that differ from prefill's of their sequence alone", count[2], 0, 0);
    return SABLE_OK;
}
