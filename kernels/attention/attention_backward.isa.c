/* One leaf of keys against all queries that read it. With lanes for queries as in attention_block.isa.c, three of the
 * five products need no packing:
 *
 *   t[c] = k[c]·q,  w[c] = v[c]·dout − δ,  p = 2^(scale·log2(e)·t − m)·factor,  s = p∘w,  dq += Σ_c k[c] s[c]
 *
 * For the other two, lanes are channels and the elements of p and s, which lie where they are needed, are broadcast:
 *
 *   dv[c] += Σ_r p[c][r] dout[r],  dk[c] += Σ_r s[c][r] q[r]
 *
 * All five are the same update of 6 rows × 4 vectors of accumulators. Sums start at 0 for each block of 64 queries (dk,
 * dv), each tile of keys and each leaf (dq), and are then added up in order: blocks from the last to the first of each
 * head, tiles and leaves ascending. That defines the bits; no width of vectors does. dk and dv of the leaf stay in the
 * cache, dq is transposed and added once a leaf. Bound by multiply-adds: 3·dim + 2·dim_v a pair, and about 19 vector
 * operations for p and s. */
#include "attention_backward.h"

#include <float.h>
#include <math.h>
#include <sched.h>
#include <string.h>

#include "attention_update.h"
#include "attention_weights.h"

enum { PITCH = QUERIES };

/* ---- The product ---- */

struct product {
    struct factors of;
    const float *start; /* [lane]: the sum begins with it, or NULL: with 0 */
    bool add;           /* to c, instead of replacing it */
    float *c;           /* [row][lane], rows `pitch` apart */
    int64_t pitch;
};

static inline __attribute__((always_inline)) void multiply(int rows, int vectors, const struct product *x, int64_t row)
{
    struct factors of = x->of;
    lanes sum[ROWS][STRIP];
    UNROLL
    for (int r = 0; r < rows; r++)
        UNROLL
    for (int i = 0; i < vectors; i++)
        sum[r][i] = x->start ? load(x->start + i * LANES) : (lanes){0};
    of.a += row * of.row_step;
    update(rows, 0, vectors, of, sum);
    UNROLL
    for (int r = 0; r < rows; r++)
        UNROLL
    for (int i = 0; i < vectors; i++) {
        float *to = x->c + (row + r) * x->pitch + i * LANES;
        store(to, x->add ? load(to) + sum[r][i] : sum[r][i]);
    }
}

/* `all` rows of one strip. */
static __attribute__((noinline)) void multiply_strip(int64_t all, int vectors, const struct product *x)
{
    for (int64_t r = 0; r < all; r += ROWS) {
        int rows = all - r < ROWS ? (int)(all - r) : ROWS;
#define CALL(m, n) multiply(m, n, x, r)
        EACH(CALL)
#undef CALL
    }
}

/* Strips of lanes [from, to). */
static void multiply_lanes(int64_t all, int64_t from, int64_t to, struct product x)
{
    const struct product whole = x;
    for (int64_t lane = from; lane < to; lane += STRIP * LANES) {
        int64_t vectors = (to - lane) / LANES;
        x.of.b = whole.of.b + lane, x.c = whole.c + lane;
        x.start = whole.start ? whole.start + lane : NULL;
        multiply_strip(all, vectors < STRIP ? (int)vectors : STRIP, &x);
    }
}

/* ---- The weights ---- */

struct tile {
    int64_t keys;
    const float *k, *v;
    float *dk, *dv;  /* padded rows of the leaf's scratch */
    int32_t visible; /* lane from which on the first key is seen, one more for each further key; 0: no mask */
    int32_t lanes;   /* first lane that is computed with, a multiple of KEY_GROUP: those before see no key */
    bool finite;     /* all that is hidden is finite */
};

/* p ← weights of the logits in p, s ← p∘s, of one vector of queries and `keys` ≤ STRIP keys from j on. */
static inline __attribute__((always_inline)) void weigh_keys(int keys, const struct tile *t, struct softmax c,
                                                             const struct backward_scratch *x, int32_t lane, int64_t j,
                                                             bool wide, bool masked)
{
    const lanes power = load(x->row + lane), factor = load(x->row + QUERIES + lane);
    lanes top[STRIP], weight[STRIP];
    float *p = x->p + j * PITCH + lane, *s = x->s + j * PITCH + lane;
    UNROLL
    for (int i = 0; i < keys; i++) {
        top[i] = power;
        weight[i] = load(p + i * PITCH);
    }
    weights_of(keys, c, top, weight, wide);
    UNROLL
    for (int i = 0; i < keys; i++) {
        weight[i] *= factor;
        lanes product = weight[i] * load(s + i * PITCH);
        if (masked) {
            words seen = indices(lane) >= t->visible + (int32_t)j + i;
            weight[i] = choose(seen, weight[i], splat(0));
            product = choose(seen, product, splat(0));
        }
        store(p + i * PITCH, weight[i]);
        store(s + i * PITCH, product);
    }
}

static inline __attribute__((always_inline)) void weigh(const struct tile *t, struct softmax c,
                                                        const struct backward_scratch *x, bool wide, bool masked)
{
    for (int32_t lane = t->lanes; lane < QUERIES; lane += LANES) {
        int64_t j = 0;
        for (; j + STRIP <= t->keys; j += STRIP)
            weigh_keys(STRIP, t, c, x, lane, j, wide, masked);
        for (; j < t->keys; j++)
            weigh_keys(1, t, c, x, lane, j, wide, masked);
    }
}

static __attribute__((noinline)) void weigh_tile(const struct tile *t, struct softmax c,
                                                 const struct backward_scratch *x)
{
    weigh(t, c, x, false, false);
}

static __attribute__((noinline)) void weigh_masked(const struct tile *t, struct softmax c,
                                                   const struct backward_scratch *x)
{
    weigh(t, c, x, true, true);
}

static __attribute__((noinline)) void weigh_wide(const struct tile *t, struct softmax c,
                                                 const struct backward_scratch *x)
{
    weigh(t, c, x, true, false);
}

/* ---- A tile ---- */

/* Rare: something that is not finite, hidden from some. The same additions, one by one, without what is hidden. */
static __attribute__((noinline)) void gather_seen(const struct backward_leaf *b, const struct tile *t,
                                                  const struct backward_scratch *x)
{
    int64_t dim = backward_padded(b->dim), dim_v = backward_padded(b->dim_v);
    for (int64_t j = 0; j < t->keys; j++)
        for (int64_t d = 0; d < b->dim + b->dim_v; d++) {
            bool of_v = d >= b->dim;
            int64_t e = of_v ? d - b->dim : d;
            float sum = 0, *to = of_v ? t->dv + j * dim_v + e : t->dk + j * dim + e;
            for (int64_t r = t->visible + j; r < QUERIES; r++)
                sum = of_v ? fmaf(x->dout_rows[r * dim_v + e], x->p[j * PITCH + r], sum)
                           : fmaf(x->q_rows[r * dim + e], x->s[j * PITCH + r], sum);
            *to += sum;
        }
    for (int64_t d = 0; d < b->dim; d++)
        for (int64_t r = t->lanes; r < QUERIES; r++) {
            float sum = 0;
            for (int64_t j = 0; j < t->keys && t->visible + j <= r; j++)
                sum = fmaf(t->k[j * b->dim + d], x->s[j * PITCH + r], sum);
            x->dq[d * PITCH + r] += sum;
        }
}

static void add_tile(const struct backward_leaf *b, const struct tile *t, struct softmax c, bool wide,
                     const struct backward_scratch *x)
{
    int64_t dim = backward_padded(b->dim), dim_v = backward_padded(b->dim_v), first = t->lanes;
    multiply_lanes(t->keys, first, QUERIES,
                   (struct product){{b->dim, t->k, b->dim, 1, x->q, PITCH}, NULL, false, x->p, PITCH});
    multiply_lanes(
        t->keys, first, QUERIES,
        (struct product){{b->dim_v, t->v, b->dim_v, 1, x->dout, PITCH}, x->row + 2 * QUERIES, false, x->s, PITCH});
    (t->visible > 0 ? weigh_masked : wide ? weigh_wide : weigh_tile)(t, c, x);
    if (!t->finite) {
        gather_seen(b, t, x);
        return;
    }
    multiply_lanes(
        t->keys, 0, dim_v,
        (struct product){
            {QUERIES - first, x->p + first, PITCH, 1, x->dout_rows + first * dim_v, dim_v}, NULL, true, t->dv, dim_v});
    multiply_lanes(
        t->keys, 0, dim,
        (struct product){
            {QUERIES - first, x->s + first, PITCH, 1, x->q_rows + first * dim, dim}, NULL, true, t->dk, dim});
    multiply_lanes(b->dim, first, QUERIES,
                   (struct product){{t->keys, t->k, 1, b->dim, x->s, PITCH}, NULL, true, x->dq, PITCH});
}

/* ---- A block of queries ---- */

/* Rows [row, row + rows) of q or dout, as floats, filled up with zeros to whole vectors and to a whole block. */
static void pad(const struct backward_leaf *b, int64_t row, int64_t rows, int64_t dim, const void *from, float *to)
{
    int64_t pitch = backward_padded(dim);
    if (dim < pitch || rows < QUERIES)
        memset(to, 0, (size_t)(QUERIES * pitch) * sizeof *to);
    if (b->bf16)
        widen_rows(rows, dim, (const uint16_t *)from + row * (dim + (dim & 1)), to, pitch);
    for (int64_t r = 0; r < rows && !b->bf16; r++)
        memcpy(to + r * pitch, (const float *)from + (row + r) * dim, (size_t)dim * sizeof *to);
}

static void load_block(const struct backward_leaf *b, int64_t row, int64_t rows, const struct backward_scratch *x)
{
    const float *const from[3] = {b->rows.power + row, b->rows.factor + row, b->rows.delta + row};
    pad(b, row, rows, b->dim, b->q, x->q_rows);
    pad(b, row, rows, b->dim_v, b->dout, x->dout_rows);
    transpose(QUERIES, b->dim, x->q_rows, backward_padded(b->dim), x->q, PITCH);
    transpose(QUERIES, b->dim_v, x->dout_rows, backward_padded(b->dim_v), x->dout, PITCH);
    for (int i = 0; i < 3; i++) /* a row that is not there has no weights */
        for (int64_t r = 0; r < QUERIES; r++)
            x->row[i * QUERIES + r] = r < rows ? from[i][r] : i == 0 ? 1e30F : 0;
    memset(x->dq, 0, (size_t)(b->dim * QUERIES) * sizeof(float));
}

/* Is some logit so large that its fraction needs a bound? 1e30 marks rows that see nothing. */
static bool is_wide(const float *power)
{
    int wide = 0;
    for (int r = 0; r < QUERIES; r++)
        wide |= fabsf(power[r]) > WIDE && fabsf(power[r]) < 1e30F;
    return wide;
}

static bool block_is_finite(const struct backward_leaf *b, const struct backward_scratch *x)
{
    return all_finite(x->q_rows, QUERIES * backward_padded(b->dim)) &&
           all_finite(x->dout_rows, QUERIES * backward_padded(b->dim_v)) && all_finite(x->row, 3 * QUERIES);
}

/* dq[row] += scale·dq of the leaf, when it is this leaf's turn. */
static void add_queries(const struct backward_leaf *b, int64_t head, int64_t row, int64_t rows,
                        const struct backward_scratch *x)
{
    int64_t pitch = backward_padded(b->dim);
    transpose(b->dim, QUERIES, x->dq, PITCH, x->q_rows, pitch); /* its room is free now */
    _Atomic int64_t *turn = b->turn + head * ((b->queries + QUERIES - 1) / QUERIES) + row / QUERIES;
    while (atomic_load_explicit(turn, memory_order_acquire) != b->leaf)
        sched_yield();
    float scale = (float)b->scale, *to = b->dq + (head * b->queries + row) * b->dim;
    for (int64_t r = 0; r < rows; r++)
        for (int64_t d = 0; d < b->dim; d++)
            to[r * b->dim + d] += x->q_rows[r * pitch + d] * scale;
    atomic_store_explicit(turn, b->leaf + 1, memory_order_release);
}

/* Of a leaf whose k and v are floats by now. */
static void add_block(const struct backward_leaf *b, int64_t head, int64_t row, struct softmax c,
                      const struct backward_scratch *x)
{
    int64_t rows = least(QUERIES, b->queries - row), at = head * b->queries + row;
    int64_t end = b->causal ? least(b->first + b->keys, row + rows + b->offset) : b->first + b->keys;
    int64_t whole = b->causal ? least(end, row + b->offset + 1) : end; /* seen by all rows */
    int64_t dim = backward_padded(b->dim), dim_v = backward_padded(b->dim_v);
    if (b->first >= end)
        return;
    load_block(b, at, rows, x);
    bool wide = is_wide(x->row), finite = whole < end ? block_is_finite(b, x) : true;
    for (int64_t j = b->first, last; j < end; j = last) {
        bool hidden = j >= whole;
        last = least(hidden ? end : whole, j + (hidden ? KEY_GROUP : KEY_TILE));
        int64_t local = j - b->first, keys = last - j;
        const float *k = (const float *)b->k + local * b->dim, *v = (const float *)b->v + local * b->dim_v;
        int32_t visible = hidden ? (int32_t)(j - row - b->offset) : 0;
        const struct tile t = {
            .keys = keys,
            .k = k,
            .v = v,
            .dk = x->dk + local * dim,
            .dv = x->dv + local * dim_v,
            .visible = visible,
            .lanes = visible / KEY_GROUP * KEY_GROUP,
            .finite = !hidden || (finite && all_finite(k, keys * b->dim) && all_finite(v, keys * b->dim_v)),
        };
        add_tile(b, &t, c, wide, x);
    }
    add_queries(b, head, row, rows, x);
}

/* Without −0, and NaN only as one. */
static void put_keys(int64_t keys, int64_t dim, float scale, const float *from, float *to)
{
    int64_t pitch = backward_padded(dim);
    for (int64_t j = 0; j < keys; j++)
        for (int64_t d = 0; d < dim; d++) {
            float y = from[j * pitch + d] * scale + 0.0F;
            to[j * dim + d] = y == y ? y : NAN;
        }
}

/* The leaf's keys and values, widened once for all queries: in the cache with dk and dv. */
static struct backward_leaf widened_leaf(const struct backward_leaf *b, const struct backward_scratch *x)
{
    struct backward_leaf leaf = *b;
    if (!b->bf16)
        return leaf;
    widen_rows(b->keys, b->dim, b->k, x->k, b->dim);
    widen_rows(b->keys, b->dim_v, b->v, x->v, b->dim_v);
    leaf.k = x->k, leaf.v = x->v;
    return leaf;
}

void SABLE_ISA_NAME(sable_attention_backward_leaf)(const struct backward_leaf *b, const struct backward_scratch *x)
{
    int64_t dim = backward_padded(b->dim), dim_v = backward_padded(b->dim_v);
    struct softmax c = softmax_of(b->scale);
    const struct backward_leaf leaf = widened_leaf(b, x);
    memset(x->dk, 0, (size_t)(b->keys * dim) * sizeof(float));
    memset(x->dv, 0, (size_t)(b->keys * dim_v) * sizeof(float));
    for (int64_t head = 0; head < b->heads; head++)
        for (int64_t row = (b->queries - 1) / QUERIES * QUERIES; row >= 0; row -= QUERIES)
            add_block(&leaf, head, row, c, x);
    put_keys(b->keys, b->dim, (float)b->scale, x->dk, b->dk);
    put_keys(b->keys, b->dim_v, 1, x->dv, b->dv);
}
