/* The widest vectors of the level that a *.isa.c source is compiled for; private to kernels/ceilings. */
#ifndef CEILINGS_LANES_H
#define CEILINGS_LANES_H

#include <stdint.h>

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#if defined(__AVX512F__)
enum { LANE_BYTES = 64, REGISTERS = 32 };
#elif defined(__AVX2__)
enum { LANE_BYTES = 32, REGISTERS = 16 };
#elif defined(__x86_64__)
enum { LANE_BYTES = 16, REGISTERS = 16 };
#else
enum { LANE_BYTES = 16, REGISTERS = 32 };
#endif

typedef double lanes64 __attribute__((vector_size(LANE_BYTES)));
typedef float lanes32 __attribute__((vector_size(LANE_BYTES)));
typedef float loose32 __attribute__((vector_size(LANE_BYTES), aligned(4), may_alias));
typedef uint64_t words __attribute__((vector_size(LANE_BYTES), may_alias));
typedef uint32_t words32 __attribute__((vector_size(LANE_BYTES)));

/* a·x + b: the compilers must not fuse by themselves (-ffp-contract=off), so the instruction is asked for. */
static inline lanes64 multiply_add64(lanes64 a, lanes64 x, lanes64 b)
{
#if defined(__AVX512F__)
    return _mm512_fmadd_pd(a, x, b);
#elif defined(__FMA__)
    return _mm256_fmadd_pd(a, x, b);
#elif defined(__aarch64__)
    return vfmaq_f64(b, a, x);
#else
    return a * x + b;
#endif
}

static inline lanes32 multiply_add32(lanes32 a, lanes32 x, lanes32 b)
{
#if defined(__AVX512F__)
    return _mm512_fmadd_ps(a, x, b);
#elif defined(__FMA__)
    return _mm256_fmadd_ps(a, x, b);
#elif defined(__aarch64__)
    return vfmaq_f32(b, a, x);
#else
    return a * x + b;
#endif
}

/* A store around the caches, where there is one. */
static inline void store_streaming(double *to, lanes64 value)
{
#if defined(__AVX512F__)
    _mm512_stream_pd(to, value);
#elif defined(__AVX2__)
    _mm256_stream_pd(to, value);
#elif defined(__x86_64__)
    _mm_stream_pd(to, value);
#else
    *(lanes64 *)to = value;
#endif
}

/* Streaming stores are weakly ordered: after this they are seen before any later store. */
static inline void finish_streaming(void)
{
#if defined(__x86_64__)
    _mm_sfence();
#endif
}

#endif
