/* Philox4x32-10 of 32 counters at once in AVX-512 intrinsics, for sources compiled at level v4.
 *
 * Eight counters a register, one 32-bit word in the low half of each 64-bit lane. The high halves hold rubbish, which
 * the multiplication doesn't read: a round is two products, two shifts and two three-way xors, 254 operations in all
 * for 128 words. Two vectors of 16 lanes are four such chains, enough to hide the products' latency. */
#ifndef SABLE_PHILOX_AVX512_H
#define SABLE_PHILOX_AVX512_H

#include <immintrin.h>

#include "walk_lanes.h"

enum { VECTOR = 16, PAIR = 2 };

/* The keys of all rounds. In memory: xors broadcast them on the way. */
struct philox_keys {
    uint64_t round[PHILOX_ROUNDS][2];
};

static inline struct philox_keys philox_keys(uint64_t seed)
{
    struct philox_keys keys;
    uint32_t key0 = (uint32_t)seed, key1 = (uint32_t)(seed >> 32);
    for (int round = 0; round < PHILOX_ROUNDS; round++, key0 += philox_weyl[0], key1 += philox_weyl[1])
        keys.round[round][0] = key0, keys.round[round][1] = key1;
    return keys;
}

/* A gather keeps the elements it does not load, so that it waits for what was in its register: of the plain intrinsics,
 * which leave it open, for the gather before. These have a 0 of their own, which the compiler doesn't see through. */
static inline __m512i fresh_zero(void)
{
    __m512i zero;
    __asm__("vpxord %0, %0, %0" : "=v"(zero));
    return zero;
}

static inline __m512i gather_words(__m512i index, const void *base)
{
    return _mm512_mask_i32gather_epi32(fresh_zero(), 0xffff, index, base, 4);
}

/* A byte, and whatever the three behind it are. */
static inline __m512i gather_bytes(__m512i index, const void *base)
{
    return _mm512_mask_i32gather_epi32(fresh_zero(), 0xffff, index, base, 1);
}

static inline __m512i gather_pairs(__m256i index, const void *base)
{
    return _mm512_mask_i32gather_epi64(fresh_zero(), 0xff, index, base, 8);
}

static inline __m512d gather_reals(__m256i index, const void *base)
{
    return _mm512_mask_i32gather_pd(_mm512_castsi512_pd(fresh_zero()), 0xff, index, base, 8);
}

struct counters {
    __m512i c0, c1, c2, c3;
};

static inline void philox_round(struct counters *c, const uint64_t key[2])
{
    enum { XOR3 = 0x96 };
    __m512i p0 = _mm512_mul_epu32(c->c0, _mm512_set1_epi64(philox_multiplier[0]));
    __m512i p1 = _mm512_mul_epu32(c->c2, _mm512_set1_epi64(philox_multiplier[1]));
    c->c0 = _mm512_ternarylogic_epi64(_mm512_srli_epi64(p1, 32), c->c1, _mm512_set1_epi64((int64_t)key[0]), XOR3);
    c->c2 = _mm512_ternarylogic_epi64(_mm512_srli_epi64(p0, 32), c->c3, _mm512_set1_epi64((int64_t)key[1]), XOR3);
    c->c1 = p1;
    c->c3 = p0;
}

/* Low halves of `odd` between those of `even`. */
static inline __m512i interleave(__m512i even, __m512i odd)
{
    return _mm512_mask_shuffle_epi32(even, 0xaaaa, odd, (_MM_PERM_ENUM)0xa0);
}

/* words[v][j]: word j of the blocks of vector v's 16 counters (low, high, block, purpose). */
static inline void philox_pair(const struct philox_keys *keys, uint32_t purpose, const __m512i *const counter[PAIR][3],
                               __m512i words[PAIR][4])
{
    struct counters c[2 * PAIR]; /* even and odd lanes of each vector */
#pragma GCC unroll 2
    for (int v = 0; v < PAIR; v++) {
        __m512i c0 = *counter[v][0], c1 = *counter[v][1], c2 = *counter[v][2], c3 = _mm512_set1_epi64(purpose);
        c[2 * v] = (struct counters){c0, c1, c2, c3};
        c[2 * v + 1] =
            (struct counters){_mm512_srli_epi64(c0, 32), _mm512_srli_epi64(c1, 32), _mm512_srli_epi64(c2, 32), c3};
    }
#pragma GCC unroll 10
    for (int round = 0; round < PHILOX_ROUNDS; round++)
#pragma GCC unroll 4
        for (int k = 0; k < 2 * PAIR; k++)
            philox_round(&c[k], keys->round[round]);
#pragma GCC unroll 2
    for (int v = 0; v < PAIR; v++) {
        const struct counters *even = &c[2 * v], *odd = &c[2 * v + 1];
        words[v][0] = interleave(even->c0, odd->c0);
        words[v][1] = interleave(even->c1, odd->c1);
        words[v][2] = interleave(even->c2, odd->c2);
        words[v][3] = interleave(even->c3, odd->c3);
    }
}

#endif
