#ifndef SABLE_HIPPO_ISA_H
#define SABLE_HIPPO_ISA_H

#include "sable_hippo.h"
#include "sable_isa.h"

enum { LEGS_PASS = 4 /* steps whose factors lie together */, LEGS_GROUPS = 2 /* at a time at most */ };
static const float LEGS_NOTHING = 0x1p-95F;

/* `groups` ≤ LEGS_GROUPS groups of channels over `steps` steps: `factors` [steps / LEGS_PASS, order, LEGS_PASS, 2], `f`
 * [groups, SABLE_LEGS_STEPS, group]: what a step's sum starts with; `from`: the first n with sums that may be next to
 * nothing. */
SABLE_ISA_DECLARE(void, sable_legs_group,
                  (enum sable_legs_rule rule, int64_t groups, int64_t order, int64_t from, int64_t steps,
                   const float *factors, const float *f, float *c));
/* Those of LEGS_PASS steps from t = first on: [order, LEGS_PASS, 2]. */
SABLE_ISA_DECLARE(void, sable_legs_factors, (enum sable_legs_rule rule, int64_t order, int64_t first, float *factors));

#endif
