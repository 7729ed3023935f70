/* x ← a·x + b (fused), or x ← (x + b)·a (two operations), on as many independent accumulators as registers allow: at a
 * latency of 4 cycles and two units, eight are needed; a core with four units needs sixteen. exp(x) = 2^k · exp(r), k =
 * round(x / ln 2), |r| ≤ ln 2 / 2: the ln 2 of r = x − k·ln 2 is split in two so that k times its upper part is exact;
 * Cephes' polynomial; 2^k by its bit pattern. Bounded by the arithmetic units: about 17 operations for each
 * exponential. */
#include "ceilings_isa.h"
#include "ceilings_lanes.h"

#include <string.h>

enum {
    ACCUMULATORS = REGISTERS * 3 / 4, /* the rest for a, b and the compiler */
    GROUP = REGISTERS / 8             /* vectors of exponentials together */
};

struct peak_gain SABLE_ISA_NAME(sable_fma_fp64)(int64_t steps, double a, double b)
{
    lanes64 x[ACCUMULATORS], factor = lanes64_all(a), term = lanes64_all(b);
    for (int k = 0; k < ACCUMULATORS; k++) /* start apart, or the compiler would keep only one */
        x[k] = lanes64_all((double)k);
    for (int64_t i = 0; i < steps; i++)
#pragma GCC unroll 32
        for (int k = 0; k < ACCUMULATORS; k++)
            x[k] = multiply_add64(factor, x[k], term);
    struct peak_gain gain = {.lanes = ACCUMULATORS * LANES64};
    for (int k = 0; k < ACCUMULATORS; k++)
        for (int lane = 0; lane < LANES64; lane++)
            gain.sum += x[k][lane] - k;
    return gain;
}

/* x ← (x + b)·a: processors that have adders beside their multipliers keep both busy. */
struct peak_gain SABLE_ISA_NAME(sable_ops_fp64)(int64_t steps, double a, double b)
{
    lanes64 x[ACCUMULATORS], factor = lanes64_all(a), term = lanes64_all(b);
    for (int k = 0; k < ACCUMULATORS; k++)
        x[k] = lanes64_all((double)k);
    for (int64_t i = 0; i < steps; i++)
#pragma GCC unroll 32
        for (int k = 0; k < ACCUMULATORS; k++)
            x[k] = (x[k] + term) * factor;
    struct peak_gain gain = {.lanes = ACCUMULATORS * LANES64};
    for (int k = 0; k < ACCUMULATORS; k++)
        for (int lane = 0; lane < LANES64; lane++)
            gain.sum += x[k][lane] - k;
    return gain;
}

struct peak_gain SABLE_ISA_NAME(sable_fma_fp32)(int64_t steps, float a, float b)
{
    lanes x[ACCUMULATORS], factor = lanes_all(a), term = lanes_all(b);
    for (int k = 0; k < ACCUMULATORS; k++)
        x[k] = lanes_all((float)k);
    for (int64_t i = 0; i < steps; i++)
#pragma GCC unroll 32
        for (int k = 0; k < ACCUMULATORS; k++)
            x[k] = multiply_add32(factor, x[k], term);
    struct peak_gain gain = {.lanes = ACCUMULATORS * LANES};
    for (int k = 0; k < ACCUMULATORS; k++)
        for (int lane = 0; lane < LANES; lane++)
            gain.sum += (double)x[k][lane] - k;
    return gain;
}

/* x ← (x ^ a) + b on lanes of 32 bits. */
struct peak_gain SABLE_ISA_NAME(sable_ops_int32)(int64_t steps, uint32_t a, uint32_t b)
{
    word_lanes x[ACCUMULATORS], mask = a - (word_lanes){0}, term = b - (word_lanes){0};
    for (int k = 0; k < ACCUMULATORS; k++)
        x[k] = (uint32_t)k - (word_lanes){0};
    for (int64_t i = 0; i < steps; i++)
#pragma GCC unroll 32
        for (int k = 0; k < ACCUMULATORS; k++)
            x[k] = (x[k] ^ mask) + term;
    struct peak_gain gain = {.lanes = ACCUMULATORS * LANES};
    for (int k = 0; k < ACCUMULATORS; k++)
        for (int lane = 0; lane < LANES; lane++)
            gain.sum += (double)(x[k][lane] - (uint32_t)k);
    return gain;
}

static inline float multiply_add(float a, float x, float b)
{
#if defined(__FMA__) || defined(__aarch64__)
    return __builtin_fmaf(a, x, b);
#else
    return a * x + b;
#endif
}

/* 2^k for integers −126 ≤ k ≤ 127: the low bits of the sum are k + 127, the exponent. */
static inline float power_of_two(float k)
{
    float shifted = k + (0x1.8p23F + 127), power;
    uint32_t bits;
    memcpy(&bits, &shifted, sizeof bits);
    bits <<= 23;
    memcpy(&power, &bits, sizeof power);
    return power;
}

static inline float exponential(float x)
{
    x = x < -87.3F ? -87.3F : x;
    x = x > 88.3F ? 88.3F : x;
    float k = (x * 0x1.715476p+0F + 0x1.8p23F) - 0x1.8p23F; /* adding 3·2^22 leaves no bits for a fraction */
    float r = multiply_add(k, -0.693359375F, x);
    r = multiply_add(k, 2.12194440e-4F, r);
    float p = 1.9875691500e-4F;
    p = multiply_add(p, r, 1.3981999507e-3F);
    p = multiply_add(p, r, 8.3334519073e-3F);
    p = multiply_add(p, r, 4.1665795894e-2F);
    p = multiply_add(p, r, 1.6666665459e-1F);
    p = multiply_add(p, r, 5.0000001201e-1F);
    p = multiply_add(p, r * r, r);
    return (p + 1) * power_of_two(k);
}

/* The same of GROUP vectors, step by step: one vector's chain of operations is longer than what a core looks ahead. */
static inline void exponentials(lanes x[GROUP])
{
    static const float term[] = {1.3981999507e-3F, 8.3334519073e-3F, 4.1665795894e-2F, 1.6666665459e-1F,
                                 5.0000001201e-1F};
    lanes k[GROUP], r[GROUP], p[GROUP];
    for (int g = 0; g < GROUP; g++)
        x[g] = lanes_at_most(lanes_all(88.3F), lanes_at_least(lanes_all(-87.3F), x[g]));
    for (int g = 0; g < GROUP; g++)
        k[g] = (x[g] * 0x1.715476p+0F + 0x1.8p23F) - 0x1.8p23F;
    for (int g = 0; g < GROUP; g++)
        r[g] = multiply_add32(k[g], lanes_all(-0.693359375F), x[g]);
    for (int g = 0; g < GROUP; g++)
        r[g] = multiply_add32(k[g], lanes_all(2.12194440e-4F), r[g]);
    for (int g = 0; g < GROUP; g++)
        p[g] = lanes_all(1.9875691500e-4F);
#pragma GCC unroll 5
    for (int j = 0; j < 5; j++)
        for (int g = 0; g < GROUP; g++)
            p[g] = multiply_add32(p[g], r[g], lanes_all(term[j]));
    for (int g = 0; g < GROUP; g++)
        p[g] = multiply_add32(p[g], r[g] * r[g], r[g]);
    for (int g = 0; g < GROUP; g++)
        x[g] = (p[g] + 1) * (lanes)((word_lanes)(k[g] + (0x1.8p23F + 127)) << 23);
}

void SABLE_ISA_NAME(sable_exp_lanes)(int64_t n, const float *restrict x, float *restrict y)
{
    int64_t i = 0;
    for (; i + GROUP * LANES <= n; i += GROUP * LANES) {
        lanes group[GROUP];
        for (int g = 0; g < GROUP; g++)
            group[g] = lanes_load(x + i + g * LANES);
        exponentials(group);
        for (int g = 0; g < GROUP; g++)
            lanes_store(y + i + g * LANES, group[g]);
    }
    for (; i < n; i++)
        y[i] = exponential(x[i]);
}
