/* One thread's part of a share, compiled once per instruction set: draws four steps' words of all lanes, takes the
 * steps, counts the episodes that have ended and deals the next ones to their lanes. Level v4 keeps lanes, counters and
 * refills in vectors (play_avx512.h); the others call the steps of walk_lanes.isa.c and refill lane by lane. */
#include "walk.h"

#include <stddef.h>

#if defined(__AVX512F__) && defined(__AVX512DQ__) && defined(__AVX512BW__)
#include "play_avx512.h"
#else

void SABLE_ISA_NAME(rollouts_play_grid)(struct dealer *dealer, struct tallies *tallies,
                                        struct sable_rollouts_chunk *chunk)
{
    const struct sable_rollouts_grid *grid = dealer->walk->grid;
    struct walk_lanes lanes;
    _Alignas(64) uint32_t words[STEPS * LANES];
    uint32_t playing = sable_walk_begin(dealer, &lanes);
    while (playing) {
        SABLE_ISA_NAME(rollouts_draw_lanes)
        (dealer->share->seed, SABLE_ROLLOUTS_STEP, lanes.low, lanes.high, lanes.block, words);
        uint32_t ended = SABLE_ISA_NAME(rollouts_advance_grid)(grid, &lanes, words) & playing;
        for (; ended; ended &= ended - 1) {
            int l = __builtin_ctz(ended);
            bool cut = !sable_rollouts_after_end(grid->row[lanes.state[l]]);
            sable_walk_count(lanes.total[l], lanes.length[l], cut, tallies, &chunk[dealer->chunk_of_lane[l]]);
            if (!sable_walk_deal(dealer, &lanes, l))
                playing &= ~(UINT32_C(1) << l);
        }
    }
}

void SABLE_ISA_NAME(rollouts_play_rows)(struct dealer *dealer, struct tallies *tallies,
                                        struct sable_rollouts_chunk *chunk)
{
    const struct sable_rollouts_rows *rows = dealer->walk->rows;
    struct walk_lanes lanes;
    _Alignas(64) uint32_t words[STEPS * LANES];
    uint32_t playing = sable_walk_begin(dealer, &lanes);
    while (playing) {
        SABLE_ISA_NAME(rollouts_draw_lanes)
        (dealer->share->seed, SABLE_ROLLOUTS_STEP, lanes.low, lanes.high, lanes.block, words);
        uint32_t ended = SABLE_ISA_NAME(rollouts_advance_rows)(rows, &lanes, words, NULL) & playing;
        for (; ended; ended &= ended - 1) {
            int l = __builtin_ctz(ended);
            bool cut = lanes.state[l] != (uint32_t)(rows->states - 1);
            sable_walk_count(lanes.total[l], lanes.length[l], cut, tallies, &chunk[dealer->chunk_of_lane[l]]);
            if (!sable_walk_deal(dealer, &lanes, l))
                playing &= ~(UINT32_C(1) << l);
        }
    }
}
#endif
