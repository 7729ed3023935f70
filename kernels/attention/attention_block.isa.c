/* A block of queries against keys and values, as FlashAttention does it (Dao et al. 2022; Milakov & Gimelshein 2018):
 *
 *   s = q·k,  t = c·s with c = scale·log2(e),  o = Σ 2^(t − m) v,  l = Σ 2^(t − m),  out = o/l,  lse = ln l + m ln 2
 *
 * Lanes are queries: nothing is ever summed across lanes, and neither K nor V is packed. Q is transposed once a block,
 * O is kept transposed, and both products are the same 6-row × 4-vector update of accumulators: a row of Q or P times
 * broadcast elements of K or V.
 *
 * m is an integer: the running maximum of n = round(t). So 2^(t − m) = 2^f · 2^(n − m) with |f| ≤ 1/2, where the second
 * factor only moves the exponent, and a larger maximum rescales o and l without a rounding. What is left to define the
 * bits is the order of additions: over d for s; over the keys of a leaf for o and l; and over leaves by an aligned
 * binary tree. None depends on the width of vectors, on tiles, or on who computes.
 *
 * A leaf's contributions of less than 2^-125 of its largest are 0. −inf is an invisible key. NaN and +inf, as a logit,
 * make the row NaN: m ignores NaN, l doesn't. Bound by multiply-adds: 4·dim flops for each pair of query and key,
 * and about 14 vector operations for 2^(t − m). */
#include "attention_block.h"
#include "attention_lanes.h"
#include "attention_weights.h"

#include <float.h>
#include <math.h>
#include <string.h>

/* ---- The products: rows and vectors are constants where these are inlined ---- */

/* s[row][lane] = Σ_d k[row][d] q[d][lane]; returns through `most` the maximum of the lanes. Of row j the lanes from
 * `visible` + j on see the key; the others get −inf. */
static inline __attribute__((always_inline)) void scores(int rows, int vectors, int64_t dim, const float *restrict q,
                                                         const float *restrict k, float *restrict s,
                                                         float *restrict most, bool masked, int32_t lane,
                                                         int32_t visible)
{
    lanes sum[ROWS][STRIP];
    UNROLL
    for (int r = 0; r < rows; r++)
        UNROLL
    for (int i = 0; i < vectors; i++)
        sum[r][i] = (lanes){0};
    for (int64_t d = 0; d < dim; d++) {
        lanes x[STRIP];
        UNROLL
        for (int i = 0; i < vectors; i++)
            x[i] = load(q + d * BLOCK + i * LANES);
        UNROLL
        for (int r = 0; r < rows; r++) {
            lanes y = splat(k[r * dim + d]);
            UNROLL
            for (int i = 0; i < vectors; i++)
                sum[r][i] = fused(x[i], y, sum[r][i]);
        }
    }
    UNROLL
    for (int i = 0; i < vectors; i++) {
        lanes m = load(most + i * LANES);
        UNROLL
        for (int r = 0; r < rows; r++) {
            lanes x = sum[r][i];
            if (masked)
                x = choose(indices(lane + i * LANES) >= visible + r, x, splat(-INFINITY));
            store(s + r * BLOCK + i * LANES, x);
            m = larger(x, m);
        }
        store(most + i * LANES, m);
    }
}

/* o[d][lane] = o[d][lane]·rescale[lane] + Σ_j v[j][d] p[j][lane]; `rescale` NULL: by 1. If `masked`,
 * lanes below `visible` + j are left alone, whatever v is. */
static inline __attribute__((always_inline)) void values(int rows, int vectors, int64_t dim, int64_t keys,
                                                         const float *restrict p, const float *restrict v,
                                                         float *restrict o, const float *restrict rescale, bool masked,
                                                         int32_t lane, int32_t visible)
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
    for (int64_t j = 0; j < keys; j++) {
        lanes x[STRIP];
        UNROLL
        for (int i = 0; i < vectors; i++)
            x[i] = load(p + j * BLOCK + i * LANES);
        UNROLL
        for (int r = 0; r < rows; r++) {
            lanes y = splat(v[j * dim + r]);
            UNROLL
            for (int i = 0; i < vectors; i++) {
                lanes more = fused(x[i], y, sum[r][i]);
                sum[r][i] = masked ? choose(indices(lane + i * LANES) >= visible + (int32_t)j, more, sum[r][i]) : more;
            }
        }
    }
    UNROLL
    for (int r = 0; r < rows; r++)
        UNROLL
    for (int i = 0; i < vectors; i++)
        store(o + r * BLOCK + i * LANES, sum[r][i]);
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

static __attribute__((noinline)) void values_of(int rows, int vectors, int64_t dim, int64_t keys, const float *p,
                                                const float *v, float *o, const float *rescale)
{
#define CALL(r, n) values(r, n, dim, keys, p, v, o, rescale, false, 0, 0)
    EACH(CALL)
#undef CALL
}

/* Rare: an invisible value that is not finite. */
static __attribute__((noinline)) void values_masked(int rows, int vectors, int64_t dim, int64_t keys, const float *p,
                                                    const float *v, float *o, const float *rescale, int32_t lane,
                                                    int32_t visible)
{
    for (int r = 0; r < rows; r++)
        for (int i = 0; i < vectors; i++)
            values(1, 1, dim, keys, p + i * LANES, v + r, o + r * BLOCK + i * LANES,
                   rescale ? rescale + i * LANES : NULL, true, lane + i * LANES, visible);
}

/* ---- The softmax of a tile ---- */

/* p ← 2^(c·s − m) in place, l gains it. `wide`: some maximum is so large that f needs a bound; the bound changes no
 * bit of the others. */
static inline __attribute__((always_inline)) void exponentials(int64_t keys, struct softmax c, const float *restrict m,
                                                               float *restrict p, float *restrict l, bool wide)
{
    lanes top = load(m), sum = load(l);
    for (int64_t j = 0; j < keys; j++) {
        lanes n, f = fraction(load(p + j * BLOCK), c, &n);
        if (wide)
            f = smaller(larger(splat(-0.75F), f), splat(0.75F));
        lanes x = times_power(power_of_fraction(f), n - top);
        store(p + j * BLOCK, x);
        sum += x;
    }
    store(l, sum);
}

static __attribute__((noinline)) void exponentials_wide(int64_t keys, struct softmax c, const float *m, float *p,
                                                        float *l)
{
    exponentials(keys, c, m, p, l, true);
}

static inline __attribute__((always_inline)) void exponentials_narrow(int vectors, int64_t keys, struct softmax c,
                                                                      const float *restrict m, float *restrict p,
                                                                      float *restrict l)
{
    lanes top[STRIP], sum[STRIP];
    UNROLL
    for (int i = 0; i < vectors; i++) {
        top[i] = load(m + i * LANES);
        sum[i] = load(l + i * LANES);
    }
    for (int64_t j = 0; j < keys; j++) {
        UNROLL
        for (int i = 0; i < vectors; i++) {
            lanes n, f = fraction(load(p + j * BLOCK + i * LANES), c, &n);
            lanes x = times_power(power_of_fraction(f), n - top[i]);
            store(p + j * BLOCK + i * LANES, x);
            sum[i] += x;
        }
    }
    UNROLL
    for (int i = 0; i < vectors; i++)
        store(l + i * LANES, sum[i]);
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
        exponentials_narrow(STRIP, keys, c, m, p, l);
    else
        for (int i = 0; i < vectors; i++)
            exponentials_narrow(1, keys, c, m + i * LANES, p + i * LANES, l + i * LANES);
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
    int32_t visible; /* lane from which on the first key is seen, one more for each further key; 0: no mask */
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

/* Keys are taken in groups that begin in the same vector: the vectors before see none of them. */
static void masked_tile(const struct tile *t, struct softmax c, int32_t lane, int vectors, const float *q, float *p,
                        float *node, bool finite)
{
    float most[STRIP * LANES] __attribute__((aligned(64))), rescale[STRIP * LANES] __attribute__((aligned(64)));
    float *m = node, *l = m + BLOCK, *o = l + BLOCK;
    for (int i = 0; i < vectors; i++)
        store(most + i * LANES, splat(-INFINITY));
    masked_scores(t, lane, vectors, q, p, most);
    bool changed = raise_maximum(vectors, c, most, m, l, rescale);
    for (int64_t j = 0, end; j < t->keys; j = end) {
        int32_t visible = t->visible + (int32_t)j, skip = visible > lane ? (visible - lane) / LANES : 0;
        if (skip >= vectors)
            break;
        end = least(t->keys, (int64_t)lane + (skip + 1) * LANES - t->visible);
        for (int i = skip; i < vectors; i++)
            exponentials_of(1, end - j, c, m + i * LANES, p + j * BLOCK + i * LANES, l + i * LANES);
        const float *x = p + j * BLOCK + skip * LANES, *v = t->v + j * t->dim_v;
        const float *scaled = j == 0 && changed ? rescale + skip * LANES : NULL;
        for (int64_t d = 0; d < t->dim_v; d += ROWS) {
            int rows = t->dim_v - d < ROWS ? (int)(t->dim_v - d) : ROWS;
            float *to = o + d * BLOCK + skip * LANES;
            if (finite)
                values_of(rows, vectors - skip, t->dim_v, end - j, x, v + d, to, scaled);
            else
                values_masked(rows, vectors - skip, t->dim_v, end - j, x, v + d, to, scaled, lane + skip * LANES,
                              visible);
        }
    }
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
    bool finite = t->visible <= 0 || all_finite(t->v, t->keys * t->dim_v);
    for (int32_t lane = 0; lane < rows; lane += STRIP * LANES) {
        int vectors = (rows - lane + LANES - 1) / LANES;
        vectors = vectors < STRIP ? vectors : STRIP;
        if (t->visible > 0)
            masked_tile(t, c, lane, vectors, scratch->q + lane, scratch->p + lane, node + lane, finite);
        else
            whole_tile(t, c, vectors, scratch->q + lane, scratch->p + lane, node + lane);
    }
}

/* ---- Nodes and their tree ---- */

static void clear_node(float *node, int64_t dim)
{
    for (int i = 0; i < BLOCK; i++)
        node[i] = -FLT_MAX;
    memset(node + BLOCK, 0, (size_t)(dim + 1) * BLOCK * sizeof *node);
}

/* a ← a + b */
static void join_nodes(int64_t dim, float *restrict a, const float *restrict b)
{
    for (int lane = 0; lane < BLOCK; lane += LANES) {
        lanes ma = load(a + lane), mb = load(b + lane), m = larger(ma, mb);
        lanes fa = times_power(splat(1), ma - m), fb = times_power(splat(1), mb - m);
        store(a + lane, m);
        for (int64_t d = 1; d < NODE_HEAD + dim; d++) {
            float *to = a + d * BLOCK + lane;
            store(to, fused(load(to), fa, load(b + d * BLOCK + lane) * fb));
        }
    }
}

/* Joins the last node with its sibling, as long as the set holds it. */
static void settle(struct attention_set *set, int64_t dim)
{
    for (int i = 0; i < set->count - 1;) {
        struct attention_slot *a = &set->slot[i], *last = &set->slot[set->count - 1];
        if (a->level != last->level || a->index != (last->index ^ 1)) {
            i++;
            continue;
        }
        join_nodes(dim, a->node, last->node);
        set->count--;
        struct attention_slot merged = {a->level + 1, a->index >> 1, a->node}, *end = &set->slot[set->count - 1];
        *a = *end; /* the joined one goes to the end, to look for its own sibling */
        *end = merged;
        i = 0;
    }
}

/* ---- A block ---- */

/* Rows [first, first + rows) of an array of the block as floats: widened in `room`, which costs one pass over them for
 * all of the block's queries, or where they are. */
static const float *rows_of(const struct attention_block *b, int64_t dim, const void *array, int64_t first,
                            int64_t rows, float *room)
{
    typedef uint16_t halves __attribute__((vector_size(LANE_BYTES / 2)));
    if (!b->bf16)
        return (const float *)array + first * dim;
    const int64_t pitch = dim + (dim & 1), run = pitch == dim ? rows * dim : dim; /* elements without padding */
    for (int64_t from = 0, to = 0; to < rows * dim; from += pitch == dim ? run : pitch, to += run) {
        const uint16_t *x = (const uint16_t *)array + first * pitch + from;
        int64_t i = 0;
        for (; i + LANES <= run; i += LANES) {
            halves some;
            memcpy(&some, x + i, sizeof some);
            store_loose(room + to + i, (lanes)(__builtin_convertvector(some, patterns) << 16));
        }
        for (; i < run; i++) {
            const uint32_t bits = (uint32_t)x[i] << 16;
            memcpy(room + to + i, &bits, sizeof bits);
        }
    }
    return room;
}

/* Keys [from, to) of the range into the node. */
static void add_keys(const struct attention_block *b, struct softmax c, const struct attention_scratch *scratch,
                     float *node, int64_t from, int64_t to)
{
    int64_t whole = b->causal ? least(to, b->row + b->offset + 1) : to; /* seen by all rows */
    for (int64_t j = from, end; j < to; j = end) {
        end = least(j < whole ? whole : to, j + TILE);
        struct tile t = {.dim = b->dim,
                         .dim_v = b->dim_v,
                         .keys = end - j,
                         .k = rows_of(b, b->dim, b->k, j - b->first, end - j, scratch->k),
                         .v = rows_of(b, b->dim_v, b->v, j - b->first, end - j, scratch->v),
                         .visible = j < whole || !b->causal ? 0 : (int32_t)(j - b->row - b->offset)};
        add_tile(&t, c, b->rows, scratch, node);
    }
}

void SABLE_ISA_NAME(sable_attention_block)(const struct attention_block *b, const struct attention_scratch *scratch,
                                           struct attention_set *set)
{
    int64_t end = b->first + b->keys;
    if (b->causal)
        end = least(end, b->row + b->rows + b->offset);
    if (b->first >= end)
        return;
    struct softmax c = softmax_of(fabs(b->scale));
    if (b->rows < BLOCK)
        memset(scratch->q, 0, (size_t)b->dim * BLOCK * sizeof(float));
    transpose(b->rows, b->dim, rows_of(b, b->dim, b->q, 0, b->rows, scratch->k), b->dim, scratch->q, BLOCK);
    if (b->scale < 0) /* the maximum of c·s is that of s if c > 0 */
        for (int64_t i = 0; i < b->dim * BLOCK; i++)
            scratch->q[i] = -scratch->q[i];
    for (int64_t leaf = b->first / b->leaf; leaf * b->leaf < end; leaf++) {
        struct attention_slot *slot = &set->slot[set->count++];
        slot->level = 0, slot->index = leaf;
        clear_node(slot->node, b->dim_v);
        if (leaf != b->skipped)
            add_keys(b, c, scratch, slot->node, leaf * b->leaf, least(end, (leaf + 1) * b->leaf));
        settle(set, b->dim_v);
    }
}

/* The node that begins last. */
static int last_slot(const struct attention_set *set)
{
    int last = 0;
    for (int i = 1; i < set->count; i++)
        if (set->slot[i].index << set->slot[i].level > set->slot[last].index << set->slot[last].level)
            last = i;
    return last;
}

/* Joins what is left from the right to the left into slot 0. */
static void join_all(struct attention_set *set, int64_t dim)
{
    while (set->count > 1) {
        int last = last_slot(set), end = set->count - 1;
        struct attention_slot right = set->slot[last];
        set->slot[last] = set->slot[end];
        set->slot[end] = right;
        set->count--;
        int left = last_slot(set);
        join_nodes(dim, set->slot[left].node, right.node);
    }
}

/* o/l, rounded correctly but for rare ties; −0 is +0 and there is one NaN, whatever way the values came. */
static void divide(int64_t dim, float *node)
{
    for (int lane = 0; lane < BLOCK; lane += LANES) {
        lanes l = load(node + BLOCK + lane), inverse = splat(1) / l;
        words none = l == splat(0);
        for (int64_t d = 0; d < dim; d++) {
            float *o = node + (NODE_HEAD + d) * BLOCK + lane;
            lanes x = load(o), y = x * inverse;
            y = fused(fused(-l, y, x), inverse, y) + splat(0);
            y = choose(y == y, y, splat(NAN));
            store(o, choose(none, splat(0), y));
        }
    }
}

void SABLE_ISA_NAME(sable_attention_finish)(int64_t dim, int rows, struct attention_set *set, float *out, float *lse)
{
    if (set->count == 0) { /* no key is visible */
        memset(out, 0, (size_t)(rows * dim) * sizeof *out);
        for (int r = 0; r < rows; r++)
            lse[r] = -INFINITY;
        return;
    }
    join_all(set, dim);
    float *node = set->slot[0].node;
    set->count = 0;
    for (int r = 0; r < rows; r++) {
        double l = (double)node[BLOCK + r];
        lse[r] = l > 0 ? (float)((double)node[r] * 0x1.62e42fefa39efp-1 + log(l)) : l == 0 ? -INFINITY : NAN;
    }
    divide(dim, node);
    transpose(dim, rows, node + NODE_HEAD * BLOCK, BLOCK, out, dim);
}
