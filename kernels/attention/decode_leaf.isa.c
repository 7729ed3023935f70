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
#include "decode_dots.h"
#include "decode_streams.h"
#include "decode_sums.h"
#include "decode_values.h"

#include <math.h>
#include <string.h>

/* ---- Softmax ---- */

/* The maximum of each query into its node; returns if one is wide. */
static bool maxima(const struct decode_leaf *t, struct softmax c)
{
    const int64_t tiles = decode_strand(t->keys) / TILE_ROWS, pitch = DECODE_NODE_HEAD + t->dim_v;
    bool wide = false;
    for (int g = 0; g < t->queries; g++) {
        lanes most = splat(-INFINITY);
        for (int64_t n = 0; n < tiles; n++)
            UNROLL
        for (int i = 0; i < PARTS; i++)
            most = larger(load(t->p + (n * t->queries + g) * DECODE_WIDTH + i * LANES), most);
        float m = -INFINITY;
        for (int lane = 0; lane < LANES; lane++)
            m = most[lane] > m ? most[lane] : m;
        m = larger(rounded(splat(m), c), splat(-FLT_MAX))[0];
        t->node[g * pitch] = m;
        wide = wide || m > WIDE || m < -WIDE;
    }
    return wide;
}

/* p ← 2^(c·p − m) of `count` ≤ STRIP vectors from the `first` on, added to their queries' partial sums. */
static inline __attribute__((always_inline)) void weigh(int count, const struct decode_leaf *t, int64_t first,
                                                        struct softmax c, bool wide)
{
    const int64_t all = (int64_t)t->queries * PARTS, pitch = DECODE_NODE_HEAD + t->dim_v;
    lanes x[STRIP], top[STRIP];
    float *sum[STRIP];
    int64_t at = first % all;
    UNROLL
    for (int i = 0; i < count; i++) {
        top[i] = splat(t->node[at / PARTS * pitch]);
        sum[i] = t->sum + at * LANES;
        x[i] = load(t->p + (first + i) * LANES);
        at = at + 1 < all ? at + 1 : 0;
    }
    weights_of(count, c, top, x, wide);
    UNROLL
    for (int i = 0; i < count; i++) {
        store(t->p + (first + i) * LANES, x[i]);
        store(sum[i], load(sum[i]) + x[i]);
    }
}

/* Vectors [first, end) of the tiles. */
static void weights(const struct decode_leaf *t, int64_t first, int64_t end, struct softmax c, bool wide)
{
    for (; wide && first < end; first++)
        weigh(1, t, first, c, true);
    for (; first + STRIP <= end; first += STRIP)
        weigh(STRIP, t, first, c, false);
    for (; first < end; first++)
        weigh(1, t, first, c, false);
}

static void values(const struct decode_leaf *t, struct softmax soft, bool wide)
{
    const int64_t strand = decode_strand(t->keys), whole = t->keys - (DECODE_STRANDS - 1) * strand;
    const int64_t of_tile = (int64_t)t->queries * PARTS;
    for (int64_t c = 0, rows; c < strand; c += rows) {
        rows = least(PASS_ROWS, (whole - c) / TILE_ROWS * TILE_ROWS);
        const bool all = rows > 0;
        rows = all ? rows : TILE_ROWS;
        weights(t, c / TILE_ROWS * of_tile, (c + rows) / TILE_ROWS * of_tile, soft, wide);
        if (all)
            values_of_rows(t, c, rows);
        else
            values_of_some(t, c, c + rows);
    }
}

/* ---- A leaf, and two ---- */

void SABLE_ISA_NAME(sable_decode_leaf)(const struct decode_leaf *t)
{
    const struct softmax c = softmax_of(t->scale);
    const int64_t pitch = DECODE_NODE_HEAD + t->dim_v;
    memset(t->node, 0, (size_t)(t->queries * pitch) * sizeof *t->node);
    memset(t->sum, 0, (size_t)t->queries * DECODE_WIDTH * sizeof *t->sum);
    (t->bf16 ? logits_of_halves : logits_of_floats)(t);
    values(t, c, maxima(t, c));
    for (int g = 0; g < t->queries; g++)
        t->node[g * pitch + 1] = sum_of(t->sum + g * DECODE_WIDTH);
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
