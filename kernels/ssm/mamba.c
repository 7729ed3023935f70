#include "sable_mamba.h"

#include <math.h>
#include <omp.h>
#include <stdbool.h>

#include "mamba_isa.h"
#include "sable_array.h"

int64_t sable_mamba_scratch(const struct sable_mamba *m)
{
    int64_t padded = mamba_padded(m->states), each, all, rest;
    if (!sable_multiply(2 * padded, m->length, &each) || !sable_multiply(each, m->sequences, &all) ||
        !sable_multiply(2 * padded * SABLE_MAMBA_GROUP, omp_get_max_threads(), &rest) ||
        __builtin_add_overflow(all, rest, &all))
        return -1;
    return all;
}

/* B and C of one step lie together, so that a step reads one line or two. */
void sable_mamba_prepare(const struct sable_mamba *m, int64_t begin, int64_t end, float *bc)
{
    int64_t padded = mamba_padded(m->states), steps = end - begin;
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < m->sequences * steps; i++) {
        int64_t s = i / steps, t = begin + i % steps;
        float *to = bc + (s * m->length + t) * 2 * padded;
        for (int64_t n = 0; n < padded; n++) {
            bool real = n < m->states;
            to[n] = real ? m->b[(s * m->states + n) * m->length + t] : 0;
            to[padded + n] = real ? m->c[(s * m->states + n) * m->length + t] : 0;
        }
    }
}

int64_t sable_mamba_first_row(const struct sable_mamba *m, int64_t group)
{
    const int64_t groups = (m->channels + SABLE_MAMBA_GROUP - 1) / SABLE_MAMBA_GROUP;
    return group / groups * m->channels + group % groups * SABLE_MAMBA_GROUP;
}

void sable_mamba_scan_groups(const struct sable_mamba *m, int64_t first, int64_t last, int64_t begin, int64_t end,
                             float *state, float *y, float *scratch)
{
    const int64_t width = SABLE_ISA_PICK(sable_mamba_width)(), units = SABLE_MAMBA_GROUP / width;
    const int64_t padded = mamba_padded(m->states);
    float *work = scratch + 2 * padded * m->length * m->sequences;
    void (*unit)(const struct sable_mamba *, const float *, int64_t, int64_t, int64_t, int64_t, int64_t, float *,
                 float *, float *) = SABLE_ISA_PICK(sable_mamba_unit);
#pragma omp parallel for schedule(static)
    for (int64_t i = first * units; i < last * units; i++) {
        const int64_t row = sable_mamba_first_row(m, i / units), s = row / m->channels;
        const int64_t channel = row % m->channels + i % units * width, left = m->channels - channel;
        if (left > 0)
            unit(m, scratch + s * 2 * padded * m->length, s, channel, left < width ? left : width, begin, end, state, y,
                 work + omp_get_thread_num() * 2 * padded * SABLE_MAMBA_GROUP);
    }
}

void sable_mamba_scan(const struct sable_mamba *m, int64_t begin, int64_t end, float *state, float *y, float *scratch)
{
    sable_mamba_prepare(m, begin, end, scratch);
    sable_mamba_scan_groups(m, 0, sable_mamba_groups(m), begin, end, state, y, scratch);
}

static double sigmoid(double x)
{
    return 1 / (1 + exp(-x));
}

void sable_mamba_reference(const struct sable_mamba *m, int64_t s, int64_t h, int64_t begin, int64_t end, double *state,
                           double *y, double *error, double *bound)
{
    const int64_t N = m->states, L = m->length, row = (s * m->channels + h) * L;
    const double u = 0x1p-24; /* of a rounding; an ulp is 2 u */
    for (int64_t t = begin; t < end; t++) {
        double raw = (double)m->delta[row + t] + (double)m->bias[h], in = (double)m->u[row + t];
        double delta = raw > 30 ? raw : log1p(exp(raw)), sum = (double)m->d[h] * in, off = 0, size = fabs(sum);
        /* Relative error of Δ: of the rounded sum through the softplus, and of the softplus. */
        double rel = bound ? u * fabs(raw) * sigmoid(raw) / delta + 6 * u : 0;
        for (int64_t n = 0; n < N; n++) {
            double b = (double)m->b[(s * N + n) * L + t], c = (double)m->c[(s * N + n) * L + t];
            double exponent = delta * (double)m->a[h * N + n], decay = exp(exponent), push = delta * b * in;
            if (bound)
                error[n] = decay * error[n] + fabs(state[n]) * decay * (fabs(exponent) * (rel + 3 * u) + 4.2 * u) +
                           fabs(push) * (rel + 2 * u);
            state[n] = decay * state[n] + push;
            sum += c * state[n];
            if (bound) {
                error[n] += u * fabs(state[n]) + 0x1p-149;
                off += fabs(c) * error[n];
                size += fabs(c * state[n]);
            }
        }
        double gate = m->z ? (double)m->z[row + t] * sigmoid((double)m->z[row + t]) : 1;
        y[t - begin] = sum * gate;
        if (bound) /* N + 1 roundings of the sum; 3 ulp of the sigmoid and two products */
            bound[t - begin] =
                1.1 * (fabs(gate) * (off + size * u * (double)(N + 2)) + 9 * u * fabs(sum * gate)) + 0x1p-149;
    }
}
