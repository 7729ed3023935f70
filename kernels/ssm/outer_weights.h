/* For outer.isa.c: sums of g in a chunk, and the weights of its steps on each other, for one decay a step or one for
 * each key; what it begins with is decayed, too. */
#ifndef SABLE_OUTER_WEIGHTS_H
#define SABLE_OUTER_WEIGHTS_H

#include "lanes_math.h"
#include "outer_isa.h"
#include "outer_product.h"

#if defined(__AVX512F__)
enum { ABREAST = 4 /* rows whose exponentials are made side by side */ };
#else
enum { ABREAST = 2 };
#endif

static inline int64_t to_16(int64_t n)
{
    return (n + 15) / 16 * 16;
}

/* k [steps, pitch] of a chunk to [keys, steps], lanes over steps; whole blocks, so rows up to the next multiple of
 * LANES are read.
 */
static inline void turn(const struct outer_work *w, int64_t steps, const float *k, float *turned)
{
    for (int64_t j = 0; j < steps; j += LANES)
        for (int64_t n = 0; n < w->keys; n += LANES) {
            lanes block[LANES];
            for (int i = 0; i < LANES; i++)
                block[i] = lanes_load(k + (j + i) * w->pitch + n);
            lanes_transpose(block);
            for (int i = 0; i < LANES; i++)
                lanes_store(turned + (n + i) * w->steps + j, block[i]);
        }
}

/* exp(x), and 0 below e^-69 = 2^-99.5: what would be left of a term is far below any rounding, but subnormal numbers
 * cost x86 a hundred cycles each. sable_outer_reference() bounds what is lost. */
static inline lanes decay_of(lanes x)
{
    return lanes_select(x < -69, lanes_all(0), lanes_exp(lanes_at_least(lanes_all(-69), x)));
}

static inline lanes lane_numbers(int64_t first)
{
    static const float numbers[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    return lanes_load(numbers) + lanes_all((float)first);
}

/* ---- One decay for all keys ---- */

static void sums(const struct sable_outer *m, const struct outer_work *w, int64_t at, int64_t steps)
{
    const int64_t padded = to_16(steps);
    double sum = 0;
    for (int64_t t = 0; t < padded; t++) {
        sum += t < steps ? (double)m->decay[at + t * m->heads] : 0;
        w->sum[t] = sum;
    }
    for (int64_t t = 0; t < padded; t++)
        w->a[t] = t >= steps ? 0 : m->weight ? m->weight[at + t * m->heads] : 1;
    for (int64_t t = 0; t < padded; t++) {
        double power = w->sum[t] * 0x1.71547652b82fep+0; /* of 2 */
        w->high[t] = (float)power;
        w->low[t] = (float)(power - (double)w->high[t]);
        w->in[t] = (float)w->sum[t];
        w->out[t] = (float)(sum - w->sum[t] + w->between[0]);
    }
    for (int64_t t = 0; t < padded; t += LANES) {
        lanes_store(w->in + t, decay_of(lanes_load(w->in + t)));
        lanes_store(w->out + t, decay_of(lanes_load(w->out + t)) * lanes_load(w->a + t));
    }
    w->end[0] = steps > 0 ? w->in[steps - 1] : 1;
}

/* The weights of a chunk's steps on each other: scores decayed, with the weights of values; what skips the state joins
 * the diagonal. */
static void weigh(const struct sable_outer *m, const struct outer_work *w, int64_t head, int64_t steps)
{
    const lanes zero = {0};
    for (int64_t t = 0; t < steps; t += ABREAST) {
        const int64_t needed = to_16(t + ABREAST - 1 + TILE_ROWS), end = needed < w->steps ? needed : w->steps;
        float *weights = w->weights + t * w->steps, *scores = w->scores + t * w->steps;
        int64_t j = 0;
        for (; j < t + ABREAST; j += LANES) {
            lanes x[ABREAST], high = lanes_load(w->high + j), low = lanes_load(w->low + j), numbers = lane_numbers(j);
            int_lanes nothing[ABREAST];
#pragma GCC unroll 4
            for (int i = 0; i < ABREAST; i++) {
                x[i] = (lanes_all(w->high[t + i]) - high) + (lanes_all(w->low[t + i]) - low);
                nothing[i] = (x[i] < -99.5F) | (numbers > lanes_all((float)(t + i)));
                x[i] = lanes_at_least(lanes_all(-100), lanes_at_most(lanes_all(0), x[i]));
            }
            lanes_exp2_decays(ABREAST, x, x);
#pragma GCC unroll 4
            for (int i = 0; i < ABREAST; i++) {
                lanes s = lanes_load(scores + i * w->steps + j) * (x[i] * lanes_load(w->a + j));
                lanes_store(weights + i * w->steps + j, lanes_select(nothing[i], zero, s));
            }
        }
        for (; j < end; j += LANES)
            for (int i = 0; i < ABREAST; i++)
                lanes_store(weights + i * w->steps + j, zero);
        for (int64_t i = 0; m->skip && i < ABREAST; i++)
            weights[i * w->steps + t + i] += m->skip[head];
    }
}

/* ---- A decay for each key ---- */

/* to[i] = from[i] · exp(a[i] − b[i]) for a padded row of keys. */
static inline void decay_row(int64_t keys, const float *from, const double *a, const double *b, float *to)
{
    for (int64_t n = 0; n < keys; n++)
        to[n] = (float)(a[n] - b[n]);
    for (int64_t n = 0; n < keys; n += LANES)
        lanes_store(to + n, lanes_load(from + n) * decay_of(lanes_load(to + n)));
}

static void sums_by_key(const struct sable_outer *m, const struct outer_work *w, int64_t at, int64_t steps)
{
    const int64_t keys = w->keys, pitch = w->pitch;
    memset(w->sum, 0, (size_t)keys * sizeof *w->sum);
    for (int64_t t = 0; t < steps; t++) {
        double *sum = w->sum + t * keys;
        const float *g = m->decay + (at + t * m->heads) * m->keys;
        for (int64_t n = 0; n < keys; n++)
            sum[keys + n] = sum[n] + (n < m->keys ? (double)g[n] : 0);
        memset(w->w + t * pitch, 0, (size_t)keys * sizeof *w->w);
        memcpy(w->w + t * pitch, g, (size_t)m->keys * sizeof *g);
        for (int64_t n = 0; n < keys; n += LANES)
            lanes_store(w->w + t * pitch + n, decay_of(lanes_load(w->w + t * pitch + n)));
    }
    const double *last = w->sum + steps * keys;
    for (int64_t t = 0; t < steps; t++)
        decay_row(keys, w->q + t * pitch, w->sum + t * keys, w->sum, w->q_in + t * pitch);
    for (int64_t n = 0; n < keys; n++)
        w->end[n] = (float)last[n];
    for (int64_t n = 0; n < keys; n += LANES)
        lanes_store(w->end + n, decay_of(lanes_load(w->end + n)));
}

/* k to the chunk's end and on by `between`. */
static void keys_to_end(const struct outer_work *w, int64_t steps)
{
    const int64_t keys = w->keys, pitch = w->pitch;
    double *last = w->between + keys;
    for (int64_t n = 0; n < keys; n++)
        last[n] = w->sum[steps * keys + n] + w->between[n];
    for (int64_t t = 0; t < steps; t++)
        decay_row(keys, w->k + t * pitch, last, w->sum + (t + 1) * keys, w->k_out + t * pitch);
}

/* u: what o_t has of its own step, q_t·(u ∘ k_t). */
static float own_step(const struct sable_outer *m, const struct outer_work *w, int64_t head, int64_t t)
{
    const float *q = w->q + t * w->pitch, *k = w->k + t * w->pitch, *u = m->bonus + head * m->keys;
    float sum = 0;
    for (int64_t n = 0; n < m->keys; n++)
        sum = __builtin_fmaf(q[n] * u[n], k[n], sum);
    return sum;
}

/* Steps s ≤ t < s + OUTER_SUB among themselves, lanes over the earlier ones. */
static void weigh_block(const struct sable_outer *m, const struct outer_work *w, int64_t head, int64_t s, int64_t steps)
{
    const int64_t pitch = w->pitch, count = steps - s < OUTER_SUB ? steps - s : OUTER_SUB;
    for (int v = 0; v < OUTER_SUB; v += LANES) {
        lanes sum[OUTER_SUB] = {{0}}, numbers = lane_numbers(v);
        for (int64_t n = 0; n < m->keys; n++) {
            lanes k;
            for (int i = 0; i < LANES; i++)
                k[i] = v + i < count ? w->k[(s + v + i) * pitch + n] : 0;
            for (int64_t t = 0; t < count; t++) {
                sum[t] = lanes_fma(lanes_all(w->q[(s + t) * pitch + n]), k, sum[t]);
                k *= lanes_select(numbers < (float)t, lanes_all(w->w[(s + t) * pitch + n]), lanes_all(1));
            }
        }
        for (int64_t t = 0; t < count; t++)
            lanes_store(w->weights + (s + t) * w->steps + s + v,
                        lanes_select(numbers < (float)t, sum[t], lanes_all(0)));
    }
    for (int64_t t = 0; t < count; t++) {
        float *row = w->weights + (s + t) * w->steps + s;
        row[t] = own_step(m, w, head, s + t);
        if (s + 2 * OUTER_SUB <= w->steps)
            memset(row + OUTER_SUB, 0, OUTER_SUB * sizeof *row);
    }
}

static void weigh_by_key(const struct sable_outer *m, const struct outer_work *w, int64_t head, int64_t steps)
{
    const int64_t keys = w->keys, pitch = w->pitch;
    for (int64_t s = 0; s < steps; s += OUTER_SUB) {
        const int64_t count = steps - s < OUTER_SUB ? steps - s : OUTER_SUB;
        weigh_block(m, w, head, s, steps);
        if (s == 0)
            continue;
        for (int64_t t = s; t < s + count; t++) /* `k_out` is free: room for q of a block and k before it */
            decay_row(keys, w->q + t * pitch, w->sum + t * keys, w->sum + s * keys, w->k_out + t * pitch);
        for (int64_t j = 0; j < s; j++)
            decay_row(keys, w->k + j * pitch, w->sum + s * keys, w->sum + (j + 1) * keys, w->k_out + j * pitch);
        turn(w, s, w->k_out, w->turned);
        const struct product x = {.rows = count,
                                  .columns = s,
                                  .depth = m->keys,
                                  .a = w->k_out + s * pitch,
                                  .a_pitch = pitch,
                                  .b = w->turned,
                                  .b_pitch = w->steps,
                                  .c = w->weights + s * w->steps,
                                  .c_pitch = w->steps};
        product(PRODUCT, FULL, &x);
    }
}

#endif
