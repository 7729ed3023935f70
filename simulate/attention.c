/* Stand-ins of attention/prefill. Unit: one flop, 2·(dim + dim_v) for each pair of a query and a key that it sees. */
#include "sable_attention.h"

#include <stdlib.h>

#include "stand_in.h"

STAND_IN(sable_attention_draw);
STAND_IN(sable_attention_create);
STAND_IN(sable_attention_free);
STAND_IN(sable_attention_memory);
STAND_IN(sable_attention);
STAND_IN(sable_attention_begin);
STAND_IN(sable_attention_add);
STAND_IN(sable_attention_finish);

/* In this many steps the keys of one arrival are computed with, and messages are moved on in between. */
enum { STEPS = 2 };

struct sable_attention {
    struct sable_attention_shape shape;
    struct sable_attention_part part;
};

void __wrap_sable_attention_draw(uint64_t seed, uint32_t purpose, int64_t first, int64_t count, float *to)
{
    (void)seed, (void)purpose, (void)first, (void)count, (void)to;
}

struct sable_attention *__wrap_sable_attention_create(const struct sable_attention_shape *shape,
                                                      const struct sable_attention_part *part, int threads,
                                                      int64_t arrivals, const struct sable_attention_keys *arrival)
{
    (void)threads, (void)arrivals, (void)arrival;
    struct sable_attention *attention = malloc(sizeof *attention);
    if (attention)
        *attention = (struct sable_attention){*shape, *part};
    return attention;
}

void __wrap_sable_attention_free(struct sable_attention *attention)
{
    free(attention);
}

double __wrap_sable_attention_memory(const struct sable_attention_shape *shape, const struct sable_attention_part *part,
                                     int threads, int64_t arrivals, const struct sable_attention_keys *arrival)
{
    (void)shape, (void)part, (void)threads, (void)arrivals, (void)arrival;
    return 0;
}

static double pairs_of(const struct sable_attention *a, const struct sable_attention_keys *keys)
{
    const struct sable_attention_shape *s = &a->shape;
    double pairs = 0;
    for (int i = 0; i < 2; i++) {
        const struct sable_attention_rows *rows = &a->part.rows[i];
        if (!s->causal)
            pairs += (double)rows->count * (double)keys->count;
        for (int64_t r = rows->first; r < rows->first + rows->count && s->causal; r++) {
            int64_t seen = r + s->keys - s->queries + 1 - keys->first;
            pairs += (double)(seen < 0 ? 0 : seen < keys->count ? seen : keys->count);
        }
    }
    return pairs * (double)a->part.heads;
}

void __wrap_sable_attention_add(struct sable_attention *attention, const void *q,
                                const struct sable_attention_keys *keys, void (*progress)(void *), void *data)
{
    (void)q;
    const double dims = (double)(attention->shape.dim + attention->shape.dim_v);
    const double units = 2 * dims * pairs_of(attention, keys);
    for (int step = 0; step < STEPS; step++) {
        simulate_units(units / STEPS);
        if (progress)
            progress(data);
    }
}

void __wrap_sable_attention(struct sable_attention *attention, const void *q, int64_t ranges,
                            const struct sable_attention_keys *keys, float *out, float *lse)
{
    (void)out, (void)lse;
    for (int64_t i = 0; i < ranges; i++)
        __wrap_sable_attention_add(attention, q, &keys[i], NULL, NULL);
}

void __wrap_sable_attention_begin(struct sable_attention *attention)
{
    (void)attention;
}

void __wrap_sable_attention_finish(struct sable_attention *attention, float *out, float *lse)
{
    (void)attention, (void)out, (void)lse;
}
