#include "measure.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "interrupt.h"
#include "progress.h"
#include "registry.h"
#include "series.h"
#include "stats.h"

double sable_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

void sable_note_that(struct sable_context *context, const char *name, const char *format, ...)
{
    int i = 0;
    while (i < context->notes && strcmp(context->note[i].name, name) != 0)
        i++;
    if (i == SABLE_MAX_NOTES)
        return;
    context->notes = i < context->notes ? context->notes : i + 1;
    snprintf(context->note[i].name, sizeof context->note[i].name, "%s", name);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(context->note[i].text, sizeof context->note[i].text, format, arguments);
    va_end(arguments);
}

void sable_phase(struct sable_context *context, int phase)
{
    struct sable_clock *clock = context->clock;
    double now = sable_now();
    clock->seconds[clock->phase] += now - clock->since;
    clock->since = now;
    clock->phase = phase < clock->phases ? phase : 0;
}

static int grow(struct sable_series *series, int phases, struct sable_error *error)
{
    if (series->reps < series->capacity)
        return SABLE_OK;
    int64_t capacity = series->capacity ? 2 * series->capacity : 64;
    struct {
        double **array;
        int64_t width;
    } all[] = {{&series->own, 1}, {&series->phase, phases}, {&series->slowest, 1}, {&series->clock_ghz, 1}};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        double *larger = realloc(*all[i].array, (size_t)(capacity * all[i].width) * sizeof(double));
        if (!larger)
            return sable_fail(error, SABLE_ENVIRONMENT, "out of memory for %lld repetitions", (long long)capacity);
        *all[i].array = larger;
    }
    series->capacity = capacity;
    return SABLE_OK;
}

/* One repetition on this rank: reset, barrier, run. */
static int repeat_once(const struct sable_job *job, int v, struct sable_series *series, double *seconds,
                       struct sable_error *error)
{
    struct sable_context *context = &series->context;
    const struct sable_workload *workload = job->workload;
    if (workload->reset)
        workload->reset(series->state, context, error);
    if (sable_agree(context->comm, error))
        return error->code;
    context->bytes_sent = context->messages = 0;
    memset(series->clock.seconds, 0, sizeof series->clock.seconds);
    series->clock.phase = 0;
    if (sable_check_mpi(MPI_Barrier(context->comm), "MPI_Barrier", error))
        return error->code;
    double start = series->clock.since = sable_now();
    job->variant[v]->run(series->state, context, error);
    sable_phase(context, 0);
    *seconds = series->clock.since - start;
    sable_interrupt_check(error);
    return sable_agree(context->comm, error);
}

static int store_repetition(struct sable_series *series, double seconds, struct sable_error *error)
{
    int64_t rep = series->reps;
    if (grow(series, series->clock.phases, error))
        return error->code;
    series->own[rep] = seconds;
    memcpy(series->phase + rep * series->clock.phases, series->clock.seconds,
           (size_t)series->clock.phases * sizeof(double));
    struct sable_disturbance now;
    sable_disturbance_sample(&now);
    series->clock_ghz[rep] = now.clock_ghz;
    series->after = now;
    series->reps++;
    return sable_check_mpi(MPI_Allreduce(&seconds, &series->slowest[rep], 1, MPI_DOUBLE, MPI_MAX, series->context.comm),
                           "MPI_Allreduce", error);
}

/* Relative half width of the interval of the median; NaN below six repetitions. The same on every rank. */
static double interval_width(const struct sable_series *series)
{
    struct sable_interval interval = sable_median_interval(series->slowest, (size_t)series->reps);
    return interval.exists ? (interval.high - interval.low) / (2 * interval.mid) : NAN;
}

/* Intervals are looked at after each of the first rounds, later when their number has grown by a sixteenth: all looks
 * together cost no more than a few sorts of all times, however short a repetition is. */
static bool time_to_look(int64_t reps)
{
    int64_t step = 1;
    while (32 * step <= reps)
        step *= 2;
    return reps % step == 0;
}

/* The widest of the variants' intervals; NaN if one has none. */
static double widest_interval(const struct sable_job *job, const struct sable_series *series)
{
    double widest = 0;
    for (int v = 0; v < job->variants; v++) {
        double width = interval_width(&series[v]);
        if (!(width <= widest))
            widest = width;
    }
    return widest;
}

/* Decides, equally on all ranks, whether another round is wanted; NULL if it is, else the reason why not. */
static const char *reason_to_stop(const struct sable_job *job, const struct sable_series *series, double elapsed,
                                  double *width)
{
    const struct sable_effort *effort = &job->effort;
    int64_t reps = series[0].reps;
    bool looked = time_to_look(reps);
    if (looked)
        *width = widest_interval(job, series);
    bool out_of_time = elapsed >= effort->max_time;
    if (effort->reps > 0)
        return reps >= effort->reps ? "asked" : (out_of_time && effort->max_time_asked && reps > 0) ? "max-time" : NULL;
    if (looked && reps >= SABLE_MIN_REPS && *width <= effort->target)
        return "interval";
    if (reps >= SABLE_MAX_REPS || (out_of_time && reps > 0 && (reps >= SABLE_MIN_REPS || effort->max_time_asked)))
        return "max-time";
    return NULL;
}

/* Warm-ups and rounds; in a round each variant runs once. */
static int repeat(const struct sable_job *job, const struct sable_bench *bench, struct sable_series *series,
                  const char **stopped, struct sable_error *error)
{
    double seconds, width = NAN;
    for (int64_t w = 0; w < job->effort.warmups; w++)
        for (int v = 0; v < job->variants; v++) {
            sable_progress_show(bench->progress, "warm-up", w + 1, job->effort.warmups, NAN);
            if (repeat_once(job, v, &series[v], &seconds, error))
                return error->code;
        }
    for (int v = 0; v < job->variants; v++)
        sable_disturbance_sample(&series[v].before);
    double start = sable_now();
    for (*stopped = NULL; !*stopped;) {
        for (int v = 0; v < job->variants; v++) {
            if (repeat_once(job, v, &series[v], &seconds, error) ||
                (store_repetition(&series[v], seconds, error), sable_agree(bench->comm, error)))
                return error->code;
        }
        double elapsed = sable_now() - start; /* rank 0's clock decides for all */
        if (sable_check_mpi(MPI_Bcast(&elapsed, 1, MPI_DOUBLE, 0, bench->comm), "MPI_Bcast", error))
            return error->code;
        *stopped = reason_to_stop(job, series, elapsed, &width);
        sable_progress_show(bench->progress, "repetition", series[0].reps, job->effort.reps, width);
        for (int v = 0; v < job->variants; v++)
            series[v].elapsed = elapsed;
    }
    return SABLE_OK;
}

static void free_series(const struct sable_job *job, struct sable_series *series)
{
    if (series->state)
        job->workload->free(series->state);
    free(series->own);
    free(series->phase);
    free(series->slowest);
    free(series->clock_ghz);
}

/* Speed against the first variant of the launch, from rounds that both were in. */
static void compare_speed(const struct sable_series *series, int v, struct sable_run *run)
{
    run[v].ratio = run[v].ratio_low = run[v].ratio_high = NAN;
    if (v == 0)
        return;
    struct sable_interval ratio = sable_ratio_interval(series[0].slowest, series[v].slowest, (size_t)series[v].reps);
    run[v].ratio = ratio.mid;
    if (ratio.exists) {
        run[v].ratio_low = ratio.low;
        run[v].ratio_high = ratio.high;
    }
    snprintf(run[v].ratio_to, sizeof run[v].ratio_to, "%s", run[0].variant);
}

int sable_measure(const struct sable_job *job, const struct sable_bench *bench, struct sable_run *run,
                  struct sable_error *error)
{
    struct sable_series series[SABLE_MAX_VARIANTS] = {0};
    const char *stopped = "";
    struct sable_layout layout = {.threads = bench->threads};
    MPI_Comm_rank(bench->comm, &layout.rank);
    MPI_Comm_size(bench->comm, &layout.ranks);

    for (int v = 0; v < job->variants; v++) {
        series[v].clock.phases = sable_phase_count(job->workload);
        series[v].context = (struct sable_context){.comm = bench->comm,
                                                   .layout = layout,
                                                   .seed = job->seed,
                                                   .input = job->input,
                                                   .variant = job->variant[v]->name,
                                                   .fault = job->fault,
                                                   .clock = &series[v].clock};
        sable_progress_show(bench->progress, "set-up", 0, 0, NAN);
        job->workload->setup(job->params, &series[v].context, &series[v].state, error);
        if (sable_agree(bench->comm, error))
            goto done;
    }
    if (repeat(job, bench, series, &stopped, error))
        goto done;
    for (int v = 0; v < job->variants; v++) {
        sable_progress_show(bench->progress, "verification", 0, 0, NAN);
        if (sable_conclude(job, v, &series[v], stopped, bench, &run[v], error))
            goto done;
        compare_speed(series, v, run);
        if (bench->results)
            sable_results_end(bench->results, &run[v], error);
        if (sable_agree(bench->comm, error))
            goto done;
    }
done:
    for (int v = 0; v < job->variants; v++)
        free_series(job, &series[v]);
    return error->code;
}
