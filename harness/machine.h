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
    double memory_available;        /* bytes this rank may use: its share of its host's, cgroup limits included */
};

/* Binds this rank's OpenMP threads to cores of their own, if neither the user (OMP_PROC_BIND, SABLE_BIND=none) nor the
 * launcher has: cores are dealt out over the ranks of a host. Collective; call once, before any parallel region that
 * matters. Never fails: what it can't bind, the guard reports. */
void sable_bind_threads(MPI_Comm comm, int threads);

/* Collective. */
int sable_machine_describe(MPI_Comm comm, int threads, struct sable_machine *machine, struct sable_error *error);
void sable_machine_free(struct sable_machine *machine);

/* Signs of disturbance around one repetition, on one rank. */
struct sable_disturbance {
    double steal_seconds;         /* of the CPUs of this rank's cpuset, from /proc/stat */
    int64_t involuntary_switches; /* of all threads of this process */
    double clock_ghz;             /* effective clock of a short dependent chain of adds (one add a cycle) */
    int64_t peak_rss;             /* bytes */
};
void sable_disturbance_sample(struct sable_disturbance *now);

#endif
