/* S4 on vectors of channels.
 *
 * Cauchy sums at ζ = e^{iθ}, with s = sin θ/2, c = cos θ/2 and Δλ/2 in the place of λ: a pair of conjugates gives
 *   v/(−is − cλ) + v̄/(−is − cλ̄) = (−is α + c β)/d,  α = 2 Re v, β = −2 Re vλ̄,  d = (c²|λ|² − s²) + 2 i s c Re λ,
 * one reciprocal of d for the four sums (c b, c p, p̄ b, |p|²), whose α and β are real. Near |λ| = tan θ/2 the first
 * part of d is small: (|c||λ| − s)(|c||λ| + s) with |λ|, s and c in two floats keeps it good. Bounded by arithmetic: 28
 * operations and a division for a pair and node.
 *
 * Steps: one pass over the pairs, x ← ā x + B̄ u − w s, that gathers y and the next s, in four sums each. */
#include "lanes.h"
#include "s4_isa.h"

int64_t SABLE_ISA_NAME(sable_s4_width)(void)
{
    return LANES;
}

static inline lanes row_of(const float *table, int64_t row, int64_t count)
{
    return lanes_load_row(table + row * SABLE_KERNEL_BLOCK, count);
}

/* ---- Cauchy sums ---- */

struct sums {
    lanes re[4], im[4];
};

/* Σ (α, β)/d of one node. */
static inline void add_up(int64_t count, int64_t pairs, const float *node, const float *factors, struct sums *alpha,
                          struct sums *beta)
{
    const lanes sine = lanes_all(node[NODE_SINE]), sine_low = lanes_all(node[NODE_SINE_LOW]);
    const lanes cosine = lanes_all(node[NODE_COSINE]), cosine_low = lanes_all(node[NODE_COSINE_LOW]);
    const lanes product = lanes_all(node[NODE_PRODUCT]);
    for (int64_t p = 0; p < pairs; p++, factors += SABLE_S4_CAUCHY * SABLE_KERNEL_BLOCK) {
        const lanes size = row_of(factors, CAUCHY_SIZE, count);
        const lanes low =
            lanes_fma(cosine, row_of(factors, CAUCHY_SIZE_LOW, count), lanes_fma(cosine_low, size, -sine_low));
        const lanes re = (lanes_fma(cosine, size, -sine) + low) * lanes_fma(cosine, size, sine);
        const lanes im = product * row_of(factors, CAUCHY_DECAY, count);
        const lanes inverse = 1 / lanes_fma(re, re, im * im), rr = re * inverse, ri = im * inverse; /* ri: −Im 1/d */
#pragma GCC unroll 4
        for (int k = 0; k < 4; k++) {
            const lanes a = row_of(factors, CAUCHY_SUMS + 2 * k, count);
            const lanes b = row_of(factors, CAUCHY_SUMS + 2 * k + 1, count);
            alpha->re[k] = lanes_fma(a, rr, alpha->re[k]);
            alpha->im[k] = lanes_fma(-a, ri, alpha->im[k]);
            beta->re[k] = lanes_fma(b, rr, beta->re[k]);
            beta->im[k] = lanes_fma(-b, ri, beta->im[k]);
        }
    }
}

static inline void cauchy(int64_t count, int64_t pairs, int64_t points, const float *nodes, const float *factors,
                          float scale, lanes *z)
{
    for (int64_t i = 0; i < points; i++, nodes += SABLE_S4_NODE, z += 2) {
        struct sums alpha = {0}, beta = {0};
        lanes kr[4], ki[4];
        add_up(count, pairs, nodes, factors, &alpha, &beta);
        const lanes sine = lanes_all(nodes[NODE_SINE]), cosine = lanes_all(nodes[NODE_SIGNED]);
        for (int k = 0; k < 4; k++) {
            kr[k] = lanes_fma(sine, alpha.im[k], cosine * beta.re[k]);
            ki[k] = lanes_fma(-sine, alpha.re[k], cosine * beta.im[k]);
        }
        /* k00 − c k01 k10 / (1 + c k11), turned by e^{−iθ/2} */
        lanes ur, ui, dr = lanes_fma(cosine, kr[3], lanes_all(1)), di = cosine * ki[3], vr, vi;
        const lanes inverse = cosine / lanes_fma(dr, dr, di * di);
        lanes_complex_multiply(kr[1], ki[1], kr[2], ki[2], &ur, &ui);
        lanes_complex_multiply(ur, ui, dr, -di, &vr, &vi);
        vr = lanes_fma(-vr, inverse, kr[0]);
        vi = lanes_fma(-vi, inverse, ki[0]);
        lanes_complex_multiply(vr, vi, cosine, -sine, &ur, &ui);
        z[0] = ur * scale;
        z[1] = ui * scale;
    }
}

void SABLE_ISA_NAME(sable_s4_cauchy)(int64_t count, int64_t pairs, int64_t points, const float *nodes,
                                     const float *factors, float scale, float *z)
{
    if (count == LANES)
        cauchy(LANES, pairs, points, nodes, factors, scale, (lanes *)(void *)z);
    else
        cauchy(count, pairs, points, nodes, factors, scale, (lanes *)(void *)z);
}

/* ---- Steps ---- */

static inline lanes factor(const float *factors, int64_t count, int64_t pair, int table, int part)
{
    return row_of(factors, (pair * SABLE_S4_TABLES + table) * 2 + part, count);
}

static inline lanes four(const lanes sum[4])
{
    return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

static inline void low_rank(int64_t pitch, int64_t count, int64_t pairs, int64_t steps, const float *factors,
                            const float *u, lanes d, lanes *x, float *y)
{
    lanes s[4] = {0};
    for (int64_t p = 0; p < pairs; p++) {
        s[p % 4] = lanes_fma(factor(factors, count, p, SABLE_S4_V, 0), x[2 * p], s[p % 4]);
        s[p % 4] = lanes_fma(-factor(factors, count, p, SABLE_S4_V, 1), x[2 * p + 1], s[p % 4]);
    }
    for (int64_t t = 0; t < steps; t++) {
        const lanes in = lanes_load_row(u + t * pitch, count), carried = -four(s);
        lanes out[4] = {d * in, {0}, {0}, {0}}, next[4] = {0};
#pragma GCC unroll 4
        for (int64_t p = 0; p < pairs; p++) {
            const float *f = factors + p * SABLE_S4_TABLES * 2 * SABLE_KERNEL_BLOCK;
            lanes v[2 * SABLE_S4_TABLES], old = x[2 * p], re, im;
            for (int i = 0; i < 2 * SABLE_S4_TABLES; i++)
                v[i] = row_of(f, i, count);
            re = lanes_fma(v[2 * SABLE_S4_W], carried, v[2 * SABLE_S4_B] * in);
            im = lanes_fma(v[2 * SABLE_S4_W + 1], carried, v[2 * SABLE_S4_B + 1] * in);
            re = lanes_fma(-v[1], x[2 * p + 1], lanes_fma(v[0], old, re));
            im = lanes_fma(v[0], x[2 * p + 1], lanes_fma(v[1], old, im));
            x[2 * p] = re;
            x[2 * p + 1] = im;
            out[p % 4] = lanes_fma(-v[2 * SABLE_S4_C + 1], im, lanes_fma(v[2 * SABLE_S4_C], re, out[p % 4]));
            next[p % 4] = lanes_fma(-v[2 * SABLE_S4_V + 1], im, lanes_fma(v[2 * SABLE_S4_V], re, next[p % 4]));
        }
        for (int i = 0; i < 4; i++)
            s[i] = next[i];
        lanes_store_row(y + t * pitch, four(out), count);
    }
}

static void dense(int64_t pitch, int64_t count, int64_t pairs, int64_t steps, const float *factors, const float *matrix,
                  const float *u, lanes d, lanes *x, float *y)
{
    const int64_t order = 2 * pairs;
    lanes *now = x, *next = x + order + S4_TILE;
    for (int64_t t = 0; t < steps; t++) {
        const lanes in = lanes_load_row(u + t * pitch, count);
        lanes out[4] = {d * in, {0}, {0}, {0}};
        for (int64_t i = 0; i < order; i += S4_TILE) {
            const float *m = matrix + i * order * SABLE_KERNEL_BLOCK;
            lanes sum[S4_TILE] = {0};
            for (int64_t j = 0; j < order; j++, m += S4_TILE * SABLE_KERNEL_BLOCK)
                for (int k = 0; k < S4_TILE; k++)
                    sum[k] = lanes_fma(row_of(m, k, count), now[j], sum[k]);
            for (int k = 0; k < S4_TILE && i + k < order; k++) {
                const int part = (int)((i + k) % 2);
                const int64_t p = (i + k) / 2;
                const lanes b = factor(factors, count, p, SABLE_S4_B, part);
                const lanes c = factor(factors, count, p, SABLE_S4_C, part);
                next[i + k] = lanes_fma(b, in, sum[k]);
                out[p % 4] = lanes_fma(part ? -c : c, next[i + k], out[p % 4]);
            }
        }
        lanes *swap = now;
        now = next;
        next = swap;
        lanes_store_row(y + t * pitch, four(out), count);
    }
    if (now != x)
        memcpy(x, now, (size_t)order * sizeof *x);
}

static void load_state(int64_t pitch, int64_t count, int64_t order, const float *state, lanes *x)
{
    for (int64_t n = 0; n < order; n++)
        x[n] = lanes_load_row(state + n * pitch, count);
}

static void store_state(int64_t pitch, int64_t count, int64_t order, const lanes *x, float *state)
{
    for (int64_t n = 0; n < order; n++)
        lanes_store_row(state + n * pitch, x[n], count);
}

void SABLE_ISA_NAME(sable_s4_low_rank)(int64_t pitch, int64_t count, int64_t pairs, int64_t steps, const float *factors,
                                       const float *u, const float *skip, float *state, float *y, float *room)
{
    lanes *x = (lanes *)(void *)room;
    const lanes d = lanes_load_row(skip, count);
    load_state(pitch, count, 2 * pairs, state, x);
    if (count == LANES)
        low_rank(pitch, LANES, pairs, steps, factors, u, d, x, y);
    else
        low_rank(pitch, count, pairs, steps, factors, u, d, x, y);
    store_state(pitch, count, 2 * pairs, x, state);
}

void SABLE_ISA_NAME(sable_s4_dense)(int64_t pitch, int64_t count, int64_t pairs, int64_t steps, const float *factors,
                                    const float *matrix, const float *u, const float *skip, float *state, float *y,
                                    float *room)
{
    lanes *x = (lanes *)(void *)room;
    load_state(pitch, count, 2 * pairs, state, x);
    dense(pitch, count, pairs, steps, factors, matrix, u, lanes_load_row(skip, count), x, y);
    store_state(pitch, count, 2 * pairs, x, state);
}
