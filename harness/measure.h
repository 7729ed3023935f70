/* The repetition loop: variants of one workload interleaved, raw times kept, stopped by agreement of all ranks. */
#ifndef SABLE_MEASURE_H
#define SABLE_MEASURE_H

#include "ceilings.h"
#include "driver.h"
#include "machine.h"
#include "results.h"

enum { SABLE_MAX_VARIANTS = 16, SABLE_MIN_REPS = 10, SABLE_MAX_REPS = 1000000 };

/* How often and how long. */
struct sable_effort {
    int64_t reps; /* 0: until the interval is narrow enough */
    int64_t warmups;
    double max_time;     /* seconds of one workload, all variants */
    bool max_time_asked; /* typed by the user: then it also ends before SABLE_MIN_REPS */
    double target;       /* half width of the 95 % interval relative to the median: 0.02 */
};

struct sable_progress; /* progress.h */

/* One workload and the variants that run interleaved. */
struct sable_job {
    const struct sable_workload *workload;
    const void *params;
    int variants;
    const struct sable_variant *variant[SABLE_MAX_VARIANTS];
    uint64_t seed;
    struct sable_input *input;
    int fault;
    bool verify;
    enum sable_keep keep;
    struct sable_effort effort;
};

/* Where jobs are measured and what becomes of their results. */
struct sable_bench {
    MPI_Comm comm;
    int threads; /* of each rank */
    const struct sable_machine *machine;
    enum sable_ceilings_effort effort; /* SABLE_CEILINGS_NONE: no shares of ceilings */
    struct sable_ceilings *ceilings;   /* what was measured so far; gets those that a job is the first to need */
    struct sable_results *results;     /* on rank 0, if anything is stored */
    bool stored;                       /* the same on every rank */
    struct sable_progress *progress;
};

/* Collective over the bench's ranks. Sets up, warms up, repeats, verifies, digests and stores each variant: run[v] is
 * filled in, its arrays on rank 0, and must be freed by sable_run_free(). On failure nothing of the workload that had
 * not finished is left in the file. */
int sable_measure(const struct sable_job *job, const struct sable_bench *bench, struct sable_run *run,
                  struct sable_error *error);
void sable_run_free(struct sable_run *run);

/* Seconds on this rank's monotonic clock; only differences on one rank mean anything. */
double sable_now(void);

#endif
