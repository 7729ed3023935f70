/* Exact sums of every state, of which each rank makes some and holds a part in the end. */
#ifndef ROLLOUTS_TABLE_H
#define ROLLOUTS_TABLE_H

#include "rollouts_share.h"

struct rollouts_table {
    int64_t states;
    int parts, ranks;                   /* moments of a state */
    int64_t each, first, count;         /* states that a rank holds in the end, and those of this one; the last fewer */
    struct sable_exact_moments *values; /* [each·ranks × parts] this rank's sums */
    struct sable_exact_moments *own;    /* [each × parts] those of all ranks; `values` itself on one rank */
    double *column;                     /* [each] an output */
};

/* Freed by rollouts_table_free() in any case. Not collective. */
int rollouts_table_make(struct rollouts_table *table, int64_t states, int parts, struct sable_layout layout,
                        struct sable_error *error);
void rollouts_table_free(struct rollouts_table *table);
double rollouts_table_memory(double states, int parts);
void rollouts_table_clear(struct rollouts_table *table);
/* Collective: each rank receives the sums of its own states; counted as sent. */
int rollouts_table_reduce(struct rollouts_table *table, struct sable_context *context, struct sable_error *error);
/* Σ of the low words of a part over own states, each times 2 s + 1, modulo 2⁶⁴. */
uint64_t rollouts_table_sum(const struct rollouts_table *table, int part);

/* An output: what `of` makes of a state's moments. Collective. */
struct rollouts_column {
    const char *name, *help;
    double (*of)(const struct sable_exact_moments *moments);
};
int rollouts_table_put(struct rollouts_table *table, struct sable_sink *sink, const struct rollouts_column *column,
                       struct sable_error *error);

#endif
