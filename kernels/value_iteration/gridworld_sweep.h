/* Inner loops of the gridworld, one row at a time, compiled once per SIMD level (gridworld_sweep.isa.c). Private to
 * kernels/value_iteration. */
#ifndef GRIDWORLD_SWEEP_H
#define GRIDWORLD_SWEEP_H

#include "sable_gridworld.h"
#include "sable_isa.h"

/* The model as the loops need it. */
struct gridworld_constants {
    double gamma, intended, sideways, boundary;
    double reward[8], gamma_of[8]; /* by enum sable_gridworld_kind; γ is 0 for goals and holes */
    bool ends;                     /* can there be any? */
};

/* next[0..n) from u, whose neighbouring rows are `pitch` away; tightens *change if it isn't NULL. `stream`: `next` lies
 * on a cache line. */
SABLE_ISA_DECLARE(void, gridworld_sweep_row,
                  (const struct gridworld_constants *model, const uint8_t *cells, const double *u, int64_t pitch,
                   int64_t n, bool stream, double *next, struct sable_gridworld_change *change));
SABLE_ISA_DECLARE(void, gridworld_policy_row,
                  (const struct gridworld_constants *model, const uint8_t *cells, const double *u, int64_t pitch,
                   int64_t n, double shift, double *v, int8_t *policy));

#endif
