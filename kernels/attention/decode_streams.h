/* A leaf's keys or values as four streams of rows, of floats or of bfloat16; for decode_leaf.isa.c only. `bf16` is a
 * constant wherever these are inlined into a loop. */
#ifndef DECODE_STREAMS_H
#define DECODE_STREAMS_H

#include "attention_lanes.h"
#include "decode_leaf.h"

enum { AHEAD = 2 }; /* keys of each strand that are asked for before they are needed; more made it slower */

/* Element `at` of an array of bfloat16 or of floats. */
static inline const void *element(bool bf16, const void *array, int64_t at)
{
    return (const char *)array + at * (bf16 ? 2 : 4);
}

/* LANES elements as floats, widened in registers; the first `count`, the others are 0. */
static inline lanes load_row(bool bf16, const void *from)
{
    return bf16 ? load_halves(from) : load_loose(from);
}

static inline lanes load_end(bool bf16, const void *from, int64_t count)
{
    return bf16 ? load_some_halves(from, count) : load_some(from, count);
}

/* Vector i of a row of the array that is read some time later: two of bfloat16 share a line of the cache. */
static inline void ask_for(bool bf16, const void *row, int64_t i)
{
    if (!bf16 || LANE_BYTES < 64 || i % 2 == 0)
        __builtin_prefetch(element(bf16, row, i * LANES), 0, 2);
}

/* Four streams of rows: those of strand n begin at row n·strand, `pitch` elements apart. */
struct streams {
    const void *first;
    int64_t pitch, apart; /* elements from row to row, from strand to strand */
};

static inline const void *row_of(bool bf16, struct streams x, int64_t strand, int64_t row)
{
    return element(bf16, x.first, strand * x.apart + row * x.pitch);
}

/* What is AHEAD keys behind key `c` of each strand, in this array or the one that is read then: behind a strand's last
 * key another one follows. */
static inline struct streams streams_ahead(bool bf16, int64_t c, int64_t strand, const void *now, int64_t pitch,
                                           const void *then, int64_t pitch_then)
{
    const bool here = c + AHEAD < strand;
    const int64_t row = here ? pitch : pitch_then, at = here ? c + AHEAD : c + AHEAD - strand;
    return (struct streams){element(bf16, here ? now : then, at * row), row, strand * row};
}

#endif
