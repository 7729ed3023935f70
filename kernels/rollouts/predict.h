/* Private to the family: one thread's part of a prediction, and how it counts an episode (predict_path.isa.c). */
#ifndef SABLE_PREDICT_H
#define SABLE_PREDICT_H

#include "walk.h"

struct predictor;
/* Counts one episode of `length` ≥ 1 steps, whose outcomes are path[0..length). */
typedef void count_path_function(struct predictor *p, int64_t length, struct sable_rollouts_chunk *chunk);
SABLE_ISA_DECLARE(void, rollouts_count_path,
                  (struct predictor * p, int64_t length, struct sable_rollouts_chunk *chunk));
/* The same bits in vectors, where there is such a version. */
SABLE_ISA_DECLARE(void, rollouts_count_path_lanes,
                  (struct predictor * p, int64_t length, struct sable_rollouts_chunk *chunk));

/* The same of off-policy episodes: outcomes of pairs, tallies of states. */
SABLE_ISA_DECLARE(void, rollouts_count_weighted,
                  (struct predictor * p, int64_t length, struct sable_rollouts_chunk *chunk));

/* Which tally of a state. */
enum { TALLY_VISITS, TALLY_STARTS, VALUE_TALLIES };
enum { TALLY_PRODUCT, TALLY_WEIGHT, TALLY_BOTH, WEIGHT_TALLIES };

/* What a thread works with. */
struct predictor {
    const struct sable_rollouts_rows *rows;
    count_path_function *count_path;
    enum sable_rollouts_visits visits;
    const struct sable_rollouts_ratios *ratios; /* off-policy only */
    int64_t states;                             /* that have tallies */
    int tallies;                                /* of each */
    struct sable_digits *tally;                 /* [states × tallies] */
    int64_t unflushed;                          /* values added to tallies, at most */
    uint32_t *seen;                             /* [states] the last episode that visited, as counted by `serial` */
    uint32_t serial;                            /* from 1 on */
    struct sable_rollouts_lost lost;
    struct walk_trace trace; /* of as many lanes as play */
    uint32_t *path;          /* outcomes of the episode to be counted, in the trace; | COUNTS */
};
#define COUNTS (UINT32_C(1) << 31)

#endif
