/* LegS, bilinear: c ← (I − hA/2)⁻¹((I + hA/2) c + h B f), h = 1/t, both matrices lower triangular; backward likewise
 * with c alone on the right. 2 N² flops an update of a channel, against 6 N of the prefix sums. Time-invariant
 * measures: c ← Ā c + B̄ f, 2 N². A thread's channels stay in its cache from step to step. */
#include "sable_hippo_blas.h"

#ifdef SABLE_HAVE_OPENBLAS

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "blas.h"
#include "sable_array.h"

enum { CHANNELS = 64 /* of a block: N × 64 floats in L2 */ };

static void copy_block(int64_t order, int64_t count, const float *from, int64_t from_row, float *to, int64_t to_row)
{
    for (int64_t n = 0; n < order; n++)
        memcpy(to + n * to_row, from + n * from_row, (size_t)count * sizeof *to);
}

/* into += scale · gain fᵀ */
static void add_signal(int64_t order, int64_t count, float scale, const float *gain, const float *f, float *into)
{
    for (int64_t n = 0; n < order; n++)
        for (int64_t i = 0; i < count; i++)
            into[n * count + i] += scale * gain[n] * f[i];
}

/* The factors of step t: `right` I + hA/2 and `left` I − hA/2 (backward: none, and I − hA). */
static void factors(enum sable_legs_rule rule, int64_t order, int64_t t, float *right, float *left)
{
    const double h = 1 / (double)t, before = rule == SABLE_LEGS_BILINEAR ? h / 2 : 0, after = h - before;
    for (int64_t n = 0; n < order; n++)
        for (int64_t k = 0; k <= n; k++) {
            double one = n == k, a = n == k ? -((double)n + 1) : -sqrt((2 * (double)n + 1) * (2 * (double)k + 1));
            right[n * order + k] = (float)(one + before * a);
            left[n * order + k] = (float)(one - after * a);
        }
}

bool sable_legs_blas(const struct sable_blas *blas, enum sable_legs_rule rule, int64_t order, int64_t channels,
                     int64_t begin, int64_t end, const float *signal, float *c)
{
    const int64_t blocks = (channels + CHANNELS - 1) / CHANNELS;
    const int n = (int)order;
    float *right = sable_array(order, order, sizeof *right), *left = sable_array(order, order, sizeof *left);
    float *gain = sable_array(order, 1, sizeof *gain), *held = sable_array(blocks * order, CHANNELS, sizeof *held);
    const bool good = right && left && gain && held;
    if (good) {
        for (int64_t i = 0; i < order; i++)
            gain[i] = (float)sqrt(2 * (double)i + 1);
#pragma omp parallel
        {
#pragma omp for schedule(static)
            for (int64_t i = 0; i < blocks; i++) {
                int64_t first = i * CHANNELS, count = channels - first < CHANNELS ? channels - first : CHANNELS;
                copy_block(order, count, c + first, channels, held + first * order, count);
            }
            for (int64_t t = begin + 1; t <= end; t++) {
#pragma omp single
                factors(rule, order, t, right, left);
#pragma omp for schedule(static)
                for (int64_t i = 0; i < blocks; i++) {
                    const int64_t first = i * CHANNELS,
                                  count = channels - first < CHANNELS ? channels - first : CHANNELS;
                    float *x = held + first * order;
                    const int m = (int)count;
                    if (rule == SABLE_LEGS_BILINEAR && m == 1)
                        blas->strmv(CblasRowMajor, CblasLower, CblasNoTrans, CblasNonUnit, n, right, n, x, 1);
                    else if (rule == SABLE_LEGS_BILINEAR)
                        blas->strmm(CblasRowMajor, CblasLeft, CblasLower, CblasNoTrans, CblasNonUnit, n, m, 1, right, n,
                                    x, m);
                    add_signal(order, count, 1 / (float)t, gain, signal + (t - 1) * channels + first, x);
                    if (m == 1)
                        blas->strsv(CblasRowMajor, CblasLower, CblasNoTrans, CblasNonUnit, n, left, n, x, 1);
                    else
                        blas->strsm(CblasRowMajor, CblasLeft, CblasLower, CblasNoTrans, CblasNonUnit, n, m, 1, left, n,
                                    x, m);
                }
            }
#pragma omp for schedule(static)
            for (int64_t i = 0; i < blocks; i++) {
                int64_t first = i * CHANNELS, count = channels - first < CHANNELS ? channels - first : CHANNELS;
                copy_block(order, count, held + first * order, count, c + first, channels);
            }
        }
    }
    sable_array_free(right);
    sable_array_free(left);
    sable_array_free(gain);
    sable_array_free(held);
    return good;
}

bool sable_window_blas(const struct sable_blas *blas, int64_t order, int64_t channels, int64_t steps, const float *next,
                       const float *gain, const float *signal, float *c)
{
    const int64_t blocks = (channels + CHANNELS - 1) / CHANNELS;
    const int n = (int)order;
    int short_of = 0;
#pragma omp parallel reduction(| : short_of)
    {
        float *room = sable_array(2 * order, CHANNELS, sizeof *room);
        short_of |= !room;
#pragma omp for schedule(static)
        for (int64_t i = 0; i < blocks; i++) {
            const int64_t first = i * CHANNELS, count = channels - first < CHANNELS ? channels - first : CHANNELS;
            float *now = room, *then = room ? room + order * CHANNELS : NULL;
            const int m = (int)count;
            if (!room)
                continue;
            copy_block(order, count, c + first, channels, now, count);
            for (int64_t t = 0; t < steps; t++) {
                if (m == 1)
                    blas->sgemv(CblasRowMajor, CblasNoTrans, n, n, 1, next, n, now, 1, 0, then, 1);
                else
                    blas->sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, n, m, n, 1, next, n, now, m, 0, then, m);
                add_signal(order, count, 1, gain, signal + t * channels + first, then);
                float *swap = now;
                now = then, then = swap;
            }
            copy_block(order, count, now, count, c + first, channels);
        }
        sable_array_free(room);
    }
    return !short_of;
}

#else
typedef int sable_no_openblas; /* a translation unit holds something */
#endif
