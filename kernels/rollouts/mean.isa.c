/* A block of samples in lanes, compiled once per instruction set; formulas: sable_mean.h. Samples are drawn first, 32
 * Philox blocks at a time, then each row of 32 goes to the 32 lanes. Bound by the draws. */
#include "mean_isa.h"
#include "walk_lanes.h"

#include <math.h>

enum { ROWS = SABLE_MEAN_BLOCK / SABLE_MEAN_LANES, WORDS = 4, DRAWN = WORDS * LANES };

/* x[0..SABLE_MEAN_BLOCK): the samples from drawn_at on; what lies behind `count` is rubbish. */
static void draw_block(uint64_t seed, int64_t drawn_at, int64_t count, uint32_t *x)
{
    static const uint32_t zero[LANES] = {0};
    _Alignas(64) uint32_t low[LANES], high[LANES], words[DRAWN];
    for (int64_t from = 0; from < count; from += DRAWN) {
        for (int l = 0; l < LANES; l++) {
            uint64_t block = (uint64_t)(drawn_at + from) / WORDS + (uint64_t)l;
            low[l] = (uint32_t)block, high[l] = (uint32_t)(block >> 32);
        }
        SABLE_ISA_NAME(rollouts_draw_lanes)(seed, SABLE_MEAN_PURPOSE, low, high, zero, words);
        for (int l = 0; l < LANES; l++)
            for (int j = 0; j < WORDS; j++)
                x[from + WORDS * l + j] = 1 + (uint32_t)((uint64_t)words[j * LANES + l] * SABLE_MEAN_VALUES >> 32);
    }
}

/* One row: every lane's k-th sample. */
static inline void add_row(const uint32_t *restrict x, double share, double *restrict mean, double *restrict squares)
{
    for (int l = 0; l < SABLE_MEAN_LANES; l++) {
        double value = (double)(int32_t)x[l], off = value - mean[l];
        mean[l] = fma(off, share, mean[l]);
        squares[l] = fma(off, value - mean[l], squares[l]);
    }
}

static struct sable_mean merge_lanes(int64_t count, const double *mean, const double *squares)
{
    struct sable_mean lane[SABLE_MEAN_LANES];
    for (int l = 0; l < SABLE_MEAN_LANES; l++)
        lane[l] = (struct sable_mean){
            .count = (count - l + SABLE_MEAN_LANES - 1) / SABLE_MEAN_LANES, .mean = mean[l], .squares = squares[l]};
    for (int half = SABLE_MEAN_LANES / 2; half > 0; half /= 2)
        for (int l = 0; l < half; l++)
            lane[l] = sable_mean_merge(lane[l], lane[l + half]);
    return lane[0];
}

struct sable_mean SABLE_ISA_NAME(mean_block)(uint64_t seed, int64_t drawn_at, int64_t count,
                                             enum sable_mean_method method)
{
    _Alignas(64) uint32_t x[SABLE_MEAN_BLOCK + DRAWN];
    _Alignas(64) double mean[SABLE_MEAN_LANES] = {0}, squares[SABLE_MEAN_LANES] = {0};
    int32_t sum = 0, sum_of_squares = 0; /* at most 4096 · 100 */
    struct sable_mean all = {0};
    draw_block(seed, drawn_at, count, x);
    if (method == SABLE_MEAN_INCREMENTAL) {
        int64_t whole = count / SABLE_MEAN_LANES;
        for (int64_t row = 0; row < whole; row++)
            add_row(x + row * SABLE_MEAN_LANES, 1.0 / (double)(row + 1), mean, squares);
        for (int64_t i = whole * SABLE_MEAN_LANES; i < count; i++) {
            int l = (int)(i % SABLE_MEAN_LANES);
            double value = (double)(int32_t)x[i], off = value - mean[l];
            mean[l] = fma(off, 1.0 / (double)(whole + 1), mean[l]);
            squares[l] = fma(off, value - mean[l], squares[l]);
        }
        all = merge_lanes(count, mean, squares);
    }
    for (int64_t i = 0; i < count; i++) {
        sum += (int32_t)x[i];
        sum_of_squares += (int32_t)(x[i] * x[i]);
    }
    all.count = count;
    all.sum = sum;
    all.sum_of_squares = sum_of_squares;
    return all;
}
