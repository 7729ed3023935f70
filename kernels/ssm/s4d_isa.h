#ifndef SABLE_S4D_ISA_H
#define SABLE_S4D_ISA_H

#include "sable_isa.h"
#include "sable_s4d.h"

/* The kernel takes one vector of channels, `count` ≤ its width of them used; tables begin at the first one. */

/* L = rows × columns powers: `kernel` rows are SABLE_KERNEL_BLOCK floats apart; `room` (rows + columns) · 2 P vectors,
 * both padded to multiples of S4D_TILE. */
enum { S4D_TILE = 4 };
SABLE_ISA_DECLARE(void, sable_s4d_powers,
                  (int64_t pitch, int64_t count, int64_t pairs, int64_t length, int64_t rows, int64_t columns,
                   const double *q, const double *gain, float *kernel, float *room));
/* Steps of up to S4D_VECTORS vectors of channels. */
enum { S4D_VECTORS = 8 };
SABLE_ISA_DECLARE(void, sable_s4d_walk,
                  (int64_t pitch, int64_t count, int64_t pairs, int64_t steps, const float *factors, const float *u,
                   const float *skip, float *state, float *y));
SABLE_ISA_DECLARE(int64_t, sable_s4d_width, (void));

#endif
