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

/* 2^f on |f| ≤ 1/2 with 2^0 = 1 exactly; minimax: the relative error is at most 9.2e-8, 1.5 units of rounding. */
static inline lanes power_of_fraction(lanes f)
{
    lanes x = splat(0x1.5bba14p-10F);
    x = fused(x, f, splat(0x1.3cea88p-7F));
    x = fused(x, f, splat(0x1.c6b752p-5F));
    x = fused(x, f, splat(0x1.ebf9bcp-3F));
    x = fused(x, f, splat(0x1.62e42ap-1F));
    return fused(x, f, splat(1));
}

static inline lanes rounded(lanes s, struct softmax c)
{
    return fused(s, c.high, splat(SHIFT)) - splat(SHIFT);
}

/* t = c·s: its nearest integer in *whole, returned t − *whole. */
static inline lanes fraction(lanes s, struct softmax c, lanes *whole)
{
    *whole = rounded(s, c);
    return fused(s, c.low, fused(s, c.high, -*whole));
}

static inline struct softmax softmax_of(double scale)
{
    double c = scale * 0x1.71547652b82fep+0;             /* log2(e) */
    float high = fabs(c) < FLT_MIN ? FLT_MIN : (float)c; /* never 0: 0·(−inf) is NaN */
    return (struct softmax){splat(high), splat(fabs(c) < FLT_MIN ? 0 : (float)(c - (double)high))};
}

#endif
