#ifndef SABLE_CONVOLUTION_ISA_H
#define SABLE_CONVOLUTION_ISA_H

#include "sable_convolution.h"
#include "sable_isa.h"

/* All of these take one vector of channels, `count` ≤ its width of them used, from `x` on, rows `pitch` floats apart.
 * `z` [M, 2] vectors is room. */

/* z ← the transform of x [length]. */
SABLE_ISA_DECLARE(void, sable_fft_forward,
                  (const struct sable_fft *fft, int64_t pitch, int64_t count, int64_t length, const float *x,
                   float *z));
/* x [length] ← z taken back, over M: real parts are rows 0 … M−1, imaginary ones rows M … 2 M−1. z is lost. */
SABLE_ISA_DECLARE(void, sable_fft_backward,
                  (const struct sable_fft *fft, int64_t pitch, int64_t count, int64_t length, float *z, float *x));
/* y [length] ← u times `spectrum` [M, 2] vectors, and skip·u. */
SABLE_ISA_DECLARE(void, sable_fft_filter,
                  (const struct sable_fft *fft, int64_t pitch, int64_t count, int64_t length, const float *u,
                   const float *spectrum, const float *skip, float *y, float *z));
SABLE_ISA_DECLARE(int64_t, sable_fft_width, (void));

#endif
