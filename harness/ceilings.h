/* The machine's limits, measured on the same ranks × threads in the same launch. */
#ifndef SABLE_CEILINGS_H
#define SABLE_CEILINGS_H

#include "driver.h"

enum { SABLE_MAX_CEILINGS = 96 };

struct sable_ceiling {
    char name[32]; /* fma_fp64, fma_fp32, dot_bf16, read_memory, copy_L2, random_memory, chase_L2, exp_fp32,
                      mpi_latency, mpi_bandwidth, mpi_allreduce_8B, hdf5_write … */
    double value;  /* of all ranks together: sum of work / time of the slowest rank */
    char unit[16]; /* GFLOP/s, GB/s (10^9), Gaccess/s, ns, us, Gexp/s */
    int ranks, threads;
    int nodes;        /* hosts those ranks lie on; value/nodes is the figure per node */
    double low, high; /* 95 % interval of the median of its repetitions; equal to value if none exists */
    char means[16];   /* by which of several it was reached: cached or streaming, avx512 or amx; else "" */
};

struct sable_ceilings {
    int count;
    struct sable_ceiling list[SABLE_MAX_CEILINGS];
};

enum sable_ceilings_effort { SABLE_CEILINGS_NONE, SABLE_CEILINGS_QUICK, SABLE_CEILINGS_FULL };

/* Collective. FULL measures everything (tens of seconds), QUICK the compute peaks, MPI and barrier (about a second);
 * bandwidths for a work model come from sable_ceilings_stream() below, at the very working set of the workload. What
 * each ceiling is and how it is measured: docs/ceilings.md. Adds to `ceilings`. */
int sable_ceilings_measure(MPI_Comm comm, int threads, enum sable_ceilings_effort effort,
                           struct sable_ceilings *ceilings, struct sable_error *error);

/* Collective. The rate in GB/s of all ranks together at which `pattern` (bytes as STREAM counts them, best of regular
 * and streaming stores) runs over a working set of `bytes` per rank on all its threads; measured on first use for each
 * power-of-two size class (the largest that is not over `bytes`) and then taken from `ceilings`, to which it is added
 * as e.g. copy_16MiB; from the size on that fits no cache it is copy_memory. Sets *index. */
int sable_ceilings_stream(MPI_Comm comm, int threads, enum sable_pattern pattern, double bytes,
                          struct sable_ceilings *ceilings, int *index, struct sable_error *error);
/* The same for independent random 8-byte reads over `bytes` per rank, in Gaccess/s (random_16MiB, random_memory). */
int sable_ceilings_random(MPI_Comm comm, int threads, double bytes, struct sable_ceilings *ceilings, int *index,
                          struct sable_error *error);

/* Index by name, or −1. */
int sable_ceilings_find(const struct sable_ceilings *ceilings, const char *name);

/* Collective. HDF5 write rate into the directory of `path` (a temporary file beside it, removed), by rank 0. */
int sable_ceilings_hdf5(MPI_Comm comm, const char *path, struct sable_ceilings *ceilings, struct sable_error *error);

#endif
