/* Where the threads of one host may run: processors are dealt out to them, and what they got is judged. The topology
 * comes from hwloc, which may as well be a synthetic one. */
#ifndef SABLE_BINDING_H
#define SABLE_BINDING_H

#include <hwloc.h>

#include "machine.h"

enum { SABLE_MASK_WORDS = 16384 / (8 * (int)sizeof(unsigned long)), SABLE_ADVICE_SIZE = 100 };

/* A set of processors as the kernel has it: up to 16384. */
struct sable_mask {
    unsigned long word[SABLE_MASK_WORDS];
};

/* Where the calling thread may run; empty if the system does not tell. */
struct sable_mask sable_mask_of_thread(void);
/* Where any thread of a team may run. The OpenMP runtime may have bound the main thread alone to less. */
struct sable_mask sable_mask_of_team(int threads);
bool sable_mask_is_empty(const struct sable_mask *mask);

/* The processors of this machine, also those that this process may not use. Returns NULL on failure; the caller calls
 * hwloc_topology_destroy(). */
hwloc_topology_t sable_topology_load(void);

/* Deals out processors to `threads` threads of each of the `ranks` ranks of a host: place[r·threads + t]. `given` are
 * the sets that the launcher gave to the ranks, empty for those who want none. Ranks that were given the very same set
 * share it in their order: spread evenly, a core for each thread while cores last, then a hardware thread each. A
 * place is empty where threads outnumber hardware threads, or where sets overlap without being the same: what the
 * launcher meant is then unknown. */
void sable_deal_processors(hwloc_topology_t topology, const struct sable_mask given[], int ranks, int threads,
                           struct sable_mask place[]);

/* List format ("0-3,8"). A set too long for `text` is cut behind a whole number and ends in ",...": readers must take
 * it for unknown. An empty set is "?". */
void sable_cpuset_format(hwloc_const_cpuset_t set, char text[SABLE_CPUSET_SIZE]);
/* Reads what sable_cpuset_format() wrote; returns −1 for an unknown set and anything else. */
int sable_cpuset_parse(const char *text, hwloc_cpuset_t set);

/* What is wrong with the threads of one host. `cpu_limit` is the number of processors' worth of time that a cgroup
 * grants (INFINITY: no limit); `advice` says how this launcher gives a rank a core per thread. The strings are "" where
 * all is well. */
void sable_binding_judge(hwloc_topology_t topology, const struct sable_binding *binding, int64_t count,
                         double cpu_limit, const char *advice, char guard[SABLE_REASON_SIZE],
                         char notice[SABLE_REASON_SIZE]);

/* "mpirun --map-by slot:PE=4 --bind-to core": for the launcher that started this process. */
void sable_binding_advice(int threads, char advice[SABLE_ADVICE_SIZE]);

#endif
