/* Random access to a table: independent reads, limited by how many misses the cores keep in flight, and dependent ones,
 * limited by the latency of one. All threads read the whole table. docs/ceilings.md */
#ifndef SABLE_LATENCIES_H
#define SABLE_LATENCIES_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* table[i] = i, cut over the threads. n is a power of two ≤ 2^32. */
void sable_gather_fill(int threads, int64_t n, uint64_t *table);
/* The sum modulo 2^64 of `count` words on each thread at pseudo-random places: its access i reads
 * table[sable_gather_index(first + t·count + i) & (n − 1)]. Repetitions must go on with `first`, or they find in a
 * cache what the one before has read. */
uint64_t sable_gather(int threads, int64_t n, uint64_t first, int64_t count, const uint64_t *table);

/* Places[0 … n_places) for a table of n words, both powers of two, n ≥ n_places ≥ 8: lines in a random order, each as
 * often as any other, at a random word of the line. */
void sable_gather_list(int threads, int64_t n, int64_t n_places, uint32_t *place);
/* The sum modulo 2^64 of `count` words on each thread, whose access i reads table[place[(first + s(t) + i) mod
 * n_places]], s(t) = t·n_places/threads rounded down to a run; first, count and n_places are multiples of
 * SABLE_GATHER_RUN. `wide`: by the gather instructions of this SIMD level, where it has some, else by one load after
 * the other. A table that is in a cache is read faster through a list than by computing where. */
enum { SABLE_GATHER_RUN = 1024 };
uint64_t sable_gather_listed(int threads, int64_t n_places, uint64_t first, int64_t count, int wide,
                             const uint32_t *place, const uint64_t *table);

/* A bijection of 32-bit words that looks random; few instructions, as the index must cost less than the access.
 * Source: Wellons, Prospecting for Hash Functions (2018), lowbias32. */
static inline uint32_t sable_gather_index(uint32_t i)
{
    i ^= i >> 16;
    i *= 0x7feb352dU;
    i ^= i >> 15;
    i *= 0x846ca68bU;
    return i ^ i >> 16;
}

/* One cache line; `next` leads through all nodes of the table in a random order, and back to the first. */
struct sable_chase_node {
    struct sable_chase_node *next;
    char unused[64 - sizeof(void *)];
};

/* Links n nodes, a power of two ≤ 2^32, into one cycle: next(π(i)) = π(i + 1), π a random permutation. π is a Feistel
 * network whose round function is Philox, so each node can be linked on its own, by any thread.
 * Source: Luby & Rackoff, SIAM J. Comput. 17 (1988). */
void sable_chase_link(int threads, int64_t n, uint64_t seed, struct sable_chase_node *table);
/* `steps` dependent reads on each thread, thread t starting from node (start + t·⌊n/threads⌋) mod n. Returns the sum of
 * the indices of the nodes that the threads reached; modulo n it is a good next start. */
int64_t sable_chase(int threads, int64_t n, int64_t start, int64_t steps, const struct sable_chase_node *table);

#ifdef __cplusplus
}
#endif
#endif
