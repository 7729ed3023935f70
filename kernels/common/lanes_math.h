/* Elementary functions of the vectors of floats of lanes.h: range reduction by fused multiply-adds, then a minimax
 * polynomial. They keep NaN, take infinities, and underflow gradually; errors are in ulp, a float's last place. Those
 * named in the plural take up to four vectors side by side. */
#ifndef SABLE_LANES_MATH_H
#define SABLE_LANES_MATH_H

#include "lanes.h"

/* p · 2^k for an integer −160 ≤ k ≤ 160 and |p| in [1/4, 4]: rounds once, where the result is subnormal. */
static inline lanes lanes_scale(lanes p, lanes k)
{
#if defined(__AVX512F__)
    return _mm512_scalef_ps(p, k);
#else
    int_lanes whole = (int_lanes)((word_lanes)(k + 0x1.8p23F) - 0x4b400000u), half = whole >> 1, rest = whole - half;
    return p * (lanes)((word_lanes)(half + 127) << 23) * (lanes)((word_lanes)(rest + 127) << 23);
#endif
}

/* expm1(r) for |r| ≤ ln 2 / 2: minimax, 1.4e-8 relative. */
static inline lanes lanes_expm1_core(lanes r)
{
    lanes p = lanes_all(0x1.6beb2cp-10F);
    p = lanes_fma(p, r, lanes_all(0x1.122cfp-7F));
    p = lanes_fma(p, r, lanes_all(0x1.55567ep-5F));
    p = lanes_fma(p, r, lanes_all(0x1.5554aap-3F));
    p = lanes_fma(p, r, lanes_all(0x1.fffffep-2F));
    return lanes_fma(p * r, r, r);
}

/* x = k·ln 2 + r; ln 2 in two parts, so that r is good to its last bit. */
static inline lanes lanes_exp_reduce(lanes x, lanes *k)
{
    *k = lanes_round(x * 0x1.715476p+0F);
    lanes r = lanes_fma(*k, lanes_all(-0x1.62e400p-1F), x);
    return lanes_fma(*k, lanes_all(-0x1.7f7d1cp-20F), r);
}

/* exp(x) to 1.06 ulp. */
static inline lanes lanes_exp(lanes x)
{
    lanes k, r;
    x = lanes_at_most(lanes_all(89), lanes_at_least(lanes_all(-104), x));
    r = lanes_exp_reduce(x, &k);
    return lanes_scale(lanes_expm1_core(r) + 1, k);
}

/* 2^x for `count` vectors x ≤ 0, to 2.1 ulp: a short polynomial for inner loops. Vectors go step by step side by side,
 * since one alone is a chain of operations too long for the processor to look past. `x` and `y` may be the same. */
static inline __attribute__((always_inline)) void lanes_exp2_decays(int count, const lanes *x, lanes *y)
{
    static const float terms[] = {0x1.3cea88p-7F, 0x1.c6b752p-5F, 0x1.ebf9bcp-3F, 0x1.62e42ap-1F, 1};
    lanes k[4], r[4], p[4];
#pragma GCC unroll 4
    for (int i = 0; i < count; i++) {
#if defined(__AVX512DQ__)
        r[i] = _mm512_reduce_ps(x[i], 0); /* x − k at once; scalef takes any k */
        k[i] = x[i] - r[i];
#else
        lanes inside = lanes_at_least(lanes_all(-151), x[i]);
        k[i] = lanes_round(inside);
        r[i] = inside - k[i];
#endif
        p[i] = lanes_all(0x1.5bba0ep-10F);
    }
#pragma GCC unroll 5
    for (int term = 0; term < 5; term++)
#pragma GCC unroll 4
        for (int i = 0; i < count; i++)
            p[i] = lanes_fma(p[i], r[i], lanes_all(terms[term]));
#pragma GCC unroll 4
    for (int i = 0; i < count; i++)
        y[i] = lanes_scale(p[i], k[i]);
}

static inline lanes lanes_exp2_decay(lanes x)
{
    lanes_exp2_decays(1, &x, &x);
    return x;
}

/* 2^x to 2.1 ulp. */
static inline lanes lanes_exp2(lanes x)
{
    return lanes_exp2_decay(lanes_at_most(lanes_all(129), x));
}

/* exp(x) − 1 to 2 ulp: 2^k·expm1(r) + (2^k − 1), halved so that k = 128 does not overflow too early. */
static inline lanes lanes_expm1(lanes x)
{
    lanes k, clamped = lanes_at_most(lanes_all(89), lanes_at_least(lanes_all(-20), x));
    lanes p = lanes_expm1_core(lanes_exp_reduce(clamped, &k));
    lanes half = lanes_scale(lanes_all(0.5F), k);
    lanes y = lanes_fma(p, half, half - 0.5F) * 2;
    return lanes_select(x == 0, x, y); /* −0 stays */
}

/* log(1 + x) for finite x > −1. 1 + x = 2^e (1 + m) with m = 2^−e x + (2^−e − 1) in about [−1/4, 1/2]; minimax, 5e-9.
 */
static inline lanes lanes_log1p_core(lanes x)
{
    word_lanes above = ((word_lanes)(x + 1) - 0x3f400000u) & 0xff800000u;
    lanes down = (lanes)(0x40800000u - above); /* 4 · 2^−e, a normal number for any e ≤ 127 */
    lanes m = lanes_fma(x * 0.25F, down, lanes_fma(down, lanes_all(0.25F), lanes_all(-1)));
    lanes e = __builtin_convertvector((int_lanes)above >> 23, lanes);
    lanes p = lanes_all(-0x1.6fe530p-5F);
    p = lanes_fma(p, m, lanes_all(0x1.abf622p-4F));
    p = lanes_fma(p, m, lanes_all(-0x1.0d8ff6p-3F));
    p = lanes_fma(p, m, lanes_all(0x1.2897bep-3F));
    p = lanes_fma(p, m, lanes_all(-0x1.54f240p-3F));
    p = lanes_fma(p, m, lanes_all(0x1.99685ap-3F));
    p = lanes_fma(p, m, lanes_all(-0x1.000024p-2F));
    p = lanes_fma(p, m, lanes_all(0x1.5555a6p-2F));
    p = lanes_fma(p, m, lanes_all(-0.5F));
    p = lanes_fma(p * m, m, m);
    return lanes_fma(e, lanes_all(0x1.62e430p-1F), p);
}

/* log(1 + x) to 2 ulp for x ≥ −1; below NaN. */
static inline lanes lanes_log1p(lanes x)
{
    lanes nan = lanes_all(__builtin_nanf("")), infinity = lanes_all(__builtin_inff());
    lanes y = lanes_select(lanes_abs(x) < 0x1p-26F, x, lanes_log1p_core(x)); /* subnormals, −0 */
    y = lanes_select(x == -1, -infinity, y);
    y = lanes_select(x == infinity, x, y);
    y = lanes_select(x < -1, nan, y);
    return lanes_select(x == x, y, x);
}

/* exp(−|x|) of `count` vectors, to 1.06 ulp. */
static inline __attribute__((always_inline)) void lanes_exp_falls(int count, const lanes *x, lanes *y)
{
    lanes k[4], r[4], p[4];
#pragma GCC unroll 4
    for (int i = 0; i < count; i++) {
        r[i] = lanes_exp_reduce(lanes_at_least(lanes_all(-104), -lanes_abs(x[i])), &k[i]);
        p[i] = lanes_all(0x1.6beb2cp-10F);
    }
    static const float terms[] = {0x1.122cfp-7F, 0x1.55567ep-5F, 0x1.5554aap-3F,
                                  0x1.fffffep-2F}; /* of lanes_expm1_core */
#pragma GCC unroll 4
    for (int term = 0; term < 4; term++)
#pragma GCC unroll 4
        for (int i = 0; i < count; i++)
            p[i] = lanes_fma(p[i], r[i], lanes_all(terms[term]));
#pragma GCC unroll 4
    for (int i = 0; i < count; i++)
        p[i] = lanes_fma(p[i] * r[i], r[i], r[i]) + 1;
#pragma GCC unroll 4
    for (int i = 0; i < count; i++)
        y[i] = lanes_scale(p[i], k[i]);
}

/* log(1 + exp(x)) = max(x, 0) + log1p(e), e = exp(−|x|), to 3 ulp, of `count` vectors side by side (see
 * lanes_exp2_decays()). 1 + e is 1 + m or 2 (1 + m) with m in [−0.293, 0.4142]; minimax, 6e-9. NaN goes through exp. */
static inline __attribute__((always_inline)) void lanes_softpluses(int count, const lanes *x, lanes *y)
{
    static const float terms[] = {0x1.056396p-3F, -0x1.0d8616p-3F, 0x1.22d89cp-3F, -0x1.547210p-3F,
                                  0x1.99a020p-3F, -0x1.000228p-2F, 0x1.555554p-2F, -0.5F};
    lanes m[4], whole[4], p[4];
    lanes_exp_falls(count, x, m);
#pragma GCC unroll 4
    for (int i = 0; i < count; i++) {
        int_lanes large = m[i] > 0x1.a82p-2F;
        whole[i] = lanes_at_least(lanes_all(0), x[i]) + lanes_select(large, lanes_all(0x1.62e430p-1F), lanes_all(0));
        m[i] = lanes_select(large, lanes_fma(m[i], lanes_all(0.5F), lanes_all(-0.5F)), m[i]);
        p[i] = lanes_all(-0x1.38c0dcp-4F);
    }
#pragma GCC unroll 8
    for (int term = 0; term < 8; term++)
#pragma GCC unroll 4
        for (int i = 0; i < count; i++)
            p[i] = lanes_fma(p[i], m[i], lanes_all(terms[term]));
#pragma GCC unroll 4
    for (int i = 0; i < count; i++)
        y[i] = lanes_fma(p[i] * m[i], m[i], m[i]) + whole[i];
}

static inline lanes lanes_softplus(lanes x)
{
    lanes_softpluses(1, &x, &x);
    return x;
}

/* 1 / (1 + exp(−x)) to 3 ulp, at both ends, of `count` vectors side by side. */
static inline __attribute__((always_inline)) void lanes_sigmoids(int count, const lanes *x, lanes *y)
{
    lanes small[4];
    lanes_exp_falls(count, x, small);
#pragma GCC unroll 4
    for (int i = 0; i < count; i++)
        y[i] = lanes_select(x[i] < 0, small[i], lanes_all(1)) / (1 + small[i]);
}

static inline lanes lanes_sigmoid(lanes x)
{
    lanes_sigmoids(1, &x, &x);
    return x;
}

/* sin and cos to 2 ulp for |x| ≤ 8192 (where π/2 in three parts is good enough); NaN beyond. */
static inline void lanes_sincos(lanes x, lanes *sine, lanes *cosine)
{
    lanes inside = lanes_select(lanes_abs(x) <= 8192, x, lanes_all(__builtin_nanf("")));
    lanes k = lanes_round(inside * 0x1.45f306p-1F);
    lanes r = lanes_fma(k, lanes_all(-0x1.921fb6p+0F), inside);
    r = lanes_fma(k, lanes_all(0x1.777a5cp-25F), r);
    r = lanes_fma(k, lanes_all(0x1.ee59dap-50F), r);
    lanes s = r * r;
    lanes p = lanes_fma(lanes_all(-0x1.994b3ep-13F), s, lanes_all(0x1.110756p-7F));
    p = lanes_fma(p, s, lanes_all(-0x1.555546p-3F));
    p = lanes_fma(p * s, r, r);
    lanes q = lanes_fma(lanes_all(0x1.99e868p-16F), s, lanes_all(-0x1.6c0c28p-10F));
    q = lanes_fma(q, s, lanes_all(0x1.55554ap-5F));
    q = lanes_fma(q * s, s, lanes_fma(s, lanes_all(-0.5F), lanes_all(1)));
    word_lanes quadrant = (word_lanes)(k + 0x1.8p23F);
    int_lanes odd = (int_lanes)(0 - (quadrant & 1));
    word_lanes minus_sine = (quadrant & 2) << 30, minus_cosine = ((quadrant + 1) & 2) << 30;
    lanes wrong = lanes_select(inside == inside, lanes_all(0), inside);
    *sine = (lanes)((word_lanes)lanes_select(odd, q, p) ^ minus_sine) + wrong;
    *cosine = (lanes)((word_lanes)lanes_select(odd, p, q) ^ minus_cosine) + wrong;
    *sine = lanes_select(x == 0, x, *sine);
}

#endif
