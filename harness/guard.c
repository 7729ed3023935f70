/* Judges where the threads of a host may run. By Hall's theorem every thread can have a hardware thread of its own if
 * and only if no set of processors confines more threads than it has members. It is tried for each set that some thread
 * is bound to, and for all of them together: enough where sets are nested or disjoint, as launchers make them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "binding.h"

/* Threads bound to the same set. */
struct crowd {
    hwloc_cpuset_t set;
    int64_t threads;
};

static int by_cpuset(const void *a, const void *b)
{
    const struct sable_binding *const *x = a, *const *y = b;
    return strcmp((*x)->cpuset, (*y)->cpuset);
}

/* The distinct sets, and last their union. What is unknown is taken for every processor. Returns how many, 0 if memory
 * is short; `crowds` holds count + 1. */
static int64_t gather_crowds(hwloc_topology_t topology, const struct sable_binding *binding, int64_t count,
                             const struct sable_binding **sorted, struct crowd *crowds)
{
    int64_t n = 0;
    hwloc_cpuset_t together = hwloc_bitmap_alloc();
    for (int64_t i = 0; i < count; i++)
        sorted[i] = &binding[i];
    qsort(sorted, (size_t)count, sizeof *sorted, by_cpuset);
    for (int64_t i = 0; i < count && together; i++) {
        if (i == 0 || by_cpuset(&sorted[i - 1], &sorted[i])) {
            hwloc_cpuset_t set = hwloc_bitmap_alloc();
            if (!set)
                break;
            if (sable_cpuset_parse(sorted[i]->cpuset, set))
                hwloc_bitmap_copy(set, hwloc_topology_get_allowed_cpuset(topology));
            hwloc_bitmap_or(together, together, set);
            crowds[n++] = (struct crowd){set, 0};
        }
        crowds[n - 1].threads++;
    }
    if (together)
        crowds[n++] = (struct crowd){together, 0};
    return n;
}

static int count_cores(hwloc_topology_t topology, hwloc_const_cpuset_t set)
{
    int cores = 0;
    for (hwloc_obj_t core = NULL;
         (core = hwloc_get_next_obj_covering_cpuset_by_type(topology, set, HWLOC_OBJ_CORE, core));)
        cores++;
    return cores ? cores : hwloc_bitmap_weight(set);
}

/* The set that confines the most threads beyond what it has, hardware threads or (`cores`) cores; NULL if none. */
static const struct crowd *most_crowded(hwloc_topology_t topology, const struct crowd *crowds, int64_t n, bool cores,
                                        int64_t *confined, int *places)
{
    const struct crowd *worst = NULL;
    double most = 1;
    for (int64_t i = 0; i < n; i++) {
        int64_t threads = 0;
        for (int64_t j = 0; j < n; j++)
            if (hwloc_bitmap_isincluded(crowds[j].set, crowds[i].set))
                threads += crowds[j].threads;
        int has = cores ? count_cores(topology, crowds[i].set) : hwloc_bitmap_weight(crowds[i].set);
        if ((double)threads > most * has) {
            most = (double)threads / has;
            worst = &crowds[i];
            *confined = threads;
            *places = has;
        }
    }
    return worst;
}

/* The processors of the host that this launch can use: this process's cgroup's, and what any thread has. */
static int count_usable(hwloc_topology_t topology, hwloc_const_cpuset_t together)
{
    hwloc_cpuset_t usable = hwloc_bitmap_dup(together);
    if (!usable)
        return hwloc_bitmap_weight(together);
    hwloc_bitmap_or(usable, usable, hwloc_topology_get_allowed_cpuset(topology));
    int count = hwloc_bitmap_weight(usable);
    hwloc_bitmap_free(usable);
    return count;
}

static void judge_crowds(hwloc_topology_t topology, const char *host, const struct crowd *crowds, int64_t n,
                         int64_t count, const char *advice, char *guard, char *notice)
{
    char text[SABLE_CPUSET_SIZE];
    int64_t confined, loose = 0;
    int places, usable = count_usable(topology, crowds[n - 1].set);
    const struct crowd *worst = most_crowded(topology, crowds, n, false, &confined, &places);
    if (worst && count > usable) {
        snprintf(guard, SABLE_REASON_SIZE, "%.63s runs %lld threads on %d processors: use fewer ranks or threads", host,
                 (long long)count, usable);
        return;
    }
    if (worst) {
        sable_cpuset_format(worst->set, text);
        snprintf(
            guard, SABLE_REASON_SIZE,
            "%lld threads share %d of the %d processors of %.63s (%.100s): give each rank a core per thread by `%s`",
            (long long)confined, places, usable, host, text, advice);
        return;
    }
    worst = most_crowded(topology, crowds, n, true, &confined, &places);
    if (worst) {
        sable_cpuset_format(worst->set, text);
        snprintf(notice, SABLE_REASON_SIZE, "%lld threads share %d cores of %.63s (processors %.100s)",
                 (long long)confined, places, host, text);
    }
    for (int64_t i = 0; i < n; i++)
        if (count_cores(topology, crowds[i].set) > 1)
            loose += crowds[i].threads;
    size_t length = strlen(notice);
    if (loose > 0)
        snprintf(notice + length, SABLE_REASON_SIZE - length,
                 "%s%lld of %lld threads of %.63s are not bound to a core: set SABLE_BIND=cores, or bind them by `%s`",
                 length ? "; " : "", (long long)loose, (long long)count, host, advice);
}

void sable_binding_judge(hwloc_topology_t topology, const struct sable_binding *binding, int64_t count,
                         double cpu_limit, const char *advice, char guard[SABLE_REASON_SIZE],
                         char notice[SABLE_REASON_SIZE])
{
    guard[0] = notice[0] = '\0';
    if (count <= 0)
        return;
    const struct sable_binding **sorted = calloc((size_t)count, sizeof *sorted);
    struct crowd *crowds = calloc((size_t)count + 1, sizeof *crowds);
    int64_t n = sorted && crowds ? gather_crowds(topology, binding, count, sorted, crowds) : 0;
    if (n > 0)
        judge_crowds(topology, binding->host, crowds, n, count, advice, guard, notice);
    else
        snprintf(notice, SABLE_REASON_SIZE, "no memory was left to check the binding of threads");
    if (!*guard && (double)count > cpu_limit)
        snprintf(guard, SABLE_REASON_SIZE,
                 "%.63s runs %lld threads in a cgroup limited to %g processors: use fewer ranks or threads",
                 binding->host, (long long)count, cpu_limit);
    for (int64_t i = 0; i < n; i++)
        hwloc_bitmap_free(crowds[i].set);
    free(crowds);
    free(sorted);
}

void sable_binding_advice(int threads, char advice[SABLE_ADVICE_SIZE])
{
    if (getenv("OMPI_COMM_WORLD_LOCAL_RANK"))
        snprintf(advice, SABLE_ADVICE_SIZE, "mpirun --map-by slot:PE=%d --bind-to core", threads);
    else if (getenv("MPI_LOCALRANKID")) /* Hydra, of MPICH and its descent; mpirun may itself have used srun */
        snprintf(advice, SABLE_ADVICE_SIZE, "mpirun -bind-to core:%d", threads);
    else if (getenv("SLURM_LAUNCH_NODE_IPADDR"))
        snprintf(advice, SABLE_ADVICE_SIZE, "srun --cpu-bind=cores -c %d", threads);
    else
        snprintf(advice, SABLE_ADVICE_SIZE, "taskset -c LIST");
}
