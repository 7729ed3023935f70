/* Counter-based random numbers: pure functions of (seed, purpose, index), so that who draws, in which order and how
 * often can't matter. Philox4x32-10 of Random123 (Salmon, Moraes, Dror & Shaw, SC11).
 *
 * Counter layout (frozen; docs/determinism.md): word 0, 1 = index (low, high), word 2 = subindex, word 3 = purpose.
 * Key: word 0, 1 = seed (low, high). */
#ifndef SABLE_RANDOM_H
#define SABLE_RANDOM_H

#include <stdint.h>
#include <Random123/philox.h>

struct sable_random_block {
    uint32_t word[4];
};

/* 128 random bits for item `index` (with `subindex` to draw more) of the stream `purpose` of `seed`. */
static inline struct sable_random_block sable_random(uint64_t seed, uint32_t purpose, uint64_t index, uint32_t subindex)
{
    philox4x32_ctr_t counter = {{(uint32_t)index, (uint32_t)(index >> 32), subindex, purpose}};
    philox4x32_key_t key = {{(uint32_t)seed, (uint32_t)(seed >> 32)}};
    philox4x32_ctr_t drawn = philox4x32_R(10, counter, key);
    return (struct sable_random_block){{drawn.v[0], drawn.v[1], drawn.v[2], drawn.v[3]}};
}

/* Uniform on [0, 1): the top 53 bits of two words. */
static inline double sable_random_unit(uint32_t high, uint32_t low)
{
    return (double)((((uint64_t)high << 32) | low) >> 11) * 0x1p-53;
}

/* True with probability p (rounded to a multiple of 2^-32) for a uniform word. */
static inline int sable_random_event(uint32_t word, double p)
{
    return (double)word < p * 0x1p32;
}

#endif
