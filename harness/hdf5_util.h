/* HDF5 without its noise: nothing is printed, a failure becomes one line with the innermost reason, and attributes are
 * written and read by one call. */
#ifndef SABLE_HDF5_UTIL_H
#define SABLE_HDF5_UTIL_H

#include <hdf5.h>

#include "driver.h"

/* Before the first HDF5 call: no automatic error printing, no clean-up at exit (which retries a failed flush), no file
 * locks unless the user asks for them (parallel file systems refuse them). */
void sable_hdf5_begin(void);

/* sable_fail() with the reason that HDF5 gives for its last failure appended: the system's if there is one. */
int sable_hdf5_fail(struct sable_error *error, enum sable_exit code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Is `path` a regular, readable HDF5 file? What can be told without HDF5 is told in the system's words. */
int sable_hdf5_check_file(const char *path, struct sable_error *error);
/* The same without a look at the format. */
int sable_hdf5_check_regular(const char *path, struct sable_error *error);

hid_t sable_hdf5_type(enum sable_number type); /* a native type; not to be closed */
hid_t sable_hdf5_string(size_t size);          /* a fixed-size string; to be closed */

/* Attributes of an open object; the writers replace. Negative on failure. */
herr_t sable_hdf5_put_text(hid_t object, const char *name, const char *text);
herr_t sable_hdf5_put_integer(hid_t object, const char *name, int64_t value);
herr_t sable_hdf5_put_reals(hid_t object, const char *name, const double *values, int count);
herr_t sable_hdf5_put_real(hid_t object, const char *name, double value);
herr_t sable_hdf5_put_texts(hid_t object, const char *name, const char *const *texts, int count);

/* Takes out what would steer a terminal; `lines`: newlines may stay. */
void sable_hdf5_plain_text(char *text, bool lines);

/* False if the attribute is absent, not scalar or of another kind. Text is cut to `size`, control characters but
 * newlines replaced. */
bool sable_hdf5_get_text(hid_t object, const char *name, char *text, size_t size);
bool sable_hdf5_get_integer(hid_t object, const char *name, int64_t *value);
bool sable_hdf5_get_real(hid_t object, const char *name, double *value);

/* Creates a dataset, chunked and compressed from 64 KiB on; negative on failure. Whole `data` is written if not NULL.
 */
hid_t sable_hdf5_dataset(hid_t parent, const char *name, hid_t type, int dims, const hsize_t *shape, const void *data);

/* What bears a name, looked at link by link: nothing; a link to another place or file, or to nowhere; or an object
 * reached by links that stay within the file. Input must not make us read other files. */
enum sable_hdf5_found { SABLE_HDF5_ABSENT, SABLE_HDF5_ELSEWHERE, SABLE_HDF5_OWN };
enum sable_hdf5_found sable_hdf5_find(hid_t file, const char *name);
/* Is it an object of its own? */
bool sable_hdf5_has(hid_t file, const char *name);

#endif
