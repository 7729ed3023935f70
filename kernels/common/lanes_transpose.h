/* A square of vectors transposed in registers. For lanes.h and attention_lanes.h, which define `lanes` and LANES. */
#ifndef SABLE_LANES_TRANSPOSE_H
#define SABLE_LANES_TRANSPOSE_H

#if defined(__x86_64__)
#include <immintrin.h>
#endif

/* Transposes the LANES × LANES block of rows in place. */
static inline void lanes_transpose(lanes row[LANES])
{
#if defined(__AVX512F__)
    __m512 pair[16], quad[16];
    for (int i = 0; i < 16; i += 2) {
        pair[i] = _mm512_unpacklo_ps(row[i], row[i + 1]);
        pair[i + 1] = _mm512_unpackhi_ps(row[i], row[i + 1]);
    }
    for (int i = 0; i < 16; i += 4)
        for (int half = 0; half < 2; half++) {
            __m512d a = _mm512_castps_pd(pair[i + half]), b = _mm512_castps_pd(pair[i + 2 + half]);
            quad[i + 2 * half] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, b));
            quad[i + 2 * half + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, b));
        }
    for (int i = 0; i < 4; i++) { /* quad[4 g + i], 128-bit part p: rows 4 g … 4 g + 3 of column 4 p + i */
        __m512 low = _mm512_shuffle_f32x4(quad[i], quad[4 + i], 0x88);
        __m512 high = _mm512_shuffle_f32x4(quad[8 + i], quad[12 + i], 0x88);
        row[i] = _mm512_shuffle_f32x4(low, high, 0x88);
        row[8 + i] = _mm512_shuffle_f32x4(low, high, 0xdd);
        low = _mm512_shuffle_f32x4(quad[i], quad[4 + i], 0xdd);
        high = _mm512_shuffle_f32x4(quad[8 + i], quad[12 + i], 0xdd);
        row[4 + i] = _mm512_shuffle_f32x4(low, high, 0x88);
        row[12 + i] = _mm512_shuffle_f32x4(low, high, 0xdd);
    }
#elif defined(__AVX2__)
    __m256 pair[8], quad[8];
    for (int i = 0; i < 8; i += 2) {
        pair[i] = _mm256_unpacklo_ps(row[i], row[i + 1]);
        pair[i + 1] = _mm256_unpackhi_ps(row[i], row[i + 1]);
    }
    for (int i = 0; i < 8; i += 4)
        for (int half = 0; half < 2; half++) {
            quad[i + 2 * half] = _mm256_shuffle_ps(pair[i + half], pair[i + 2 + half], 0x44);
            quad[i + 2 * half + 1] = _mm256_shuffle_ps(pair[i + half], pair[i + 2 + half], 0xee);
        }
    for (int i = 0; i < 4; i++) {
        row[i] = _mm256_permute2f128_ps(quad[i], quad[4 + i], 0x20);
        row[4 + i] = _mm256_permute2f128_ps(quad[i], quad[4 + i], 0x31);
    }
#else
    lanes low[4], high[4];
    for (int i = 0; i < 4; i += 2) {
        low[i] = __builtin_shufflevector(row[i], row[i + 1], 0, 4, 1, 5);
        high[i] = __builtin_shufflevector(row[i], row[i + 1], 2, 6, 3, 7);
    }
    row[0] = __builtin_shufflevector(low[0], low[2], 0, 1, 4, 5);
    row[1] = __builtin_shufflevector(low[0], low[2], 2, 3, 6, 7);
    row[2] = __builtin_shufflevector(high[0], high[2], 0, 1, 4, 5);
    row[3] = __builtin_shufflevector(high[0], high[2], 2, 3, 6, 7);
#endif
}

#endif
