/* A chunk of Q steps of S_t = diag(w_t) S_{t−1} + k_t v_tᵀ as matrix products (SSD; GLA's chunks for decays by key):
 *
 *   scores     s[t, j] = q_t·k_j, shared by the heads of a group; weights G = s ∘ exp(sums of g from j to t), j ≤ t
 *   outputs    o = G v + diag(exp(sums from the start)) q S             S is what the chunk begins with
 *   states     S ← exp(sum of the chunk) S + kᵀ (exp(sums to the end) v)
 *
 * Sums of g are float64, and differences of them float: nothing is divided by a decay, so none is too strong. With
 * decays by key, s is made by blocks of OUTER_SUB steps: k is decayed up to the start of the block of t, q from there;
 * within a block decays are multiplied up step by step. 4 flops an update and little besides: bounded by arithmetic. */
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

static inline int64_t group_of(const struct sable_outer *m, int64_t head)
{
    return (head + m->group_offset) / m->group_heads;
}

/* Rows of `from` (`pitch` apart) to padded rows of `to`. */
static inline void pad(int64_t rows, int64_t columns, const float *from, int64_t pitch, float *to, int64_t padded)
{
    for (int64_t i = 0; i < rows; i++)
        memcpy(to + i * padded, from + i * pitch, (size_t)columns * sizeof *to);
}

/* k [steps, N] of a chunk with lanes over steps. */
static inline void turn(const struct outer_work *w, int64_t steps, int64_t keys, const float *k, int64_t pitch)
{
    for (int64_t j = 0; j < steps; j++)
        for (int64_t n = 0; n < keys; n++)
            w->turned[n * w->steps + j] = k[j * pitch + n];
}

/* exp(x), and 0 below e^-69 = 2^-99.5: what would be left of a term is far below any rounding, but subnormal numbers
 * cost x86 a hundred cycles each. sable_outer_reference() bounds what is lost. */
static inline lanes decay_of(lanes x)
{
    return lanes_select(x < -69, lanes_all(0), lanes_exp(lanes_at_least(lanes_all(-69), x)));
}

static inline lanes lane_numbers(int64_t first)
{
    lanes x;
    for (int i = 0; i < LANES; i++)
        x[i] = (float)(first + i);
    return x;
}

/* ---- One decay for all keys ---- */

static void sums(const struct sable_outer *m, const struct outer_work *w, int64_t at, int64_t steps)
{
    double sum = 0;
    for (int64_t t = 0; t < steps; t++) {
        sum += (double)m->decay[at + t * m->heads];
        w->sum[t] = sum;
        double power = sum * 0x1.71547652b82fep+0; /* of 2 */
        w->high[t] = (float)power;
        w->low[t] = (float)(power - (double)w->high[t]);
    }
    for (int64_t t = 0; t < w->steps; t++) {
        w->in[t] = t < steps ? (float)w->sum[t] : 0;
        w->out[t] = t < steps ? (float)(sum - w->sum[t] + w->between[0]) : 0;
    }
    for (int64_t t = 0; t < w->steps; t += LANES) {
        lanes_store(w->in + t, decay_of(lanes_load(w->in + t)));
        lanes_store(w->out + t, decay_of(lanes_load(w->out + t)));
    }
    w->end[0] = steps > 0 ? w->in[steps - 1] : 1;
}

/* Values lie in short rows far apart, which hardware does not see coming: those of the next head are asked for. */
static inline void fetch_values(const struct sable_outer *m, int64_t at, int64_t steps)
{
    for (int64_t t = 0; t < steps; t++)
        for (int64_t p = 0; p < m->values; p += 16)
            __builtin_prefetch(m->v + (at + t * m->heads) * m->values + p, 0, 2);
}

/* Values of `next` (< 0: none) are asked for a few at a time: all at once would wait for memory. */
static void weigh(const struct sable_outer *m, const struct outer_work *w, int64_t steps, int64_t next)
{
    for (int64_t t = 0; t < steps; t += ABREAST) {
        if (next >= 0)
            fetch_values(m, next + t * m->heads, steps - t < ABREAST ? steps - t : ABREAST);
        const int64_t needed = to_16(t + ABREAST - 1 + TILE_ROWS), end = needed < w->steps ? needed : w->steps;
        for (int64_t j = 0; j < end; j += LANES) {
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
                lanes s = lanes_load(w->scores + (t + i) * w->steps + j);
                lanes_store(w->weights + (t + i) * w->steps + j, lanes_select(nothing[i], lanes_all(0), s * x[i]));
            }
        }
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
    const int64_t keys = w->keys;
    memset(w->sum, 0, (size_t)keys * sizeof *w->sum);
    for (int64_t t = 0; t < steps; t++) {
        double *sum = w->sum + t * keys;
        const float *g = m->decay + (at + t * m->heads) * m->keys;
        for (int64_t n = 0; n < keys; n++)
            sum[keys + n] = sum[n] + (n < m->keys ? (double)g[n] : 0);
        memset(w->w + t * keys, 0, (size_t)keys * sizeof *w->w);
        memcpy(w->w + t * keys, g, (size_t)m->keys * sizeof *g);
        for (int64_t n = 0; n < keys; n += LANES)
            lanes_store(w->w + t * keys + n, decay_of(lanes_load(w->w + t * keys + n)));
    }
    const double *last = w->sum + steps * keys;
    for (int64_t t = 0; t < steps; t++)
        decay_row(keys, w->q + t * keys, w->sum + t * keys, w->sum, w->q_in + t * keys);
    for (int64_t n = 0; n < keys; n++)
        w->end[n] = (float)last[n];
    for (int64_t n = 0; n < keys; n += LANES)
        lanes_store(w->end + n, decay_of(lanes_load(w->end + n)));
}

/* k to the chunk's end and on by `between`. */
static void keys_to_end(const struct outer_work *w, int64_t steps)
{
    const int64_t keys = w->keys;
    double *last = w->between + keys;
    for (int64_t n = 0; n < keys; n++)
        last[n] = w->sum[steps * keys + n] + w->between[n];
    for (int64_t t = 0; t < steps; t++)
        decay_row(keys, w->k + t * keys, last, w->sum + (t + 1) * keys, w->k_out + t * keys);
}

/* u: what o_t has of its own step, q_t·(u ∘ k_t). */
static float own_step(const struct sable_outer *m, const struct outer_work *w, int64_t head, int64_t t)
{
    const float *q = w->q + t * w->keys, *k = w->k + t * w->keys, *u = m->bonus + head * m->keys;
    float sum = 0;
    for (int64_t n = 0; n < m->keys; n++)
        sum = __builtin_fmaf(q[n] * u[n], k[n], sum);
    return sum;
}

/* Steps s ≤ t < s + OUTER_SUB among themselves, lanes over the earlier ones. */
static void weigh_block(const struct sable_outer *m, const struct outer_work *w, int64_t head, int64_t s, int64_t steps)
{
    const int64_t keys = w->keys, count = steps - s < OUTER_SUB ? steps - s : OUTER_SUB;
    for (int v = 0; v < OUTER_SUB; v += LANES) {
        lanes sum[OUTER_SUB] = {{0}}, numbers = lane_numbers(v);
        for (int64_t n = 0; n < m->keys; n++) {
            lanes k;
            for (int i = 0; i < LANES; i++)
                k[i] = v + i < count ? w->k[(s + v + i) * keys + n] : 0;
            for (int64_t t = 0; t < count; t++) {
                sum[t] = lanes_fma(lanes_all(w->q[(s + t) * keys + n]), k, sum[t]);
                k *= lanes_select(numbers < (float)t, lanes_all(w->w[(s + t) * keys + n]), lanes_all(1));
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
    const int64_t keys = w->keys;
    for (int64_t s = 0; s < steps; s += OUTER_SUB) {
        const int64_t count = steps - s < OUTER_SUB ? steps - s : OUTER_SUB;
        weigh_block(m, w, head, s, steps);
        if (s == 0)
            continue;
        for (int64_t t = s; t < s + count; t++) /* `k_out` is free: room for q of a block and k before it */
            decay_row(keys, w->q + t * keys, w->sum + t * keys, w->sum + s * keys, w->k_out + t * keys);
        for (int64_t j = 0; j < s; j++)
            decay_row(keys, w->k + j * keys, w->sum + s * keys, w->sum + (j + 1) * keys, w->k_out + j * keys);
        turn(w, s, m->keys, w->k_out, keys);
        const struct product x = {.rows = count,
                                  .columns = s,
                                  .depth = m->keys,
                                  .a = w->k_out + s * keys,
                                  .row_stride = keys,
                                  .depth_stride = 1,
                                  .b = w->turned,
                                  .b_pitch = w->steps,
                                  .c = w->weights + s * w->steps,
                                  .c_pitch = w->steps};
        product(PRODUCT, FULL, &x);
    }
}

/* ---- A head's part of a chunk ---- */

static void load_values(const struct sable_outer *m, const struct outer_work *w, int64_t at, int64_t steps)
{
    for (int64_t t = 0; t < steps; t++) {
        const float *v = m->v + (at + t * m->heads) * m->values;
        float weight = m->weight ? m->weight[at + t * m->heads] : 1, *to = w->v + t * w->values;
        for (int64_t p = 0; p < m->values; p++)
            to[p] = weight * v[p];
    }
    memset(w->v + steps * w->values, 0, (size_t)((w->steps - steps) * w->values) * sizeof *w->v);
}

static void load_keys(const struct sable_outer *m, const struct outer_work *w, int64_t sequence, int64_t head,
                      int64_t begin, int64_t steps)
{
    const int64_t at = ((sequence * m->length + begin) * m->groups + group_of(m, head)) * m->keys;
    pad(steps, m->keys, m->q + at, m->groups * m->keys, w->q, w->keys);
    pad(steps, m->keys, m->k + at, m->groups * m->keys, w->k, w->keys);
}

static void load_outputs(const struct sable_outer *m, const struct outer_work *w, int64_t at, int64_t steps,
                         const float *o)
{
    pad(steps, m->values, o + at * m->values, m->heads * m->values, w->o, w->values);
}

static inline bool whole_lines(const struct sable_outer *m, const float *o)
{
    return m->values % 16 == 0 && (uintptr_t)o % 64 == 0;
}

/* Around the caches where rows are whole lines: nobody here reads them again soon. */
static void store_outputs(const struct sable_outer *m, const struct outer_work *w, int64_t at, int64_t steps, float *o)
{
    const bool lines = whole_lines(m, o);
    for (int64_t t = 0; t < steps; t++) {
        float *to = o + (at + t * m->heads) * m->values;
        const float *from = w->o + t * w->values;
        if (!lines)
            memcpy(to, from, (size_t)m->values * sizeof *o);
        else
            for (int64_t p = 0; p < m->values; p += LANES)
                lanes_stream(to + p, lanes_load(from + p));
    }
}

static void add_skip(const struct sable_outer *m, const struct outer_work *w, int64_t at, int64_t head, int64_t steps)
{
    for (int64_t t = 0; m->skip && t < steps; t++)
        for (int64_t p = 0; p < m->values; p++) {
            float *o = &w->o[t * w->values + p];
            *o += m->skip[head] * m->v[(at + t * m->heads) * m->values + p];
        }
}

/* o += diag(in) q S, or q_in S; to `to`, unless NULL, in m's layout and around the caches. */
static void outputs_of_state(const struct sable_outer *m, const struct outer_work *w, int64_t steps, const float *state,
                             float *to)
{
    const float one = 1;
    const struct product x = {.rows = steps,
                              .columns = w->values,
                              .depth = m->keys,
                              .a = m->bonus ? w->q_in : w->q,
                              .row_stride = w->keys,
                              .depth_stride = 1,
                              .b = state,
                              .b_pitch = w->values,
                              .c = w->o,
                              .c_pitch = w->values,
                              .factor = m->bonus ? &one : w->in,
                              .factor_stride = m->bonus ? 0 : 1,
                              .to = to,
                              .to_pitch = m->heads * m->values};
    if (to)
        product(SCALE_ADD_STREAM, FULL, &x);
    else
        product(SCALE_AND_ADD, FULL, &x);
}

static void outputs_of_chunk(const struct outer_work *w, int64_t steps)
{
    const struct product x = {.rows = steps,
                              .columns = w->values,
                              .depth = steps,
                              .a = w->weights,
                              .row_stride = w->steps,
                              .depth_stride = 1,
                              .b = w->v,
                              .b_pitch = w->values,
                              .c = w->o,
                              .c_pitch = w->values};
    product(PRODUCT, LOWER, &x);
}

/* v decayed to the end; with decays by key k is. */
static const float *decayed_values(const struct sable_outer *m, const struct outer_work *w, int64_t steps)
{
    if (m->bonus)
        return w->v;
    for (int64_t t = 0; t < steps; t++)
        for (int64_t p = 0; p < w->values; p += LANES)
            lanes_store(w->decayed + t * w->values + p, w->out[t] * lanes_load(w->v + t * w->values + p));
    return w->decayed;
}

static void next_state(const struct sable_outer *m, const struct outer_work *w, int64_t steps, bool add, float *state)
{
    if (m->bonus)
        keys_to_end(w, steps);
    const struct product x = {.rows = m->keys,
                              .columns = w->values,
                              .depth = steps,
                              .a = m->bonus ? w->k_out : w->turned, /* k by rows would crowd a few sets of L1 */
                              .row_stride = m->bonus ? 1 : w->steps,
                              .depth_stride = m->bonus ? w->keys : 1,
                              .b = decayed_values(m, w, steps),
                              .b_pitch = w->values,
                              .c = state,
                              .c_pitch = w->values,
                              .factor = w->end,
                              .factor_stride = m->bonus ? 1 : 0};
    if (add)
        product(PRODUCT, FULL, &x);
    else
        product(DECAY_AND_ADD, FULL, &x);
}

static void scores_of_group(const struct sable_outer *m, const struct outer_work *w, int64_t steps)
{
    turn(w, steps, m->keys, w->k, w->keys);
    const struct product x = {.rows = steps,
                              .columns = to_16(steps),
                              .depth = m->keys,
                              .a = w->q,
                              .row_stride = w->keys,
                              .depth_stride = 1,
                              .b = w->turned,
                              .b_pitch = w->steps,
                              .c = w->scores,
                              .c_pitch = w->steps};
    product(PRODUCT, LOWER_RESULT, &x);
}

void SABLE_ISA_NAME(sable_outer_chunk)(const struct sable_outer *m, const struct outer_work *w, int parts,
                                       int64_t sequence, int64_t head, int64_t heads, int64_t begin, int64_t end,
                                       float *o)
{
    const int64_t steps = end - begin;
    int64_t group = -1;
    memset(w->between, 0, (size_t)w->keys * sizeof *w->between);
    for (int64_t h = head; h < head + heads; h++) {
        const int64_t at = (sequence * m->length + begin) * m->heads + h;
        float *state = w->state + (h - head) * w->keys * w->values;
        if (group_of(m, h) != group) {
            load_keys(m, w, sequence, h, begin, steps);
            if (!m->bonus && (parts & OUTER_LOCAL))
                scores_of_group(m, w, steps);
            group = group_of(m, h);
        }
        load_values(m, w, at, steps);
        /* of the next head, or of the first one in the next chunk */
        const int64_t next = h + 1 < head + heads       ? at + 1
                             : end + steps <= m->length ? (sequence * m->length + end) * m->heads + head
                                                        : -1;
        const bool weighs = !m->bonus && (parts & OUTER_LOCAL);
        if (!weighs && next >= 0)
            fetch_values(m, next, steps);
        if (m->bonus)
            sums_by_key(m, w, at, steps);
        else
            sums(m, w, at, steps);
        if (parts & OUTER_LOCAL) {
            if (m->bonus)
                weigh_by_key(m, w, h, steps);
            else
                weigh(m, w, steps, next);
            outputs_of_chunk(w, steps);
            add_skip(m, w, at, h, steps);
        } else if (parts & OUTER_CARRIED)
            load_outputs(m, w, at, steps, o);
        const bool streams = (parts & OUTER_CARRIED) && whole_lines(m, o) && MOST_VECTORS * LANES >= 16;
        if (parts & OUTER_CARRIED)
            outputs_of_state(m, w, steps, state, streams ? o + at * m->values : NULL);
        if ((parts & (OUTER_LOCAL | OUTER_CARRIED)) && !streams)
            store_outputs(m, w, at, steps, o);
        if (parts & (OUTER_STATE | OUTER_ADD))
            next_state(m, w, steps, parts & OUTER_ADD, state);
    }
    lanes_stream_end();
}

void SABLE_ISA_NAME(sable_outer_link)(const struct sable_outer *m, const double *sum, float *add, float *state)
{
    float decay[LANES];
    for (int64_t n = 0; n < m->keys; n++) {
        lanes_store(decay, decay_of(lanes_all((float)sum[m->bonus ? n : 0])));
        for (int64_t p = 0; p < m->values; p++) {
            float *to = &add[n * m->values + p], *now = &state[n * m->values + p], seed = *now;
            *now = __builtin_fmaf(decay[0], seed, *to);
            *to = seed;
        }
    }
}

/* ---- Step by step ---- */

enum { HELD = 4 /* keys whose states stay in registers for all steps of a block */ };

static inline __attribute__((always_inline)) void advance(bool by_key, int vectors, const struct outer_work *w,
                                                          int64_t steps, int64_t n, int64_t column)
{
    lanes s[HELD][MOST_VECTORS];
    float *state = w->state + n * w->values + column;
#pragma GCC unroll 4
    for (int i = 0; i < HELD; i++)
#pragma GCC unroll 4
        for (int j = 0; j < vectors; j++)
            s[i][j] = lanes_load(state + i * w->values + j * LANES);
    for (int64_t t = 0; t < steps; t++) {
        const float *k = w->k + t * w->keys + n, *q = w->q + t * w->keys + n, *decay = w->w + t * w->keys + n;
        const float *v = w->v + t * w->values + column;
        float *o = w->o + t * w->values + column;
#pragma GCC unroll 4
        for (int j = 0; j < vectors; j++) {
            lanes value = lanes_load(v + j * LANES), out = lanes_load(o + j * LANES);
#pragma GCC unroll 4
            for (int i = 0; i < HELD; i++) {
                lanes old = s[i][j];
                s[i][j] = lanes_fma(lanes_all(k[i]), value, (by_key ? decay[i] : w->in[t]) * old);
                out = lanes_fma(lanes_all(q[i]), by_key ? old : s[i][j], out);
            }
            lanes_store(o + j * LANES, out);
        }
    }
#pragma GCC unroll 4
    for (int i = 0; i < HELD; i++)
#pragma GCC unroll 4
        for (int j = 0; j < vectors; j++)
            lanes_store(state + i * w->values + j * LANES, s[i][j]);
}

static inline __attribute__((always_inline)) void all_states(bool by_key, const struct outer_work *w, int64_t steps)
{
    for (int64_t n = 0; n < w->keys; n += HELD) {
        int64_t p = 0;
        for (; p + MOST_VECTORS * LANES <= w->values; p += MOST_VECTORS * LANES)
            advance(by_key, MOST_VECTORS, w, steps, n, p);
        for (; p < w->values; p += LANES)
            advance(by_key, 1, w, steps, n, p);
    }
}

void SABLE_ISA_NAME(sable_outer_steps)(const struct sable_outer *m, const struct outer_work *w, int64_t sequence,
                                       int64_t head, int64_t begin, int64_t end, float *o)
{
    const int64_t steps = end - begin, at = (sequence * m->length + begin) * m->heads + head;
    load_keys(m, w, sequence, head, begin, steps);
    load_values(m, w, at, steps);
    memset(w->o, 0, (size_t)(steps * w->values) * sizeof *w->o);
    if (m->bonus) {
        sums_by_key(m, w, at, steps);
        for (int64_t t = 0; t < steps; t++) {
            float own = own_step(m, w, head, t);
            for (int64_t p = 0; p < w->values; p++)
                w->o[t * w->values + p] = own * w->v[t * w->values + p];
        }
        all_states(true, w, steps);
    } else {
        for (int64_t t = 0; t < w->steps; t++)
            w->in[t] = t < steps ? m->decay[at + t * m->heads] : 0;
        for (int64_t t = 0; t < w->steps; t += LANES)
            lanes_store(w->in + t, decay_of(lanes_load(w->in + t)));
        all_states(false, w, steps);
    }
    add_skip(m, w, at, head, steps);
    store_outputs(m, w, at, steps, o);
    lanes_stream_end();
}

/* ---- Without a state ---- */

/* o of the rows += what a chunk before them gives, decayed to their start; `row_q`, `row_in` are theirs. */
static void outputs_of_pair(const struct sable_outer *m, const struct outer_work *w, int64_t rows, int64_t steps)
{
    const float one = 1;
    const float *values = decayed_values(m, w, steps);
    if (m->bonus)
        keys_to_end(w, steps);
    turn(w, steps, m->keys, m->bonus ? w->k_out : w->k, w->keys);
    const struct product scores = {.rows = rows,
                                   .columns = to_16(steps),
                                   .depth = m->keys,
                                   .a = w->row_q,
                                   .row_stride = w->keys,
                                   .depth_stride = 1,
                                   .b = w->turned,
                                   .b_pitch = w->steps,
                                   .c = w->scores,
                                   .c_pitch = w->steps};
    const struct product outputs = {.rows = rows,
                                    .columns = w->values,
                                    .depth = steps,
                                    .a = w->scores,
                                    .row_stride = w->steps,
                                    .depth_stride = 1,
                                    .b = values,
                                    .b_pitch = w->values,
                                    .c = w->o,
                                    .c_pitch = w->values,
                                    .factor = m->bonus ? &one : w->row_in,
                                    .factor_stride = m->bonus ? 0 : 1};
    product(PRODUCT, FULL, &scores);
    product(SCALE_AND_ADD, FULL, &outputs);
}

void SABLE_ISA_NAME(sable_outer_pairs)(const struct sable_outer *m, const struct outer_work *w, int64_t sequence,
                                       int64_t head, int64_t begin, int64_t end, int64_t chunk, float *o)
{
    const int64_t rows = end - begin, at = (sequence * m->length + begin) * m->heads + head;
    SABLE_ISA_NAME(sable_outer_chunk)(m, w, OUTER_LOCAL, sequence, head, 1, begin, end, o);
    memcpy(w->row_q, m->bonus ? w->q_in : w->q, (size_t)(rows * w->keys) * sizeof *w->q);
    memcpy(w->row_in, w->in, (size_t)rows * sizeof *w->in);
    for (int64_t from = begin - chunk; from >= 0; from -= chunk) {
        const int64_t before = (sequence * m->length + from) * m->heads + head;
        load_keys(m, w, sequence, head, from, chunk);
        load_values(m, w, before, chunk);
        if (m->bonus)
            sums_by_key(m, w, before, chunk);
        else
            sums(m, w, before, chunk);
        outputs_of_pair(m, w, rows, chunk);
        for (int64_t n = 0; n < (m->bonus ? w->keys : 1); n++)
            w->between[n] += m->bonus ? w->sum[chunk * w->keys + n] : w->sum[chunk - 1];
    }
    store_outputs(m, w, at, rows, o);
    lanes_stream_end();
}
