/* HiPPO's time-invariant measures: dc/dt = A c + B f of one window that slides along (LegT: Legendre, FouT: Fourier) or
 * of a past that fades (LagT: Laguerre) (Gu, Dao, Ermon, Rudra & Ré, "HiPPO", NeurIPS 2020, theorem 1: eq. 1 for LegT,
 * eq. 2 for LagT, here of normalised polynomials, and appendix D; FouT: Gu, Johnson, Timalsina, Rudra & Ré, "How to
 * Train Your HiPPO", 2022). With x the age of a value:
 *   LegT: A[n,k] = −√((2n+1)(2k+1)) (n < k ? (−1)^(n−k) : 1)/2, B[n] = √(2n+1)/2; c_n of √(2n+1) P_n(1 − x), 0 ≤ x ≤ 2
 *   LagT: A = I/2 − tril(1), B = 1; c_n of e^{−x/2} L_n(x), x ≥ 0
 *   FouT: A = π k in antisymmetric pairs − B Bᵀ, B = (1, 0, √2, 0, √2, …); c of 1, √2 cos πkx, √2 sin πkx, 0 ≤ x ≤ 2
 * In all, A + Aᵀ is negative semidefinite: −(v vᵀ + w wᵀ)/2 with v_n = √(2n+1), w_n = (−1)^n v_n; −1 1ᵀ; −2 B Bᵀ. */
#ifndef SABLE_WINDOW_H
#define SABLE_WINDOW_H

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum sable_window_measure { SABLE_WINDOW_LEGT, SABLE_WINDOW_LAGT, SABLE_WINDOW_FOUT };
enum sable_window_rule { SABLE_WINDOW_BILINEAR, SABLE_WINDOW_BACKWARD, SABLE_WINDOW_ZOH, SABLE_WINDOW_FORWARD };

/* A [order, order] and B [order]. */
void sable_window_matrices(enum sable_window_measure measure, int64_t order, double *a, double *b);

/* c′ = Ā c + B̄ f of a step `step` > 0: `next` [order, order] and `gain` [order]. `room` [3, order + 1, order + 1].
 *   bilinear: (I − hA/2)⁻¹(I + hA/2), backward: (I − hA)⁻¹, forward: I + hA, zoh: e^{hA} and ∫_0^h e^{sA} ds B */
void sable_window_discretise(enum sable_window_rule rule, int64_t order, double step, const double *a, const double *b,
                             double *next, double *gain, double *room);

/* An upper bound of |Āᵐ| over all m ≥ 0 in the 2-norm for the forward rule, found by multiplying up to `powers` times,
 * in strides; INFINITY if Āᵐ has not shrunk by then. What the signal never reaches is left out. `room` [3, order,
 * order]. */
double sable_window_growth(enum sable_window_measure measure, int64_t order, const double *a, const double *next,
                           int64_t powers, double *room);

/* `steps` steps in float32 over the OpenMP threads: `signal` [steps, channels], `c` [groups, order, group] (groups as
 * in sable_hippo.h) is updated, `spare` the same size, `next`, `gain` in float32. The same bits for any threads and
 * SIMD level: each coefficient is a sum of blocks of SABLE_WINDOW_BLOCK products, each block one
 * chain of multiply-adds, which keeps rounding errors small. */
enum { SABLE_WINDOW_BLOCK = 32 };
void sable_window_scan(int64_t order, int64_t channels, int64_t steps, const float *next, const float *gain,
                       const float *signal, float *c, float *spare);

/* The basis function of coefficient n < order at age `x` windows, 0 ≤ x ≤ 1 (LagT: a unit of x is a unit of time). */
void sable_window_basis(enum sable_window_measure measure, int64_t order, double x, double *basis);

/* A step of one channel in float64: c [order] is updated; `room` [order]. *bound, unless NULL, grows to how far
 * a float32 result may lie away in the 2-norm over `growth` ≥ |Āᵐ| if a product of a coefficient's sum meets at most
 * `roundings` on its way: sable_window_roundings() for sable_window_scan(), order + 2 for any order of summation.
 * `norm` is Ā's Frobenius norm. */
static inline double sable_window_roundings(int64_t order)
{
    const double blocks = (double)((order + SABLE_WINDOW_BLOCK - 1) / SABLE_WINDOW_BLOCK);
    return (order < SABLE_WINDOW_BLOCK ? (double)order : SABLE_WINDOW_BLOCK) + blocks + 2; /* two of rounded factors */
}
void sable_window_follow(int64_t order, const double *next, const double *gain, double norm, double growth,
                         double roundings, double f, double *c, double *bound, double *room);

#ifdef __cplusplus
}
#endif
#endif
