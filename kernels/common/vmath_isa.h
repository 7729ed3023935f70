#ifndef SABLE_VMATH_ISA_H
#define SABLE_VMATH_ISA_H

#include "sable_isa.h"
#include "sable_vmath.h"

SABLE_ISA_DECLARE(void, sable_vmath_lanes, (enum sable_vmath_function function, int64_t n, const float *x, float *y));

#endif
