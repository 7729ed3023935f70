#ifndef SABLE_WINDOW_ISA_H
#define SABLE_WINDOW_ISA_H

#include "sable_isa.h"
#include "sable_window.h"

/* One group of channels, one step: `next` [order, order], `gain` [order], `f` [group], `c` and `into` [order, group].
 */
SABLE_ISA_DECLARE(void, sable_window_group,
                  (int64_t order, const float *next, const float *gain, const float *f, const float *c, float *into));

#endif
