/* S4D in float64, and how far single precision may lie from it. u = 2^-24; every line below is a bound of moduli. */
#include <math.h>

#include "sable_s4d.h"

static const double u24 = 0x1p-24;
static const double least = 0x1p-148; /* results that underflow */

void sable_s4d_reference(int64_t channels, int64_t pairs, int64_t channel, int64_t length, const double *q,
                         const double *gain, const float *u, int64_t pitch, double skip, double *x, double *y)
{
    for (int64_t t = 0; t < length; t++)
        y[t] = skip * (double)u[t * pitch];
    for (int64_t p = 0; p < pairs; p++) {
        const int64_t at = 2 * p * channels + channel;
        const double qr = q[at], qi = q[at + channels], gr = gain[at], gi = gain[at + channels];
        double re = x[2 * p], im = x[2 * p + 1];
        for (int64_t t = 0; t < length; t++) {
            const double old = re;
            re = qr * re - qi * im + (double)u[t * pitch];
            im = qr * im + qi * old;
            y[t] += gr * re - gi * im;
        }
        x[2 * p] = re;
        x[2 * p + 1] = im;
    }
}

/* Roundings of one step, x from `old`, with q and u as they are: an inner and an outer one of each part. */
static double rounding(double q, double old, double u, double x)
{
    return u24 * (1.5 * q * old + u + 1.5 * x) + least;
}

/* The errors of a pair along time. A chunk but the first begins at a seed: the float64 carry, whose own error is that
 * of the ends of chunks scanned from 0 (`zero`), rounded once. */
void sable_s4d_follow(int64_t channels, int64_t pairs, int64_t channel, int64_t length, int64_t chunk, const double *q,
                      const double *gain, const float *u, int64_t pitch, double skip, double *bound, double *error)
{
    const double sums =
        1.1 * u24 * (2 * (double)pairs + 3); /* roundings on the way of a term to y, and of its factor */
    for (int64_t t = 0; t < length; t++)
        bound[t] = sums * fabs(skip * (double)u[t * pitch]) + least;
    for (int64_t p = 0; p < pairs; p++) {
        const int64_t at = 2 * p * channels + channel;
        const double qr = q[at], qi = q[at + channels], size = hypot(qr, qi);
        const double wrong = hypot(qr - (double)(float)qr, qi - (double)(float)qi); /* of q itself */
        const double far = pow(size, (double)chunk), g = hypot(gain[at], gain[at + channels]);
        double re = 0, im = 0, x = 0, e = 0, zr = 0, zi = 0, z = 0, zero = 0, carried = 0;
        for (int64_t t = 0; t < length; t++) {
            const double ut = (double)u[t * pitch], was = x, re_was = re;
            if (t > 0 && t % chunk == 0) {
                carried = far * carried + zero + 0x1p-50 * x;
                e = carried + u24 * x;
                zr = zi = z = zero = 0;
            }
            re = qr * re - qi * im + ut;
            im = qr * im + qi * re_was;
            x = sqrt(re * re + im * im);
            e = (size + wrong) * e + wrong * was + rounding(size, was, fabs(ut), x);
            bound[t] += 1.1 * g * e + sums * g * x;
            if (chunk < length) {
                const double z_was = z, zr_was = zr;
                zr = qr * zr - qi * zi + ut;
                zi = qr * zi + qi * zr_was;
                z = sqrt(zr * zr + zi * zi);
                zero = (size + wrong) * zero + wrong * z_was + rounding(size, z_was, fabs(ut), z);
            }
        }
        error[p] = 1.1 * e;
    }
}

void sable_s4d_kernel_reference(int64_t channels, int64_t pairs, int64_t channel, int64_t length, const double *q,
                                const double *gain, double *k)
{
    for (int64_t t = 0; t < length; t++)
        k[t] = 0;
    for (int64_t p = 0; p < pairs; p++) {
        const int64_t at = 2 * p * channels + channel;
        const double qr = q[at], qi = q[at + channels];
        double re = gain[at], im = gain[at + channels];
        for (int64_t t = 0; t < length; t++) {
            const double old = re;
            k[t] += re;
            re = qr * re - qi * im;
            im = qr * im + qi * old;
        }
    }
}

/* 2 P products of two rounded factors are added; |q| ≤ 1. */
double sable_s4d_kernel_error(int64_t channels, int64_t pairs, int64_t channel, const double *gain)
{
    double sum = 0;
    for (int64_t p = 0; p < pairs; p++)
        sum += hypot(gain[2 * p * channels + channel], gain[(2 * p + 1) * channels + channel]);
    return 1.1 * u24 * (2 * (double)pairs + 3) * sum + least;
}
