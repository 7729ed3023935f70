/* Four steps of 32 episodes at a time, one episode a lane: compiled once per instruction set.
 *
 * The words of a Philox block are drawn for all lanes first: they don't depend on states, so that ten rounds of
 * multiplications overlap the look-ups of the steps, which do. A step is then one look-up of 4 bytes (grid) or of one
 * entry (rows) and a dozen vertical operations; where all cells fit two vector registers the look-up is a permutation.
 * Lanes stay in one place for four steps and need no masks: the row of an end leads back to it, for a reward of 0.
 *
 * Bound by integer operations while the table is in a cache, by the look-ups' latency beyond. Plain C for compilers to
 * vectorise; at levels v3 and v4 intrinsics, because compilers make neither the even/odd products nor the permutations.
 * Lanes don't mix and every float64 operation is one fma or product: the same bits at every level. */
#include "walk_lanes.h"

#include <math.h>
#include <string.h>

#if defined(__AVX512F__) && defined(__AVX512DQ__) && defined(__AVX512BW__)
#include "walk_lanes_avx512.h"
#else

#if defined(__AVX2__) && defined(__FMA__)
#include "walk_lanes_avx2.h"
#else

void SABLE_ISA_NAME(rollouts_draw_lanes)(uint64_t seed, uint32_t purpose, const uint32_t *low, const uint32_t *high,
                                         const uint32_t *block, uint32_t *words)
{
    enum { WIDE = 8 }; /* lanes at a time: their counters stay in registers */
    for (int from = 0; from < LANES; from += WIDE) {
        uint32_t key0 = (uint32_t)seed, key1 = (uint32_t)(seed >> 32);
        uint32_t c0[WIDE], c1[WIDE], c2[WIDE], c3[WIDE];
        for (int l = 0; l < WIDE; l++) {
            c0[l] = low[from + l], c1[l] = high[from + l];
            c2[l] = block[from + l], c3[l] = purpose;
        }
        for (int round = 0; round < PHILOX_ROUNDS; round++, key0 += philox_weyl[0], key1 += philox_weyl[1])
            for (int l = 0; l < WIDE; l++) {
                uint64_t p0 = (uint64_t)c0[l] * philox_multiplier[0], p1 = (uint64_t)c2[l] * philox_multiplier[1];
                c0[l] = (uint32_t)(p1 >> 32) ^ c1[l] ^ key0;
                c2[l] = (uint32_t)(p0 >> 32) ^ c3[l] ^ key1;
                c1[l] = (uint32_t)p1;
                c3[l] = (uint32_t)p0;
            }
        for (int l = 0; l < WIDE; l++) {
            words[0 * LANES + from + l] = c0[l], words[1 * LANES + from + l] = c1[l];
            words[2 * LANES + from + l] = c2[l], words[3 * LANES + from + l] = c3[l];
        }
    }
}

uint32_t SABLE_ISA_NAME(rollouts_advance_grid)(const struct sable_rollouts_grid *grid, struct walk_lanes *lanes,
                                               const uint32_t *words)
{
    const uint32_t *restrict row = grid->row;
    const uint32_t policy = grid->policy, turn_left = grid->turn_left, turn_right = grid->turn_right;
    const uint32_t width = (uint32_t)grid->width, stride = (uint32_t)grid->stride;
    const double gamma = grid->gamma;
    /* Copies: the compiler knows that nothing else reaches them. */
    uint32_t arrival[LANES], state[LANES], length[LANES];
    double total[LANES], discount[LANES], reward[8];
    memcpy(state, lanes->state, sizeof state), memcpy(length, lanes->length, sizeof length);
    memcpy(total, lanes->total, sizeof total), memcpy(discount, lanes->discount, sizeof discount);
    memcpy(reward, grid->reward, sizeof reward);
    for (int j = 0; j < STEPS; j++) {
        const uint32_t *restrict u = words + j * LANES;
        for (int l = 0; l < LANES; l++) {
            uint32_t f = u[l] & 0xfffffff;
            /* Left of a direction is the one before it, right the one after: d − 1, d + 1 modulo 4. */
            uint32_t turn = (f < turn_right ? 1u : 0u) - (f < turn_left ? 2u : 0u);
            uint32_t d = ((policy >> (u[l] >> 28 << 1)) + turn) & 3;
            uint32_t now = row[state[l]] >> (d << 3);
            uint32_t step = ((d & 1) ? 1 : stride) * ((d == 0 || d == 3) ? -1u : 1u);
            step += (now & SABLE_ARRIVAL_WRAPS) ? width * (d == 1 ? -1u : 1u) : 0;
            state[l] += (now & SABLE_ARRIVAL_MOVES) ? step : 0;
            length[l] += sable_rollouts_after_end(now) ? 0 : 1;
            arrival[l] = now;
        }
        for (int l = 0; l < LANES; l++) {
            total[l] = fma(discount[l], reward[(arrival[l] & SABLE_ARRIVAL_REWARD) >> SABLE_ARRIVAL_PAYS], total[l]);
            discount[l] *= gamma;
        }
    }
    memcpy(lanes->state, state, sizeof state), memcpy(lanes->length, length, sizeof length);
    memcpy(lanes->total, total, sizeof total), memcpy(lanes->discount, discount, sizeof discount);
    uint32_t ended = 0;
    for (int l = 0; l < LANES; l++) {
        lanes->block[l]++;
        ended |= (uint32_t)((arrival[l] & SABLE_ARRIVAL_ENDS) != 0 || lanes->block[l] * STEPS >= grid->horizon) << l;
    }
    return ended;
}
#endif

uint32_t SABLE_ISA_NAME(rollouts_advance_rows)(const struct sable_rollouts_rows *rows, struct walk_lanes *lanes,
                                               const uint32_t *words, const struct walk_trace *trace)
{
    const struct sable_rollouts_entry *restrict entry = rows->entry;
    const int bits = rows->bits;
    const uint32_t end = (uint32_t)(rows->states - 1);
    const double gamma = rows->gamma;
    uint32_t outcome[LANES];
    for (int j = 0; j < STEPS; j++) {
        const uint32_t *restrict u = words + j * LANES;
        for (int l = 0; l < LANES; l++) {
            uint32_t index = lanes->state[l] << bits | (uint32_t)((uint64_t)u[l] << bits >> 32);
            uint32_t side = (u[l] << bits) >= entry[index].threshold, next = entry[index].next[side];
            lanes->length[l] += lanes->state[l] != end;
            lanes->state[l] = (next & SABLE_ROW_END) ? end : next;
            outcome[l] = 2 * index + side;
        }
        if (trace) {
            for (int l = 0; l < LANES; l++)
                trace->outcome[l * trace->stride + (int64_t)lanes->block[l] * STEPS + j] = outcome[l];
            continue;
        }
        for (int l = 0; l < LANES; l++) {
            lanes->total[l] = fma(lanes->discount[l], sable_rollouts_reward(rows, outcome[l]), lanes->total[l]);
            lanes->discount[l] *= gamma;
        }
    }
    uint32_t ended = 0;
    for (int l = 0; l < LANES; l++) {
        lanes->block[l]++;
        ended |= (uint32_t)(lanes->state[l] == end || lanes->block[l] * STEPS >= rows->horizon) << l;
    }
    return ended;
}
#endif
