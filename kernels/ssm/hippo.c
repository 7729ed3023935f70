#include "sable_hippo.h"

#include <math.h>
#include <omp.h>
#include <string.h>

#include "hippo_isa.h"

/* Histories in which Σ over n of the logarithms of 1 − b, about −N²/(w t), leaves less than e^-64 of a step's sum. */
static bool is_brief(enum sable_legs_rule rule, int64_t order, int64_t before)
{
    const double t = (double)(before / SABLE_LEGS_STEPS * SABLE_LEGS_STEPS), squared = (double)order * (double)order;
    return (rule == SABLE_LEGS_BILINEAR ? 2 : 1) * t < squared / 64;
}

/* The first n that less than 2^-40 of a step's sum reaches in such a history, else `order`: behind it sums may become
 * subnormal. */
static int64_t first_small(enum sable_legs_rule rule, int64_t order, int64_t before)
{
    const double w_t = (double)((rule == SABLE_LEGS_BILINEAR ? 2 : 1) * (before / SABLE_LEGS_STEPS * SABLE_LEGS_STEPS));
    double left = 1;
    if (!is_brief(rule, order, before))
        return order;
    for (int64_t n = 0; n < order; n++) {
        left *= (w_t - (double)n) / (w_t + (double)n + 1);
        if (left < 0x1p-40)
            return n;
    }
    return order;
}

/* What the sums of a group's steps start with: `factor` f, [steps, group]; 0 behind the last channel. */
static void load_signal(float factor, int64_t channels, int64_t group, int64_t steps, const float *signal, float *f)
{
    const int64_t left = channels - group * SABLE_LEGS_GROUP, count = left < SABLE_LEGS_GROUP ? left : SABLE_LEGS_GROUP;
    for (int64_t t = 0; t < steps; t++, signal += channels, f += SABLE_LEGS_GROUP) {
        for (int64_t j = 0; j < count; j++)
            f[j] = factor * signal[group * SABLE_LEGS_GROUP + j];
        for (int64_t j = count; j < SABLE_LEGS_GROUP; j++)
            f[j] = 0;
    }
}

void sable_legs_scan(enum sable_legs_rule rule, int64_t order, int64_t channels, int64_t begin, int64_t end,
                     const float *signal, float *c, float *factors)
{
    const int64_t groups = sable_legs_groups(channels);
    const float start = rule == SABLE_LEGS_BILINEAR ? -2 : -1; /* times f */
    const int64_t at_once = groups < LEGS_GROUPS * omp_get_max_threads() ? 1 : LEGS_GROUPS;
#pragma omp parallel
    for (int64_t first = begin, next; first < end; first = next) {
        next = (first / SABLE_LEGS_STEPS + 1) * SABLE_LEGS_STEPS; /* wherever the steps are cut */
        next = next < end ? next : end;
        const int64_t steps = next - first, from = first_small(rule, order, first);
#pragma omp for schedule(static)
        for (int64_t t = 0; t < steps; t += LEGS_PASS)
            SABLE_ISA_PICK(sable_legs_factors)(rule, order, first + 1 + t, factors + 2 * t * order);
#pragma omp for schedule(static)
        for (int64_t i = 0; i < groups; i += at_once) {
            float f[LEGS_GROUPS * SABLE_LEGS_STEPS * SABLE_LEGS_GROUP];
            const int64_t count = groups - i < at_once ? groups - i : at_once;
            for (int64_t g = 0; g < count; g++)
                load_signal(start, channels, i + g, steps, signal + first * channels,
                            f + g * SABLE_LEGS_STEPS * SABLE_LEGS_GROUP);
            SABLE_ISA_PICK(sable_legs_group)
            (rule, count, order, from, steps, factors, f, c + i * order * SABLE_LEGS_GROUP);
        }
    }
}

/* ---- float64: dense ---- */

void sable_legs_matrices(int64_t order, double *a, double *b)
{
    for (int64_t n = 0; n < order; n++) {
        for (int64_t k = 0; k < order; k++)
            a[n * order + k] = n > k ? -sqrt((2 * (double)n + 1) * (2 * (double)k + 1)) : n == k ? -((double)n + 1) : 0;
        b[n] = sqrt(2 * (double)n + 1);
    }
}

void sable_legs_dense_step(enum sable_legs_rule rule, int64_t order, int64_t t, const double *a, const double *b,
                           double f, double *c, double *e, double *w)
{
    const double explicit_part = rule == SABLE_LEGS_BILINEAR ? 0.5 / (double)t : 0;
    const double implicit_part = rule == SABLE_LEGS_BILINEAR ? 0.5 / (double)t : 1 / (double)t;
    if (rule == SABLE_LEGS_ZOH) { /* E is lower triangular, so c can be replaced from its end */
        for (int64_t n = order - 1; n >= 0; n--) {
            double sum = w[n] * f;
            for (int64_t k = 0; k <= n; k++)
                sum += e[n * order + k] * c[k];
            c[n] = sum;
        }
        return;
    }
    for (int64_t n = 0; n < order; n++) {
        double sum = c[n] + b[n] * f / (double)t;
        for (int64_t k = 0; k <= n; k++)
            sum += explicit_part * a[n * order + k] * c[k];
        w[n] = sum;
    }
    for (int64_t n = 0; n < order; n++) { /* I − A/(2t) is lower triangular */
        double sum = w[n];
        for (int64_t k = 0; k < n; k++)
            sum += implicit_part * a[n * order + k] * c[k];
        c[n] = sum / (1 - implicit_part * a[n * order + n]);
    }
}

/* P_n by its three-term recurrence; ∫_0^x P_n(2s − 1) ds = (P_{n+1} − P_{n−1})(2x − 1) / (2 (2n+1)), and x for n = 0.
 */
void sable_legendre(int64_t order, double x, double *p, double *integral)
{
    const double z = 2 * x - 1;
    double before = 0, now = 1;
    for (int64_t n = 0; n < order; n++) {
        double k = (double)n, after = ((2 * k + 1) * z * now - k * before) / (k + 1), root = sqrt(2 * k + 1);
        p[n] = root * now;
        integral[n] = n == 0 ? x : (after - before) / (2 * root);
        before = now;
        now = after;
    }
}

void sable_legendre_nodes(int64_t order, double *node, double *weight)
{
    const double n = (double)order;
    for (int64_t i = 0; i < order; i++) {
        double z = cos(3.14159265358979323846 * ((double)i + 0.75) / (n + 0.5)), slope = 1;
        for (int iteration = 0; iteration < 100; iteration++) { /* Newton; quadratic from the third step on */
            double before = 0, now = 1;
            for (int64_t k = 0; k < order; k++) {
                double after = ((2 * (double)k + 1) * z * now - (double)k * before) / ((double)k + 1);
                before = now;
                now = after;
            }
            slope = n * (z * now - before) / (z * z - 1);
            double change = now / slope;
            z -= change;
            if (fabs(change) < 1e-15)
                break;
        }
        node[i] = (1 + z) / 2;
        weight[i] = 1 / ((1 - z * z) * slope * slope);
    }
}

void sable_legs_zoh(int64_t order, int64_t t, const double *node, const double *weight, double *e, double *w)
{
    const double s = ((double)t - 1) / (double)t; /* where the old interval ends in the new one */
    double at_end[order], from_start[order], old[order], new[order], unused[order];
    memset(e, 0, (size_t)(order * order) * sizeof *e);
    for (int64_t i = 0; i < order && t > 1; i++) {
        sable_legendre(order, node[i], old, unused);
        sable_legendre(order, s * node[i], new, unused);
        for (int64_t n = 0; n < order; n++)
            for (int64_t k = 0; k <= n; k++)
                e[n * order + k] += s * weight[i] * new[n] * old[k];
    }
    sable_legendre(order, s, at_end, from_start);
    for (int64_t n = 0; n < order; n++)
        w[n] = (n == 0 ? 1 : 0) - from_start[n]; /* ∫_s^1 */
}

/* ---- float64: one channel, to verify ---- */

/* Of dense steps in float32 in any order of summation: a product by a rounded triangle M = I + bA and a solution by a
 * rounded one L = I − aA give (L + δL) c′ = (M + δM) c + h (B + δB) f with |δL| ≤ γ|L| and so on, γ = (N+6)u/(1 −
 * (N+6)u) (Higham, Accuracy and Stability of Numerical Algorithms, 2002, theorems 3.5, 8.5), and |L⁻¹| ≤ 1 as for all a
 * ≥ 0 ⟨Lx, x⟩ ≥ |x|². So c′ is off by at most γ | |M||c| + |L||c′| + h|B f| |; its square is the sum of these over n.
 */
struct dense_sums {
    double old, new; /* Σ_{k<n} √(2k+1) |c_k| */
};

static double dense_square(int64_t order, int64_t n, double before, double after, double source, double old, double new,
                           struct dense_sums *sums)
{
    const double u = 0x1p-24, gamma = ((double)order + 6) * u / (1 - ((double)order + 6) * u);
    const double root = sqrt(2 * (double)n + 1), diagonal = (double)n + 1;
    double size = before * root * sums->old + fabs(1 - before * diagonal) * fabs(old) + after * root * sums->new +
                  (1 + after * diagonal) * fabs(new) + fabs(source);
    sums->old += root * fabs(old);
    sums->new += root *fabs(new);
    return gamma * gamma * size * size + 0x1p-290;
}

/* What a step of the scan (hippo.isa.c) errs by in c_n, squared: factors and results rounded (u each), and q's own
 * error, which is carried along n, with what is `lost` of it. `weight` is 1/t, or half of it: κ = 1/(weight r²) · 1 or
 * 2, b = weight r²/(1 + weight (n+1)). */
static double scan_square(double old, double new, double q, double weight, double twice, double root, double diagonal,
                          double lost, double *q_error)
{
    const double u = 0x1p-24, kept = twice / (weight * root * root) * old, d = kept - q;
    const double b = weight * root * root / (1 + weight * diagonal);
    const double product = b * u * (fabs(kept) + 2 * fabs(d)), after = q + b * d;
    const double error = (product + b * *q_error + u * fabs(new)) / root + 0x1p-148;
    *q_error = fabs(1 - b) * *q_error + product + u * fabs(after) + lost;
    return error * error;
}

/* Errors of steps add up, shrunk by the norm of the step's matrix: A + Aᵀ = −(I + r rᵀ) gives
 * ⟨Ax, x⟩ ≤ −|x|²/2, so with h = 1/t and m = |A|² (here Frobenius)
 *   backward : |(I − hA)⁻¹| ≤ 1/(1 + h/2)
 *   bilinear : |(I − hA/2)⁻¹(I + hA/2)|² ≤ (1 − h/2 + m h²/4)/(1 + h/2 + m h²/4). */
static double contraction_of(enum sable_legs_rule rule, int64_t order, double step)
{
    double norm = 0;
    if (rule == SABLE_LEGS_BACKWARD)
        return 1 / (1 + step / 2);
    for (int64_t i = 0; i < order; i++) {
        double n = (double)i;
        norm += (2 * n + 1) * n * n + (n + 1) * (n + 1); /* row n of A: Σ_{k<n} (2k+1) = n² */
    }
    double square = norm * step * step / 4;
    return sqrt((1 - step / 2 + square) / (1 + step / 2 + square));
}

void sable_legs_follow(enum sable_legs_rule rule, bool dense, int64_t order, int64_t begin, int64_t end,
                       const float *signal, int64_t stride, double *c, double *bound, double *room)
{
    const double explicit_share = rule == SABLE_LEGS_BILINEAR ? 0.5 : 0;
    for (int64_t t = begin + 1; t <= end; t++) {
        const double step = 1 / (double)t, before = explicit_share * step, after = step - before;
        const double f = (double)signal[(t - 1) * stride];
        struct dense_sums sums = {0};
        const double lost = is_brief(rule, order, t - 1) ? (double)LEGS_NOTHING : 0x1p-148;
        double old_sum = 0, new_sum = 0, q_error = 0, local = 0;
        for (int64_t n = 0; n < order; n++) {
            double root = sqrt(2 * (double)n + 1), diagonal = (double)n + 1, old = c[n];
            double right = old - before * (root * old_sum + diagonal * old) + step * root * f;
            double new = (right - after * root * new_sum) / (1 + after * diagonal);
            if (bound && dense)
                local += dense_square(order, n, before, after, step * root * f, old, new, &sums);
            else if (bound) {
                const double q = (before * old_sum + after * new_sum - step * f) / after;
                local += scan_square(root * old, root * new, q, after, rule == SABLE_LEGS_BILINEAR ? 2 : 1, root,
                                     diagonal, lost, &q_error);
            }
            room[n] = new;
            old_sum += root * old;
            new_sum += root * new;
        }
        memcpy(c, room, (size_t)order * sizeof *c);
        if (bound) {
            *bound = contraction_of(rule, order, step) * *bound + 1.1 * sqrt(local);
        }
    }
}
