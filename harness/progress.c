#include "progress.h"

#include <math.h>
#include <stdio.h>

#include "measure.h"

enum { MILLISECONDS_BETWEEN = 200 };

void sable_progress_show(struct sable_progress *progress, const char *doing, int64_t reps, int64_t planned,
                         double interval)
{
    double now = sable_now();
    if (!progress->on || now - progress->shown < MILLISECONDS_BETWEEN * 1e-3)
        return;
    progress->shown = now;
    double elapsed = now - progress->started;
    fprintf(stderr, "\r\033[K[%d/%d] %s: %s", progress->workload, progress->workloads, progress->name, doing);
    if (reps > 0)
        fprintf(stderr, " %lld", (long long)reps);
    if (planned > 0)
        fprintf(stderr, " of %lld", (long long)planned);
    if (isfinite(interval))
        fprintf(stderr, " (median ± %.1f %%)", 100 * interval);
    fprintf(stderr, ", %.0f s", elapsed);
    if (planned > 0 && reps > 0)
        fprintf(stderr, ", about %.0f s left", elapsed / (double)reps * (double)(planned - reps));
    fflush(stderr);
}

void sable_progress_clear(struct sable_progress *progress)
{
    if (progress->on)
        fputs("\r\033[K", stderr);
}
