/* One thread's part of each stream, n a multiple of SABLE_STREAM_BLOCK, everything aligned to 64 bytes. What bounds a
 * stream from memory is how many lines a core has under way, times their latency: the prefetchers of four streams
 * together, and prefetches by software, keep more of them going than one stream does. A triad has streams enough;
 * more of them, or prefetches, made it slower. */
#include "ceilings_isa.h"
#include "ceilings_lanes.h"
#include "sable_latencies.h"
#include "sable_streams.h"

enum { UNROLL = 4, STEP = UNROLL * LANES64, STREAMS = 4, LINE = 64 / sizeof(double), AHEAD = 8 * LINE };
_Static_assert(SABLE_STREAM_BLOCK % (STREAMS * STEP) == 0, "a block is a whole number of steps in each stream");

/* Keeps the compiler from taking a copying loop for memcpy, which chooses its own stores. */
#define KEEP_THE_LOOP() __asm__ volatile("" ::: "memory")

typedef uint64_t words __attribute__((vector_size(8 * LANES64), may_alias));

/* From a whole vector's boundary. */
static inline lanes64 load(const double *from)
{
    return *(const lanes64 *)from;
}

static inline void prefetch_step(const double *x)
{
    for (int j = 0; j < (int)STEP; j += LINE)
        __builtin_prefetch(x + AHEAD + j);
}

/* ---- Read ---- */

static inline void read_step(const double *x, words sum[UNROLL])
{
#pragma GCC unroll 4
    for (int j = 0; j < UNROLL; j++)
        sum[j] += *(const words *)(x + j * LANES64);
}

static inline uint64_t total_of(const words sum[UNROLL])
{
    words all = sum[0] + sum[1] + sum[2] + sum[3];
    uint64_t total = 0;
    for (int lane = 0; lane < LANES64; lane++)
        total += all[lane];
    return total;
}

uint64_t SABLE_ISA_NAME(sable_read_cached)(int64_t n, const double *x)
{
    words sum[UNROLL] = {0};
    for (int64_t i = 0; i < n; i += STEP)
        read_step(x + i, sum);
    return total_of(sum);
}

uint64_t SABLE_ISA_NAME(sable_read_streaming)(int64_t n, const double *x)
{
    words sum[UNROLL] = {0};
    for (int64_t i = 0; i < n / STREAMS; i += STEP)
        for (int64_t at = i; at < n; at += n / STREAMS) {
            prefetch_step(x + at);
            read_step(x + at, sum);
        }
    return total_of(sum);
}

/* ---- Copy ---- */

void SABLE_ISA_NAME(sable_copy_cached)(int64_t n, const double *restrict x, double *restrict y)
{
    for (int64_t i = 0; i < n; i += STEP) {
#pragma GCC unroll 4
        for (int j = 0; j < (int)STEP; j += LANES64)
            *(lanes64 *)(y + i + j) = load(x + i + j);
        KEEP_THE_LOOP();
    }
}

void SABLE_ISA_NAME(sable_copy_streaming)(int64_t n, const double *restrict x, double *restrict y)
{
    for (int64_t i = 0; i < n / STREAMS; i += STEP)
        for (int64_t at = i; at < n; at += n / STREAMS) {
            prefetch_step(x + at);
#pragma GCC unroll 4
            for (int j = 0; j < (int)STEP; j += LANES64)
                lanes64_stream(y + at + j, load(x + at + j));
        }
    lanes_stream_end();
}

/* ---- Triad ---- */

void SABLE_ISA_NAME(sable_triad_cached)(int64_t n, double s, const double *restrict x, const double *restrict z,
                                        double *restrict y)
{
    for (int64_t i = 0; i < n; i += STEP)
#pragma GCC unroll 4
        for (int j = 0; j < (int)STEP; j += LANES64)
            *(lanes64 *)(y + i + j) = load(x + i + j) + s * load(z + i + j);
}

void SABLE_ISA_NAME(sable_triad_streaming)(int64_t n, double s, const double *restrict x, const double *restrict z,
                                           double *restrict y)
{
    for (int64_t i = 0; i < n; i += STEP)
#pragma GCC unroll 4
        for (int j = 0; j < (int)STEP; j += LANES64)
            lanes64_stream(y + i + j, load(x + i + j) + s * load(z + i + j));
    lanes_stream_end();
}

/* ---- Independent reads ---- */

#if defined(__AVX512F__)
/* Sixteen places at a time, in intrinsics: compilers take indices one by one. The register of a gather starts at 0 by
 * an instruction of its own, or it would wait for the gather before (a masked gather keeps what it doesn't load). */
static inline __m512i gather_eight(__m256i index, const uint64_t *table)
{
    __m512i zero;
    __asm__("vpxord %0, %0, %0" : "=v"(zero));
    return _mm512_mask_i64gather_epi64(zero, 0xff, _mm512_cvtepu32_epi64(index), table, 8);
}

static inline __m512i gather_index(__m512i i)
{
    i = _mm512_xor_si512(i, _mm512_srli_epi32(i, 16));
    i = _mm512_mullo_epi32(i, _mm512_set1_epi32(0x7feb352d));
    i = _mm512_xor_si512(i, _mm512_srli_epi32(i, 15));
    i = _mm512_mullo_epi32(i, _mm512_set1_epi32((int)0x846ca68bU));
    return _mm512_xor_si512(i, _mm512_srli_epi32(i, 16));
}

uint64_t SABLE_ISA_NAME(sable_gather_words)(uint32_t first, int64_t count, uint32_t mask, const uint64_t *table)
{
    enum { WIDE = 16 };
    const __m512i iota = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    __m512i sums = _mm512_setzero_si512();
    int64_t i = 0;
    for (; i + WIDE <= count; i += WIDE) {
        __m512i at = gather_index(_mm512_add_epi32(_mm512_set1_epi32((int)(first + (uint32_t)i)), iota));
        at = _mm512_and_si512(at, _mm512_set1_epi32((int)mask));
        sums = _mm512_add_epi64(sums, gather_eight(_mm512_castsi512_si256(at), table));
        sums = _mm512_add_epi64(sums, gather_eight(_mm512_extracti64x4_epi64(at, 1), table));
    }
    uint64_t sum = (uint64_t)_mm512_reduce_add_epi64(sums);
    for (; i < count; i++)
        sum += table[sable_gather_index(first + (uint32_t)i) & mask];
    return sum;
}
#else
uint64_t SABLE_ISA_NAME(sable_gather_words)(uint32_t first, int64_t count, uint32_t mask, const uint64_t *table)
{
    uint64_t sum = 0;
    for (int64_t i = 0; i < count; i++)
        sum += table[sable_gather_index(first + (uint32_t)i) & mask];
    return sum;
}
#endif

uint64_t SABLE_ISA_NAME(sable_gather_listed_words)(int64_t count, const uint32_t *place, const uint64_t *table)
{
    uint64_t sum = 0;
    for (int64_t i = 0; i < count; i++)
        sum += table[place[i]];
    return sum;
}
