/* What is verified of a layer, at every class, step by step on what the step before really gave:
 *
 *   projections  each row of q, k, v and y against its inputs by Freivalds' check: with weights s[j] drawn from [1, 2),
 *                Σ_j s[j] y[j] = x · (Σ_j s[j] w[·][j]) in double precision, on weights fetched anew. A chain of n
 * fused multiply-adds is off by at most n u Σ|x||w| (Higham 2002, 3.1), so the sum by (n + 2) u |x|·Σ_j s[j] |w[·][j]|
 *   attention    all that attention/prefill verifies, on q, k, v projected again from inputs fetched anew
 *   the move     (heads) rows drawn for the whole, from who computed them, against those that arrived: equal
 *
 * Source: Freivalds, Probabilistic machines can use less running time (1977). */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "attention_layer.h"
#include "sable_array.h"
#include "sable_random.h"

enum { PURPOSE_CHECK = 58, PURPOSE_ROW = 59, SAMPLES = 32 };

struct layer_proof {
    double projected, output;         /* errors over their bounds */
    double not_finite, moved_wrongly; /* numbers of values */
    float *w;                         /* weights of one head */
    double *sum, *absolute;           /* [depth] Σ_j s[j] w[·][j] and with |w| */
};

/* s, to be freed by the caller. */
static double *column_weights(const struct sable_context *context, int64_t width)
{
    double *s = sable_array(width, 1, sizeof *s);
    for (int64_t j = 0; j < width && s; j++) {
        struct sable_random_block drawn = sable_random(context->seed, PURPOSE_CHECK, (uint64_t)j, 0);
        s[j] = 1 + sable_random_unit(drawn.word[0], drawn.word[1]);
    }
    return s;
}

static void sum_weights(const double *s, int64_t depth, int64_t width, const float *w, double *sum, double *absolute)
{
    for (int64_t k = 0; k < depth; k++) {
        sum[k] = absolute[k] = 0;
        for (int64_t j = 0; j < width; j++) {
            sum[k] += s[j] * (double)w[k * width + j];
            absolute[k] += s[j] * fabs((double)w[k * width + j]);
        }
    }
}

/* |Σ s y − x·sum| over its bound, of one row; x comes in `pieces` of `piece` elements, x_step apart. Where the inputs
 * are not finite y must not be either. */
static double row_error(const double *s, int64_t pieces, int64_t piece, bool bf16, const void *x, int64_t x_step,
                        const double *sum, const double *absolute, int64_t width, const float *y)
{
    double exact = 0, bound = 0, found = 0;
    for (int64_t p = 0; p < pieces; p++)
        for (int64_t k = 0; k < piece; k++) {
            const double value = (double)sable_attention_value(bf16, x, p * x_step + k);
            exact += value * sum[p * piece + k];
            bound += fabs(value) * absolute[p * piece + k];
        }
    for (int64_t j = 0; j < width; j++)
        found += s[j] * (double)y[j];
    if (!isfinite(exact) || !isfinite(bound))
        return isfinite(found) ? INFINITY : 0;
    const double ratio =
        fabs(found - exact) / ((double)(pieces * piece + 2) * 0x1p-24 * bound + (double)width * 0x1p-140);
    return ratio <= INFINITY ? ratio : INFINITY;
}

/* ---- q, k, v ---- */

static int check_head(const struct layer *l, const struct sable_context *context, enum layer_weight weight,
                      int64_t head, const double *s, struct layer_proof *p, struct sable_error *error)
{
    const struct layer_side *side = weight == WEIGHT_Q ? &l->queries : &l->keys;
    const int64_t dim = weight == WEIGHT_V ? l->a.shape.dim_v : l->a.shape.dim, rows = layer_rows(side);
    if (layer_fetch_weight(l, context, weight, head, p->w, error))
        return error->code;
    sum_weights(s, l->width, dim, p->w, p->sum, p->absolute);
    double worst = 0;
    for (int64_t b = 0; b < layer_batches(side); b++) {
        const int64_t at = (layer_batch(side) + b) * side->per_batch + head - side->head;
        if (at < 0 || at >= side->heads)
            continue;
        const float *y = layer_projected(l, weight) + at * rows * dim;
#pragma omp parallel for schedule(static) num_threads(l->a.layout.threads) reduction(max : worst)
        for (int64_t r = 0; r < rows; r++)
            worst = fmax(worst, row_error(s, 1, l->width, l->bf16, layer_x(l, side, b * rows + r), 0, p->sum,
                                          p->absolute, dim, y + r * dim));
    }
    p->projected = fmax(p->projected, worst);
    return SABLE_OK;
}

static int check_projections(const struct layer *l, const struct sable_context *context, const double *s,
                             struct layer_proof *p, struct sable_error *error)
{
    for (int w = WEIGHT_Q; w <= WEIGHT_V; w++) {
        const struct layer_side *side = w == WEIGHT_Q ? &l->queries : &l->keys;
        for (int64_t h = 0; h < side->per_batch; h++)
            if (layer_slot(side, h) < layer_heads_held(side) &&
                check_head(l, context, (enum layer_weight)w, h, s, p, error))
                return error->code;
    }
    return SABLE_OK;
}

/* ---- y ---- */

static int check_output(const struct layer *l, const struct sable_context *context, const double *s,
                        struct layer_proof *p, struct sable_error *error)
{
    const struct sable_attention_shape *shape = &l->a.shape;
    const int64_t rows = attention_rows_count(&l->result), dim = shape->dim_v;
    for (int64_t h = 0; h < shape->heads; h++) {
        if (layer_fetch_weight(l, context, WEIGHT_O, h, p->w, error))
            return error->code;
        sum_weights(s, dim, l->width, p->w, p->sum + h * dim, p->absolute + h * dim);
    }
    const float *out = layer_out(l);
    double worst = 0, not_finite = 0;
#pragma omp parallel for collapse(2) schedule(static) num_threads(l->a.layout.threads)                                 \
    reduction(max : worst) reduction(+ : not_finite)
    for (int64_t b = 0; b < shape->batch; b++)
        for (int64_t r = 0; r < rows; r++) {
            const float *y = l->y + (b * rows + r) * l->width;
            worst = fmax(worst, row_error(s, shape->heads, dim, false, out + (b * shape->heads * rows + r) * dim,
                                          rows * dim, p->sum, p->absolute, l->width, y));
            for (int64_t j = 0; j < l->width; j++)
                not_finite += !isfinite(y[j]);
        }
    p->output = worst, p->not_finite = not_finite;
    return SABLE_OK;
}

/* ---- The move from heads to rows ---- */

static int check_move(const struct layer *l, struct sable_context *context, struct layer_proof *p,
                      struct sable_error *error)
{
    const struct sable_attention_shape *s = &l->a.shape;
    const int64_t all = s->heads * s->dim_v, mine = attention_rows_count(&l->result);
    float *rows = sable_array(SAMPLES, all, sizeof *rows);
    int64_t token[SAMPLES];
    if (!rows || all > INT32_MAX / SAMPLES)
        sable_fail(error, SABLE_ENVIRONMENT, "attention/layer: out of memory for the verification");
    if (sable_agree(context->comm, error))
        goto done;
    for (int i = 0; i < SAMPLES; i++) {
        struct sable_random_block drawn = sable_random(context->seed, PURPOSE_ROW, (uint64_t)i, 0);
        const double tokens = (double)(s->batch * s->queries);
        token[i] = i == 0 ? 0 : (int64_t)(sable_random_unit(drawn.word[0], drawn.word[1]) * tokens);
        const int64_t b = token[i] / s->queries, r = token[i] % s->queries;
        for (int64_t h = 0; h < s->heads; h++) {
            const int64_t at = b * s->heads + h - l->a.part.head;
            float *to = rows + i * all + h * s->dim_v;
            if (at >= 0 && at < l->a.part.heads)
                memcpy(to, l->a.out + (at * s->queries + r) * s->dim_v, (size_t)s->dim_v * sizeof *to);
            else
                memset(to, 0, (size_t)s->dim_v * sizeof *to);
        }
    }
    if (sable_check_mpi(MPI_Allreduce(MPI_IN_PLACE, rows, (int)(SAMPLES * all), MPI_FLOAT, MPI_SUM, context->comm),
                        "MPI_Allreduce", error))
        goto done;
    for (int i = 0; i < SAMPLES; i++) {
        const int64_t b = token[i] / s->queries, local = token[i] % s->queries - l->result.rows[0].first;
        for (int64_t c = 0; c < all && local >= 0 && local < mine; c++) {
            const float found = l->moved[((b * s->heads + c / s->dim_v) * mine + local) * s->dim_v + c % s->dim_v];
            const float sent = rows[i * all + c];
            p->moved_wrongly += found != sent && !(isnan(found) && isnan(sent));
        }
    }
done:
    sable_array_free(rows);
    return error->code;
}

/* ---- Everything ---- */

static bool is_finite(const float *x, int64_t n)
{
    bool finite = true;
    for (int64_t i = 0; i < n; i++)
        finite = finite && isfinite(x[i]);
    return finite;
}

static bool all_finite(const struct layer *l)
{
    const int64_t q = l->queries.heads * layer_rows(&l->queries), kv = l->keys.heads * layer_rows(&l->keys);
    return is_finite(layer_projected(l, WEIGHT_Q), q * l->a.shape.dim) &&
           is_finite(layer_projected(l, WEIGHT_K), kv * l->a.shape.dim) &&
           is_finite(layer_projected(l, WEIGHT_V), kv * l->a.shape.dim_v);
}

static int prove(const struct layer *l, struct sable_context *context, struct layer_proof *p, struct sable_error *error)
{
    const struct sable_attention_shape *shape = &l->a.shape;
    const int64_t most = shape->dim > shape->dim_v ? shape->dim : shape->dim_v, all = shape->heads * shape->dim_v;
    double *s = column_weights(context, l->width > most ? l->width : most);
    p->w = sable_array(l->width, most, sizeof *p->w);
    p->sum = sable_array(l->width > all ? l->width : all, 1, sizeof *p->sum);
    p->absolute = sable_array(l->width > all ? l->width : all, 1, sizeof *p->absolute);
    if (!s || !p->w || !p->sum || !p->absolute)
        sable_fail(error, SABLE_ENVIRONMENT, "attention/layer: out of memory for the verification");
    else if (!check_projections(l, context, s, p, error))
        check_output(l, context, s, p, error);
    sable_array_free(s);
    sable_array_free(p->w);
    sable_array_free(p->sum);
    sable_array_free(p->absolute);
    return error->code;
}

int layer_verify(struct layer *l, struct sable_context *context, struct sable_checks *checks, struct sable_error *error)
{
    struct layer_proof p = {0};
    prove(l, context, &p, error);
    if (sable_agree(context->comm, error) || (l->moved && check_move(l, context, &p, error)))
        return error->code;
    l->a.finite = all_finite(l);
    double most[2] = {p.projected, p.output}, count[3] = {p.not_finite, p.moved_wrongly, l->a.finite ? 0 : 1};
    if (sable_check_mpi(MPI_Allreduce(MPI_IN_PLACE, most, 2, MPI_DOUBLE, MPI_MAX, context->comm), "MPI_Allreduce",
                        error) ||
        sable_check_mpi(MPI_Allreduce(MPI_IN_PLACE, count, 3, MPI_DOUBLE, MPI_SUM, context->comm), "MPI_Allreduce",
                        error))
        return error->code;
    sable_check_at_most(checks, "error of a row of q, k or v over its bound", most[0], 1);
    sable_check_at_most(checks, "error of a row of y over its bound", most[1], 1);
    if (count[2] == 0)
        sable_check(checks, "values of y that are not finite", count[0], 0, 0);
    sable_check(checks, "values of out that changed on the way to their row", count[1], 0, 0);
    return attention_verify(&l->a, context, checks, error);
}
