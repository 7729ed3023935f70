#include "binding.h"

#include <ctype.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- Cpusets as text ---- */

void sable_cpuset_format(hwloc_const_cpuset_t set, char text[SABLE_CPUSET_SIZE])
{
    static const char cut[] = ",...";
    if (!set || hwloc_bitmap_weight(set) <= 0) {
        memcpy(text, "?", 2);
        return;
    }
    if (hwloc_bitmap_list_snprintf(text, SABLE_CPUSET_SIZE, set) < SABLE_CPUSET_SIZE)
        return;
    text[SABLE_CPUSET_SIZE - sizeof cut] = '\0';
    char *end = strrchr(text, ',');
    memcpy(end ? end : text, cut, sizeof cut);
}

int sable_cpuset_parse(const char *text, hwloc_cpuset_t set)
{
    enum { MOST_PROCESSORS = 1 << 20 };
    hwloc_bitmap_zero(set);
    for (;;) {
        char *end;
        unsigned long first, last;
        if (!isdigit((unsigned char)*text))
            return -1;
        first = last = strtoul(text, &end, 10);
        if (*end == '-' && isdigit((unsigned char)end[1]))
            last = strtoul(end + 1, &end, 10);
        if (last < first || last >= MOST_PROCESSORS || hwloc_bitmap_set_range(set, (unsigned)first, (int)last))
            return -1;
        if (*end == '\0')
            return 0;
        if (*end != ',')
            return -1;
        text = end + 1;
    }
}

/* ---- Dealing out cores ---- */

/* The n-th object of a type that has processors in `allowed`; with n < 0 NULL, and *count says how many there are. */
static hwloc_obj_t nth_object(hwloc_topology_t topology, hwloc_const_cpuset_t allowed, hwloc_obj_type_t type, int64_t n,
                              int64_t *count)
{
    hwloc_obj_t object = NULL;
    *count = 0;
    while ((object = hwloc_get_next_obj_covering_cpuset_by_type(topology, allowed, type, object))) {
        if (*count == n)
            break;
        ++*count;
    }
    return object;
}

static int64_t count_objects(hwloc_topology_t topology, hwloc_const_cpuset_t allowed, hwloc_obj_type_t type)
{
    int64_t count;
    nth_object(topology, allowed, type, -1, &count);
    return count;
}

int sable_place_thread(hwloc_topology_t topology, hwloc_const_cpuset_t allowed, int64_t slot, int64_t slots,
                       hwloc_cpuset_t place)
{
    static const hwloc_obj_type_t units[] = {HWLOC_OBJ_CORE, HWLOC_OBJ_PU};
    for (int u = 0; u < 2; u++) {
        int64_t count = count_objects(topology, allowed, units[u]);
        if (count < slots)
            continue;
        hwloc_obj_t unit = nth_object(topology, allowed, units[u], slot * count / slots, &count);
        return unit ? hwloc_bitmap_and(place, unit->cpuset, allowed) : -1;
    }
    return -1;
}

/* Does the user want this rank's threads bound by us? */
static bool wants_binding(void)
{
    static const char *const decided[] = {"OMP_PROC_BIND", "OMP_PLACES", "GOMP_CPU_AFFINITY", "KMP_AFFINITY", NULL};
    const char *request = getenv("SABLE_BIND");
    if (request && strcmp(request, "cores") == 0)
        return true;
    if (request && strcmp(request, "none") == 0)
        return false;
    for (const char *const *name = decided; *name; name++)
        if (getenv(*name))
            return false;
    return true;
}

int sable_bind_check(struct sable_error *error)
{
    const char *request = getenv("SABLE_BIND");
    if (request && strcmp(request, "none") && strcmp(request, "cores") && strcmp(request, "auto"))
        return sable_fail(error, SABLE_BAD_INPUT, "SABLE_BIND=%.80s: must be none, cores or auto", request);
    return SABLE_OK;
}

/* Ranks of a host that were given the very same processors share them in the order of ranks; sets that overlap
 * otherwise can't be dealt out without knowing what the launcher meant. An empty set asks for nothing. */
struct sharing {
    int64_t position, ranks;
};

enum { MASK_WORDS = 256 }; /* 16384 processors */

static bool share_out(MPI_Comm host, const unsigned long own[MASK_WORDS], struct sharing *sharing)
{
    static const unsigned long nobody[MASK_WORDS];
    int rank, ranks;
    MPI_Comm_rank(host, &rank);
    MPI_Comm_size(host, &ranks);
    unsigned long(*all)[MASK_WORDS] = malloc((size_t)ranks * sizeof *all);
    int have = all != NULL, all_have = 0;
    bool clear =
        MPI_Allreduce(&have, &all_have, 1, MPI_INT, MPI_MIN, host) == MPI_SUCCESS && all_have &&
        MPI_Allgather(own, MASK_WORDS, MPI_UNSIGNED_LONG, all, MASK_WORDS, MPI_UNSIGNED_LONG, host) == MPI_SUCCESS &&
        memcmp(own, nobody, sizeof nobody) != 0;
    *sharing = (struct sharing){0};
    for (int r = 0; clear && r < ranks; r++) {
        bool same = memcmp(all[r], own, sizeof *all) == 0, overlap = false;
        for (int w = 0; w < MASK_WORDS; w++)
            overlap = overlap || (all[r][w] & own[w]);
        clear = same || !overlap;
        sharing->ranks += same;
        sharing->position += same && r < rank;
    }
    free(all);
    return clear;
}

static void bind_team(hwloc_topology_t topology, hwloc_const_cpuset_t allowed, struct sharing sharing, int threads)
{
#pragma omp parallel num_threads(threads)
    {
        hwloc_cpuset_t place = hwloc_bitmap_alloc();
        int64_t slot = sharing.position * threads + omp_get_thread_num();
        if (place && sable_place_thread(topology, allowed, slot, sharing.ranks * threads, place) == 0)
            hwloc_set_cpubind(topology, place, HWLOC_CPUBIND_THREAD);
        hwloc_bitmap_free(place);
    }
}

void sable_bind_threads(MPI_Comm comm, int threads)
{
    MPI_Comm host;
    hwloc_topology_t topology = NULL;
    hwloc_cpuset_t allowed = hwloc_bitmap_alloc();
    unsigned long own[MASK_WORDS] = {0};
    struct sharing sharing;
    bool loaded = allowed && hwloc_topology_init(&topology) == 0 && hwloc_topology_load(topology) == 0;
    if (loaded && wants_binding() && hwloc_get_cpubind(topology, allowed, HWLOC_CPUBIND_THREAD) == 0)
        hwloc_bitmap_to_ulongs(allowed, MASK_WORDS, own);
    if (MPI_Comm_split_type(comm, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &host) == MPI_SUCCESS) {
        if (share_out(host, own, &sharing))
            bind_team(topology, allowed, sharing, threads);
        MPI_Comm_free(&host);
    }
    if (topology)
        hwloc_topology_destroy(topology);
    hwloc_bitmap_free(allowed);
}

void sable_binding_query(hwloc_topology_t topology, struct sable_binding *binding)
{
    hwloc_cpuset_t set = hwloc_bitmap_alloc();
    bool known = set && topology && hwloc_get_cpubind(topology, set, HWLOC_CPUBIND_THREAD) == 0;
    sable_cpuset_format(known ? set : NULL, binding->cpuset);
    hwloc_bitmap_free(set);
}
