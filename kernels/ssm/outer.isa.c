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
#include "outer_rows.h"
#include "outer_weights.h"

/* ---- A head's part of a chunk ---- */

/* o += diag(in) q S, or q_in S; to `to`, unless NULL, in m's layout and around the caches. */
static void outputs_of_state(const struct sable_outer *m, const struct outer_work *w, const float *q, int64_t steps,
                             const float *state, float *to)
{
    const float one = 1;
    const struct product x = {.rows = steps,
                              .columns = w->values,
                              .depth = m->keys,
                              .a = m->bonus ? w->q_in : q,
                              .a_pitch = m->bonus ? w->pitch : m->groups * m->keys,
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
                              .a_pitch = w->steps,
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

static void next_state(const struct sable_outer *m, const struct outer_work *w, int64_t steps, bool add,
                       const struct rows_ahead *ahead, float *state)
{
    if (m->bonus) {
        keys_to_end(w, steps);
        turn(w, steps, w->k_out, w->turned);
    }
    const struct product x = {.rows = m->keys,
                              .columns = w->values,
                              .depth = steps,
                              .a = w->turned,
                              .a_pitch = w->steps,
                              .b = decayed_values(m, w, steps),
                              .b_pitch = w->values,
                              .c = state,
                              .c_pitch = w->values,
                              .factor = w->end,
                              .factor_stride = m->bonus ? 1 : 0,
                              .ahead = ahead};
    if (add)
        product(PRODUCT, FULL, &x);
    else
        product(DECAY_AND_ADD, FULL, &x);
}

void SABLE_ISA_NAME(sable_outer_scores)(const struct sable_outer *m, const struct outer_work *w, int64_t sequence,
                                        int64_t group, int64_t begin, int64_t end, float *made)
{
    float *turned = made + w->steps * w->steps;
    load_keys(m, w, sequence, group, begin, end - begin);
    turn(w, end - begin, w->k, turned);
    const struct product x = {.rows = end - begin,
                              .columns = to_16(end - begin),
                              .depth = m->keys,
                              .a = m->q + key_at(m, sequence, group, begin),
                              .a_pitch = m->groups * m->keys,
                              .b = turned,
                              .b_pitch = w->steps,
                              .c = made,
                              .c_pitch = w->steps};
    product(PRODUCT, LOWER_RESULT, &x);
}

/* What the next head reads first, or the first one in the next chunk, which begins with new queries and keys, too, or
 * what was made of these: of them each head asks for its share. */
static void look_ahead(const struct sable_outer *m, const struct outer_work *w, int64_t sequence, int64_t head,
                       int64_t heads, int64_t h, int64_t begin, int64_t end, struct rows_ahead *ahead)
{
    const int64_t steps = end - begin, left = m->length - end < steps ? m->length - end : steps;
    const bool last = h + 1 == head + heads;
    const int64_t at = (sequence * m->length + (last ? end : begin)) * m->heads + (last ? head : h + 1);
    *ahead++ = (struct rows_ahead){.from = m->v + at * m->values,
                                   .rows = last ? left : steps,
                                   .columns = m->values,
                                   .pitch = m->heads * m->values};
    const int64_t from = left * (h - head) / heads, to = left * (h - head + 1) / heads, pitch = m->groups * m->keys;
    const int64_t group = group_of(m, head), key = key_at(m, sequence, group, end + from);
    for (int i = 0; i < (w->made ? 1 : 2); i++)
        *ahead++ =
            (struct rows_ahead){.from = (i ? m->k : m->q) + key, .rows = to - from, .columns = m->keys, .pitch = pitch};
    if (w->made && left > 0) {
        const int64_t rows = w->steps + w->keys, row = rows * (h - head) / heads;
        *ahead++ = (struct rows_ahead){.from = w->made + ((m->groups + group) * rows + row) * w->steps,
                                       .rows = rows * (h - head + 1) / heads - row,
                                       .columns = w->steps,
                                       .pitch = w->steps};
    }
}

static void outputs(const struct sable_outer *m, const struct outer_work *w, int parts, int64_t at, int64_t head,
                    const float *q, int64_t steps, const float *state, float *o)
{
    const bool streams = (parts & OUTER_CARRIED) && whole_lines(m, o) && MOST_VECTORS * LANES >= 16;
    if (parts & OUTER_LOCAL) {
        if (m->bonus)
            weigh_by_key(m, w, head, steps);
        else
            weigh(m, w, head, steps);
        outputs_of_chunk(w, steps);
        if (m->bonus)
            add_skip(m, w, at, head, steps);
    } else if (parts & OUTER_CARRIED)
        load_outputs(m, w, at, steps, o);
    if (parts & OUTER_CARRIED)
        outputs_of_state(m, w, q, steps, state, streams ? o + at * m->values : NULL);
    if ((parts & (OUTER_LOCAL | OUTER_CARRIED)) && !streams)
        store_outputs(m, w, at, steps, o);
}

/* Scores and keys of a group for a chunk: those made before, or in the thread's room. */
static void scores_of_group(const struct sable_outer *m, struct outer_work *w, int parts, int64_t sequence,
                            int64_t group, int64_t begin, int64_t end)
{
    if (m->bonus) {
        load_keys(m, w, sequence, group, begin, end - begin);
        load_queries(m, w, sequence, group, begin, end - begin, w->q);
    } else if (w->made) {
        w->scores = w->made + group * (w->steps + w->keys) * w->steps;
        w->turned = w->scores + w->steps * w->steps;
    } else if (parts & OUTER_LOCAL)
        SABLE_ISA_NAME(sable_outer_scores)(m, w, sequence, group, begin, end, w->scores);
}

void SABLE_ISA_NAME(sable_outer_chunk)(const struct sable_outer *m, const struct outer_work *room, int parts,
                                       int64_t sequence, int64_t head, int64_t heads, int64_t begin, int64_t end,
                                       float *o)
{
    const int64_t steps = end - begin;
    struct outer_work of_group = *room, *const w = &of_group;
    struct rows_ahead ahead[5] = {{0}};
    int64_t group = -1;
    memset(w->between, 0, (size_t)w->keys * sizeof *w->between);
    for (int64_t h = head; h < head + heads; h++) {
        const int64_t at = (sequence * m->length + begin) * m->heads + h;
        float *state = w->state + (h - head) * w->keys * w->values;
        if (group_of(m, h) != group) {
            group = group_of(m, h);
            scores_of_group(m, w, parts, sequence, group, begin, end);
        }
        if (m->bonus) {
            load_weighted_values(m, w, at, steps);
            sums_by_key(m, w, at, steps);
        } else {
            load_values(m, w, at, steps);
            sums(m, w, at, steps);
        }
        outputs(m, w, parts, at, h, m->q + key_at(m, sequence, group, begin), steps, state, o);
        look_ahead(m, w, sequence, head, heads, h, begin, end, ahead);
        if (parts & (OUTER_STATE | OUTER_ADD))
            next_state(m, w, steps, parts & OUTER_ADD, ahead, state);
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
        const float *k = w->k + t * w->pitch + n, *q = w->q + t * w->pitch + n, *decay = w->w + t * w->pitch + n;
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
    load_keys(m, w, sequence, group_of(m, head), begin, steps);
    load_queries(m, w, sequence, group_of(m, head), begin, steps, w->q);
    load_weighted_values(m, w, at, steps);
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
    turn(w, steps, m->bonus ? w->k_out : w->k, w->turned);
    const struct product scores = {.rows = rows,
                                   .columns = to_16(steps),
                                   .depth = m->keys,
                                   .a = w->row_q,
                                   .a_pitch = w->pitch,
                                   .b = w->turned,
                                   .b_pitch = w->steps,
                                   .c = w->scores,
                                   .c_pitch = w->steps};
    const struct product outputs = {.rows = rows,
                                    .columns = w->values,
                                    .depth = steps,
                                    .a = w->scores,
                                    .a_pitch = w->steps,
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
    if (m->bonus)
        memcpy(w->row_q, w->q_in, (size_t)(rows * w->pitch) * sizeof *w->q);
    else
        load_queries(m, w, sequence, group_of(m, head), begin, rows, w->row_q);
    memcpy(w->row_in, w->in, (size_t)rows * sizeof *w->in);
    for (int64_t from = begin - chunk; from >= 0; from -= chunk) {
        const int64_t before = (sequence * m->length + from) * m->heads + head;
        load_keys(m, w, sequence, group_of(m, head), from, chunk);
        if (m->bonus) {
            load_queries(m, w, sequence, group_of(m, head), from, chunk, w->q);
            load_weighted_values(m, w, before, chunk);
            sums_by_key(m, w, before, chunk);
        } else {
            load_values(m, w, before, chunk);
            sums(m, w, before, chunk);
        }
        outputs_of_pair(m, w, rows, chunk);
        for (int64_t n = 0; n < (m->bonus ? w->keys : 1); n++)
            w->between[n] += m->bonus ? w->sum[chunk * w->keys + n] : w->sum[chunk - 1];
    }
    store_outputs(m, w, at, rows, o);
    lanes_stream_end();
}
