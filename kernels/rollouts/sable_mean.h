/* Estimating a mean of i.i.d. samples, what one rank computes: incrementally or from sums, and by stochastic
 * approximation.
 *
 *   incremental   w ← w + (x − w)/k,  M ← M + (x − w_before)(x − w_after)    (Welford, Technometrics 4, 1962)
 *   merged        w = w_a + δ n_b/n,  M = M_a + M_b + δ² n_a n_b/n, δ = w_b − w_a   (Chan, Golub & LeVeque 1979)
 *   sums          Σ x and Σ x² as integers, divided at the end
 *
 * Sample i is 1 + ⌊10 u/2³²⌋, u = word i mod 4 of Philox4x32-10 at (i div 4, 0, SABLE_MEAN_PURPOSE): uniform on 1 … 10,
 * a value's chance off by at most 2⁻³². Sources: also S. Zhao (2025), ch. 6. Bits, tolerances: docs/rollouts.md. */
#ifndef SABLE_MEAN_H
#define SABLE_MEAN_H

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { SABLE_MEAN_PURPOSE = 0x726d, SABLE_MEAN_BLOCK = 4096, SABLE_MEAN_LANES = 32, SABLE_MEAN_VALUES = 10 };

/* Of some samples: how many, their mean, Σ (x − mean)²; and exact sums. */
struct sable_mean {
    int64_t count;
    double mean, squares;
    int64_t sum, sum_of_squares;
};
enum sable_mean_method { SABLE_MEAN_INCREMENTAL, SABLE_MEAN_SUMS };

/* a and b as one; either may be empty. */
struct sable_mean sable_mean_merge(struct sable_mean a, struct sable_mean b);
/* list[0..count), count ≥ 1, merged in the binary tree over indices; the list is used up. */
struct sable_mean sable_mean_tree(struct sable_mean *list, int64_t count);

/* Samples [first, first + count) of at most a block; `first` a multiple of 4. Element i goes to lane i mod 32, lanes
 * are merged 32 → 16 → … → 1. `drawn_at`: the sample whose number the first one is drawn for (`first` but for faults).
 */
typedef struct sable_mean sable_mean_block_function(uint64_t seed, int64_t drawn_at, int64_t count,
                                                    enum sable_mean_method method);
/* By the textbook, sample after sample, and in SIMD lanes for this processor: the same bits. */
sable_mean_block_function sable_mean_block_reference;
sable_mean_block_function *sable_mean_block(void);

/* ---- Stochastic approximation (Robbins & Monro 1951) ----
 *
 *   mean      w ← w + α (x − w), x uniform on 1 … 10; α = 0: 1/k
 *   linear    w ← w − a/(k + k₀) (c (w − w*) + σ η)
 *   tanh      w ← w − a/(k + k₀) (tanh(c (w − w*)) + σ η),    η ~ N(0, 1), k = 1, 2, …
 *
 * Replicate r takes samples r·steps, r·steps + 1, … of the stream. η is Box & Muller's (1958): sample i has the pair
 * i div 2 of the words of Philox at (i div 4, 0, SABLE_NORMAL_PURPOSE), the cosine if i is even, else the sine; no |η|
 * is above 6.8, which takes less than 10⁻⁹ from its variance. */
enum { SABLE_NORMAL_PURPOSE = 0x726e };
enum sable_mean_rule_kind { SABLE_RULE_MEAN, SABLE_RULE_LINEAR, SABLE_RULE_TANH };
struct sable_mean_rule {
    enum sable_mean_rule_kind kind;
    int64_t steps;
    double start, alpha;          /* alpha: mean */
    double a, c, k0, root, sigma; /* linear, tanh */
};
/* w after all steps; *noise: Σ a σ η/(k + k₀), 0 for `mean`. */
double sable_mean_approximate(uint64_t seed, int64_t replicate, const struct sable_mean_rule *rule, double *noise);

#ifdef __cplusplus
}
#endif
#endif
