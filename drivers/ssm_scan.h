/* One rank's part of ssm/scan: its arrays, and what it says to other ranks. The workload itself is in ssm_scan.c. */
#ifndef SSM_SCAN_H
#define SSM_SCAN_H

#include "driver.h"
#include "sable_scan.h"
#include "ssm_part.h"

enum scan_strategy { SCAN_AUTO, SCAN_CHANNELS, SCAN_SEQUENCE };

enum scan_carries { SCAN_FIXED, SCAN_NATIVE };

struct scan_params {
    int64_t channels, states, length, chunk;
    int strategy; /* enum scan_strategy */
    int carries;  /* enum scan_carries */
};

struct scan_part {
    int64_t column, columns; /* channels */
    int64_t step, steps;
    int64_t chunk, chunks; /* of time; 0 chunks unless ranks share time */
};

enum { SCAN_PHASE, SCAN_PHASE_CARRY, SCAN_PHASE_RESCAN, SCAN_PHASE_WAIT };

struct scan_exchange; /* ssm_scan_carry.c */

struct scan_state {
    struct scan_params params; /* of the whole problem; sizes are the input's, if it has any */
    struct scan_part part;
    bool reference, over_time;
    int64_t row;                          /* M: complex numbers of a step on this rank */
    float *a, *x0, *state, *before;       /* [2, M]; `before` is x before the rank's first step */
    float *b, *x;                         /* [steps, 2, M] */
    float *ends;                          /* [chunks, 2, M]: what chunks end with, then begin with */
    struct scan_exchange *exchange;       /* over time; else NULL */
    double *carry;                        /* [2, M] */
    double *seam;                         /* [M]: how far `before` may lie from this rank's first seed */
    struct sable_scan_evidence *evidence; /* [M] */
    float *pairs;                         /* [steps, M, 2]: x as it is stored; from the first output on */
};

/* Chunks of time in the order of ranks, or channels. */
struct scan_part scan_split(const struct scan_params *params, bool over_time, struct sable_layout layout);

/* Sizes of the input file, if there is one. */
int scan_sizes(struct scan_params *params, struct sable_context *context, struct sable_error *error);

/* Allocates all arrays of a state with params, part and over_time, and reads or draws them. Freed by scan_free(). */
int scan_fill(struct scan_state *scan, struct sable_context *context, struct sable_error *error);
void scan_free(void *state);

/* ---- Over time (ssm_scan_carry.c) ---- */

/* Bytes that a rank sends in a run. */
double scan_bytes_sent(const struct scan_params *params, struct sable_layout layout);

/* Whether x goes around the caches. */
bool scan_streams(const struct scan_state *scan);

/* Room and counts of the exchange, for part and row of `scan`; NULL: out of memory. */
struct scan_exchange *scan_exchange_plan(const struct scan_state *scan, struct sable_layout layout);
void scan_exchange_free(struct scan_exchange *exchange);
/* Collective: a run. With `forget` all chunks of a rank but the first begin with 0. */
int scan_over_time(struct scan_state *scan, bool forget, struct sable_context *context, struct sable_error *error);

/* ---- Verification and outputs ---- */

/* Collective, for verification: `before` from the rank before; `seam` from its evidence. */
int scan_before(struct scan_state *scan, struct sable_context *context, struct sable_error *error);
int scan_seams(struct scan_state *scan, struct sable_context *context, struct sable_error *error);

int scan_output(void *state, struct sable_context *context, struct sable_sink *sink, struct sable_error *error);

#endif
