/* Private to the family: one thread's part of a prediction, and how it counts an episode (predict_path.isa.c). */
#ifndef SABLE_PREDICT_H
#define SABLE_PREDICT_H

#include "walk.h"

struct predictor;
/* Counts one episode of `length` ≥ 1 steps, whose outcomes are path[0..length). */
typedef void count_path_function(struct predictor *p, int64_t length, struct sable_rollouts_chunk *chunk);
SABLE_ISA_DECLARE(void, rollouts_count_path,
                  (struct predictor * p, int64_t length, struct sable_rollouts_chunk *chunk));

struct state_tally {
    struct sable_tally visits, starts;
};

/* What a thread works with. */
struct predictor {
    const struct sable_rollouts_rows *rows;
    count_path_function *count_path;
    bool first_visits;
    struct state_tally *tally; /* [states] */
    int64_t *seen;             /* [states] the last episode that visited, as counted by `serial` */
    int64_t serial, cut;
    uint32_t *trace;      /* [blocks × STEPS × LANES] a ring; or [STEPS·blocks] of one episode */
    int64_t blocks;       /* of an episode that reaches the horizon */
    int64_t begun[LANES]; /* block of the ring's time in which the lane's episode began */
    uint32_t *path;       /* [STEPS·blocks] outcomes of one episode; | COUNTS */
};
#define COUNTS (UINT32_C(1) << 31)

#endif
