#ifndef SABLE_HIPPO_ISA_H
#define SABLE_HIPPO_ISA_H

#include "sable_hippo.h"
#include "sable_isa.h"

enum { LEGS_PASS = 4 /* steps whose factors lie together */ };
static const float LEGS_NOTHING = 0x1p-90F;

/* One group of channels over `steps` steps: `factors` [steps / LEGS_PASS, order, LEGS_PASS, 2], `f` [steps, group]:
 * what a step's sum starts with. */
SABLE_ISA_DECLARE(void, sable_legs_group,
                  (enum sable_legs_rule rule, bool brief, int64_t order, int64_t steps, const float *factors,
                   const float *f, float *c));
/* Those of LEGS_PASS steps from t = first on: [order, LEGS_PASS, 2]. */
SABLE_ISA_DECLARE(void, sable_legs_factors, (enum sable_legs_rule rule, int64_t order, int64_t first, float *factors));

#endif
