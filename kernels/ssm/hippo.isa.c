/* A LegS step in O(N). With r_n = √(2n+1) and the prefix sum over k < n of what both sides need, q, each rule becomes
 *
 *   q_0 = −f/t      c′_n = G_n c_n − R_n q_n      q_{n+1} = H_n q_n + K_n c_n
 *
 * where G, R, H, K depend on n and t only (hippo.c): four operations for an update, a chain of one multiply-add, lanes
 * over channels. A group's coefficients fill L1 for N = 256, so each is read and written once for several steps: those
 * go down n one behind the other. Bounded by arithmetic: 6 of 8 flops of four fused multiply-adds. */
#include "hippo_isa.h"
#include "lanes.h"

enum { VECTORS = SABLE_LEGS_GROUP / LANES };
#if defined(__AVX512F__)
enum { DEEP = 4 /* steps at once, as registers allow */ };
#else
enum { DEEP = 2 };
#endif

static inline __attribute__((always_inline)) void pass(int deep, int64_t order, const float *factors, const float *f,
                                                       float *c)
{
    lanes q[DEEP][VECTORS];
#pragma GCC unroll 4
    for (int s = 0; s < deep; s++)
#pragma GCC unroll 8
        for (int v = 0; v < VECTORS; v++)
            q[s][v] = lanes_load(f + s * SABLE_LEGS_GROUP + v * LANES);
    for (int64_t n = 0; n < order; n++, factors += 4, c += SABLE_LEGS_GROUP) {
        lanes now[VECTORS];
#pragma GCC unroll 8
        for (int v = 0; v < VECTORS; v++)
            now[v] = lanes_load(c + v * LANES);
#pragma GCC unroll 4
        for (int s = 0; s < deep; s++) {
            const float *of = factors + 4 * s * order;
            lanes g = lanes_all(of[0]), r = lanes_all(of[1]), h = lanes_all(of[2]), k = lanes_all(of[3]);
#pragma GCC unroll 8
            for (int v = 0; v < VECTORS; v++) {
                lanes old = now[v];
                now[v] = lanes_fma(r, q[s][v], g * old); /* r holds −R */
                q[s][v] = lanes_fma(h, q[s][v], k * old);
            }
        }
#pragma GCC unroll 8
        for (int v = 0; v < VECTORS; v++)
            lanes_store(c + v * LANES, now[v]);
    }
}

void SABLE_ISA_NAME(sable_legs_group)(int64_t order, int64_t steps, const float *factors, const float *f, float *c)
{
    int64_t t = 0;
    for (; t + DEEP <= steps; t += DEEP)
        pass(DEEP, order, factors + 4 * t * order, f + t * SABLE_LEGS_GROUP, c);
    for (; t < steps; t++)
        pass(1, order, factors + 4 * t * order, f + t * SABLE_LEGS_GROUP, c);
}
