/* Where the threads of one host may run: cores are dealt out to them, and what they got is judged. Pure functions of an
 * hwloc topology, so that a synthetic one tests them. */
#ifndef SABLE_BINDING_H
#define SABLE_BINDING_H

#include <hwloc.h>

#include "machine.h"

/* Sets `place` to where the `slot`-th of `slots` threads belongs that share the processors `allowed`: spread evenly, a
 * core each while cores last, then a hardware thread each. Returns 0, or −1 if there are more threads than hardware
 * threads: then nobody has a place. */
int sable_place_thread(hwloc_topology_t topology, hwloc_const_cpuset_t allowed, int64_t slot, int64_t slots,
                       hwloc_cpuset_t place);

/* List format ("0-3,8"). A set too long for `text` is cut behind a whole number and ends in ",...": readers must take
 * it for unknown. An unknown set (NULL or infinite) is "?". */
void sable_cpuset_format(hwloc_const_cpuset_t set, char text[SABLE_CPUSET_SIZE]);
/* Reads what sable_cpuset_format() wrote; returns −1 for an unknown set and anything else. */
int sable_cpuset_parse(const char *text, hwloc_cpuset_t set);

/* The binding of the calling thread. */
void sable_binding_query(hwloc_topology_t topology, struct sable_binding *binding);

/* What is wrong with the threads of one host. `advice` says how this launcher binds; `cpu_limit` is the number of
 * processors' worth of time that a cgroup grants (INFINITY: no limit). The strings are left "" where all is well. */
void sable_binding_judge(hwloc_topology_t topology, const struct sable_binding *binding, int64_t count,
                         double cpu_limit, const char *advice, char guard[SABLE_REASON_SIZE],
                         char notice[SABLE_REASON_SIZE]);

/* How the launcher that started this process gives a rank as many cores as it has threads: "mpirun --map-by …". */
void sable_binding_advice(int threads, char advice[SABLE_CPUSET_SIZE]);

#endif
