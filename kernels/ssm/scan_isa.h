#ifndef SABLE_SCAN_ISA_H
#define SABLE_SCAN_ISA_H

#include <stdbool.h>

#include "sable_isa.h"
#include "sable_scan.h"

/* States [first, first + count) of `pitch`, lanes over states; x may be NULL. */
SABLE_ISA_DECLARE(void, sable_scan_rows,
                  (int64_t pitch, int64_t first, int64_t count, int64_t length, const float *a, const float *b,
                   float *state, float *x, bool stream));
/* As many whole chunks as a vector has lanes, lanes over chunks; `seed` [lanes, 2, states]; states < lanes. */
SABLE_ISA_DECLARE(void, sable_scan_columns,
                  (int64_t states, int64_t chunk, const float *a, const float *b, float *seed, float *x));
SABLE_ISA_DECLARE(int64_t, sable_scan_width, (void));

#endif
