#include "share.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "stats.h"

enum resource { FP64, OPS64, INT32, FP32, BF16, EXP, STREAM, RANDOM, NETWORK, RESOURCES };

/* Rate per rank of a ceiling in base units (flop/s, byte/s, access/s); 0 if it was not measured. */
static double rate_of(const struct sable_ceilings *ceilings, int index)
{
    if (index < 0)
        return 0;
    const struct sable_ceiling *ceiling = &ceilings->list[index];
    return ceiling->value * 1e9 / ceiling->ranks; /* all rates are in giga-units */
}

static double least_time(double amount, double rate)
{
    return amount > 0 && rate > 0 ? amount / rate : 0;
}

int sable_share_of_ceiling(MPI_Comm comm, int threads, const struct sable_work *work, double items,
                           struct sable_ceilings *ceilings, struct sable_run *run, struct sable_error *error)
{
    int index[RESOURCES] = {[FP64] = sable_ceilings_find(ceilings, "fma_fp64"),
                            [OPS64] = sable_ceilings_find(ceilings, "ops_fp64"),
                            [INT32] = sable_ceilings_find(ceilings, "ops_int32"),
                            [FP32] = sable_ceilings_find(ceilings, "fma_fp32"),
                            [BF16] = sable_ceilings_find(ceilings, "dot_bf16"),
                            [EXP] = sable_ceilings_find(ceilings, "exp_fp32"),
                            [STREAM] = -1,
                            [RANDOM] = -1,
                            [NETWORK] = sable_ceilings_find(ceilings, "mpi_bandwidth")};
    double random_set = work->random_set > 0 ? work->random_set : work->working_set, most[5];
    double own[5] = {work->bytes, work->working_set, work->random_accesses, (double)work->pattern, random_set};
    if (sable_check_mpi(MPI_Allreduce(own, most, 5, MPI_DOUBLE, MPI_MAX, comm), "MPI_Allreduce", error))
        return error->code;
    if (most[0] > 0 &&
        sable_ceilings_stream(comm, threads, (enum sable_pattern)most[3], most[1], ceilings, &index[STREAM], error))
        return error->code;
    if (most[2] > 0 && sable_ceilings_random(comm, threads, most[4], ceilings, &index[RANDOM], error))
        return error->code;

    double amount[RESOURCES] = {
        [FP64] = work->flops_fp64, [OPS64] = work->operations_fp64,  [INT32] = work->operations_int32,
        [FP32] = work->flops_fp32, [BF16] = work->flops_bf16,        [EXP] = work->exponentials,
        [STREAM] = work->bytes,    [RANDOM] = work->random_accesses, [NETWORK] = work->bytes_network};
    double seconds[RESOURCES], slowest[RESOURCES];
    for (int r = 0; r < RESOURCES; r++)
        seconds[r] = least_time(amount[r], rate_of(ceilings, index[r]));
    int latency = sable_ceilings_find(ceilings, "mpi_latency");
    if (latency >= 0)
        seconds[NETWORK] += work->messages * ceilings->list[latency].value * 1e-6;
    if (sable_check_mpi(MPI_Allreduce(seconds, slowest, RESOURCES, MPI_DOUBLE, MPI_MAX, comm), "MPI_Allreduce", error))
        return error->code;

    int longest = 0;
    for (int r = 1; r < RESOURCES; r++)
        if (slowest[r] > slowest[longest])
            longest = r;
    run->share = run->ceiling_value = NAN;
    if (slowest[longest] > 0 && index[longest] >= 0) {
        snprintf(run->ceiling, sizeof run->ceiling, "%s", ceilings->list[index[longest]].name);
        run->ceiling_value = items / run->workload->fom.scale / slowest[longest];
        run->share = run->fom / run->ceiling_value;
    }
    return SABLE_OK;
}

/* ---- Trust ---- */

/* Thresholds beyond which a time says more about the disturbance than about the machine (docs/measuring.md). */
static const double most_steal = 0.02;        /* of the elapsed time */
static const double most_clock_change = 0.10; /* between the 10th and 90th percentile of the clock */
static const double most_switches = 100;      /* involuntary, a second and thread */
static const double widest_interval = 0.10;   /* half width of the median's interval */

static void warn(struct sable_run *run, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void warn(struct sable_run *run, const char *format, ...)
{
    size_t used = strlen(run->warnings);
    if (used > 0 && used + 1 < sizeof run->warnings) {
        run->warnings[used++] = '\n';
        run->warnings[used] = '\0';
    }
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(run->warnings + used, sizeof run->warnings - used, format, arguments);
    va_end(arguments);
}

/* Warns of each disturbance over its threshold; returns how many there were. */
static int disturbances(double elapsed, struct sable_run *run)
{
    double steal = 0, change = 0, switches = 0;
    for (int r = 0; r < run->ranks; r++) {
        const struct sable_counters *counters = &run->counters[r];
        steal = fmax(steal, counters->steal_seconds / run->threads / elapsed);
        switches = fmax(switches, (double)counters->involuntary_switches / run->threads / elapsed);
        change = fmax(change, counters->clock_ghz_high / counters->clock_ghz_low - 1);
    }
    int found = 0;
    if (steal > most_steal && ++found)
        warn(run, "steal time: the hypervisor took %.1f %% of a core", 100 * steal);
    if (switches > most_switches && ++found)
        warn(run, "%.0f involuntary context switches a second and thread: something else ran here", switches);
    if (change > most_clock_change && ++found)
        warn(run, "the clock changed by %.0f %% during the run", 100 * change);
    double width = (run->fom_high - run->fom_low) / (2 * run->fom);
    if (run->reps >= SABLE_STATS_MIN_SAMPLES && width > widest_interval && ++found)
        warn(run, "noise: the median is known to ± %.0f %% only", 100 * width);
    return found;
}

void sable_judge_trust(const struct sable_machine *machine, double elapsed, struct sable_run *run)
{
    int found = 0;
    if (machine->guard[0] && ++found)
        warn(run, "%s", machine->guard);
    if (run->counters)
        found += disturbances(elapsed, run);
    if (machine->notice[0])
        warn(run, "%s", machine->notice);
    if (run->reps < SABLE_STATS_MIN_SAMPLES)
        warn(run, "%lld repetitions: no 95 %% interval of the median exists below %d", (long long)run->reps,
             SABLE_STATS_MIN_SAMPLES);
    run->verdict = run->verified == SABLE_PASS && found ? SABLE_UNTRUSTED : run->verified;
}
