#ifndef SABLE_OUTER_ISA_H
#define SABLE_OUTER_ISA_H

#include "sable_isa.h"
#include "sable_outer.h"

enum { OUTER_HEADS = 12 /* of a unit: they share the products q·k of a group */, OUTER_SUB = 16 };

/* What a thread needs, all rows padded: `steps` = Q to whole vectors behind the last row tile, `keys`, `values` = N and
 * P to 16, `pitch` = N to an odd number of cache lines, so that a column of a power of two rows is spread over L1.
 * Padding holds zeros. */
struct outer_work {
    int64_t steps, keys, values, pitch;
    float *scores, *turned; /* [steps, steps] and behind it [keys, steps]: k of a chunk, lanes over steps */
    float *weights;         /* [steps, steps] */
    float *v, *decayed, *o; /* [steps, values]: v (by key: a v); a v decayed to the chunk's end; outputs */
    float *q, *k, *w;       /* [steps, pitch] */
    float *q_in, *k_out;    /* [steps, pitch]: q from the chunk's start, k to its end */
    float *row_q, *row_in;  /* q and `in` of later steps, for pairs of chunks */
    float *high, *low;      /* [steps]: sums of g log₂e in two parts */
    float *a;               /* [steps]: weights of values */
    float *in, *out;        /* [steps]: exponentials of sums of g from the start; to the end, times a */
    float *end;             /* [keys]: decay of the whole chunk */
    float *state;           /* [OUTER_HEADS, keys, values] */
    double *sum;            /* [steps + 1, keys]: sums of g */
    double *between;        /* [2, keys]: sums of g from the end of a chunk to later steps, and room */
    /* Scores and k of all groups of a chunk, where they have been made: [groups, steps + keys, steps]; or NULL. */
    float *made;
};

/* Which parts of a chunk to compute: outputs from the chunk itself; outputs from the state it begins with; the state
 * it ends with, or only what it adds to one. */
enum outer_part { OUTER_LOCAL = 1, OUTER_CARRIED = 2, OUTER_STATE = 4, OUTER_ADD = 8 };

/* Steps [begin, end) of `heads` ≤ OUTER_HEADS heads of a sequence, as one chunk; states are in `work`. */
SABLE_ISA_DECLARE(void, sable_outer_chunk,
                  (const struct sable_outer *model, const struct outer_work *work, int parts, int64_t sequence,
                   int64_t head, int64_t heads, int64_t begin, int64_t end, float *o));
/* What the heads of a group share of a chunk, for `made`: one decay for all keys. */
SABLE_ISA_DECLARE(void, sable_outer_scores,
                  (const struct sable_outer *model, const struct outer_work *work, int64_t sequence, int64_t group,
                   int64_t begin, int64_t end, float *made));
/* One head, step by step. */
SABLE_ISA_DECLARE(void, sable_outer_steps,
                  (const struct sable_outer *model, const struct outer_work *work, int64_t sequence, int64_t head,
                   int64_t begin, int64_t end, float *o));
/* One head's outputs of [begin, end) from all steps before, `chunk` at a time, last first. */
SABLE_ISA_DECLARE(void, sable_outer_pairs,
                  (const struct sable_outer *model, const struct outer_work *work, int64_t sequence, int64_t head,
                   int64_t begin, int64_t end, int64_t chunk, float *o));
/* A chunk whose g add up to `sum` ([1] or [N]) makes S ← exp(sum) S + add of a state; `add` becomes what S was. */
SABLE_ISA_DECLARE(void, sable_outer_link,
                  (const struct sable_outer *model, const double *sum, float *add, float *state));

#endif
