/* What is verified, at every class. Of every row, if there are few enough, else of a sample: out and lse against the
 * textbook in double precision, on inputs fetched anew. Of one block of queries a rank: the same bits from a
 * computation alone, with the keys that it must not see set to NaN. Of everything: finite, and no larger than the
 * largest value.
 *
 * The bound of a row's error follows the rounding of each step (Higham, Accuracy and Stability, 3.1), u = 2^-24:
 *   E = (dim + 2) u |scale| |q|·max|k| + 4 u max|logit| + 8 u     of a logit, of what is rounded of it, of the
 * exponential |out − exact| ≤ 2 (E + n u) max|v|,  |sum of weights − 1| ≤ E + n u,   n = leaf + 64: a leaf's sum and
 * the tree's depth
 */
#include "attention_proof.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "attention_share.h"
#include "sable_array.h"
#include "sable_random.h"

enum { PURPOSE_SAMPLE = 48, SAMPLES = 64 };
const double ATTENTION_WHOLE_UP_TO = 1 << 28;

struct proof {
    double out_error, sum_error; /* over their bounds */
    double not_finite, too_large, differing;
    struct attention_proof_head head;
    double *logit, *row; /* [threads][keys], [threads][dim_v] */
};

/* ---- Fetching ---- */

static double length(const float *x, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += isfinite(x[i]) ? (double)x[i] * (double)x[i] : 0;
    return sqrt(sum);
}

void attention_measure_head(const struct sable_attention_shape *s, struct attention_proof_head *h)
{
    h->longest = 0;
    memset(h->largest, 0, (size_t)s->dim_v * sizeof *h->largest);
    for (int64_t c = 0; c < s->keys; c++) {
        h->longest = fmax(h->longest, length(h->k + c * s->dim, s->dim));
        for (int64_t d = 0; d < s->dim_v; d++) {
            double v = fabs((double)h->v[c * s->dim_v + d]);
            h->largest[d] = isfinite(v) ? fmax(h->largest[d], v) : h->largest[d];
        }
    }
}

static int fetch_head(const struct attention_rank *a, const struct sable_context *context, int64_t kv,
                      struct attention_proof_head *h, struct sable_error *error)
{
    const struct sable_attention_shape *s = &a->shape;
    if (h->index == kv)
        return SABLE_OK;
    if (attention_fetch(a, context, TENSOR_K, kv, 0, s->keys, h->k, error) ||
        attention_fetch(a, context, TENSOR_V, kv, 0, s->keys, h->v, error))
        return error->code;
    h->index = kv;
    attention_measure_head(s, h);
    return SABLE_OK;
}

/* ---- Rows against the textbook ---- */

/* |found − expected| over its bound. Where NaN or infinity is expected, found must not be finite either. */
static double over(double found, double expected, double bound)
{
    if (!isfinite(expected))
        return isfinite(found) ? INFINITY : 0;
    double ratio = fabs(found - expected) / bound;
    return ratio <= INFINITY ? ratio : INFINITY;
}

static int64_t seen_by(const struct sable_attention_shape *s, int64_t row)
{
    int64_t seen = s->causal ? row + s->keys - s->queries + 1 : s->keys;
    return seen < 0 ? 0 : seen;
}

void attention_prove_row(const struct sable_attention_shape *s, const struct attention_proof_head *h, int64_t r,
                         const float *q, const float *out, float lse, double *logit, double *row, double *out_error,
                         double *sum_error)
{
    const double u = 0x1p-24;
    int64_t seen = seen_by(s, r);
    double exact, most = 0;
    sable_attention_row_reference(s, q, seen, h->k, h->v, logit, row, &exact);
    for (int64_t c = 0; c < seen; c++)
        most = isfinite(logit[c]) ? fmax(most, fabs(logit[c])) : most;
    double e = (double)(s->dim + 2) * u * fabs(s->scale) * length(q, s->dim) * h->longest + 4 * u * most + 8 * u;
    double sums = (double)(s->leaf + 64) * u;
    for (int64_t d = 0; d < s->dim_v; d++)
        *out_error = fmax(*out_error, over((double)out[d], row[d], 2 * (e + sums) * h->largest[d] + 0x1p-120));
    if (isfinite(exact))
        *sum_error = fmax(*sum_error, over(exp(exact - (double)lse), 1, e + sums + 2 * u * fabs(exact)));
    else /* −inf, where nothing is seen, must be met exactly */
        *sum_error = fmax(*sum_error, exact < 0 && (double)lse != exact ? INFINITY : over((double)lse, exact, 1));
}

static int prove_rows(const struct attention_rank *a, const struct sable_context *context, int64_t head, int64_t first,
                      int64_t rows, const float *out, const float *lse, struct proof *p, struct sable_error *error)
{
    const struct sable_attention_shape *s = &a->shape;
    float *q = sable_array(rows, s->dim, sizeof *q);
    double out_error = 0, sum_error = 0;
    if (!q)
        return sable_fail(error, SABLE_ENVIRONMENT, "attention: out of memory for the verification");
    if (!fetch_head(a, context, sable_attention_kv_head(s, head), &p->head, error) &&
        !attention_fetch(a, context, TENSOR_Q, head, first, rows, q, error)) {
        int threads = a->layout.threads;
#pragma omp parallel for schedule(static, 1) num_threads(threads) reduction(max : out_error, sum_error)
        for (int t = 0; t < threads; t++)
            for (int64_t r = t; r < rows; r += threads)
                attention_prove_row(s, &p->head, first + r, q + r * s->dim, out + r * s->dim_v, lse[r],
                                    p->logit + t * s->keys, p->row + t * s->dim_v, &out_error, &sum_error);
        p->out_error = fmax(p->out_error, out_error);
        p->sum_error = fmax(p->sum_error, sum_error);
    }
    sable_array_free(q);
    return error->code;
}

/* Where row `row` of head `head` lies among a rank's rows, or −1. */
static int64_t place_of(const struct sable_attention_part *part, int64_t head, int64_t row)
{
    for (int i = 0; i < 2; i++)
        if (head >= part->head && head < part->head + part->heads && row >= part->rows[i].first &&
            row < part->rows[i].first + part->rows[i].count)
            return (head - part->head) * attention_rows_count(part) + (i ? part->rows[0].count : 0) + row -
                   part->rows[i].first;
    return -1;
}

static int prove_all(const struct attention_rank *a, const struct sable_context *context, struct proof *p,
                     struct sable_error *error)
{
    float *out, *lse;
    struct sable_attention_part part = attention_result(a, &out, &lse);
    for (int64_t h = part.head; h < part.head + part.heads; h++)
        for (int i = 0; i < 2; i++) {
            int64_t at = place_of(&part, h, part.rows[i].first);
            if (at >= 0 && prove_rows(a, context, h, part.rows[i].first, part.rows[i].count, out + at * a->shape.dim_v,
                                      lse + at, p, error))
                return error->code;
        }
    return SABLE_OK;
}

/* The first and the last row, the middle one of what this rank holds, and rows drawn for the whole. */
static int prove_sample(const struct attention_rank *a, const struct sable_context *context, struct proof *p,
                        struct sable_error *error)
{
    const struct sable_attention_shape *s = &a->shape;
    float *out, *lse;
    struct sable_attention_part part = attention_result(a, &out, &lse);
    int64_t heads = s->batch * s->heads, all = attention_rows_count(&part);
    for (int64_t i = -3; i < SAMPLES; i++) {
        struct sable_random_block drawn = sable_random(context->seed, PURPOSE_SAMPLE, (uint64_t)(i + 3), 0);
        int64_t head = (int64_t)(sable_random_unit(drawn.word[0], drawn.word[1]) * (double)heads);
        int64_t row = (int64_t)(sable_random_unit(drawn.word[2], drawn.word[3]) * (double)s->queries);
        if (i == -1 && part.heads * all > 0) {
            int64_t middle = part.heads * all / 2, local = middle % all;
            head = part.head + middle / all;
            row = local < part.rows[0].count ? part.rows[0].first + local
                                             : part.rows[1].first + local - part.rows[0].count;
        }
        head = i == -3 ? 0 : i == -2 ? heads - 1 : head;
        row = i == -3 ? 0 : i == -2 ? s->queries - 1 : row;
        int64_t at = place_of(&part, head, row);
        if (at >= 0 && prove_rows(a, context, head, row, 1, out + at * s->dim_v, lse + at, p, error))
            return error->code;
    }
    return SABLE_OK;
}

/* ---- A block computed alone ---- */

/* The block around the middle of what this rank holds: rows of it that are held here and must not see the keys made NaN
 * have the same bits again. */
static int repeat_block(const struct attention_rank *a, const struct sable_context *context, struct proof *p,
                        struct sable_error *error)
{
    const struct sable_attention_shape *s = &a->shape;
    float *out, *lse;
    struct sable_attention_part part = attention_result(a, &out, &lse);
    int64_t all = attention_rows_count(&part), middle = part.heads * all / 2;
    if (middle >= part.heads * all)
        return SABLE_OK;
    int64_t local = middle % all, head = part.head + middle / all;
    int64_t row =
        local < part.rows[0].count ? part.rows[0].first + local : part.rows[1].first + local - part.rows[0].count;
    int64_t first = row / SABLE_ATTENTION_BLOCK * SABLE_ATTENTION_BLOCK, left = s->queries - first;
    int64_t rows = left < SABLE_ATTENTION_BLOCK ? left : SABLE_ATTENTION_BLOCK, blind = seen_by(s, row);
    struct sable_attention_part alone = {head, 1, {{first, rows}, {s->queries, 0}}};
    struct sable_attention_shape plain = *s; /* bf16 has the bits of the same values as floats */
    plain.bf16 = false;
    struct sable_attention *again = sable_attention_create(&plain, &alone, 1, 0, NULL);
    float *q = sable_array(rows, s->dim, sizeof *q), *o = sable_array(rows, s->dim_v, sizeof *o);
    float *l = sable_array(rows, 1, sizeof *l);
    if (!again || !q || !o || !l)
        sable_fail(error, SABLE_ENVIRONMENT, "attention: out of memory for the verification");
    else if (!fetch_head(a, context, sable_attention_kv_head(s, head), &p->head, error) &&
             !attention_fetch(a, context, TENSOR_Q, head, first, rows, q, error)) {
        for (int64_t i = blind * s->dim; i < s->keys * s->dim; i++)
            p->head.k[i] = NAN;
        for (int64_t i = blind * s->dim_v; i < s->keys * s->dim_v; i++)
            p->head.v[i] = NAN;
        p->head.index = -1;
        struct sable_attention_keys range = {0, s->keys, p->head.k, p->head.v, s->keys};
        sable_attention(again, q, 1, &range, o, l);
        for (int64_t r = 0; r < rows; r++) {
            int64_t at = place_of(&part, head, first + r);
            if (at < 0 || (s->causal && first + r > row))
                continue;
            p->differing += memcmp(o + r * s->dim_v, out + at * s->dim_v, (size_t)s->dim_v * sizeof *o) != 0;
            p->differing += memcmp(l + r, lse + at, sizeof *l) != 0;
        }
    }
    sable_attention_free(again);
    sable_array_free(q);
    sable_array_free(o);
    sable_array_free(l);
    return error->code;
}

/* ---- Everything ---- */

/* A mean of values is no larger than the largest of them, but for the sums' rounding. */
static void look_through(const struct attention_rank *a, double largest, struct proof *p)
{
    const struct sable_attention_shape *s = &a->shape;
    float *out, *lse;
    struct sable_attention_part part = attention_result(a, &out, &lse);
    int64_t rows = part.heads * attention_rows_count(&part);
    double limit = largest * (1 + 4 * (double)(s->leaf + 64) * 0x1p-24), wrong = 0, large = 0;
#pragma omp parallel for schedule(static) num_threads(a->layout.threads) reduction(+ : wrong, large)
    for (int64_t i = 0; i < rows; i++) {
        for (int64_t d = 0; d < s->dim_v; d++) {
            wrong += !isfinite(out[i * s->dim_v + d]);
            large += fabs((double)out[i * s->dim_v + d]) > limit;
        }
        wrong += isnan(lse[i]) || lse[i] == INFINITY;
    }
    p->not_finite = wrong, p->too_large = large;
}

static int largest_value(const struct attention_rank *a, const struct sable_context *context, double *largest,
                         double *finite, struct sable_error *error)
{
    bool ulysses = a->strategy == STRATEGY_ULYSSES;
    struct attention_keys keys =
        ulysses ? attention_keys_of(&a->shape, a->strategy, a->layout.rank, a->layout.ranks) : a->keys;
    int64_t heads = ulysses ? a->shape.batch * a->shape.kv_heads : a->kv_count;
    const float *v = ulysses ? a->shard_v : a->v;
    double mine[2] = {0, a->finite ? 0 : 1}, all[2];
    for (int64_t i = 0; i < heads * attention_keys_count(&keys) * a->shape.dim_v; i++) {
        const double x =
            (double)attention_element(&a->shape, a->shape.dim_v, v, i / a->shape.dim_v, i % a->shape.dim_v);
        mine[0] = fmax(mine[0], isfinite(x) ? fabs(x) : 0);
    }
    if (sable_check_mpi(MPI_Allreduce(mine, all, 2, MPI_DOUBLE, MPI_MAX, context->comm), "MPI_Allreduce", error))
        return error->code;
    *largest = all[0];
    *finite = 1 - all[1];
    return SABLE_OK;
}

static int prove(struct attention_rank *a, struct sable_context *context, struct proof *p, struct sable_error *error)
{
    const struct sable_attention_shape *s = &a->shape;
    p->head = (struct attention_proof_head){-1, sable_array(s->keys, s->dim, sizeof(float)),
                                            sable_array(s->keys, s->dim_v, sizeof(float)), 0,
                                            sable_array(s->dim_v, 1, sizeof(double))};
    p->logit = sable_array(s->keys, a->layout.threads, sizeof(double));
    p->row = sable_array(s->dim_v, a->layout.threads, sizeof(double));
    double work = (double)(s->batch * s->heads) * (double)s->queries * (double)s->keys * (double)(s->dim + s->dim_v);
    if (!p->head.k || !p->head.v || !p->head.largest || !p->logit || !p->row)
        sable_fail(error, SABLE_ENVIRONMENT, "attention: out of memory for the verification");
    else if (!(work <= ATTENTION_WHOLE_UP_TO ? prove_all : prove_sample)(a, context, p, error) && !a->reference)
        repeat_block(a, context, p, error);
    sable_array_free(p->head.k);
    sable_array_free(p->head.v);
    sable_array_free(p->head.largest);
    sable_array_free(p->logit);
    sable_array_free(p->row);
    return error->code;
}

int attention_verify(struct attention_rank *a, struct sable_context *context, struct sable_checks *checks,
                     struct sable_error *error)
{
    struct proof p = {0};
    double largest = 0, finite = 0;
    if (prove(a, context, &p, error), sable_agree(context->comm, error))
        return error->code;
    if (largest_value(a, context, &largest, &finite, error))
        return error->code;
    look_through(a, largest, &p);
    double most[2] = {p.out_error, p.sum_error}, count[3] = {p.not_finite, p.too_large, p.differing};
    if (sable_check_mpi(MPI_Allreduce(MPI_IN_PLACE, most, 2, MPI_DOUBLE, MPI_MAX, context->comm), "MPI_Allreduce",
                        error) ||
        sable_check_mpi(MPI_Allreduce(MPI_IN_PLACE, count, 3, MPI_DOUBLE, MPI_SUM, context->comm), "MPI_Allreduce",
                        error))
        return error->code;
    sable_check_at_most(checks, "error of out over its bound", most[0], 1);
    sable_check_at_most(checks, "error of a row's sum of weights over its bound", most[1], 1);
    if (finite > 0) {
        sable_check(checks, "outputs that are not finite", count[0], 0, 0);
        sable_check(checks, "outputs beyond the largest value", count[1], 0, 0);
    }
    if (!a->reference)
        sable_check(checks, "rows that other keys or the layout changed", count[2], 0, 0);
    return SABLE_OK;
}
