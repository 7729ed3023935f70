/* Powers of two of scaled logits, shared by the forward pass and the gradients; for *.isa.c sources only. */
#ifndef ATTENTION_WEIGHTS_H
#define ATTENTION_WEIGHTS_H

#include <float.h>
#include <math.h>

#include "attention_lanes.h"

static const float SHIFT = 0x1.8p23F; /* adding it leaves no bits for a fraction */
static const float WIDE = 0x1p21F;    /* from here on round() by SHIFT is not exact any more */

/* c = scale·log2(e) in two parts. */
struct softmax {
    lanes high, low;
};

/* f ← 2^f of `count` vectors on |f| ≤ 1/2 with 2^0 = 1 exactly; minimax: the relative error is at most 9.2e-8, 1.5
 * units of rounding. Vectors go step by step side by side: one alone is a chain of operations too long for the
 * processor to look past. */
static inline __attribute__((always_inline)) void powers_of_fractions(int count, lanes *f)
{
    static const float terms[] = {0x1.3cea88p-7F, 0x1.c6b752p-5F, 0x1.ebf9bcp-3F, 0x1.62e42ap-1F, 1};
    lanes x[STRIP];
    UNROLL
    for (int i = 0; i < count; i++)
        x[i] = splat(0x1.5bba14p-10F);
    UNROLL
    for (int term = 0; term < 5; term++)
        UNROLL
    for (int i = 0; i < count; i++)
        x[i] = fused(x[i], f[i], splat(terms[term]));
    UNROLL
    for (int i = 0; i < count; i++)
        f[i] = x[i];
}

static inline lanes rounded(lanes s, struct softmax c)
{
    return fused(s, c.high, splat(SHIFT)) - splat(SHIFT);
}

/* x ← 2^(c·x − top) of `count` vectors, with c·x in an integer and a fraction: only the exponent depends on `top`, an
 * integer. `wide`: some |top| is so large that fractions need a bound, which changes no bit of the others. */
static inline __attribute__((always_inline)) void weights_of(int count, struct softmax c, const lanes *top, lanes *x,
                                                             bool wide)
{
    lanes whole[STRIP];
    UNROLL
    for (int i = 0; i < count; i++) {
        whole[i] = rounded(x[i], c);
        x[i] = fused(x[i], c.low, fused(x[i], c.high, -whole[i]));
        if (wide)
            x[i] = smaller(larger(splat(-0.75F), x[i]), splat(0.75F));
    }
    powers_of_fractions(count, x);
    UNROLL
    for (int i = 0; i < count; i++)
        x[i] = times_power(x[i], whole[i] - top[i]);
}

static inline struct softmax softmax_of(double scale)
{
    double c = scale * 0x1.71547652b82fep+0;             /* log2(e) */
    float high = fabs(c) < FLT_MIN ? FLT_MIN : (float)c; /* never 0: 0·(−inf) is NaN */
    return (struct softmax){splat(high), splat(fabs(c) < FLT_MIN ? 0 : (float)(c - (double)high))};
}

#endif
