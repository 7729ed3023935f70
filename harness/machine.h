/* What ran where: hosts, processors, libraries, flags, environment; the binding of every thread, and the guard that
 * says when a time is worthless. */
#ifndef SABLE_MACHINE_H
#define SABLE_MACHINE_H

#include "driver.h"

enum { SABLE_HOST_SIZE = 64, SABLE_CPUSET_SIZE = 256, SABLE_REASON_SIZE = 600 };

/* One thread of one rank. */
struct sable_binding {
    int32_t rank, thread;
    char host[SABLE_HOST_SIZE];
    char cpuset[SABLE_CPUSET_SIZE]; /* list format: "0", "0-3,8" */
};

/* Name/value pairs of /machine in the order shown by `sable info`. */
struct sable_fact {
    char name[48];
    char text[1000];
};

struct sable_machine {
    int facts;
    struct sable_fact fact[96]; /* on rank 0 */
    int64_t bindings;
    struct sable_binding *binding;  /* on rank 0: every thread of every rank, by rank and thread */
    int hosts;                      /* all ranks */
    char guard[SABLE_REASON_SIZE];  /* all ranks: "" or why times are untrusted (oversubscription, overlap) */
    char notice[SABLE_REASON_SIZE]; /* all ranks: "" or what is worth a warning (unbound threads) */
    double memory_available;        /* bytes that every rank may use: the least share of a host's memory over its
                                       ranks, cgroup and address space limits included */
};

/* Is SABLE_BIND none, cores or auto, or unset? Not collective. */
int sable_bind_check(struct sable_error *error);

/* Binds this rank's OpenMP threads to cores of their own within the processors that the launcher gave it, which the
 * ranks of a host that were given the same ones share: spread evenly, a core each while cores last, then a hardware
 * thread each. Leaves binding to the user who set OMP_PROC_BIND, OMP_PLACES, GOMP_CPU_AFFINITY or KMP_AFFINITY (unless
 * SABLE_BIND=cores) or SABLE_BIND=none. Collective; call once, before any parallel region that matters. Never fails:
 * what it can't bind, the guard reports. */
void sable_bind_threads(MPI_Comm comm, int threads);

/* Collective. */
int sable_machine_describe(MPI_Comm comm, int threads, struct sable_machine *machine, struct sable_error *error);
void sable_machine_free(struct sable_machine *machine);

/* Signs of disturbance around one repetition, on one rank. */
struct sable_disturbance {
    double steal_seconds;         /* of the CPUs of this rank's cpuset, from /proc/stat */
    int64_t involuntary_switches; /* of all threads of this process */
    double clock_ghz; /* effective clock of a short dependent chain of adds (one add a cycle); NaN where unknown */
    int64_t peak_rss; /* bytes */
};
void sable_disturbance_sample(struct sable_disturbance *now);

#endif
