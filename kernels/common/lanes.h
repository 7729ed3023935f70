/* The widest vectors of floats of the level that a *.isa.c source is compiled for, and arithmetic on them; for use in
 * such sources only. Every operation is lane-wise and rounds as IEEE 754 says, so results have the same bits at every
 * level and width. Doubles: lanes64.h; elementary functions: lanes_math.h. */
#ifndef SABLE_LANES_H
#define SABLE_LANES_H

#include <stdint.h>
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#if defined(__AVX512F__)
enum { LANES = 16 };
#elif defined(__AVX2__)
enum { LANES = 8 };
#else
enum { LANES = 4 };
#endif

typedef float lanes __attribute__((vector_size(4 * LANES)));
typedef int32_t int_lanes __attribute__((vector_size(4 * LANES)));
typedef uint32_t word_lanes __attribute__((vector_size(4 * LANES))); /* bit patterns: sums wrap */
typedef float loose_lanes __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

#include "lanes_transpose.h"

static inline lanes lanes_load(const float *from)
{
    return *(const loose_lanes *)from;
}

static inline void lanes_store(float *to, lanes x)
{
    *(loose_lanes *)to = x;
}

/* The first `count` < LANES elements; the rest is 0, or not written. */
static inline lanes lanes_load_some(const float *from, int64_t count)
{
#if defined(__AVX512F__)
    return _mm512_maskz_loadu_ps((__mmask16)((1U << count) - 1), from);
#else
    lanes x = {0};
    for (int64_t i = 0; i < count; i++)
        x[i] = from[i];
    return x;
#endif
}

static inline void lanes_store_some(float *to, lanes x, int64_t count)
{
#if defined(__AVX512F__)
    _mm512_mask_storeu_ps(to, (__mmask16)((1U << count) - 1), x);
#else
    for (int64_t i = 0; i < count; i++)
        to[i] = x[i];
#endif
}

/* `count` ≤ LANES elements. */
static inline lanes lanes_load_row(const float *from, int64_t count)
{
    return count == LANES ? lanes_load(from) : lanes_load_some(from, count);
}

static inline void lanes_store_row(float *to, lanes x, int64_t count)
{
    if (count == LANES)
        lanes_store(to, x);
    else
        lanes_store_some(to, x, count);
}

/* To a whole vector's boundary, around the caches where there is a way. */
static inline void lanes_stream(float *to, lanes x)
{
#if defined(__AVX512F__)
    _mm512_stream_ps(to, x);
#elif defined(__AVX2__)
    _mm256_stream_ps(to, x);
#elif defined(__x86_64__)
    _mm_stream_ps(to, x);
#else
    lanes_store(to, x);
#endif
}

/* Streamed stores are seen by others after this. */
static inline void lanes_stream_end(void)
{
#if defined(__x86_64__)
    _mm_sfence();
#endif
}

static inline lanes lanes_all(float x)
{
    return x - (lanes){0};
}

/* a·x + b, rounded once. */
static inline lanes lanes_fma(lanes a, lanes x, lanes b)
{
#if defined(__AVX512F__)
    return _mm512_fmadd_ps(a, x, b);
#elif defined(__FMA__)
    return _mm256_fmadd_ps(a, x, b);
#elif defined(__aarch64__)
    return vfmaq_f32(b, a, x);
#else
    lanes y = {0}; /* b in its place makes gcc 12 warn of numbers that are not set */
    for (int i = 0; i < LANES; i++)
        y[i] = __builtin_fmaf(a[i], x[i], b[i]);
    return y;
#endif
}

/* To the nearest integer, ties to even; |x| < 2^22. */
static inline lanes lanes_round(lanes x)
{
#if defined(__AVX512F__)
    return _mm512_roundscale_ps(x, 0);
#elif defined(__AVX2__)
    return _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
#else
    return (x + 0x1.8p23F) - 0x1.8p23F; /* leaves no bits for a fraction */
#endif
}

static inline lanes lanes_select(int_lanes mask, lanes yes, lanes no)
{
    return (lanes)((mask & (int_lanes)yes) | (~mask & (int_lanes)no));
}

/* max(low, x) and min(high, x); a NaN x stays. */
static inline lanes lanes_at_least(lanes low, lanes x)
{
#if defined(__AVX512F__)
    return _mm512_max_ps(low, x);
#elif defined(__AVX2__)
    return _mm256_max_ps(low, x);
#else
    return lanes_select(low > x, low, x);
#endif
}

static inline lanes lanes_at_most(lanes high, lanes x)
{
#if defined(__AVX512F__)
    return _mm512_min_ps(high, x);
#elif defined(__AVX2__)
    return _mm256_min_ps(high, x);
#else
    return lanes_select(high < x, high, x);
#endif
}

static inline lanes lanes_abs(lanes x)
{
    return (lanes)((int_lanes)x & 0x7fffffff);
}

/* (a + ib)(c + id): each part by one product and one fused multiply-add. */
static inline void lanes_complex_multiply(lanes a, lanes b, lanes c, lanes d, lanes *re, lanes *im)
{
    *re = lanes_fma(-b, d, a * c);
    *im = lanes_fma(a, d, b * c);
}

/* The LANES × LANES block of rows `pitch` floats apart, transposed: to[i] is column i. */
static inline __attribute__((always_inline)) void lanes_load_columns(const float *from, int64_t pitch, lanes to[LANES])
{
#if defined(__AVX512F__)
    /* Rows r, 4 + r, 8 + r, 12 + r of four columns in one vector: loads with a mask go to two ports, shuffles to one.
     */
    for (int i = 0; i < 16; i += 4) {
        __m512 four[4];
        for (int r = 0; r < 4; r++) {
            const float *at = from + r * pitch + i;
            four[r] = _mm512_castps128_ps512(_mm_loadu_ps(at));
            four[r] = _mm512_mask_broadcast_f32x4(four[r], 0x00f0, _mm_loadu_ps(at + 4 * pitch));
            four[r] = _mm512_mask_broadcast_f32x4(four[r], 0x0f00, _mm_loadu_ps(at + 8 * pitch));
            four[r] = _mm512_mask_broadcast_f32x4(four[r], 0xf000, _mm_loadu_ps(at + 12 * pitch));
        }
        for (int half = 0; half < 2; half++) {
            __m512 a = half ? _mm512_unpackhi_ps(four[0], four[1]) : _mm512_unpacklo_ps(four[0], four[1]);
            __m512 b = half ? _mm512_unpackhi_ps(four[2], four[3]) : _mm512_unpacklo_ps(four[2], four[3]);
            __m512d x = _mm512_castps_pd(a), y = _mm512_castps_pd(b);
            to[i + 2 * half] = _mm512_castpd_ps(_mm512_unpacklo_pd(x, y));
            to[i + 2 * half + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(x, y));
        }
    }
#else
    for (int i = 0; i < LANES; i++)
        to[i] = lanes_load(from + i * pitch);
    lanes_transpose(to);
#endif
}

#endif
