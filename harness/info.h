/* The command `info`: how this binary was built, what it runs on, and where every rank and thread is bound. */
#ifndef SABLE_INFO_H
#define SABLE_INFO_H

#include <mpi.h>
#include <stdbool.h>

#include "error.h"

/* Collective. Binds threads as `run` would, and prints on rank 0's standard output. */
int sable_info(MPI_Comm comm, int threads, bool json, struct sable_error *error);

#endif
