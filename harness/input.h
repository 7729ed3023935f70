/* --input FILE.h5: a workload reads its arrays by the names that its --help lists; what is absent is generated. Every
 * call checks its data and answers with one line that names the file, the array and what is wrong (exit 2). */
#ifndef SABLE_INPUT_H
#define SABLE_INPUT_H

#include "driver.h"

/* Opens for reading only. Not collective: each rank opens the file by itself and reads its own blocks. Refuses
 * directories, unreadable, empty, truncated and non-HDF5 files. `*input` is owned by the caller. */
int sable_input_open(const char *path, struct sable_input **input, struct sable_error *error);
/* The same, but any other regular file is opened, too: sable_input_check() then lets it pass only to a workload with
 * `other_inputs`, which reads it by its path. */
int sable_input_open_any(const char *path, struct sable_input **input, struct sable_error *error);
bool sable_input_is_hdf5(const struct sable_input *input);
void sable_input_close(struct sable_input *input);
const char *sable_input_path(const struct sable_input *input);

bool sable_input_has(struct sable_input *input, const char *name);

/* Refuses a file that holds none of the workload's inputs: nobody gives one to have it ignored. */
int sable_input_check(struct sable_input *input, const struct sable_workload *workload, struct sable_error *error);

/* The shape of a dataset that must have exactly `dims` dimensions (0: a scalar), each ≥ 1. */
int sable_input_shape(struct sable_input *input, const char *name, int dims, int64_t shape[],
                      struct sable_error *error);

/* Reads the block [offset, offset + count) of a dataset into `data` (contiguous, row-major, owned by the caller),
 * converting from any stored integer or float type, or from any complex one for SABLE_C64 and SABLE_C128; refuses
 * other types, and values that do not fit an integer `type`. */
int sable_input_read(struct sable_input *input, const char *name, enum sable_number type, int dims,
                     const int64_t offset[], const int64_t count[], void *data, struct sable_error *error);

/* Scalar attributes of `object` ("/" or a dataset). *found tells an absent attribute from a bad one. */
int sable_input_real(struct sable_input *input, const char *object, const char *name, double *value, bool *found,
                     struct sable_error *error);
int sable_input_text(struct sable_input *input, const char *object, const char *name, char *text, size_t size,
                     bool *found, struct sable_error *error);

/* Path of one of sable's own data files ("sea.h5"): in $SABLE_DATA, the source tree or the installed share/sable/data,
 * whichever exists first. The message for a missing one names the recipe in scripts/data/. */
int sable_data_path(const char *name, char *path, size_t size, struct sable_error *error);

#endif
