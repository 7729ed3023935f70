#include "sable_attention_rows.h"

#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "attention_rows.h"
#include "attention_task.h"
#include "row_products.h"
#include "sable_array.h"

enum { LEAST_ROWS = 64, MOST_ROWS = 256 }; /* of a block */

struct entry {
    struct sable_attention_sequence sequence;
    int64_t block, blocks; /* rows of a block; blocks of a head */
    int64_t before;        /* blocks of a head in the entries before */
};

struct sable_attention_rows_peer {
    struct sable_attention_shape shape;
    int threads;
    struct row_library library;
    int64_t sequences, blocks; /* of a head of all sequences */
    struct entry *entry;       /* [sequences], the longest first */
    int64_t pitch;             /* keys of a row of logits, rounded up to whole vectors, and off powers of two */
    float *logits;             /* [threads][MOST_ROWS][pitch] */
};

/* Rows of a block, as measured to be fastest for both libraries: many, so that packing the keys costs little; but under
 * a causal mask half a block of logits on the diagonal is computed in vain. */
static int64_t block_of(bool causal, int64_t keys)
{
    int64_t block = MOST_ROWS;
    while (causal && block > LEAST_ROWS && block > keys / 16)
        block /= 2;
    return block;
}

static int64_t pitch_of(int64_t most_keys)
{
    return (most_keys + 15) / 16 * 16 + 16;
}

double sable_attention_rows_memory(int threads, int64_t sequences, int64_t most_keys)
{
    return (double)threads * MOST_ROWS * (double)pitch_of(most_keys) * sizeof(float) +
           (double)sequences * sizeof(struct entry);
}

/* False if memory is short. */
static bool make_entries(struct sable_attention_rows_peer *p, int64_t sequences,
                         const struct sable_attention_sequence *sequence)
{
    const struct sable_attention_sequence whole = {0, p->shape.queries, 0, p->shape.keys};
    p->sequences = sequences > 0 ? sequences : 1;
    p->entry = sable_array(p->sequences, 1, sizeof *p->entry);
    for (int64_t i = 0; i < p->sequences && p->entry; i++)
        p->entry[i].sequence = sequences > 0 ? sequence[i] : whole;
    if (p->entry)
        qsort(p->entry, (size_t)p->sequences, sizeof *p->entry, sable_attention_longest_first);
    for (int64_t i = 0; i < p->sequences && p->entry; i++) {
        struct entry *e = &p->entry[i];
        e->block = block_of(p->shape.causal, e->sequence.keys);
        e->blocks = (e->sequence.queries + e->block - 1) / e->block;
        e->before = p->blocks;
        p->blocks += e->blocks;
    }
    return p->entry;
}

struct sable_attention_rows_peer *sable_attention_rows_open(enum sable_row_library library,
                                                            const struct sable_attention_shape *shape, int threads,
                                                            int64_t sequences,
                                                            const struct sable_attention_sequence *sequence)
{
    struct sable_attention_rows_peer *p = calloc(1, sizeof *p);
    if (!p)
        return NULL;
    p->shape = *shape;
    p->threads = threads;
    const bool opened = library == SABLE_ROWS_OPENBLAS ? row_library_openblas(&p->library)
                        : library == SABLE_ROWS_ONEDNN ? row_library_onednn(threads, &p->library)
                                                       : row_library_libxsmm(threads, &p->library);
    if (!opened) {
        free(p);
        return NULL;
    }
    if (make_entries(p, sequences, sequence)) {
        p->pitch = pitch_of(p->entry[0].sequence.keys);
        p->logits = sable_array(threads * (int64_t)MOST_ROWS, p->pitch, sizeof *p->logits);
    }
    if (p->logits)
        return p;
    sable_attention_rows_close(p);
    return NULL;
}

void sable_attention_rows_close(struct sable_attention_rows_peer *p)
{
    if (!p)
        return;
    p->library.close(p->library.library);
    sable_array_free(p->logits);
    sable_array_free(p->entry);
    free(p);
}

const char *sable_attention_rows_library(const struct sable_attention_rows_peer *p)
{
    return p->library.name;
}

/* Rows [row, row + rows) of one head of a sequence of so many queries and keys. */
struct block {
    int64_t queries, keys, row;
    int rows;
    const float *q, *k, *v;
    float *out, *lse;
};

static void double_weights(int64_t doubled, int64_t first_seen, int64_t pitch, const struct block *b, float *p,
                           float *inverse)
{
    for (int r = 0; r < b->rows; r++) {
        double sum = 1 / (double)inverse[r], more = 0;
        for (int64_t c = 0; c < doubled && c < first_seen + r; c++) {
            more += (double)p[r * pitch + c];
            p[r * pitch + c] *= 2;
        }
        b->lse[r] += (float)log1p(more / sum);
        inverse[r] = (float)(1 / (sum + more));
    }
}

static bool attend(const struct sable_attention_rows_peer *p, double scale, const struct block *b, int64_t skip,
                   int64_t doubled)
{
    const struct sable_attention_shape *s = &p->shape;
    const int thread = omp_get_thread_num();
    float *logits = p->logits + thread * (int64_t)MOST_ROWS * p->pitch, inverse[MOST_ROWS];
    int64_t seen = s->causal ? b->row + b->keys - b->queries + 1 : b->keys, last = seen + (s->causal ? b->rows - 1 : 0);
    last = last < b->keys ? last : b->keys;
    skip = skip < last ? skip : 0;
    const int64_t n = last - skip;
    if (n <= 0) {
        memset(b->out, 0, (size_t)(b->rows * s->dim_v) * sizeof *b->out);
        for (int r = 0; r < b->rows; r++)
            b->lse[r] = -INFINITY;
        return true;
    }
    const int64_t pitch = p->library.dense && n % 16 == 0 ? n : p->pitch;
    const struct row_product scores = {true, b->rows, n, s->dim, s->dim, s->dim, pitch};
    const struct row_product values = {false, b->rows, s->dim_v, n, pitch, s->dim_v, s->dim_v};
    if (!p->library.multiply(p->library.library, thread, &scores, b->q, b->k + skip * s->dim, logits))
        return false;
    SABLE_ISA_PICK(sable_attention_softmax_rows)(b->rows, n, seen - skip, pitch, scale, logits, inverse, b->lse);
    if (doubled > 0)
        double_weights(doubled < n ? doubled : n, s->causal ? seen : n, pitch, b, logits, inverse);
    if (!p->library.multiply(p->library.library, thread, &values, logits, b->v + skip * s->dim_v, b->out))
        return false;
    SABLE_ISA_PICK(sable_attention_scale_rows)(b->rows, s->dim_v, inverse, b->out);
    return true;
}

/* The entry that the task of a head's blocks belongs to. */
static const struct entry *entry_of(const struct sable_attention_rows_peer *p, int64_t heads, int64_t task)
{
    int64_t from = 0, end = p->sequences;
    while (end - from > 1) { /* the last one that begins at or before the task: those without blocks are passed over */
        const int64_t middle = from + (end - from) / 2;
        *(p->entry[middle].before * heads <= task ? &from : &end) = middle;
    }
    return &p->entry[from];
}

bool sable_attention_by_rows(struct sable_attention_rows_peer *p, int64_t head, int64_t heads, double scale,
                             const float *q, const float *k, const float *v, int64_t skip, int64_t doubled, float *out,
                             float *lse)
{
    const struct sable_attention_shape *s = &p->shape;
    const int64_t first_kv = heads > 0 ? sable_attention_kv_head(s, head) : 0;
    int failed = 0;
#pragma omp parallel for schedule(dynamic) num_threads(p->threads) reduction(| : failed)
    for (int64_t number = 0; number < heads * p->blocks; number++) {
        const struct entry *e = entry_of(p, heads, number);
        const struct sable_attention_sequence *own = &e->sequence;
        const int64_t task = number - e->before * heads, h = task / e->blocks;
        const int64_t row = (e->blocks - 1 - task % e->blocks) * e->block; /* the longest first */
        const int64_t kv = sable_attention_kv_head(s, head + h) - first_kv;
        const int64_t at = h * s->queries + own->query + row, key = kv * s->keys + own->key;
        const struct block b = {.queries = own->queries,
                                .keys = own->keys,
                                .row = row,
                                .rows = (int)(own->queries - row < e->block ? own->queries - row : e->block),
                                .q = q + at * s->dim,
                                .k = k + key * s->dim,
                                .v = v + key * s->dim_v,
                                .out = out + at * s->dim_v,
                                .lse = lse + at};
        failed |= !attend(p, scale, &b, skip, doubled);
    }
    return !failed;
}
