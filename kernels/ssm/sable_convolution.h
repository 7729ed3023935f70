/* Causal convolution of long sequences, y_t = Σ_{s ≤ t} k_s u_{t−s} + d u_t, lanes over channels, by one complex
 * transform of M ≥ L points a direction (right-angle convolution: Bernstein, "Multidigit multiplication for
 * mathematicians", 2001, §§ 3, 8; Crandall & Pomerance, Prime Numbers, algorithm 9.5.19): modulo X^M − i a product of
 * two real polynomials of degree below M keeps its low half in the real parts and its high half in the imaginary ones,
 * so nothing is padded with zeros and no conjugate pairs are put together.
 *
 * The transform splits X^n − e^{2πif} into X^{n/R} − e^{2πi(f+m)/R}, m = 0 … R−1, in place: coefficients k n/R + j,
 * k < R, are turned by e^{2πi k f/R} (a constant of the block) and go through a Fourier transform of R points. Its
 * values are in scrambled order, which a product point by point does not mind.
 *
 * L = length, H = channels, M = size, a power of two. Arrays of floats, [L, H] with channels next to one another. The
 * same bits for any threads and SIMD level. Bounded by arithmetic: 8 M log₂ M flops or so a channel. */
#ifndef SABLE_CONVOLUTION_H
#define SABLE_CONVOLUTION_H

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { SABLE_FFT_LEVELS = 32, SABLE_FFT_LEAST = 4 };

/* Kernels are kept in blocks of channels, [⌈H/BLOCK⌉, length, BLOCK]: each is made and transformed block by block. */
enum { SABLE_KERNEL_BLOCK = 16 };
int64_t sable_kernel_floats(int64_t channels, int64_t length); /* −1 on overflow */
static inline int64_t sable_kernel_index(int64_t length, int64_t channel, int64_t t)
{
    return (channel / SABLE_KERNEL_BLOCK * length + t) * SABLE_KERNEL_BLOCK + channel % SABLE_KERNEL_BLOCK;
}

/* What one size needs; read only. Owned by the caller, freed by sable_fft_free(). */
struct sable_fft {
    int64_t size; /* M */
    int levels;
    int radix[SABLE_FFT_LEVELS];     /* 8 or 4, of each level */
    int64_t first[SABLE_FFT_LEVELS]; /* where a level begins in `turn` */
    float *turn;                     /* for each block of each level: cos, sin of 2π k f/R, k = 1 … R−1 */
};

/* The least size for sequences of `length`: a power of two. */
int64_t sable_fft_size(int64_t length);
/* Modulo X^size − i. False if memory is short. */
bool sable_fft_plan(int64_t size, struct sable_fft *fft);
void sable_fft_free(struct sable_fft *fft);
/* Value i of a transform is the polynomial's at e^{2πif}: this f, exactly. */
double sable_fft_node(const struct sable_fft *fft, int64_t i);

/* Floats of the transform of a kernel of H channels, and of room for `threads` threads; −1 on overflow. */
int64_t sable_spectrum_floats(int64_t size, int64_t channels);
int64_t sable_convolution_room(int64_t size, int threads);

/* The transform of `kernel`, over M. */
void sable_spectrum(const struct sable_fft *fft, int64_t channels, int64_t length, const float *kernel,
                    float *spectrum);
/* y [sequences, length, H] of u, for length ≤ M; `skip` [H] or NULL is d. Threads share sequences and channels. */
void sable_convolve(const struct sable_fft *fft, int64_t sequences, int64_t channels, int64_t length, const float *u,
                    const float *spectrum, const float *skip, float *y, float *room);

/* Σ_t x_t² of one channel [length, H], and Σ |X|²/M of its transform: they are equal (Parseval). */
void sable_convolution_energy(const struct sable_fft *fft, int64_t channels, int64_t length, int64_t channel,
                              const float *x, float *room, double *energy, double *transformed);

/* How far y may lie from the exact convolution, in units of u = 2^-24: `forward` ‖k‖₂‖u‖₂ + `backward` ‖y over 2M‖₂.
 * Turns have an error of 1 u and their products of √5 u, additions of 1 u a level of two, eighth roots of 2 u: at most
 * 3 u a level of two and transform, in the 2-norm. */
void sable_convolution_error(int64_t size, double *forward, double *backward);

#ifdef __cplusplus
}
#endif
#endif
