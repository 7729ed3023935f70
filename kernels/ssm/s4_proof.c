/* S4 in float64, and how far single precision may lie from it. u = 2^-24. */

#include "sable_s4.h"

#include <math.h>

#include "complex_parts.h"

static const double u24 = 0x1p-24;
static const double least = 0x1p-140; /* results that underflow */

static double complex at(const double *table, int64_t channels, int64_t p, int which, int64_t h)
{
    const double *from = table + (p * SABLE_S4_TABLES + which) * 2 * channels + h;
    return complex_of(from[0], from[channels]);
}

void sable_s4_reference(int64_t channels, int64_t pairs, int64_t channel, int64_t length, const double *table,
                        const float *u, int64_t pitch, double skip, double *x, double *y)
{
    const double *own = table + channel;
    const int64_t next = 2 * channels, each = SABLE_S4_TABLES * next;
    for (int64_t t = 0; t < length; t++) {
        const double in = u ? (double)u[t * pitch] : t == 0;
        double s = 0, out = skip * in;
        for (int64_t p = 0; p < pairs; p++) {
            const double *v = own + p * each + SABLE_S4_V * next;
            s += v[0] * x[2 * p] - v[channels] * x[2 * p + 1];
        }
        for (int64_t p = 0; p < pairs; p++) {
            const double *a = own + p * each, *b = a + SABLE_S4_B * next, *w = a + SABLE_S4_W * next;
            const double *c = a + SABLE_S4_C * next, re = x[2 * p], im = x[2 * p + 1];
            x[2 * p] = a[0] * re - a[channels] * im + b[0] * in - w[0] * s;
            x[2 * p + 1] = a[0] * im + a[channels] * re + b[channels] * in - w[channels] * s;
            out += c[0] * x[2 * p] - c[channels] * x[2 * p + 1];
        }
        y[t] = out;
    }
}

/* Ā shrinks the 2-norm (A + A* ≤ 0, and the bilinear rule keeps that), so errors of steps add up. A part of x is a sum
 * of 2 P + 4 products or fewer, whether by diagonal and low rank or by rows of a matrix, and has as many roundings, its
 * factors' own among them. */
double sable_s4_follow(int64_t channels, int64_t pairs, int64_t channel, int64_t length, const double *table,
                       const float *u, int64_t pitch, double skip, double *x, double *bound)
{
    const double roundings = 1.1 * u24 * (2 * (double)pairs + 6);
    double error = 0, of_c = 0;
    for (int64_t p = 0; p < pairs; p++) {
        const double c = cabs(at(table, channels, p, SABLE_S4_C, channel));
        of_c += c * c / 2; /* N numbers c̄, P of 2 c̄ */
        x[2 * p] = x[2 * p + 1] = 0;
    }
    for (int64_t t = 0; t < length; t++) {
        const double in = (double)u[t * pitch];
        double out = fabs(skip * in), s = 0, sum = 0, y, local = 0;
        for (int64_t p = 0; p < pairs; p++)
            s += cabs(at(table, channels, p, SABLE_S4_V, channel)) * hypot(x[2 * p], x[2 * p + 1]);
        for (int64_t p = 0; p < pairs; p++) {
            sum = 1.5 * cabs(at(table, channels, p, SABLE_S4_A, channel)) * hypot(x[2 * p], x[2 * p + 1]) +
                  cabs(at(table, channels, p, SABLE_S4_B, channel)) * fabs(in) +
                  cabs(at(table, channels, p, SABLE_S4_W, channel)) * s;
            local += 2 * sum * sum;
        }
        sable_s4_reference(channels, pairs, channel, 1, table, u + t * pitch, pitch, skip, x, &y);
        error += roundings * sqrt(local) + least;
        for (int64_t p = 0; p < pairs; p++)
            out += cabs(at(table, channels, p, SABLE_S4_C, channel)) * hypot(x[2 * p], x[2 * p + 1]);
        bound[t] = 1.1 * sqrt(of_c) * error + roundings * out + least;
    }
    return 1.1 * error;
}

/* Errors of the four sums, then of what is made of them, first order, in moduli. */
double sable_s4_generating(const struct sable_s4 *model, int64_t channel, const double *truncated, double f,
                           double value[2])
{
    const int64_t channels = model->channels;
    const double half = model->dt[channel] / 2, angle = 3.14159265358979323846 * f, s = sin(angle), c = cos(angle);
    const double roundings = u24 * (2 * (double)model->pairs + 14); /* of 1/d: 8, of sums: one a product */
    double complex k[4] = {0};
    double off[4] = {0};
    for (int64_t p = 0; p < model->pairs; p++) {
        const int64_t r = 2 * p * channels + channel, i = r + channels;
        const double complex lambda = half * complex_of(model->lambda[r], model->lambda[i]);
        const double complex pp = complex_of(model->p[r], model->p[i]), b = complex_of(model->b[r], model->b[i]);
        const double complex ct = complex_of(truncated[r], truncated[i]);
        const double complex v[4] = {ct * b, ct * pp, conj(pp) * b, conj(pp) * pp};
        const double complex down = complex_of(0, -s) - c * lambda, mirrored = complex_of(0, -s) - c * conj(lambda);
        const double d = cabs(down) * cabs(mirrored);
        for (int j = 0; j < 4; j++) {
            k[j] += half * (v[j] / down + conj(v[j]) / mirrored);
            off[j] += 2 * half * (s * fabs(creal(v[j])) + fabs(c * creal(v[j] * conj(lambda)))) / d;
        }
    }
    const double complex w = 1 + c * k[3], all = k[0] - c * k[1] * k[2] / w, low = c * k[1] * k[2] / w;
    const double complex turned = complex_of(c, -s) * all;
    value[0] = creal(turned);
    value[1] = cimag(turned);
    for (int j = 0; j < 4; j++)
        off[j] *= 1.1 * roundings;
    return 1.1 *
               (off[0] + fabs(c) * (off[1] * cabs(k[2]) + cabs(k[1]) * off[2]) / cabs(w) +
                cabs(low) * fabs(c) * off[3] / cabs(w) + u24 * (20 * cabs(low) * (1 + 1 / cabs(w)) + 6 * cabs(k[0]))) +
           least;
}
