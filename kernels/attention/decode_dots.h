/* Logits of a leaf: dot products, and their sums across lanes; for decode_leaf.isa.c only. */
#ifndef DECODE_DOTS_H
#define DECODE_DOTS_H

#include <math.h>

#include "decode_streams.h"
#include "decode_sums.h"

#if defined(__AVX512F__) /* sums of a query for each strand: as many as the registers take */
enum { DOT_QUERIES = 4 };
#else
enum { DOT_QUERIES = 1 };
#endif

/* sum[g][strand] of the first 16 channels, or with 16 more, or with those `left`. */
static inline __attribute__((always_inline)) void products(bool bf16, int queries, bool first, int64_t left,
                                                           const float *restrict q, struct streams k,
                                                           lanes sum[][PARTS])
{
    UNROLL
    for (int i = 0; i < PARTS; i++) {
        const int64_t d = i * LANES;
        lanes y[DOT_QUERIES];
        UNROLL
        for (int g = 0; g < queries; g++)
            y[g] = load(q + g * DECODE_WIDTH + d);
        UNROLL
        for (int n = 0; n < DECODE_STRANDS; n++) {
            const void *row = element(bf16, row_of(bf16, k, n, 0), d);
            lanes x = left >= DECODE_WIDTH ? load_row(bf16, row) : load_end(bf16, row, left - d);
            UNROLL
            for (int g = 0; g < queries; g++) {
                lanes *to = &sum[g * DECODE_STRANDS + n][i];
                *to = first ? x * y[g] : fused(x, y[g], *to);
            }
        }
    }
}

/* Of some strands, 16 channels from `at` on. */
static inline __attribute__((always_inline)) void ask_for_keys(bool bf16, int strands, struct streams k, int64_t at)
{
    UNROLL
    for (int n = 0; n < strands; n++)
        ask_for(bf16, row_of(bf16, k, n, 0), at);
}

/* The products of some queries and a row of each strand, their 16 partial sums joined to LANES, in
 * joined[query][rows][strand]; bf16, queries and asked are constants where this is inlined.
 * q [dim padded / 16][group][16] is at the first of these queries. */
static inline __attribute__((always_inline)) void dots(bool bf16, int queries, int64_t dim, int64_t group,
                                                       const float *restrict q, struct streams k, int asked,
                                                       struct streams ahead, int rows, lanes *restrict joined)
{
    lanes sum[DOT_QUERIES * DECODE_STRANDS][PARTS];
    int64_t at = DECODE_WIDTH;
    ask_for_keys(bf16, asked, ahead, 0);
    products(bf16, queries, true, least(dim, DECODE_WIDTH), q, k, sum);
    for (; at < dim; at += DECODE_WIDTH) {
        q += group * DECODE_WIDTH;
        k.first = element(bf16, k.first, DECODE_WIDTH);
        if (at + DECODE_WIDTH > dim)
            break;
        ask_for_keys(bf16, asked, ahead, at);
        products(bf16, queries, false, DECODE_WIDTH, q, k, sum);
    }
    if (at < dim)
        products(bf16, queries, false, dim - at, q, k, sum);
    UNROLL
    for (int g = 0; g < queries; g++)
        UNROLL
    for (int n = 0; n < DECODE_STRANDS; n++)
        joined[g * rows * DECODE_STRANDS + n] = folded(sum[g * DECODE_STRANDS + n]);
}

/* The logits of a tile and of `queries` queries from g on, LANES at a time. `asked`: strands of `ahead`. */
static inline __attribute__((always_inline)) void logits_of_tile(bool bf16, int queries, const struct decode_leaf *t,
                                                                 int g, struct streams k, int asked,
                                                                 struct streams ahead, float *p)
{
    const int rows = LANES / DECODE_STRANDS / queries;
    for (int c = 0; c < TILE_ROWS; c += rows) {
        lanes joined[LANES] = {{0}};
        UNROLL
        for (int r = 0; r < rows; r++) /* side by side they would be read from more places than there are strands */
            dots(bf16, queries, t->dim, t->queries, t->q + g * DECODE_WIDTH, streams_from(bf16, k, c + r), asked,
                 streams_from(bf16, ahead, c + r), rows, joined + r * DECODE_STRANDS);
        const lanes s = sums_of(joined);
        UNROLL
        for (int n = 0; n < queries; n++)
            memcpy(p + (g + n) * DECODE_WIDTH + c * DECODE_STRANDS, (const float *)&s + n * rows * DECODE_STRANDS,
                   sizeof(float) * (size_t)rows * DECODE_STRANDS);
    }
}

/* The same, with a constant number of queries, and of strands that are asked for: all, half of them, or none. */
static inline __attribute__((always_inline)) void logits_of_queries(bool bf16, int queries, const struct decode_leaf *t,
                                                                    int g, struct streams k, int asked,
                                                                    struct streams ahead, float *p)
{
    if (queries == DOT_QUERIES)
        logits_of_tile(bf16, DOT_QUERIES, t, g, k, asked, ahead, p);
    else if (queries == 2)
        logits_of_tile(bf16, DOT_QUERIES < 2 ? DOT_QUERIES : 2, t, g, k, asked, ahead, p);
    else
        logits_of_tile(bf16, 1, t, g, k, asked, ahead, p);
}

/* The same where some keys do not exist: their logits are −inf. */
static void logits_of_some(const struct decode_leaf *t, int64_t c, float *p)
{
    const int64_t strand = decode_strand(t->keys);
    for (int g = 0; g < t->queries; g++)
        for (int j = 0; j < DECODE_WIDTH; j++) {
            const int64_t key = j % DECODE_STRANDS * strand + c + j / DECODE_STRANDS;
            lanes sum[PARTS] = {{0}}, joined[LANES] = {{0}};
            for (int64_t d = 0; d < t->dim && key < t->keys; d += LANES)
                sum[d / LANES % PARTS] =
                    fused(load_end(t->bf16, element(t->bf16, t->k, key * t->pitch + d), least(t->dim - d, LANES)),
                          load(t->q + (d / DECODE_WIDTH * t->queries + g) * DECODE_WIDTH + d % DECODE_WIDTH),
                          sum[d / LANES % PARTS]);
            joined[0] = folded(sum);
            p[g * DECODE_WIDTH + j] = key < t->keys ? sums_of(joined)[0] : -INFINITY;
        }
}

/* p[c / 4][g][4 (c mod 4) + n] = q[g]·k[row c of strand n]; −inf where there is none. */
static inline __attribute__((always_inline)) void logits(bool bf16, const struct decode_leaf *t)
{
    const int64_t strand = decode_strand(t->keys), whole = t->keys - (DECODE_STRANDS - 1) * strand;
    for (int64_t c = 0; c < strand; c += TILE_ROWS) {
        const struct streams k = {element(bf16, t->k, c * t->pitch), t->pitch, strand * t->pitch};
        struct streams ahead =
            streams_or_then(bf16, c + rows_ahead(t->queries), strand, t->k, t->pitch, t->v, t->pitch_v);
        float *p = weights_at(t, 0, c);
        if (c + TILE_ROWS > whole) {
            logits_of_some(t, c, p);
            continue;
        }
        for (int g = 0, n, turn = 0; g < t->queries; g += n, turn++) {
            const int left = t->queries - g;
            n = left >= DOT_QUERIES ? DOT_QUERIES : left >= 2 ? 2 : 1;
            if (n == t->queries)
                logits_of_queries(bf16, n, t, g, k, DECODE_STRANDS, ahead, p);
            else if (turn < 2)
                logits_of_queries(bf16, n, t, g, k, DECODE_STRANDS / 2, ahead, p);
            else
                logits_of_queries(bf16, n, t, g, k, 0, ahead, p);
            ahead.first = element(bf16, ahead.first, DECODE_STRANDS / 2 * ahead.apart);
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

#endif
