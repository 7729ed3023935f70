/* Facts of the host that this process runs on, read from hwloc, /proc and /sys; what can't be read is "unknown". */
#ifndef SABLE_HOST_H
#define SABLE_HOST_H

#include <hwloc.h>

enum sable_host_fact {
    SABLE_HOST_CPU_MODEL,
    SABLE_HOST_SOCKETS,
    SABLE_HOST_CORES,
    SABLE_HOST_HARDWARE_THREADS,
    SABLE_HOST_NUMA_DOMAINS,
    SABLE_HOST_ALLOWED,
    SABLE_HOST_CACHES,
    SABLE_HOST_MEMORY,
    SABLE_HOST_KERNEL,
    SABLE_HOST_OS,
    SABLE_HOST_CLOCK_GOVERNOR,
    SABLE_HOST_CLOCK_BOOST,
    SABLE_HOST_SMT,
    SABLE_HOST_NUMA_BALANCING,
    SABLE_HOST_MICROCODE,
    SABLE_HOST_HUGE_PAGES,
    SABLE_HOST_HYPERVISOR,
    SABLE_HOST_CGROUP_CPUS,
    SABLE_HOST_CGROUP_MEMORY,
    SABLE_HOST_FACTS
};

enum { SABLE_HOST_TEXT_SIZE = 160 };

extern const char *const sable_host_fact_name[SABLE_HOST_FACTS];
void sable_host_describe(hwloc_topology_t topology, char text[SABLE_HOST_FACTS][SABLE_HOST_TEXT_SIZE]);

/* Bytes that this process may still allocate if `ranks` processes share its host evenly: of the memory that is
 * available, of what its cgroup has left, and of its address space limit. */
double sable_host_memory_share(int ranks);

#endif
