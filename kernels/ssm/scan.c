#include "sable_scan.h"

#include <omp.h>
#include <stddef.h>

#include "scan_isa.h"

enum { TILE = 4096 /* states: a and x_{t−1} of a tile, 64 KiB, stay in L2, and rows are long streams */, GRAIN = 64 };

void sable_scan(int64_t states, int64_t length, const float *a, const float *b, float *state, float *x, bool stream)
{
    void (*rows)(int64_t, int64_t, int64_t, int64_t, const float *, const float *, float *, float *, bool) =
        SABLE_ISA_PICK(sable_scan_rows);
    if (states == 0)
        return;
    int64_t share = (states + omp_get_max_threads() - 1) / omp_get_max_threads();
    int64_t tile = (share + GRAIN - 1) / GRAIN * GRAIN;
    tile = tile > TILE ? TILE : tile;
    stream = stream && states % 16 == 0 && (uintptr_t)x % 64 == 0;
#pragma omp parallel for schedule(static)
    for (int64_t first = 0; first < states; first += tile)
        rows(states, first, states - first < tile ? states - first : tile, length, a, b, state, x, stream);
}

void sable_scan_chunks(int64_t states, int64_t length, int64_t chunk, const float *a, const float *b, float *seed,
                       float *x)
{
    void (*rows)(int64_t, int64_t, int64_t, int64_t, const float *, const float *, float *, float *, bool) =
        SABLE_ISA_PICK(sable_scan_rows);
    void (*columns)(int64_t, int64_t, const float *, const float *, float *, float *) =
        SABLE_ISA_PICK(sable_scan_columns);
    const int64_t width = SABLE_ISA_PICK(sable_scan_width)(), row = 2 * states;
    const int64_t group = states < width ? width : 1, chunks = (length + chunk - 1) / chunk;
#pragma omp parallel for schedule(static)
    for (int64_t first = 0; first < chunks; first += group) {
        if (group > 1 && (first + group) * chunk <= length) {
            columns(states, chunk, a, b + first * chunk * row, seed + first * row, x ? x + first * chunk * row : NULL);
            continue;
        }
        for (int64_t c = first; c < first + group && c < chunks; c++) {
            int64_t t = c * chunk, steps = length - t < chunk ? length - t : chunk;
            rows(states, 0, states, steps, a, b + t * row, seed + c * row, x ? x + t * row : NULL, false);
        }
    }
}

/* (re + i·im)^n by squaring. */
static void power(double *re, double *im, int64_t n)
{
    double base_re = *re, base_im = *im, out_re = 1, out_im = 0;
    for (; n > 0; n /= 2) {
        double r;
        if (n % 2) {
            r = out_re * base_re - out_im * base_im;
            out_im = out_re * base_im + out_im * base_re;
            out_re = r;
        }
        r = base_re * base_re - base_im * base_im;
        base_im = 2 * base_re * base_im;
        base_re = r;
    }
    *re = out_re;
    *im = out_im;
}

void sable_scan_carry(int64_t states, int64_t count, int64_t chunk, const float *a, float *ends, double *carry)
{
#pragma omp parallel for schedule(static)
    for (int64_t m = 0; m < states; m++) {
        double pr = (double)a[m], pi = (double)a[states + m], re = carry[m], im = carry[states + m];
        power(&pr, &pi, chunk);
        for (int64_t c = 0; c < count; c++) {
            float *end = ends + 2 * c * states + m;
            double r = pr * re - pi * im + (double)end[0], i = pr * im + pi * re + (double)end[states];
            end[0] = (float)re;
            end[states] = (float)im;
            re = r;
            im = i;
        }
        carry[m] = re;
        carry[states + m] = im;
    }
}

void sable_scan_reference(int64_t states, int64_t length, const float *a, const float *b, double *state, float *x)
{
    for (int64_t m = 0; m < states; m++) {
        double ar = (double)a[m], ai = (double)a[states + m], re = state[m], im = state[states + m];
        for (int64_t t = 0; t < length; t++) {
            int64_t at = 2 * t * states + m;
            double r = ar * re - ai * im + (double)b[at], i = ar * im + ai * re + (double)b[at + states];
            x[at] = (float)(re = r);
            x[at + states] = (float)(im = i);
        }
        state[m] = re;
        state[states + m] = im;
    }
}
