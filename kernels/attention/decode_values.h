/* Values of a leaf, summed by their weights; for decode_leaf.isa.c only. */
#ifndef DECODE_VALUES_H
#define DECODE_VALUES_H

#include "decode_streams.h"

enum {
#if defined(__AVX512F__) /* as many as the registers take */
    VALUE_QUERIES = 8,
#else
    VALUE_QUERIES = 4,
#endif
    VALUE_VECTORS = 3,
    VALUE_VECTORS_OF_FEW = 8, /* of FEW_QUERIES */
};

/* What a product of weights and values goes over: keys / 4 rows of all strands. */
struct mixed {
    int64_t keys, out, group; /* floats from a query's o to the next one's; queries of a tile */
    const float *p;           /* [keys / 16][group][16] */
    struct streams v;
    const void *ahead; /* read later: its lines in order, some with each row */
    int64_t ahead_apart;
    float *o;
};

/* o[g][d] += Σ p[c / 4][g][4 (c mod 4) + n] v[row c of strand n][d] for some queries and vectors of channels; `rest`:
 * the last one has fewer channels. */
static inline __attribute__((always_inline)) void mix(bool bf16, int queries, int vectors, int64_t rest, struct mixed m)
{
    const int64_t bytes = bf16 ? 2 : 4, asked = vectors * LANES * bytes;
    const int64_t next_row = (m.v.pitch - DECODE_STRANDS * m.v.apart) * bytes, next_strand = m.v.apart * bytes;
    const int64_t next_asked = asked - DECODE_STRANDS * m.ahead_apart * bytes, apart_asked = m.ahead_apart * bytes;
    const char *v = m.v.first, *ahead = m.ahead;
    const float *p = m.p;
    lanes sum[VALUE_QUERIES][VALUE_VECTORS_OF_FEW];
    UNROLL
    for (int g = 0; g < queries; g++)
        UNROLL
    for (int i = 0; i < vectors; i++)
        sum[g][i] = load_some(m.o + g * m.out + i * LANES, rest);
    for (int key = 0; key < m.keys;) {
        lanes x[VALUE_VECTORS_OF_FEW];
        UNROLL
        for (int i = 0; i < vectors; i++)
            x[i] = load_end(bf16, element(bf16, v, i * LANES), rest);
        UNROLL
        for (int64_t i = 0; i < asked; i += 64)
            __builtin_prefetch(ahead + i, 0, 2);
        UNROLL
        for (int g = 0; g < queries; g++) {
            lanes y = splat(p[g * DECODE_WIDTH]);
            UNROLL
            for (int i = 0; i < vectors; i++)
                sum[g][i] = fused(x[i], y, sum[g][i]);
        }
        key++;
        v += next_strand, ahead += apart_asked, p++;
        if (key % DECODE_STRANDS == 0)
            v += next_row, ahead += next_asked;
        if (key % DECODE_WIDTH == 0)
            p += (m.group - 1) * DECODE_WIDTH;
    }
    UNROLL
    for (int g = 0; g < queries; g++)
        UNROLL
    for (int i = 0; i < vectors; i++)
        store_some(m.o + g * m.out + i * LANES, sum[g][i], rest);
}

#define MIX_QUERIES(n)                                                                                                 \
    case n:                                                                                                            \
        switch (vectors) {                                                                                             \
        case 0:                                                                                                        \
            mix(bf16, n, 1, rest, m);                                                                                  \
            break;                                                                                                     \
        case 1:                                                                                                        \
            mix(bf16, n, 1, LANES, m);                                                                                 \
            break;                                                                                                     \
        case 2:                                                                                                        \
            mix(bf16, n, 2, LANES, m);                                                                                 \
            break;                                                                                                     \
        default:                                                                                                       \
            mix(bf16, n, 3, LANES, m);                                                                                 \
        }                                                                                                              \
        break;

static inline __attribute__((always_inline)) void mix_of(bool bf16, int queries, int vectors, int64_t rest,
                                                         struct mixed m)
{
    if (vectors == VALUE_VECTORS_OF_FEW) {
        if (queries == 1)
            mix(bf16, 1, VALUE_VECTORS_OF_FEW, LANES, m);
#if defined(__AVX512F__)
        else if (queries == 2)
            mix(bf16, 2, VALUE_VECTORS_OF_FEW, LANES, m);
        else
            mix(bf16, 3, VALUE_VECTORS_OF_FEW, LANES, m);
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
    if (left == 0)
        return 0;
    return (left + passes - 1) / passes;
}

/* Rows [c, c + rows) of all strands: over all channels before the next ones, so that V is read once. */
static void values_of_rows(const struct decode_leaf *t, int64_t c, int64_t rows)
{
    const int64_t strand = decode_strand(t->keys), out = DECODE_NODE_HEAD + t->dim_v;
    const struct streams ahead =
        streams_or_then(t->bf16, c + rows_ahead(t->queries), strand, t->v, t->pitch_v, t->next, t->pitch);
    for (int64_t from = 0, left, vectors; from < t->dim_v; from += LANES * (vectors > 0 ? vectors : 1)) {
        left = t->dim_v - from;
        vectors = vectors_at_once(t->queries, left / LANES); /* 0: the end of a vector */
        struct mixed m = {.keys = rows * DECODE_STRANDS,
                          .out = out,
                          .group = t->queries,
                          .p = weights_at(t, 0, c),
                          .v = {element(t->bf16, t->v, c * t->pitch_v + from), t->pitch_v, strand * t->pitch_v},
                          .ahead = element(t->bf16, ahead.first, from * rows),
                          .ahead_apart = ahead.apart,
                          .o = t->node + DECODE_NODE_HEAD + from};
        for (int g = 0; g < t->queries;
             g += VALUE_QUERIES, m.p += VALUE_QUERIES * DECODE_WIDTH, m.o += VALUE_QUERIES * out)
            (t->bf16 ? mix_halves : mix_floats)(t->queries - g < VALUE_QUERIES ? t->queries - g : VALUE_QUERIES,
                                                (int)vectors, left, m);
    }
}

/* Rows [c, end) of as many strands as have them. */
static void values_of_some(const struct decode_leaf *t, int64_t c, int64_t end)
{
    const int64_t strand = decode_strand(t->keys), out = DECODE_NODE_HEAD + t->dim_v;
    for (; c < end; c++)
        for (int64_t n = 0; n < DECODE_STRANDS && n * strand + c < t->keys; n++)
            for (int g = 0; g < t->queries; g++) {
                const lanes y = splat(weights_at(t, g, c)[n]);
                for (int64_t d = 0; d < t->dim_v; d += LANES) {
                    float *o = t->node + g * out + DECODE_NODE_HEAD + d;
                    const int64_t left = t->dim_v - d;
                    const void *v = element(t->bf16, t->v, (n * strand + c) * t->pitch_v + d);
                    store_some(o, fused(load_end(t->bf16, v, left), y, load_some(o, left)), left);
                }
            }
}

#endif
