/* How fast the cores compute when nothing else holds them back: fused multiply-adds, bfloat16 dot products, fp32
 * exponentials and OpenMP barriers. Operands stay in registers (exponentials: in L1). Every function runs the same on
 * each of `threads` OpenMP threads and returns a value with a closed form, so that a caller can see that the work was
 * done. Nothing here reads a clock. docs/ceilings.md */
#ifndef SABLE_PEAKS_H
#define SABLE_PEAKS_H

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* `steps` times x ← a·x + b on every lane of every accumulator, fused where the processor can, at the level of
 * sable_isa(). Returns the mean gain of an accumulator, which for a = 1 is steps·b (exact while it is an integer below
 * 2^53, or 2^23 for fp32). *flops: of all threads and steps, two for each lane and step. */
double sable_peak_fma_fp64(int threads, int64_t steps, double a, double b, double *flops);
double sable_peak_fma_fp32(int threads, int64_t steps, float a, float b, double *flops);

/* The same for x ← (x + b)·a, unfused: an addition and a multiplication for each lane and step. */
double sable_peak_ops_fp64(int threads, int64_t steps, double a, double b, double *operations);

/* The same for x ← (x ^ a) + b on lanes of 32-bit integers; the mean gain for a = 0 is steps·b modulo 2³². */
double sable_peak_ops_int32(int threads, int64_t steps, uint32_t a, uint32_t b, double *operations);

/* Dot products of bfloat16 pairs added to fp32. */
enum sable_bf16_unit { SABLE_BF16_AVX512, SABLE_BF16_AMX, SABLE_BF16_UNITS };

/* Whether processor and operating system have the unit. Asks Linux for the permission to use AMX tiles, which lasts as
 * long as the process. */
bool sable_bf16_available(enum sable_bf16_unit unit);
/* `steps` times acc ← acc + a·b on every accumulator of an available unit, all elements of `a` being 1 and of `b` being
 * 2. Returns the mean gain of an element: 4·steps for AVX512 (two products), 64·steps for AMX (32 products); exact
 * below 2^24. 0 for a unit that is not available. *flops: two for each product. */
double sable_peak_bf16(enum sable_bf16_unit unit, int threads, int64_t steps, double *flops);

/* y[i] = exp(x[i]) for −87.3 ≤ x[i] ≤ 88.3 within 2 units in the last place; outside the argument is clamped. NaN stays
 * NaN. Not threaded. Levels with a fused multiply-add (v3, v4) give the same bits, the others (base, v2) the same among
 * themselves.
 * Source: Cody & Waite, Software Manual for the Elementary Functions, ch. 6; coefficients of Cephes' expf (S. Moshier).
 */
void sable_exp_fp32(int64_t n, const float *x, float *y);
/* Number of exponentials that a pass takes on each thread, over arguments in [−1, 0). */
enum { SABLE_PEAK_EXP_ELEMENTS = 2048 };
/* `passes` of SABLE_PEAK_EXP_ELEMENTS exponentials on each thread. Returns the mean exponential: about 1 − 1/e. */
double sable_peak_exp_fp32(int threads, int64_t passes);

/* `count` barriers of `threads` OpenMP threads. Returns how many of the values that the threads wrote before a barrier
 * were read correctly by their neighbours after it: threads·count. */
int64_t sable_peak_barriers(int threads, int64_t count);

#ifdef __cplusplus
}
#endif
#endif
