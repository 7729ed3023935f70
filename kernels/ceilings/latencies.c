#include "sable_latencies.h"

#include <omp.h>

#include "ceilings_isa.h"
#include "sable_random.h"

void sable_gather_fill(int threads, int64_t n, uint64_t *table)
{
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t i = 0; i < n; i++)
        table[i] = (uint64_t)i;
}

uint64_t sable_gather(int threads, int64_t n, uint64_t first, int64_t count, const uint64_t *table)
{
    uint64_t (*run)(uint32_t, int64_t, uint32_t, const uint64_t *) = SABLE_ISA_PICK(sable_gather_words), sum = 0;
#pragma omp parallel num_threads(threads) reduction(+ : sum)
    sum += run((uint32_t)(first + (uint64_t)(omp_get_thread_num() * count)), count, (uint32_t)(n - 1), table);
    return sum;
}

void sable_gather_list(int threads, int64_t n, int64_t n_places, uint32_t *place)
{
    enum { LINE_WORDS = 8 };
    const uint32_t lines = (uint32_t)(n / LINE_WORDS);
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t i = 0; i < n_places; i++) {
        uint32_t line = (uint32_t)i & (lines - 1); /* odd factors and shifts to the right: bijections of its bits */
        for (int round = 0; round < 3; round++) {
            line = line * 0x9e3779b1U & (lines - 1);
            line ^= line >> 3;
            line ^= line >> 7;
        }
        place[i] = line * LINE_WORDS + sable_gather_index((uint32_t)i) % LINE_WORDS;
    }
}

/* One load after the other, in four sums. */
static uint64_t listed_words(int64_t count, const uint32_t *place, const uint64_t *table)
{
    uint64_t sum[4] = {0};
    for (int64_t i = 0; i < count; i += 4)
        for (int j = 0; j < 4; j++) {
            sum[j] += table[place[i + j]];
            __asm__("" : "+r"(sum[j])); /* a register of its own: no vectors */
        }
    return sum[0] + sum[1] + sum[2] + sum[3];
}

uint64_t sable_gather_listed(int threads, int64_t n_places, uint64_t first, int64_t count, int wide,
                             const uint32_t *place, const uint64_t *table)
{
    uint64_t (*run)(int64_t, const uint32_t *, const uint64_t *) =
        wide ? SABLE_ISA_PICK(sable_gather_listed_words) : listed_words;
    const uint64_t runs = (uint64_t)(n_places / SABLE_GATHER_RUN);
    uint64_t sum = 0;
#pragma omp parallel num_threads(threads) reduction(+ : sum)
    {
        uint64_t at = first / SABLE_GATHER_RUN + runs * (uint64_t)omp_get_thread_num() / (uint64_t)threads;
        for (int64_t i = 0; i < count; i += SABLE_GATHER_RUN, at++)
            sum += run(SABLE_GATHER_RUN, place + at % runs * SABLE_GATHER_RUN, table);
    }
    return sum;
}

enum { FEISTEL_ROUNDS = 4, PURPOSE_CHASE = 0x63656c01 };

/* A random permutation of the words of `bits` bits: each round adds to one half of the word a random function of the
 * other half, which can be undone. */
static uint64_t permute(uint64_t i, int bits, uint64_t seed)
{
    int low_bits = bits / 2;
    uint64_t low_mask = (UINT64_C(1) << low_bits) - 1, high_mask = (UINT64_C(1) << (bits - low_bits)) - 1;
    uint64_t low = i & low_mask, high = i >> low_bits;
    for (uint32_t round = 0; round < FEISTEL_ROUNDS; round += 2) {
        high ^= sable_random(seed, PURPOSE_CHASE, low, round).word[0] & high_mask;
        low ^= sable_random(seed, PURPOSE_CHASE, high, round + 1).word[0] & low_mask;
    }
    return high << low_bits | low;
}

void sable_chase_link(int threads, int64_t n, uint64_t seed, struct sable_chase_node *table)
{
    int bits = 0;
    while (INT64_C(1) << bits < n)
        bits++;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t i = 0; i < n; i++) /* first touch in order: the links themselves are written at random */
        table[i].next = table;
#pragma omp parallel num_threads(threads)
    {
        int64_t thread = omp_get_thread_num(), all = omp_get_num_threads();
        int64_t first = n / all * thread, end = thread + 1 == all ? n : first + n / all;
        uint64_t at = permute((uint64_t)first, bits, seed);
        for (int64_t i = first; i < end; i++) {
            uint64_t next = permute((uint64_t)(i + 1) & (uint64_t)(n - 1), bits, seed);
            table[at].next = &table[next];
            at = next;
        }
    }
}

int64_t sable_chase(int threads, int64_t n, int64_t start, int64_t steps, const struct sable_chase_node *table)
{
    int64_t reached = 0;
#pragma omp parallel num_threads(threads) reduction(+ : reached)
    {
        const struct sable_chase_node *at = &table[(start + n / omp_get_num_threads() * omp_get_thread_num()) % n];
        for (int64_t i = 0; i < steps; i++)
            at = at->next;
        reached += at - table;
    }
    return reached;
}
