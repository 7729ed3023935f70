/* Leaves of keys over threads. A task is one leaf of one key head against all queries that read it: dk and dv of the
 * leaf never leave the thread's cache, and are written once. Leaves of a head add to dq in ascending order: a turn for
 * each block of queries says whose it is. Tasks are handed out leaf by leaf, so an earlier leaf has always begun
 * earlier, and nobody waits for a task that nobody computes. Under a causal mask the longest leaves come first. */
#include "sable_attention_backward.h"

#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "attention_backward.h"
#include "attention_task.h"
#include "sable_array.h"

struct sable_attention_backward {
    struct sable_attention_shape shape;
    int64_t kv_heads, group, blocks;
    int threads;
    struct backward_scratch *scratch; /* [threads] */
    struct backward_rows rows;
    _Atomic int64_t *turn;
    float *floats;
    int64_t left_out;
};

/* ---- Room ---- */

struct sizes {
    int64_t heads, blocks, rows, scratch, floats, turns;
    bool fits;
};

static struct sizes sizes_of(const struct sable_attention_shape *s, int64_t kv_heads, int64_t keys, int threads)
{
    struct sizes z = {.blocks = (s->queries + QUERIES - 1) / QUERIES};
    int64_t dims = s->dim + s->dim_v, padded = backward_padded(s->dim) + backward_padded(s->dim_v), part, all, own;
    int64_t leaf = s->leaf < keys ? s->leaf : keys;
    z.fits = sable_multiply(kv_heads, s->heads / s->kv_heads, &z.heads) &&
             sable_multiply(z.heads, z.blocks * QUERIES, &z.rows) && sable_multiply(z.heads, z.blocks, &z.turns) &&
             sable_multiply(dims + s->dim + padded + 2 * KEY_TILE + 3, QUERIES, &part) &&
             sable_multiply(leaf, s->bf16 ? 2 * padded : padded, &own) &&
             !__builtin_add_overflow(part, own, &z.scratch) && sable_multiply(z.scratch, threads, &all) &&
             sable_multiply(z.rows, 3, &own) && !__builtin_add_overflow(all, own, &z.floats);
    return z;
}

double sable_attention_backward_memory(const struct sable_attention_shape *shape, int64_t kv_heads, int64_t keys,
                                       int threads)
{
    struct sizes z = sizes_of(shape, kv_heads, keys, threads);
    return (double)z.floats * sizeof(float) + (double)z.turns * sizeof(int64_t) +
           (double)threads * sizeof(struct backward_scratch);
}

static float *take(float **next, int64_t floats)
{
    float *taken = *next;
    *next += floats;
    return taken;
}

struct sable_attention_backward *sable_attention_backward_create(const struct sable_attention_shape *shape,
                                                                 int64_t kv_heads, int64_t keys, int threads)
{
    struct sizes z = sizes_of(shape, kv_heads, keys, threads);
    struct sable_attention_backward *b = z.fits ? calloc(1, sizeof *b) : NULL;
    if (!b)
        return NULL;
    *b = (struct sable_attention_backward){.shape = *shape,
                                           .kv_heads = kv_heads,
                                           .group = shape->heads / shape->kv_heads,
                                           .blocks = z.blocks,
                                           .threads = threads,
                                           .left_out = -1};
    b->scratch = sable_array(threads, 1, sizeof *b->scratch);
    b->turn = sable_array(z.turns, 1, sizeof *b->turn);
    b->floats = sable_array(z.floats, 1, sizeof *b->floats);
    if (!b->scratch || !b->turn || !b->floats) {
        sable_attention_backward_free(b);
        return NULL;
    }
    int64_t dim = backward_padded(shape->dim), dim_v = backward_padded(shape->dim_v);
    int64_t leaf = shape->leaf < keys ? shape->leaf : keys;
    float *next = b->floats;
    for (int t = 0; t < threads; t++)
        b->scratch[t] = (struct backward_scratch){.q = take(&next, shape->dim * QUERIES),
                                                  .dout = take(&next, shape->dim_v * QUERIES),
                                                  .q_rows = take(&next, dim * QUERIES),
                                                  .dout_rows = take(&next, dim_v * QUERIES),
                                                  .p = take(&next, KEY_TILE * QUERIES),
                                                  .s = take(&next, KEY_TILE * QUERIES),
                                                  .dq = take(&next, shape->dim * QUERIES),
                                                  .dk = take(&next, leaf * dim),
                                                  .dv = take(&next, leaf * dim_v),
                                                  .row = take(&next, 3 * QUERIES),
                                                  .k = take(&next, shape->bf16 ? leaf * dim : 0),
                                                  .v = take(&next, shape->bf16 ? leaf * dim_v : 0)};
    b->rows = (struct backward_rows){take(&next, z.rows), take(&next, z.rows), take(&next, z.rows)};
    return b;
}

void sable_attention_backward_free(struct sable_attention_backward *b)
{
    if (!b)
        return;
    sable_array_free(b->scratch);
    sable_array_free((void *)b->turn);
    sable_array_free(b->floats);
    free(b);
}

void sable_attention_backward_leave_out(struct sable_attention_backward *b, int64_t leaf)
{
    b->left_out = leaf;
}

/* ---- What belongs to a row ---- */

enum { CHAINS = 8 };

/* Channel d is added to chain d mod 8; double precision, so that δ's rounding is that of one float. */
static inline __attribute__((always_inline)) double dot(bool bf16, const void *x, const float *y, int64_t n)
{
    double sum[CHAINS] = {0};
    int64_t d = 0;
    for (; d + CHAINS <= n; d += CHAINS)
        for (int i = 0; i < CHAINS; i++)
            sum[i] += (double)sable_attention_value(bf16, x, d + i) * (double)y[d + i];
    for (int i = 0; d < n; d++, i++)
        sum[i] += (double)sable_attention_value(bf16, x, d) * (double)y[d];
    return ((sum[0] + sum[4]) + (sum[2] + sum[6])) + ((sum[1] + sum[5]) + (sum[3] + sum[7]));
}

/* exp(−lse) = 2^(−power)·factor. A row that sees nothing gets such a power that every weight is 0. */
static void describe_row(const struct sable_attention_backward *b, int64_t r, const void *dout, const float *out,
                         float lse)
{
    const int64_t dim_v = b->shape.dim_v;
    double log2_sum = (double)lse * 0x1.71547652b82fep+0, whole = rint(log2_sum);
    bool nothing = lse == -INFINITY;
    b->rows.power[r] = nothing ? 1e30F : isfinite(lse) ? (float)whole : 0;
    b->rows.factor[r] = nothing ? 0 : isfinite(lse) ? (float)exp2(whole - log2_sum) : NAN;
    b->rows.delta[r] =
        nothing ? 0 : -(float)(b->shape.bf16 ? dot(true, dout, out, dim_v) : dot(false, dout, out, dim_v));
}

/* ---- All ---- */

static struct backward_leaf leaf_of(const struct sable_attention_backward *b, int64_t kv, int64_t leaf, const void *q,
                                    const void *dout, const struct sable_attention_keys *keys, float *dq, float *dk,
                                    float *dv)
{
    const struct sable_attention_shape *s = &b->shape;
    int64_t first = leaf * s->leaf, end = keys->first + keys->count, at = first - keys->first;
    int64_t head = kv * b->group, row = head * s->queries;
    return (struct backward_leaf){
        .dim = s->dim,
        .dim_v = s->dim_v,
        .queries = s->queries,
        .scale = s->scale,
        .causal = s->causal,
        .offset = s->keys - s->queries,
        .leaf = leaf,
        .first = first,
        .keys = (end - first < s->leaf ? end - first : s->leaf),
        .bf16 = s->bf16,
        .k = sable_attention_row(s, s->dim, keys->k, kv * keys->pitch + at),
        .v = sable_attention_row(s, s->dim_v, keys->v, kv * keys->pitch + at),
        .dk = dk + (kv * keys->count + at) * s->dim,
        .dv = dv + (kv * keys->count + at) * s->dim_v,
        .heads = b->group,
        .q = sable_attention_row(s, s->dim, q, row),
        .dout = sable_attention_row(s, s->dim_v, dout, row),
        .dq = dq + row * s->dim,
        .rows = {b->rows.power + row, b->rows.factor + row, b->rows.delta + row},
        .turn = b->turn + head * b->blocks,
    };
}

static void leave_out(const struct backward_leaf *leaf)
{
    memset(leaf->dk, 0, (size_t)(leaf->keys * leaf->dim) * sizeof(float));
    memset(leaf->dv, 0, (size_t)(leaf->keys * leaf->dim_v) * sizeof(float));
    int64_t turns = leaf->heads * ((leaf->queries + QUERIES - 1) / QUERIES);
    for (int64_t i = 0; i < turns; i++) /* only the first leaf is ever left out: it need not wait */
        atomic_store_explicit(&leaf->turn[i], leaf->leaf + 1, memory_order_release);
}

void sable_attention_backward(struct sable_attention_backward *b, int64_t kv_heads, const void *q, const void *dout,
                              const float *out, const float *lse, const struct sable_attention_keys *keys, float *dq,
                              float *dk, float *dv)
{
    const struct sable_attention_shape *s = &b->shape;
    int64_t rows = kv_heads * b->group * s->queries, first = keys->first / s->leaf;
    int64_t leaves = (keys->count + s->leaf - 1) / s->leaf;
    _Atomic int64_t next = 0;
#pragma omp parallel num_threads(b->threads)
    {
#pragma omp for schedule(static)
        for (int64_t r = 0; r < rows; r++)
            describe_row(b, r, sable_attention_row(s, s->dim_v, dout, r), out + r * s->dim_v, lse[r]);
#pragma omp for schedule(static)
        for (int64_t i = 0; i < kv_heads * b->group * b->blocks; i++)
            atomic_store_explicit(&b->turn[i], first, memory_order_relaxed);
        for (int64_t task; (task = atomic_fetch_add(&next, 1)) < leaves * kv_heads;) {
            struct backward_leaf leaf = leaf_of(b, task % kv_heads, first + task / kv_heads, q, dout, keys, dq, dk, dv);
            if (leaf.leaf == b->left_out)
                leave_out(&leaf);
            else
                SABLE_ISA_PICK(sable_attention_backward_leaf)(&leaf, &b->scratch[omp_get_thread_num()]);
        }
    }
}
