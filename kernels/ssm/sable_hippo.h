/* HiPPO-LegS: the best approximation of a signal's whole history by Legendre polynomials, updated at each step (Gu,
 * Dao, Ermon, Rudra & Ré, "HiPPO: Recurrent Memory with Optimal Polynomial Projections", NeurIPS 2020, theorem 2: eq. 3
 * in continuous time, eq. 4 in steps, and appendix D.3; O(N) steps: proposition 4 and appendix E.2.2).
 *
 *   d/dt c = (A c + B f)/t      A[n,k] = −√((2n+1)(2k+1)) for n > k, −(n+1) for n = k, else 0      B[n] = √(2n+1)
 *   f(x t) ≈ Σ_n c_n √(2n+1) P_n(2x − 1), 0 ≤ x ≤ 1
 *
 * at t = 1, 2, …, from c = 0:
 *   bilinear : (I − A/(2t)) c′ = (I + A/(2t)) c + B f_t / t
 *   backward : (I − A/t) c′ = c + B f_t / t
 *   zoh      : c′ = E c + A⁻¹(E − I) B f_t, E = exp(A log(t/(t−1))), and c = f_1 e_0 at t = 1: the exact projection of
 * the signal that is constant between steps. */
#ifndef SABLE_HIPPO_H
#define SABLE_HIPPO_H

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum sable_legs_rule { SABLE_LEGS_BILINEAR, SABLE_LEGS_BACKWARD, SABLE_LEGS_ZOH };

/* Channels are kept in groups of SABLE_LEGS_GROUP, each [order, group]; lanes behind the last channel hold 0. */
enum { SABLE_LEGS_GROUP = 32, SABLE_LEGS_STEPS = 16 };

static inline int64_t sable_legs_groups(int64_t channels)
{
    return (channels + SABLE_LEGS_GROUP - 1) / SABLE_LEGS_GROUP;
}

/* Steps begin < t ≤ end (t = 1, 2, …) in float32 over the OpenMP threads by bilinear or backward rule: `signal`
 * [length, channels], row t − 1 is f_t; `c` [groups, order, group] is updated and holds √(2n+1) times the coefficients.
 * `factors` is scratch of [SABLE_LEGS_STEPS, order, 2]. The same bits for any threads, SIMD level and cut of the steps.
 */
void sable_legs_scan(enum sable_legs_rule rule, int64_t order, int64_t channels, int64_t begin, int64_t end,
                     const float *signal, float *c, float *factors);

/* The matrices, A [order, order] and B [order]. */
void sable_legs_matrices(int64_t order, double *a, double *b);

/* One step of one channel in float64 by dense matrices, any rule. For zoh `e` [order, order] and `w` [order] hold
 * sable_legs_zoh()'s matrices, else they are room. */
void sable_legs_dense_step(enum sable_legs_rule rule, int64_t order, int64_t t, const double *a, const double *b,
                           double f, double *c, double *e, double *w);

/* E and A⁻¹(E − I)B at step t ≥ 1, by projecting the old polynomials to the longer interval (exact Gauss–Legendre
 * quadrature with `order` nodes); `node`, `weight` from sable_legendre_nodes(). */
void sable_legs_zoh(int64_t order, int64_t t, const double *node, const double *weight, double *e, double *w);
void sable_legendre_nodes(int64_t order, double *node, double *weight); /* on [0, 1] */

/* √(2n+1) P_n(2x − 1) and its integral from 0 to x, n < order. */
void sable_legendre(int64_t order, double x, double *p, double *integral);

/* One channel in float64 by prefix sums, `stride` floats between its steps, with bilinear or backward rule: c [order]
 * is updated; *bound, unless NULL, grows to how far sable_legs_scan()'s result (`dense`: sable_legs_blas()'s) may lie
 * away in the 2-norm. `room` [order]. */
void sable_legs_follow(enum sable_legs_rule rule, bool dense, int64_t order, int64_t begin, int64_t end,
                       const float *signal, int64_t stride, double *c, double *bound, double *room);

#ifdef __cplusplus
}
#endif
#endif
