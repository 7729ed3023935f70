/* The diagonal complex linear recurrence under S5, LRU and S4D (Smith, Warrington & Linderman, "Simplified State Space
 * Layers", ICLR 2023, eq. 2 with a diagonal Ā, § 2.2 for the scan; Orvieto et al., "Resurrecting Recurrent Neural
 * Networks for Long Sequences", ICML 2023):
 *
 *   x_t = a ∘ x_{t−1} + b_t,  t = 0 … L−1, from x_{−1}
 *
 * M = independent states. A row of M complex numbers is M real parts, then M imaginary parts: [2, M] floats. */
#ifndef SABLE_SCAN_H
#define SABLE_SCAN_H

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Steps over the OpenMP threads, which share the states: `b`, `x` [length, 2, M], `a` [2, M], `state` [2, M] is x_{−1}
 * and becomes x_{L−1}. The same bits for any threads and SIMD level: each part is two fused multiply-adds. `stream`:
 * write x around the caches, where M allows it (a multiple of 16). */
void sable_scan(int64_t states, int64_t length, const float *a, const float *b, float *state, float *x, bool stream);

/* What each chunk of `chunk` steps ends with from 0: `ends` [chunks, 2, M], for threads to share. M < SABLE_SCAN_FEW:
 * by sixteen interleaved recurrences with a^16, so that b is read as it lies and no step waits for the one before. */
enum { SABLE_SCAN_FEW = 16, SABLE_SCAN_APART = 16 };
void sable_scan_ends(int64_t states, int64_t length, int64_t chunk, const float *a, const float *b, float *ends);

/* The steps of chunks that threads share, each from its own row of `seed` [chunks, 2, M], which is replaced by the
 * chunk's last x. With fewer states than a vector has lanes, lanes lie over chunks. `stream` as above, where a chunk's
 * size allows it. */
void sable_scan_chunks(int64_t states, int64_t length, int64_t chunk, const float *a, const float *b, float *seed,
                       float *x, bool stream);

/* For `count` chunks in order, the state before each from `carry` [2, states] (float64; afterwards the state behind the
 * last), and in `ends` [count, 2, states] what each chunk ends with from 0, replaced by what it begins with:
 * carry ← a^chunk carry + end, in float64. */
void sable_scan_carry(int64_t states, int64_t count, int64_t chunk, const float *a, float *ends, double *carry);

/* All three, where the whole time is here: a few chunks at a time go from their ends to x while b is in L2, and carries
 * go from thread to thread in the order of time. The same bits as one after the other; `ends` becomes what each chunk
 * ends with, `carry` is no use afterwards. */
void sable_scan_through(int64_t states, int64_t length, int64_t chunk, const float *a, const float *b, double *carry,
                        float *ends, float *x, bool stream);

/* The formula in float64; one thread. */
void sable_scan_reference(int64_t states, int64_t length, const float *a, const float *b, double *state, float *x);

/* What one state of a result says about itself (docs/ssm.md): every step's residual against what rounding allows. */
struct sable_scan_evidence {
    double worst; /* largest residual over its bound, the first step's left out; infinite after a NaN */
    double first; /* residual of the first step, and … */
    double room;  /* … its bound, if what came before is exact; and */
    double reach; /* |a|: how much of an error of what came before it carries */
    double seam;  /* how far the state behind the last step and the next chunk's seed may lie apart */
};

/* State m; `before` [2, M] is x before the first step, rounded. */
struct sable_scan_evidence sable_scan_examine(int64_t states, int64_t length, int64_t chunk, int64_t m, const float *a,
                                              const float *b, const float *before, const float *x);

#ifdef __cplusplus
}
#endif
#endif
