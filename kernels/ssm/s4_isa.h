#ifndef SABLE_S4_ISA_H
#define SABLE_S4_ISA_H

#include "sable_isa.h"
#include "sable_s4.h"

/* All of these take one vector of channels, `count` ≤ its width of them used; tables begin at its first one. Rows of
 * `factors` and `matrix` are SABLE_KERNEL_BLOCK floats apart. */

/* Where a node's numbers are, and a pair's vectors. |c| and s in two floats each. */
enum { NODE_SINE, NODE_SINE_LOW, NODE_COSINE, NODE_COSINE_LOW, NODE_SIGNED, NODE_PRODUCT };
enum { CAUCHY_SIZE, CAUCHY_SIZE_LOW, CAUCHY_DECAY, CAUCHY_SUMS };

/* z [M/2, 2] vectors ← `scale` times the generating function at all nodes. */
SABLE_ISA_DECLARE(void, sable_s4_cauchy,
                  (int64_t count, int64_t pairs, int64_t points, const float *nodes, const float *factors, float scale,
                   float *z));

enum { S4_TILE = 4 };
/* u, y and the state have rows `pitch` apart. `room` 4 P vectors + 4. */
SABLE_ISA_DECLARE(void, sable_s4_low_rank,
                  (int64_t pitch, int64_t count, int64_t pairs, int64_t steps, const float *factors, const float *u,
                   const float *skip, float *state, float *y, float *room));
SABLE_ISA_DECLARE(void, sable_s4_dense,
                  (int64_t pitch, int64_t count, int64_t pairs, int64_t steps, const float *factors,
                   const float *matrix, const float *u, const float *skip, float *state, float *y, float *room));
SABLE_ISA_DECLARE(int64_t, sable_s4_width, (void));

#endif
