/* Elementary functions of arrays of floats. The same bits at every SIMD level and from every compiler; largest errors,
 * in units in the last place, over all 2^32 arguments (tests/unit/test_vmath.c samples them; given "all" it tries every
 * one). NaN stays NaN, infinities are taken, results underflow gradually. `y` may be `x`; n ≥ 0 elements. */
#ifndef SABLE_VMATH_H
#define SABLE_VMATH_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum sable_vmath_function {
    SABLE_VEXP,      /* exp(x), 1.06 ulp */
    SABLE_VEXP2,     /* 2^x, 2.1 ulp */
    SABLE_VEXPM1,    /* exp(x) − 1, 2 ulp */
    SABLE_VLOG1P,    /* log(1 + x), 2 ulp */
    SABLE_VSOFTPLUS, /* log(1 + exp(x)), 3 ulp */
    SABLE_VSIGMOID,  /* 1 / (1 + exp(−x)), 3 ulp */
    SABLE_VSIN,      /* sin(x) and cos(x) for |x| ≤ 8192, 2 ulp; NaN beyond */
    SABLE_VCOS,
    SABLE_VMATH_FUNCTIONS
};

void sable_vmath(enum sable_vmath_function function, int64_t n, const float *x, float *y);

#ifdef __cplusplus
}
#endif
#endif
