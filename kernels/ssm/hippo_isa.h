#ifndef SABLE_HIPPO_ISA_H
#define SABLE_HIPPO_ISA_H

#include "sable_hippo.h"
#include "sable_isa.h"

/* One group of channels over `steps` steps: `factors` [steps, order, 4], `start` [steps]. `f` [steps, group]. */
SABLE_ISA_DECLARE(void, sable_legs_group,
                  (int64_t order, int64_t steps, const float *factors, const float *f, float *c));

#endif
