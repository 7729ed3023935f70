/* The widest vectors of the level that a *.isa.c source is compiled for, and the few operations that attention needs on
 * them; every one gives the same bits at every level. Private to kernels/attention. */
#ifndef ATTENTION_LANES_H
#define ATTENTION_LANES_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

/* A strip of STRIP vectors × ROWS rows of accumulators fills the registers but for the operands. */
#if defined(__AVX512F__)
enum { LANE_BYTES = 64, STRIP = 4 };
#elif defined(__AVX2__)
enum { LANE_BYTES = 32, STRIP = 2 };
#elif defined(__aarch64__)
enum { LANE_BYTES = 16, STRIP = 4 };
#else
enum { LANE_BYTES = 16, STRIP = 2 };
#endif
enum { LANES = LANE_BYTES / 4, ROWS = 6 };

/* Loops over accumulators vanish: they have to be registers. */
#if defined(__clang__)
#define UNROLL       _Pragma("clang loop unroll(full)")
#define UNROLL_LANES UNROLL
#define UNROLL_TWICE _Pragma("clang loop unroll_count(2)")
#else
#define UNROLL       _Pragma("GCC unroll 8")
#define UNROLL_LANES _Pragma("GCC unroll 16")
#define UNROLL_TWICE _Pragma("GCC unroll 2")
#endif

typedef float lanes __attribute__((vector_size(LANE_BYTES)));
typedef int32_t words __attribute__((vector_size(LANE_BYTES)));
typedef uint32_t patterns __attribute__((vector_size(LANE_BYTES))); /* sums wrap */

#include "lanes_transpose.h"

static inline lanes load(const float *from)
{
    return *(const lanes *)from;
}

static inline void store(float *to, lanes x)
{
    *(lanes *)to = x;
}

/* From and to any address. */
typedef float loose_lanes __attribute__((vector_size(LANE_BYTES), aligned(4)));

static inline lanes load_loose(const float *from)
{
    return (lanes) * (const loose_lanes *)from;
}

static inline void store_loose(float *to, lanes x)
{
    *(loose_lanes *)to = (loose_lanes)x;
}

/* The first `count` lanes; the others are 0, or left alone. */
static inline lanes load_some(const float *from, int64_t count)
{
    if (count >= LANES)
        return load_loose(from);
#if defined(__AVX512F__)
    return _mm512_maskz_loadu_ps((__mmask16)((1U << count) - 1), from);
#else
    lanes x = {0};
    memcpy(&x, from, count > 0 ? (size_t)count * sizeof *from : 0);
    return x;
#endif
}

/* ---- bfloat16: the upper halves of floats ---- */

typedef uint16_t halves __attribute__((vector_size(LANE_BYTES / 2)));

/* Told by its name: gcc takes a conversion of vectors apart. */
static inline lanes widened(halves x)
{
#if defined(__AVX512F__)
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32((__m256i)x), 16));
#elif defined(__AVX2__)
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32((__m128i)x), 16));
#else
    return (lanes)(__builtin_convertvector(x, patterns) << 16);
#endif
}

/* LANES elements from any address; the first `count` of them, the others are 0. */
static inline lanes load_halves(const uint16_t *from)
{
    halves x;
    memcpy(&x, from, sizeof x);
    return widened(x);
}

static inline lanes load_some_halves(const uint16_t *from, int64_t count)
{
    halves x = {0};
    if (count >= LANES)
        return load_halves(from);
#if defined(__AVX512F__)
    x = (halves)_mm256_maskz_loadu_epi16((__mmask16)((1U << count) - 1), from);
#else
    memcpy(&x, from, count > 0 ? (size_t)count * sizeof *from : 0);
#endif
    return widened(x);
}

/* Rows of bfloat16, padded to an even size, as floats `to_pitch` apart. */
static inline void widen_rows(int64_t rows, int64_t dim, const uint16_t *from, float *to, int64_t to_pitch)
{
    const int64_t pitch = dim + (dim & 1);
    if (pitch == dim && to_pitch == dim) /* one long row */
        dim *= rows, rows = 1;
    for (; rows > 0; rows--, from += pitch, to += to_pitch) {
        int64_t d = 0;
        for (; d + LANES <= dim; d += LANES)
            store_loose(to + d, load_halves(from + d));
        for (; d < dim; d++) {
            const uint32_t bits = (uint32_t)from[d] << 16;
            memcpy(to + d, &bits, sizeof bits);
        }
    }
}

static inline void store_some(float *to, lanes x, int64_t count)
{
    if (count >= LANES)
        store_loose(to, x);
    else
        memcpy(to, &x, (size_t)count * sizeof *to);
}

static inline lanes splat(float x)
{
    return x - (lanes){0};
}

/* a·b + c with one rounding: the compilers must not fuse by themselves, so the instruction is asked for. */
static inline lanes fused(lanes a, lanes b, lanes c)
{
#if defined(__AVX512F__)
    return _mm512_fmadd_ps(a, b, c);
#elif defined(__FMA__)
    return _mm256_fmadd_ps(a, b, c);
#elif defined(__aarch64__)
    return vfmaq_f32(c, a, b);
#else
    lanes y = {0}; /* c in its place makes gcc 12 warn of numbers that are not set */
    for (int i = 0; i < LANES; i++)
        y[i] = __builtin_fmaf(a[i], b[i], c[i]);
    return y;
#endif
}

static inline lanes choose(words mask, lanes yes, lanes no)
{
    return (lanes)(((words)yes & mask) | ((words)no & ~mask));
}

/* a > b ? a : b, so b where a is NaN. */
static inline lanes larger(lanes a, lanes b)
{
#if defined(__AVX512F__)
    return _mm512_max_ps(a, b);
#elif defined(__AVX__)
    return _mm256_max_ps(a, b);
#elif defined(__x86_64__)
    return _mm_max_ps(a, b);
#else
    return choose(a > b, a, b);
#endif
}

static inline lanes smaller(lanes a, lanes b)
{
#if defined(__AVX512F__)
    return _mm512_min_ps(a, b);
#elif defined(__AVX__)
    return _mm256_min_ps(a, b);
#elif defined(__x86_64__)
    return _mm_min_ps(a, b);
#else
    return choose(a < b, a, b);
#endif
}

/* x·2^k for 1/2 < x < 2 and an integer k ≤ 0; 0 where k < −125, where the product would not be normal; NaN where k is.
 */
static inline lanes times_power(lanes x, lanes k)
{
    const lanes least = splat(-125);
#if defined(__AVX512F__)
    return _mm512_maskz_scalef_ps(_mm512_cmp_ps_mask(k, least, _CMP_NLT_UQ), x, k);
#else
    patterns exponent = (patterns)(k + splat(0x1.8p23F)) << 23; /* the low bits of the sum are k */
    return (lanes)((((patterns)x + exponent) & ~(patterns)(k < least)) | (patterns)(k != k));
#endif
}

static inline int any(words mask)
{
    int32_t found = 0;
    for (int i = 0; i < LANES; i++)
        found |= mask[i];
    return found != 0;
}

/* The lanes' indices, from `first` on. */
static inline words indices(int32_t first)
{
    words index;
    for (int i = 0; i < LANES; i++)
        index[i] = first + i;
    return index;
}

static inline int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static inline bool all_finite(const float *x, int64_t n)
{
    lanes poison[4] = {{0}, {0}, {0}, {0}}; /* 0 as long as all are finite, then NaN */
    int64_t i = 0;
    for (; i + 4 * LANES <= n; i += 4 * LANES)
        UNROLL
    for (int k = 0; k < 4; k++)
        poison[k] += load_loose(x + i + k * LANES) * 0;
    for (; i < n; i += LANES)
        poison[0] += load_some(x + i, n - i) * 0;
    return !any(poison[0] + poison[1] + (poison[2] + poison[3]) != 0);
}

/* ---- Calls with constant numbers of rows and vectors ---- */

#define EACH_ROWS(call, vectors)                                                                                       \
    switch (rows) {                                                                                                    \
    case 1:                                                                                                            \
        call(1, vectors);                                                                                              \
        break;                                                                                                         \
    case 2:                                                                                                            \
        call(2, vectors);                                                                                              \
        break;                                                                                                         \
    case 3:                                                                                                            \
        call(3, vectors);                                                                                              \
        break;                                                                                                         \
    case 4:                                                                                                            \
        call(4, vectors);                                                                                              \
        break;                                                                                                         \
    case 5:                                                                                                            \
        call(5, vectors);                                                                                              \
        break;                                                                                                         \
    default:                                                                                                           \
        call(6, vectors);                                                                                              \
    }
#if defined(__AVX512F__) || defined(__aarch64__)
#define EACH(call)                                                                                                     \
    switch (vectors) {                                                                                                 \
    case 1:                                                                                                            \
        EACH_ROWS(call, 1) break;                                                                                      \
    case 2:                                                                                                            \
        EACH_ROWS(call, 2) break;                                                                                      \
    case 3:                                                                                                            \
        EACH_ROWS(call, 3) break;                                                                                      \
    default:                                                                                                           \
        EACH_ROWS(call, 4)                                                                                             \
    }
#else
#define EACH(call)                                                                                                     \
    switch (vectors) {                                                                                                 \
    case 1:                                                                                                            \
        EACH_ROWS(call, 1) break;                                                                                      \
    default:                                                                                                           \
        EACH_ROWS(call, 2)                                                                                             \
    }
#endif

/* ---- Transposition, the only shuffling there is ---- */

typedef float quad __attribute__((vector_size(16)));

static inline quad load4(const float *from)
{
    quad x;
    memcpy(&x, from, sizeof x);
    return x;
}

static inline void store4(float *to, quad x)
{
    memcpy(to, &x, sizeof x);
}

/* to[c][r] = from[r][c] for r, c < 4 */
static inline void transpose4(const float *from, int64_t from_pitch, float *to, int64_t to_pitch)
{
    quad a = load4(from), b = load4(from + from_pitch), c = load4(from + 2 * from_pitch),
         d = load4(from + 3 * from_pitch);
    quad ab0 = __builtin_shufflevector(a, b, 0, 4, 1, 5), ab1 = __builtin_shufflevector(a, b, 2, 6, 3, 7);
    quad cd0 = __builtin_shufflevector(c, d, 0, 4, 1, 5), cd1 = __builtin_shufflevector(c, d, 2, 6, 3, 7);
    store4(to, __builtin_shufflevector(ab0, cd0, 0, 1, 4, 5));
    store4(to + to_pitch, __builtin_shufflevector(ab0, cd0, 2, 3, 6, 7));
    store4(to + 2 * to_pitch, __builtin_shufflevector(ab1, cd1, 0, 1, 4, 5));
    store4(to + 3 * to_pitch, __builtin_shufflevector(ab1, cd1, 2, 3, 6, 7));
}

/* to[r'][r] = from[r][r'] of a square of LANES rows */
static inline void transpose_square(const float *from, int64_t from_pitch, float *to, int64_t to_pitch)
{
    lanes square[LANES];
    UNROLL_LANES
    for (int r = 0; r < LANES; r++)
        square[r] = load_loose(from + r * from_pitch);
    lanes_transpose(square);
    UNROLL_LANES
    for (int r = 0; r < LANES; r++)
        store_loose(to + r * to_pitch, square[r]);
}

/* to[c][r] = from[r][c]: by squares of vectors, what is left by squares of four, and the rest one by one. */
static inline void transpose(int64_t rows, int64_t columns, const float *from, int64_t from_pitch, float *to,
                             int64_t to_pitch)
{
    const int64_t wide_rows = rows / LANES * LANES, wide_columns = columns / LANES * LANES;
    const int64_t whole_rows = rows & ~INT64_C(3), whole_columns = columns & ~INT64_C(3);
    for (int64_t r = 0; r < wide_rows; r += LANES)
        for (int64_t c = 0; c < wide_columns; c += LANES)
            transpose_square(from + r * from_pitch + c, from_pitch, to + c * to_pitch + r, to_pitch);
    for (int64_t r = 0; r < whole_rows; r += 4)
        for (int64_t c = r < wide_rows ? wide_columns : 0; c < whole_columns; c += 4)
            transpose4(from + r * from_pitch + c, from_pitch, to + c * to_pitch + r, to_pitch);
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = r < whole_rows ? whole_columns : 0; c < columns; c++)
            to[c * to_pitch + r] = from[r * from_pitch + c];
}

#endif
