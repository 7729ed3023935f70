/* Where ceilings are measured and how one is timed: shared by harness/ceilings*.c only. */
#ifndef SABLE_CEILINGS_SITE_H
#define SABLE_CEILINGS_SITE_H

#include "ceilings.h"
#include "stats.h"

/* The ranks that measure together. The same on all of them. */
struct ceilings_site {
    MPI_Comm comm;
    int rank, ranks, threads;
    int nodes;      /* hosts that the ranks lie on */
    int node_ranks; /* most ranks on one of them */
};

/* Working sets in bytes; the same on all ranks (the least). */
struct ceilings_levels {
    double l2, l3; /* per thread, filling half of its share of the cache; 0 where the machine reports no such cache */
    double memory; /* per rank: a power of two that no cache holds, as far as memory allows */
};

/* Collective. */
int ceilings_site(MPI_Comm comm, int threads, struct ceilings_site *site, struct sable_error *error);
int ceilings_levels(const struct ceilings_site *site, struct ceilings_levels *levels, struct sable_error *error);

/* What is timed: `run` does `count` units of work. */
struct ceilings_kernel {
    int (*run)(void *state, int64_t count, struct sable_error *error);
    void *state;
    int64_t most; /* units that one call may do; 0 is no limit */
};

/* Collective. Seconds that the slowest rank needs for one unit, and their interval. On a machine that is not ours alone
 * a long repetition measures who else ran. So a repetition is several slices of about a millisecond, shorter than what
 * a scheduler gives to another process, each after a barrier; it counts by its fastest slice, and the result is the
 * median over the repetitions. The units of a slice are increased until it lasts long enough; that is also the warm-up.
 */
int ceilings_time(const struct ceilings_site *site, const struct ceilings_kernel *kernel,
                  struct sable_interval *seconds, struct sable_error *error);

/* Adds amount/seconds, in giga-units, or (ceilings_add_time) seconds in `scale`ths. Returns the index. A full list is
 * an error. */
int ceilings_add_rate(const struct ceilings_site *site, const char *name, const char *unit, double amount,
                      const struct sable_interval *seconds, struct sable_ceilings *ceilings, int *index,
                      struct sable_error *error);
int ceilings_add_time(const struct ceilings_site *site, const char *name, const char *unit, double scale,
                      const struct sable_interval *seconds, struct sable_ceilings *ceilings, struct sable_error *error);

void ceilings_set_means(struct sable_ceiling *ceiling, const char *means);

/* Collective. Each adds its group. */
int ceilings_compute(const struct ceilings_site *site, struct sable_ceilings *ceilings, struct sable_error *error);
int ceilings_network(const struct ceilings_site *site, struct sable_ceilings *ceilings, struct sable_error *error);
/* Independent reads of a table of `bytes` per rank, a power of two (named random_…), and dependent ones (chase_…). */
int ceilings_gather(const struct ceilings_site *site, const char *name, double bytes, struct sable_ceilings *ceilings,
                    int *index, struct sable_error *error);
int ceilings_chase(const struct ceilings_site *site, const char *name, double bytes, struct sable_ceilings *ceilings,
                   struct sable_error *error);
/* One stream over arrays of `bytes` per rank together. */
int ceilings_stream(const struct ceilings_site *site, const char *name, enum sable_pattern pattern, double bytes,
                    struct sable_ceilings *ceilings, int *index, struct sable_error *error);

#endif
