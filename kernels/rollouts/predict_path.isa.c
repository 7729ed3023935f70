/* Counting an episode's returns: forwards to mark first visits, backwards for the returns. Compiled once per
 * instruction set for the sake of one instruction: without a hardware fma each step of the return is a call. See
 * predict.c. */
#include "predict.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

static inline int64_t state_of(const struct predictor *p, uint32_t outcome)
{
    return (outcome & ~COUNTS) >> (p->rows->bits + 1);
}

/* The number of a new episode. */
static inline uint32_t next_serial(struct predictor *p)
{
    if (++p->serial == 0) { /* after 2³² of them numbers begin anew */
        memset(p->seen, 0, (size_t)p->states * sizeof *p->seen);
        p->serial = 1;
    }
    return p->serial;
}

/* Marks the visits that count: the first of each state in its episode, or every one. */
static inline void mark_visits(struct predictor *p, int64_t length)
{
    const uint32_t serial = next_serial(p), every = p->visits == SABLE_VISITS_EVERY;
    const int shift = p->rows->bits + 1;
    uint32_t *restrict seen = p->seen, *restrict path = p->path;
    for (int64_t t = 0; t < length; t++) {
        const uint32_t state = path[t] >> shift, counts = every | (seen[state] != serial);
        path[t] |= counts << 31;
        seen[state] = serial;
    }
}

/* The return of an episode whose start alone counts. */
static inline double return_of(const struct predictor *p, int64_t length)
{
    double value = 0;
    for (int64_t t = length - 1; t >= 0; t--)
        value = fma(p->rows->gamma, value, sable_rollouts_reward(p->rows, p->path[t]));
    return value;
}

void SABLE_ISA_NAME(rollouts_count_path)(struct predictor *p, int64_t length, struct sable_rollouts_chunk *chunk)
{
    const struct sable_rollouts_rows *rows = p->rows;
    const double gamma = p->rows->gamma;
    uint32_t *path = p->path;
    int64_t start = state_of(p, path[0]);
    uint64_t sum = 0;
    double value = 0;
    if (p->visits == SABLE_VISITS_START) {
        value = return_of(p, length);
        sum = (uint64_t)sable_exact_quantise(value) * (uint64_t)(2 * start + 1);
    } else {
        mark_visits(p, length);
        for (int64_t t = length - 1; t >= 0; t--) {
            uint32_t outcome = path[t] & ~COUNTS;
            int64_t s = state_of(p, outcome);
            value = fma(gamma, value, sable_rollouts_reward(rows, outcome));
            /* No branch, which a random walk would make a guess: a visit that doesn't count adds zeros. */
            int64_t counts = path[t] >> 31, quantised = sable_exact_quantise(value) & -counts;
            struct sable_digits *visits = &p->tally[s * VALUE_TALLIES + TALLY_VISITS];
            sable_digits_add(visits, quantised);
            visits->count += counts - 1;
            sum += (uint64_t)quantised * (uint64_t)(2 * s + 1);
        }
    }
    sable_digits_add(&p->tally[start * VALUE_TALLIES + TALLY_STARTS], sable_exact_quantise(value));
    chunk->sum += sum;
    chunk->steps += length;
}

#if defined(__AVX512F__) && defined(__AVX512DQ__)
#include "predict_avx512.h"
#else
void SABLE_ISA_NAME(rollouts_count_path_lanes)(struct predictor *p, int64_t length, struct sable_rollouts_chunk *chunk)
{
    SABLE_ISA_NAME(rollouts_count_path)(p, length, chunk);
}
#endif

/* Of a weight or a weighted return: beyond what sums can hold it is cut down, and counted. */
static inline double hold(double value, int64_t *saturated)
{
    bool fits = fabs(value) <= SABLE_MOST_WEIGHT;
    *saturated += !fits;
    return fits ? value : copysign(SABLE_MOST_WEIGHT, value);
}

void SABLE_ISA_NAME(rollouts_count_weighted)(struct predictor *p, int64_t length, struct sable_rollouts_chunk *chunk)
{
    const struct sable_rollouts_rows *rows = p->rows;
    const uint32_t actions = (uint32_t)p->ratios->actions;
    const double gamma = p->rows->gamma;
    uint32_t *path = p->path;
    double value = 0, weight = 1;
    const uint32_t serial = next_serial(p);
    for (int64_t t = 0; t < length; t++) {
        uint32_t *seen = &p->seen[(uint32_t)state_of(p, path[t]) / actions];
        path[t] |= (uint32_t)(t == 0 || (p->visits == SABLE_VISITS_FIRST && *seen != serial)) << 31;
        *seen = serial;
    }
    for (int64_t t = length - 1; t >= 0; t--) {
        uint32_t outcome = path[t] & ~COUNTS, pair = (uint32_t)state_of(p, outcome);
        value = fma(gamma, value, sable_rollouts_reward(rows, outcome));
        weight *= p->ratios->ratio[pair];
        if (!(path[t] & COUNTS))
            continue;
        struct sable_digits *tally = &p->tally[(int64_t)(pair / actions) * WEIGHT_TALLIES];
        int64_t w = sable_exact_quantise(hold(weight, &p->lost.saturated));
        int64_t x = sable_exact_quantise(hold(weight * value, &p->lost.saturated));
        sable_digits_add(&tally[TALLY_PRODUCT], x);
        sable_digits_add(&tally[TALLY_WEIGHT], w);
        sable_digits_add(&tally[TALLY_BOTH], x + w);
        chunk->sum += ((uint64_t)x + 3 * (uint64_t)w) * (uint64_t)(2 * (pair / actions) + 1);
    }
    chunk->steps += length;
}
