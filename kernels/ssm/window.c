#include "sable_window.h"

#include <math.h>
#include <string.h>

#include "sable_hippo.h"
#include "window_isa.h"

enum { STRIDE = 64 /* of powers */ };
static const double pi = 3.14159265358979323846;

void sable_window_matrices(enum sable_window_measure measure, int64_t order, double *a, double *b)
{
    for (int64_t n = 0; n < order; n++)
        b[n] = measure == SABLE_WINDOW_LEGT   ? sqrt(2 * (double)n + 1) / 2
               : measure == SABLE_WINDOW_LAGT ? 1
               : n % 2                        ? 0
               : n                            ? sqrt(2)
                                              : 1;
    for (int64_t n = 0; n < order; n++)
        for (int64_t k = 0; k < order; k++) {
            double *at = a + n * order + k;
            if (measure == SABLE_WINDOW_LEGT)
                *at = -sqrt((2 * (double)n + 1) * (2 * (double)k + 1)) / 2 * (n < k && (k - n) % 2 ? -1 : 1);
            else if (measure == SABLE_WINDOW_LAGT)
                *at = n > k ? -1 : n == k ? -0.5 : 0;
            else {
                double frequency = n / 2 == k / 2 ? pi * (double)(n / 2) * (double)(n - k) : 0;
                *at = frequency - b[n] * b[k];
            }
        }
}

/* ---- Discretisations ---- */

/* [next gain] = m⁻¹ [next gain] by elimination with row pivots; m is spoilt. */
static void solve(int64_t order, double *m, double *next, double *gain)
{
    for (int64_t i = 0; i < order; i++) {
        int64_t pivot = i;
        for (int64_t n = i + 1; n < order; n++)
            pivot = fabs(m[n * order + i]) > fabs(m[pivot * order + i]) ? n : pivot;
        for (int64_t k = 0; k < order && pivot != i; k++) {
            double keep = m[i * order + k], other = next[i * order + k];
            m[i * order + k] = m[pivot * order + k], m[pivot * order + k] = keep;
            next[i * order + k] = next[pivot * order + k], next[pivot * order + k] = other;
        }
        double keep = gain[i];
        gain[i] = gain[pivot], gain[pivot] = keep;
        for (int64_t n = i + 1; n < order; n++) {
            double factor = m[n * order + i] / m[i * order + i];
            for (int64_t k = i; k < order && factor != 0; k++)
                m[n * order + k] -= factor * m[i * order + k];
            for (int64_t k = 0; k < order && factor != 0; k++)
                next[n * order + k] -= factor * next[i * order + k];
            gain[n] -= factor * gain[i];
        }
    }
    for (int64_t i = order - 1; i >= 0; i--) {
        for (int64_t n = i + 1; n < order; n++) {
            for (int64_t k = 0; k < order; k++)
                next[i * order + k] -= m[i * order + n] * next[n * order + k];
            gain[i] -= m[i * order + n] * gain[n];
        }
        for (int64_t k = 0; k < order; k++)
            next[i * order + k] /= m[i * order + i];
        gain[i] /= m[i * order + i];
    }
}

static void multiply(int64_t size, const double *x, const double *y, double *product)
{
    memset(product, 0, (size_t)(size * size) * sizeof *product);
    for (int64_t n = 0; n < size; n++)
        for (int64_t k = 0; k < size; k++)
            for (int64_t j = 0; j < size && x[n * size + k] != 0; j++)
                product[n * size + j] += x[n * size + k] * y[k * size + j];
}

/* exp of h [A B; 0 0], whose last column holds the integral: Taylor's series of a matrix halved until its norm is below
 * 1/2 (18 terms: 2^-18/18! is below a rounding), squared as often. */
static void exponential(int64_t order, double step, const double *a, const double *b, double *next, double *gain,
                        double *room)
{
    const int64_t size = order + 1, all = size * size;
    double *m = room, *sum = m + all, *spare = sum + all, norm = 0;
    for (int64_t n = 0; n < order; n++) {
        double row = fabs(b[n]);
        for (int64_t k = 0; k < order; k++)
            row += fabs(a[n * order + k]);
        norm = fmax(norm, step * row);
    }
    int halvings = 0;
    for (; norm > 0.5; norm /= 2)
        halvings++;
    memset(m, 0, (size_t)all * sizeof *m);
    for (int64_t n = 0; n < order; n++) {
        for (int64_t k = 0; k < order; k++)
            m[n * size + k] = ldexp(step * a[n * order + k], -halvings);
        m[n * size + order] = ldexp(step * b[n], -halvings);
    }
    memset(sum, 0, (size_t)all * sizeof *sum);
    for (int64_t i = 0; i < size; i++)
        sum[i * size + i] = 1;
    for (int term = 18; term >= 1; term--) { /* Horner: I + m (…)/term */
        multiply(size, m, sum, spare);
        for (int64_t i = 0; i < all; i++)
            sum[i] = spare[i] / term + (i % (size + 1) == 0 ? 1 : 0);
    }
    for (int i = 0; i < halvings; i++) {
        multiply(size, sum, sum, spare);
        memcpy(sum, spare, (size_t)all * sizeof *sum);
    }
    for (int64_t n = 0; n < order; n++) {
        memcpy(next + n * order, sum + n * size, (size_t)order * sizeof *next);
        gain[n] = sum[n * size + order];
    }
}

void sable_window_discretise(enum sable_window_rule rule, int64_t order, double step, const double *a, const double *b,
                             double *next, double *gain, double *room)
{
    if (rule == SABLE_WINDOW_ZOH) {
        exponential(order, step, a, b, next, gain, room);
        return;
    }
    const double before = rule == SABLE_WINDOW_BILINEAR ? step / 2 : rule == SABLE_WINDOW_FORWARD ? step : 0;
    const double after = step - before;
    for (int64_t i = 0; i < order * order; i++) {
        double one = i % (order + 1) == 0 ? 1 : 0;
        next[i] = one + before * a[i], room[i] = one - after * a[i];
    }
    for (int64_t n = 0; n < order; n++)
        gain[n] = step * b[n];
    if (after > 0)
        solve(order, room, next, gain);
}

static double frobenius(int64_t order, const double *m)
{
    double sum = 0;
    for (int64_t i = 0; i < order * order; i++)
        sum += m[i] * m[i];
    return sqrt(sum);
}

/* Leaves out of `m` = I + hA what the signal never reaches, and on which Ā is the identity: coefficients with a zero
 * row and column of A (FouT's n = 1), and, in FouT of an odd order, v = √2 e_0 − e_{N−1}, two functions that do not
 * turn and are driven alike: A v = Aᵀ v = 0 and v·B = 0. Rounding errors on these stay as they are: a growth of 1. */
static void leave_out_unreached(enum sable_window_measure measure, int64_t order, const double *a, double *m)
{
    for (int64_t n = 0; n < order; n++) {
        double sum = 0;
        for (int64_t k = 0; k < order; k++)
            sum += fabs(a[n * order + k]) + fabs(a[k * order + n]);
        if (sum == 0)
            m[n * order + n] = 0;
    }
    if (measure == SABLE_WINDOW_FOUT && order % 2 == 1 && order > 1) {
        const int64_t last = order - 1;
        m[0] -= 2.0 / 3, m[last] += sqrt(2) / 3;
        m[last * order] += sqrt(2) / 3, m[last * order + last] -= 1.0 / 3;
    }
}

/* |Āᵐ| ≤ |Ā^{sq}| |Āʳ| with m = sq + r, r < s: the first s powers one by one, then every s-th. */
double sable_window_growth(enum sable_window_measure measure, int64_t order, const double *a, const double *next,
                           int64_t powers, double *room)
{
    const size_t bytes = (size_t)(order * order) * sizeof *room;
    double *m = room, *power = m + order * order, *spare = power + order * order, first = 1, most = 1;
    memcpy(m, next, bytes);
    leave_out_unreached(measure, order, a, m);
    memcpy(power, m, bytes);
    for (int64_t i = 1; i <= powers; i++) {
        const double norm = frobenius(order, power);
        if (i < STRIDE)
            first = fmax(first, norm);
        else
            most = fmax(most, norm);
        if (norm <= 1)
            return first * most; /* all later powers are products of these */
        if (!(norm < 1e6))
            return INFINITY;
        if (i == STRIDE)
            memcpy(m, power, bytes);
        multiply(order, m, power, spare);
        memcpy(power, spare, bytes);
    }
    return INFINITY;
}

/* ---- Steps ---- */

void sable_window_scan(int64_t order, int64_t channels, int64_t steps, const float *next, const float *gain,
                       const float *signal, float *c, float *spare)
{
    const int64_t groups = sable_legs_groups(channels), size = order * SABLE_LEGS_GROUP;
    void (*group)(int64_t, const float *, const float *, const float *, const float *, float *) =
        SABLE_ISA_PICK(sable_window_group);
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < groups; i++) {
        int64_t left = channels - i * SABLE_LEGS_GROUP, count = left < SABLE_LEGS_GROUP ? left : SABLE_LEGS_GROUP;
        float f[SABLE_LEGS_GROUP] = {0}, *now = c + i * size, *then = spare + i * size;
        for (int64_t t = 0; t < steps; t++) {
            memcpy(f, signal + t * channels + i * SABLE_LEGS_GROUP, (size_t)count * sizeof *f);
            group(order, next, gain, f, now, then);
            float *swap = now;
            now = then, then = swap;
        }
        if (now != c + i * size)
            memcpy(c + i * size, now, (size_t)size * sizeof *c);
    }
}

void sable_window_basis(enum sable_window_measure measure, int64_t order, double x, double *basis)
{
    if (measure == SABLE_WINDOW_LEGT) {
        double unused[order];
        sable_legendre(order, 1 - x, basis, unused);
    } else if (measure == SABLE_WINDOW_FOUT) {
        for (int64_t n = 0; n < order; n++) {
            double angle = 2 * pi * (double)(n / 2) * x;
            basis[n] = n < 2 ? (double)(1 - n) : sqrt(2) * (n % 2 ? sin(angle) : cos(angle));
        }
    } else {
        double before = 0, now = exp(-x / 2);
        for (int64_t n = 0; n < order; n++) { /* (n+1) L_{n+1} = (2n + 1 − x) L_n − n L_{n−1} */
            double k = (double)n, after = ((2 * k + 1 - x) * now - k * before) / (k + 1);
            basis[n] = now, before = now, now = after;
        }
    }
}

/* A coefficient is a sum with so many roundings on the way of any product, factors' own included: at most
 * γ (Σ |Ā c| + |B̄ f|) with γ = roundings u/(1 − roundings u), c being float32's own, which is away by *bound at most;
 * Ā's powers then grow no error beyond `growth`. That is proven of exact matrices; float64's differ by some
 * N |I − hA/2| 2^-53, for which 2^-40 a step is added: a margin, not a proof, where h|A| is more than 8000/N. */
void sable_window_follow(int64_t order, const double *next, const double *gain, double norm, double growth,
                         double roundings, double f, double *c, double *bound, double *room)
{
    const double gamma = roundings * 0x1p-24 / (1 - roundings * 0x1p-24);
    double local = 0;
    for (int64_t n = 0; n < order; n++) {
        double sum = gain[n] * f, size = fabs(sum);
        for (int64_t k = 0; k < order; k++) {
            sum += next[n * order + k] * c[k];
            size += fabs(next[n * order + k] * c[k]);
        }
        room[n] = sum;
        size *= gamma;
        local += size * size;
    }
    memcpy(c, room, (size_t)order * sizeof *c);
    if (bound)
        *bound +=
            growth * (sqrt(local) + (double)(order * order) * 0x1p-148 + gamma * norm * *bound) + *bound * 0x1p-40;
}
