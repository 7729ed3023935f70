#include "stats.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static int ascending(const void *left, const void *right)
{
    double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

static double *sorted_copy(const double *values, size_t n)
{
    double *copy = n ? malloc(n * sizeof *copy) : NULL;
    if (copy) {
        memcpy(copy, values, n * sizeof *copy);
        qsort(copy, n, sizeof *copy, ascending);
    }
    return copy;
}

static double quantile_of_sorted(const double *sorted, size_t n, double q)
{
    double place = q * (double)(n - 1);
    size_t below = (size_t)place;
    if (below + 1 >= n)
        return sorted[n - 1];
    return sorted[below] + (place - (double)below) * (sorted[below + 1] - sorted[below]);
}

double sable_quantile(const double *values, size_t n, double q)
{
    double *sorted = sorted_copy(values, n);
    double result = sorted ? quantile_of_sorted(sorted, n, q) : NAN;
    free(sorted);
    return result;
}

/* The largest k (counted from 0) for which [x(k), x(n−1−k)] covers the median with probability ≥ 95 %: the number of
 * samples below the median is binomial(n, ½), and P(B ≤ k) ≤ 2.5 % on each side. −1 if there is none. */
static long interval_index(size_t n)
{
    double log_half_n = -(double)n * log(2), tail = 0;
    long k = -1;
    for (size_t i = 0; i < n / 2; i++) {
        tail += exp(lgamma((double)n + 1) - lgamma((double)i + 1) - lgamma((double)(n - i) + 1) + log_half_n);
        if (tail > 0.025)
            break;
        k = (long)i;
    }
    return k;
}

/* The interval whose ends are `widening` times as many ranks from the middle as those of independent values, at most to
 * the extremes. */
static struct sable_interval median_interval(const double *values, size_t n, double widening)
{
    struct sable_interval interval = {NAN, NAN, NAN, 0};
    double *sorted = sorted_copy(values, n);
    if (!sorted)
        return interval;
    double middle = 0.5 * (double)(n - 1);
    long k = interval_index(n);
    double wider = middle - widening * (middle - (double)k);
    size_t low = k >= 0 && wider >= 0 ? (size_t)wider : 0;
    interval = (struct sable_interval){sorted[low], quantile_of_sorted(sorted, n, 0.5), sorted[n - 1 - low], k >= 0};
    free(sorted);
    return interval;
}

struct sable_interval sable_median_interval(const double *values, size_t n)
{
    return median_interval(values, n, 1);
}

/* How much wider than that of independent values the spread of the number of values below the median is. Its variance
 * is n/4 · (1 + 2 Σ ρ_k), ρ_k the correlation of signs about the median at lag k; summed while the pairs ρ_k + ρ_{k+1}
 * are positive (Geyer, Statistical Science 7, 1992). At least 1. */
static double widening_of(const double *values, size_t n, double median)
{
    double sum = 0, scale = 0;
    for (size_t i = 0; i < n; i++)
        scale += values[i] != median;
    for (size_t k = 1; k + 1 < n / 2 && scale > 0; k += 2) {
        double pair = 0;
        for (size_t lag = k; lag <= k + 1; lag++)
            for (size_t i = 0; i + lag < n; i++)
                pair += ((values[i] > median) - (values[i] < median)) *
                        ((values[i + lag] > median) - (values[i + lag] < median)) / scale;
        if (!(pair > 0))
            break;
        sum += pair;
    }
    return sqrt(1 + 2 * sum);
}

struct sable_interval sable_independent_ratio(const double *updated, size_t n, const double *base, size_t m)
{
    struct sable_interval a = median_interval(updated, n, 1), b = median_interval(base, m, 1);
    if (!(a.low > 0) || !(b.low > 0))
        return (struct sable_interval){NAN, NAN, NAN, 0};
    a = median_interval(updated, n, widening_of(updated, n, a.mid));
    b = median_interval(base, m, widening_of(base, m, b.mid));
    double below = hypot(log(a.mid / a.low), log(b.high / b.mid)),
           above = hypot(log(a.high / a.mid), log(b.mid / b.low));
    double ratio = a.mid / b.mid;
    return (struct sable_interval){ratio * exp(-below), ratio, ratio * exp(above), a.exists && b.exists};
}

struct sable_interval sable_ratio_interval(const double *a, const double *b, size_t n)
{
    struct sable_interval interval = {NAN, NAN, NAN, 0};
    double *ratio = n ? malloc(n * sizeof *ratio) : NULL;
    if (!ratio)
        return interval;
    for (size_t i = 0; i < n; i++)
        ratio[i] = a[i] / b[i];
    interval = sable_median_interval(ratio, n);
    free(ratio);
    return interval;
}
