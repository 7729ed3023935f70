/* What is verified of gradients, at every class, on inputs fetched anew. Of every query and key, if they are few
 * enough, else of a sample: dq, dk and dv against the textbook in double precision. Of each key head, directional
 * derivatives of L = Σ dout·out that are known exactly at any size:
 *
 *   along v (out is linear in v):             ⟨dv, v⟩ = ⟨dout, out⟩
 *   along (q, −k) (logits stay, first order): ⟨dq, q⟩ = ⟨dk, k⟩
 *   a constant added to all keys (a softmax does not see what all logits of a row gain):  Σ_c dk[c] = 0
 *
 * The bounds follow the rounding of each step (Higham, Accuracy and Stability, 3.1), u = 2^-24, with the E of
 * attention_proof.c, and e = E + 2u|lse| + 3u of a weight, n of the longest sum of the quantity:
 *   of s[r][c]:  p ((e + n u)|dout·v − δ| + (dim_v + 3) u |dout||v| + 2u|δ| + error of δ from that of out)
 * carried on to dq, dk and dv with the absolute values of what they are multiplied with. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "attention_gradient.h"
#include "sable_array.h"
#include "sable_random.h"

enum { PURPOSE_GRADIENT_SAMPLE = 49, SAMPLES = 24, DERIVATIVES = 3 };
static const double WHOLE_UP_TO = 1 << 26; /* pairs × dims up to which everything is recomputed */
static const double U = 0x1p-24;

/* One key head with its queries, fetched anew. */
struct head {
    float *k, *v, *q, *dout;
    double long_k, long_v; /* max |k|, |v| */
};

struct proof {
    struct head head;
    double *room; /* [threads][room_size] */
    int64_t room_size;
    double query_error, key_error, value_error, out_error; /* over their bounds */
};

static double length(const float *x, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += isfinite(x[i]) ? (double)x[i] * (double)x[i] : 0;
    return sqrt(sum);
}

static double dot(const float *x, const float *y, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += (double)x[i] * (double)y[i];
    return sum;
}

/* |found − expected| over its bound; what is not finite by definition may be anything. */
static double over(double found, double expected, double bound)
{
    if (!isfinite(expected))
        return 0;
    double ratio = fabs(found - expected) / (bound + 0x1p-120);
    return ratio <= INFINITY ? ratio : INFINITY;
}

static int64_t seen_by(const struct sable_attention_shape *s, int64_t row)
{
    int64_t seen = s->causal ? row + s->keys - s->queries + 1 : s->keys;
    return seen < 0 ? 0 : seen;
}

static int fetch_head(const struct gradient *g, const struct sable_context *context, int64_t kv, struct head *h,
                      struct sable_error *error)
{
    const struct sable_attention_shape *s = &g->shape;
    const struct attention_rank source = gradient_source(g);
    int64_t group = gradient_group(s);
    if (attention_fetch(&source, context, TENSOR_K, kv, 0, s->keys, h->k, error) ||
        attention_fetch(&source, context, TENSOR_V, kv, 0, s->keys, h->v, error))
        return error->code;
    for (int64_t i = 0; i < group; i++)
        if (attention_fetch(&source, context, TENSOR_Q, kv * group + i, 0, s->queries, h->q + i * s->queries * s->dim,
                            error) ||
            attention_fetch(&source, context, TENSOR_DOUT, kv * group + i, 0, s->queries,
                            h->dout + i * s->queries * s->dim_v, error))
            return error->code;
    h->long_k = h->long_v = 0;
    for (int64_t c = 0; c < s->keys; c++) {
        h->long_k = fmax(h->long_k, length(h->k + c * s->dim, s->dim));
        h->long_v = fmax(h->long_v, length(h->v + c * s->dim_v, s->dim_v));
    }
    return SABLE_OK;
}

/* The relative error of a weight of this row, but for the rounding of lse: E of attention_proof.c. */
static double error_of_weight(const struct sable_attention_shape *s, const struct head *h, const float *q)
{
    double most = fabs(s->scale) * length(q, s->dim) * h->long_k;
    return (double)(s->dim + 2) * U * most + 4 * U * most + 11 * U;
}

/* Additions one after another for an element of dq, and of dk and dv. */
static double sum_of_queries(const struct sable_attention_shape *s)
{
    return 96 + (double)s->leaf / 16 + (double)s->keys / (double)s->leaf + 8;
}

static double sum_of_keys(const struct sable_attention_shape *s)
{
    return 64 + (double)gradient_group(s) * (double)(s->queries / 64 + 1) + 8;
}

/* ---- One query ---- */

/* i: row of the head's group; held: the same in this rank's arrays. room: [keys + 2·dim + 2·dim_v]. */
static void prove_query(const struct gradient *g, const struct head *h, int64_t i, int64_t held, double *room,
                        struct proof *p)
{
    const struct sable_attention_shape *s = &g->shape;
    const float *q = h->q + i * s->dim, *dout = h->dout + i * s->dim_v;
    int64_t seen = seen_by(s, i % s->queries);
    double *weight = room, *o = weight + s->keys, *dq = o + s->dim_v, *bound = dq + s->dim, lse, delta = 0;
    sable_attention_row_reference(s, q, seen, h->k, h->v, weight, o, &lse);
    double e = error_of_weight(s, h, q) + (isfinite(lse) ? 2 * U * fabs(lse) : 0);
    double forward = 2 * (e + (double)(s->leaf + 64) * U) * h->long_v, absolute = 0;
    for (int64_t d = 0; d < s->dim_v; d++) {
        p->out_error = fmax(p->out_error, over((double)g->out[held * s->dim_v + d], o[d], forward));
        delta += (double)dout[d] * o[d];
        absolute += fabs((double)dout[d]);
    }
    memset(dq, 0, (size_t)(2 * s->dim) * sizeof *dq);
    for (int64_t c = 0; c < seen && isfinite(lse); c++) {
        double w = exp(weight[c] - lse), dp = dot(dout, h->v + c * s->dim_v, s->dim_v),
               ds = s->scale * w * (dp - delta);
        double off = w * fabs(s->scale) *
                     ((e + sum_of_queries(s) * U) * fabs(dp - delta) +
                      (double)(s->dim_v + 3) * U * length(dout, s->dim_v) * h->long_v + 2 * U * fabs(delta) +
                      forward * absolute);
        for (int64_t d = 0; d < s->dim; d++) {
            dq[d] += ds * (double)h->k[c * s->dim + d];
            bound[d] += off * fabs((double)h->k[c * s->dim + d]);
        }
    }
    for (int64_t d = 0; d < s->dim && g->has_dq; d++)
        p->query_error =
            fmax(p->query_error, over((double)g->dq[held * s->dim + d], isnan(lse) ? NAN : dq[d], bound[d]));
}

/* ---- One key ---- */

/* c: of the whole sequence; held: its place in this rank's arrays; first: this key head's first row of out and lse.
 * Weights by the rank's lse, which prove_query() and attention/prefill check. room: [2·dim + 2·dim_v]. */
static void prove_key(const struct gradient *g, const struct head *h, int64_t c, int64_t held, int64_t first,
                      double *room, struct proof *p)
{
    const struct sable_attention_shape *s = &g->shape;
    double *dk = room, *bound_k = dk + s->dim, *dv = bound_k + s->dim, *bound_v = dv + s->dim_v;
    memset(room, 0, (size_t)(2 * (s->dim + s->dim_v)) * sizeof *room);
    for (int64_t i = 0; i < gradient_group(s) * s->queries; i++) {
        const float *q = h->q + i * s->dim, *dout = h->dout + i * s->dim_v;
        double lse = (double)g->lse[first + i];
        if (c >= seen_by(s, i % s->queries) || lse == -INFINITY)
            continue;
        double w = exp(s->scale * dot(q, h->k + c * s->dim, s->dim) - lse);
        double dp = dot(dout, h->v + c * s->dim_v, s->dim_v);
        double delta = dot(dout, g->out + (first + i) * s->dim_v, s->dim_v), ds = s->scale * w * (dp - delta);
        double e = error_of_weight(s, h, q) + 2 * U * fabs(lse) + sum_of_keys(s) * U;
        double off = w * fabs(s->scale) *
                     (e * fabs(dp - delta) + (double)(s->dim_v + 3) * U * length(dout, s->dim_v) * h->long_v +
                      2 * U * fabs(delta));
        for (int64_t d = 0; d < s->dim; d++) {
            dk[d] += ds * (double)q[d];
            bound_k[d] += off * fabs((double)q[d]);
        }
        for (int64_t d = 0; d < s->dim_v; d++) {
            dv[d] += w * (double)dout[d];
            bound_v[d] += w * e * fabs((double)dout[d]);
        }
    }
    for (int64_t d = 0; d < s->dim; d++)
        p->key_error = fmax(p->key_error, over((double)g->dk[held * s->dim + d], dk[d], bound_k[d]));
    for (int64_t d = 0; d < s->dim_v; d++)
        p->value_error = fmax(p->value_error, over((double)g->dv[held * s->dim_v + d], dv[d], bound_v[d]));
}

/* ---- Which ---- */

/* The first, the middle and the last of n, then some that the seed draws; all, if `whole`. */
static int64_t chosen(const struct sable_context *context, bool whole, int64_t kv, int64_t i, int64_t n)
{
    if (whole)
        return i;
    struct sable_random_block drawn = sable_random(context->seed, PURPOSE_GRADIENT_SAMPLE, (uint64_t)kv, (uint32_t)i);
    int64_t any = (int64_t)(sable_random_unit(drawn.word[0], drawn.word[1]) * (double)n);
    return i == 0 ? 0 : i == 1 ? n / 2 : i == 2 ? n - 1 : any;
}

static int prove_head(const struct gradient *g, const struct sable_context *context, int64_t kv, bool whole,
                      struct proof *p, struct sable_error *error)
{
    const struct sable_attention_shape *s = &g->shape;
    int64_t rows = gradient_group(s) * s->queries, keys = g->keys.count, first = kv * rows;
    if (fetch_head(g, context, g->kv_first + kv, &p->head, error))
        return error->code;
    int64_t queries = whole ? rows : SAMPLES, some = whole ? keys : keys > 0 ? SAMPLES : 0;
    int threads = g->layout.threads;
#pragma omp parallel for schedule(static, 1) num_threads(threads)
    for (int t = 0; t < threads; t++) {
        struct proof mine = {0};
        for (int64_t i = t; i < queries; i += threads) {
            int64_t row = chosen(context, whole, g->kv_first + kv, i, rows);
            prove_query(g, &p->head, row, first + row, p->room + t * p->room_size, &mine);
        }
        for (int64_t i = t; i < some; i += threads) {
            int64_t c = chosen(context, whole, g->kv_first + kv, i, keys);
            prove_key(g, &p->head, g->keys.first + c, kv * keys + c, first, p->room + t * p->room_size, &mine);
        }
#pragma omp critical
        {
            p->query_error = fmax(p->query_error, mine.query_error);
            p->key_error = fmax(p->key_error, mine.key_error);
            p->value_error = fmax(p->value_error, mine.value_error);
            p->out_error = fmax(p->out_error, mine.out_error);
        }
    }
    return SABLE_OK;
}

/* The head that holds the middle of this rank's keys, and one that the seed draws; all, if there is little to do. */
static int prove_samples(const struct gradient *g, const struct sable_context *context, struct proof *p,
                         struct sable_error *error)
{
    const struct sable_attention_shape *s = &g->shape;
    double all = (double)(s->batch * s->heads) * (double)s->queries * (double)s->keys * (double)(s->dim + s->dim_v);
    bool whole = all <= WHOLE_UP_TO;
    int64_t drawn = (int64_t)(context->seed % (uint64_t)(g->kv_count > 0 ? g->kv_count : 1));
    for (int64_t kv = 0; kv < g->kv_count; kv++)
        if ((whole || kv == g->kv_count / 2 || kv == drawn || kv == 0) && prove_head(g, context, kv, whole, p, error))
            return error->code;
    return SABLE_OK;
}

/* ---- Directional derivatives ---- */

/* Of each key head: what must be 0 of each derivative, and the parts of its bound, from all ranks. */
enum { ALONG_V, ALONG_SCALE, ALONG_SHIFT, BOUND_V, BOUND_SCALE, BOUND_SHIFT, TERMS };

/* Row r of q, k, v or dout as floats, perhaps in `room`. */
static const float *row_of(const struct gradient *g, int64_t dim, const float *array, int64_t r, float *room)
{
    if (!g->shape.bf16)
        return array + r * dim;
    for (int64_t d = 0; d < dim; d++)
        room[d] = attention_element(&g->shape, dim, array, r, d);
    return room;
}

static void gather_terms(const struct gradient *g, int64_t kv, double long_k, double long_v, float *room, double *term)
{
    const struct sable_attention_shape *s = &g->shape;
    int64_t rows = gradient_group(s) * s->queries, held = g->keys.count;
    double sums = sum_of_keys(s) + sum_of_queries(s) + (double)(s->leaf + 64);
    for (int64_t i = kv * rows; i < (kv + 1) * rows && g->has_dq; i++) {
        const float *q = row_of(g, s->dim, g->q, i, room);
        const float *dout = row_of(g, s->dim_v, g->dout, i, room + s->dim);
        double lse = isfinite(g->lse[i]) ? (double)g->lse[i] : 0, size_q = length(q, s->dim);
        double size = length(dout, s->dim_v), most = fabs(s->scale) * size_q * long_k, absolute = 0, all = 0;
        for (int64_t d = 0; d < s->dim_v; d++)
            absolute += fabs((double)dout[d]);
        for (int64_t d = 0; d < s->dim; d++)
            all += fabs((double)q[d]);
        double e = (double)(s->dim + 6) * U * most + 11 * U + 2 * U * fabs(lse) + sums * U;
        double off = 2 * e * size * long_v + (double)(s->dim_v + 5) * U * size * long_v + 2 * e * long_v * absolute;
        term[ALONG_V] -= dot(dout, g->out + i * s->dim_v, s->dim_v);
        term[ALONG_SCALE] += dot(g->dq + i * s->dim, q, s->dim);
        term[BOUND_V] += 3 * e * long_v * absolute; /* of dv along v, and of out */
        term[BOUND_SCALE] += 2 * off * most;
        term[BOUND_SHIFT] += off * fabs(s->scale) * all;
    }
    for (int64_t c = kv * held; c < (kv + 1) * held; c++) {
        term[ALONG_V] += dot(g->dv + c * s->dim_v, row_of(g, s->dim_v, g->v, c, room), s->dim_v);
        term[ALONG_SCALE] -= dot(g->dk + c * s->dim, row_of(g, s->dim, g->k, c, room), s->dim);
        for (int64_t d = 0; d < s->dim; d++)
            term[ALONG_SHIFT] += (double)g->dk[c * s->dim + d];
    }
}

static int derivatives(const struct gradient *g, struct sable_context *context, double most[DERIVATIVES],
                       struct sable_error *error)
{
    const struct sable_attention_shape *s = &g->shape;
    int64_t kv = s->batch * s->kv_heads;
    double *term = calloc((size_t)(kv * TERMS), sizeof *term), size[2] = {0, 0};
    float *room = sable_array(s->dim + s->dim_v, 1, sizeof *room);
    if (!term || !room)
        sable_fail(error, SABLE_ENVIRONMENT, "attention/backward: out of memory for the verification");
    for (int64_t c = 0; c < g->kv_count * g->keys.count && room; c++) {
        size[0] = fmax(size[0], length(row_of(g, s->dim, g->k, c, room), s->dim));
        size[1] = fmax(size[1], length(row_of(g, s->dim_v, g->v, c, room), s->dim_v));
    }
    if (sable_agree(context->comm, error) ||
        sable_check_mpi(MPI_Allreduce(MPI_IN_PLACE, size, 2, MPI_DOUBLE, MPI_MAX, context->comm), "MPI_Allreduce",
                        error))
        goto done;
    for (int64_t i = 0; i < g->kv_count; i++)
        gather_terms(g, i, size[0], size[1], room, term + (g->kv_first + i) * TERMS);
    if (sable_check_mpi(MPI_Allreduce(MPI_IN_PLACE, term, (int)(kv * TERMS), MPI_DOUBLE, MPI_SUM, context->comm),
                        "MPI_Allreduce", error))
        goto done;
    for (int64_t i = 0; i < kv; i++)
        for (int d = 0; d < DERIVATIVES; d++)
            most[d] = fmax(most[d], over(term[i * TERMS + d], 0, term[i * TERMS + BOUND_V + d]));
done:
    sable_array_free(room);
    free(term);
    return error->code;
}

/* ---- All ---- */

static double not_finite(const struct gradient *g)
{
    const struct sable_attention_shape *s = &g->shape;
    int64_t rows = g->kv_count * gradient_group(s) * s->queries, held = g->kv_count * g->keys.count;
    double wrong = 0;
    for (int64_t i = 0; i < rows * s->dim && g->has_dq; i++)
        wrong += !isfinite(g->dq[i]);
    for (int64_t i = 0; i < held * s->dim; i++)
        wrong += !isfinite(g->dk[i]);
    for (int64_t i = 0; i < held * s->dim_v; i++)
        wrong += !isfinite(g->dv[i]);
    return wrong;
}

static int make_room(const struct gradient *g, struct proof *p, struct sable_error *error)
{
    const struct sable_attention_shape *s = &g->shape;
    int64_t rows = gradient_group(s) * s->queries;
    p->room_size = s->keys + 2 * (s->dim + s->dim_v);
    p->room = sable_array(p->room_size, g->layout.threads, sizeof *p->room);
    p->head.k = sable_array(s->keys, s->dim, sizeof(float)), p->head.v = sable_array(s->keys, s->dim_v, sizeof(float));
    p->head.q = sable_array(rows, s->dim, sizeof(float)), p->head.dout = sable_array(rows, s->dim_v, sizeof(float));
    if (!p->room || !p->head.k || !p->head.v || !p->head.q || !p->head.dout)
        sable_fail(error, SABLE_ENVIRONMENT, "attention/backward: out of memory for the verification");
    return error->code;
}

int gradient_verify(const struct gradient *g, struct sable_context *context, struct sable_checks *checks,
                    struct sable_error *error)
{
    struct proof p = {0};
    double along[DERIVATIVES] = {0}, wrong[2] = {not_finite(g), !g->finite};
    if (!make_room(g, &p, error))
        prove_samples(g, context, &p, error);
    sable_array_free(p.room);
    sable_array_free(p.head.k);
    sable_array_free(p.head.v);
    sable_array_free(p.head.q);
    sable_array_free(p.head.dout);
    if (sable_agree(context->comm, error) || derivatives(g, context, along, error))
        return error->code;
    double most[4] = {p.query_error, p.key_error, p.value_error, p.out_error};
    if (sable_check_mpi(MPI_Allreduce(MPI_IN_PLACE, most, 4, MPI_DOUBLE, MPI_MAX, context->comm), "MPI_Allreduce",
                        error) ||
        sable_check_mpi(MPI_Allreduce(MPI_IN_PLACE, wrong, 2, MPI_DOUBLE, MPI_SUM, context->comm), "MPI_Allreduce",
                        error))
        return error->code;
    sable_check_at_most(checks, "error of dq over its bound", most[0], 1);
    sable_check_at_most(checks, "error of dk over its bound", most[1], 1);
    sable_check_at_most(checks, "error of dv over its bound", most[2], 1);
    sable_check_at_most(checks, "error of the forward pass over its bound", most[3], 1);
    if (wrong[1] > 0)
        return SABLE_OK;
    sable_check(checks, "gradients that are not finite", wrong[0], 0, 0);
    sable_check_at_most(checks, "derivative along v over its bound", along[0], 1);
    sable_check_at_most(checks, "derivative along the scale over its bound", along[1], 1);
    sable_check_at_most(checks, "derivative along a shift of all keys over its bound", along[2], 1);
    return SABLE_OK;
}
