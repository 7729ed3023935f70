/* What every rollouts workload shares: chunks of episodes dealt to ranks in turn, exact sums over ranks, and the checks
 * of what was played. */
#ifndef ROLLOUTS_SHARE_H
#define ROLLOUTS_SHARE_H

#include "driver.h"
#include "sable_rollouts.h"

/* Faults that every workload knows, in the order of its list. */
enum rollouts_fault { ROLLOUTS_REUSED_COUNTER = 1, ROLLOUTS_DROPPED_CHUNK, ROLLOUTS_BIASED_MODEL, ROLLOUTS_FLIP_BIT };
#define ROLLOUTS_FAULTS                                                                                                \
    {"reused_counter", "draw for every chunk what chunk 0 draws"}, {"dropped_chunk", "leave out one chunk of rank 0"}, \
        {"biased_model", "play with a slip, or a discount, that is off by 1/16"},                                      \
    {                                                                                                                  \
        "flip_bit", "flip one bit of a sum"                                                                            \
    }

/* Operations on lanes of 32 bits for a word of Philox4x32-10: 10 rounds of two products, two shifts and two three-way
 * xors on 64-bit lanes for four words. */
enum { ROLLOUTS_WORD_OPERATIONS = 10 * 6 * 2 / 4 };

enum { ROLLOUTS_LEAST_EPISODES = 2 * SABLE_CHUNK }; /* two chunks: one alone can't reuse another's counter */

/* Rank r of R plays chunks r, r + R, … */
struct sable_rollouts_share rollouts_share(struct sable_layout layout, uint64_t seed, int64_t episodes);
/* The same, as the context's fault spoils it. */
struct sable_rollouts_share rollouts_faulty_share(const struct sable_context *context,
                                                  const struct sable_rollouts_share *share);

/* Collective. Sums int64 words of all ranks, on every rank; counted as sent. */
int rollouts_sum(struct sable_context *context, int64_t *words, int count, struct sable_error *error);

/* Up to `most` of a share's chunks, the first and the last among them: indices into the share. Returns how many. */
int rollouts_sample(const struct sable_rollouts_share *share, int most, int64_t *index);
/* The same of those that have steps: a rank that takes chunks as they come has not played all. */
int rollouts_sample_played(const struct sable_rollouts_share *share, const struct sable_rollouts_chunk *chunk, int most,
                           int64_t *index);

/* (mean − expected)/√(variance/count), to be within ± 5: i.i.d. means fail once in 1.7 million. Without variance the
 * mean must be the expected value, to 1e-12 of it and half a quantum of the returns. */
void rollouts_check_mean(struct sable_checks *checks, const char *name, double mean, double expected, double variance,
                         int64_t count);
#define ROLLOUTS_MOST_Z 5
/* The largest of m values of |z| passes z with a chance below m·exp(−z²/2): as seldom as one passes 5. */
double rollouts_most_z_of(int64_t values);
/* |z| of a mean return against its exact first and second moments; without variance 0 or +∞ by equality. Means of fewer
 * than 1000 returns need not be normal: they count in pooled means only. */
double rollouts_surprise(const struct sable_exact_moments *moments, double value, double square, int64_t horizon);
/* Collective. The mean return of all episodes against that of their starts, as many as there were in each of the
 * rank's `count` states: value, square [count]. */
int rollouts_check_pooled(struct sable_checks *checks, const char *name, struct sable_context *context,
                          const struct sable_rollouts_values *own, int64_t count, const double *value,
                          const double *square, int64_t episodes, struct sable_error *error);
/* The lowest 64 bits of a carried sum. */
static inline uint64_t rollouts_low_word(const struct sable_exact_moments *moments)
{
    return (uint64_t)moments->sum[0] + ((uint64_t)moments->sum[1] << 32);
}
/* Carries sums that were added over ranks. */
void rollouts_carry(struct sable_exact_moments *moments);
/* For outputs: NaN without, or for the error with fewer than two, returns. */
double rollouts_mean_of(const struct sable_exact_moments *moments);
double rollouts_error_of(const struct sable_exact_moments *moments);
double rollouts_count_of(const struct sable_exact_moments *moments);
/* Collective. Stores a number that rank 0 holds. */
int rollouts_put_number(struct sable_sink *sink, const char *name, const char *help, enum sable_number type,
                        const void *number, struct sable_error *error);
/* Collective. Stores how draws were counted: output `counter`, see docs/rollouts.md. */
int rollouts_put_counter(struct sable_sink *sink, struct sable_error *error);
#define ROLLOUTS_COUNTER_FIELD                                                                                         \
    {                                                                                                                  \
        "counter", "[4]", "Philox rounds, purpose of steps, purpose of starts, episodes of a chunk"                    \
    }

#endif
