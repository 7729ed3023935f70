/* Where a driver's `output` goes: into the digest, and into the results file if --keep asks for it. */
#ifndef SABLE_OUTPUT_H
#define SABLE_OUTPUT_H

#include "driver.h"
#include "results.h"

struct sable_sink {
    MPI_Comm comm;
    enum sable_keep keep;
    struct sable_results *results; /* rank 0, or NULL */
    bool stored;                   /* all ranks: a results file is being written */
    uint64_t part;                 /* this rank's part of the digest */
    bool any;                      /* an array went into the digest */
};

#endif
