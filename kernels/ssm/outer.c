#include <math.h>
#include <omp.h>
#include <stdlib.h>
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
    float **const arrays[] = {&w->scores, &w->turned, &w->weights, &w->v,     &w->decayed, &w->o,      &w->q,
                              &w->k,      &w->w,      &w->q_in,    &w->k_out, &w->row_q,   &w->row_in, &w->high,
                              &w->low,    &w->a,      &w->in,      &w->out,   &w->end,     &w->state};
    const int64_t sizes[] = {
        square, keys, square,   values,   values,   values,   keys,     keys,     keys,    keys,
        keys,   keys, w->steps, w->steps, w->steps, w->steps, w->steps, w->steps, w->keys, heads * w->keys * w->values};
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++)
        *arrays[i] = cut(base, &at, sizes[i]);
    w->sum = (double *)(void *)cut(base, &at, 2 * keys + 2 * w->keys);
    w->between = (double *)(void *)cut(base, &at, 4 * w->keys);
    return at;
}

struct sable_outer_room {
    int64_t chunk, chunks, threads, heads;
    float **of_thread; /* [threads]: NULL until it is needed */
    /* [sequences, chunks, groups, size]: scores and k turned, or NULL */
    float *made;
    int64_t size;
};

void sable_outer_room_free(struct sable_outer_room *room)
{
    if (!room)
        return;
    for (int64_t i = 0; room->of_thread && i < room->threads; i++)
        sable_array_free(room->of_thread[i]);
    sable_array_free(room->made);
    free(room->of_thread);
    free(room);
}

/* Scores of a chunk cost about half of a head's time, and no less memory than a few heads' values. */
enum { SHARED = 4 /* heads of a group, from which on they are kept */ };

struct sable_outer_room *sable_outer_room(const struct sable_outer *m, int64_t chunk, bool share)
{
    struct outer_work w;
    struct sable_outer_room *room = calloc(1, sizeof *room);
    if (!room)
        return NULL;
    lay_out(m, chunk, 0, NULL, &w);
    room->chunk = chunk;
    room->chunks = (m->length + chunk - 1) / chunk;
    room->threads = omp_get_max_threads();
    room->heads = m->heads < OUTER_HEADS ? m->heads : OUTER_HEADS;
    room->of_thread = calloc((size_t)room->threads, sizeof *room->of_thread);
    room->size = (w.steps + w.keys) * w.steps;
    const bool shares = share && !m->bonus && m->group_heads >= SHARED && m->heads >= SHARED;
    const int64_t blocks = m->sequences * room->chunks * m->groups;
    room->made = shares ? sable_array(blocks, room->size, sizeof(float)) : NULL;
    if (!room->of_thread || (shares && !room->made)) {
        sable_outer_room_free(room);
        return NULL;
    }
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < (shares ? blocks : 0); i++)
        memset(room->made + i * room->size, 0, (size_t)room->size * sizeof *room->made);
    return room;
}

/* This thread's room, zeroed when it is first asked for; false: out of memory. */
static bool enter(const struct sable_outer *m, struct sable_outer_room *room, struct outer_work *w)
{
    float **own = &room->of_thread[omp_get_thread_num()];
    const int64_t count = lay_out(m, room->chunk, room->heads, NULL, w);
    if (!*own) {
        *own = sable_array(count, 1, sizeof(float));
        if (!*own)
            return false;
        memset(*own, 0, (size_t)count * sizeof **own);
    }
    lay_out(m, room->chunk, room->heads, *own, w);
    return true;
}

static float *made_of(const struct sable_outer *m, const struct sable_outer_room *room, int64_t sequence, int64_t chunk)
{
    return room->made ? room->made + (sequence * room->chunks + chunk) * m->groups * room->size : NULL;
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
static int64_t heads_of_unit(const struct sable_outer_room *room, const struct sable_outer_block *block, int64_t others)
{
    int64_t best = 1;
    double least = INFINITY, threads = (double)omp_get_max_threads();
    const double shared = room->made ? 0.1 : 0.25; /* of a head's time: to read, or to make */
    for (int64_t heads = 1; heads <= OUTER_HEADS; heads++) {
        double units = (double)((block->heads + heads - 1) / heads * others);
        double time = ceil(units / threads) * ((double)heads + shared);
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

bool sable_outer_share(const struct sable_outer *m, struct sable_outer_room *room)
{
    bool failed = false;
    if (!room->made)
        return true;
#pragma omp parallel reduction(| : failed)
    {
        struct outer_work w;
        const bool entered = enter(m, room, &w);
        failed |= !entered;
#pragma omp for schedule(dynamic)
        for (int64_t i = 0; i < m->sequences * room->chunks * m->groups; i++) {
            const int64_t group = i % m->groups, c = i / m->groups % room->chunks, begin = c * room->chunk;
            const int64_t end = begin + room->chunk < m->length ? begin + room->chunk : m->length;
            if (entered)
                SABLE_ISA_PICK(sable_outer_scores)
            (m, &w, i / m->groups / room->chunks, group, begin, end, room->made + i * room->size);
        }
    }
    return !failed;
}

/* `parts` of all chunks of a block, each from (or to) its own state in `states` [rows from `first` on, chunks, N, P].
 */
static bool each_chunk(const struct sable_outer *m, struct sable_outer_room *room,
                       const struct sable_outer_block *block, int parts, int64_t first, float *states, float *o)
{
    const int64_t chunk = room->chunk, chunks = room->chunks, size = m->keys * m->values;
    const int64_t heads = heads_of_unit(room, block, block->sequences * chunks), units = units_of(block, heads);
    bool failed = false;
#pragma omp parallel reduction(| : failed)
    {
        struct outer_work w;
        const bool entered = enter(m, room, &w);
        failed |= !entered;
#pragma omp for schedule(dynamic)
        for (int64_t i = 0; i < units * chunks; i++) {
            if (!entered)
                continue;
            const int64_t all = units / block->sequences, c = i / all % chunks;
            const struct unit unit = unit_of(m, block, heads, i / all / chunks * all + i % all);
            int64_t begin = c * chunk, end = begin + chunk < m->length ? begin + chunk : m->length;
            w.made = made_of(m, room, unit.sequence, c);
            for (int64_t h = 0; h < unit.heads && (parts & OUTER_CARRIED); h++)
                load_state(m, states + ((unit.row + h - first) * chunks + c) * size, w.state + h * w.keys * w.values);
            SABLE_ISA_PICK(sable_outer_chunk)
            (m, &w, parts, unit.sequence, unit.head, unit.heads, begin, end, o);
            for (int64_t h = 0; h < unit.heads && (parts & OUTER_ADD); h++)
                store_state(m, w.state + h * w.keys * w.values, states + ((unit.row + h - first) * chunks + c) * size);
        }
    }
    return !failed;
}

bool sable_outer_local(const struct sable_outer *m, struct sable_outer_room *room,
                       const struct sable_outer_block *block, float *add, float *o)
{
    return each_chunk(m, room, block, OUTER_LOCAL | OUTER_ADD, 0, add, o);
}

bool sable_outer_carried(const struct sable_outer *m, struct sable_outer_room *room,
                         const struct sable_outer_block *block, const float *seeds, float *o)
{
    return each_chunk(m, room, block, OUTER_CARRIED, 0, (float *)(uintptr_t)seeds, o); /* only read */
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

void sable_outer_chain(const struct sable_outer *m, const struct sable_outer_room *room,
                       const struct sable_outer_block *block, float *add, float *state)
{
    chain(m, block, room->chunk, 0, add, state);
}

/* Chunks of a unit's heads one after another, the state in a cache. */
static bool chunks_in_turn(const struct sable_outer *m, struct sable_outer_room *room,
                           const struct sable_outer_block *block, float *state, float *o)
{
    const int64_t heads = heads_of_unit(room, block, block->sequences), size = m->keys * m->values;
    bool failed = false;
#pragma omp parallel reduction(| : failed)
    {
        struct outer_work w;
        const bool entered = enter(m, room, &w);
        failed |= !entered;
#pragma omp for schedule(static)
        for (int64_t i = 0; i < units_of(block, heads); i++) {
            if (!entered)
                continue;
            const struct unit unit = unit_of(m, block, heads, i);
            for (int64_t h = 0; h < unit.heads; h++)
                load_state(m, state + (unit.row + h) * size, w.state + h * w.keys * w.values);
            for (int64_t c = 0; c < room->chunks; c++) {
                int64_t begin = c * room->chunk, end = begin + room->chunk;
                end = end < m->length ? end : m->length;
                w.made = made_of(m, room, unit.sequence, c);
                SABLE_ISA_PICK(sable_outer_chunk)
                (m, &w, OUTER_LOCAL | OUTER_CARRIED | OUTER_STATE, unit.sequence, unit.head, unit.heads, begin, end, o);
            }
            for (int64_t h = 0; h < unit.heads; h++)
                store_state(m, w.state + h * w.keys * w.values, state + (unit.row + h) * size);
        }
    }
    return !failed;
}

/* Few heads for many threads: chunks are shared, with the same bits. */
static bool chunks_at_once(const struct sable_outer *m, struct sable_outer_room *room,
                           const struct sable_outer_block *block, float *state, float *o)
{
    const int64_t chunks = room->chunks, first = unit_of(m, block, 1, 0).row;
    const int64_t rows = (block->sequences - 1) * m->heads + block->heads; /* from the first to the last */
    float *add = sable_array(rows * chunks, m->keys * m->values, sizeof(float));
    bool done = add && each_chunk(m, room, block, OUTER_LOCAL | OUTER_ADD, first, add, o);
    if (done) {
        chain(m, block, room->chunk, first, add, state);
        done = each_chunk(m, room, block, OUTER_CARRIED, first, add, o);
    }
    sable_array_free(add);
    return done;
}

/* ---- Other forms ---- */

static bool head_by_head(const struct sable_outer *m, struct sable_outer_room *room,
                         const struct sable_outer_block *block, bool steps, float *state, float *o)
{
    const int64_t chunk = room->chunk;
    const int64_t blocks = steps ? 1 : (m->length + chunk - 1) / chunk, size = m->keys * m->values;
    bool failed = false;
#pragma omp parallel reduction(| : failed)
    {
        struct outer_work w;
        const bool entered = enter(m, room, &w);
        failed |= !entered;
#pragma omp for schedule(dynamic)
        for (int64_t i = 0; i < block->sequences * block->heads * blocks; i++) {
            if (!entered)
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
    }
    return !failed;
}

bool sable_outer_scan_block(const struct sable_outer *m, struct sable_outer_room *room,
                            const struct sable_outer_block *block, enum sable_outer_form form, float *state, float *o)
{
    if (block->sequences * block->heads == 0 || m->length == 0)
        return true;
    if (form != SABLE_OUTER_CHUNKED)
        return head_by_head(m, room, block, form == SABLE_OUTER_RECURRENT, state, o);
    if (block->sequences * block->heads < omp_get_max_threads())
        return chunks_at_once(m, room, block, state, o);
    return chunks_in_turn(m, room, block, state, o);
}

bool sable_outer_scan(const struct sable_outer *m, enum sable_outer_form form, int64_t chunk, float *state, float *o)
{
    const struct sable_outer_block all = {0, m->sequences, 0, m->heads};
    struct sable_outer_room *room = sable_outer_room(m, chunk, false);
    const bool done = room && sable_outer_scan_block(m, room, &all, form, state, o);
    sable_outer_room_free(room);
    return done;
}
