/* S4D, the diagonal state space model (Gu, Gupta, Goel & Ré, "On the Parameterization and Initialization of Diagonal
 * State Space Models", NeurIPS 2022, §§ 3.2, 3.3 and listing 1), by zero-order hold:
 *
 *   x_t = q x_{t−1} + b̄ u_t,  y_t = 2 Re Σ_n c_n x_n + d u_t,   q = e^{Δa}, b̄ = b (e^{Δa} − 1)/a
 *   k_l = 2 Re Σ_n c_n b̄_n q_n^l,  y = k * u + d u
 *
 * H = channels, P = pairs of conjugate states (N = 2 P; one of each pair is kept), L = length. Complex tables are
 * [P, 2, H] float64: real parts of all channels, then imaginary ones. Lanes lie over channels; the same bits for any
 * threads and SIMD level. Steps run on x/b̄, so that b̄ and c are one factor, `gain` = 2 c b̄. */
#ifndef SABLE_S4D_H
#define SABLE_S4D_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* `a`, `b`, `c` [P, 2, H], `dt` [H] → q, b̄, gain [P, 2, H]. Re a ≤ 0. */
void sable_s4d_discretise(int64_t channels, int64_t pairs, const double *a, const double *b, const double *c,
                          const double *dt, double *q, double *input, double *gain);

/* kernel (sable_convolution.h) of L steps: q^{iT + j} gain as a product of two tables of about √L powers each, made in
 * float64. `room`: sable_s4d_kernel_room() floats; −1 on overflow. */
int64_t sable_s4d_kernel_room(int64_t pairs, int64_t length, int threads);
void sable_s4d_kernel(int64_t channels, int64_t pairs, int64_t length, const double *q, const double *gain,
                      float *kernel, float *room);

/* `factors` [P, 4, H] for steps, from q and gain. */
void sable_s4d_factors(int64_t channels, int64_t pairs, const double *q, const double *gain, float *factors);

/* Steps of `sequences` sequences in chunks of `chunk` steps (`chunk` ≥ length: one), which threads share with blocks of
 * channels. `state` [sequences, chunks, P, 2, H] is each chunk's x/b̄ before its first step and becomes that after its
 * last. `u`, `y` [sequences, length, H]; `y` NULL: only states are wanted. 6 operations on lanes for a pair and step,
 * all of them fused multiply-adds but one. */
void sable_s4d_steps(int64_t channels, int64_t pairs, int64_t sequences, int64_t length, int64_t chunk,
                     const float *factors, const float *u, const float *skip, float *state, float *y);

/* For chunks in order, of the channels [channel, channel + count) of H: `ends` [chunks, P, 2, count], what each ends
 * with from 0, is replaced by what it begins with from `carry` [P, 2, count], which becomes the state after the last:
 * carry ← q^steps carry + end, in float64. All chunks have `chunk` steps. */
void sable_s4d_carry(int64_t channels, int64_t pairs, int64_t channel, int64_t count, int64_t chunks, int64_t chunk,
                     const double *q, float *ends, double *carry);

/* ---- One channel of one sequence in float64, from tables q, gain ---- */

/* The formula step by step from `x` [P, 2] = x/b̄, which becomes the state after the last step. `u` and `y` are `pitch`
 * apart. `y`: [L]. */
void sable_s4d_reference(int64_t channels, int64_t pairs, int64_t channel, int64_t length, const double *q,
                         const double *gain, const float *u, int64_t pitch, double skip, double *x, double *y);

/* How far steps of single precision may lie from that (docs/ssm_s4.md): `bound` [L] of y, `error` [P] of x/b̄ at the
 * end. */
void sable_s4d_follow(int64_t channels, int64_t pairs, int64_t channel, int64_t length, int64_t chunk, const double *q,
                      const double *gain, const float *u, int64_t pitch, double skip, double *bound, double *error);

/* k [L] by powers; and how far each element of sable_s4d_kernel() may lie from it. */
void sable_s4d_kernel_reference(int64_t channels, int64_t pairs, int64_t channel, int64_t length, const double *q,
                                const double *gain, double *k);
double sable_s4d_kernel_error(int64_t channels, int64_t pairs, int64_t channel, const double *gain);

#ifdef __cplusplus
}
#endif
#endif
