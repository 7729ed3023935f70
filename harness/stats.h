/* Non-parametric statistics of repetition times. Source: Le Boudec, Performance Evaluation of Computer and
 * Communication Systems, §2.2 (order-statistics interval of a quantile); Hoefler & Belli, SC15. */
#ifndef SABLE_STATS_H
#define SABLE_STATS_H

#include <stddef.h>

struct sable_interval {
    double low, mid, high; /* mid: the median */
    int exists;            /* 0 below six samples: then low and high are the extremes */
};

enum { SABLE_STATS_MIN_SAMPLES = 6 };

/* Quantile q ∈ [0,1] of n ≥ 1 values by linear interpolation (type 7). `values` is not changed. NaN if n is 0. */
double sable_quantile(const double *values, size_t n, double q);

/* Median with a confidence interval of at least 95 % from order statistics: no assumption on the distribution. */
struct sable_interval sable_median_interval(const double *values, size_t n);

/* Median of the paired ratios a[i]/b[i] with its interval. Pairs of interleaved repetitions share the machine's mood.
 */
struct sable_interval sable_ratio_interval(const double *a, const double *b, size_t n);

/* Ratio of the medians of two independent launches, median(new)/median(base), with an interval of about 95 %.
 * Each median has its order-statistics interval, widened where repetitions follow each other (a run of slow ones counts
 * for less than as many scattered ones); on the logarithms, distances to the ends add in squares (MOVER: Zou & Donner,
 * Stat. Med. 27, 2008; for medians Price & Bonett, J. Stat. Comput. Simul. 72, 2002). No distribution is assumed.
 * `exists` is 0 where one side has too few repetitions for an interval. The order is that of measuring. */
struct sable_interval sable_independent_ratio(const double *updated, size_t n, const double *base, size_t m);

#endif
