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

#include <math.h>
#include <string.h>

enum {
    PARTS = DECODE_WIDTH / LANES,
#if defined(__AVX512F__) /* as many as the registers take */
    DOTS = 16,
    DOT_QUERIES = 4,
    VALUE_QUERIES = 8,
#else
    DOTS = 4,
    DOT_QUERIES = 1,
    VALUE_QUERIES = 4,
#endif
    VALUE_VECTORS = 3,
    AHEAD = 8, /* keys of each strand that are asked for before they are needed, and taken by a pass over channels */
};

#if defined(__clang__)
#define UNROLL_ALL _Pragma("clang loop unroll(full)")
#else
#define UNROLL_ALL _Pragma("GCC unroll 16")
#endif

static inline void ask_for(const float *at)
{
    __builtin_prefetch(at, 0, 2);
}

/* ---- Sums across lanes ---- */

/* Of the two sums a and b, both halved: lanes with bit LANES/2, /4 … clear go on with a, the others with b. */
static inline lanes merge(int distance, lanes a, lanes b)
{
#if defined(__AVX512F__)
    if (distance == 8)
        return _mm512_mask_blend_ps(0xff00, a, b) + _mm512_shuffle_f32x4(a, b, 0x4e);
    if (distance == 4)
        return _mm512_mask_blend_ps(0xf0f0, a, b) +
               __builtin_shufflevector(a, b, 4, 5, 6, 7, 16, 17, 18, 19, 12, 13, 14, 15, 24, 25, 26, 27);
    if (distance == 2)
        return _mm512_mask_blend_ps(0xcccc, a, b) + _mm512_shuffle_ps(a, b, 0x4e);
    return _mm512_mask_blend_ps(0xaaaa, a, b) +
           __builtin_shufflevector(a, b, 1, 16, 3, 18, 5, 20, 7, 22, 9, 24, 11, 26, 13, 28, 15, 30);
#elif defined(__AVX2__)
    if (distance == 4)
        return __builtin_shufflevector(a, b, 0, 1, 2, 3, 12, 13, 14, 15) +
               __builtin_shufflevector(a, b, 4, 5, 6, 7, 8, 9, 10, 11);
    if (distance == 2)
        return __builtin_shufflevector(a, b, 0, 1, 10, 11, 4, 5, 14, 15) +
               __builtin_shufflevector(a, b, 2, 3, 8, 9, 6, 7, 12, 13);
    return __builtin_shufflevector(a, b, 0, 9, 2, 11, 4, 13, 6, 15) +
           __builtin_shufflevector(a, b, 1, 8, 3, 10, 5, 12, 7, 14);
#else
    if (distance == 2)
        return __builtin_shufflevector(a, b, 0, 1, 6, 7) + __builtin_shufflevector(a, b, 2, 3, 4, 5);
    return __builtin_shufflevector(a, b, 0, 5, 2, 7) + __builtin_shufflevector(a, b, 1, 4, 3, 6);
#endif
}

/* Lane i of the result is the sum over the lanes of x[i]. Merging neighbours puts the bits of i in reverse. */
static inline lanes sums_of(const float *x)
{
    lanes y[LANES];
    UNROLL
    for (int i = 0; i < LANES; i++)
        y[i] = load(x + i * LANES);
#if defined(__AVX512F__)
    UNROLL
    for (int i = 0; i < 8; i++)
        y[i] = merge(8, y[2 * i], y[2 * i + 1]);
#endif
#if defined(__AVX2__)
    UNROLL
    for (int i = 0; i < 4; i++)
        y[i] = merge(4, y[2 * i], y[2 * i + 1]);
#endif
    UNROLL
    for (int i = 0; i < 2; i++)
        y[i] = merge(2, y[2 * i], y[2 * i + 1]);
    y[0] = merge(1, y[0], y[1]);
#if defined(__AVX512F__)
    return __builtin_shufflevector(y[0], y[0], 0, 8, 4, 12, 2, 10, 6, 14, 1, 9, 5, 13, 3, 11, 7, 15);
#elif defined(__AVX2__)
    return __builtin_shufflevector(y[0], y[0], 0, 4, 2, 6, 1, 5, 3, 7);
#else
    return __builtin_shufflevector(y[0], y[0], 0, 2, 1, 3);
#endif
}

/* 16 partial sums in LANES. */
static inline lanes folded(const lanes sum[PARTS])
{
#if defined(__AVX512F__)
    return sum[0];
#elif defined(__AVX2__)
    return sum[0] + sum[1];
#else
    return (sum[0] + sum[2]) + (sum[1] + sum[3]);
#endif
}

static inline float sum_of(float x[DECODE_WIDTH])
{
    for (int distance = DECODE_WIDTH / 2; distance > 0; distance /= 2)
        for (int i = 0; i < distance; i++)
            x[i] += x[i + distance];
    return x[0];
}

/* ---- Logits ---- */

/* The products of `turns` keys of each strand and some queries, both constants where this is inlined; the 16 partial
 * sums of each are joined to LANES in to[query][key]. q [dim padded / 16][group][16] is at the first of these queries;
 * strands of K and of what is asked for lie `pitch` and `pitch_ahead` floats apart. */
static inline __attribute__((always_inline)) void dots(int queries, int turns, int64_t dim, int64_t group,
                                                       const float *restrict q, const float *restrict k, int64_t pitch,
                                                       const float *ahead, int64_t pitch_ahead, float *restrict to)
{
    const int keys = turns * DECODE_STRANDS;
    lanes sum[DOTS][PARTS];
    UNROLL_ALL
    for (int n = 0; n < queries * keys; n++)
        UNROLL
    for (int i = 0; i < PARTS; i++)
        sum[n][i] = (lanes){0};
    for (int64_t at = 0; at < dim; at += DECODE_WIDTH, q += group * DECODE_WIDTH) {
        UNROLL
        for (int j = 0; j < keys; j++)
            ask_for(ahead + j % DECODE_STRANDS * pitch_ahead + j / DECODE_STRANDS * dim + at);
        UNROLL
        for (int i = 0; i < PARTS; i++) {
            const int64_t d = at + i * LANES, left = dim - d < 0 ? 0 : dim - d;
            lanes y[DOTS];
            UNROLL
            for (int g = 0; g < queries; g++)
                y[g] = load(q + g * DECODE_WIDTH + i * LANES);
            UNROLL
            for (int j = 0; j < keys; j++) {
                const float *row = k + j % DECODE_STRANDS * pitch + j / DECODE_STRANDS * dim + d;
                lanes x = left >= LANES ? load_loose(row) : load_some(row, left);
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
static void dots_of(int queries, int64_t dim, int64_t group, const float *q, const float *k, int64_t pitch,
                    const float *ahead, int64_t pitch_ahead, float *to)
{
#define BY(n, turns)                                                                                                   \
    for (int c = 0; c < LANES / DECODE_STRANDS; c += turns)                                                            \
        dots(n, turns, dim, group, q, k + c * dim, pitch, ahead + c * dim, pitch_ahead,                                \
             to + c * DECODE_STRANDS * LANES);
#if defined(__AVX512F__)
    if (queries == 4) {
        BY(4, 1)
    } else if (queries == 3) {
        BY(3, 1)
    } else if (queries == 2) {
        BY(2, 2)
    } else {
        BY(1, 2)
    }
#else
    (void)queries;
    BY(1, 1)
#endif
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
                    fused(load_some(t->k + key * t->dim + d, least(t->dim - d, LANES)),
                          load(q + d / DECODE_WIDTH * t->queries * DECODE_WIDTH + g * DECODE_WIDTH + d % DECODE_WIDTH),
                          sum[d / LANES % PARTS]);
            store(to + (g * LANES + j) * LANES, key < t->keys ? folded(sum) : splat(-INFINITY));
        }
    }
}

/* Floats from key `c` of the first strand on, in the array that is read then: behind a strand's last key another one
 * follows. */
static inline const float *asked_for(int64_t c, int64_t strand, const float *now, int64_t dim, const float *then,
                                     int64_t dim_then, int64_t *pitch)
{
    bool here = c + AHEAD < strand;
    *pitch = strand * (here ? dim : dim_then);
    return here ? now + (c + AHEAD) * dim : then + (c + AHEAD - strand) * dim_then;
}

/* p[g][4c + n] = q[g]·k[key c of strand n]; −inf where there is none. */
static void logits(const struct decode_leaf *t)
{
    float partial[DOT_QUERIES * LANES * LANES] __attribute__((aligned(64)));
    const int64_t strand = decode_strand(t->keys), step = LANES / DECODE_STRANDS;
    const int64_t whole = t->keys - (DECODE_STRANDS - 1) * strand; /* keys of each strand */
    for (int64_t c = 0; c < strand; c += step) {
        int64_t pitch;
        const float *ahead = asked_for(c, strand, t->k, t->dim, t->v, t->dim_v, &pitch);
        for (int g = 0; g < t->queries; g += DOT_QUERIES) {
            int queries = t->queries - g < DOT_QUERIES ? t->queries - g : DOT_QUERIES;
            const float *q = t->q + g * DECODE_WIDTH;
            if (c + step <= whole)
                dots_of(queries, t->dim, t->queries, q, t->k + c * t->dim, strand * t->dim, ahead, pitch, partial);
            else
                dots_of_some(t, queries, q, c, partial);
            for (int i = 0; i < queries; i++)
                store(t->p + (g + i) * strand * DECODE_STRANDS + c * DECODE_STRANDS,
                      sums_of(partial + i * LANES * LANES));
        }
    }
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

/* p ← 2^(c·s − m) in place, for one query; its m and l. */
static void weights(int64_t padded, struct softmax c, float *restrict p, float *restrict node)
{
    lanes top = larger(rounded(splat(largest_of(p, padded)), c), splat(-FLT_MAX)), sum[PARTS];
    const bool wide = top[0] > WIDE || top[0] < -WIDE;
    float all[DECODE_WIDTH] __attribute__((aligned(64)));
    UNROLL
    for (int i = 0; i < PARTS; i++)
        sum[i] = (lanes){0};
    for (int64_t j = 0; j < padded; j += DECODE_WIDTH)
        UNROLL
    for (int i = 0; i < PARTS; i++) {
        lanes n, f = fraction(load(p + j + i * LANES), c, &n);
        if (wide)
            f = smaller(larger(splat(-0.75F), f), splat(0.75F));
        lanes x = times_power(power_of_fraction(f), n - top);
        store(p + j + i * LANES, x);
        sum[i] += x;
    }
    for (int i = 0; i < PARTS; i++)
        store(all + i * LANES, sum[i]);
    node[0] = top[0];
    node[1] = sum_of(all);
}

/* ---- Values ---- */

/* What a product of weights and values goes over. */
struct mixed {
    int64_t dim, group, keys, strands;
    const float *p, *v, *ahead; /* p [4·keys][group]; strands of v and of what is asked for … */
    int64_t pitch, pitch_ahead; /* … lie so many floats apart */
    float *o;
};

/* o[g][d] += Σ p[4c + n][g] v[key c of strand n][d], c < keys, n < strands, for some queries and vectors of channels,
 * the last of which has `rest` channels. */
static inline __attribute__((always_inline)) void mix(int queries, int vectors, int64_t rest, struct mixed m)
{
    const int64_t out = DECODE_NODE_HEAD + m.dim;
    lanes sum[VALUE_QUERIES][VALUE_VECTORS];
    UNROLL
    for (int g = 0; g < queries; g++)
        UNROLL
    for (int i = 0; i < vectors; i++)
        sum[g][i] = load_some(m.o + g * out + i * LANES, i == vectors - 1 ? rest : LANES);
    for (int64_t c = 0; c < m.keys; c++)
        for (int64_t n = 0; n < m.strands; n++) {
            const float *v = m.v + n * m.pitch + c * m.dim, *p = m.p + (c * DECODE_STRANDS + n) * m.group;
            const float *ahead = m.ahead + n * m.pitch_ahead + c * m.dim;
            lanes x[VALUE_VECTORS];
            UNROLL
            for (int i = 0; i < vectors; i++)
                x[i] = i == vectors - 1 ? load_some(v + i * LANES, rest) : load_loose(v + i * LANES);
            UNROLL
            for (int i = 0; i < vectors; i++)
                ask_for(ahead + i * LANES);
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
        store_some(m.o + g * out + i * LANES, sum[g][i], i == vectors - 1 ? rest : LANES);
}

#define MIX_QUERIES(n)                                                                                                 \
    case n:                                                                                                            \
        switch (vectors) {                                                                                             \
        case 1:                                                                                                        \
            mix(n, 1, rest, m);                                                                                        \
            break;                                                                                                     \
        case 2:                                                                                                        \
            mix(n, 2, rest, m);                                                                                        \
            break;                                                                                                     \
        default:                                                                                                       \
            mix(n, 3, rest, m);                                                                                        \
        }                                                                                                              \
        break;

static __attribute__((noinline)) void mix_of(int queries, int vectors, int64_t rest, struct mixed m)
{
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

/* Keys [c, c + keys) of the first `strands` strands: over all channels before the next ones, so that V is read once. */
static void values_from(const struct decode_leaf *t, int64_t c, int64_t keys, int64_t strands)
{
    const int64_t strand = decode_strand(t->keys), all = (t->dim_v + LANES - 1) / LANES;
    const int64_t passes = (all + VALUE_VECTORS - 1) / VALUE_VECTORS;
    int64_t pitch;
    const float *ahead = asked_for(c, strand, t->v, t->dim_v, t->next, t->dim, &pitch);
    for (int64_t pass = 0; pass < passes; pass++) {
        const int64_t from = pass * all / passes, to = (pass + 1) * all / passes;
        const int64_t rest = least(LANES, t->dim_v - (to - 1) * LANES);
        for (int g = 0; g < t->queries; g += VALUE_QUERIES)
            mix_of(t->queries - g < VALUE_QUERIES ? t->queries - g : VALUE_QUERIES, (int)(to - from), rest,
                   (struct mixed){.dim = t->dim_v,
                                  .group = t->queries,
                                  .keys = keys,
                                  .strands = strands,
                                  .p = t->p_by_key + c * DECODE_STRANDS * t->queries + g,
                                  .v = t->v + c * t->dim_v + from * LANES,
                                  .pitch = strand * t->dim_v,
                                  .ahead = ahead + from * LANES,
                                  .pitch_ahead = pitch,
                                  .o = t->node + g * (DECODE_NODE_HEAD + t->dim_v) + DECODE_NODE_HEAD + from * LANES});
    }
}

static void values(const struct decode_leaf *t)
{
    const int64_t strand = decode_strand(t->keys);
    for (int64_t c = 0, keys; c < strand; c += keys) { /* as many strands as reach this far */
        int64_t strands = 1;
        while (strands < DECODE_STRANDS && strands * strand + c < t->keys)
            strands++;
        keys = least(least(AHEAD, strand - c), t->keys - (strands - 1) * strand - c);
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
    logits(t);
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
