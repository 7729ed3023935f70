#include "sable_convolution.h"

#include <math.h>
#include <omp.h>
#include <string.h>

#include "convolution_isa.h"
#include "sable_array.h"

enum { WIDEST = 16 };
_Static_assert(SABLE_KERNEL_BLOCK % WIDEST == 0, "a vector lies within a block");
static const double turn = 6.283185307179586476925;

int64_t sable_fft_size(int64_t length)
{
    int64_t size = SABLE_FFT_LEAST;
    while (size < length && size <= INT64_MAX / 2)
        size *= 2;
    return size;
}

/* The f of block `block` of `level`: of its last digit first, and exact, as radices are powers of two. */
static double fraction(const struct sable_fft *fft, int level, int64_t block)
{
    double f = 0.25;
    int64_t blocks = 1;
    for (int l = 0; l < level; l++)
        blocks *= fft->radix[l];
    for (int l = 0; l < level; l++) {
        blocks /= fft->radix[l];
        f = (f + (double)(block / blocks)) / fft->radix[l];
        block %= blocks;
    }
    return f;
}

double sable_fft_node(const struct sable_fft *fft, int64_t i)
{
    return fraction(fft, fft->levels, i);
}

bool sable_fft_plan(int64_t size, struct sable_fft *fft)
{
    int64_t floats = 0, blocks = 1;
    *fft = (struct sable_fft){.size = size};
    for (int64_t left = size; left > 1; left /= fft->radix[fft->levels++]) {
        int radix = left == 4 || left == 16 ? 4 : 8; /* 2^e as eights, then one four or two */
        fft->radix[fft->levels] = radix;
        fft->first[fft->levels] = floats;
        floats += blocks * 2 * (radix - 1);
        blocks *= radix;
    }
    if (!(fft->turn = sable_array(floats, 1, sizeof(float))))
        return false;
    blocks = 1;
    for (int level = 0; level < fft->levels; blocks *= fft->radix[level++]) {
        const int radix = fft->radix[level];
#pragma omp parallel for schedule(static)
        for (int64_t b = 0; b < blocks; b++) {
            float *at = fft->turn + fft->first[level] + b * 2 * (radix - 1);
            double f = fraction(fft, level, b);
            for (int k = 1; k < radix; k++) {
                at[2 * (k - 1)] = (float)cos(turn * k * f / radix);
                at[2 * (k - 1) + 1] = (float)sin(turn * k * f / radix);
            }
        }
    }
    return true;
}

void sable_fft_free(struct sable_fft *fft)
{
    sable_array_free(fft->turn);
    fft->turn = NULL;
}

static int64_t vectors(int64_t channels)
{
    const int64_t width = SABLE_ISA_PICK(sable_fft_width)();
    return (channels + width - 1) / width;
}

int64_t sable_spectrum_floats(int64_t size, int64_t channels)
{
    int64_t all;
    return sable_multiply(2 * size, (channels + WIDEST - 1) / WIDEST * WIDEST, &all) ? all : -1;
}

int64_t sable_kernel_floats(int64_t channels, int64_t length)
{
    int64_t all;
    return sable_multiply((channels + SABLE_KERNEL_BLOCK - 1) / SABLE_KERNEL_BLOCK * SABLE_KERNEL_BLOCK, length, &all)
               ? all
               : -1;
}

int64_t sable_convolution_room(int64_t size, int threads)
{
    int64_t all;
    return sable_multiply(2 * WIDEST * threads, size, &all) ? all : -1;
}

void sable_spectrum(const struct sable_fft *fft, int64_t channels, int64_t length, const float *kernel, float *spectrum)
{
    void (*forward)(const struct sable_fft *, int64_t, int64_t, int64_t, const float *, float *) =
        SABLE_ISA_PICK(sable_fft_forward);
    const int64_t width = SABLE_ISA_PICK(sable_fft_width)(), floats = 2 * fft->size * width;
    const float scale = 1 / (float)fft->size; /* exact */
#pragma omp parallel for schedule(static)
    for (int64_t v = 0; v < vectors(channels); v++) {
        int64_t left = channels - v * width;
        float *to = spectrum + v * floats;
        forward(fft, SABLE_KERNEL_BLOCK, left < width ? left : width, length,
                kernel + sable_kernel_index(length, v * width, 0), to);
        for (int64_t i = 0; i < floats; i++)
            to[i] *= scale;
    }
}

void sable_convolve(const struct sable_fft *fft, int64_t sequences, int64_t channels, int64_t length, const float *u,
                    const float *spectrum, const float *skip, float *y, float *room)
{
    void (*filter)(const struct sable_fft *, int64_t, int64_t, int64_t, const float *, const float *, const float *,
                   float *, float *) = SABLE_ISA_PICK(sable_fft_filter);
    const int64_t width = SABLE_ISA_PICK(sable_fft_width)(), floats = 2 * fft->size * width;
#pragma omp parallel for schedule(static)
    for (int64_t task = 0; task < vectors(channels) * sequences; task++) {
        const int64_t v = task / sequences, at = task % sequences * length * channels + v * width;
        const int64_t left = channels - v * width;
        filter(fft, channels, left < width ? left : width, length, u + at, spectrum + v * floats,
               skip ? skip + v * width : NULL, y + at, room + omp_get_thread_num() * 2 * WIDEST * fft->size);
    }
}

void sable_convolution_energy(const struct sable_fft *fft, int64_t channels, int64_t length, int64_t channel,
                              const float *x, float *room, double *energy, double *transformed)
{
    const int64_t width = SABLE_ISA_PICK(sable_fft_width)();
    *energy = *transformed = 0;
    SABLE_ISA_PICK(sable_fft_forward)(fft, channels, 1, length, x + channel, room);
    for (int64_t t = 0; t < length; t++)
        *energy += (double)x[t * channels + channel] * (double)x[t * channels + channel];
    for (int64_t i = 0; i < 2 * fft->size; i++)
        *transformed += (double)room[i * width] * (double)room[i * width];
    *transformed /= (double)fft->size;
}

void sable_convolution_error(int64_t size, double *forward, double *backward)
{
    const double levels = log2((double)size);
    *forward = 6 * levels + 3; /* two transforms, a product */
    *backward = 3 * levels + 1;
}
