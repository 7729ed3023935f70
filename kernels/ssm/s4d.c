#include "sable_s4d.h"

#include <math.h>
#include <omp.h>
#include <stddef.h>
#include <string.h>

#include "s4d_isa.h"
#include "sable_array.h"
#include "sable_convolution.h"

enum { WIDEST = 16 };

void sable_s4d_discretise(int64_t channels, int64_t pairs, const double *a, const double *b, const double *c,
                          const double *dt, double *q, double *input, double *gain)
{
#pragma omp parallel for schedule(static)
    for (int64_t p = 0; p < pairs; p++)
        for (int64_t h = 0; h < channels; h++) {
            const int64_t r = 2 * p * channels + h, i = r + channels;
            const double x = dt[h] * a[r], y = dt[h] * a[i], size = exp(x), half = sin(y / 2);
            q[r] = size * cos(y);
            q[i] = size * sin(y);
            /* (e^{x+iy} − 1)/a; e^{x+iy} − 1 = expm1(x) cos y − 2 sin²(y/2) + i e^x sin y, without cancellation */
            const double er = expm1(x) * cos(y) - 2 * half * half, ei = q[i], norm = a[r] * a[r] + a[i] * a[i];
            const double hr = norm > 0 ? (er * a[r] + ei * a[i]) / norm : dt[h];
            const double hi = norm > 0 ? (ei * a[r] - er * a[i]) / norm : 0;
            input[r] = b[r] * hr - b[i] * hi;
            input[i] = b[r] * hi + b[i] * hr;
            gain[r] = 2 * (c[r] * input[r] - c[i] * input[i]);
            gain[i] = 2 * (c[r] * input[i] + c[i] * input[r]);
        }
}

/* ---- The kernel ---- */

/* Columns: a power of two near √L. */
static int64_t columns_of(int64_t length)
{
    int64_t columns = S4D_TILE;
    while (columns * columns < length)
        columns *= 2;
    return columns;
}

static int64_t rows_of(int64_t length)
{
    const int64_t columns = columns_of(length), rows = (length + columns - 1) / columns;
    return (rows + S4D_TILE - 1) / S4D_TILE * S4D_TILE;
}

int64_t sable_s4d_kernel_room(int64_t pairs, int64_t length, int threads)
{
    int64_t all;
    return sable_multiply((rows_of(length) + columns_of(length)) * 2 * WIDEST * threads, pairs, &all) ? all : -1;
}

void sable_s4d_kernel(int64_t channels, int64_t pairs, int64_t length, const double *q, const double *gain,
                      float *kernel, float *room)
{
    void (*powers)(int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, const double *, const double *, float *,
                   float *) = SABLE_ISA_PICK(sable_s4d_powers);
    const int64_t width = SABLE_ISA_PICK(sable_s4d_width)(), each = sable_s4d_kernel_room(pairs, length, 1);
    const int64_t columns = columns_of(length), rows = rows_of(length);
#pragma omp parallel for schedule(static)
    for (int64_t h = 0; h < channels; h += width)
        powers(channels, channels - h < width ? channels - h : width, pairs, length, rows, columns, q + h, gain + h,
               kernel + sable_kernel_index(length, h, 0), room + omp_get_thread_num() * each);
}

/* ---- Steps ---- */

void sable_s4d_factors(int64_t channels, int64_t pairs, const double *q, const double *gain, float *factors)
{
    for (int64_t p = 0; p < pairs; p++)
        for (int64_t h = 0; h < 2 * channels; h++) {
            factors[4 * p * channels + h] = (float)q[2 * p * channels + h];
            factors[(4 * p + 2) * channels + h] = (float)gain[2 * p * channels + h];
        }
}

void sable_s4d_steps(int64_t channels, int64_t pairs, int64_t sequences, int64_t length, int64_t chunk,
                     const float *factors, const float *u, const float *skip, float *state, float *y)
{
    void (*walk)(int64_t, int64_t, int64_t, int64_t, const float *, const float *, const float *, float *, float *) =
        SABLE_ISA_PICK(sable_s4d_walk);
    const int64_t width = SABLE_ISA_PICK(sable_s4d_width)();
    const int64_t chunks = length > chunk ? (length + chunk - 1) / chunk : 1;
    /* As many vectors at once as leave something for every thread. */
    const int64_t share = sequences * chunks * ((channels + width - 1) / width) / omp_get_max_threads();
    const int64_t group = (share > S4D_VECTORS ? S4D_VECTORS : share > 1 ? share : 1) * width;
    const int64_t groups = (channels + group - 1) / group;
#pragma omp parallel for schedule(static)
    for (int64_t task = 0; task < sequences * chunks * groups; task++) {
        const int64_t part = task / groups, sequence = part / chunks, h = task % groups * group;
        const int64_t t = part % chunks * chunk, at = (sequence * length + t) * channels + h;
        walk(channels, channels - h < group ? channels - h : group, pairs, length - t < chunk ? length - t : chunk,
             factors + h, u + at, skip ? skip + h : NULL, state + part * 2 * pairs * channels + h, y ? y + at : NULL);
    }
}

/* (re + i·im)^n by squaring. */
static void power(double *re, double *im, int64_t n)
{
    double base_re = *re, base_im = *im, r = 1, i = 0, old;
    for (; n > 0; n /= 2) {
        if (n % 2) {
            old = r;
            r = r * base_re - i * base_im;
            i = old * base_im + i * base_re;
        }
        old = base_re;
        base_re = base_re * base_re - base_im * base_im;
        base_im = 2 * old * base_im;
    }
    *re = r;
    *im = i;
}

void sable_s4d_carry(int64_t channels, int64_t pairs, int64_t channel, int64_t count, int64_t chunks, int64_t chunk,
                     const double *q, float *ends, double *carry)
{
#pragma omp parallel for schedule(static)
    for (int64_t p = 0; p < pairs; p++)
        for (int64_t h = 0; h < count; h++) {
            const int64_t at = 2 * p * channels + channel + h;
            double qr = q[at], qi = q[at + channels], re = carry[2 * p * count + h],
                   im = carry[(2 * p + 1) * count + h];
            power(&qr, &qi, chunk);
            for (int64_t k = 0; k < chunks; k++) {
                float *end = ends + (k * pairs + p) * 2 * count + h;
                const double r = qr * re - qi * im + (double)end[0], i = qr * im + qi * re + (double)end[count];
                end[0] = (float)re;
                end[count] = (float)im;
                re = r;
                im = i;
            }
            carry[2 * p * count + h] = re;
            carry[(2 * p + 1) * count + h] = im;
        }
}
