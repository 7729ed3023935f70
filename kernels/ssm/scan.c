#include "sable_scan.h"

#include <omp.h>
#include <sched.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>

#include "scan_isa.h"

enum {
    TILE = 4096 /* states: a and x_{t−1} of a tile, 64 KiB, stay in L2, and rows are long streams */,
    GRAIN = 64,
    L2 = 1 << 20 /* bytes, of a small one */
};

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

/* ---- Over time ---- */

static int64_t chunks_of(int64_t length, int64_t chunk)
{
    return (length + chunk - 1) / chunk;
}

/* a^16 of each float of 16 steps; nothing for more states. */
static void fill_decay(int64_t states, const float *a, float *decay)
{
    const int64_t floats = 2 * states * SABLE_SCAN_APART;
    for (int64_t m = 0; m < states && states < SABLE_SCAN_FEW; m++) {
        double re = (double)a[m], im = (double)a[states + m];
        scan_power(&re, &im, SABLE_SCAN_APART);
        for (int64_t i = m; i < floats; i += states) {
            decay[i] = (float)re;
            decay[floats + i] = (float)im;
        }
    }
}

/* Ends of the chunks [first, last). */
static void ends_of(int64_t states, int64_t length, int64_t chunk, int64_t first, int64_t last, const float *a,
                    const float *decay, const float *b, float *ends)
{
    const int64_t row = 2 * states, whole = length / chunk < last ? length / chunk : last;
    int64_t c = first;
    if (states < SABLE_SCAN_FEW && whole > first) {
        SABLE_ISA_PICK(sable_scan_ends)
        (states, chunk, whole - first, a, decay, b + first * chunk * row, ends + first * row);
        c = whole;
    }
    for (; c < last; c++) {
        const int64_t t = c * chunk, steps = length - t < chunk ? length - t : chunk;
        memset(ends + c * row, 0, (size_t)row * sizeof *ends);
        SABLE_ISA_PICK(sable_scan_rows)
        (states, 0, states, steps, a, b + t * row, ends + c * row, NULL, false);
    }
}

/* x of the chunks [first, last); the thread's next ones are `ahead` chunks behind (0: wherever). */
static void scan_of(int64_t states, int64_t length, int64_t chunk, int64_t first, int64_t last, const float *a,
                    const float *b, float *seed, float *x, bool stream, int64_t ahead)
{
    const int64_t width = SABLE_ISA_PICK(sable_scan_width)(), row = 2 * states;
    const bool aligned = (uintptr_t)x % 64 == 0, by_rows = stream && aligned && states % 16 == 0;
    const bool by_columns = stream && aligned && chunk * row % 16 == 0;
    for (int64_t c = first; c < last;) {
        const int64_t t = c * chunk, steps = length - t < chunk ? length - t : chunk;
        if (states < width && c + width <= last && t + width * chunk <= length) {
            SABLE_ISA_PICK(sable_scan_columns)
            (states, chunk, a, b + t * row, seed + c * row, x + t * row, by_columns,
             t + (width + ahead) * chunk <= length ? ahead * chunk * row : 0);
            c += width;
        } else {
            SABLE_ISA_PICK(sable_scan_rows)
            (states, 0, states, steps, a, b + t * row, seed + c * row, x + t * row, by_rows);
            c++;
        }
    }
}

/* Chunks that a thread takes at once: lanes lie over them if states are few. */
static int64_t group_of(int64_t states)
{
    return states < SABLE_SCAN_FEW ? 16 : 1;
}

void sable_scan_ends(int64_t states, int64_t length, int64_t chunk, const float *a, const float *b, float *ends)
{
    const int64_t group = group_of(states), chunks = chunks_of(length, chunk);
    float decay[4 * SABLE_SCAN_FEW * SABLE_SCAN_APART];
    fill_decay(states, a, decay);
#pragma omp parallel for schedule(static)
    for (int64_t first = 0; first < chunks; first += group)
        ends_of(states, length, chunk, first, first + group < chunks ? first + group : chunks, a, decay, b, ends);
}

void sable_scan_chunks(int64_t states, int64_t length, int64_t chunk, const float *a, const float *b, float *seed,
                       float *x, bool stream)
{
    const int64_t group = group_of(states), chunks = chunks_of(length, chunk);
#pragma omp parallel for schedule(static)
    for (int64_t first = 0; first < chunks; first += group)
        scan_of(states, length, chunk, first, first + group < chunks ? first + group : chunks, a, b, seed, x, stream,
                0);
}

/* carry ← a^chunk carry + end, and what was the carry is the chunk's seed, for `count` chunks of state m. */
static void chain(int64_t states, int64_t m, int64_t count, int64_t chunk, const float *a, float *ends, double *carry)
{
    double pr = (double)a[m], pi = (double)a[states + m], re = carry[m], im = carry[states + m];
    scan_power(&pr, &pi, chunk);
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

void sable_scan_carry(int64_t states, int64_t count, int64_t chunk, const float *a, float *ends, double *carry)
{
#pragma omp parallel for schedule(static)
    for (int64_t m = 0; m < states; m++)
        chain(states, m, count, chunk, a, ends, carry);
}

void sable_scan_through(int64_t states, int64_t length, int64_t chunk, const float *a, const float *b, double *carry,
                        float *ends, float *x, bool stream)
{
    const int64_t group = group_of(states), chunks = chunks_of(length, chunk);
    const bool two_fit = (double)group * (double)chunk * 8 * (double)states <= L2 / 2;
    float decay[4 * SABLE_SCAN_FEW * SABLE_SCAN_APART];
    fill_decay(states, a, decay);
    _Atomic int64_t turn = 0; /* whose carry it is; OpenMP's `ordered` would keep it until x is written, too */
#pragma omp parallel for schedule(static, 1)
    for (int64_t first = 0; first < chunks; first += group) {
        const int64_t last = first + group < chunks ? first + group : chunks;
        if (chunks > 1) /* a single chunk's end is nobody's beginning */
            ends_of(states, length, chunk, first, last, a, decay, b, ends);
        while (atomic_load_explicit(&turn, memory_order_acquire) != first)
            sched_yield();
        for (int64_t m = 0; m < states; m++)
            chain(states, m, last - first, chunk, a, ends + 2 * first * states, carry);
        atomic_store_explicit(&turn, last, memory_order_release);
        scan_of(states, length, chunk, first, last, a, b, ends, x, stream, two_fit ? group * omp_get_max_threads() : 0);
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
