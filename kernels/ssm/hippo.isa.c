/* A LegS step in O(N). With r_n = √(2n+1) and the prefix sum over k < n of what both sides need, q, each rule becomes
 *
 *   q_0 = −f/t      c′_n = G_n c_n − R_n q_n      q_{n+1} = H_n q_n + K_n c_n
 *
 * where G, R, H, K depend on n and t only (hippo.c): four operations for an update, a chain of one multiply-add, lanes
 * over channels, all coefficients of a group in L1. Bounded by arithmetic: 6 of 8 flops of four fused multiply-adds. */
#include "hippo_isa.h"
#include "lanes.h"

enum { VECTORS = SABLE_LEGS_GROUP / LANES };

void SABLE_ISA_NAME(sable_legs_group)(int64_t order, int64_t steps, const float *factors, const float *f, float *c)
{
    for (int64_t t = 0; t < steps; t++, f += SABLE_LEGS_GROUP) {
        lanes q[VECTORS];
        for (int v = 0; v < VECTORS; v++)
            q[v] = lanes_load(f + v * LANES);
        float *now = c;
        for (int64_t n = 0; n < order; n++, factors += 4, now += SABLE_LEGS_GROUP) {
            lanes g = lanes_all(factors[0]), r = lanes_all(factors[1]);
            lanes h = lanes_all(factors[2]), k = lanes_all(factors[3]);
#pragma GCC unroll 8
            for (int v = 0; v < VECTORS; v++) {
                lanes old = lanes_load(now + v * LANES);
                lanes_store(now + v * LANES, lanes_fma(r, q[v], g * old)); /* r holds −R */
                q[v] = lanes_fma(h, q[v], k * old);
            }
        }
    }
}
