/* The repetitions of one variant on this rank, between measure.c, which collects them, and conclude.c, which makes a
 * run of them. */
#ifndef SABLE_SERIES_H
#define SABLE_SERIES_H

#include "machine.h"
#include "measure.h"

/* Splits a repetition into phases. */
struct sable_clock {
    int phases, phase;
    double since, seconds[SABLE_MAX_PHASES];
};

/* What one variant collects on this rank. */
struct sable_series {
    void *state;
    struct sable_context context;
    struct sable_clock clock;
    int64_t reps, capacity;
    double *own;       /* [reps] this rank's seconds */
    double *phase;     /* [reps × phases] */
    double *slowest;   /* [reps] of all ranks: the repetition's time, the same on every rank */
    double *clock_ghz; /* [reps] */
    struct sable_disturbance before, after;
    double elapsed; /* from the first to the last repetition */
};

/* Collective. Verifies, gathers and rates the series of job's variant v, and opens its run in the results file, where
 * it writes the outputs; the times follow with sable_results_end(). `stopped`: why the repetitions ended. `run` knows
 * its problem (run.c, expected_run); its arrays are rank 0's, to be freed by sable_run_free() also after a failure. */
int sable_conclude(const struct sable_job *job, int v, struct sable_series *series, const char *stopped,
                   const struct sable_bench *bench, struct sable_run *run, struct sable_error *error);

#endif
