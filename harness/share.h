/* How close a run came to the machine's limit, and whether its time can be trusted. */
#ifndef SABLE_SHARE_H
#define SABLE_SHARE_H

#include "ceilings.h"
#include "machine.h"
#include "results.h"

/* Collective. The least time that each resource needs for this rank's work, the largest over ranks; the resource that
 * needs longest names run->ceiling. `items` of all ranks. A stream's rate is measured at the work's own working set. */
int sable_share_of_ceiling(MPI_Comm comm, int threads, const struct sable_work *work, double items,
                           struct sable_ceilings *ceilings, struct sable_run *run, struct sable_error *error);

/* On rank 0: sets run->verdict, and adds to run->warnings, from the binding guard and the disturbances counted. */
void sable_judge_trust(const struct sable_machine *machine, double elapsed, struct sable_run *run);

#endif
