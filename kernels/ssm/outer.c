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
    const int64_t square = w->steps * w->steps, keys = w->steps * w->keys, values = w->steps * w->values;
    float **const arrays[] = {&w->scores, &w->weights, &w->turned, &w->v,     &w->decayed, &w->o,      &w->q,
                              &w->k,      &w->w,       &w->q_in,   &w->k_out, &w->row_q,   &w->row_in, &w->high,
                              &w->low,    &w->in,      &w->out,    &w->end,   &w->state};
    const int64_t sizes[] = {square,
                             square,
                             keys,
                             values,
                             values,
                             values,
                             keys,
                             keys,
                             keys,
                             keys,
                             keys,
                             keys,
                             w->steps,
                             w->steps,
                             w->steps,
                             w->steps,
                             w->steps,
                             w->keys,
                             heads * w->keys * w->values};
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
static int64_t heads_of_unit(const struct sable_outer *m, int64_t others)
{
    int64_t best = 1;
    double least = INFINITY, threads = (double)omp_get_max_threads();
    for (int64_t heads = 1; heads <= OUTER_HEADS; heads *= 2) {
        double units = (double)((m->heads + heads - 1) / heads * others);
        double time = ceil(units / threads) * ((double)heads + 0.25); /* scores cost about a quarter of a head */
        if (time < least)
            least = time, best = heads;
    }
    return best;
}

/* `parts` of all chunks, each from (or to) its own state in `states` [B, H, chunks, N, P]. */
static bool each_chunk(const struct sable_outer *m, int64_t chunk, int parts, float *states, float *o)
{
    const int64_t chunks = (m->length + chunk - 1) / chunk, size = m->keys * m->values;
    const int64_t heads = heads_of_unit(m, m->sequences * chunks), blocks = (m->heads + heads - 1) / heads;
    bool failed = false;
#pragma omp parallel reduction(| : failed)
    {
        struct outer_work w;
        float *room = make_room(m, chunk, heads, &w);
        failed |= !room;
#pragma omp for schedule(dynamic)
        for (int64_t i = 0; i < m->sequences * chunks * blocks; i++) {
            if (!room)
                continue;
            int64_t s = i / blocks / chunks, c = i / blocks % chunks, first = i % blocks * heads;
            int64_t count = m->heads - first < heads ? m->heads - first : heads;
            int64_t begin = c * chunk, end = begin + chunk < m->length ? begin + chunk : m->length;
            for (int64_t h = 0; h < count && (parts & OUTER_CARRIED); h++)
                load_state(m, states + ((s * m->heads + first + h) * chunks + c) * size,
                           w.state + h * w.keys * w.values);
            SABLE_ISA_PICK(sable_outer_chunk)(m, &w, parts, s, first, count, begin, end, o);
            for (int64_t h = 0; h < count && (parts & OUTER_ADD); h++)
                store_state(m, w.state + h * w.keys * w.values,
                            states + ((s * m->heads + first + h) * chunks + c) * size);
        }
        sable_array_free(room);
    }
    return !failed;
}

bool sable_outer_local(const struct sable_outer *m, int64_t chunk, float *add, float *o)
{
    return each_chunk(m, chunk, OUTER_LOCAL | OUTER_ADD, add, o);
}

bool sable_outer_carried(const struct sable_outer *m, int64_t chunk, const float *seeds, float *o)
{
    return each_chunk(m, chunk, OUTER_CARRIED, (float *)(uintptr_t)seeds, o); /* only read */
}

void sable_outer_chain(const struct sable_outer *m, int64_t chunk, int64_t row, float *add, float *state)
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

/* Chunks of a unit's heads one after another, the state in a cache. */
static bool chunks_in_turn(const struct sable_outer *m, int64_t chunk, float *state, float *o)
{
    const int64_t heads = heads_of_unit(m, m->sequences), blocks = (m->heads + heads - 1) / heads;
    const int64_t size = m->keys * m->values;
    bool failed = false;
#pragma omp parallel reduction(| : failed)
    {
        struct outer_work w;
        float *room = make_room(m, chunk, heads, &w);
        failed |= !room;
#pragma omp for schedule(static)
        for (int64_t i = 0; i < m->sequences * blocks; i++) {
            if (!room)
                continue;
            int64_t s = i / blocks, first = i % blocks * heads;
            int64_t count = m->heads - first < heads ? m->heads - first : heads;
            for (int64_t h = 0; h < count; h++)
                load_state(m, state + (s * m->heads + first + h) * size, w.state + h * w.keys * w.values);
            for (int64_t begin = 0; begin < m->length; begin += chunk) {
                int64_t end = begin + chunk < m->length ? begin + chunk : m->length;
                SABLE_ISA_PICK(sable_outer_chunk)
                (m, &w, OUTER_LOCAL | OUTER_CARRIED | OUTER_STATE, s, first, count, begin, end, o);
            }
            for (int64_t h = 0; h < count; h++)
                store_state(m, w.state + h * w.keys * w.values, state + (s * m->heads + first + h) * size);
        }
        sable_array_free(room);
    }
    return !failed;
}

/* Few heads for many threads: chunks are shared, with the same bits. */
static bool chunks_at_once(const struct sable_outer *m, int64_t chunk, float *state, float *o)
{
    const int64_t chunks = (m->length + chunk - 1) / chunk, size = m->keys * m->values, rows = m->sequences * m->heads;
    float *add = sable_array(rows * chunks, size, sizeof(float));
    bool done = add && sable_outer_local(m, chunk, add, o);
    if (done) {
#pragma omp parallel for schedule(static)
        for (int64_t row = 0; row < rows; row++)
            sable_outer_chain(m, chunk, row, add + row * chunks * size, state + row * size);
        done = sable_outer_carried(m, chunk, add, o);
    }
    sable_array_free(add);
    return done;
}

/* ---- Other forms ---- */

static bool head_by_head(const struct sable_outer *m, bool steps, int64_t chunk, float *state, float *o)
{
    const int64_t blocks = steps ? 1 : (m->length + chunk - 1) / chunk, size = m->keys * m->values;
    bool failed = false;
#pragma omp parallel reduction(| : failed)
    {
        struct outer_work w;
        float *room = make_room(m, chunk, 1, &w);
        failed |= !room;
#pragma omp for schedule(dynamic)
        for (int64_t i = 0; i < m->sequences * m->heads * blocks; i++) {
            if (!room)
                continue;
            int64_t row = i / blocks, s = row / m->heads, h = row % m->heads;
            if (steps)
                load_state(m, state + row * size, w.state);
            for (int64_t b = steps ? 0 : i % blocks; b < (steps ? m->length / chunk + 1 : i % blocks + 1); b++) {
                int64_t begin = b * chunk, end = begin + chunk < m->length ? begin + chunk : m->length;
                if (begin >= end)
                    continue;
                if (steps)
                    SABLE_ISA_PICK(sable_outer_steps)(m, &w, s, h, begin, end, o);
                else
                    SABLE_ISA_PICK(sable_outer_pairs)(m, &w, s, h, begin, end, chunk, o);
            }
            if (steps)
                store_state(m, w.state, state + row * size);
        }
        sable_array_free(room);
    }
    return !failed;
}

bool sable_outer_scan(const struct sable_outer *m, enum sable_outer_form form, int64_t chunk, float *state, float *o)
{
    if (m->sequences * m->heads == 0 || m->length == 0)
        return true;
    if (form != SABLE_OUTER_CHUNKED)
        return head_by_head(m, form == SABLE_OUTER_RECURRENT, chunk, state, o);
    if (m->sequences * m->heads < omp_get_max_threads())
        return chunks_at_once(m, chunk, state, o);
    return chunks_in_turn(m, chunk, state, o);
}
