/* Progress on standard error of rank 0, on a terminal only: workload k of n, repetition, elapsed, estimate. */
#ifndef SABLE_PROGRESS_H
#define SABLE_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct sable_progress {
    bool on;
    int workload, workloads;
    const char *name;
    double started, shown; /* sable_now() */
};

/* `reps` of `planned` (0 where open); `interval` is the relative half width reached so far, or NaN. */
void sable_progress_show(struct sable_progress *progress, const char *doing, int64_t reps, int64_t planned,
                         double interval);
void sable_progress_clear(struct sable_progress *progress);

#endif
