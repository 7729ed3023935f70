/* x_t = a x_{t−1} + b_t, each part by two fused multiply-adds: re = a_re s_re + (−a_im s_im + b_re), and im likewise.
 *
 * Many states: lanes over states, a tile of states at a time whose a and x_{t−1} stay in L2; b is read and x written
 * once: 16 bytes for 8 flops, so memory bounds it, and x goes around the caches.
 *
 * Fewer states than lanes: lanes over chunks. A block of LANES chunks × LANES floats is transposed in registers:
 * whatever M is, the floats of a chunk follow one another in memory, so block p holds positions p … of all chunks. */
#include "lanes.h"
#include "scan_isa.h"

enum { AHEAD = 256 /* floats to fetch ahead: 1 KiB of each part */ };

int64_t SABLE_ISA_NAME(sable_scan_width)(void)
{
    return LANES;
}

static inline void advance(lanes ar, lanes ai, lanes br, lanes bi, lanes *re, lanes *im)
{
    lanes old = *re;
    *re = lanes_fma(ar, old, lanes_fma(-ai, *im, br));
    *im = lanes_fma(ar, *im, lanes_fma(ai, old, bi));
}

void SABLE_ISA_NAME(sable_scan_rows)(int64_t pitch, int64_t first, int64_t count, int64_t length, const float *a,
                                     const float *b, float *state, float *x, bool stream)
{
    const float *ar = a + first, *ai = ar + pitch;
    float *re = state + first, *im = re + pitch;
    const int64_t whole = count / LANES * LANES, rest = count - whole;
    for (int64_t t = 0; t < length && whole > 0; t++) {
        const float *br = b + 2 * t * pitch + first, *bi = br + pitch;
        float *xr = x ? x + 2 * t * pitch + first : NULL, *xi = x ? xr + pitch : NULL;
        for (int64_t i = 0; i < whole; i += LANES) {
            lanes r = lanes_load(re + i), m = lanes_load(im + i);
            __builtin_prefetch(br + i + AHEAD);
            __builtin_prefetch(bi + i + AHEAD);
            advance(lanes_load(ar + i), lanes_load(ai + i), lanes_load(br + i), lanes_load(bi + i), &r, &m);
            lanes_store(re + i, r);
            lanes_store(im + i, m);
            if (x && stream) {
                lanes_stream(xr + i, r);
                lanes_stream(xi + i, m);
            } else if (x) {
                lanes_store(xr + i, r);
                lanes_store(xi + i, m);
            }
        }
    }
    if (rest > 0) { /* a pass of its own, with everything in registers */
        lanes r = lanes_load_some(re + whole, rest), m = lanes_load_some(im + whole, rest);
        lanes fr = lanes_load_some(ar + whole, rest), fi = lanes_load_some(ai + whole, rest);
        for (int64_t t = 0; t < length; t++) {
            const float *br = b + 2 * t * pitch + first + whole;
            advance(fr, fi, lanes_load_some(br, rest), lanes_load_some(br + pitch, rest), &r, &m);
            if (x) {
                lanes_store_some(x + 2 * t * pitch + first + whole, r, rest);
                lanes_store_some(x + (2 * t + 1) * pitch + first + whole, m, rest);
            }
        }
        lanes_store_some(re + whole, r, rest);
        lanes_store_some(im + whole, m, rest);
    }
    lanes_stream_end();
}

/* `steps` steps of LANES chunks, `pitch` floats apart, between memory and `block` [positions] of lanes over chunks. */
static inline void gather(const float *from, int64_t pitch, int64_t floats, lanes *block)
{
    for (int64_t p = 0; p < floats; p += LANES) {
        for (int i = 0; i < LANES; i++)
            block[p + i] = floats - p >= LANES ? lanes_load(from + i * pitch + p)
                                               : lanes_load_some(from + i * pitch + p, floats - p);
        lanes_transpose(block + p);
    }
}

static inline void scatter(lanes *block, int64_t pitch, int64_t floats, float *to)
{
    for (int64_t p = 0; p < floats; p += LANES) {
        lanes_transpose(block + p);
        for (int i = 0; i < LANES; i++)
            if (floats - p >= LANES)
                lanes_store(to + i * pitch + p, block[p + i]);
            else
                lanes_store_some(to + i * pitch + p, block[p + i], floats - p);
    }
}

void SABLE_ISA_NAME(sable_scan_columns)(int64_t states, int64_t chunk, const float *a, const float *b, float *seed,
                                        float *x)
{
    enum { STEPS = LANES }; /* LANES steps are whole vectors of floats, whatever M is */
    lanes block[STEPS * 2 * LANES], s[2 * LANES + LANES];
    const int64_t row = 2 * states, pitch = chunk * row;
    gather(seed, row, row, s);
    for (int64_t t = 0; t < chunk; t += STEPS) {
        int64_t steps = chunk - t < STEPS ? chunk - t : STEPS;
        gather(b + t * row, pitch, steps * row, block);
        for (int64_t k = 0; k < steps; k++)
            for (int64_t m = 0; m < states; m++) {
                lanes *re = &block[k * row + m], *im = re + states;
                advance(lanes_all(a[m]), lanes_all(a[states + m]), *re, *im, &s[m], &s[states + m]);
                *re = s[m];
                *im = s[states + m];
            }
        if (x)
            scatter(block, pitch, steps * row, x + t * row);
    }
    scatter(s, row, row, seed);
}
