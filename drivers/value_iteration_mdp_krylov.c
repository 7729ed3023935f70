/* Policy evaluation by restarted GMRES (Saad & Schultz, SIAM J. Sci. Stat. Comput. 7, 1986): (I − γ P_π) x = r_π.
 * Orthogonalised by classical Gram–Schmidt twice, so that all products of a step need one reduction; their sums have
 * fixed bits on any layout (kernels/common/sable_sum.h). */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "sable_sum.h"
#include "value_iteration_mdp.h"

enum { TAG_SUMS = 62 };

/* ---- Vectors ---- */

static double block_dot(const double *x, const double *y, int64_t n)
{
    double product[MDP_BLOCK];
    for (int64_t i = 0; i < n; i++)
        product[i] = x[i] * y[i];
    return sable_sum_block(product, n);
}

static void local_dot(struct mdp_rank *g, const double *x, const double *y, struct sable_sum_nodes *nodes)
{
    int64_t blocks = (g->part.count + MDP_BLOCK - 1) / MDP_BLOCK;
#pragma omp parallel for schedule(static)
    for (int64_t b = 0; b < blocks; b++) {
        int64_t left = g->part.count - b * MDP_BLOCK;
        g->scratch[b] = block_dot(x + b * MDP_BLOCK, y + b * MDP_BLOCK, left < MDP_BLOCK ? left : MDP_BLOCK);
    }
    sable_sum_range(g->scratch, (g->part.first + MDP_BLOCK - 1) / MDP_BLOCK, blocks, nodes);
}

/* Joins `count` sums over the ranks in one binary tree of messages. */
static int join(struct sable_context *context, int64_t count, struct sable_sum_nodes *nodes, double *total,
                struct sable_error *error)
{
    int rank = context->layout.rank, ranks = context->layout.ranks, bytes = (int)((size_t)count * sizeof *nodes);
    struct sable_sum_nodes *other = malloc((size_t)bytes);
    if (!other)
        return sable_fail(error, SABLE_ENVIRONMENT, "out of memory for sums");
    for (int step = 1; step < ranks && !error->code; step *= 2) {
        if (rank % (2 * step) != 0) {
            sable_count_sent(context, (size_t)bytes);
            sable_check_mpi(MPI_Send(nodes, bytes, MPI_BYTE, rank - step, TAG_SUMS, context->comm), "MPI_Send", error);
            break;
        }
        if (rank + step >= ranks)
            continue;
        sable_check_mpi(MPI_Recv(other, bytes, MPI_BYTE, rank + step, TAG_SUMS, context->comm, MPI_STATUS_IGNORE),
                        "MPI_Recv", error);
        for (int64_t k = 0; k < count; k++)
            sable_sum_join(&nodes[k], &other[k]);
    }
    free(other);
    for (int64_t k = 0; k < count; k++)
        total[k] = sable_sum_total(&nodes[k]);
    if (!error->code)
        sable_check_mpi(MPI_Bcast(total, (int)count, MPI_DOUBLE, 0, context->comm), "MPI_Bcast", error);
    return error->code;
}

int mdp_dots(struct mdp_rank *g, struct sable_context *context, int64_t count, double *const *x, const double *y,
             double *total, struct sable_error *error)
{
    struct sable_sum_nodes *nodes = malloc((size_t)count * sizeof *nodes);
    if (!nodes)
        return sable_fail(error, SABLE_ENVIRONMENT, "out of memory for sums");
    for (int64_t k = 0; k < count; k++)
        local_dot(g, x[k], y, &nodes[k]);
    g->vectors += 2 * count;
    sable_phase(context, MDP_PHASE_REDUCE);
    join(context, count, nodes, total, error);
    sable_phase(context, MDP_PHASE_COMPUTE);
    free(nodes);
    return error->code;
}

/* Block by block, so that y stays in cache. */
void mdp_combine(struct mdp_rank *g, int64_t count, double *const *x, const double *factor, double *y)
{
#pragma omp parallel for schedule(static)
    for (int64_t b = 0; b < g->padded; b += MDP_BLOCK) {
        int64_t end = b + MDP_BLOCK < g->padded ? b + MDP_BLOCK : g->padded;
        for (int64_t k = 0; k < count; k++)
            for (int64_t i = b; i < end; i++)
                y[i] += factor[k] * x[k][i];
    }
    g->vectors += count + 2;
}

static void scale_to(struct mdp_rank *g, double factor, const double *x, double *y)
{
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < g->padded; i++)
        y[i] = factor * x[i];
    g->vectors += 2;
}

/* ---- The operator ---- */

void mdp_diagonal(struct mdp_rank *g)
{
    if (!g->diagonal)
        return;
#pragma omp parallel for schedule(static)
    for (int64_t s = 0; s < g->padded; s++) {
        const int64_t b = s / SABLE_MDP_LANES, lane = s % SABLE_MDP_LANES;
        double stay = 0; /* lanes behind the last state count for nothing */
        if (g->reference && s < g->part.count) {
            const int64_t row = s * g->source->actions + g->policy[s];
            for (int64_t k = g->csr.start[row]; k < g->csr.start[row + 1]; k++)
                stay += g->csr.column[k] == s ? g->csr.probability[k] : 0;
        } else if (!g->reference)
            for (int64_t k = g->rows.start[b] + lane; k < g->rows.start[b + 1]; k += SABLE_MDP_LANES)
                stay += g->rows.column[k] == s ? g->rows.probability[k] : 0;
        g->diagonal[s] = 1 - g->gamma * stay;
    }
}

int mdp_operate(struct mdp_rank *g, struct sable_context *context, int now, const double *x, double *product,
                struct sable_error *error)
{
    struct sable_mdp_change change;
    double *z = g->value[1 - now];
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < g->padded; i++)
        z[i] = g->diagonal ? x[i] / g->diagonal[i] : x[i];
    if (mdp_apply(g, context, MDP_PRODUCT, z, product, &change, error))
        return error->code;
    g->products++;
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < g->padded; i++)
        product[i] = z[i] - product[i];
    g->vectors += 5;
    return SABLE_OK;
}

int mdp_residual(struct mdp_rank *g, struct sable_context *context, int now, double *r, double *length,
                 struct sable_error *error)
{
    struct sable_mdp_change change;
    double *x = g->value[now], minus = -1, square;
    if (mdp_apply(g, context, MDP_EVALUATE, x, r, &change, error))
        return error->code;
    g->evaluations++;
    mdp_combine(g, 1, &x, &minus, r);
    if (mdp_dots(g, context, 1, &r, r, &square, error))
        return error->code;
    *length = sqrt(square);
    return SABLE_OK;
}

/* ---- GMRES ---- */

/* The least-squares problem of a cycle: the triangle that rotations make of the Hessenberg matrix, column by column. */
struct cycle {
    int64_t restart;
    double *triangle, *cosine, *sine, *rhs, *column, *again;
};

static int cycle_make(int64_t restart, struct cycle *cycle, struct sable_error *error)
{
    size_t n = (size_t)restart + 1;
    *cycle = (struct cycle){.restart = restart, .triangle = calloc(n * n + 5 * (n + 1), sizeof(double))};
    if (!cycle->triangle)
        return sable_fail(error, SABLE_ENVIRONMENT, "out of memory for GMRES");
    cycle->cosine = cycle->triangle + n * n;
    cycle->sine = cycle->cosine + n + 1;
    cycle->rhs = cycle->sine + n + 1;
    cycle->column = cycle->rhs + n + 1;
    cycle->again = cycle->column + n + 1;
    return SABLE_OK;
}

/* Takes in column[0 … j + 1] of the Hessenberg matrix; returns the residual's norm. */
static double rotate(struct cycle *c, int64_t j)
{
    for (int64_t i = 0; i < j; i++) {
        double above = c->column[i], below = c->column[i + 1];
        c->column[i] = c->cosine[i] * above + c->sine[i] * below;
        c->column[i + 1] = c->cosine[i] * below - c->sine[i] * above;
    }
    double length = sqrt(c->column[j] * c->column[j] + c->column[j + 1] * c->column[j + 1]);
    c->cosine[j] = length > 0 ? c->column[j] / length : 1;
    c->sine[j] = length > 0 ? c->column[j + 1] / length : 0;
    c->column[j] = length;
    memcpy(c->triangle + j * (c->restart + 1), c->column, (size_t)(j + 1) * sizeof(double));
    c->rhs[j + 1] = -c->sine[j] * c->rhs[j];
    c->rhs[j] = c->cosine[j] * c->rhs[j];
    return fabs(c->rhs[j + 1]);
}

/* Coefficients of the `count` basis vectors, into c->again. */
static void back_substitute(struct cycle *c, int64_t count)
{
    for (int64_t i = count - 1; i >= 0; i--) {
        double sum = c->rhs[i];
        for (int64_t j = i + 1; j < count; j++)
            sum -= c->triangle[j * (c->restart + 1) + i] * c->again[j];
        double pivot = c->triangle[i * (c->restart + 1) + i];
        c->again[i] = pivot != 0 ? sum / pivot : 0;
    }
}

/* Makes basis vector j + 1 and its column of the Hessenberg matrix. */
static int extend(struct mdp_rank *g, struct sable_context *context, struct cycle *c, int64_t j, int now,
                  struct sable_error *error)
{
    double *w = g->vector[j + 1], square;
    if (mdp_operate(g, context, now, g->vector[j], w, error))
        return error->code;
    memset(c->column, 0, (size_t)(j + 2) * sizeof(double));
    for (int pass = 0; pass < 2; pass++) {
        if (mdp_dots(g, context, j + 1, g->vector, w, c->again, error))
            return error->code;
        for (int64_t k = 0; k <= j; k++) {
            c->column[k] += c->again[k];
            c->again[k] = -c->again[k];
        }
        mdp_combine(g, j + 1, g->vector, c->again, w);
    }
    if (mdp_dots(g, context, 1, &w, w, &square, error))
        return error->code;
    c->column[j + 1] = sqrt(square);
    if (c->column[j + 1] > 0)
        scale_to(g, 1 / c->column[j + 1], w, w);
    return SABLE_OK;
}

static int run_cycle(struct mdp_rank *g, struct sable_context *context, struct cycle *c, double target, int64_t most,
                     int now, double *norm, struct sable_error *error)
{
    memset(c->rhs, 0, (size_t)(c->restart + 1) * sizeof(double));
    c->rhs[0] = *norm;
    int64_t made = 0;
    while (made < c->restart && made<most && * norm> target) {
        if (extend(g, context, c, made, now, error))
            return error->code;
        *norm = rotate(c, made++);
    }
    back_substitute(c, made);
    if (!g->diagonal) {
        mdp_combine(g, made, g->vector, c->again, g->value[now]);
        return SABLE_OK;
    }
    double *z = g->value[1 - now];
    memset(z, 0, (size_t)g->padded * sizeof *z);
    mdp_combine(g, made, g->vector, c->again, z);
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < g->padded; i++)
        g->value[now][i] += z[i] / g->diagonal[i];
    return SABLE_OK;
}

int mdp_gmres(struct mdp_rank *g, struct sable_context *context, double forcing, int64_t most, int *now,
              struct sable_error *error)
{
    struct cycle cycle;
    double norm = 0, first = 0, before = INFINITY;
    if (cycle_make(g->params.restart, &cycle, error))
        return error->code;
    for (int64_t first_product = g->products; !error->code;) {
        if (mdp_residual(g, context, *now, g->vector[0], &norm, error))
            break;
        first = first > 0 ? first : norm;
        /* Ends when done, out of steps, not finite, or where rounding lets no cycle gain any more. */
        if (!(norm > forcing * first) || !(norm < 0.9 * before) || g->products - first_product >= most)
            break;
        before = norm;
        scale_to(g, 1 / norm, g->vector[0], g->vector[0]);
        run_cycle(g, context, &cycle, forcing * first, most - (g->products - first_product), *now, &norm, error);
    }
    free(cycle.triangle);
    return error->code;
}
