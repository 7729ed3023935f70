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
#include "attention_tile.h"

#include <float.h>
#include <math.h>
#include <string.h>

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
    if (!b->bf16)
        return (const float *)array + first * dim;
    widen_rows(rows, dim, (const uint16_t *)array + first * (dim + (dim & 1)), room, dim);
    return room;
}

/* Keys [from, to) of the range into the node, in tiles of about the same size. The first key of the diagonal, though
 * seen by all rows, goes with those that are masked: it would be a tile by itself where blocks and leaves meet. */
static void add_keys(const struct attention_block *b, struct softmax c, const struct attention_scratch *scratch,
                     float *node, int64_t from, int64_t to)
{
    const int64_t diagonal = b->row + b->offset, whole = b->causal ? least(to, diagonal > from ? diagonal : from) : to;
    const int64_t tiles = (whole - from + TILE - 1) / TILE;
    const int64_t even = tiles > 0 ? ((whole - from + tiles - 1) / tiles + ROWS - 1) / ROWS * ROWS : 0;
    for (int64_t j = from, end; j < to; j = end) {
        end = j < whole ? least(whole, j + even) : least(to, j + TILE);
        struct tile t = {.dim = b->dim,
                         .dim_v = b->dim_v,
                         .keys = end - j,
                         .k = rows_of(b, b->dim, b->k, j - b->first, end - j, scratch->k),
                         .v = rows_of(b, b->dim_v, b->v, j - b->first, end - j, scratch->v),
                         .masked = j >= whole,
                         .visible = j < whole ? 0 : (int32_t)(j - diagonal)};
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

/* l = 2^exponent·fraction with a fraction from [√½, √2); anything if l is not positive. */
static void take_apart(const float *l, float *exponent, float *fraction)
{
    for (int lane = 0; lane < BLOCK; lane += LANES) {
        const words bits = (words)load(l + lane), power = (bits - 0x3f3504f3) >> 23;
        for (int i = 0; i < LANES; i++)
            exponent[lane + i] = (float)power[i];
        store(fraction + lane, (lanes)(bits - (power << 23)));
    }
}

/* lse = m·ln 2 + ln l in double precision without fused multiply-adds, so that vectors of it need none of libm's and
 * have the same bits everywhere: ln x = 2 artanh z, z = (x − 1)/(x + 1), to an error of 2^-50. −inf where l is 0. */
static void log_sum_exp(const float *m, const float *l, float *lse)
{
    static const double terms[] = {2.0 / 15, 2.0 / 13, 2.0 / 11, 2.0 / 9, 2.0 / 7, 2.0 / 5, 2.0 / 3, 2};
    float exponent[BLOCK], fraction[BLOCK] __attribute__((aligned(64)));
    take_apart(l, exponent, fraction);
    for (int r = 0; r < BLOCK; r++) {
        double x = (double)fraction[r], z = (x - 1) / (x + 1), square = z * z, sum = 2.0 / 17;
        UNROLL
        for (int i = 0; i < 8; i++)
            sum = sum * square + terms[i];
        double y = ((double)m[r] + (double)exponent[r]) * 0x1.62e42fefa39efp-1 + sum * z;
        float known = l[r] == 0 ? -INFINITY : NAN;
        lse[r] = l[r] > 0 ? (float)y : known;
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
    float sums[BLOCK];
    log_sum_exp(node, node + BLOCK, sums);
    memcpy(lse, sums, (size_t)rows * sizeof *lse);
    divide(dim, node);
    transpose(dim, rows, node + NODE_HEAD * BLOCK, BLOCK, out, dim);
}
