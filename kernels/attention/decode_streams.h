/* A leaf's keys or values as four streams of rows, of floats or of bfloat16; for decode_leaf.isa.c only. `bf16` is a
 * constant wherever these are inlined into a loop. */
#ifndef DECODE_STREAMS_H
#define DECODE_STREAMS_H

#include "attention_lanes.h"
#include "decode_leaf.h"

enum {
#if defined(__AVX512F__)
    FEW_QUERIES = 3, /* whose accumulators leave room for 128 channels at once */
#else
    FEW_QUERIES = 1,
#endif
    TILE_ROWS = DECODE_WIDTH / DECODE_STRANDS, /* of each strand, in a tile of p */
    PASS_ROWS = 4 * TILE_ROWS                  /* of each strand, that a pass over some channels of V takes at most */
};

/* Rows of each strand that are asked for before they are needed. Few queries take rows from end to end; more come back
 * for the other channels, so by then all rows of the next pass are asked for. */
static inline int64_t rows_ahead(int64_t queries)
{
    return queries <= FEW_QUERIES ? 2 : PASS_ROWS;
}

/* Where the logits, then the weights, of row c of the strands begin. */
static inline float *weights_at(const struct decode_leaf *t, int64_t query, int64_t c)
{
    return t->p + (c / TILE_ROWS * t->queries + query) * DECODE_WIDTH + c % TILE_ROWS * DECODE_STRANDS;
}

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

/* The line of a row with element `at`, some time before it is read: 32 elements of bfloat16 share it. */
static inline void ask_for(bool bf16, const void *row, int64_t at)
{
    if (!bf16 || at % 32 == 0)
        __builtin_prefetch(element(bf16, row, at), 0, 2);
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

static inline struct streams streams_from(bool bf16, struct streams x, int64_t row)
{
    x.first = element(bf16, x.first, row * x.pitch);
    return x;
}

/* Rows of each strand from c on, in this array or the one that is read then: behind a strand's last key another one
 * follows. */
static inline struct streams streams_or_then(bool bf16, int64_t c, int64_t strand, const void *now, int64_t pitch,
                                             const void *then, int64_t pitch_then)
{
    const bool here = c < strand;
    const int64_t row = here ? pitch : pitch_then, at = here ? c : c - strand;
    return (struct streams){element(bf16, here ? now : then, at * row), row, strand * row};
}

#endif
