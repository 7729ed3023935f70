#include "ceilings_site.h"

#include <hwloc.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "host.h"

/* ---- Ranks and nodes ---- */

int ceilings_site(MPI_Comm comm, int threads, struct ceilings_site *site, struct sable_error *error)
{
    *site = (struct ceilings_site){.comm = comm, .threads = threads};
    MPI_Comm_rank(comm, &site->rank);
    MPI_Comm_size(comm, &site->ranks);
    MPI_Comm node;
    int node_rank;
    if (sable_check_mpi(MPI_Comm_split_type(comm, MPI_COMM_TYPE_SHARED, site->rank, MPI_INFO_NULL, &node),
                        "MPI_Comm_split_type", error))
        return error->code;
    MPI_Comm_rank(node, &node_rank);
    MPI_Comm_size(node, &site->node_ranks);
    MPI_Comm_free(&node);
    site->nodes = node_rank == 0;
    if (sable_check_mpi(MPI_Allreduce(MPI_IN_PLACE, &site->nodes, 1, MPI_INT, MPI_SUM, comm), "MPI_Allreduce", error))
        return error->code;
    return sable_check_mpi(MPI_Allreduce(MPI_IN_PLACE, &site->node_ranks, 1, MPI_INT, MPI_MAX, comm), "MPI_Allreduce",
                           error);
}

/* ---- Working sets ---- */

struct cache {
    double bytes; /* of one cache */
    double total; /* of all on this host */
    int cores;    /* that share one */
};

static struct cache find_cache(hwloc_topology_t topology, hwloc_obj_type_t type)
{
    struct cache cache = {0};
    int caches = hwloc_get_nbobjs_by_type(topology, type);
    for (int i = 0; i < caches; i++) {
        hwloc_obj_t object = hwloc_get_obj_by_type(topology, type, (unsigned)i);
        int cores = hwloc_get_nbobjs_inside_cpuset_by_type(topology, object->cpuset, HWLOC_OBJ_CORE);
        cache.bytes = (double)object->attr->cache.size;
        cache.total += cache.bytes;
        cache.cores = cores > 0 ? cores : 1;
    }
    return cache;
}

static int read_caches(struct cache *l2, struct cache *l3, struct sable_error *error)
{
    hwloc_topology_t topology;
    if (hwloc_topology_init(&topology))
        return sable_fail(error, SABLE_ENVIRONMENT, "hwloc_topology_init failed");
    if (hwloc_topology_load(topology))
        sable_fail(error, SABLE_ENVIRONMENT, "hwloc_topology_load failed");
    else {
        *l2 = find_cache(topology, HWLOC_OBJ_L2CACHE);
        *l3 = find_cache(topology, HWLOC_OBJ_L3CACHE);
    }
    hwloc_topology_destroy(topology);
    return error->code;
}

/* A virtual machine reports the L3 of the whole chip beside a few of its cores: no thread is taken to own more of it
 * than this many times its L2, which no processor on the market exceeds but by stacked cache. */
static const double most_l3_over_l2 = 8;
static const double fallback_cache = 64 << 20; /* where no cache is reported: larger than most */
static const double beyond_cache = 12; /* working set over all of L3: 4 for each array of a triad, as STREAM rules */
static const double most_of_memory = 1.0 / 8; /* of what is free; the machine may not be ours alone */
static const double most_on_node = 16.0 * (1 << 30);
static const double least_memory = 1 << 20; /* where hardly any is free */

static double memory_set(const struct ceilings_site *site, const struct cache *l2, const struct cache *l3)
{
    double cache = l3->total > 0 ? l3->total : l2->total > 0 ? l2->total : fallback_cache;
    double wanted = beyond_cache * cache / site->node_ranks;
    double most = fmin(most_of_memory * sable_host_memory_share(site->node_ranks), most_on_node / site->node_ranks);
    return exp2(fmin(ceil(log2(wanted)), floor(log2(fmax(most, least_memory)))));
}

int ceilings_levels(const struct ceilings_site *site, struct ceilings_levels *levels, struct sable_error *error)
{
    struct cache l2 = {0}, l3 = {0};
    read_caches(&l2, &l3, error);
    if (sable_agree(site->comm, error))
        return error->code;
    double set[3] = {l2.bytes > 0 ? l2.bytes / l2.cores / 2 : 0, 0, memory_set(site, &l2, &l3)};
    if (l2.bytes > 0 && l3.bytes > 0) {
        double share = l3.total / (site->node_ranks * site->threads);
        share = fmin(share, most_l3_over_l2 * 2 * set[0]);
        set[1] = fmax(share / 2, 4 * set[0]); /* half of it; not so little that it fits L2 */
    }
    if (sable_check_mpi(MPI_Allreduce(MPI_IN_PLACE, set, 3, MPI_DOUBLE, MPI_MIN, site->comm), "MPI_Allreduce", error))
        return error->code;
    *levels = (struct ceilings_levels){.l2 = set[0], .l3 = set[1], .memory = set[2]};
    return SABLE_OK;
}

/* ---- Timing ---- */

static const double slice_seconds = 1e-3;
static const double repetition_seconds = 0.1; /* at most, where a slice can't be short; or one slice */
enum { TRIES = 3, REPETITIONS = 9, SLICES = 8 };

/* Seconds of the slowest rank in each of `times` slices. */
static int time_slices(const struct ceilings_site *site, const struct ceilings_kernel *kernel, int64_t count, int times,
                       double *seconds, struct sable_error *error)
{
    for (int i = 0; i < times; i++) {
        if (sable_check_mpi(MPI_Barrier(site->comm), "MPI_Barrier", error))
            return error->code;
        double start = MPI_Wtime();
        kernel->run(kernel->state, count, error);
        seconds[i] = MPI_Wtime() - start;
    }
    if (sable_agree(site->comm, error))
        return error->code;
    return sable_check_mpi(MPI_Allreduce(MPI_IN_PLACE, seconds, times, MPI_DOUBLE, MPI_MAX, site->comm),
                           "MPI_Allreduce", error);
}

static double fastest(const double *seconds, int times)
{
    double least = seconds[0];
    for (int i = 1; i < times; i++)
        least = fmin(least, seconds[i]);
    return least;
}

int ceilings_time(const struct ceilings_site *site, const struct ceilings_kernel *kernel,
                  struct sable_interval *interval, struct sable_error *error)
{
    double most = kernel->most > 0 ? (double)kernel->most : 0x1p40, seconds[REPETITIONS * SLICES], best[REPETITIONS];
    int64_t count = 1;
    int slices = SLICES;
    for (bool trying = true;;) { /* all ranks see the same times, and so decide alike */
        int times = trying ? TRIES : REPETITIONS * slices;
        if (time_slices(site, kernel, count, times, seconds, error))
            return error->code;
        double slice = fastest(seconds, times), enough = (trying ? 0.7 : 0.4) * slice_seconds;
        if ((double)count >= most || slice >= enough) {
            if (!trying)
                break;
            trying = false; /* but the tries may have been long only as something else ran */
            slices = (int)fmin(fmax(repetition_seconds / slice, 1), SLICES);
        } else {
            double factor = fmin(fmax(slice_seconds / fmax(slice, 1e-7), 1.5), 64);
            count = (int64_t)fmin(ceil((double)count * factor), most);
            trying = true;
        }
    }
    for (int r = 0; r < REPETITIONS; r++)
        best[r] = fastest(seconds + r * slices, slices) / (double)count;
    *interval = sable_median_interval(best, REPETITIONS);
    return SABLE_OK;
}

/* ---- The list ---- */

static int add(const struct ceilings_site *site, const char *name, const char *unit, double value, double low,
               double high, struct sable_ceilings *ceilings, int *index, struct sable_error *error)
{
    if (ceilings->count >= SABLE_MAX_CEILINGS)
        return sable_fail(error, SABLE_BUG, "no room for the ceiling %s: there are %d already", name, ceilings->count);
    *index = ceilings->count++;
    struct sable_ceiling *ceiling = &ceilings->list[*index];
    *ceiling = (struct sable_ceiling){
        .value = value, .ranks = site->ranks, .threads = site->threads, .nodes = site->nodes, .low = low, .high = high};
    snprintf(ceiling->name, sizeof ceiling->name, "%s", name);
    snprintf(ceiling->unit, sizeof ceiling->unit, "%s", unit);
    return SABLE_OK;
}

int ceilings_add_rate(const struct ceilings_site *site, const char *name, const char *unit, double amount,
                      const struct sable_interval *seconds, struct sable_ceilings *ceilings, int *index,
                      struct sable_error *error)
{
    double giga = amount * 1e-9;
    return add(site, name, unit, giga / seconds->mid, giga / seconds->high, giga / seconds->low, ceilings, index,
               error);
}

int ceilings_add_time(const struct ceilings_site *site, const char *name, const char *unit, double scale,
                      const struct sable_interval *seconds, struct sable_ceilings *ceilings, struct sable_error *error)
{
    int index;
    return add(site, name, unit, seconds->mid / scale, seconds->low / scale, seconds->high / scale, ceilings, &index,
               error);
}

void ceilings_set_means(struct sable_ceiling *ceiling, const char *means)
{
    snprintf(ceiling->means, sizeof ceiling->means, "%s", means);
}

int sable_ceilings_find(const struct sable_ceilings *ceilings, const char *name)
{
    for (int i = 0; i < ceilings->count; i++)
        if (strcmp(ceilings->list[i].name, name) == 0)
            return i;
    return -1;
}
