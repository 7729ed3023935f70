/* The lanes of walk_lanes.isa.c in AVX-512 intrinsics, included by it at level v4. */
#include "rows_avx512.h"

enum { VECTORS = LANES / VECTOR };
_Static_assert((int)VECTORS == (int)PAIR, "32 lanes are two vectors");

void SABLE_ISA_NAME(rollouts_draw_lanes)(uint64_t seed, uint32_t purpose, const uint32_t *low, const uint32_t *high,
                                         const uint32_t *block, uint32_t *words)
{
    const struct philox_keys keys = philox_keys(seed);
    __m512i c[PAIR][3], drawn[PAIR][4];
    for (int v = 0; v < PAIR; v++) {
        c[v][0] = _mm512_loadu_si512(low + VECTOR * v);
        c[v][1] = _mm512_loadu_si512(high + VECTOR * v);
        c[v][2] = _mm512_loadu_si512(block + VECTOR * v);
    }
    const __m512i *const counter[PAIR][3] = {{&c[0][0], &c[0][1], &c[0][2]}, {&c[1][0], &c[1][1], &c[1][2]}};
    philox_pair(&keys, purpose, counter, drawn);
    for (int j = 0; j < STEPS; j++)
        for (int v = 0; v < PAIR; v++)
            _mm512_storeu_si512(words + j * LANES + VECTOR * v, drawn[v][j]);
}

/* Four outcomes of each of vector v's lanes, turned about: a lane's are 16 bytes of its own trace. */
static inline void leave_trace(const struct walk_trace *trace, const struct walk_lanes *lanes, int v,
                               const __m512i outcome[STEPS])
{
    const __m512i low[2] = {_mm512_unpacklo_epi32(outcome[0], outcome[1]),
                            _mm512_unpacklo_epi32(outcome[2], outcome[3])};
    const __m512i high[2] = {_mm512_unpackhi_epi32(outcome[0], outcome[1]),
                             _mm512_unpackhi_epi32(outcome[2], outcome[3])};
    /* 128-bit part p of the k-th: lane 4 p + k */
    const __m512i lane[4] = {_mm512_unpacklo_epi64(low[0], low[1]), _mm512_unpackhi_epi64(low[0], low[1]),
                             _mm512_unpacklo_epi64(high[0], high[1]), _mm512_unpackhi_epi64(high[0], high[1])};
    uint32_t *to = trace->outcome + VECTOR * v * trace->stride;
    const uint32_t *block = lanes->block + VECTOR * v;
#pragma GCC unroll 4
    for (int k = 0; k < 4; k++) {
        const __m128i part[4] = {_mm512_castsi512_si128(lane[k]), _mm512_extracti32x4_epi32(lane[k], 1),
                                 _mm512_extracti32x4_epi32(lane[k], 2), _mm512_extracti32x4_epi32(lane[k], 3)};
#pragma GCC unroll 4
        for (int p = 0; p < 4; p++) {
            const int l = 4 * p + k;
            _mm_storeu_si128((__m128i *)(void *)(to + l * trace->stride + (int64_t)block[l] * STEPS), part[p]);
        }
    }
}

uint32_t SABLE_ISA_NAME(rollouts_advance_rows)(const struct sable_rollouts_rows *rows, struct walk_lanes *lanes,
                                               const uint32_t *words, const struct walk_trace *trace)
{
    const struct rows_constants k = rows_constants(rows);
    const __m512i one = _mm512_set1_epi32(1), last = _mm512_set1_epi32((int)((rows->horizon - 1) / STEPS));
    __m512i state[VECTORS], length[VECTORS], outcome[VECTORS][STEPS];
    uint32_t ended = 0;
    for (int v = 0; v < VECTORS; v++) {
        state[v] = _mm512_load_si512(lanes->state + VECTOR * v);
        length[v] = _mm512_load_si512(lanes->length + VECTOR * v);
    }
    for (int j = 0; j < STEPS; j++)
        for (int v = 0; v < VECTORS; v++) {
            struct taken taken = rows_take(&k, state[v], _mm512_loadu_si512(words + j * LANES + VECTOR * v));
            __mmask16 playing = _mm512_cmpneq_epi32_mask(state[v], k.end);
            length[v] = _mm512_mask_add_epi32(length[v], playing, length[v], one);
            state[v] = taken.next;
            outcome[v][j] = taken.outcome;
        }
    for (int v = 0; v < VECTORS; v++)
        leave_trace(trace, lanes, v, outcome[v]);
    for (int v = 0; v < VECTORS; v++) {
        __m512i block = _mm512_load_si512(lanes->block + VECTOR * v);
        uint32_t some = _mm512_cmpge_epu32_mask(block, last) | _mm512_cmpeq_epi32_mask(state[v], k.end);
        _mm512_store_si512(lanes->block + VECTOR * v, _mm512_add_epi32(block, one));
        _mm512_store_si512(lanes->state + VECTOR * v, state[v]);
        _mm512_store_si512(lanes->length + VECTOR * v, length[v]);
        ended |= some << (VECTOR * v);
    }
    return ended;
}
