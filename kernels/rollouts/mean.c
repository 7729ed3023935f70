/* Means of i.i.d. samples: merging, and the textbook's block. See sable_mean.h. */
#include "mean_isa.h"

#include <math.h>

#include "sable_random.h"

struct sable_mean sable_mean_merge(struct sable_mean a, struct sable_mean b)
{
    if (a.count == 0 || b.count == 0)
        return a.count ? a : b;
    const double na = (double)a.count, nb = (double)b.count, n = na + nb, off = b.mean - a.mean;
    return (struct sable_mean){.count = a.count + b.count,
                               .mean = fma(off, nb / n, a.mean),
                               .squares = fma(off * off, na * nb / n, a.squares + b.squares),
                               .sum = a.sum + b.sum,
                               .sum_of_squares = a.sum_of_squares + b.sum_of_squares};
}

struct sable_mean sable_mean_tree(struct sable_mean *list, int64_t count)
{
    for (; count > 1; count = (count + 1) / 2)
        for (int64_t i = 0; i < (count + 1) / 2; i++)
            list[i] = 2 * i + 1 < count ? sable_mean_merge(list[2 * i], list[2 * i + 1]) : list[2 * i];
    return list[0];
}

int32_t sable_mean_sample(uint64_t seed, int64_t index)
{
    uint32_t word = sable_random(seed, SABLE_MEAN_PURPOSE, (uint64_t)index / 4, 0).word[index % 4];
    return 1 + (int32_t)((uint64_t)word * SABLE_MEAN_VALUES >> 32);
}

struct sable_mean sable_mean_block_reference(uint64_t seed, int64_t drawn_at, int64_t count,
                                             enum sable_mean_method method)
{
    struct sable_mean lane[SABLE_MEAN_LANES] = {{0}};
    for (int64_t i = 0; i < count; i++) {
        struct sable_mean *own = &lane[i % SABLE_MEAN_LANES];
        int32_t x = sable_mean_sample(seed, drawn_at + i);
        double off = x - own->mean;
        own->count++;
        own->sum += x;
        own->sum_of_squares += x * x;
        if (method == SABLE_MEAN_INCREMENTAL) {
            own->mean = fma(off, 1.0 / (double)own->count, own->mean);
            own->squares = fma(off, x - own->mean, own->squares);
        }
    }
    for (int half = SABLE_MEAN_LANES / 2; half > 0; half /= 2)
        for (int l = 0; l < half; l++)
            lane[l] = sable_mean_merge(lane[l], lane[l + half]);
    return lane[0];
}

sable_mean_block_function *sable_mean_block(void)
{
    return SABLE_ISA_PICK(mean_block);
}
