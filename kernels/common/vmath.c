#include "sable_vmath.h"

#include "vmath_isa.h"

void sable_vmath(enum sable_vmath_function function, int64_t n, const float *x, float *y)
{
    SABLE_ISA_PICK(sable_vmath_lanes)(function, n, x, y);
}
