/* S4, the diagonal plus low-rank state space model (Gu, Goel & Ré, "Efficiently Modeling Long Sequences with Structured
 * State Spaces", ICLR 2022: eq. 6 of theorem 1 for A, eq. 3 for the bilinear rule, eqs. 4 and 5 for the kernel, which
 * algorithm 1 makes by generating functions, lemma C.3; costs: theorem 3):
 *
 *   A = diag(λ) − p p*,  Ā = (I − Δ/2 A)⁻¹ (I + Δ/2 A),  B̄ = (I − Δ/2 A)⁻¹ Δ b
 *   x_t = Ā x_{t−1} + B̄ u_t,  y_t = Re c* x_t + d u_t,   k_l = Re c* Ā^l B̄
 *
 * λ, p, b, c come in N = 2 P conjugates, of which one of each pair is kept: sums over N are 2 Re of sums over P.
 * H = channels, L = length. Complex tables are [P, 2, H] float64, as in sable_s4d.h. Re λ ≤ 0. Lanes lie over channels;
 * the same bits for any threads and SIMD level. */
#ifndef SABLE_S4_H
#define SABLE_S4_H

#include <stdint.h>

#include "sable_convolution.h"

#ifdef __cplusplus
extern "C" {
#endif

struct sable_s4 {
    int64_t channels, pairs;
    const double *lambda, *p, *b, *c; /* [P, 2, H] */
    const double *dt;                 /* [H] */
};

/* ---- Steps: Ā = diag(ā) − w v*, by one product of vectors ---- */

enum { SABLE_S4_A, SABLE_S4_B, SABLE_S4_W, SABLE_S4_V, SABLE_S4_C, SABLE_S4_TABLES };

/* `table` [P, TABLES, 2, H]: ā, B̄, w, 2 v̄, 2 c̄, so that s = Re Σ v x, x ← ā x + B̄ u − w s, y = Re Σ c x. */
void sable_s4_discretise(const struct sable_s4 *model, double *table);
/* The same rounded: [P, TABLES, 2, H] in blocks of channels as a kernel of that many rows (sable_convolution.h), so
 * that what a vector of channels reads again and again lies together: rows H apart share few sets of a cache. */
void sable_s4_factors(int64_t channels, int64_t pairs, const double *table, float *factors);
/* Ā of real and imaginary parts, for dense steps: [N in fours, N, 4, H] from `table`, in blocks, too. */
int64_t sable_s4_matrix_floats(int64_t channels, int64_t pairs); /* −1 on overflow */
void sable_s4_matrix(int64_t channels, int64_t pairs, const double *table, float *matrix);

/* Steps of `sequences` from `state` [sequences, P, 2, H], which becomes the last one; `u`, `y` [sequences, length, H].
 * With `matrix` by the dense Ā, 2 N² flops a step, else by diagonal and low rank, 12 N. */
int64_t sable_s4_steps_room(int64_t pairs, int threads);
void sable_s4_steps(int64_t channels, int64_t pairs, int64_t sequences, int64_t length, const float *factors,
                    const float *matrix, const float *u, const float *skip, float *state, float *y, float *room);

/* ---- The kernel: its generating function at roots of unity, by Cauchy sums and the Woodbury identity ---- */

/* c̄ (I + Ā^M) [P, 2, H]: what the generating function of the first M steps has in the place of c̄ where ζ^M = −1. By M
 * steps of its own; M is even and what `half` below is made for. */
void sable_s4_truncate(int64_t channels, int64_t pairs, int64_t size, const double *table, double *truncated);

/* `nodes` [M/2, 6] for the M/2 values of `half` = sable_fft_plan(M/2): half of the roots of ζ^M = −1, one of each pair
 * of conjugates. */
enum { SABLE_S4_NODE = 6 };
void sable_s4_nodes(const struct sable_fft *half, float *nodes);
/* `factors` [P, 11, H] of the four sums, in blocks, too: what each repetition makes of `truncated`. */
enum { SABLE_S4_CAUCHY = 11 };
void sable_s4_cauchy_factors(const struct sable_s4 *model, const double *truncated, float *factors);
/* kernel (sable_convolution.h) of L ≤ M steps. `room`: sable_convolution_room(M/2, threads). */
void sable_s4_kernel(int64_t channels, int64_t pairs, int64_t length, const struct sable_fft *half, const float *nodes,
                     const float *factors, float *kernel, float *room);

/* ---- One channel in float64 ---- */

/* Steps from `x` [P, 2], which becomes the last state; u (NULL: 1, 0, 0 …, so that y is the kernel) `pitch` apart. */
void sable_s4_reference(int64_t channels, int64_t pairs, int64_t channel, int64_t length, const double *table,
                        const float *u, int64_t pitch, double skip, double *x, double *y);
/* How far y [L] of single precision, and the last state in the 2-norm, may lie from that, started at 0. `x` [P, 2] is
 * room. */
double sable_s4_follow(int64_t channels, int64_t pairs, int64_t channel, int64_t length, const double *table,
                       const float *u, int64_t pitch, double skip, double *x, double *bound);
/* The generating function of the first M steps at ζ = e^{2πif}, ζ^M = −1; returns how far single precision may lie from
 * it. */
double sable_s4_generating(const struct sable_s4 *model, int64_t channel, const double *truncated, double f,
                           double value[2]);

#ifdef __cplusplus
}
#endif
#endif
