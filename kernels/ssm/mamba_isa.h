#ifndef SABLE_MAMBA_ISA_H
#define SABLE_MAMBA_ISA_H

#include "sable_isa.h"
#include "sable_mamba.h"

/* A unit is one vector of channels of one sequence. */
enum { MAMBA_STATES = 4 /* states are padded to a multiple */, MAMBA_STEPS = 16 };

static inline int64_t mamba_padded(int64_t states)
{
    return (states + MAMBA_STATES - 1) / MAMBA_STATES * MAMBA_STATES;
}

/* One sequence's `count` channels from `channel` on; `bc` [L, 2, padded N] are its B and C, state by state. */
SABLE_ISA_DECLARE(void, sable_mamba_unit,
                  (const struct sable_mamba *model, const float *bc, int64_t sequence, int64_t channel, int64_t count,
                   int64_t begin, int64_t end, float *state, float *y, float *work));
SABLE_ISA_DECLARE(int64_t, sable_mamba_width, (void));

#endif
