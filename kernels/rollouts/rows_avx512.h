/* Looking alias rows up for 16 lanes in AVX-512 intrinsics, for sources compiled at level v4. An entry is fetched by
 * two gathers of 8 bytes, which are all that leaves the core: rewards come from a table of few. */
#ifndef SABLE_ROWS_AVX512_H
#define SABLE_ROWS_AVX512_H

#include "philox_avx512.h"

_Static_assert(sizeof(struct sable_rollouts_entry) == 16, "gathers count entries in four words of 4 bytes");

struct rows_constants {
    const struct sable_rollouts_entry *entry;
    const double *reward;
    __m128i bits, rest;
    __m512i end;
    __m512d few, gamma; /* the first eight rewards */
};

static inline struct rows_constants rows_constants(const struct sable_rollouts_rows *rows)
{
    const __mmask8 exist = (__mmask8)(rows->rewards < 8 ? (1U << rows->rewards) - 1 : 0xff);
    return (struct rows_constants){.entry = rows->entry,
                                   .reward = rows->reward,
                                   .bits = _mm_cvtsi32_si128(rows->bits),
                                   .rest = _mm_cvtsi32_si128(32 - rows->bits),
                                   .end = _mm512_set1_epi32((int)(rows->states - 1)),
                                   .few = _mm512_maskz_loadu_pd(exist, rows->reward),
                                   .gamma = _mm512_set1_pd(rows->gamma)};
}

/* What lanes took: outcomes, entry·2 + side; states; which reward, if the table isn't by outcome. */
struct taken {
    __m512i outcome, next, reward;
};

static inline struct taken rows_take(const struct rows_constants *k, __m512i state, __m512i u)
{
    const __m512i evens = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    const __m512i odds = _mm512_setr_epi32(1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
    const char *base = (const char *)k->entry;
    /* A shift by 32 (bits = 0) gives 0. */
    const __m512i index = _mm512_or_si512(_mm512_sll_epi32(state, k->bits), _mm512_srl_epi32(u, k->rest));
    const __m512i place = _mm512_add_epi32(index, index); /* in 8 bytes; below 2³⁰ */
    const __m256i low = _mm512_castsi512_si256(place), high = _mm512_extracti64x4_epi64(place, 1);
    const __m512i first[2] = {gather_pairs(low, base), gather_pairs(high, base)};
    const __m512i second[2] = {gather_pairs(low, base + 8), gather_pairs(high, base + 8)};
    const __m512i threshold = _mm512_permutex2var_epi32(first[0], evens, first[1]);
    const __m512i rewards = _mm512_permutex2var_epi32(second[0], odds, second[1]);
    const __mmask16 other = _mm512_cmpge_epu32_mask(_mm512_sll_epi32(u, k->bits), threshold);
    __m512i next = _mm512_permutex2var_epi32(first[0], odds, first[1]);
    next = _mm512_mask_mov_epi32(next, other, _mm512_permutex2var_epi32(second[0], evens, second[1]));
    return (struct taken){
        .outcome = _mm512_mask_add_epi32(place, other, place, _mm512_set1_epi32(1)),
        .next = _mm512_min_epu32(next, k->end), /* SABLE_ROW_END is above every state */
        .reward = _mm512_and_si512(_mm512_mask_srli_epi32(rewards, other, rewards, 16), _mm512_set1_epi32(0xffff))};
}

#endif
