/* LegS steps in O(N) by three fused multiply-adds an update. With r_n = √(2n+1), C = r c, C′ = r c′ and the sum Q over
 * k < n of what both sides need, each rule (w = 2: bilinear, 1: backward) becomes
 *
 *   Q_0 = −w f      D = κ C_n − Q_n      C′_n = b D − (w − 1) C_n      Q_{n+1} = Q_n + b D
 *   κ = w² t/(2n+1)                      b = (2n+1)/(w t + n + 1)
 *
 * for bilinear since Q_{n+1} − Q_n = C_n + C′_n. Coefficients are kept as C. Lanes over channels; as many groups at
 * once as registers allow, so that a factor that was loaded is used for all of them, and several steps, one behind the
 * other in n, so that coefficients are read and written once for these. Bounded by arithmetic, then by loads.
 *
 * Q shrinks by 1 − b = (w t − n)/(w t + n + 1) from n to n + 1: to less than any normal number in a history that is
 * short for its order. Operations on subnormal ones cost x86 a hundred cycles each, so Q below LEGS_NOTHING is taken
 * for 0 after every fourth n, from the first one on where it may be so small. */
#include "hippo_isa.h"
#include "lanes.h"

enum { OF_GROUP = SABLE_LEGS_GROUP / LANES };
#if defined(__AVX512F__)
enum { DEEP = LEGS_PASS /* steps at once, as registers allow */, TOGETHER = LEGS_GROUPS };
#else
enum { DEEP = 2, TOGETHER = 1 };
#endif

/* 0 for less than LEGS_NOTHING = 2^−95, whose exponent is the first with one of these bits. NaN stays. */
static inline lanes nothing_to_0(lanes q)
{
    const int32_t bits = 0x70000000;
#if defined(__AVX512F__)
    return _mm512_maskz_mov_ps(_mm512_test_epi32_mask(_mm512_castps_si512(q), _mm512_set1_epi32(bits)), q);
#else
    return (lanes)((int_lanes)q & (((int_lanes)q & bits) != 0));
#endif
}

/* One of the vectors of several groups, each `pitch` floats behind the one before. */
static inline __attribute__((always_inline)) int64_t of_vector(int v, int64_t pitch)
{
    return v / OF_GROUP * pitch + v % OF_GROUP * LANES;
}

/* `factors` of the first step; those of the next n are 2 LEGS_PASS further. */
static inline __attribute__((always_inline)) void pass(bool bilinear, int groups, int deep, int64_t order, int64_t from,
                                                       const float *factors, const float *f, float *c)
{
    const int vectors = groups * OF_GROUP;
    const int64_t of_f = SABLE_LEGS_STEPS * SABLE_LEGS_GROUP, of_c = order * SABLE_LEGS_GROUP;
    lanes q[DEEP][TOGETHER * OF_GROUP];
#pragma GCC unroll 4
    for (int s = 0; s < deep; s++)
#pragma GCC unroll 8
        for (int v = 0; v < vectors; v++)
            q[s][v] = lanes_load(f + s * SABLE_LEGS_GROUP + of_vector(v, of_f));
    for (int64_t n = 0; n < order; n++, factors += 2 * LEGS_PASS, c += SABLE_LEGS_GROUP) {
        lanes now[TOGETHER * OF_GROUP];
#pragma GCC unroll 8
        for (int v = 0; v < vectors; v++)
            now[v] = lanes_load(c + of_vector(v, of_c));
#pragma GCC unroll 4
        for (int s = 0; s < deep; s++) {
            lanes k = lanes_all(factors[2 * s]), b = lanes_all(factors[2 * s + 1]);
#pragma GCC unroll 8
            for (int v = 0; v < vectors; v++) {
                lanes d = lanes_fma(k, now[v], -q[s][v]);
                now[v] = bilinear ? lanes_fma(b, d, -now[v]) : b * d;
                q[s][v] = lanes_fma(b, d, q[s][v]);
            }
        }
#pragma GCC unroll 8
        for (int v = 0; v < vectors; v++)
            lanes_store(c + of_vector(v, of_c), now[v]);
        if (n < from || n % 4 != 3)
            continue;
#pragma GCC unroll 4
        for (int s = 0; s < deep; s++)
#pragma GCC unroll 8
            for (int v = 0; v < vectors; v++)
                q[s][v] = nothing_to_0(q[s][v]);
    }
}

static inline __attribute__((always_inline)) void all_steps(bool bilinear, int groups, int64_t order, int64_t from,
                                                            int64_t steps, const float *factors, const float *f,
                                                            float *c)
{
    int64_t t = 0;
    while (t < steps) {
        const float *of = factors + (t / LEGS_PASS * order * LEGS_PASS + t % LEGS_PASS) * 2;
        const float *start = f + t * SABLE_LEGS_GROUP;
        if (t + DEEP <= steps) {
            pass(bilinear, groups, DEEP, order, from, of, start, c);
            t += DEEP;
        } else {
            pass(bilinear, groups, 1, order, from, of, start, c);
            t++;
        }
    }
}

static inline __attribute__((always_inline)) void all_groups(bool bilinear, int64_t groups, int64_t order, int64_t from,
                                                             int64_t steps, const float *factors, const float *f,
                                                             float *c)
{
    const int64_t of_f = SABLE_LEGS_STEPS * SABLE_LEGS_GROUP, of_c = order * SABLE_LEGS_GROUP;
    int64_t g = 0;
    for (; g + TOGETHER <= groups; g += TOGETHER)
        all_steps(bilinear, TOGETHER, order, from, steps, factors, f + g * of_f, c + g * of_c);
    for (; g < groups; g++)
        all_steps(bilinear, 1, order, from, steps, factors, f + g * of_f, c + g * of_c);
}

void SABLE_ISA_NAME(sable_legs_group)(enum sable_legs_rule rule, int64_t groups, int64_t order, int64_t from,
                                      int64_t steps, const float *factors, const float *f, float *c)
{
    if (rule == SABLE_LEGS_BILINEAR)
        all_groups(true, groups, order, from, steps, factors, f, c);
    else
        all_groups(false, groups, order, from, steps, factors, f, c);
}

/* As a + b n and c + d n: exact, so that each factor is one rounded quotient, of vectors of eight. */
void SABLE_ISA_NAME(sable_legs_factors)(enum sable_legs_rule rule, int64_t order, int64_t first, float *factors)
{
    const double w = rule == SABLE_LEGS_BILINEAR ? 2 : 1;
    double above[2 * LEGS_PASS], below[2 * LEGS_PASS], above_n[2 * LEGS_PASS], below_n[2 * LEGS_PASS];
    for (int s = 0; s < LEGS_PASS; s++) {
        const double t = (double)(first + s);
        above[2 * s] = w * w * t, above_n[2 * s] = 0, below[2 * s] = 1, below_n[2 * s] = 2;
        above[2 * s + 1] = 1, above_n[2 * s + 1] = 2, below[2 * s + 1] = w * t + 1, below_n[2 * s + 1] = 1;
    }
    for (int64_t n = 0; n < order; n++, factors += 2 * LEGS_PASS)
        for (int i = 0; i < 2 * LEGS_PASS; i++)
            factors[i] = (float)((above[i] + above_n[i] * (double)n) / (below[i] + below_n[i] * (double)n));
}
