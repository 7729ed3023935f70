/* One query a head against a leaf of a cache of keys and values, whose bytes are read once: that bounds it. A group of
 * query heads shares each row that is loaded (GQA), so its products run beside the loads.
 *
 *   s[g][c] = q[g]·k[c],  m = max round(t),  p = 2^(t − m),  l = Σ p,  o[g] = Σ_c p[g][c] v[c],   t = scale·log2(e)·s
 *
 * as attention_block.isa.c does it, but here lanes are channels: K and V lie in rows, and there is one query to a head.
 * A dot product has 16 partial sums (channel d in sum d mod 16), joined with their neighbours at distance 8, 4, 2, 1;
 * for as many keys as there are lanes at a time, which transposes them for nothing.
 *
 * A leaf is read as four strands, key c of each by turns: the prefetchers of four streams keep more lines under way
 * than those of one. In this order l is summed, in 16 partial sums, and o, key after key. So the bits depend on the
 * leaf alone, not on the width of vectors. */
#include "decode_leaf.h"
#include "attention_lanes.h"
#include "attention_weights.h"
#include "decode_streams.h"
#include "decode_sums.h"

#include <math.h>
#include <string.h>

enum {
#if defined(__AVX512F__) /* as many as the registers take */
    DOTS = 16,
    DOT_QUERIES = 8,
    VALUE_QUERIES = 8,
    FEW_QUERIES = 3,
#else
    DOTS = 4,
    DOT_QUERIES = 1,
    VALUE_QUERIES = 4,
    FEW_QUERIES = 1,
#endif
    VALUE_VECTORS = 3,
    VALUE_VECTORS_OF_FEW = 8, /* of FEW_QUERIES: rows of up to 128 channels are read from end to end */
    KEYS_A_PASS = 4,          /* of each strand, taken over all channels; more made it slower */
};

/* ---- Logits ---- */

/* The products of keys c to c + keys, one of each strand by turns from the first rows of both streams on, and some
 * queries; bf16, queries and keys are constants where this is inlined. The 16 partial sums of each are joined to LANES
 * in to[query][key]. q [dim padded / 16][group][16] is at the first of these queries. */
static inline __attribute__((always_inline)) void dots(bool bf16, int queries, int keys, int64_t dim, int64_t group,
                                                       const float *restrict q, struct streams k, struct streams ahead,
                                                       bool asks, int c, float *restrict to)
{
    lanes sum[DOTS][PARTS];
    UNROLL_ALL
    for (int n = 0; n < queries * keys; n++)
        UNROLL
    for (int i = 0; i < PARTS; i++)
        sum[n][i] = (lanes){0};
    for (int64_t at = 0; at < dim; at += DECODE_WIDTH, q += group * DECODE_WIDTH) {
        UNROLL
        for (int j = 0; j < keys && asks; j++)
            ask_for(bf16, row_of(bf16, ahead, (c + j) % DECODE_STRANDS, (c + j) / DECODE_STRANDS), at / LANES);
        UNROLL
        for (int i = 0; i < PARTS; i++) {
            const int64_t d = at + i * LANES, left = dim - d < 0 ? 0 : dim - d;
            lanes y[DOTS];
            UNROLL
            for (int g = 0; g < queries; g++)
                y[g] = load(q + g * DECODE_WIDTH + i * LANES);
            UNROLL
            for (int j = 0; j < keys; j++) {
                const void *row = element(bf16, row_of(bf16, k, (c + j) % DECODE_STRANDS, (c + j) / DECODE_STRANDS), d);
                lanes x = left >= LANES ? load_row(bf16, row) : load_end(bf16, row, left);
                UNROLL
                for (int g = 0; g < queries; g++)
                    sum[g * keys + j][i] = fused(x, y[g], sum[g * keys + j][i]);
            }
        }
    }
    UNROLL
    for (int g = 0; g < queries; g++)
        UNROLL
    for (int j = 0; j < keys; j++)
        store(to + (g * LANES + j) * LANES, folded(sum[g * keys + j]));
}

/* LANES keys, LANES / DECODE_STRANDS of each strand. */
static inline __attribute__((always_inline)) void dots_of(bool bf16, int queries, int64_t dim, int64_t group,
                                                          const float *q, struct streams k, struct streams ahead,
                                                          bool asks, float *to)
{
#define BY(n, keys)                                                                                                    \
    for (int c = 0; c < LANES; c += keys)                                                                              \
        dots(bf16, n, keys, dim, group, q, k, ahead, asks, c, to + c * LANES);                                         \
    break;
    switch (queries) {
#if defined(__AVX512F__)
    case 8:
        BY(8, 2)
    case 7:
        BY(7, 2)
    case 6:
        BY(6, 2)
    case 5:
        BY(5, 2)
    case 4:
        BY(4, 4)
    case 3:
        BY(3, 4)
    case 2:
        BY(2, 8)
    default:
        BY(1, 8)
#else
    default:
        BY(1, 4)
#endif
    }
#undef BY
}

/* The same where some keys do not exist: their logits are −inf. */
static void dots_of_some(const struct decode_leaf *t, int queries, const float *q, int64_t c, float *to)
{
    const int64_t strand = decode_strand(t->keys);
    for (int j = 0; j < LANES; j++) {
        const int64_t key = j % DECODE_STRANDS * strand + c + j / DECODE_STRANDS;
        for (int g = 0; g < queries; g++) {
            lanes sum[PARTS] = {{0}};
            for (int64_t d = 0; d < t->dim && key < t->keys; d += LANES)
                sum[d / LANES % PARTS] =
                    fused(load_end(t->bf16, element(t->bf16, t->k, key * t->pitch + d), least(t->dim - d, LANES)),
                          load(q + d / DECODE_WIDTH * t->queries * DECODE_WIDTH + g * DECODE_WIDTH + d % DECODE_WIDTH),
                          sum[d / LANES % PARTS]);
            store(to + (g * LANES + j) * LANES, key < t->keys ? folded(sum) : splat(-INFINITY));
        }
    }
}

/* p[g][4c + n] = q[g]·k[key c of strand n]; −inf where there is none. */
static inline __attribute__((always_inline)) void logits(bool bf16, const struct decode_leaf *t)
{
    float partial[DOT_QUERIES * LANES * LANES] __attribute__((aligned(64)));
    const int64_t strand = decode_strand(t->keys), step = LANES / DECODE_STRANDS;
    const int64_t whole = t->keys - (DECODE_STRANDS - 1) * strand; /* keys of each strand */
    for (int64_t c = 0; c < strand; c += step) {
        const struct streams k = {element(bf16, t->k, c * t->pitch), t->pitch, strand * t->pitch};
        const struct streams ahead = streams_ahead(bf16, c, strand, t->k, t->pitch, t->v, t->pitch_v);
        for (int g = 0; g < t->queries; g += DOT_QUERIES) {
            int queries = t->queries - g < DOT_QUERIES ? t->queries - g : DOT_QUERIES;
            const float *q = t->q + g * DECODE_WIDTH;
            if (c + step <= whole)
                dots_of(bf16, queries, t->dim, t->queries, q, k, ahead, g == 0, partial);
            else
                dots_of_some(t, queries, q, c, partial);
            for (int i = 0; i < queries; i++)
                store(t->p + (g + i) * strand * DECODE_STRANDS + c * DECODE_STRANDS,
                      sums_of(partial + i * LANES * LANES));
        }
    }
}

static __attribute__((noinline)) void logits_of_floats(const struct decode_leaf *t)
{
    logits(false, t);
}

static __attribute__((noinline)) void logits_of_halves(const struct decode_leaf *t)
{
    logits(true, t);
}

/* ---- Softmax ---- */

static float largest_of(const float *p, int64_t n)
{
    lanes most = splat(-INFINITY);
    for (int64_t c = 0; c < n; c += LANES)
        most = larger(load(p + c), most);
    float m = -INFINITY;
    for (int i = 0; i < LANES; i++)
        m = most[i] > m ? most[i] : m;
    return m;
}

/* p ← 2^(c·p − top) of `count` ≤ STRIP vectors from the `first` on, added to its partial sums [DECODE_WIDTH]. */
static inline __attribute__((always_inline)) void weigh(int count, int64_t first, struct softmax c, lanes top,
                                                        float *restrict p, float *restrict partial, bool wide)
{
    lanes x[STRIP], tops[STRIP];
    UNROLL
    for (int i = 0; i < count; i++) {
        tops[i] = top;
        x[i] = load(p + (first + i) * LANES);
    }
    weights_of(count, c, tops, x, wide);
    UNROLL
    for (int i = 0; i < count; i++) {
        float *sum = partial + (first + i) % PARTS * LANES;
        store(p + (first + i) * LANES, x[i]);
        store(sum, load(sum) + x[i]);
    }
}

/* p ← 2^(c·s − m) in place, for one query; its m and l. */
static void weights(int64_t padded, struct softmax c, float *restrict p, float *restrict node)
{
    const lanes top = larger(rounded(splat(largest_of(p, padded)), c), splat(-FLT_MAX));
    float partial[DECODE_WIDTH] __attribute__((aligned(64))) = {0};
    int64_t first = 0;
    if (top[0] > WIDE || top[0] < -WIDE)
        for (; first < padded / LANES; first++)
            weigh(1, first, c, top, p, partial, true);
    for (; first + STRIP <= padded / LANES; first += STRIP)
        weigh(STRIP, first, c, top, p, partial, false);
    for (; first < padded / LANES; first++)
        weigh(1, first, c, top, p, partial, false);
    node[0] = top[0];
    node[1] = sum_of(partial);
}

/* ---- Values ---- */

/* What a product of weights and values goes over. */
struct mixed {
    int64_t out, group, keys, strands; /* out: floats from a query's o to the next one's */
    const float *p;                    /* [4·keys][group] */
    struct streams v, ahead;
    float *o;
};

/* o[g][d] += Σ p[4c + n][g] v[key c of strand n][d], c < keys, n < strands, for some queries and vectors of channels,
 * the last of which has `rest` channels. */
static inline __attribute__((always_inline)) void mix(bool bf16, int queries, int vectors, int64_t rest, struct mixed m)
{
    lanes sum[VALUE_QUERIES][VALUE_VECTORS_OF_FEW];
    UNROLL
    for (int g = 0; g < queries; g++)
        UNROLL
    for (int i = 0; i < vectors; i++)
        sum[g][i] = load_some(m.o + g * m.out + i * LANES, i == vectors - 1 ? rest : LANES);
    for (int64_t c = 0; c < m.keys; c++)
        for (int64_t n = 0; n < m.strands; n++) {
            const void *v = row_of(bf16, m.v, n, c), *ahead = row_of(bf16, m.ahead, n, c);
            const float *p = m.p + (c * DECODE_STRANDS + n) * m.group;
            lanes x[VALUE_VECTORS_OF_FEW];
            UNROLL
            for (int i = 0; i < vectors; i++)
                x[i] = i == vectors - 1 ? load_end(bf16, element(bf16, v, i * LANES), rest)
                                        : load_row(bf16, element(bf16, v, i * LANES));
            UNROLL
            for (int i = 0; i < vectors; i++)
                ask_for(bf16, ahead, i);
            UNROLL
            for (int g = 0; g < queries; g++) {
                lanes y = splat(p[g]);
                UNROLL
                for (int i = 0; i < vectors; i++)
                    sum[g][i] = fused(x[i], y, sum[g][i]);
            }
        }
    UNROLL
    for (int g = 0; g < queries; g++)
        UNROLL
    for (int i = 0; i < vectors; i++)
        store_some(m.o + g * m.out + i * LANES, sum[g][i], i == vectors - 1 ? rest : LANES);
}

#define MIX_QUERIES(n)                                                                                                 \
    case n:                                                                                                            \
        switch (vectors) {                                                                                             \
        case 1:                                                                                                        \
            mix(bf16, n, 1, rest, m);                                                                                  \
            break;                                                                                                     \
        case 2:                                                                                                        \
            mix(bf16, n, 2, rest, m);                                                                                  \
            break;                                                                                                     \
        default:                                                                                                       \
            mix(bf16, n, 3, rest, m);                                                                                  \
        }                                                                                                              \
        break;

static inline __attribute__((always_inline)) void mix_of(bool bf16, int queries, int vectors, int64_t rest,
                                                         struct mixed m)
{
    if (vectors == VALUE_VECTORS_OF_FEW) {
        if (queries == 1)
            mix(bf16, 1, VALUE_VECTORS_OF_FEW, rest, m);
#if defined(__AVX512F__)
        else if (queries == 2)
            mix(bf16, 2, VALUE_VECTORS_OF_FEW, rest, m);
        else
            mix(bf16, 3, VALUE_VECTORS_OF_FEW, rest, m);
#endif
        return;
    }
    switch (queries) {
        MIX_QUERIES(1)
        MIX_QUERIES(2)
        MIX_QUERIES(3)
        MIX_QUERIES(4)
#if defined(__AVX512F__)
        MIX_QUERIES(5)
        MIX_QUERIES(6)
        MIX_QUERIES(7)
        MIX_QUERIES(8)
#endif
    }
}

static __attribute__((noinline)) void mix_floats(int queries, int vectors, int64_t rest, struct mixed m)
{
    mix_of(false, queries, vectors, rest, m);
}

static __attribute__((noinline)) void mix_halves(int queries, int vectors, int64_t rest, struct mixed m)
{
    mix_of(true, queries, vectors, rest, m);
}

/* Of `left` vectors of a row: as many as fill the registers, the last passes being about even. */
static int64_t vectors_at_once(int queries, int64_t left)
{
    if (queries <= FEW_QUERIES && left >= VALUE_VECTORS_OF_FEW)
        return VALUE_VECTORS_OF_FEW;
    const int64_t passes = (left + VALUE_VECTORS - 1) / VALUE_VECTORS;
    return (left + passes - 1) / passes;
}

/* Keys [c, c + keys) of the first `strands` strands: over all channels before the next ones, so that V is read once. */
static void values_from(const struct decode_leaf *t, int64_t c, int64_t keys, int64_t strands)
{
    const int64_t strand = decode_strand(t->keys), all = (t->dim_v + LANES - 1) / LANES;
    const int64_t out = DECODE_NODE_HEAD + t->dim_v;
    const struct streams ahead = streams_ahead(t->bf16, c, strand, t->v, t->pitch_v, t->next, t->pitch);
    for (int64_t from = 0, to; from < all; from = to) {
        to = from + vectors_at_once(t->queries, all - from);
        const int64_t rest = least(LANES, t->dim_v - (to - 1) * LANES);
        struct mixed m = {out,
                          t->queries,
                          keys,
                          strands,
                          t->p_by_key + c * DECODE_STRANDS * t->queries,
                          {element(t->bf16, t->v, c * t->pitch_v + from * LANES), t->pitch_v, strand * t->pitch_v},
                          {element(t->bf16, ahead.first, from * LANES), ahead.pitch, ahead.apart},
                          t->node + DECODE_NODE_HEAD + from * LANES};
        for (int g = 0; g < t->queries; g += VALUE_QUERIES, m.p += VALUE_QUERIES, m.o += VALUE_QUERIES * out)
            (t->bf16 ? mix_halves : mix_floats)(t->queries - g < VALUE_QUERIES ? t->queries - g : VALUE_QUERIES,
                                                (int)(to - from), rest, m);
    }
}

static void values(const struct decode_leaf *t)
{
    const int64_t strand = decode_strand(t->keys);
    for (int64_t c = 0, keys; c < strand; c += keys) { /* as many strands as reach this far */
        int64_t strands = 1;
        while (strands < DECODE_STRANDS && strands * strand + c < t->keys)
            strands++;
        keys = least(least(KEYS_A_PASS, strand - c), t->keys - (strands - 1) * strand - c);
        if (keys > 0)
            values_from(t, c, keys, strands);
        else
            break;
    }
}

/* ---- A leaf, and two ---- */

void SABLE_ISA_NAME(sable_decode_leaf)(const struct decode_leaf *t)
{
    const struct softmax c = softmax_of(t->scale);
    const int64_t padded = decode_strand(t->keys) * DECODE_STRANDS, pitch = DECODE_NODE_HEAD + t->dim_v;
    memset(t->node, 0, (size_t)(t->queries * pitch) * sizeof *t->node);
    (t->bf16 ? logits_of_halves : logits_of_floats)(t);
    for (int g = 0; g < t->queries; g++)
        weights(padded, c, t->p + g * padded, t->node + g * pitch);
    transpose(t->queries, padded, t->p, padded, t->p_by_key, t->queries);
    values(t);
}

static float power_of(float k)
{
    return times_power(splat(1), splat(k))[0];
}

/* One of the two factors is 1, the other a power of two: a product and a sum round as a multiply-add does. */
void SABLE_ISA_NAME(sable_decode_join)(int64_t queries, int64_t dim_v, float *restrict a, const float *restrict b,
                                       int rescale)
{
    const int64_t pitch = DECODE_NODE_HEAD + dim_v;
    for (int64_t g = 0; g < queries; g++) {
        float *restrict x = a + g * pitch;
        const float *restrict y = b + g * pitch;
        float m = x[0] > y[0] ? x[0] : y[0];
        float fx = rescale ? power_of(x[0] - m) : 1, fy = rescale ? power_of(y[0] - m) : 1;
        x[0] = m;
        for (int64_t d = 1; d < pitch; d++)
            x[d] = x[d] * fx + y[d] * fy;
    }
}
