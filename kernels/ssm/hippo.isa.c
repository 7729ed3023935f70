/* LegS steps in O(N) by three fused multiply-adds an update. With r_n = √(2n+1), C = r c, C′ = r c′ and the sum Q over
 * k < n of what both sides need, each rule (w = 2: bilinear, 1: backward) becomes
 *
 *   Q_0 = −w f      D = κ C_n − Q_n      C′_n = b D − (w − 1) C_n      Q_{n+1} = Q_n + b D
 *   κ = w² t/(2n+1)                      b = (2n+1)/(w t + n + 1)
 *
 * for bilinear since Q_{n+1} − Q_n = C_n + C′_n. Coefficients are kept as C. Lanes over channels; a group's
 * coefficients fill L1 for N = 256, so each is read and written once for several steps: those go down n one behind the
 * other. Bounded by arithmetic.
 *
 * Q shrinks by 1 − b = (w t − n)/(w t + n + 1) from n to n + 1: to less than any normal number in a history that is
 * short for its order. Operations on subnormal ones cost x86 a hundred cycles each, so there Q below LEGS_NOTHING is
 * taken for 0 after every fourth n. */
#include "hippo_isa.h"
#include "lanes.h"

enum { VECTORS = SABLE_LEGS_GROUP / LANES };
#if defined(__AVX512F__)
enum { DEEP = LEGS_PASS /* steps at once, as registers allow */ };
#else
enum { DEEP = 2 };
#endif

/* `factors` of the first step; those of the next n are 2 LEGS_PASS further. */
static inline __attribute__((always_inline)) void pass(bool bilinear, bool brief, int deep, int64_t order,
                                                       const float *factors, const float *f, float *c)
{
    lanes q[DEEP][VECTORS];
#pragma GCC unroll 4
    for (int s = 0; s < deep; s++)
#pragma GCC unroll 8
        for (int v = 0; v < VECTORS; v++)
            q[s][v] = lanes_load(f + s * SABLE_LEGS_GROUP + v * LANES);
    for (int64_t n = 0; n < order; n++, factors += 2 * LEGS_PASS, c += SABLE_LEGS_GROUP) {
        lanes now[VECTORS];
#pragma GCC unroll 8
        for (int v = 0; v < VECTORS; v++)
            now[v] = lanes_load(c + v * LANES);
#pragma GCC unroll 4
        for (int s = 0; s < deep; s++) {
            lanes k = lanes_all(factors[2 * s]), b = lanes_all(factors[2 * s + 1]);
#pragma GCC unroll 8
            for (int v = 0; v < VECTORS; v++) {
                lanes d = lanes_fma(k, now[v], -q[s][v]);
                now[v] = bilinear ? lanes_fma(b, d, -now[v]) : b * d;
                q[s][v] = lanes_fma(b, d, q[s][v]);
            }
        }
#pragma GCC unroll 8
        for (int v = 0; v < VECTORS; v++)
            lanes_store(c + v * LANES, now[v]);
        if (!brief || n % 4 != 3)
            continue;
#pragma GCC unroll 4
        for (int s = 0; s < deep; s++)
#pragma GCC unroll 8
            for (int v = 0; v < VECTORS; v++)
                q[s][v] = lanes_select(lanes_abs(q[s][v]) < LEGS_NOTHING, lanes_all(0), q[s][v]);
    }
}

static inline __attribute__((always_inline)) void all_steps(bool bilinear, bool brief, int64_t order, int64_t steps,
                                                            const float *factors, const float *f, float *c)
{
    int64_t t = 0;
    while (t < steps) {
        const float *of = factors + (t / LEGS_PASS * order * LEGS_PASS + t % LEGS_PASS) * 2;
        const float *start = f + t * SABLE_LEGS_GROUP;
        if (t + DEEP <= steps) {
            pass(bilinear, brief, DEEP, order, of, start, c);
            t += DEEP;
        } else {
            pass(bilinear, brief, 1, order, of, start, c);
            t++;
        }
    }
}

void SABLE_ISA_NAME(sable_legs_group)(enum sable_legs_rule rule, bool brief, int64_t order, int64_t steps,
                                      const float *factors, const float *f, float *c)
{
    if (rule == SABLE_LEGS_BILINEAR && brief)
        all_steps(true, true, order, steps, factors, f, c);
    else if (rule == SABLE_LEGS_BILINEAR)
        all_steps(true, false, order, steps, factors, f, c);
    else if (brief)
        all_steps(false, true, order, steps, factors, f, c);
    else
        all_steps(false, false, order, steps, factors, f, c);
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
