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
    LANES64 = LANE_BYTES / sizeof(double),
    LANES32 = LANE_BYTES / sizeof(float),
    GROUP = REGISTERS / 8 /* vectors of exponentials together */
};

struct peak_gain SABLE_ISA_NAME(sable_fma_fp64)(int64_t steps, double a, double b)
{
    lanes64 x[ACCUMULATORS], factor = a - (lanes64){0}, term = b - (lanes64){0};
    for (int k = 0; k < ACCUMULATORS; k++) /* start apart, or the compiler would keep only one */
        x[k] = (double)k - (lanes64){0};
    for (int64_t i = 0; i < steps; i++)
#pragma GCC unroll 32
        for (int k = 0; k < ACCUMULATORS; k++)
            x[k] = multiply_add64(factor, x[k], term);
    struct peak_gain gain = {.lanes = ACCUMULATORS * LANES64};
    for (int k = 0; k < ACCUMULATORS; k++)
        for (int lane = 0; lane < (int)LANES64; lane++)
            gain.sum += x[k][lane] - k;
    return gain;
}

/* x ← (x + b)·a: processors that have adders beside their multipliers keep both busy. */
struct peak_gain SABLE_ISA_NAME(sable_ops_fp64)(int64_t steps, double a, double b)
{
    lanes64 x[ACCUMULATORS], factor = a - (lanes64){0}, term = b - (lanes64){0};
    for (int k = 0; k < ACCUMULATORS; k++)
        x[k] = (double)k - (lanes64){0};
    for (int64_t i = 0; i < steps; i++)
#pragma GCC unroll 32
        for (int k = 0; k < ACCUMULATORS; k++)
            x[k] = (x[k] + term) * factor;
    struct peak_gain gain = {.lanes = ACCUMULATORS * LANES64};
    for (int k = 0; k < ACCUMULATORS; k++)
        for (int lane = 0; lane < (int)LANES64; lane++)
            gain.sum += x[k][lane] - k;
    return gain;
}

struct peak_gain SABLE_ISA_NAME(sable_fma_fp32)(int64_t steps, float a, float b)
{
    lanes32 x[ACCUMULATORS], factor = a - (lanes32){0}, term = b - (lanes32){0};
    for (int k = 0; k < ACCUMULATORS; k++)
        x[k] = (float)k - (lanes32){0};
    for (int64_t i = 0; i < steps; i++)
#pragma GCC unroll 32
        for (int k = 0; k < ACCUMULATORS; k++)
            x[k] = multiply_add32(factor, x[k], term);
    struct peak_gain gain = {.lanes = ACCUMULATORS * LANES32};
    for (int k = 0; k < ACCUMULATORS; k++)
        for (int lane = 0; lane < (int)LANES32; lane++)
            gain.sum += (double)x[k][lane] - k;
    return gain;
}

/* x ← (x ^ a) + b on lanes of 32 bits. */
struct peak_gain SABLE_ISA_NAME(sable_ops_int32)(int64_t steps, uint32_t a, uint32_t b)
{
    typedef uint32_t integers __attribute__((vector_size(LANE_BYTES)));
    integers x[ACCUMULATORS], mask = a - (integers){0}, term = b - (integers){0};
    for (int k = 0; k < ACCUMULATORS; k++)
        x[k] = (uint32_t)k - (integers){0};
    for (int64_t i = 0; i < steps; i++)
#pragma GCC unroll 32
        for (int k = 0; k < ACCUMULATORS; k++)
            x[k] = (x[k] ^ mask) + term;
    struct peak_gain gain = {.lanes = ACCUMULATORS * LANES32};
    for (int k = 0; k < ACCUMULATORS; k++)
        for (int lane = 0; lane < (int)LANES32; lane++)
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

static inline lanes32 clamp32(float least, lanes32 x, float most)
{
    const lanes32 low = least - (lanes32){0}, high = most - (lanes32){0};
#if defined(__AVX512F__)
    return _mm512_min_ps(high, _mm512_max_ps(low, x)); /* a NaN x stays */
#elif defined(__AVX2__)
    return _mm256_min_ps(high, _mm256_max_ps(low, x));
#else
    const words32 below = (words32)(x < low), above = (words32)(x > high);
    return (lanes32)((below & (words32)low) | (above & (words32)high) | (~(below | above) & (words32)x));
#endif
}

/* The same of GROUP vectors, step by step: one vector's chain of operations is longer than what a core looks ahead. */
static inline void exponentials(lanes32 x[GROUP])
{
    static const float term[] = {1.3981999507e-3F, 8.3334519073e-3F, 4.1665795894e-2F, 1.6666665459e-1F,
                                 5.0000001201e-1F};
    lanes32 k[GROUP], r[GROUP], p[GROUP];
    for (int g = 0; g < GROUP; g++)
        x[g] = clamp32(-87.3F, x[g], 88.3F);
    for (int g = 0; g < GROUP; g++)
        k[g] = (x[g] * 0x1.715476p+0F + 0x1.8p23F) - 0x1.8p23F;
    for (int g = 0; g < GROUP; g++)
        r[g] = multiply_add32(k[g], -0.693359375F - (lanes32){0}, x[g]);
    for (int g = 0; g < GROUP; g++)
        r[g] = multiply_add32(k[g], 2.12194440e-4F - (lanes32){0}, r[g]);
    for (int g = 0; g < GROUP; g++)
        p[g] = 1.9875691500e-4F - (lanes32){0};
#pragma GCC unroll 5
    for (int j = 0; j < 5; j++)
        for (int g = 0; g < GROUP; g++)
            p[g] = multiply_add32(p[g], r[g], term[j] - (lanes32){0});
    for (int g = 0; g < GROUP; g++)
        p[g] = multiply_add32(p[g], r[g] * r[g], r[g]);
    for (int g = 0; g < GROUP; g++)
        x[g] = (p[g] + 1) * (lanes32)((words32)(k[g] + (0x1.8p23F + 127)) << 23);
}

void SABLE_ISA_NAME(sable_exp_lanes)(int64_t n, const float *restrict x, float *restrict y)
{
    int64_t i = 0;
    for (; i + GROUP * LANES32 <= n; i += GROUP * LANES32) {
        lanes32 group[GROUP];
        for (int g = 0; g < GROUP; g++)
            group[g] = *(const loose32 *)(x + i + g * LANES32);
        exponentials(group);
        for (int g = 0; g < GROUP; g++)
            *(loose32 *)(y + i + g * LANES32) = group[g];
    }
    for (; i < n; i++)
        y[i] = exponential(x[i]);
}
