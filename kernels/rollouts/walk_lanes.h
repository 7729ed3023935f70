/* Private to the family: episodes in SIMD lanes, four steps at a time (walk_lanes.isa.c). */
#ifndef SABLE_WALK_LANES_H
#define SABLE_WALK_LANES_H

#include "sable_isa.h"
#include "sable_rollouts.h"

enum { LANES = SABLE_DRAW_LANES, STEPS = 4 }; /* steps: the words of a Philox block */

/* Philox4x32-10's constants (Salmon et al. 2011, table 2). */
enum { PHILOX_ROUNDS = 10 };
static const uint32_t philox_multiplier[2] = {0xd2511f53, 0xcd9e8d57}, philox_weyl[2] = {0x9e3779b9, 0xbb67ae85};

/* Lane l plays the episode (low, high)[l], which stands in state[l] before step 4·block[l]. */
struct walk_lanes {
    _Alignas(64) uint32_t low[LANES], high[LANES], block[LANES];
    _Alignas(64) uint32_t state[LANES], length[LANES];
    _Alignas(64) double total[LANES], discount[LANES]; /* Σ γ^t r_t so far, γ^t */
};

/* words[j·LANES + l]: word j of lane l's Philox block. */
SABLE_ISA_DECLARE(void, rollouts_draw_lanes,
                  (uint64_t seed, uint32_t purpose, const uint32_t *low, const uint32_t *high, const uint32_t *block,
                   uint32_t *words));

/* Where lanes leave what they take: outcome[l·stride + t] = entry·2 + side of lane l in step t of its episode, also
 * after its end; stride ≥ STEPS·(1 + blocks of an episode that reaches the horizon). */
struct walk_trace {
    uint32_t *outcome; /* [LANES × stride] */
    int64_t stride;
};

/* Four steps of every lane. Returns the lanes whose episode has ended, one bit each. With a trace, which there must be
 * at level v4, totals and discounts are left alone. */
SABLE_ISA_DECLARE(uint32_t, rollouts_advance_grid,
                  (const struct sable_rollouts_grid *grid, struct walk_lanes *lanes, const uint32_t *words));
SABLE_ISA_DECLARE(uint32_t, rollouts_advance_rows,
                  (const struct sable_rollouts_rows *rows, struct walk_lanes *lanes, const uint32_t *words,
                   const struct walk_trace *trace));

#endif
