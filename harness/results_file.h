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

/* The file with its names checked (see sable_results_create()) and nothing opened; to be freed. NULL with an error. */
struct sable_results *sable_results_prepare(const char *path, bool force, struct sable_error *error);

/* Creates `name` with the root's attributes and the empty groups. */
int sable_results_create_file(struct sable_results *results, const char *name, bool replace, const char *command_line,
                              struct sable_error *error);

/* Remembers the first failed write, after which the file is left as the last flush made it. Returns error->code. */
int sable_results_lose(struct sable_results *results, struct sable_error *error);

/* Takes the open run, if there is one, out of the file. */
void sable_results_drop_run(struct sable_results *results);

/* Flushes to the disk itself. */
int sable_results_flush(struct sable_results *results, struct sable_error *error);

/* Compounds of the datasets; to be closed. */
hid_t sable_results_counters_type(void);
hid_t sable_results_checks_type(void);
hid_t sable_results_ceilings_type(void);
hid_t sable_results_binding_type(void);

/* `count` rows as dataset `name`, which is replaced; closes `type`. Negative on failure, also if `type` is invalid. */
herr_t sable_results_put_table(hid_t parent, const char *name, hid_t type, int64_t count, const void *data);

#endif
