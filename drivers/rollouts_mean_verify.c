/* What rollouts/mean checks: chunks made again by the textbook, and means and variances against exact ones. */
#include <math.h>

#include "rollouts_mean.h"

/* Uniform on 1 … 10: mean, variance, and fourth central moment. */
static const double true_mean = 5.5, true_variance = 8.25, true_fourth = 120.8625;

double rollouts_mean_squares(const struct sable_mean *m)
{
    return (double)((sable_int128)m->count * m->sum_of_squares - (sable_int128)m->sum * m->sum) / (double)m->count;
}

/* Chunks of this rank, up to four, that differ when the textbook makes them again. */
static int64_t replay(const struct rollouts_mean *s, uint64_t seed)
{
    enum { MOST = 4 };
    const int64_t own = (s->chunks - s->first + s->stride - 1) / s->stride;
    int64_t differ = 0, index[MOST];
    const struct sable_rollouts_share share = {.seed = seed, .first = s->first, .stride = s->stride, .count = own};
    int count = rollouts_sample(&share, MOST, index);
    for (int k = 0; k < count; k++) {
        struct rollouts_mean_scratch scratch = {.replicates = {0}, .noise = {0}};
        int64_t c = s->first + index[k] * s->stride;
        struct sable_mean again = rollouts_mean_chunk(s, seed, c, c, sable_mean_block_reference, &scratch);
        differ += again.count != s->whole[3 * c] || again.sum != s->whole[3 * c + 1] || again.mean != s->real[2 * c] ||
                  again.squares != s->real[2 * c + 1];
    }
    return differ;
}

/* Samples: against the distribution, and the merged mean against exact sums. */
static void check_samples(const struct rollouts_mean *s, struct sable_checks *checks)
{
    /* Roundings on a sample's way: 128 updates in its lane, at most 64 merges; each off by few ulp of 10. */
    const double roundings = 4 * (128 + 64) * 0x1p-53, n = (double)s->total.count;
    sable_check(checks, "mean less that of exact sums", s->mean, (double)s->total.sum / n,
                roundings * SABLE_MEAN_VALUES);
    sable_check(checks, "variance less that of exact sums", s->variance, rollouts_mean_squares(&s->total) / (n - 1),
                4 * roundings * SABLE_MEAN_VALUES * SABLE_MEAN_VALUES);
    rollouts_check_mean(checks, "z of the mean", s->mean, true_mean, true_variance, s->total.count);
    rollouts_check_mean(checks, "z of the variance", s->variance, true_variance,
                        true_fourth - true_variance * true_variance, s->total.count);
}

/* ---- Replicates ---- */

/* Mean and variance of w, and of its noise, after all steps; NaN: not known in closed form. */
struct law {
    double mean, variance, noise;
};

static struct law law_of(const struct sable_mean_rule *rule)
{
    const double k = (double)rule->steps, kept = pow(1 - rule->alpha, k);
    struct law law = {true_mean, true_variance / k, 0};
    if (rule->kind == SABLE_RULE_MEAN && rule->alpha > 0) {
        law.mean += (rule->start - true_mean) * kept;
        law.variance = true_variance * rule->alpha / (2 - rule->alpha) * (1 - kept * kept);
    }
    if (rule->kind == SABLE_RULE_MEAN)
        return law;
    long double w = rule->start, variance = 0, noise = 0;
    for (int64_t j = 1; j <= rule->steps; j++) {
        const long double step = rule->a / ((long double)j + rule->k0), off = rule->c * (w - rule->root);
        const long double slope = 1 - step * rule->c, own = step * step * rule->sigma * rule->sigma;
        w -= step * (rule->kind == SABLE_RULE_TANH ? tanhl(off) : off);
        variance = slope * slope * variance + own;
        noise += own;
    }
    const bool known = rule->kind == SABLE_RULE_LINEAR || rule->sigma == 0;
    return (struct law){known ? (double)w : NAN, known ? (double)variance : NAN, (double)noise};
}

/* A normal sample's variance has the standard error σ² √(2/(n − 1)); that of the mean of few uniform samples, whose
 * tails are lighter, is below. */
static double variance_error(const struct rollouts_mean *s)
{
    return ROLLOUTS_MOST_Z * sqrt(2 / (double)(s->total.count - 1));
}

/* w without noise: 1e-12 covers a rounding of tanh of the C library a step, which steps of 1/k damp; and the quantum.
 */
static void check_w(const struct rollouts_mean *s, const struct law *law, struct sable_checks *checks)
{
    if (law->variance == 0) {
        sable_check(checks, "w without noise", s->mean, law->mean, 1e-12 * (1 + fabs(law->mean)));
        sable_check(checks, "variance without noise", s->variance, 0, 0);
        return;
    }
    sable_check(checks, "z of the mean", (s->mean - law->mean) / sqrt(law->variance / (double)s->total.count), 0,
                ROLLOUTS_MOST_Z);
    sable_check(checks, "variance by the exact one", s->variance / law->variance, 1, variance_error(s));
}

/* tanh with noise: k times the variance tends to a² σ²/(2 a c − 1) (Chung 1954); after 10⁵ steps of a = c = 1 it is
 * within 5 % of it. */
static void check_limit(const struct rollouts_mean *s, struct sable_checks *checks)
{
    enum { LEAST_STEPS = 100000 };
    const struct sable_mean_rule *rule = &s->params.rule;
    if (rule->steps < LEAST_STEPS || rule->a != 1 || rule->c != 1 || rule->k0 != 0)
        return;
    const double limit = rule->sigma * rule->sigma / (double)rule->steps;
    sable_check(checks, "variance by its limit", s->variance / limit, 1, variance_error(s) + 0.05);
    sable_check(checks, "z of the root", (s->mean - rule->root) / sqrt(limit / (double)s->total.count), 0,
                ROLLOUTS_MOST_Z * sqrt(1.05));
}

static void check_replicates(const struct rollouts_mean *s, struct sable_checks *checks)
{
    const struct sable_mean_rule *rule = &s->params.rule;
    const struct law law = law_of(rule);
    int64_t sum = 0;
    for (int64_t c = 0; c < s->chunks; c++)
        sum = (int64_t)((uint64_t)sum + (uint64_t)s->whole[3 * c + 1]);
    sable_check(checks, "sum of replicates less that of chunks",
                (double)(int64_t)(rollouts_low_word(&s->replicates) - (uint64_t)sum), 0, 0);
    if (!isnan(law.mean))
        check_w(s, &law, checks);
    else
        check_limit(s, checks);
    if (!(law.noise > 0))
        return;
    const double scale = ROLLOUTS_MEAN_SCALE, n = (double)s->total.count;
    sable_check(checks, "z of the mean noise", sable_exact_mean(&s->noise) / scale / sqrt(law.noise / n), 0,
                ROLLOUTS_MOST_Z);
    sable_check(checks, "variance of the noise by the exact one",
                sable_exact_variance(&s->noise) / (scale * scale) / law.noise, 1, variance_error(s));
}

int rollouts_mean_verify(void *state, struct sable_context *context, struct sable_checks *checks,
                         struct sable_error *error)
{
    struct rollouts_mean *s = state;
    int64_t differ = replay(s, context->seed), count = 0;
    if (rollouts_sum(context, &differ, 1, error))
        return error->code;
    for (int64_t c = 0; c < s->chunks; c++)
        count += s->whole[3 * c];
    sable_check(checks, "counted", (double)count, (double)s->items, 0);
    sable_check(checks, "chunks that differ from a replay", (double)differ, 0, 0);
    if (s->params.method == ROLLOUTS_MEAN_APPROXIMATION)
        check_replicates(s, checks);
    else
        check_samples(s, checks);
    return SABLE_OK;
}
