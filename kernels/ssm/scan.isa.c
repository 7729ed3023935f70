/* x_t = a x_{t−1} + b_t, each part by two fused multiply-adds: re = a_re s_re + (−a_im s_im + b_re), and im likewise.
 *
 * Many states: lanes over states, a tile of states at a time whose a and x_{t−1} stay in L2; b is read and x written
 * once: 16 bytes for 8 flops, so memory bounds it, and x goes around the caches.
 *
 * Fewer states than lanes: lanes over chunks. A block of LANES chunks × LANES floats is transposed in registers:
 * whatever M is, the floats of a chunk follow one another in memory, so block p holds positions p … of all chunks. What
 * a chunk ends with is found without: its sum is cut into recurrences with a^16, with lanes over time. */
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

static inline void step(float ar, float ai, float br, float bi, float x[2])
{
    const float old = x[0];
    x[0] = __builtin_fmaf(ar, old, __builtin_fmaf(-ai, x[1], br));
    x[1] = __builtin_fmaf(ar, x[1], __builtin_fmaf(ai, old, bi));
}

/* One state: a masked vector of x would hold up the next one of b, whose place in its page is nearly the same. */
static void alone(int64_t row, int64_t length, float ar, float ai, const float *b, float *state, float *x)
{
    float now[2] = {state[0], state[row / 2]};
    for (int64_t at = 0; at < length * row; at += row) {
        step(ar, ai, b[at], b[at + row / 2], now);
        if (x) {
            x[at] = now[0];
            x[at + row / 2] = now[1];
        }
    }
    state[0] = now[0];
    state[row / 2] = now[1];
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
    if (rest == 1)
        alone(2 * pitch, length, ar[whole], ai[whole], b + first + whole, re + whole, x ? x + first + whole : NULL);
    else if (rest > 0) { /* a pass of its own, with everything in registers */
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

/* ---- Fewer states than lanes ---- */

/* Positions [0, floats) of LANES chunks, `pitch` floats apart, between memory and lanes over chunks. */
static inline __attribute__((always_inline)) void gather(const float *from, int64_t pitch, int64_t floats, lanes *block)
{
    for (int64_t p = 0; p < floats; p += LANES)
        if (floats - p >= LANES)
            lanes_load_columns(from + p, pitch, block + p);
        else {
            for (int i = 0; i < LANES; i++)
                block[p + i] = lanes_load_some(from + i * pitch + p, floats - p);
            lanes_transpose(block + p);
        }
}

static inline __attribute__((always_inline)) void scatter(lanes *block, int64_t pitch, int64_t floats, float *to,
                                                          bool stream)
{
    for (int64_t p = 0; p < floats; p += LANES) {
        lanes_transpose(block + p);
        for (int i = 0; i < LANES; i++)
            if (floats - p < LANES)
                lanes_store_some(to + i * pitch + p, block[p + i], floats - p);
            else if (stream)
                lanes_stream(to + i * pitch + p, block[p + i]);
            else
                lanes_store(to + i * pitch + p, block[p + i]);
    }
}

/* `steps` steps of LANES chunks; what is constant here keeps blocks of few states in registers. */
static inline __attribute__((always_inline)) void columns(int64_t states, int64_t steps, int64_t pitch, const float *a,
                                                          const float *b, lanes *s, float *x, bool stream,
                                                          int64_t ahead)
{
    lanes block[2 * LANES * LANES];
    const int64_t row = 2 * states;
    __asm__("" : "+r"(b), "+r"(x), "+r"(pitch)); /* addresses of rows kept from block to block would fill registers */
    gather(b, pitch, steps * row, block);
    for (int64_t p = 0; p < steps * row && ahead > 0; p += 16)
#pragma GCC unroll 16
        for (int i = 0; i < LANES; i++)
            __builtin_prefetch(b + p + i * pitch + ahead, 0, 2);
#pragma GCC unroll 8
    for (int64_t k = 0; k < steps; k++)
#pragma GCC unroll 2
        for (int64_t m = 0; m < states; m++) {
            lanes *re = &block[k * row + m], *im = re + states;
            advance(lanes_all(a[m]), lanes_all(a[states + m]), *re, *im, &s[m], &s[states + m]);
            *re = s[m];
            *im = s[states + m];
        }
    scatter(block, pitch, steps * row, x, stream);
}

static __attribute__((noinline)) void last_columns(int64_t states, int64_t steps, int64_t pitch, const float *a,
                                                   const float *b, lanes *s, float *x)
{
    columns(states, steps, pitch, a, b, s, x, false, 0);
}

/* `most` steps at a time, whole vectors of floats. */
static inline __attribute__((always_inline)) void all_columns(int64_t states, int64_t most, int64_t chunk,
                                                              const float *a, const float *b, float *seed, float *x,
                                                              bool stream, int64_t ahead)
{
    lanes s[2 * LANES + LANES];
    const int64_t row = 2 * states, pitch = chunk * row;
    int64_t t = 0;
    gather(seed, row, row, s);
    for (; t + most <= chunk; t += most)
        columns(states, most, pitch, a, b + t * row, s, x + t * row, stream, ahead);
    if (t < chunk)
        last_columns(states, chunk - t, pitch, a, b + t * row, s, x + t * row);
    scatter(s, row, row, seed, false);
    lanes_stream_end();
}

void SABLE_ISA_NAME(sable_scan_columns)(int64_t states, int64_t chunk, const float *a, const float *b, float *seed,
                                        float *x, bool stream, int64_t ahead)
{
    if (states == 1)
        all_columns(1, LANES / 2, chunk, a, b, seed, x, stream, ahead);
    else if (states == 2)
        all_columns(2, LANES / 4, chunk, a, b, seed, x, stream, ahead);
    else
        all_columns(states, LANES, chunk, a, b, seed, x, stream, ahead);
}

/* ---- Ends of chunks ----
 *
 * x_{n-1} = Σ_k a^{15−k} z_k, z_k = Σ_i (a^16)^{…} b_{16 i + k}: sixteen recurrences whose steps are next to each
 * other. Real and imaginary parts of b are chains of their own, z = R + i I for each float, so none crosses lanes. */

#if defined(__AVX512F__)
enum { CHAINS = 8 };
#else
enum { CHAINS = 4 };
#endif
enum { TOGETHER = 4 /* chunks */, BLOCK = 2 * SABLE_SCAN_APART /* floats of 16 steps of a state */ };

/* CHAINS vectors of floats over `blocks` blocks of `stride` floats; chain k begins at from[k], with factors re[k]. */
static inline __attribute__((always_inline)) void chains(int64_t blocks, int64_t stride, const float *const *from,
                                                         const float *const *re, const float *const *im, float *z_re,
                                                         float *z_im)
{
    lanes r[CHAINS], m[CHAINS];
#pragma GCC unroll 8
    for (int k = 0; k < CHAINS; k++)
        r[k] = m[k] = lanes_all(0);
    for (int64_t i = 0; i < blocks * stride; i += stride)
#pragma GCC unroll 8
        for (int k = 0; k < CHAINS; k++) {
            const lanes old = r[k], fr = lanes_load(re[k]), fi = lanes_load(im[k]);
            r[k] = lanes_fma(fr, old, lanes_fma(-fi, m[k], lanes_load(from[k] + i)));
            m[k] = lanes_fma(fr, m[k], fi * old);
        }
#pragma GCC unroll 8
    for (int k = 0; k < CHAINS; k++) {
        lanes_store(z_re + k * LANES, r[k]);
        lanes_store(z_im + k * LANES, m[k]);
    }
}

/* One state's end from its z, `re` and `im` [16, 2, M], and from the `rest` steps behind the last block. */
static void finish(int64_t states, int64_t rest, float ar, float ai, const float *re, const float *im, const float *b,
                   float *end)
{
    const int64_t row = 2 * states;
    float x[2] = {0, 0};
    for (int64_t at = 0; at < SABLE_SCAN_APART * row; at += row)
        step(ar, ai, re[at] - im[at + states], im[at] + re[at + states], x);
    for (int64_t at = 0; at < rest * row; at += row)
        step(ar, ai, b[at], b[at + states], x);
    end[0] = x[0];
    end[states] = x[1];
}

void SABLE_ISA_NAME(sable_scan_ends)(int64_t states, int64_t chunk, int64_t count, const float *a, const float *decay,
                                     const float *b, float *ends)
{
    const int64_t row = 2 * states, stride = BLOCK * states, vectors = stride / LANES;
    const int64_t blocks = chunk / SABLE_SCAN_APART;
    float z_re[TOGETHER * BLOCK * SABLE_SCAN_FEW], z_im[TOGETHER * BLOCK * SABLE_SCAN_FEW];
    for (int64_t c = 0; c < count; c += TOGETHER) {
        for (int64_t v = 0; v < TOGETHER * vectors; v += CHAINS) {
            const float *from[CHAINS], *re[CHAINS], *im[CHAINS];
            for (int64_t k = 0; k < CHAINS; k++) { /* behind the last chunk: that again */
                const int64_t own = c + (v + k) / vectors, at = (v + k) % vectors * LANES;
                from[k] = b + (own < count ? own : count - 1) * chunk * row + at;
                re[k] = decay + at;
                im[k] = re[k] + stride;
            }
            chains(blocks, stride, from, re, im, z_re + v * LANES, z_im + v * LANES);
        }
        for (int64_t k = 0; k < TOGETHER && c + k < count; k++)
            for (int64_t m = 0; m < states; m++)
                finish(states, chunk % SABLE_SCAN_APART, a[m], a[states + m], z_re + k * stride + m,
                       z_im + k * stride + m, b + (c + k) * chunk * row + blocks * stride + m,
                       ends + (c + k) * row + m);
    }
}
