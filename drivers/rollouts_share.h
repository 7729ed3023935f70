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

/* (mean − expected)/√(variance/count), to be within ± 5: i.i.d. means fail once in 1.7 million. Without variance the
 * mean must be the expected value, to 1e-12 of it and half a quantum of the returns. */
void rollouts_check_mean(struct sable_checks *checks, const char *name, double mean, double expected, double variance,
                         int64_t count);
#define ROLLOUTS_MOST_Z 5

#endif
