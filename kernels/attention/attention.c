/* Blocks of queries over threads. A task is one block of one head: it needs no other. Blocks of a head are handed out
 * from the last to the first: under a causal mask the longest come first, and a head's keys stay in the caches. */
#include "sable_attention.h"

#include <stdlib.h>
#include <string.h>
#include <omp.h>

#include "attention_task.h"
#include "sable_array.h"

_Static_assert((int)BLOCK == (int)SABLE_ATTENTION_BLOCK, "the public header tells the block");

struct sable_attention {
    struct sable_attention_shape shape;
    struct sable_attention_part part;
    int threads;
    int64_t blocks;                    /* of a head */
    struct attention_scratch *scratch; /* [threads] */
    struct attention_set *set;         /* [threads], or [heads × blocks] where keys arrive in steps */
    int64_t sets;
    int room;
    float *floats; /* all of the scratch and the nodes */
    struct attention_slot *slots;
    int64_t left_out;
    bool raises_maximum;
};

int64_t sable_attention_kv_head(const struct sable_attention_shape *shape, int64_t head)
{
    return head / shape->heads * shape->kv_heads + head % shape->heads / (shape->heads / shape->kv_heads);
}

double sable_attention_pairs(const struct sable_attention_shape *shape, struct sable_attention_rows rows)
{
    if (!shape->causal)
        return (double)rows.count * (double)shape->keys;
    int64_t first = rows.first + shape->keys - shape->queries + 1, end = first + rows.count; /* keys seen by rows */
    first = first < 0 ? 0 : first;
    end = end < first ? first : end;
    double n = (double)(end - first);
    return n * (double)first + n * (n - 1) / 2;
}

/* ---- Room ---- */

static int64_t blocks_of(struct sable_attention_rows rows)
{
    return (rows.count + BLOCK - 1) / BLOCK;
}

static bool is_there(const int64_t (*node)[2], int count, int64_t level, int64_t index, int *at)
{
    for (*at = 0; *at < count; ++*at)
        if (node[*at][0] == level && node[*at][1] == index)
            return true;
    return false;
}

/* The most nodes that are ever pending, by going through the arrivals without computing. A causal mask cuts one of the
 * ranges of leaves short: where one node stood for it, two of each level may. */
static int room_of(const struct sable_attention_shape *shape, int64_t arrivals,
                   const struct sable_attention_keys *arrival)
{
    enum { MOST = 1024 };
    int64_t node[MOST][2];
    int count = 0, most = 1, at;
    const struct sable_attention_keys all = {.count = shape->keys};
    for (int64_t a = 0; a < (arrivals ? arrivals : 1); a++) {
        const struct sable_attention_keys *keys = arrivals ? &arrival[a] : &all;
        for (int64_t leaf = keys->first / shape->leaf; leaf * shape->leaf < keys->first + keys->count; leaf++) {
            int64_t level = 0, index = leaf;
            most = count + 1 > most ? count + 1 : most;
            while (is_there((const int64_t(*)[2])node, count, level, index ^ 1, &at)) {
                count--;
                node[at][0] = node[count][0], node[at][1] = node[count][1];
                level++, index /= 2;
            }
            if (count == MOST)
                return 0;
            node[count][0] = level, node[count][1] = index;
            count++;
        }
    }
    for (int64_t leaves = shape->keys / shape->leaf + 1; arrivals && shape->causal && leaves > 0; leaves /= 2)
        most += 2;
    return most;
}

struct sizes {
    int64_t blocks, sets, scratch, node, floats; /* the last three in floats */
    int room;
    bool fits;
};

static struct sizes sizes_of(const struct sable_attention_shape *shape, const struct sable_attention_part *part,
                             int threads, int64_t arrivals, const struct sable_attention_keys *arrival)
{
    struct sizes s = {.blocks = blocks_of(part->rows[0]) + blocks_of(part->rows[1]),
                      .room = room_of(shape, arrivals, arrival),
                      .scratch = (shape->dim + TILE) * BLOCK + (shape->bf16 ? TILE * (shape->dim + shape->dim_v) : 0),
                      .node = (NODE_HEAD + shape->dim_v) * BLOCK};
    int64_t nodes = 0, slots = 0;
    if (shape->dim > INT32_MAX || shape->dim_v > INT32_MAX)
        return s;
    s.fits = s.room > 0 && sable_multiply(part->heads, s.blocks, &s.sets);
    s.sets = arrivals ? s.sets : threads;
    s.fits = s.fits && sable_multiply(s.sets, s.room, &slots) && sable_multiply(slots, s.node, &nodes) &&
             !__builtin_add_overflow(nodes, threads * s.scratch, &s.floats);
    return s;
}

double sable_attention_memory(const struct sable_attention_shape *shape, const struct sable_attention_part *part,
                              int threads, int64_t arrivals, const struct sable_attention_keys *arrival)
{
    struct sizes s = sizes_of(shape, part, threads, arrivals, arrival);
    double slots = (double)s.sets * s.room;
    return (double)sizeof(float) * (slots * (double)s.node + (double)threads * (double)s.scratch) +
           slots * (double)sizeof(struct attention_slot) + (double)s.sets * (double)sizeof(struct attention_set);
}

struct sable_attention *sable_attention_create(const struct sable_attention_shape *shape,
                                               const struct sable_attention_part *part, int threads, int64_t arrivals,
                                               const struct sable_attention_keys *arrival)
{
    struct sizes s = sizes_of(shape, part, threads, arrivals, arrival);
    struct sable_attention *a = s.fits ? calloc(1, sizeof *a) : NULL;
    if (!a)
        return NULL;
    *a = (struct sable_attention){.shape = *shape,
                                  .part = *part,
                                  .threads = threads,
                                  .blocks = s.blocks,
                                  .sets = s.sets,
                                  .room = s.room,
                                  .left_out = -1};
    a->scratch = sable_array(threads, 1, sizeof *a->scratch);
    a->set = sable_array(s.sets, 1, sizeof *a->set);
    a->slots = sable_array(s.sets, s.room, sizeof *a->slots);
    a->floats = sable_array(s.floats, 1, sizeof *a->floats);
    if (!a->scratch || !a->set || !a->slots || !a->floats) {
        sable_attention_free(a);
        return NULL;
    }
    float *next = a->floats;
    for (int t = 0; t < threads; t++) {
        float *p = next + shape->dim * BLOCK, *k = p + TILE * BLOCK;
        a->scratch[t] = (struct attention_scratch){next, p, k, k + (shape->bf16 ? TILE * shape->dim : 0)};
        next += s.scratch;
    }
    for (int64_t i = 0; i < s.sets; i++) {
        a->set[i] = (struct attention_set){0, s.room, a->slots + i * s.room};
        for (int n = 0; n < s.room; n++, next += s.node)
            a->set[i].slot[n].node = next;
    }
    return a;
}

void sable_attention_free(struct sable_attention *a)
{
    if (!a)
        return;
    sable_array_free(a->scratch);
    sable_array_free(a->set);
    sable_array_free(a->slots);
    sable_array_free(a->floats);
    free(a);
}

void sable_attention_leave_out(struct sable_attention *a, int64_t leaf)
{
    a->left_out = leaf;
}

void sable_attention_raise_maximum(struct sable_attention *a)
{
    a->raises_maximum = true;
}

/* ---- Tasks ---- */

struct task {
    int64_t head;  /* of the part */
    int64_t local; /* first row within the rank's rows of a head */
    int64_t row;   /* the same within the whole sequence */
    int rows;
    int64_t set;
};

static struct task task_of(const struct sable_attention *a, int64_t number)
{
    const struct sable_attention_rows *rows = a->part.rows;
    int64_t head = number / a->blocks, block = a->blocks - 1 - number % a->blocks, first = blocks_of(rows[0]);
    int segment = block >= first;
    int64_t start = (block - (segment ? first : 0)) * BLOCK, left = rows[segment].count - start;
    return (struct task){.head = head,
                         .local = start + (segment ? rows[0].count : 0),
                         .row = rows[segment].first + start,
                         .rows = left < BLOCK ? (int)left : BLOCK,
                         .set = head * a->blocks + block};
}

static int64_t rows_of(const struct sable_attention *a)
{
    return a->part.rows[0].count + a->part.rows[1].count;
}

const void *sable_attention_row(const struct sable_attention_shape *s, int64_t dim, const void *array, int64_t row)
{
    const size_t size = s->bf16 ? sizeof(uint16_t) : sizeof(float);
    return (const char *)array + (size_t)(row * sable_attention_pitch(s, dim)) * size;
}

/* One block against one range of keys. */
static void attend(const struct sable_attention *a, const struct task *t, const void *q,
                   const struct sable_attention_keys *keys, struct attention_set *set)
{
    const struct sable_attention_shape *s = &a->shape;
    int64_t kv = sable_attention_kv_head(s, a->part.head + t->head) - sable_attention_kv_head(s, a->part.head);
    const struct attention_block block = {
        .dim = s->dim,
        .dim_v = s->dim_v,
        .leaf = s->leaf,
        .scale = s->scale,
        .causal = s->causal,
        .offset = s->keys - s->queries,
        .row = t->row,
        .rows = t->rows,
        .q = sable_attention_row(s, s->dim, q, t->head * rows_of(a) + t->local),
        .first = keys->first,
        .keys = keys->count,
        .k = sable_attention_row(s, s->dim, keys->k, kv * keys->pitch),
        .v = sable_attention_row(s, s->dim_v, keys->v, kv * keys->pitch),
        .bf16 = s->bf16,
        .skipped = a->left_out,
    };
    SABLE_ISA_PICK(sable_attention_block)(&block, &a->scratch[omp_get_thread_num()], set);
}

static void finish(const struct sable_attention *a, int rows, struct attention_set *set, float *out, float *lse)
{
    for (int r = 0; r < BLOCK && a->raises_maximum && set->count > 0; r++)
        set->slot[0].node[r] += 1;
    SABLE_ISA_PICK(sable_attention_finish)(a->shape.dim_v, rows, set, out, lse);
}

static void end(const struct sable_attention *a, const struct task *t, struct attention_set *set, float *out,
                float *lse)
{
    int64_t at = t->head * rows_of(a) + t->local;
    finish(a, t->rows, set, out + at * a->shape.dim_v, lse + at);
}

void sable_attention_one_block(struct sable_attention *a, const struct attention_block *block, float *out, float *lse)
{
    struct attention_set *set = &a->set[omp_get_thread_num()];
    struct attention_block own = *block;
    own.skipped = a->left_out;
    set->count = 0;
    SABLE_ISA_PICK(sable_attention_block)(&own, &a->scratch[omp_get_thread_num()], set);
    finish(a, block->rows, set, out, lse);
}

void sable_attention(struct sable_attention *a, const void *q, int64_t ranges, const struct sable_attention_keys *keys,
                     float *out, float *lse)
{
#pragma omp parallel for schedule(dynamic) num_threads(a->threads)
    for (int64_t number = 0; number < a->part.heads * a->blocks; number++) {
        struct task t = task_of(a, number);
        struct attention_set *set = &a->set[omp_get_thread_num()];
        set->count = 0;
        for (int64_t i = 0; i < ranges; i++)
            attend(a, &t, q, &keys[i], set);
        end(a, &t, set, out, lse);
    }
}

void sable_attention_begin(struct sable_attention *a)
{
    for (int64_t i = 0; i < a->sets; i++)
        a->set[i].count = 0;
}

void sable_attention_add(struct sable_attention *a, const void *q, const struct sable_attention_keys *keys,
                         void (*progress)(void *), void *data)
{
#pragma omp parallel for schedule(dynamic) num_threads(a->threads)
    for (int64_t number = 0; number < a->part.heads * a->blocks; number++) {
        struct task t = task_of(a, number);
        attend(a, &t, q, keys, &a->set[t.set]);
        if (progress && omp_get_thread_num() == 0)
            progress(data);
    }
}

void sable_attention_finish(struct sable_attention *a, float *out, float *lse)
{
#pragma omp parallel for schedule(dynamic) num_threads(a->threads)
    for (int64_t number = 0; number < a->part.heads * a->blocks; number++) {
        struct task t = task_of(a, number);
        end(a, &t, &a->set[t.set], out, lse);
    }
}
