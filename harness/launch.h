/* How this process was launched, as far as it can be known before MPI_Init, and the start of MPI itself. */
#ifndef SABLE_LAUNCH_H
#define SABLE_LAUNCH_H

#include <mpi.h>
#include <stdbool.h>

#include "error.h"

/* True for the process that may speak before MPI runs: rank 0 of a launcher, or a process started without one. */
bool sable_launch_speaks(void);

/* MPI_Init with MPI errors returned. Refuses to run as n copies of rank 0 under the launcher of another MPI. */
int sable_launch_begin(int *argc, char ***argv, struct sable_error *error);
void sable_launch_end(void);

/* For a rank that leaves with an error and without having spoken. A launcher ends all ranks as soon as one has failed:
 * while nothing can be agreed (MPI does not run yet, or each process is a world of its own below a foreign launcher),
 * the one that speaks could be cut off before its line is out. Waits a moment then, which the launcher's end shortens.
 */
void sable_launch_let_speak(void);

/* Collective. Sets OpenMP's threads: OMP_NUM_THREADS if given, else this rank's share of its host's cores. The
 * number is the same on every rank (the least). */
int sable_launch_threads(MPI_Comm comm, int *threads, struct sable_error *error);

#endif
