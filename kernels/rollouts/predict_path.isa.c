/* Counting an episode's returns: forwards to mark first visits, backwards for the returns. Compiled once per
 * instruction set for the sake of one instruction: without a hardware fma each step of the return is a call. See
 * predict.c. */
#include "predict.h"

#include <math.h>

static inline int64_t state_of(const struct predictor *p, uint32_t outcome)
{
    return (outcome & ~COUNTS) >> (p->rows->bits + 1);
}

void SABLE_ISA_NAME(rollouts_count_path)(struct predictor *p, int64_t length, struct sable_rollouts_chunk *chunk)
{
    const struct sable_rollouts_entry *entry = p->rows->entry;
    const double gamma = p->rows->gamma;
    uint32_t *path = p->path;
    uint64_t sum = 0;
    double value = 0;
    const int every = !p->first_visits;
    p->serial++;
    for (int64_t t = 0; t < length; t++) {
        int64_t *seen = &p->seen[state_of(p, path[t])];
        path[t] |= (uint32_t)(every | (*seen != p->serial)) << 31;
        *seen = p->serial;
    }
    for (int64_t t = length - 1; t >= 0; t--) {
        uint32_t outcome = path[t] & ~COUNTS;
        int64_t s = state_of(p, outcome);
        value = fma(gamma, value, entry[outcome >> 1].reward[outcome & 1]);
        /* No branch, which a random walk would make a guess: a visit that doesn't count adds zeros. */
        int64_t counts = path[t] >> 31, quantised = sable_exact_quantise(value) & -counts;
        struct sable_tally *visits = &p->tally[s].visits;
        sable_tally_add(visits, quantised);
        visits->count += counts - 1;
        sum += (uint64_t)quantised * (uint64_t)(2 * s + 1);
    }
    sable_tally_add(&p->tally[state_of(p, path[0])].starts, sable_exact_quantise(value));
    chunk->sum += sum;
    chunk->steps += length;
}
