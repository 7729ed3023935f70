#include <math.h>
#include <omp.h>
#include <string.h>

#include "outer_isa.h"
#include "sable_array.h"

/* ---- Room ---- */

static int64_t up_to(int64_t n, int64_t multiple)
{
    return (n + multiple - 1) / multiple * multiple;
}

/* Cuts `count` elements off *at; with `base` NULL only counts. */
static float *cut(float *base, int64_t *at, int64_t count)
{
    float *from = base ? base + *at : NULL;
    *at += up_to(count, 16);
    return from;
}

/* Lays `w` out over `base`; returns the floats needed. */
static int64_t lay_out(const struct sable_outer *m, int64_t chunk, int64_t heads, float *base, struct outer_work *w)
{
    int64_t at = 0;
    *w = (struct outer_work){.steps = up_to(chunk + 5, 16), .keys = up_to(m->keys, 16), .values = up_to(m->values, 16)};
    w->pitch = w->keys / 16 % 2 ? w->keys : w->keys + 16;
    const int64_t square = w->steps * w->steps, keys = w->steps * w->pitch, values = w->steps * w->values;
    float **const arrays[] = {&w->scores, &w->weights, &w->turned, &w->v,     &w->decayed, &w->o,      &w->q,
                              &w->k,      &w->w,       &w->q_in,   &w->k_out, &w->row_q,   &w->row_in, &w->high,
                              &w->low,    &w->a,       &w->in,     &w->out,   &w->end,     &w->state};
    const int64_t sizes[] = {square,   square,   keys,     values,   values,
                             values,   keys,     keys,     keys,     keys,
                             keys,     keys,     w->steps, w->steps, w->steps,
                             w->steps, w->steps, w->steps, w->keys,  heads * w->keys * w->values};
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++)
        *arrays[i] = cut(base, &at, sizes[i]);
    w->sum = (double *)(void *)cut(base, &at, 2 * keys + 2 * w->keys);
    w->between = (double *)(void *)cut(base, &at, 4 * w->keys);
    return at;
}

/* This thread's room, zeroed; NULL: out of memory. Freed by sable_array_free(). */
static float *make_room(const struct sable_outer *m, int64_t chunk, int64_t heads, struct outer_work *w)
{
    int64_t count = lay_out(m, chunk, heads, NULL, w);
    float *room = sable_array(count, 1, sizeof(float));
    if (!room)
        return NULL;
    memset(room, 0, (size_t)count * sizeof *room);
    lay_out(m, chunk, heads, room, w);
    return room;
}

static void load_state(const struct sable_outer *m, const float *from, float *to)
{
    const int64_t padded = up_to(m->values, 16);
    for (int64_t n = 0; n < m->keys; n++)
        memcpy(to + n * padded, from + n * m->values, (size_t)m->values * sizeof *to);
}

static void store_state(const struct sable_outer *m, const float *from, float *to)
{
    const int64_t padded = up_to(m->values, 16);
    for (int64_t n = 0; n < m->keys; n++)
        memcpy(to + n * m->values, from + n * padded, (size_t)m->values * sizeof *to);
}

/* ---- Chunks ---- */

/* Heads that a thread takes at once: as many as share scores, but no fewer units than threads need. */
static int64_t heads_of_unit(const struct sable_outer_block *block, int64_t others)
{
    int64_t best = 1;
    double least = INFINITY, threads = (double)omp_get_max_threads();
    for (int64_t heads = 1; heads <= OUTER_HEADS; heads++) {
        double units = (double)((block->heads + heads - 1) / heads * others);
        double time = ceil(units / threads) * ((double)heads + 0.25); /* scores cost about a quarter of a head */
        if (time < least)
            least = time, best = heads;
    }
    return best;
}

/* Unit `i` of a block whose units have up to `heads` heads, those of a sequence one after another. */
struct unit {
    int64_t sequence, head, heads, row;
};

static int64_t units_of(const struct sable_outer_block *block, int64_t heads)
{
    return block->sequences * ((block->heads + heads - 1) / heads);
}

static struct unit unit_of(const struct sable_outer *m, const struct sable_outer_block *block, int64_t heads, int64_t i)
{
    const int64_t units = (block->heads + heads - 1) / heads, first = i % units * heads;
    struct unit unit = {.sequence = block->sequence + i / units, .head = block->head + first};
    unit.heads = block->heads - first < heads ? block->heads - first : heads;
    unit.row = unit.sequence * m->heads + unit.head;
    return unit;
}

/* `parts` of all chunks of a block, each from (or to) its own state in `states` [rows from `first` on, chunks, N, P].
 */
static bool each_chunk(const struct sable_outer *m, const struct sable_outer_block *block, int64_t chunk, int parts,
                       int64_t first, float *states, float *o)
{
    const int64_t chunks = (m->length + chunk - 1) / chunk, size = m->keys * m->values;
    const int64_t heads = heads_of_unit(block, block->sequences * chunks), units = units_of(block, heads);
    bool failed = false;
#pragma omp parallel reduction(| : failed)
    {
        struct outer_work w;
        float *room = make_room(m, chunk, heads, &w);
        failed |= !room;
#pragma omp for schedule(dynamic)
        for (int64_t i = 0; i < units * chunks; i++) {
            if (!room)
                continue;
            const int64_t all = units / block->sequences, c = i / all % chunks;
            const struct unit unit = unit_of(m, block, heads, i / all / chunks * all + i % all);
            int64_t begin = c * chunk, end = begin + chunk < m->length ? begin + chunk : m->length;
            for (int64_t h = 0; h < unit.heads && (parts & OUTER_CARRIED); h++)
                load_state(m, states + ((unit.row + h - first) * chunks + c) * size, w.state + h * w.keys * w.values);
            SABLE_ISA_PICK(sable_outer_chunk)
            (m, &w, parts, unit.sequence, unit.head, unit.heads, begin, end, o);
            for (int64_t h = 0; h < unit.heads && (parts & OUTER_ADD); h++)
                store_state(m, w.state + h * w.keys * w.values, states + ((unit.row + h - first) * chunks + c) * size);
        }
        sable_array_free(room);
    }
    return !failed;
}

bool sable_outer_local(const struct sable_outer *m, const struct sable_outer_block *block, int64_t chunk, float *add,
                       float *o)
{
    return each_chunk(m, block, chunk, OUTER_LOCAL | OUTER_ADD, 0, add, o);
}

bool sable_outer_carried(const struct sable_outer *m, const struct sable_outer_block *block, int64_t chunk,
                         const float *seeds, float *o)
{
    return each_chunk(m, block, chunk, OUTER_CARRIED, 0, (float *)(uintptr_t)seeds, o); /* only read */
}

/* One row through all chunks; `add` and `state` are its own. */
static void chain_row(const struct sable_outer *m, int64_t chunk, int64_t row, float *add, float *state)
{
    const int64_t chunks = (m->length + chunk - 1) / chunk, size = m->keys * m->values;
    const int64_t s = row / m->heads, h = row % m->heads, wide = m->bonus ? m->keys : 1;
    double sum[1024]; /* the most keys */
    for (int64_t c = 0; c < chunks; c++) {
        memset(sum, 0, sizeof sum);
        for (int64_t t = c * chunk; t < (c + 1) * chunk && t < m->length; t++)
            for (int64_t n = 0; n < wide; n++)
                sum[n] += (double)m->decay[((s * m->length + t) * m->heads + h) * wide + n];
        SABLE_ISA_PICK(sable_outer_link)(m, sum, add + c * size, state);
    }
}

static void chain(const struct sable_outer *m, const struct sable_outer_block *block, int64_t chunk, int64_t first,
                  float *add, float *state)
{
    const int64_t of_row = (m->length + chunk - 1) / chunk * m->keys * m->values;
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < block->sequences * block->heads; i++) {
        const int64_t row = unit_of(m, block, 1, i).row;
        chain_row(m, chunk, row, add + (row - first) * of_row, state + row * m->keys * m->values);
    }
}

void sable_outer_chain(const struct sable_outer *m, const struct sable_outer_block *block, int64_t chunk, float *add,
                       float *state)
{
    chain(m, block, chunk, 0, add, state);
}

/* Chunks of a unit's heads one after another, the state in a cache. */
static bool chunks_in_turn(const struct sable_outer *m, const struct sable_outer_block *block, int64_t chunk,
                           float *state, float *o)
{
    const int64_t heads = heads_of_unit(block, block->sequences), size = m->keys * m->values;
    bool failed = false;
#pragma omp parallel reduction(| : failed)
    {
        struct outer_work w;
        float *room = make_room(m, chunk, heads, &w);
        failed |= !room;
#pragma omp for schedule(static)
        for (int64_t i = 0; i < units_of(block, heads); i++) {
            if (!room)
                continue;
            const struct unit unit = unit_of(m, block, heads, i);
            for (int64_t h = 0; h < unit.heads; h++)
                load_state(m, state + (unit.row + h) * size, w.state + h * w.keys * w.values);
            for (int64_t begin = 0; begin < m->length; begin += chunk) {
                int64_t end = begin + chunk < m->length ? begin + chunk : m->length;
                SABLE_ISA_PICK(sable_outer_chunk)
                (m, &w, OUTER_LOCAL | OUTER_CARRIED | OUTER_STATE, unit.sequence, unit.head, unit.heads, begin, end, o);
            }
            for (int64_t h = 0; h < unit.heads; h++)
                store_state(m, w.state + h * w.keys * w.values, state + (unit.row + h) * size);
        }
        sable_array_free(room);
    }
    return !failed;
}

/* Few heads for many threads: chunks are shared, with the same bits. */
static bool chunks_at_once(const struct sable_outer *m, const struct sable_outer_block *block, int64_t chunk,
                           float *state, float *o)
{
    const int64_t chunks = (m->length + chunk - 1) / chunk, first = unit_of(m, block, 1, 0).row;
    const int64_t rows = (block->sequences - 1) * m->heads + block->heads; /* from the first to the last */
    float *add = sable_array(rows * chunks, m->keys * m->values, sizeof(float));
    bool done = add && each_chunk(m, block, chunk, OUTER_LOCAL | OUTER_ADD, first, add, o);
    if (done) {
        chain(m, block, chunk, first, add, state);
        done = each_chunk(m, block, chunk, OUTER_CARRIED, first, add, o);
    }
    sable_array_free(add);
    return done;
}

/* ---- Other forms ---- */

static bool head_by_head(const struct sable_outer *m, const struct sable_outer_block *block, bool steps, int64_t chunk,
                         float *state, float *o)
{
    const int64_t blocks = steps ? 1 : (m->length + chunk - 1) / chunk, size = m->keys * m->values;
    bool failed = false;
#pragma omp parallel reduction(| : failed)
    {
        struct outer_work w;
        float *room = make_room(m, chunk, 1, &w);
        failed |= !room;
#pragma omp for schedule(dynamic)
        for (int64_t i = 0; i < block->sequences * block->heads * blocks; i++) {
            if (!room)
                continue;
            const struct unit unit = unit_of(m, block, 1, i / blocks);
            if (steps)
                load_state(m, state + unit.row * size, w.state);
            for (int64_t b = steps ? 0 : i % blocks; b < (steps ? m->length / chunk + 1 : i % blocks + 1); b++) {
                int64_t begin = b * chunk, end = begin + chunk < m->length ? begin + chunk : m->length;
                if (begin >= end)
                    continue;
                if (steps)
                    SABLE_ISA_PICK(sable_outer_steps)(m, &w, unit.sequence, unit.head, begin, end, o);
                else
                    SABLE_ISA_PICK(sable_outer_pairs)(m, &w, unit.sequence, unit.head, begin, end, chunk, o);
            }
            if (steps)
                store_state(m, w.state, state + unit.row * size);
        }
        sable_array_free(room);
    }
    return !failed;
}

bool sable_outer_scan_block(const struct sable_outer *m, const struct sable_outer_block *block,
                            enum sable_outer_form form, int64_t chunk, float *state, float *o)
{
    if (block->sequences * block->heads == 0 || m->length == 0)
        return true;
    if (form != SABLE_OUTER_CHUNKED)
        return head_by_head(m, block, form == SABLE_OUTER_RECURRENT, chunk, state, o);
    if (block->sequences * block->heads < omp_get_max_threads())
        return chunks_at_once(m, block, chunk, state, o);
    return chunks_in_turn(m, block, chunk, state, o);
}

bool sable_outer_scan(const struct sable_outer *m, enum sable_outer_form form, int64_t chunk, float *state, float *o)
{
    const struct sable_outer_block all = {0, m->sequences, 0, m->heads};
    return sable_outer_scan_block(m, &all, form, chunk, state, o);
}
