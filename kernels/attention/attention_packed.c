/* Packed sequences over threads. A task is one block of queries of one head of one sequence, with that sequence's keys
 * and mask: it is a task of sable_attention(), so its bits are the same. Sequences with the most keys come first, and
 * of each the blocks of a head from the last to the first: long tasks begin early, a head's keys stay in the caches,
 * and what is left to the end is short. */
#include "sable_attention_packed.h"

#include <stdlib.h>

#include "attention_task.h"
#include "sable_array.h"

struct entry {
    struct sable_attention_sequence sequence;
    int64_t first; /* task */
};

struct sable_attention_packed {
    struct sable_attention_shape shape;
    int64_t head, heads;
    int threads;
    struct sable_attention *room;
    int64_t sequences, tasks;
    struct entry *entry; /* [sequences], longest first */
};

static const struct sable_attention_part no_part;

static struct sable_attention_shape longest(const struct sable_attention_shape *shape, int64_t most_keys)
{
    struct sable_attention_shape s = *shape;
    s.keys = most_keys;
    return s;
}

static int64_t blocks_of(const struct sable_attention_sequence *s)
{
    return (s->queries + BLOCK - 1) / BLOCK;
}

int sable_attention_longest_first(const void *left, const void *right)
{
    const struct sable_attention_sequence *a = left, *b = right;
    if (a->keys != b->keys)
        return a->keys > b->keys ? -1 : 1;
    return a->query < b->query ? -1 : a->query > b->query;
}

double sable_attention_packed_memory(const struct sable_attention_shape *shape, int threads, int64_t sequences,
                                     int64_t most_keys)
{
    const struct sable_attention_shape s = longest(shape, most_keys);
    return sable_attention_memory(&s, &no_part, threads, 0, NULL) + (double)sequences * (double)sizeof(struct entry);
}

struct sable_attention_packed *sable_attention_packed_create(const struct sable_attention_shape *shape, int64_t head,
                                                             int64_t heads, int threads, int64_t sequences,
                                                             const struct sable_attention_sequence *sequence)
{
    int64_t most_keys = 0;
    struct sable_attention_packed *p = calloc(1, sizeof *p);
    struct entry *entry = sable_array(sequences, 1, sizeof *entry);
    if (!p || !entry) {
        free(p);
        sable_array_free(entry);
        return NULL;
    }
    *p = (struct sable_attention_packed){
        .shape = *shape, .head = head, .heads = heads, .threads = threads, .sequences = sequences, .entry = entry};
    for (int64_t i = 0; i < sequences; i++) {
        entry[i].sequence = sequence[i];
        most_keys = sequence[i].keys > most_keys ? sequence[i].keys : most_keys;
    }
    qsort(entry, (size_t)sequences, sizeof *entry, sable_attention_longest_first);
    for (int64_t i = 0; i < sequences; i++) {
        entry[i].first = p->tasks;
        p->tasks += heads * blocks_of(&entry[i].sequence);
    }
    const struct sable_attention_shape s = longest(shape, most_keys);
    p->room = sable_attention_create(&s, &no_part, threads, 0, NULL);
    if (!p->room) {
        sable_attention_packed_free(p);
        return NULL;
    }
    return p;
}

void sable_attention_packed_free(struct sable_attention_packed *p)
{
    if (!p)
        return;
    sable_attention_free(p->room);
    sable_array_free(p->entry);
    free(p);
}

void sable_attention_packed_leave_out(struct sable_attention_packed *p, int64_t leaf)
{
    sable_attention_leave_out(p->room, leaf);
}

void sable_attention_packed_raise_maximum(struct sable_attention_packed *p)
{
    sable_attention_raise_maximum(p->room);
}

/* The last entry that begins at or before the task: entries without tasks are passed over. */
static const struct entry *entry_of(const struct sable_attention_packed *p, int64_t task)
{
    int64_t from = 0, end = p->sequences;
    while (end - from > 1) {
        int64_t middle = from + (end - from) / 2;
        if (p->entry[middle].first <= task)
            from = middle;
        else
            end = middle;
    }
    return &p->entry[from];
}

void sable_attention_packed(struct sable_attention_packed *p, const void *q, const void *k, const void *v, float *out,
                            float *lse)
{
    const struct sable_attention_shape *s = &p->shape;
#pragma omp parallel for schedule(dynamic) num_threads(p->threads)
    for (int64_t number = 0; number < p->tasks; number++) {
        const struct entry *entry = entry_of(p, number);
        const struct sable_attention_sequence *own = &entry->sequence;
        const int64_t task = number - entry->first, blocks = blocks_of(own), head = task / blocks;
        const int64_t row = (blocks - 1 - task % blocks) * BLOCK, left = own->queries - row;
        const int64_t kv = sable_attention_kv_head(s, p->head + head) - sable_attention_kv_head(s, p->head);
        const int64_t at = head * s->queries + own->query + row, key = kv * s->keys + own->key;
        const struct attention_block block = {
            .dim = s->dim,
            .dim_v = s->dim_v,
            .leaf = s->leaf,
            .scale = s->scale,
            .causal = s->causal,
            .offset = own->keys - own->queries,
            .row = row,
            .rows = left < BLOCK ? (int)left : BLOCK,
            .q = sable_attention_row(s, s->dim, q, at),
            .keys = own->keys,
            .k = sable_attention_row(s, s->dim, k, key),
            .v = sable_attention_row(s, s->dim_v, v, key),
            .bf16 = s->bf16,
        };
        sable_attention_one_block(p->room, &block, out + at * s->dim_v, lse + at);
    }
}
