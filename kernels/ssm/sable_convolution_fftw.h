/* The same convolution by FFTW (Frigo & Johnson, "The Design and Implementation of FFTW3", Proc. IEEE 93(2), 2005),
 * real transforms of 2 M zero-padded points, and those transforms alone: what a convolution by FFT can't be faster
 * than. Plans are FFTW_ESTIMATE's: measured ones change bits from run to run. Which vector instructions FFTW takes it
 * decides itself. */
#ifndef SABLE_CONVOLUTION_FFTW_H
#define SABLE_CONVOLUTION_FFTW_H

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct sable_fftw; /* plans of one size */

/* For rows of `points` = 2 M floats; NULL if memory is short. One thread. */
struct sable_fftw *sable_fftw_plan(int64_t points);
void sable_fftw_free(struct sable_fftw *plan);
/* Floats between rows: points and 2 more, rounded up to whole lines. */
int64_t sable_fftw_pitch(int64_t points);

/* Each of `rows` rows there and back, in place; values come back times `points`. Without `back` only there. */
void sable_fftw_transform(const struct sable_fftw *plan, int64_t rows, float *x, bool back);

/* As sable_spectrum() and sable_convolve(): `spectrum` [H, pitch], `room` 16 rows a thread. */
void sable_fftw_spectrum(const struct sable_fftw *plan, int64_t channels, int64_t length, const float *kernel,
                         float *spectrum);
void sable_fftw_convolve(const struct sable_fftw *plan, int64_t sequences, int64_t channels, int64_t length,
                         const float *u, const float *spectrum, const float *skip, float *y, float *room);

/* z [points, 2] ← Σ_j z_j e^{−2πijk/points}, in double precision: for checks. False if there is no plan. */
bool sable_fftw_double(int64_t points, double *z);

#ifdef __cplusplus
}
#endif
#endif
