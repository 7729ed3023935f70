/* The open results file, shared by results*.c. On rank 0 only. */
#ifndef SABLE_RESULTS_FILE_H
#define SABLE_RESULTS_FILE_H

#include "hdf5_util.h"
#include "results.h"

enum { SABLE_PATH_SIZE = 1100, SABLE_GROUP_SIZE = 200 };

struct sable_results {
    hid_t file;
    hid_t run;                    /* the open run's group, or invalid */
    char group[SABLE_GROUP_SIZE]; /* its name, "/runs/family/workload/variant.2" */
    char path[SABLE_PATH_SIZE], partial[SABLE_PATH_SIZE];
    int complete;            /* runs that are complete in the file */
    struct sable_error lost; /* the first write that failed: from then on the file is not touched */
};

/* Is there room for `bytes` more where the file lies? A full disk is met before HDF5 meets it, which would leave
 * half-written metadata. */
int sable_results_room(struct sable_results *results, double bytes, struct sable_error *error);

/* Flushes to the disk itself. */
int sable_results_flush(struct sable_results *results, struct sable_error *error);

/* Compounds of the datasets; to be closed. */
hid_t sable_results_counters_type(void);
hid_t sable_results_checks_type(void);
hid_t sable_results_ceilings_type(void);
hid_t sable_results_binding_type(void);

#endif
