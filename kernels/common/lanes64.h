/* The widest vectors of doubles of the level that a *.isa.c source is compiled for: lanes.h's sister. For use in such
 * sources only. Every operation is lane-wise and rounds as IEEE 754 says; sums, differences and products are operators.
 */
#ifndef SABLE_LANES64_H
#define SABLE_LANES64_H

#include <stdint.h>

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#if defined(__AVX512F__)
enum { LANES64 = 8 };
#elif defined(__AVX2__)
enum { LANES64 = 4 };
#else
enum { LANES64 = 2 };
#endif

typedef double lanes64 __attribute__((vector_size(8 * LANES64)));
typedef int64_t int_lanes64 __attribute__((vector_size(8 * LANES64)));
typedef double loose_lanes64 __attribute__((vector_size(8 * LANES64), aligned(8), may_alias));

static inline lanes64 lanes64_load(const double *from)
{
    return *(const loose_lanes64 *)from;
}

static inline void lanes64_store(double *to, lanes64 x)
{
    *(loose_lanes64 *)to = x;
}

/* The first `count` < LANES64 elements, then those of `rest`. */
static inline lanes64 lanes64_load_some(const double *from, int64_t count, lanes64 rest)
{
#if defined(__AVX512F__)
    return _mm512_mask_loadu_pd(rest, (__mmask8)((1U << count) - 1), from);
#elif defined(__AVX2__)
    const __m256i first = _mm256_cmpgt_epi64(_mm256_set1_epi64x(count), _mm256_setr_epi64x(0, 1, 2, 3));
    return _mm256_blendv_pd(rest, _mm256_maskload_pd(from, first), _mm256_castsi256_pd(first));
#else
    for (int64_t i = 0; i < count; i++)
        rest[i] = from[i];
    return rest;
#endif
}

/* The first `count` < LANES64 elements; the rest is not written. */
static inline void lanes64_store_some(double *to, lanes64 x, int64_t count)
{
#if defined(__AVX512F__)
    _mm512_mask_storeu_pd(to, (__mmask8)((1U << count) - 1), x);
#elif defined(__AVX2__)
    _mm256_maskstore_pd(to, _mm256_cmpgt_epi64(_mm256_set1_epi64x(count), _mm256_setr_epi64x(0, 1, 2, 3)), x);
#else
    for (int64_t i = 0; i < count; i++)
        to[i] = x[i];
#endif
}

/* To a whole vector's boundary, around the caches where there is a way. */
static inline void lanes64_stream(double *to, lanes64 x)
{
#if defined(__AVX512F__)
    _mm512_stream_pd(to, x);
#elif defined(__AVX2__)
    _mm256_stream_pd(to, x);
#elif defined(__x86_64__)
    _mm_stream_pd(to, x);
#else
    lanes64_store(to, x);
#endif
}

static inline lanes64 lanes64_all(double x)
{
    return x - (lanes64){0};
}

/* a·x + b, rounded once. */
static inline lanes64 lanes64_fma(lanes64 a, lanes64 x, lanes64 b)
{
#if defined(__AVX512F__)
    return _mm512_fmadd_pd(a, x, b);
#elif defined(__FMA__)
    return _mm256_fmadd_pd(a, x, b);
#elif defined(__aarch64__)
    return vfmaq_f64(b, a, x);
#else
    lanes64 y = {0};
    for (int i = 0; i < LANES64; i++)
        y[i] = __builtin_fma(a[i], x[i], b[i]);
    return y;
#endif
}

static inline lanes64 lanes64_select(int_lanes64 mask, lanes64 yes, lanes64 no)
{
#if defined(__AVX512DQ__)
    return _mm512_mask_mov_pd(no, _mm512_movepi64_mask((__m512i)mask), yes);
#else
    return (lanes64)((mask & (int_lanes64)yes) | (~mask & (int_lanes64)no));
#endif
}

/* x > y ? x : y, and x < y ? x : y: where either is NaN, y. */
static inline lanes64 lanes64_max(lanes64 x, lanes64 y)
{
#if defined(__AVX512F__)
    return _mm512_max_pd(x, y);
#elif defined(__AVX2__)
    return _mm256_max_pd(x, y);
#elif defined(__SSE2__)
    return _mm_max_pd(x, y);
#else
    return lanes64_select(x > y, x, y);
#endif
}

static inline lanes64 lanes64_min(lanes64 x, lanes64 y)
{
#if defined(__AVX512F__)
    return _mm512_min_pd(x, y);
#elif defined(__AVX2__)
    return _mm256_min_pd(x, y);
#elif defined(__SSE2__)
    return _mm_min_pd(x, y);
#else
    return lanes64_select(x < y, x, y);
#endif
}

#endif
