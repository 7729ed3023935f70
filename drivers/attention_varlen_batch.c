/* The sequences of attention/varlen: lengths drawn or read, and which rank has which. Lengths depend on the parameters
 * alone: a run with another seed does the same work. */
#include "attention_varlen.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "input.h"
#include "sable_array.h"
#include "sable_random.h"

enum { PURPOSE_LENGTHS = 60 }; /* + 1: of the keys */

void varlen_free_batch(struct varlen_batch *b)
{
    sable_array_free(b->sequence);
    *b = (struct varlen_batch){0};
}

static int make_room(int64_t sequences, struct varlen_batch *b, struct sable_error *error)
{
    *b = (struct varlen_batch){.sequences = sequences, .sequence = sable_array(sequences, 1, sizeof *b->sequence)};
    return b->sequence ? SABLE_OK
                       : sable_fail(error, SABLE_ENVIRONMENT, "attention/varlen: out of memory for the sequences");
}

/* Places from lengths. */
static int place(struct varlen_batch *b, struct sable_error *error)
{
    for (int64_t i = 0; i < b->sequences; i++) {
        struct sable_attention_sequence *s = &b->sequence[i];
        s->query = b->queries, s->key = b->keys;
        b->queries += s->queries, b->keys += s->keys;
        b->most_keys = s->keys > b->most_keys ? s->keys : b->most_keys;
    }
    if (b->queries == 0 || b->keys == 0)
        return sable_fail(error, SABLE_BAD_INPUT, "attention/varlen: none of the sequences has any %s",
                          b->queries == 0 ? "queries" : "keys");
    return SABLE_OK;
}

/* ---- Drawn ---- */

static int64_t drawn_length(int lengths, int64_t mean, uint32_t purpose, int64_t i)
{
    const struct sable_random_block drawn = sable_random(0, purpose, (uint64_t)i, 0);
    const double x = sable_random_unit(drawn.word[0], drawn.word[1]), m = (double)mean;
    if (lengths == LENGTHS_UNIFORM) /* 0 … 2·mean */
        return (int64_t)(x * (2 * m + 1));
    if (lengths == LENGTHS_GEOMETRIC) /* 0, 1, … by P(length ≥ n) = (mean/(mean + 1))^n */
        return (int64_t)(log1p(-x) / log1p(-1 / (m + 1)));
    return mean;
}

/* The n-th longest has a length of 1/n of the longest, for the same total as with equal lengths; shuffled. */
static void zipf_lengths(int64_t sequences, int64_t mean, uint32_t purpose, int64_t *length)
{
    double harmonic = 0;
    for (int64_t i = sequences; i > 0; i--)
        harmonic += 1 / (double)i;
    for (int64_t i = 0; i < sequences; i++)
        length[i] = (int64_t)((double)mean * (double)sequences / harmonic / (double)(i + 1) + 0.5);
    for (int64_t i = sequences - 1; i > 0; i--) {
        const struct sable_random_block drawn = sable_random(0, purpose, (uint64_t)i, 0);
        const int64_t j = (int64_t)(sable_random_unit(drawn.word[0], drawn.word[1]) * (double)(i + 1)),
                      kept = length[i];
        length[i] = length[j], length[j] = kept;
    }
}

static void draw_lengths(int lengths, int64_t sequences, int64_t mean, uint32_t purpose, int64_t *length)
{
    for (int64_t i = 0; i < sequences && lengths != LENGTHS_ZIPF; i++)
        length[i] = drawn_length(lengths, mean, purpose, i);
    if (lengths == LENGTHS_ZIPF)
        zipf_lengths(sequences, mean, purpose, length);
}

int varlen_draw_batch(const struct varlen_params *p, struct varlen_batch *b, struct sable_error *error)
{
    const int64_t n = p->base.batch;
    int64_t *length = sable_array(n, 2, sizeof *length);
    if (make_room(n, b, error) || !length) {
        sable_array_free(length);
        return error->code ? error->code : sable_fail(error, SABLE_ENVIRONMENT, "attention/varlen: out of memory");
    }
    draw_lengths(p->lengths, n, p->base.queries, PURPOSE_LENGTHS, length);
    if (p->base.keys)
        draw_lengths(p->lengths, n, p->base.keys, PURPOSE_LENGTHS + 1, length + n);
    for (int64_t i = 0; i < n; i++)
        b->sequence[i] =
            (struct sable_attention_sequence){.queries = length[i], .keys = length[p->base.keys ? n + i : i]};
    sable_array_free(length);
    return place(b, error);
}

/* ---- Read ---- */

/* The lengths between neighbours of cu_seqlens; `rows`: what the array has, or −1 if it is not in the file. */
static int read_lengths(struct sable_input *input, const char *name, int64_t entries, int64_t rows, bool keys,
                        struct varlen_batch *b, struct sable_error *error)
{
    const int64_t zero = 0;
    int64_t *cu = sable_array(entries, 1, sizeof *cu);
    if (!cu)
        sable_fail(error, SABLE_ENVIRONMENT, "attention/varlen: out of memory for the sequences");
    else if (!sable_input_read(input, name, SABLE_I64, 1, &zero, &entries, cu, error)) {
        if (cu[0] != 0)
            sable_fail(error, SABLE_BAD_INPUT, "%s: %s begins with %lld instead of 0", sable_input_path(input), name,
                       (long long)cu[0]);
        for (int64_t i = 0; i + 1 < entries && !error->code; i++) {
            if (cu[i + 1] < cu[i])
                sable_fail(error, SABLE_BAD_INPUT, "%s: %s[%lld] = %lld is less than the entry before, %lld",
                           sable_input_path(input), name, (long long)(i + 1), (long long)cu[i + 1], (long long)cu[i]);
            *(keys ? &b->sequence[i].keys : &b->sequence[i].queries) = cu[i + 1] - cu[i];
        }
        if (!error->code && rows >= 0 && cu[entries - 1] != rows)
            sable_fail(error, SABLE_BAD_INPUT, "%s: %s ends with %lld, but there are %lld packed rows",
                       sable_input_path(input), name, (long long)cu[entries - 1], (long long)rows);
    }
    sable_array_free(cu);
    return error->code;
}

static int agree_with(const char *what, int64_t *known, bool *set, int64_t found, struct sable_error *error)
{
    if (*set && *known != found)
        return sable_fail(error, SABLE_BAD_INPUT, "--input: q, k and v differ in their %s: %lld and %lld", what,
                          (long long)*known, (long long)found);
    *known = found, *set = true;
    return SABLE_OK;
}

/* Heads and head sizes; rows: of q, of k and v, or −1. */
static int read_arrays(struct sable_input *input, struct sable_attention_shape *s, int64_t rows[2],
                       struct sable_error *error)
{
    static const char *const names[TENSORS] = {"q", "k", "v"};
    int64_t shape[TENSORS][3];
    bool has[TENSORS], kv = false, keys = false, dim = false;
    rows[0] = rows[1] = -1;
    for (int t = 0; t < TENSORS; t++)
        if ((has[t] = sable_input_has(input, names[t])) && sable_input_shape(input, names[t], 3, shape[t], error))
            return error->code;
    for (int t = 0; t < TENSORS; t++)
        if (has[t] && ((t != TENSOR_Q && agree_with("packed keys", &rows[1], &keys, shape[t][0], error)) ||
                       (t != TENSOR_Q && agree_with("key heads", &s->kv_heads, &kv, shape[t][1], error)) ||
                       (t != TENSOR_V && agree_with("head size", &s->dim, &dim, shape[t][2], error))))
            return error->code;
    if (has[TENSOR_Q])
        rows[0] = shape[TENSOR_Q][0], s->heads = shape[TENSOR_Q][1];
    if (has[TENSOR_Q] && !kv) /* what is drawn fits what is read */
        s->kv_heads = s->heads;
    if (dim)
        s->dim_v = s->dim, s->scale = 1 / sqrt((double)s->dim);
    if (has[TENSOR_V])
        s->dim_v = shape[TENSOR_V][2];
    return SABLE_OK;
}

int varlen_read_batch(struct sable_input *input, const struct varlen_params *p, struct sable_attention_shape *s,
                      struct varlen_batch *b, struct sable_error *error)
{
    const char *const name[2] = {"cu_seqlens_q", "cu_seqlens_k"};
    const bool has[2] = {sable_input_has(input, name[0]), sable_input_has(input, name[1])};
    int64_t rows[2], entries[2] = {0};
    if (read_arrays(input, s, rows, error) || attention_read_rules(input, s, error))
        return error->code;
    if (!has[0] && (has[1] || rows[0] >= 0 || rows[1] >= 0))
        return sable_fail(error, SABLE_BAD_INPUT, "%s: packed sequences need cu_seqlens_q to tell their lengths",
                          sable_input_path(input));
    if (!has[0])
        return varlen_draw_batch(p, b, error);
    for (int i = 0; i < 2; i++)
        if (has[i] && sable_input_shape(input, name[i], 1, &entries[i], error))
            return error->code;
    if (entries[0] < 2 || (has[1] && entries[1] != entries[0]))
        return sable_fail(error, SABLE_BAD_INPUT,
                          "%s: cu_seqlens of %lld and %lld entries; both have one more than there are sequences",
                          sable_input_path(input), (long long)entries[0],
                          (long long)(has[1] ? entries[1] : entries[0]));
    if (make_room(entries[0] - 1, b, error) || read_lengths(input, name[0], entries[0], rows[0], false, b, error) ||
        read_lengths(input, name[has[1]], entries[0], rows[1], true, b, error))
        return error->code;
    return place(b, error);
}

/* ---- Who has which ---- */

double varlen_pairs(const struct sable_attention_shape *shape, const struct sable_attention_sequence *sequence)
{
    struct sable_attention_shape s = *shape;
    s.queries = sequence->queries, s.keys = sequence->keys;
    return sable_attention_pairs(&s, (struct sable_attention_rows){0, s.queries});
}

struct weight {
    double work;
    int64_t index;
};

static int heaviest_first(const void *left, const void *right)
{
    const struct weight *a = left, *b = right;
    if (a->work != b->work)
        return a->work > b->work ? -1 : 1;
    return a->index < b->index ? -1 : a->index > b->index;
}

/* Is rank a to be given something before rank b? */
static bool before(const struct weight *a, const struct weight *b)
{
    return a->work < b->work || (a->work == b->work && a->index < b->index);
}

/* The root of a heap has become heavier. */
static void sink(struct weight *heap, int ranks)
{
    for (int i = 0, child; (child = 2 * i + 1) < ranks; i = child) {
        child += child + 1 < ranks && before(&heap[child + 1], &heap[child]);
        if (!before(&heap[child], &heap[i]))
            return;
        const struct weight kept = heap[i];
        heap[i] = heap[child], heap[child] = kept;
    }
}

/* The heaviest first, each to the rank that has least (Graham 1969: at most 4/3 of the best). Rows count a little, so
 * that sequences without pairs are dealt out, too. */
bool varlen_share(const struct sable_attention_shape *s, const struct varlen_batch *b, int ranks, int *owner)
{
    struct weight *weight = sable_array(b->sequences, 1, sizeof *weight), *heap = sable_array(ranks, 1, sizeof *heap);
    const bool good = weight && heap;
    for (int64_t i = 0; i < b->sequences && good; i++) {
        const struct sable_attention_sequence *own = &b->sequence[i];
        weight[i] = (struct weight){varlen_pairs(s, own) + (double)own->queries + (double)own->keys, i};
    }
    for (int r = 0; r < ranks && good; r++)
        heap[r] = (struct weight){0, r};
    if (good)
        qsort(weight, (size_t)b->sequences, sizeof *weight, heaviest_first);
    for (int64_t i = 0; i < b->sequences && good; i++) {
        owner[weight[i].index] = (int)heap[0].index;
        heap[0].work += weight[i].work;
        sink(heap, ranks);
    }
    sable_array_free(weight);
    sable_array_free(heap);
    return good;
}

void varlen_free_part(struct varlen_part *p)
{
    sable_array_free(p->index);
    sable_array_free(p->sequence);
    *p = (struct varlen_part){0};
}

bool varlen_part_of(const struct sable_attention_shape *s, const struct varlen_batch *b, int strategy, int rank,
                    int ranks, struct varlen_part *p)
{
    struct sable_attention_rows heads = attention_cut(s->heads, 1, rank, ranks);
    if (strategy == VARLEN_SEQUENCES)
        heads = (struct sable_attention_rows){0, s->heads};
    *p = (struct varlen_part){.head = heads.first,
                              .heads = heads.count,
                              .index = sable_array(b->sequences, 1, sizeof *p->index),
                              .sequence = sable_array(b->sequences, 1, sizeof *p->sequence)};
    int *owner = sable_array(b->sequences, 1, sizeof *owner);
    bool good = p->index && p->sequence && owner;
    if (good && strategy == VARLEN_SEQUENCES)
        good = varlen_share(s, b, ranks, owner);
    const struct sable_attention_part part = {p->head, p->heads, {{0, 0}, {0, 0}}};
    attention_kv_of(s, &part, &p->kv_first, &p->kv_count);
    for (int64_t i = 0; i < b->sequences && good; i++) {
        if (strategy == VARLEN_SEQUENCES && owner[i] != rank)
            continue;
        const struct sable_attention_sequence own = {p->queries, b->sequence[i].queries, p->keys, b->sequence[i].keys};
        p->index[p->sequences] = i, p->sequence[p->sequences++] = own;
        p->queries += own.queries, p->keys += own.keys;
        p->most_keys = own.keys > p->most_keys ? own.keys : p->most_keys;
    }
    sable_array_free(owner);
    return good;
}
