/* Leaves over threads, and the tree of their nodes. A thread takes neighbouring leaves: it reads one stream. */
#include "sable_attention_decode.h"

#include <float.h>
#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "attention_block.h"
#include "attention_task.h"
#include "decode_leaf.h"
#include "sable_array.h"

enum { MOST_NODES = 2 * 62 }; /* that cover any range of leaves */

/* Nodes of all heads over leaves [first, first + 2^level). */
struct held {
    int64_t first;
    int level;
};

struct sable_attention_decode {
    struct sable_attention_shape shape;
    struct sable_attention_decode_part part;
    int threads, rescale;
    int64_t left_out;
    int64_t group, padded; /* query heads of a key head; dim in whole vectors of 16 */
    int64_t first, leaves; /* of the part */
    int64_t node, all;     /* floats of the nodes of one key head, and of all */
    float *slot;           /* [kv_heads][leaves][group][2 + dim_v] */
    float *q;              /* [kv_heads][padded / 16][group][16] */
    float *p, *sum;        /* of each thread, p_size and sum_size floats */
    int64_t p_size, sum_size;
    int count;
    struct held held[MOST_NODES + 1]; /* ascending */
    float *data;                      /* [count][kv_heads][group][2 + dim_v] */
    float *block;                     /* [2 + dim_v][BLOCK], to finish some queries */
};

static int64_t leaves_of(const struct sable_attention_shape *s, struct sable_attention_rows keys)
{
    return (keys.count + s->leaf - 1) / s->leaf;
}

/* The largest aligned subtree that begins at `at` and ends by `end`. */
static int level_at(int64_t at, int64_t end)
{
    int level = 0;
    while (at % (INT64_C(2) << level) == 0 && at + (INT64_C(2) << level) <= end)
        level++;
    return level;
}

static int nodes_of(int64_t first, int64_t leaves, struct held *list)
{
    int count = 0;
    for (int64_t at = first, end = first + leaves; at < end; count++) {
        const int level = level_at(at, end);
        if (list)
            list[count] = (struct held){at, level};
        at += INT64_C(1) << level;
    }
    return count;
}

/* ---- Room ---- */

struct sizes {
    int64_t group, padded, leaves, node, slots, q, p, sum, data, block;
    bool fits;
};

static struct sizes sizes_of(const struct sable_attention_shape *s, const struct sable_attention_decode_part *part,
                             int threads)
{
    struct sizes z = {.group = s->heads / s->kv_heads,
                      .padded = (s->dim + DECODE_WIDTH - 1) / DECODE_WIDTH * DECODE_WIDTH,
                      .leaves = leaves_of(s, part->keys),
                      .block = (DECODE_NODE_HEAD + s->dim_v) * BLOCK};
    int64_t all, most = 1;
    for (int64_t leaves = s->keys / s->leaf + 1; leaves > 0; leaves /= 2)
        most += 2;
    z.fits = sable_multiply(z.group, DECODE_NODE_HEAD + s->dim_v, &z.node) &&
             sable_multiply(part->kv_heads, z.node, &all) && sable_multiply(all, z.leaves, &z.slots) &&
             sable_multiply(all, most, &z.data) && sable_multiply(part->kv_heads * z.group, z.padded, &z.q) &&
             sable_multiply(z.group, decode_strand(s->leaf) * DECODE_STRANDS, &z.p) && z.p < INT64_MAX / 64 / threads &&
             sable_multiply(z.group, DECODE_WIDTH, &z.sum);
    return z;
}

double sable_attention_decode_memory(const struct sable_attention_shape *s,
                                     const struct sable_attention_decode_part *part, int threads)
{
    const struct sizes z = sizes_of(s, part, threads);
    return (double)sizeof(struct sable_attention_decode) +
           4 * ((double)z.slots + (double)z.q + (double)threads * (double)(z.p + z.sum) + (double)z.data +
                (double)z.block);
}

struct sable_attention_decode *sable_attention_decode_create(const struct sable_attention_shape *s,
                                                             const struct sable_attention_decode_part *part,
                                                             int threads)
{
    const struct sizes z = sizes_of(s, part, threads);
    struct sable_attention_decode *d = z.fits ? calloc(1, sizeof *d) : NULL;
    if (!d)
        return NULL;
    d->shape = *s, d->part = *part, d->threads = threads, d->rescale = 1, d->left_out = -1;
    d->group = z.group, d->padded = z.padded, d->node = z.node, d->all = part->kv_heads * z.node, d->p_size = z.p,
    d->sum_size = z.sum;
    d->first = part->keys.first / s->leaf, d->leaves = z.leaves;
    d->slot = sable_array(z.slots, 1, sizeof *d->slot);
    d->q = sable_array(z.q, 1, sizeof *d->q);
    d->p = sable_array(threads, z.p, sizeof *d->p);
    d->sum = sable_array(threads, z.sum, sizeof *d->sum);
    d->data = sable_array(z.data, 1, sizeof *d->data);
    d->block = sable_array(z.block, 1, sizeof *d->block);
    if (d->slot && d->q && d->p && d->sum && d->data && d->block)
        return d;
    sable_attention_decode_free(d);
    return NULL;
}

void sable_attention_decode_free(struct sable_attention_decode *d)
{
    if (!d)
        return;
    sable_array_free(d->slot);
    sable_array_free(d->q);
    sable_array_free(d->p);
    sable_array_free(d->sum);
    sable_array_free(d->data);
    sable_array_free(d->block);
    free(d);
}

void sable_attention_decode_leave_out(struct sable_attention_decode *d, int64_t leaf)
{
    d->left_out = leaf;
}

void sable_attention_decode_forget_maxima(struct sable_attention_decode *d)
{
    d->rescale = 0;
}

/* ---- Leaves ---- */

/* q [kv_heads·group][dim], as it is stored, into vectors of floats. */
static void pack_queries(struct sable_attention_decode *d, const void *q)
{
    const int64_t dim = d->shape.dim, pitch = sable_attention_pitch(&d->shape, dim);
    memset(d->q, 0, (size_t)(d->part.kv_heads * d->group * d->padded) * sizeof *d->q);
    for (int64_t h = 0; h < d->part.kv_heads; h++)
        for (int64_t g = 0; g < d->group; g++)
            for (int64_t i = 0; i < dim; i++) {
                const int64_t at = (h * d->group + g) * pitch + i;
                d->q[h * d->group * d->padded + (i / DECODE_WIDTH * d->group + g) * DECODE_WIDTH + i % DECODE_WIDTH] =
                    sable_attention_value(d->shape.bf16, q, at);
            }
}

static void empty(const struct sable_attention_decode *d, float *node)
{
    for (int64_t g = 0; g < d->group; g++) {
        float *one = node + g * (DECODE_NODE_HEAD + d->shape.dim_v);
        memset(one, 0, (size_t)(DECODE_NODE_HEAD + d->shape.dim_v) * sizeof *one);
        one[0] = -FLT_MAX;
    }
}

static void attend(struct sable_attention_decode *d, int64_t task, const void *k, const void *v)
{
    const struct sable_attention_shape *s = &d->shape;
    const int64_t head = task / d->leaves, leaf = task % d->leaves, first = leaf * s->leaf;
    const int64_t left = d->part.keys.count - first, at = head * d->part.keys.count + first;
    const int64_t keys = left < s->leaf ? left : s->leaf;
    const bool last = task + 1 == d->part.kv_heads * d->leaves;
    float *node = d->slot + task * d->node;
    const struct decode_leaf t = {.dim = s->dim,
                                  .dim_v = s->dim_v,
                                  .keys = keys,
                                  .queries = (int)d->group,
                                  .scale = s->scale,
                                  .q = d->q + head * d->group * d->padded,
                                  .bf16 = s->bf16,
                                  .k = sable_attention_row(s, s->dim, k, at),
                                  .v = sable_attention_row(s, s->dim_v, v, at),
                                  .next = sable_attention_row(s, s->dim, k, last ? at : at + keys),
                                  .pitch = sable_attention_pitch(s, s->dim),
                                  .pitch_v = sable_attention_pitch(s, s->dim_v),
                                  .p = d->p + omp_get_thread_num() * d->p_size,
                                  .sum = d->sum + omp_get_thread_num() * d->sum_size,
                                  .node = node};
    if (d->first + leaf == d->left_out)
        empty(d, node);
    else
        SABLE_ISA_PICK(sable_decode_leaf)(&t);
}

/* The nodes of a subtree of leaves, into the slot of its first. */
static void join_leaves(struct sable_attention_decode *d, int64_t head, struct held node)
{
    float *slot = d->slot + (head * d->leaves + node.first - d->first) * d->node;
    for (int64_t step = 1; step < INT64_C(1) << node.level; step *= 2)
        for (int64_t i = 0; i < INT64_C(1) << node.level; i += 2 * step)
            SABLE_ISA_PICK(sable_decode_join)
    (d->group, d->shape.dim_v, slot + i * d->node, slot + (i + step) * d->node, d->rescale);
}

void sable_attention_decode_add(struct sable_attention_decode *d, const void *q, const void *k, const void *v)
{
    const int64_t heads = d->part.kv_heads;
    pack_queries(d, q);
    d->count = nodes_of(d->first, d->leaves, d->held);
#pragma omp parallel num_threads(d->threads)
    {
#pragma omp for schedule(static)
        for (int64_t task = 0; task < heads * d->leaves; task++)
            attend(d, task, k, v);
#pragma omp for collapse(2) schedule(static)
        for (int64_t head = 0; head < heads; head++)
            for (int n = 0; n < d->count; n++) {
                join_leaves(d, head, d->held[n]);
                memcpy(d->data + n * d->all + head * d->node,
                       d->slot + (head * d->leaves + d->held[n].first - d->first) * d->node,
                       (size_t)d->node * sizeof *d->data);
            }
    }
}

/* ---- Nodes of several ranks ---- */

int64_t sable_attention_decode_floats(const struct sable_attention_shape *s, int64_t kv_heads,
                                      struct sable_attention_rows keys)
{
    return nodes_of(keys.first / s->leaf, leaves_of(s, keys), NULL) * kv_heads * (s->heads / s->kv_heads) *
           (DECODE_NODE_HEAD + s->dim_v);
}

void sable_attention_decode_pack(const struct sable_attention_decode *d, float *to)
{
    memcpy(to, d->data, (size_t)(d->count * d->all) * sizeof *to);
}

/* Node n takes in the one behind it. */
static void join_nodes(struct sable_attention_decode *d, int n)
{
    SABLE_ISA_PICK(sable_decode_join)
    (d->part.kv_heads * d->group, d->shape.dim_v, d->data + n * d->all, d->data + (n + 1) * d->all, d->rescale);
}

void sable_attention_decode_join(struct sable_attention_decode *d, struct sable_attention_rows keys, const float *from)
{
    struct held arriving[MOST_NODES];
    const int count = nodes_of(keys.first / d->shape.leaf, leaves_of(&d->shape, keys), arriving);
    for (int i = 0; i < count; i++) {
        memcpy(d->data + d->count * d->all, from + i * d->all, (size_t)d->all * sizeof *from);
        d->held[d->count++] = arriving[i];
        for (; d->count > 1; d->count--) { /* siblings become their parent */
            struct held *left = &d->held[d->count - 2];
            if (left->level != left[1].level || left->first % (INT64_C(2) << left->level) != 0)
                break;
            join_nodes(d, d->count - 2);
            left->level++;
        }
    }
}

/* Up to BLOCK queries, transposed as sable_attention_finish() takes them. */
static void finish_some(const struct sable_attention_decode *d, int64_t first, int rows, float *out, float *lse)
{
    const int64_t pitch = DECODE_NODE_HEAD + d->shape.dim_v;
    struct attention_slot slot = {0, 0, d->block};
    struct attention_set set = {1, 1, &slot};
    memset(d->block, 0, (size_t)(pitch * BLOCK) * sizeof *d->block);
    for (int r = 0; r < rows; r++)
        for (int64_t i = 0; i < pitch; i++)
            d->block[i * BLOCK + r] = d->data[(first + r) * pitch + i];
    SABLE_ISA_PICK(sable_attention_finish)(d->shape.dim_v, rows, &set, out + first * d->shape.dim_v, lse + first);
}

void sable_attention_decode_finish(struct sable_attention_decode *d, float *out, float *lse)
{
    const int64_t rows = d->part.kv_heads * d->group;
    for (; d->count > 1; d->count--) /* a missing right child leaves the left one as it is */
        join_nodes(d, d->count - 2);
    for (int64_t first = 0; first < rows; first += BLOCK)
        finish_some(d, first, (int)(rows - first < BLOCK ? rows - first : BLOCK), out, lse);
}
