/* A rank's chunks of episodes as the workloads on states and steps keep them: which it plays, what each came to, and
 * their replay. */
#ifndef ROLLOUTS_CHUNKS_H
#define ROLLOUTS_CHUNKS_H

#include "rollouts_sharing.h"

struct rollouts_chunks {
    struct rollouts_sharing sharing;
    struct sable_rollouts_share share;  /* of which this rank plays all, or with dynamic sharing some */
    struct sable_rollouts_chunk *chunk; /* [share.count] */
};

/* Collective. Freed by rollouts_chunks_free() in any case. */
int rollouts_chunks_make(struct rollouts_chunks *chunks, struct sable_context *context, int sharing, int64_t episodes,
                         struct sable_error *error);
void rollouts_chunks_free(struct rollouts_chunks *chunks);
/* Bytes of them. */
double rollouts_chunks_memory(struct sable_layout layout, int sharing, int64_t episodes);
/* Collective, before each repetition. */
int rollouts_chunks_reset(struct rollouts_chunks *chunks, struct sable_error *error);
/* Of what was played: steps, and sums modulo 2⁶⁴. */
int64_t rollouts_chunks_steps(const struct rollouts_chunks *chunks);
uint64_t rollouts_chunks_sum(const struct rollouts_chunks *chunks);

/* Plays a share of one chunk by the textbook; false if memory is short. */
typedef bool rollouts_again(void *state, const struct sable_rollouts_share *one, struct sable_rollouts_chunk *chunk);
/* Plays up to 8 of this rank's chunks again; returns how many differ, −1 if memory is short. */
int64_t rollouts_chunks_replay(const struct rollouts_chunks *chunks, rollouts_again *again, void *state);

#endif
