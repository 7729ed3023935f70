/* rollouts/importance_sampling: estimates of exact sums, their checks against exact moments, and their output. */
#include <math.h>
#include <string.h>

#include "rollouts_importance_sampling.h"
#include "sable_array.h"

static struct sable_rollouts_weighted *own_values(const struct weigh_state *s)
{
    return (struct sable_rollouts_weighted *)s->table.own;
}

/* ---- Estimates, of a state's moments: of W G, W and W G + W, as struct sable_rollouts_weighted has them ---- */

enum { PRODUCT, WEIGHT, BOTH };

/* Σ W² G. */
static double cross_of(const struct sable_exact_moments *w)
{
    return (sable_exact_squares(&w[BOTH]) - sable_exact_squares(&w[PRODUCT]) - sable_exact_squares(&w[WEIGHT])) / 2;
}

static double ordinary(const struct sable_exact_moments *w)
{
    return rollouts_mean_of(&w[PRODUCT]);
}

static double ordinary_error(const struct sable_exact_moments *w)
{
    return rollouts_error_of(&w[PRODUCT]);
}

static double total_weight(const struct sable_exact_moments *w)
{
    return w[WEIGHT].count ? sable_exact_mean(&w[WEIGHT]) * (double)w[WEIGHT].count : 0;
}

static double weighted(const struct sable_exact_moments *w)
{
    return total_weight(w) > 0 ? sable_exact_mean(&w[PRODUCT]) / sable_exact_mean(&w[WEIGHT]) : NAN;
}

/* √Σ W² (G − V)² / Σ W. */
static double weighted_error(const struct sable_exact_moments *w)
{
    double v = weighted(w);
    double squares = sable_exact_squares(&w[PRODUCT]) - 2 * v * cross_of(w) + v * v * sable_exact_squares(&w[WEIGHT]);
    return w[WEIGHT].count > 1 ? sqrt(fmax(squares, 0)) / total_weight(w) : NAN;
}

static double effective(const struct sable_exact_moments *w)
{
    return total_weight(w) > 0 ? total_weight(w) * total_weight(w) / sable_exact_squares(&w[WEIGHT]) : 0;
}

/* ---- Verification ---- */

static bool again(void *state, const struct sable_rollouts_share *one, struct sable_rollouts_chunk *chunk)
{
    struct weigh_state *s = state;
    const struct sable_rollouts_ratios ratios = {s->ratio, s->model.actions};
    struct sable_rollouts_lost lost = {0};
    if (!s->again)
        s->again = sable_array(s->model.states, 1, sizeof *s->again);
    if (!s->again)
        return false;
    memset(s->again, 0, (size_t)s->model.states * sizeof *s->again);
    return sable_rollouts_reference_weigh(&s->rows, one, &ratios, weigh_visits_of(s), s->again, &lost, chunk);
}

/* |off|/σ; without a variance beyond the rounding of its terms, 0 or +∞ by equality. */
static double surprise(double off, double value, double variance, double scale, double count, double rounding)
{
    if (variance <= rounding * scale)
        return fabs(off) <= 1e-12 * (1 + fabs(value)) + SABLE_QUANTUM ? 0 : INFINITY;
    return fabs(off) / sqrt(variance / count);
}

/* The largest |z| of a state's estimates: ordinary, weighted, mean weight. States with an expected effective sample
 * below 1000 need not be normal. */
static void surprises(const struct weigh_state *s, const struct sable_rollouts_weights_expected *expected,
                      double most[3])
{
    const double rounding = (double)s->model.horizon * 0x1p-50;
    for (int64_t i = 0; i < s->table.count; i++) {
        const struct sable_rollouts_weighted *w = &own_values(s)[i];
        int64_t state = s->table.first + i;
        double v = expected->value[state], a = expected->weight_square[state], b = expected->cross[state];
        double c = expected->product_square[state], n = (double)w->product.count;
        if (!(n >= 1000 * a))
            continue;
        most[0] = fmax(most[0], surprise(ordinary(&w->product) - v, v, c - v * v, c + v * v, n, rounding));
        most[1] = fmax(most[1],
                       surprise(weighted(&w->product) - v, v, c - 2 * v * b + v * v * a, c + v * v * a, n, rounding));
        most[2] = fmax(most[2], surprise(sable_exact_mean(&w->weight) - 1, 1, a - 1, a, n, rounding));
    }
}

/* Of all episodes: how far ΣWG is from what their starts let expect, and its variance. */
static void pool(const struct weigh_state *s, const struct sable_rollouts_weights_expected *expected, double sums[4])
{
    for (int64_t i = 0; i < s->table.count; i++) {
        const struct sable_exact_moments *product = &own_values(s)[i].product;
        double n = (double)product->count, v = expected->value[s->table.first + i];
        sums[0] += product->count ? n * sable_exact_mean(product) : 0;
        sums[1] += n * v;
        sums[2] += n * (expected->product_square[s->table.first + i] - v * v);
        sums[3] += n;
    }
}

static int verify_values(struct weigh_state *s, struct sable_context *context,
                         const struct sable_rollouts_weights_expected *expected, struct sable_checks *checks,
                         struct sable_error *error)
{
    int64_t counts[3] = {rollouts_chunks_replay(&s->chunks, again, s), 0,
                         0}; /* differ; states' sum less the chunks'; visits */
    double most[3] = {0}, worst[3], sums[4] = {0}, all[4];
    if (counts[0] < 0)
        sable_fail(error, SABLE_ENVIRONMENT, "rollouts/importance_sampling: out of memory for a replay");
    counts[1] = (int64_t)(rollouts_table_sum(&s->table, 0) + 3 * rollouts_table_sum(&s->table, 1) -
                          rollouts_chunks_sum(&s->chunks));
    for (int64_t i = 0; i < s->table.count; i++)
        counts[2] += own_values(s)[i].product.count;
    const bool started = s->params.visits == CHOICE_START, unbiased = started || s->lost.cut == 0;
    surprises(s, expected, most);
    pool(s, expected, sums);
    if (sable_agree(context->comm, error) || rollouts_sum(context, counts, 3, error) ||
        sable_check_mpi(MPI_Allreduce(most, worst, 3, MPI_DOUBLE, MPI_MAX, context->comm), "MPI_Allreduce", error) ||
        sable_check_mpi(MPI_Allreduce(sums, all, 4, MPI_DOUBLE, MPI_SUM, context->comm), "MPI_Allreduce", error))
        return error->code;
    if (started)
        sable_check(checks, "episodes counted", (double)counts[2], (double)s->params.episodes, 0);
    else
        sable_check_at_most(checks, "episodes less first visits", (double)(s->params.episodes - counts[2]), 0);
    sable_check(checks, "chunks that differ from a replay", (double)counts[0], 0, 0);
    sable_check(checks, "sums of states less those of the chunks", (double)counts[1], 0, 0);
    sable_check(checks, "weights too large to be summed", (double)s->lost.saturated, 0, 0);
    double limit = rollouts_most_z_of(s->model.states);
    if (unbiased) {
        sable_check_at_most(checks, "largest |z| of a state's ordinary estimate", worst[0], limit);
        sable_check_at_most(checks, "largest |z| of a state's weighted estimate", worst[1], limit);
        sable_check_at_most(checks, "largest |z| of a state's mean weight", worst[2], limit);
    }
    if (started)
        rollouts_check_mean(checks, "z of the mean weighted return of all episodes", all[0] / all[3], all[1] / all[3],
                            all[2] / all[3], s->params.episodes);
    return SABLE_OK;
}

int weigh_verify(void *state, struct sable_context *context, struct sable_checks *checks, struct sable_error *error)
{
    struct weigh_state *s = state;
    struct sable_rollouts_weights_expected expected;
    if (!sable_rollouts_expect_weights(&s->process, s->behaviour, s->ratio, &expected))
        sable_fail(error, SABLE_ENVIRONMENT, "rollouts/importance_sampling: out of memory for the exact moments");
    if (!sable_agree(context->comm, error))
        verify_values(s, context, &expected, checks, error);
    sable_rollouts_weights_expected_free(&expected);
    return error->code;
}

/* ---- Outputs ---- */

int weigh_output(void *state, struct sable_context *context, struct sable_sink *sink, struct sable_error *error)
{
    (void)context;
    struct weigh_state *s = state;
    static const struct rollouts_column columns[] = {
        {"ordinary", "ordinary importance sampling: mean of W G", ordinary},
        {"ordinary_error", "its standard error", ordinary_error},
        {"weighted", "weighted importance sampling: sum of W G / sum of W", weighted},
        {"weighted_error", "its standard error", weighted_error},
        {"count", "visits that count", rollouts_count_of},
        {"effective", "effective sample size", effective},
    };
    for (size_t k = 0; k < sizeof columns / sizeof *columns; k++)
        if (rollouts_table_put(&s->table, sink, &columns[k], error))
            return error->code;
    const int64_t lost[2] = {s->lost.cut, s->lost.saturated};
    const struct sable_array array = {.name = "lost",
                                      .help = "episodes cut at the horizon, weights too large to be summed",
                                      .type = SABLE_I64,
                                      .dims = 1,
                                      .global = {2},
                                      .labels = {"what"},
                                      .data = lost};
    return sable_put_whole(sink, &array, error) ? error->code : rollouts_put_counter(sink, error);
}
