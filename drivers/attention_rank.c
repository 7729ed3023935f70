/* Partition of attention. Heads are dealt out whole (heads, ulysses). A sequence is dealt out in 2·ranks
 * chunks, of which rank r holds the r-th from the front and the r-th from the back (zig-zag): under a causal mask the
 * one has little to do and the other much. Chunks of queries are whole blocks, chunks of keys whole leaves: the bits
 * don't depend on the cut. */
#include "attention_rank.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "sable_array.h"

const char *const attention_models[] = {"gpt2", "llama3_8b", "kimi_vl", "moonvit", NULL};
const char *const attention_masks[] = {"full", "causal", NULL};
const char *const attention_types[] = {"fp32", "bf16", NULL};
static const struct {
    int64_t heads, kv_heads, dim, dim_v;
} models[] = {{12, 12, 64, 64}, {32, 8, 128, 128}, {16, 16, 192, 128}, {16, 16, 72, 72}};

struct sable_attention_shape attention_shape(const struct attention_params *p)
{
    struct sable_attention_shape s = {.batch = p->batch, .queries = p->queries, .leaf = p->leaf, .causal = p->causal};
    s.heads = p->heads ? p->heads : models[p->model].heads;
    s.kv_heads = p->kv_heads ? p->kv_heads : p->heads ? p->heads : models[p->model].kv_heads;
    s.dim = p->dim ? p->dim : models[p->model].dim;
    s.dim_v = p->dim_v ? p->dim_v : p->dim ? p->dim : models[p->model].dim_v;
    s.keys = p->keys ? p->keys : p->queries;
    s.scale = p->scale != 0 ? p->scale : 1 / sqrt((double)s.dim);
    s.bf16 = p->bf16;
    return s;
}

int attention_check_shape(const struct sable_attention_shape *s, struct sable_error *error)
{
    int64_t heads, rows, elements, most = s->dim > s->dim_v ? s->dim : s->dim_v;
    if (s->heads % s->kv_heads != 0)
        return sable_fail(error, SABLE_BAD_INPUT, "%lld key heads don't divide %lld query heads",
                          (long long)s->kv_heads, (long long)s->heads);
    if (!sable_multiply(s->batch, s->heads, &heads) ||
        !sable_multiply(heads, s->queries > s->keys ? s->queries : s->keys, &rows) ||
        !sable_multiply(rows, most, &elements) || elements > INT64_MAX / 64)
        return sable_fail(error, SABLE_BAD_INPUT, "an attention of this shape has more elements than can be counted");
    if (!isfinite(s->scale) || fabs(s->scale) > 1e30)
        return sable_fail(error, SABLE_BAD_INPUT, "scale=%g: a finite number of at most 1e30 is needed", s->scale);
    return SABLE_OK;
}

int attention_check(const void *params, struct sable_layout layout, struct sable_error *error)
{
    (void)layout;
    const struct sable_attention_shape shape = attention_shape(params);
    return attention_check_shape(&shape, error);
}

int attention_shape_of(const struct attention_params *params, struct sable_input *input,
                       struct sable_attention_shape *shape, struct sable_error *error)
{
    *shape = attention_shape(params);
    if (input && attention_read_shape(input, shape, error))
        return error->code;
    return attention_check_shape(shape, error);
}

/* ---- Who holds what ---- */

struct sable_attention_rows attention_cut(int64_t n, int64_t unit, int64_t index, int64_t parts)
{
    int64_t units = (n + unit - 1) / unit, each = units / parts, more = units % parts;
    int64_t first = (index * each + (index < more ? index : more)) * unit;
    int64_t end = ((index + 1) * each + (index + 1 < more ? index + 1 : more)) * unit;
    first = first < n ? first : n;
    return (struct sable_attention_rows){first, (end < n ? end : n) - first};
}

static bool by_sequence(int strategy)
{
    return strategy == STRATEGY_RING || strategy == STRATEGY_ALLGATHER;
}

struct sable_attention_part attention_part_of(const struct sable_attention_shape *s, int strategy, int rank, int ranks)
{
    if (!by_sequence(strategy)) {
        struct sable_attention_rows heads = attention_cut(s->batch * s->heads, 1, rank, ranks);
        return (struct sable_attention_part){heads.first, heads.count, {{0, s->queries}, {s->queries, 0}}};
    }
    return (struct sable_attention_part){
        0,
        s->batch * s->heads,
        {attention_cut(s->queries, SABLE_ATTENTION_BLOCK, rank, 2 * ranks),
         attention_cut(s->queries, SABLE_ATTENTION_BLOCK, 2 * ranks - 1 - rank, 2 * ranks)}};
}

struct sable_attention_part attention_shard_of(const struct sable_attention_shape *s, int rank, int ranks)
{
    return (struct sable_attention_part){
        0, s->batch * s->heads, {attention_cut(s->queries, 1, rank, ranks), {s->queries, 0}}};
}

struct attention_keys attention_keys_of(const struct sable_attention_shape *s, int strategy, int rank, int ranks)
{
    if (strategy == STRATEGY_ULYSSES)
        return (struct attention_keys){{attention_cut(s->keys, 1, rank, ranks), {s->keys, 0}}};
    if (!by_sequence(strategy))
        return (struct attention_keys){{{0, s->keys}, {s->keys, 0}}};
    return (struct attention_keys){{attention_cut(s->keys, s->leaf, rank, 2 * ranks),
                                    attention_cut(s->keys, s->leaf, 2 * ranks - 1 - rank, 2 * ranks)}};
}

int64_t attention_rows_count(const struct sable_attention_part *part)
{
    return part->rows[0].count + part->rows[1].count;
}

int64_t attention_keys_count(const struct attention_keys *keys)
{
    return keys->segment[0].count + keys->segment[1].count;
}

void attention_kv_of(const struct sable_attention_shape *s, const struct sable_attention_part *part, int64_t *first,
                     int64_t *count)
{
    *first = part->heads ? sable_attention_kv_head(s, part->head) : 0;
    *count = part->heads ? sable_attention_kv_head(s, part->head + part->heads - 1) + 1 - *first : 0;
}

/* ---- Making and freeing ---- */

/* Elements of the rank's own arrays, of those for the exchange, and of the ulysses shard. */
struct extents {
    struct sable_attention_part part, shard;
    struct attention_keys keys, shard_keys;
    int64_t kv_first, kv_count, rows, key_rows, q, k, v, out, lse, other_k, other_v, parcel;
    int others;
};

static int64_t larger_of(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static struct extents extents_of(const struct sable_attention_shape *s, int strategy, struct sable_layout layout)
{
    struct extents e = {.part = attention_part_of(s, strategy, layout.rank, layout.ranks)};
    bool ulysses = strategy == STRATEGY_ULYSSES;
    e.keys = attention_keys_of(s, ulysses ? STRATEGY_HEADS : strategy, layout.rank, layout.ranks);
    attention_kv_of(s, &e.part, &e.kv_first, &e.kv_count);
    e.rows = e.part.heads * attention_rows_count(&e.part);
    e.key_rows = e.kv_count * attention_keys_count(&e.keys);
    const int64_t words = attention_words(s, s->dim), words_v = attention_words(s, s->dim_v);
    e.q = e.rows * words, e.out = e.rows * s->dim_v, e.lse = e.rows;
    e.k = e.key_rows * words, e.v = e.key_rows * words_v;
    if (ulysses) {
        e.shard = attention_shard_of(s, layout.rank, layout.ranks);
        e.shard_keys = attention_keys_of(s, strategy, layout.rank, layout.ranks);
        int64_t both = larger_of(words, s->dim_v);
        for (int r = 0; r < layout.ranks; r++) { /* what all need of my rows: key heads may go to several */
            struct sable_attention_part other = attention_part_of(s, strategy, r, layout.ranks);
            int64_t first, count;
            attention_kv_of(s, &other, &first, &count);
            e.parcel +=
                larger_of(other.heads * attention_rows_count(&e.shard), count * attention_keys_count(&e.shard_keys));
        }
        e.parcel = both * larger_of(e.parcel, larger_of(e.rows, e.key_rows));
    }
    if (layout.ranks > 1 && by_sequence(strategy)) {
        int64_t most = 0, all = 0;
        for (int r = 0; r < layout.ranks; r++) {
            struct attention_keys keys = attention_keys_of(s, strategy, r, layout.ranks);
            most = larger_of(most, attention_keys_count(&keys));
            all += attention_keys_count(&keys);
        }
        int64_t rows = e.kv_count * (strategy == STRATEGY_RING ? most : all);
        e.other_k = rows * words, e.other_v = rows * words_v;
        e.others = strategy == STRATEGY_RING ? 2 : 1;
    }
    return e;
}

/* The order in which a ring's rank meets the keys: its own first, then those of the ranks below it. */
static int64_t arrivals_of(const struct sable_attention_shape *s, struct sable_layout layout,
                           struct sable_attention_keys *arrival)
{
    int64_t n = 0;
    for (int step = 0; step < layout.ranks; step++) {
        struct attention_keys keys =
            attention_keys_of(s, STRATEGY_RING, (layout.rank - step + layout.ranks) % layout.ranks, layout.ranks);
        for (int i = 0; i < 2; i++)
            arrival[n++] =
                (struct sable_attention_keys){.first = keys.segment[i].first, .count = keys.segment[i].count};
    }
    return n;
}

static double plan_memory(const struct sable_attention_shape *s, int strategy, struct sable_layout layout,
                          const struct sable_attention_part *part)
{
    bool steps = strategy == STRATEGY_RING && layout.ranks > 1;
    struct sable_attention_keys *arrival = steps ? malloc(2 * (size_t)layout.ranks * sizeof *arrival) : NULL;
    double bytes =
        sable_attention_memory(s, part, layout.threads, arrival ? arrivals_of(s, layout, arrival) : 0, arrival);
    free(arrival);
    return bytes;
}

double attention_memory(const struct sable_attention_shape *s, int strategy, struct sable_layout layout, bool reference)
{
    strategy = reference ? STRATEGY_HEADS : strategy;
    struct extents e = extents_of(s, strategy, layout);
    double floats = (double)e.q + (double)e.k + (double)e.v + (double)e.out + (double)e.lse +
                    (double)e.others * ((double)e.other_k + (double)e.other_v) + 2 * (double)e.parcel;
    if (strategy == STRATEGY_ULYSSES) {
        double rows = (double)e.shard.heads * (double)attention_rows_count(&e.shard);
        double keys = (double)(s->batch * s->kv_heads) * (double)attention_keys_count(&e.shard_keys);
        floats += rows * ((double)attention_words(s, s->dim) + (double)s->dim_v + 1) +
                  keys * (double)(attention_words(s, s->dim) + attention_words(s, s->dim_v));
    }
    double proof = (double)s->keys * ((double)(s->dim + s->dim_v) * 8 + 8.0 * layout.threads);
    struct sable_attention_part shard =
        attention_shard_of(s, layout.rank, layout.ranks); /* the output's, and parcels */
    floats += (double)e.out + (double)shard.heads * (double)attention_rows_count(&shard) * (2 * (double)s->dim_v + 1);
    return 4 * floats + plan_memory(s, strategy, layout, &e.part) + proof;
}

void attention_traffic(const struct sable_attention_shape *s, int strategy, struct sable_layout layout, double *bytes,
                       double *messages)
{
    const double words = (double)attention_words(s, s->dim), kv = (double)(s->batch * s->kv_heads);
    const double row = 4 * (words + (double)attention_words(s, s->dim_v));
    *bytes = *messages = 0;
    for (int r = 0; r < layout.ranks; r++) {
        if (r == layout.rank || strategy == STRATEGY_HEADS)
            continue;
        struct attention_keys mine = attention_keys_of(s, strategy, layout.rank, layout.ranks);
        /* A ring hands on the keys of all ranks but its successor's, an allgather sends its own to all others. */
        int whose = strategy == STRATEGY_RING ? (r == (layout.rank + 1) % layout.ranks ? layout.rank : r) : layout.rank;
        struct attention_keys keys = attention_keys_of(s, strategy, whose, layout.ranks);
        if (strategy != STRATEGY_ULYSSES) {
            *bytes += row * kv * (double)attention_keys_count(&keys);
            *messages += 2;
            continue;
        }
        struct sable_attention_part theirs = attention_part_of(s, strategy, r, layout.ranks);
        struct sable_attention_part own = attention_part_of(s, strategy, layout.rank, layout.ranks);
        struct sable_attention_part shard = attention_shard_of(s, layout.rank, layout.ranks);
        struct sable_attention_part other = attention_shard_of(s, r, layout.ranks);
        int64_t first, count;
        attention_kv_of(s, &theirs, &first, &count);
        *bytes += 4 * words * (double)theirs.heads * (double)attention_rows_count(&shard) +
                  row * (double)count * (double)attention_keys_count(&mine) +
                  4 * (double)(s->dim_v + 1) * (double)own.heads * (double)attention_rows_count(&other);
        *messages += 5;
    }
}

static float *floats(int64_t n, bool *short_of_memory)
{
    float *array = sable_array(n, 1, sizeof *array);
    *short_of_memory = *short_of_memory || !array;
    return array;
}

static int allocate(struct attention_rank *a, const struct extents *e, int fault, struct sable_error *error)
{
    const struct sable_attention_shape *s = &a->shape;
    struct sable_attention_shape computed = *s;
    computed.scale *= fault == FAULT_WRONG_SCALE ? 1.01 : 1;
    bool no = false, ulysses = a->strategy == STRATEGY_ULYSSES;
    a->q = floats(e->q, &no), a->k = floats(e->k, &no), a->v = floats(e->v, &no);
    a->out = floats(e->out, &no), a->lse = floats(e->lse, &no);
    for (int i = 0; i < e->others; i++)
        a->other_k[i] = floats(e->other_k, &no), a->other_v[i] = floats(e->other_v, &no);
    if (ulysses) {
        int64_t rows = e->shard.heads * attention_rows_count(&e->shard);
        int64_t keys = s->batch * s->kv_heads * attention_keys_count(&e->shard_keys);
        a->shard_q = floats(rows * attention_words(s, s->dim), &no);
        a->shard_k = floats(keys * attention_words(s, s->dim), &no);
        a->shard_v = floats(keys * attention_words(s, s->dim_v), &no), a->shard_out = floats(rows * s->dim_v, &no);
        a->shard_lse = floats(rows, &no);
        a->parcel[0] = floats(e->parcel, &no), a->parcel[1] = floats(e->parcel, &no);
    }
    bool steps = a->strategy == STRATEGY_RING && a->layout.ranks > 1;
    struct sable_attention_keys *arrival = malloc(2 * (size_t)a->layout.ranks * sizeof *arrival);
    if (arrival)
        a->attention = sable_attention_create(&computed, &a->part, a->layout.threads,
                                              steps ? arrivals_of(s, a->layout, arrival) : 0, arrival);
    free(arrival);
    if (no || !a->attention)
        return sable_fail(error, SABLE_ENVIRONMENT, "attention: out of memory for q, k, v and out");
    if (fault == FAULT_SKIP_BLOCK)
        sable_attention_leave_out(a->attention, 0);
    if (fault == FAULT_WRONG_RESCALE)
        sable_attention_raise_maximum(a->attention);
    return SABLE_OK;
}

/* Ring: keys travel while the ones before are computed with. Flops of a step over bytes that it sends; under a causal
 * mask half of the pairs of a step are left. */
static void tell_overlap(const struct attention_rank *a, struct sable_context *context)
{
    const struct sable_attention_shape *s = &a->shape;
    const double flops = (double)s->heads * (double)s->queries / (s->causal ? 4 : 2) * (s->bf16 ? 2 : 1);
    if (a->strategy == STRATEGY_RING && a->layout.ranks > 1)
        sable_note_that(context, "overlap_condition",
                        "a step's transfer is hidden where a rank's (flop/s) / (byte/s sent) is at most %.4g",
                        flops / ((double)s->kv_heads * a->layout.ranks));
}

int attention_prepare(const struct sable_attention_shape *shape, int strategy, struct sable_context *context,
                      bool reference, struct attention_rank *a, struct sable_error *error)
{
    *a = (struct attention_rank){.shape = *shape,
                                 .reference = reference,
                                 .rounded = shape->bf16,
                                 .layout = context->layout,
                                 .finite = true,
                                 .from_file = context->input,
                                 .strategy = reference ? STRATEGY_HEADS : strategy};
    a->shape.bf16 = shape->bf16 && !reference; /* the textbook and peers compute with floats of the rounded values */
    struct extents e = extents_of(&a->shape, a->strategy, a->layout);
    a->part = e.part, a->shard = e.shard;
    a->keys = e.keys, a->kv_first = e.kv_first, a->kv_count = e.kv_count;
    tell_overlap(a, context);
    allocate(a, &e, context->fault, error);
    return sable_agree(context->comm, error);
}

int attention_make(const struct attention_params *params, struct sable_context *context, bool reference,
                   struct attention_rank *a, struct sable_error *error)
{
    struct sable_attention_shape shape;
    attention_shape_of(params, context->input, &shape, error);
    if (sable_agree(context->comm, error) || attention_prepare(&shape, params->strategy, context, reference, a, error))
        return error->code;
    struct extents e = extents_of(&a->shape, a->strategy, a->layout);
    int64_t kv = a->shape.batch * a->shape.kv_heads;
    if (a->strategy == STRATEGY_ULYSSES) {
        if (!attention_fill(a, context, TENSOR_Q, 0, e.shard.heads, e.shard.rows, a->shard_q, error) &&
            !attention_fill(a, context, TENSOR_K, 0, kv, e.shard_keys.segment, a->shard_k, error))
            attention_fill(a, context, TENSOR_V, 0, kv, e.shard_keys.segment, a->shard_v, error);
    } else if (!attention_fill(a, context, TENSOR_Q, a->part.head, a->part.heads, a->part.rows, a->q, error) &&
               !attention_fill(a, context, TENSOR_K, a->kv_first, a->kv_count, a->keys.segment, a->k, error))
        attention_fill(a, context, TENSOR_V, a->kv_first, a->kv_count, a->keys.segment, a->v, error);
    return error->code;
}

void attention_free(struct attention_rank *a)
{
    float *const arrays[] = {a->q,          a->k,          a->v,          a->out,       a->lse,       a->other_k[0],
                             a->other_k[1], a->other_v[0], a->other_v[1], a->parcel[0], a->parcel[1], a->shard_q,
                             a->shard_k,    a->shard_v,    a->shard_out,  a->shard_lse};
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++)
        sable_array_free(arrays[i]);
    sable_attention_free(a->attention);
    sable_attention_rows_close(a->peer);
}

struct sable_attention_part attention_result(const struct attention_rank *a, float **out, float **lse)
{
    bool ulysses = a->strategy == STRATEGY_ULYSSES;
    *out = ulysses ? a->shard_out : a->out;
    *lse = ulysses ? a->shard_lse : a->lse;
    return ulysses ? a->shard : a->part;
}
