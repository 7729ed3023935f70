/* For outer.isa.c: rows of q, k, v and o between the caller's layout and a thread's room. */
#ifndef SABLE_OUTER_ROWS_H
#define SABLE_OUTER_ROWS_H

#include "outer_isa.h"
#include "outer_product.h"

static inline int64_t group_of(const struct sable_outer *m, int64_t head)
{
    return (head + m->group_offset) / m->group_heads;
}

/* Rows of `from` (`pitch` apart) to padded rows of `to`. */
static inline void pad(int64_t rows, int64_t columns, const float *from, int64_t pitch, float *to, int64_t padded)
{
    for (int64_t i = 0; i < rows; i++, from += pitch, to += padded) {
        int64_t j = 0;
        for (; j + LANES <= columns; j += LANES)
            lanes_store(to + j, lanes_load(from + j));
        for (; j < columns; j++)
            to[j] = from[j];
    }
}

static void load_values(const struct sable_outer *m, const struct outer_work *w, int64_t at, int64_t steps)
{
    pad(steps, m->values, m->v + at * m->values, m->heads * m->values, w->v, w->values);
    const int64_t behind = w->steps - steps < TILE_ROWS ? w->steps - steps : TILE_ROWS; /* that a tile may read */
    memset(w->v + steps * w->values, 0, (size_t)(behind * w->values) * sizeof *w->v);
}

static void load_weighted_values(const struct sable_outer *m, const struct outer_work *w, int64_t at, int64_t steps)
{
    load_values(m, w, at, steps);
    for (int64_t t = 0; m->weight && t < steps; t++)
        for (int64_t p = 0; p < m->values; p++)
            w->v[t * w->values + p] *= m->weight[at + t * m->heads];
}

/* Where q and k of a group's step lie. */
static inline int64_t key_at(const struct sable_outer *m, int64_t sequence, int64_t group, int64_t step)
{
    return ((sequence * m->length + step) * m->groups + group) * m->keys;
}

static void load_keys(const struct sable_outer *m, const struct outer_work *w, int64_t sequence, int64_t group,
                      int64_t begin, int64_t steps)
{
    pad(steps, m->keys, m->k + key_at(m, sequence, group, begin), m->groups * m->keys, w->k, w->pitch);
}

static void load_queries(const struct sable_outer *m, const struct outer_work *w, int64_t sequence, int64_t group,
                         int64_t begin, int64_t steps, float *q)
{
    pad(steps, m->keys, m->q + key_at(m, sequence, group, begin), m->groups * m->keys, q, w->pitch);
}

static void load_outputs(const struct sable_outer *m, const struct outer_work *w, int64_t at, int64_t steps,
                         const float *o)
{
    pad(steps, m->values, o + at * m->values, m->heads * m->values, w->o, w->values);
}

static inline bool whole_lines(const struct sable_outer *m, const float *o)
{
    return m->values % 16 == 0 && (uintptr_t)o % 64 == 0;
}

/* Around the caches where rows are whole lines: nobody here reads them again soon. */
static void store_outputs(const struct sable_outer *m, const struct outer_work *w, int64_t at, int64_t steps, float *o)
{
    const bool lines = whole_lines(m, o);
    for (int64_t t = 0; t < steps; t++) {
        float *to = o + (at + t * m->heads) * m->values;
        const float *from = w->o + t * w->values;
        if (!lines)
            memcpy(to, from, (size_t)m->values * sizeof *o);
        else
            for (int64_t p = 0; p < m->values; p += LANES)
                lanes_stream(to + p, lanes_load(from + p));
    }
}

static void add_skip(const struct sable_outer *m, const struct outer_work *w, int64_t at, int64_t head, int64_t steps)
{
    for (int64_t t = 0; m->skip && t < steps; t++)
        for (int64_t p = 0; p < m->values; p++) {
            float *o = &w->o[t * w->values + p];
            *o += m->skip[head] * m->v[(at + t * m->heads) * m->values + p];
        }
}

#endif
