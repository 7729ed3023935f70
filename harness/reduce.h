/* Sums over ranks whose bits don't depend on the number of ranks (kernels/common/sable_sum.h). */
#ifndef SABLE_REDUCE_H
#define SABLE_REDUCE_H

#include <mpi.h>

#include "error.h"
#include "sable_sum.h"

/* Collective. `nodes` is this rank's range of blocks; ranges follow one another in the order of ranks and begin at
 * block 0 (empty ranges are allowed). The total arrives on every rank, after log2(ranks) messages of at most 1.6 kB. */
int sable_sum_ranks(MPI_Comm comm, const struct sable_sum_nodes *nodes, double *total, struct sable_error *error);

#endif
