#include "rollouts_chunks.h"

#include <string.h>

#include "sable_array.h"

int rollouts_chunks_make(struct rollouts_chunks *chunks, struct sable_context *context, int sharing, int64_t episodes,
                         struct sable_error *error)
{
    chunks->share = rollouts_sharing_share(sharing, context->layout, context->seed, episodes);
    if (rollouts_sharing_open(&chunks->sharing, context, sharing, error))
        return error->code;
    chunks->chunk = sable_array(chunks->share.count, 1, sizeof *chunks->chunk);
    if (!chunks->chunk)
        return sable_fail(error, SABLE_ENVIRONMENT, "out of memory for %lld chunks of episodes",
                          (long long)chunks->share.count);
    return SABLE_OK;
}

void rollouts_chunks_free(struct rollouts_chunks *chunks)
{
    rollouts_sharing_close(&chunks->sharing);
    sable_array_free(chunks->chunk);
    chunks->chunk = NULL;
}

double rollouts_chunks_memory(struct sable_layout layout, int sharing, int64_t episodes)
{
    return (double)rollouts_sharing_share(sharing, layout, 0, episodes).count * sizeof(struct sable_rollouts_chunk);
}

int rollouts_chunks_reset(struct rollouts_chunks *chunks, struct sable_error *error)
{
    memset(chunks->chunk, 0, (size_t)chunks->share.count * sizeof *chunks->chunk);
    return rollouts_sharing_reset(&chunks->sharing, chunks->share.episodes, error);
}

int64_t rollouts_chunks_steps(const struct rollouts_chunks *chunks)
{
    int64_t steps = 0;
    for (int64_t i = 0; i < chunks->share.count; i++)
        steps += chunks->chunk[i].steps;
    return steps;
}

uint64_t rollouts_chunks_sum(const struct rollouts_chunks *chunks)
{
    uint64_t sum = 0;
    for (int64_t i = 0; i < chunks->share.count; i++)
        sum += chunks->chunk[i].sum;
    return sum;
}

int64_t rollouts_chunks_replay(const struct rollouts_chunks *chunks, rollouts_again *again, void *state)
{
    enum { MOST = 8 };
    int64_t index[MOST], differ = 0;
    int count = chunks->sharing.open ? rollouts_sample_played(&chunks->share, chunks->chunk, MOST, index)
                                     : rollouts_sample(&chunks->share, MOST, index);
    for (int k = 0; k < count; k++) {
        const struct sable_rollouts_chunk *played = &chunks->chunk[index[k]];
        struct sable_rollouts_share one = chunks->share;
        struct sable_rollouts_chunk replayed;
        one.first += index[k] * one.stride;
        one.count = 1;
        if (!again(state, &one, &replayed))
            return -1;
        differ += replayed.sum != played->sum || replayed.steps != played->steps;
    }
    return differ;
}
