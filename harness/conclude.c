/* After the loop: one variant's series becomes a run, with its verdict. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "digest.h"
#include "output.h"
#include "series.h"
#include "share.h"
#include "stats.h"
#include "verdict.h"

/* Gathers [reps × width] of each rank into [reps × ranks × width] on rank 0. */
static int gather_cube(const struct sable_series *series, const double *own, int width, double **cube,
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

static int gather_counters(const struct sable_series *series, const struct sable_work *work, struct sable_run *run,
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

static void describe_run(const struct sable_job *job, int v, const struct sable_series *series, const char *stopped,
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
static int figure_of_merit(const struct sable_series *series, const struct sable_work *work, struct sable_run *run,
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

static int verify_and_store(const struct sable_job *job, struct sable_series *series, const struct sable_bench *bench,
                            struct sable_run *run, struct sable_error *error)
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
    if (bench->results)
        sable_results_begin(bench->results, run, error);
    if (sable_agree(context->comm, error))
        return error->code;
    struct sable_sink sink = {
        .comm = context->comm, .keep = job->keep, .results = bench->results, .stored = bench->stored};
    workload->output(series->state, context, &sink, error);
    if (sable_agree(context->comm, error))
        return error->code;
    run->has_digest = sink.any;
    return sable_digest_combine(context->comm, sink.part, &run->digest, error);
}

int sable_conclude(const struct sable_job *job, int v, struct sable_series *series, const char *stopped,
                   const struct sable_bench *bench, struct sable_run *run, struct sable_error *error)
{
    struct sable_work work = {0};
    double items;
    describe_run(job, v, series, stopped, run);
    job->workload->work(job->params, series->context.layout, series->state, &work);
    if (figure_of_merit(series, &work, run, &items, error) ||
        gather_cube(series, series->own, 1, &run->seconds, error) ||
        gather_cube(series, series->phase, run->phases, &run->phase_seconds, error) ||
        gather_counters(series, &work, run, error))
        return error->code;
    if (bench->effort != SABLE_CEILINGS_NONE &&
        sable_share_of_ceiling(bench->comm, run->threads, &work, items, bench->ceilings, run, error))
        return error->code;
    if (verify_and_store(job, series, bench, run, error))
        return error->code;
    sable_judge_trust(bench->machine, series->elapsed, run);
    return SABLE_OK;
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
