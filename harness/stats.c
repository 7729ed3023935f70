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

struct sable_interval sable_median_interval(const double *values, size_t n)
{
    struct sable_interval interval = {NAN, NAN, NAN, 0};
    double *sorted = sorted_copy(values, n);
    if (!sorted)
        return interval;
    long k = interval_index(n);
    size_t low = k >= 0 ? (size_t)k : 0;
    interval = (struct sable_interval){sorted[low], quantile_of_sorted(sorted, n, 0.5), sorted[n - 1 - low], k >= 0};
    free(sorted);
    return interval;
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
