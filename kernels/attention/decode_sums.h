/* Sums across the lanes of dot products, at every SIMD level with the same additions; for decode_leaf.isa.c only. */
#ifndef DECODE_SUMS_H
#define DECODE_SUMS_H

#include "attention_lanes.h"
#include "decode_leaf.h"

enum { PARTS = DECODE_WIDTH / LANES }; /* vectors of the partial sums of a product */

#if defined(__clang__)
#define UNROLL_ALL _Pragma("clang loop unroll(full)")
#else
#define UNROLL_ALL _Pragma("GCC unroll 16")
#endif

/* Of the two sums a and b, both halved: lanes with bit LANES/2, /4 … clear go on with a, the others with b. */
static inline lanes merge(int distance, lanes a, lanes b)
{
#if defined(__AVX512F__)
    if (distance == 8)
        return _mm512_mask_blend_ps(0xff00, a, b) + _mm512_shuffle_f32x4(a, b, 0x4e);
    if (distance == 4)
        return _mm512_mask_blend_ps(0xf0f0, a, b) +
               __builtin_shufflevector(a, b, 4, 5, 6, 7, 16, 17, 18, 19, 12, 13, 14, 15, 24, 25, 26, 27);
    if (distance == 2)
        return _mm512_mask_blend_ps(0xcccc, a, b) + _mm512_shuffle_ps(a, b, 0x4e);
    return _mm512_mask_blend_ps(0xaaaa, a, b) +
           __builtin_shufflevector(a, b, 1, 16, 3, 18, 5, 20, 7, 22, 9, 24, 11, 26, 13, 28, 15, 30);
#elif defined(__AVX2__)
    if (distance == 4)
        return __builtin_shufflevector(a, b, 0, 1, 2, 3, 12, 13, 14, 15) +
               __builtin_shufflevector(a, b, 4, 5, 6, 7, 8, 9, 10, 11);
    if (distance == 2)
        return __builtin_shufflevector(a, b, 0, 1, 10, 11, 4, 5, 14, 15) +
               __builtin_shufflevector(a, b, 2, 3, 8, 9, 6, 7, 12, 13);
    return __builtin_shufflevector(a, b, 0, 9, 2, 11, 4, 13, 6, 15) +
           __builtin_shufflevector(a, b, 1, 8, 3, 10, 5, 12, 7, 14);
#else
    if (distance == 2)
        return __builtin_shufflevector(a, b, 0, 1, 6, 7) + __builtin_shufflevector(a, b, 2, 3, 4, 5);
    return __builtin_shufflevector(a, b, 0, 5, 2, 7) + __builtin_shufflevector(a, b, 1, 4, 3, 6);
#endif
}

/* Lane i of the result is the sum over the lanes of x[i]. Merging neighbours puts the bits of i in reverse. */
static inline lanes sums_of(const lanes x[LANES])
{
    lanes y[LANES];
    UNROLL_ALL
    for (int i = 0; i < LANES; i++)
        y[i] = x[i];
#if defined(__AVX512F__)
    UNROLL_ALL
    for (int i = 0; i < 8; i++)
        y[i] = merge(8, y[2 * i], y[2 * i + 1]);
#endif
#if defined(__AVX2__)
    UNROLL_ALL
    for (int i = 0; i < 4; i++)
        y[i] = merge(4, y[2 * i], y[2 * i + 1]);
#endif
    UNROLL_ALL
    for (int i = 0; i < 2; i++)
        y[i] = merge(2, y[2 * i], y[2 * i + 1]);
    y[0] = merge(1, y[0], y[1]);
#if defined(__AVX512F__)
    return __builtin_shufflevector(y[0], y[0], 0, 8, 4, 12, 2, 10, 6, 14, 1, 9, 5, 13, 3, 11, 7, 15);
#elif defined(__AVX2__)
    return __builtin_shufflevector(y[0], y[0], 0, 4, 2, 6, 1, 5, 3, 7);
#else
    return __builtin_shufflevector(y[0], y[0], 0, 2, 1, 3);
#endif
}

/* 16 partial sums in LANES. */
static inline lanes folded(const lanes sum[PARTS])
{
#if defined(__AVX512F__)
    return sum[0];
#elif defined(__AVX2__)
    return sum[0] + sum[1];
#else
    return (sum[0] + sum[2]) + (sum[1] + sum[3]);
#endif
}

static inline float sum_of(float x[DECODE_WIDTH])
{
    for (int distance = DECODE_WIDTH / 2; distance > 0; distance /= 2)
        for (int i = 0; i < distance; i++)
            x[i] += x[i + distance];
    return x[0];
}

#endif
