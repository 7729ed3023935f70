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

int rollouts_sample_played(const struct sable_rollouts_share *share, const struct sable_rollouts_chunk *chunk, int most,
                           int64_t *index)
{
    struct sable_rollouts_share played = *share;
    int64_t at = 0, rank = 0;
    played.count = 0;
    for (int64_t i = 0; i < share->count; i++)
        played.count += chunk[i].steps > 0;
    int count = rollouts_sample(&played, most, index); /* ascending places among those played */
    for (int k = 0; k < count; k++)
        for (; at < share->count; at++)
            if (chunk[at].steps > 0 && rank++ == index[k]) {
                index[k] = at++;
                break;
            }
    return count;
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

double rollouts_most_z_of(int64_t values)
{
    return sqrt(ROLLOUTS_MOST_Z * ROLLOUTS_MOST_Z + 2 * log((double)values));
}

double rollouts_surprise(const struct sable_exact_moments *moments, double value, double square, int64_t horizon)
{
    enum { LEAST_COUNT = 1000 };
    /* The variance is what is left of the second moment, to the rounding of a recursion over the horizon. */
    double variance = square - value * value, rounding = (double)horizon * 0x1p-50 * square;
    double off = fabs(sable_exact_mean(moments) - value);
    if (variance <= rounding)
        return off <= 1e-12 * fabs(value) + SABLE_QUANTUM / 2 ? 0 : INFINITY;
    return moments->count < LEAST_COUNT ? 0 : off / sqrt(variance / (double)moments->count);
}

int rollouts_check_pooled(struct sable_checks *checks, const char *name, struct sable_context *context,
                          const struct sable_rollouts_values *own, int64_t count, const double *value,
                          const double *square, int64_t episodes, struct sable_error *error)
{
    double sums[4] = {0}, all[4]; /* Σ n mean, Σ n v, Σ n variance, n */
    for (int64_t i = 0; i < count; i++) {
        const struct sable_exact_moments *starts = &own[i].starts;
        double n = (double)starts->count;
        sums[0] += starts->count ? n * sable_exact_mean(starts) : 0;
        sums[1] += n * value[i];
        sums[2] += n * (square[i] - value[i] * value[i]);
        sums[3] += n;
    }
    if (sable_check_mpi(MPI_Allreduce(sums, all, 4, MPI_DOUBLE, MPI_SUM, context->comm), "MPI_Allreduce", error))
        return error->code;
    rollouts_check_mean(checks, name, all[0] / all[3], all[1] / all[3], all[2] / all[3], episodes);
    return SABLE_OK;
}

void rollouts_carry(struct sable_exact_moments *moments)
{
    sable_exact_carry(moments->sum, SABLE_EXACT_SUM);
    sable_exact_carry(moments->squares, SABLE_EXACT_SQUARES);
}

double rollouts_mean_of(const struct sable_exact_moments *moments)
{
    return moments->count ? sable_exact_mean(moments) : NAN;
}

double rollouts_error_of(const struct sable_exact_moments *moments)
{
    return moments->count > 1 ? sqrt(sable_exact_variance(moments) / (double)moments->count) : NAN;
}

double rollouts_count_of(const struct sable_exact_moments *moments)
{
    return (double)moments->count;
}

int rollouts_put_number(struct sable_sink *sink, const char *name, const char *help, enum sable_number type,
                        const void *number, struct sable_error *error)
{
    const struct sable_array array = {
        .name = name, .help = help, .type = type, .dims = 1, .global = {1}, .labels = {"value"}, .data = number};
    return sable_put_whole(sink, &array, error);
}

int rollouts_put_counter(struct sable_sink *sink, struct sable_error *error)
{
    static const int64_t counter[4] = {10, SABLE_ROLLOUTS_STEP, SABLE_ROLLOUTS_START, SABLE_CHUNK};
    const struct sable_array array = {.name = "counter",
                                      .help = "Philox4x32 rounds, purpose of steps, purpose of starts, episodes of a "
                                              "chunk; counter = (episode low, high, step div 4, purpose)",
                                      .type = SABLE_I64,
                                      .dims = 1,
                                      .global = {4},
                                      .labels = {"what"},
                                      .data = counter};
    return sable_put_whole(sink, &array, error);
}
