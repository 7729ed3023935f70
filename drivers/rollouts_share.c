#include "rollouts_share.h"

#include <math.h>

#include "sable_random.h"

struct sable_rollouts_share rollouts_share(struct sable_layout layout, uint64_t seed, int64_t episodes)
{
    int64_t chunks = (episodes - 1) / SABLE_CHUNK + 1;
    return (struct sable_rollouts_share){.seed = seed,
                                         .episodes = episodes,
                                         .first = layout.rank,
                                         .stride = layout.ranks,
                                         .count = (chunks - layout.rank + layout.ranks - 1) / layout.ranks};
}

struct sable_rollouts_share rollouts_faulty_share(const struct sable_context *context,
                                                  const struct sable_rollouts_share *share)
{
    struct sable_rollouts_share faulty = *share;
    faulty.repeat_counters = context->fault == ROLLOUTS_REUSED_COUNTER;
    if (context->fault == ROLLOUTS_DROPPED_CHUNK && context->layout.rank == 0)
        faulty.count--;
    return faulty;
}

int rollouts_sum(struct sable_context *context, int64_t *words, int count, struct sable_error *error)
{
    if (context->layout.ranks > 1)
        sable_count_sent(context, (size_t)count * sizeof *words);
    return sable_check_mpi(MPI_Allreduce(MPI_IN_PLACE, words, count, MPI_INT64_T, MPI_SUM, context->comm),
                           "MPI_Allreduce", error);
}

int rollouts_sample(const struct sable_rollouts_share *share, int most, int64_t *index)
{
    enum { PURPOSE_SAMPLE = 0x7276 }; /* "rv" */
    int count = share->count < most ? (int)share->count : most;
    for (int k = 0; k < count; k++) {
        /* One at random of each of `count` equal parts; the outer ones take the first and the last of all. */
        int64_t from = share->count * k / count, to = share->count * (k + 1) / count;
        uint32_t word = sable_random(share->seed, PURPOSE_SAMPLE, (uint64_t)share->first, (uint32_t)k).word[0];
        index[k] = k == 0 ? 0 : k == count - 1 ? share->count - 1 : from + (int64_t)word % (to - from);
    }
    return count;
}

void rollouts_check_mean(struct sable_checks *checks, const char *name, double mean, double expected, double variance,
                         int64_t count)
{
    /* A variance below the rounding of its two terms is none. */
    if (variance > 1e-9 * (1 + expected * expected))
        sable_check(checks, name, (mean - expected) / sqrt(variance / (double)count), 0, ROLLOUTS_MOST_Z);
    else
        sable_check(checks, name, mean, expected, 1e-12 * fabs(expected) + SABLE_QUANTUM / 2);
}
