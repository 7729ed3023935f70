/* What measuring a core needs beyond common/lanes.h and lanes64.h; private to kernels/ceilings. */
#ifndef CEILINGS_LANES_H
#define CEILINGS_LANES_H

#include "lanes.h"
#include "lanes64.h"

#if defined(__x86_64__) && !defined(__AVX512F__)
enum { REGISTERS = 16 };
#else
enum { REGISTERS = 32 };
#endif

/* a·x + b: in two operations where there is no instruction for it, since a fused one by software measures nothing. */
static inline lanes64 multiply_add64(lanes64 a, lanes64 x, lanes64 b)
{
#if defined(__FMA__) || defined(__aarch64__)
    return lanes64_fma(a, x, b);
#else
    return a * x + b;
#endif
}

static inline lanes multiply_add32(lanes a, lanes x, lanes b)
{
#if defined(__FMA__) || defined(__aarch64__)
    return lanes_fma(a, x, b);
#else
    return a * x + b;
#endif
}

#endif
