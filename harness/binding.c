#define _GNU_SOURCE /* sched_getaffinity, sched_setaffinity */
#include "binding.h"

#include <ctype.h>
#include <omp.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

/* ---- Sets of processors ---- */

struct sable_mask sable_mask_of_thread(void)
{
    struct sable_mask mask = {0};
#ifdef __linux__
    if (sched_getaffinity(0, sizeof mask, (cpu_set_t *)&mask))
        mask = (struct sable_mask){0};
#endif
    return mask;
}

struct sable_mask sable_mask_of_team(int threads)
{
    struct sable_mask team = {0};
#pragma omp parallel num_threads(threads)
    {
        struct sable_mask own = sable_mask_of_thread();
#pragma omp critical(sable_mask)
        for (int w = 0; w < SABLE_MASK_WORDS; w++)
            team.word[w] |= own.word[w];
    }
    return team;
}

static void bind_thread(const struct sable_mask *mask)
{
#ifdef __linux__
    sched_setaffinity(0, sizeof *mask, (const cpu_set_t *)mask);
#else
    (void)mask;
#endif
}

bool sable_mask_is_empty(const struct sable_mask *mask)
{
    unsigned long any = 0;
    for (int w = 0; w < SABLE_MASK_WORDS; w++)
        any |= mask->word[w];
    return any == 0;
}

static bool overlap(const struct sable_mask *a, const struct sable_mask *b)
{
    unsigned long any = 0;
    for (int w = 0; w < SABLE_MASK_WORDS; w++)
        any |= a->word[w] & b->word[w];
    return any != 0;
}

void sable_cpuset_format(hwloc_const_cpuset_t set, char text[SABLE_CPUSET_SIZE])
{
    static const char cut[] = ",...";
    if (hwloc_bitmap_weight(set) <= 0) {
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
        if (!isdigit((unsigned char)*text))
            return -1;
        unsigned long first = strtoul(text, &end, 10), last = first;
        if (*end == '-' && isdigit((unsigned char)end[1]))
            last = strtoul(end + 1, &end, 10);
        if (last < first || last >= MOST_PROCESSORS || hwloc_bitmap_set_range(set, (unsigned)first, (int)last))
            return -1;
        if (*end != ',')
            return *end == '\0' ? 0 : -1;
        text = end + 1;
    }
}

/* ---- Dealing out ---- */

hwloc_topology_t sable_topology_load(void)
{
    hwloc_topology_t topology;
    if (hwloc_topology_init(&topology))
        return NULL;
    if (hwloc_topology_set_flags(topology, HWLOC_TOPOLOGY_FLAG_INCLUDE_DISALLOWED) || hwloc_topology_load(topology)) {
        hwloc_topology_destroy(topology);
        return NULL;
    }
    return topology;
}

/* The n-th object of a type that has processors in `allowed`, or NULL; *count is then how many there are. */
static hwloc_obj_t nth_object(hwloc_topology_t topology, hwloc_const_cpuset_t allowed, hwloc_obj_type_t type, int64_t n,
                              int64_t *count)
{
    hwloc_obj_t object = NULL;
    *count = 0;
    while ((object = hwloc_get_next_obj_covering_cpuset_by_type(topology, allowed, type, object)) && *count < n)
        ++*count;
    return object;
}

/* Where the `slot`-th of `slots` threads belongs that share `allowed`. */
static void place_thread(hwloc_topology_t topology, hwloc_const_cpuset_t allowed, int64_t slot, int64_t slots,
                         hwloc_cpuset_t scratch, struct sable_mask *place)
{
    static const hwloc_obj_type_t units[] = {HWLOC_OBJ_CORE, HWLOC_OBJ_PU};
    for (int u = 0; u < 2; u++) {
        int64_t count;
        nth_object(topology, allowed, units[u], INT64_MAX, &count);
        if (count < slots)
            continue;
        hwloc_obj_t unit = nth_object(topology, allowed, units[u], slot * count / slots, &count);
        hwloc_bitmap_and(scratch, unit->cpuset, allowed);
        hwloc_bitmap_to_ulongs(scratch, SABLE_MASK_WORDS, place->word);
        return;
    }
}

void sable_deal_processors(hwloc_topology_t topology, const struct sable_mask given[], int ranks, int threads,
                           struct sable_mask place[])
{
    hwloc_cpuset_t allowed = hwloc_bitmap_alloc(), scratch = hwloc_bitmap_alloc();
    memset(place, 0, (size_t)ranks * (size_t)threads * sizeof *place);
    for (int r = 0; r < ranks && allowed && scratch; r++) {
        int64_t position = 0, sharers = 0;
        bool clear = !sable_mask_is_empty(&given[r]);
        for (int other = 0; other < ranks && clear; other++) {
            bool same = memcmp(&given[other], &given[r], sizeof *given) == 0;
            clear = same || !overlap(&given[other], &given[r]);
            sharers += same;
            position += same && other < r;
        }
        if (!clear)
            continue;
        hwloc_bitmap_from_ulongs(allowed, SABLE_MASK_WORDS, given[r].word);
        for (int t = 0; t < threads; t++)
            place_thread(topology, allowed, position * threads + t, sharers * threads, scratch,
                         &place[(int64_t)r * threads + t]);
    }
    hwloc_bitmap_free(allowed);
    hwloc_bitmap_free(scratch);
}

/* ---- Binding ---- */

int sable_bind_check(struct sable_error *error)
{
    const char *request = getenv("SABLE_BIND");
    if (request && *request && strcmp(request, "none") && strcmp(request, "cores") && strcmp(request, "auto"))
        return sable_fail(error, SABLE_BAD_INPUT, "SABLE_BIND=%.80s: must be none, cores or auto", request);
    return SABLE_OK;
}

/* Shall this rank's threads be bound by us, rather than by the OpenMP runtime or not at all? */
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

/* The first rank of a host deals for all of them: reading the topology once is dear enough on a large host. */
static void deal_on_host(MPI_Comm host, int threads, struct sable_mask own[])
{
    int rank, ranks;
    MPI_Comm_rank(host, &rank);
    MPI_Comm_size(host, &ranks);
    struct sable_mask mine = wants_binding() ? sable_mask_of_team(threads) : (struct sable_mask){0};
    struct sable_mask *given = NULL, *place = NULL;
    hwloc_topology_t topology = NULL;
    const int words = SABLE_MASK_WORDS;
    if (rank == 0) {
        given = calloc((size_t)ranks, sizeof *given);
        place = calloc((size_t)ranks * (size_t)threads, sizeof *place);
        topology = sable_topology_load();
    }
    int ready = rank > 0 || (given && place && topology), all_ready = 0;
    if (MPI_Allreduce(&ready, &all_ready, 1, MPI_INT, MPI_MIN, host) == MPI_SUCCESS && all_ready &&
        MPI_Gather(&mine, words, MPI_UNSIGNED_LONG, given, words, MPI_UNSIGNED_LONG, 0, host) == MPI_SUCCESS) {
        if (rank == 0)
            sable_deal_processors(topology, given, ranks, threads, place);
        MPI_Scatter(place, words * threads, MPI_UNSIGNED_LONG, own, words * threads, MPI_UNSIGNED_LONG, 0, host);
    }
    if (topology)
        hwloc_topology_destroy(topology);
    free(given);
    free(place);
}

void sable_bind_threads(MPI_Comm comm, int threads)
{
    MPI_Comm host;
    struct sable_mask *own = calloc((size_t)threads, sizeof *own);
    int ready = own != NULL, all_ready = 0;
    if (MPI_Allreduce(&ready, &all_ready, 1, MPI_INT, MPI_MIN, comm) != MPI_SUCCESS || !all_ready)
        goto done;
    if (MPI_Comm_split_type(comm, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &host) != MPI_SUCCESS)
        goto done;
    deal_on_host(host, threads, own);
    MPI_Comm_free(&host);
#pragma omp parallel num_threads(threads)
    {
        const struct sable_mask *mask = &own[omp_get_thread_num()];
        if (!sable_mask_is_empty(mask))
            bind_thread(mask);
    }
done:
    free(own);
}
