/* A tile: a block of queries against up to TILE keys, added to a node. Both products and the softmax between them; the
 * mathematics is at the head of attention_block.isa.c, the only source that includes this. */
#ifndef ATTENTION_TILE_H
#define ATTENTION_TILE_H

#include "attention_block.h"
#include "attention_update.h"
#include "attention_weights.h"

#include <math.h>

/* ---- The products: rows and vectors are constants where these are inlined ---- */

/* s[row][lane] = Σ_d k[row][d] q[d][lane]; raises `most` to the maximum of the lanes. If `masked`, only the
 * lanes from `visible` + j on see the key of row j, the others get −inf; the first of them is in the first vector. */
static inline __attribute__((always_inline)) void scores(int rows, int vectors, int64_t dim, const float *q,
                                                         const float *k, float *s, float *most, bool masked,
                                                         int32_t lane, int32_t visible)
{
    lanes sum[ROWS][STRIP];
    UNROLL
    for (int r = 0; r < rows; r++)
        UNROLL
    for (int i = 0; i < vectors; i++)
        sum[r][i] = (lanes){0};
    update(rows, 0, vectors, (struct factors){dim, k, dim, 1, q, BLOCK}, sum);
    UNROLL
    for (int i = 0; i < vectors; i++) {
        lanes m = load(most + i * LANES);
        UNROLL
        for (int r = 0; r < rows; r++) {
            lanes x = sum[r][i];
            if (masked && i * LANES < LANES + ROWS - 1) /* further lanes see all rows */
                x = choose(indices(lane + i * LANES) >= visible + r, x, splat(-INFINITY));
            store(s + r * BLOCK + i * LANES, x);
            m = larger(x, m);
        }
        store(most + i * LANES, m);
    }
}

static __attribute__((noinline)) void scores_of(int rows, int vectors, int64_t dim, const float *q, const float *k,
                                                float *s, float *most)
{
#define CALL(r, n) scores(r, n, dim, q, k, s, most, false, 0, 0)
    EACH(CALL)
#undef CALL
}

static __attribute__((noinline)) void scores_masked(int rows, int vectors, int64_t dim, const float *q, const float *k,
                                                    float *s, float *most, int32_t lane, int32_t visible)
{
#define CALL(r, n) scores(r, n, dim, q, k, s, most, true, lane, visible)
    EACH(CALL)
#undef CALL
}

/* Keys that the first vector of queries sees some of; the next ones see LANES more each. */
static inline int64_t seen_by(int vector, int64_t seen, int64_t keys)
{
    seen += vector * LANES;
    return seen < 0 ? 0 : least(seen, keys);
}

/* o[d][lane] = o[d][lane]·rescale[lane] + Σ_j v[j][d] p[j][lane]; `rescale` NULL: by 1. If `masked`, the sum is over
 * the `seen` keys that the first vector sees, and LANES more for each further one: sums stay in registers as vectors
 * fall out. */
static inline __attribute__((always_inline)) void values(int rows, int vectors, int64_t dim, int64_t keys,
                                                         const float *p, const float *v, float *o, const float *rescale,
                                                         bool masked, int64_t seen)
{
    lanes sum[ROWS][STRIP];
    UNROLL
    for (int r = 0; r < rows; r++)
        UNROLL
    for (int i = 0; i < vectors; i++)
        sum[r][i] = load(o + r * BLOCK + i * LANES);
    if (rescale)
        UNROLL
    for (int r = 0; r < rows; r++)
        UNROLL
    for (int i = 0; i < vectors; i++)
        sum[r][i] *= load(rescale + i * LANES);
    int64_t j = masked ? 0 : keys;
    update(rows, 0, vectors, (struct factors){j, v, 1, dim, p, BLOCK}, sum);
    UNROLL
    for (int i = 0; i < vectors; i++) {
        if (!masked)
            continue;
        const int64_t end = seen_by(i, seen, keys);
        update(rows, i, vectors, (struct factors){end - j, v + j * dim, 1, dim, p + j * BLOCK, BLOCK}, sum);
        j = end;
    }
    UNROLL
    for (int r = 0; r < rows; r++)
        UNROLL
    for (int i = 0; i < vectors; i++)
        store(o + r * BLOCK + i * LANES, sum[r][i]);
}

static __attribute__((noinline)) void values_of(int rows, int vectors, int64_t dim, int64_t keys, const float *p,
                                                const float *v, float *o, const float *rescale)
{
#define CALL(r, n) values(r, n, dim, keys, p, v, o, rescale, false, 0)
    EACH(CALL)
#undef CALL
}

static __attribute__((noinline)) void values_masked(int rows, int vectors, int64_t dim, int64_t keys, const float *p,
                                                    const float *v, float *o, const float *rescale, int64_t seen)
{
#define CALL(r, n) values(r, n, dim, keys, p, v, o, rescale, true, seen)
    EACH(CALL)
#undef CALL
}

/* Rare: an invisible value that is not finite. The same sums of one vector, where lanes below `visible` + j are left
 * alone. */
static __attribute__((noinline)) void values_hidden(int64_t dim, int64_t keys, const float *p, const float *v, float *o,
                                                    const float *rescale, int32_t lane, int32_t visible)
{
    lanes sum = load(o);
    if (rescale)
        sum *= load(rescale);
    for (int64_t j = 0; j < keys; j++) {
        const lanes more = fused(load(p + j * BLOCK), splat(v[j * dim]), sum);
        sum = choose(indices(lane) >= visible + (int32_t)j, more, sum);
    }
    store(o, sum);
}

/* ---- The softmax of a tile ---- */

/* p ← 2^(c·s − m) in place, l gains it: `vectors` of `keys` rows of logits, `together` keys at a time. */
static inline __attribute__((always_inline)) void exponentials(int vectors, int together, int64_t keys,
                                                               struct softmax c, const float *restrict m,
                                                               float *restrict p, float *restrict l, bool wide)
{
    lanes top[STRIP], sum[STRIP], x[STRIP];
    UNROLL
    for (int i = 0; i < vectors; i++)
        sum[i] = load(l + i * LANES);
    UNROLL
    for (int i = 0; i < vectors * together; i++)
        top[i] = load(m + i % vectors * LANES);
    for (int64_t j = 0; j + together <= keys; j += together) {
        UNROLL
        for (int i = 0; i < vectors * together; i++)
            x[i] = load(p + (j + i / vectors) * BLOCK + i % vectors * LANES);
        weights_of(vectors * together, c, top, x, wide);
        UNROLL
        for (int i = 0; i < vectors * together; i++) {
            store(p + (j + i / vectors) * BLOCK + i % vectors * LANES, x[i]);
            sum[i % vectors] += x[i];
        }
    }
    UNROLL
    for (int i = 0; i < vectors; i++)
        store(l + i * LANES, sum[i]);
}

static inline __attribute__((always_inline)) void exponentials_of_one(int64_t keys, struct softmax c, const float *m,
                                                                      float *p, float *l, bool wide)
{
    const int64_t most = keys / STRIP * STRIP;
    exponentials(1, STRIP, most, c, m, p, l, wide);
    exponentials(1, 1, keys - most, c, m, p + most * BLOCK, l, wide);
}

static __attribute__((noinline)) void exponentials_wide(int64_t keys, struct softmax c, const float *m, float *p,
                                                        float *l)
{
    exponentials_of_one(keys, c, m, p, l, true);
}

static __attribute__((noinline)) void exponentials_of(int vectors, int64_t keys, struct softmax c, const float *m,
                                                      float *p, float *l)
{
    for (int i = 0; i < vectors; i++)
        if (any((words)(load(m + i * LANES) > splat(WIDE)) | (words)(load(m + i * LANES) < splat(-WIDE)))) {
            for (int n = 0; n < vectors; n++)
                exponentials_wide(keys, c, m + n * LANES, p + n * LANES, l + n * LANES);
            return;
        }
    if (vectors == STRIP)
        exponentials(STRIP, 1, keys, c, m, p, l, false);
    else
        for (int i = 0; i < vectors; i++)
            exponentials_of_one(keys, c, m + i * LANES, p + i * LANES, l + i * LANES, false);
}

/* m ← max(m, round(c·most)); rescale = 2^(old − new), and l by it. True if any changed. */
static bool raise_maximum(int vectors, struct softmax c, const float *most, float *m, float *l, float *rescale)
{
    words changed = {0};
    for (int i = 0; i < vectors; i++) {
        lanes old = load(m + i * LANES), new = larger(rounded(load(most + i * LANES), c), old);
        lanes factor = times_power(splat(1), old - new);
        store(m + i * LANES, new);
        store(l + i * LANES, load(l + i * LANES) * factor);
        store(rescale + i * LANES, factor);
        changed |= old != new;
    }
    return any(changed);
}

/* ---- A tile ---- */

struct tile {
    int64_t dim, dim_v, keys;
    const float *k, *v;
    bool masked;
    int32_t visible; /* lane from which on the first key is seen, one more for each further key */
};

static void masked_scores(const struct tile *t, int32_t lane, int vectors, const float *q, float *p, float *most)
{
    for (int64_t j = 0, rows; j < t->keys; j += rows) {
        int32_t visible = t->visible + (int32_t)j, skip = visible > lane ? (visible - lane) / LANES : 0;
        if (skip >= vectors)
            break;
        rows = t->keys - j < ROWS ? t->keys - j : ROWS;
        scores_masked((int)rows, vectors - skip, t->dim, q + skip * LANES, t->k + j * t->dim,
                      p + j * BLOCK + skip * LANES, most + skip * LANES, lane + skip * LANES, visible);
    }
}

static void masked_tile(const struct tile *t, struct softmax c, int32_t lane, int vectors, const float *q, float *p,
                        float *node, bool finite)
{
    float most[STRIP * LANES] __attribute__((aligned(64))), rescale[STRIP * LANES] __attribute__((aligned(64)));
    float *m = node, *l = m + BLOCK, *o = l + BLOCK;
    const int64_t seen = lane + LANES - t->visible;
    for (int i = 0; i < vectors; i++)
        store(most + i * LANES, splat(-INFINITY));
    masked_scores(t, lane, vectors, q, p, most);
    const float *scaled = raise_maximum(vectors, c, most, m, l, rescale) ? rescale : NULL;
    for (int i = 0; i < vectors; i++)
        exponentials_of(1, seen_by(i, seen, t->keys), c, m + i * LANES, p + i * LANES, l + i * LANES);
    for (int64_t d = 0; d < t->dim_v && finite; d += ROWS)
        values_masked(t->dim_v - d < ROWS ? (int)(t->dim_v - d) : ROWS, vectors, t->dim_v, t->keys, p, t->v + d,
                      o + d * BLOCK, scaled, seen);
    for (int64_t d = 0; d < t->dim_v && !finite; d++)
        for (int i = 0; i < vectors; i++)
            values_hidden(t->dim_v, seen_by(i, seen, t->keys), p + i * LANES, t->v + d, o + d * BLOCK + i * LANES,
                          scaled ? scaled + i * LANES : NULL, lane + i * LANES, t->visible);
}

static void whole_tile(const struct tile *t, struct softmax c, int vectors, const float *q, float *p, float *node)
{
    float most[STRIP * LANES] __attribute__((aligned(64))), rescale[STRIP * LANES] __attribute__((aligned(64)));
    float *m = node, *l = m + BLOCK, *o = l + BLOCK;
    for (int i = 0; i < vectors; i++)
        store(most + i * LANES, splat(-INFINITY));
    for (int64_t j = 0; j < t->keys; j += ROWS)
        scores_of(t->keys - j < ROWS ? (int)(t->keys - j) : ROWS, vectors, t->dim, q, t->k + j * t->dim, p + j * BLOCK,
                  most);
    bool changed = raise_maximum(vectors, c, most, m, l, rescale);
    exponentials_of(vectors, t->keys, c, m, p, l);
    for (int64_t d = 0; d < t->dim_v; d += ROWS)
        values_of(t->dim_v - d < ROWS ? (int)(t->dim_v - d) : ROWS, vectors, t->dim_v, t->keys, p, t->v + d,
                  o + d * BLOCK, changed ? rescale : NULL);
}

/* All strips of a tile; the vectors that hold no query are left out. */
static void add_tile(const struct tile *t, struct softmax c, int rows, const struct attention_scratch *scratch,
                     float *node)
{
    bool finite = !t->masked || all_finite(t->v, t->keys * t->dim_v);
    for (int32_t lane = 0; lane < rows; lane += STRIP * LANES) {
        int vectors = (rows - lane + LANES - 1) / LANES;
        vectors = vectors < STRIP ? vectors : STRIP;
        if (t->masked)
            masked_tile(t, c, lane, vectors, scratch->q + lane, scratch->p + lane, node + lane, finite);
        else
            whole_tile(t, c, vectors, scratch->q + lane, scratch->p + lane, node + lane);
    }
}

#endif
