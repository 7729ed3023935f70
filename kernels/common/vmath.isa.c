/* Arrays through lanes_math.h; the last few elements go by a padded vector, so all take the same way. */
#include "lanes_math.h"
#include "vmath_isa.h"

static inline lanes value(enum sable_vmath_function function, lanes x)
{
    lanes sine, cosine;
    switch (function) {
    case SABLE_VEXP:
        return lanes_exp(x);
    case SABLE_VEXP2:
        return lanes_exp2(x);
    case SABLE_VEXPM1:
        return lanes_expm1(x);
    case SABLE_VLOG1P:
        return lanes_log1p(x);
    case SABLE_VSOFTPLUS:
        return lanes_softplus(x);
    case SABLE_VSIGMOID:
        return lanes_sigmoid(x);
    case SABLE_VSIN:
    case SABLE_VCOS:
        lanes_sincos(x, &sine, &cosine);
        return function == SABLE_VSIN ? sine : cosine;
    default:
        return x;
    }
}

static inline void all(enum sable_vmath_function function, int64_t n, const float *x, float *y)
{
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        lanes_store(y + i, value(function, lanes_load(x + i)));
    float rest[LANES] = {0};
    if (i < n) {
        memcpy(rest, x + i, (size_t)(n - i) * sizeof *x);
        lanes_store(rest, value(function, lanes_load(rest)));
        memcpy(y + i, rest, (size_t)(n - i) * sizeof *x);
    }
}

void SABLE_ISA_NAME(sable_vmath_lanes)(enum sable_vmath_function function, int64_t n, const float *x, float *y)
{
    switch (function) { /* a loop of its own for each */
    case SABLE_VEXP:
        all(SABLE_VEXP, n, x, y);
        break;
    case SABLE_VEXP2:
        all(SABLE_VEXP2, n, x, y);
        break;
    case SABLE_VEXPM1:
        all(SABLE_VEXPM1, n, x, y);
        break;
    case SABLE_VLOG1P:
        all(SABLE_VLOG1P, n, x, y);
        break;
    case SABLE_VSOFTPLUS:
        all(SABLE_VSOFTPLUS, n, x, y);
        break;
    case SABLE_VSIGMOID:
        all(SABLE_VSIGMOID, n, x, y);
        break;
    case SABLE_VSIN:
        all(SABLE_VSIN, n, x, y);
        break;
    case SABLE_VCOS:
        all(SABLE_VCOS, n, x, y);
        break;
    case SABLE_VMATH_FUNCTIONS:
        break;
    }
}
