#include "measure.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "digest.h"
#include "interrupt.h"
#include "output.h"
#include "progress.h"
#include "registry.h"
#include "share.h"
#include "stats.h"
#include "verdict.h"

/* Splits a repetition into phases. */
struct sable_clock {
    int phases, phase;
    double since, seconds[SABLE_MAX_PHASES];
};

/* What one variant collects on this rank. */
struct series {
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

static int grow(struct series *series, int phases, struct sable_error *error)
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
static int repeat_once(const struct sable_job *job, int v, struct series *series, double *seconds,
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

static int store_repetition(struct series *series, double seconds, struct sable_error *error)
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
static double interval_width(const struct series *series)
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
static double widest_interval(const struct sable_job *job, const struct series *series)
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
static const char *reason_to_stop(const struct sable_job *job, const struct series *series, double elapsed,
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
static int repeat(const struct sable_job *job, MPI_Comm comm, struct series *series, struct sable_progress *progress,
                  const char **stopped, struct sable_error *error)
{
    double seconds, width = NAN;
    for (int64_t w = 0; w < job->effort.warmups; w++)
        for (int v = 0; v < job->variants; v++) {
            sable_progress_show(progress, "warm-up", w + 1, job->effort.warmups, NAN);
            if (repeat_once(job, v, &series[v], &seconds, error))
                return error->code;
        }
    for (int v = 0; v < job->variants; v++)
        sable_disturbance_sample(&series[v].before);
    double start = sable_now();
    for (*stopped = NULL; !*stopped;) {
        for (int v = 0; v < job->variants; v++) {
            if (repeat_once(job, v, &series[v], &seconds, error) ||
                (store_repetition(&series[v], seconds, error), sable_agree(comm, error)))
                return error->code;
        }
        double elapsed = sable_now() - start; /* rank 0's clock decides for all */
        if (sable_check_mpi(MPI_Bcast(&elapsed, 1, MPI_DOUBLE, 0, comm), "MPI_Bcast", error))
            return error->code;
        *stopped = reason_to_stop(job, series, elapsed, &width);
        sable_progress_show(progress, "repetition", series[0].reps, job->effort.reps, width);
        for (int v = 0; v < job->variants; v++)
            series[v].elapsed = elapsed;
    }
    return SABLE_OK;
}

/* ---- After the loop: one variant's series becomes a run ---- */

/* Gathers [reps × width] of each rank into [reps × ranks × width] on rank 0. */
static int gather_cube(const struct series *series, const double *own, int width, double **cube,
                       struct sable_error *error)
{
    int ranks = series->context.layout.ranks, rank = series->context.layout.rank;
    *cube = NULL;
    double *row = NULL;
    if (rank == 0) {
        *cube = malloc((size_t)series->reps * (size_t)ranks * (size_t)width * sizeof(double));
        if (!*cube)
            sable_fail(error, SABLE_ENVIRONMENT, "out of memory for the times of %d ranks", ranks);
    }
    if (sable_agree(series->context.comm, error))
        return error->code;
    for (int64_t rep = 0; rep < series->reps; rep++) {
        if (rank == 0)
            row = *cube + rep * ranks * width;
        if (sable_check_mpi(
                MPI_Gather(own + rep * width, width, MPI_DOUBLE, row, width, MPI_DOUBLE, 0, series->context.comm),
                "MPI_Gather", error))
            return error->code;
    }
    return SABLE_OK;
}

static int gather_counters(const struct series *series, const struct sable_work *work, struct sable_run *run,
                           struct sable_error *error)
{
    const struct sable_context *context = &series->context;
    size_t reps = (size_t)series->reps;
    struct sable_counters own = {
        .rank = context->layout.rank,
        .items = work->items,
        .flops_fp64 = work->flops_fp64,
        .operations_fp64 = work->operations_fp64,
        .operations_int32 = work->operations_int32,
        .flops_fp32 = work->flops_fp32,
        .flops_bf16 = work->flops_bf16,
        .bytes_memory = work->bytes,
        .random_accesses = work->random_accesses,
        .bytes_sent = (double)context->bytes_sent,
        .messages = (double)context->messages,
        .bytes_network_model = work->bytes_network,
        .messages_model = work->messages,
        .memory_model = work->memory,
        .peak_rss = series->after.peak_rss,
        .involuntary_switches = series->after.involuntary_switches - series->before.involuntary_switches,
        .steal_seconds = series->after.steal_seconds - series->before.steal_seconds,
        .clock_ghz_low = sable_quantile(series->clock_ghz, reps, 0.1),
        .clock_ghz_high = sable_quantile(series->clock_ghz, reps, 0.9),
    };
    if (context->layout.rank == 0 && !(run->counters = malloc((size_t)run->ranks * sizeof *run->counters)))
        sable_fail(error, SABLE_ENVIRONMENT, "out of memory for the counters of %d ranks", run->ranks);
    if (sable_agree(context->comm, error))
        return error->code;
    return sable_check_mpi(
        MPI_Gather(&own, sizeof own, MPI_BYTE, run->counters, sizeof own, MPI_BYTE, 0, context->comm), "MPI_Gather",
        error);
}

static void describe_run(const struct sable_job *job, int v, const struct series *series, const char *stopped,
                         struct sable_run *run)
{
    const struct sable_workload *workload = job->workload;
    run->workload = workload;
    snprintf(run->name, sizeof run->name, "%s", workload->name);
    snprintf(run->variant, sizeof run->variant, "%s", job->variant[v]->name);
    run->seed = job->seed;
    run->ranks = series->context.layout.ranks;
    run->threads = series->context.layout.threads;
    run->warmups = (int)job->effort.warmups;
    snprintf(run->stopped, sizeof run->stopped, "%s", stopped);
    run->reps = series->reps;
    run->phases = series->clock.phases;
    for (int phase = 0; phase < run->phases; phase++)
        snprintf(run->phase_name[phase], sizeof run->phase_name[phase], "%s", workload->phases[phase]);
    run->notes = series->context.notes;
    memcpy(run->note, series->context.note, sizeof run->note);
    run->peer = job->variant[v]->peer;
    run->layout_invariant = workload->layout_invariant && !run->peer;
    snprintf(run->fom_name, sizeof run->fom_name, "%s", workload->fom.name);
    snprintf(run->fom_unit, sizeof run->fom_unit, "%s", workload->fom.unit);
}

/* Items of all ranks over the slowest rank's time; the interval of the median turned round. */
static int figure_of_merit(const struct series *series, const struct sable_work *work, struct sable_run *run,
                           double *items, struct sable_error *error)
{
    if (sable_check_mpi(MPI_Allreduce(&work->items, items, 1, MPI_DOUBLE, MPI_SUM, series->context.comm),
                        "MPI_Allreduce", error))
        return error->code;
    struct sable_interval time = sable_median_interval(series->slowest, (size_t)series->reps);
    double scaled = *items / run->workload->fom.scale;
    run->fom = scaled / time.mid;
    run->fom_low = scaled / time.high;
    run->fom_high = scaled / time.low;
    return SABLE_OK;
}

static int verify_and_store(const struct sable_job *job, struct series *series, struct sable_run *run,
                            struct sable_results *results, bool stored, struct sable_error *error)
{
    const struct sable_workload *workload = job->workload;
    struct sable_context *context = &series->context;
    struct sable_checks checks = {0};
    run->verified = SABLE_SKIPPED;
    if (job->verify) {
        workload->verify(series->state, context, &checks, error);
        if (sable_agree(context->comm, error))
            return error->code;
        int mine = sable_checks_pass(&checks), all;
        if (sable_check_mpi(MPI_Allreduce(&mine, &all, 1, MPI_INT, MPI_MIN, context->comm), "MPI_Allreduce", error))
            return error->code;
        run->verified = all ? SABLE_PASS : SABLE_FAIL;
    }
    run->checks = checks.count;
    if (checks.count > 0) {
        if (!(run->check = malloc((size_t)checks.count * sizeof *run->check)))
            return sable_fail(error, SABLE_ENVIRONMENT, "out of memory for %d checks", checks.count);
        memcpy(run->check, checks.list, (size_t)checks.count * sizeof *run->check);
    }
    if (results)
        sable_results_begin(results, run, error);
    if (sable_agree(context->comm, error))
        return error->code;
    struct sable_sink sink = {.comm = context->comm, .keep = job->keep, .results = results, .stored = stored};
    workload->output(series->state, context, &sink, error);
    if (sable_agree(context->comm, error))
        return error->code;
    run->has_digest = sink.any;
    return sable_digest_combine(context->comm, sink.part, &run->digest, error);
}

static int conclude(const struct sable_job *job, int v, struct series *series, const char *stopped,
                    const struct sable_machine *machine, enum sable_ceilings_effort ceilings_effort,
                    struct sable_ceilings *ceilings, struct sable_results *results, bool stored, struct sable_run *runs,
                    struct sable_error *error)
{
    struct sable_run *run = &runs[v];
    struct sable_work work = {0};
    double items;
    describe_run(job, v, series, stopped, run);
    job->workload->work(job->params, series->context.layout, series->state, &work);
    if (figure_of_merit(series, &work, run, &items, error) ||
        gather_cube(series, series->own, 1, &run->seconds, error) ||
        gather_cube(series, series->phase, run->phases, &run->phase_seconds, error) ||
        gather_counters(series, &work, run, error))
        return error->code;
    if (ceilings_effort != SABLE_CEILINGS_NONE &&
        sable_share_of_ceiling(series->context.comm, run->threads, &work, items, ceilings, run, error))
        return error->code;
    if (verify_and_store(job, series, run, results, stored, error))
        return error->code;
    sable_judge_trust(machine, series->elapsed, run);
    return SABLE_OK;
}

static void free_series(const struct sable_job *job, struct series *series)
{
    if (series->state)
        job->workload->free(series->state);
    free(series->own);
    free(series->phase);
    free(series->slowest);
    free(series->clock_ghz);
}

void sable_run_free(struct sable_run *run)
{
    free(run->seconds);
    free(run->phase_seconds);
    free(run->counters);
    free(run->check);
    run->seconds = run->phase_seconds = NULL;
    run->counters = NULL;
    run->check = NULL;
}

int sable_measure(const struct sable_job *job, MPI_Comm comm, int threads, const struct sable_machine *machine,
                  enum sable_ceilings_effort ceilings_effort, struct sable_ceilings *ceilings,
                  struct sable_results *results, bool stored, struct sable_progress *progress, struct sable_run *run,
                  struct sable_error *error)
{
    struct series series[SABLE_MAX_VARIANTS] = {0};
    const char *stopped = "";
    struct sable_layout layout = {.threads = threads};
    MPI_Comm_rank(comm, &layout.rank);
    MPI_Comm_size(comm, &layout.ranks);

    for (int v = 0; v < job->variants; v++) {
        series[v].clock.phases = sable_phase_count(job->workload);
        series[v].context = (struct sable_context){.comm = comm,
                                                   .layout = layout,
                                                   .seed = job->seed,
                                                   .input = job->input,
                                                   .variant = job->variant[v]->name,
                                                   .fault = job->fault,
                                                   .clock = &series[v].clock};
        sable_progress_show(progress, "set-up", 0, 0, NAN);
        job->workload->setup(job->params, &series[v].context, &series[v].state, error);
        if (sable_agree(comm, error))
            goto done;
    }
    if (repeat(job, comm, series, progress, &stopped, error))
        goto done;
    for (int v = 0; v < job->variants; v++) {
        sable_progress_show(progress, "verification", 0, 0, NAN);
        if (conclude(job, v, &series[v], stopped, machine, ceilings_effort, ceilings, results, stored, run, error))
            goto done;
        if (v > 0) {
            struct sable_interval ratio =
                sable_ratio_interval(series[0].slowest, series[v].slowest, (size_t)series[v].reps);
            run[v].ratio = ratio.mid;
            run[v].ratio_low = ratio.exists ? ratio.low : NAN;
            run[v].ratio_high = ratio.exists ? ratio.high : NAN;
            snprintf(run[v].ratio_to, sizeof run[v].ratio_to, "%s", run[0].variant);
        } else {
            run[v].ratio = run[v].ratio_low = run[v].ratio_high = NAN;
        }
        if (results)
            sable_results_end(results, &run[v], error);
        if (sable_agree(comm, error))
            goto done;
    }
done:
    for (int v = 0; v < job->variants; v++)
        free_series(job, &series[v]);
    return error->code;
}
