/* How fast one rank gets an HDF5 file onto the disk that will hold the results. */
#include "ceilings_site.h"

#include <errno.h>
#include <hdf5.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sable_array.h"

enum { DATASET_DOUBLES = 4 << 20, PATH_SIZE = 4096 };

struct sink {
    char path[PATH_SIZE]; /* for mkstemp: <path>.XXXXXX */
    double *data;
};

/* Creates an empty file beside the results and opens it by HDF5. The name is removed at once: whatever happens, nothing
 * stays behind. */
static hid_t create_nameless(const struct sink *sink, struct sable_error *error)
{
    char path[PATH_SIZE];
    memcpy(path, sink->path, sizeof path);
    int descriptor = mkstemp(path);
    if (descriptor < 0) {
        sable_fail(error, SABLE_ENVIRONMENT, "cannot create a file %s: %s", sink->path, strerror(errno));
        return H5I_INVALID_HID;
    }
    close(descriptor);
    hid_t file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    unlink(path);
    if (file < 0)
        sable_fail(error, SABLE_ENVIRONMENT, "HDF5 cannot create a file %s", sink->path);
    return file;
}

/* Until the device has it: a rate into the page cache says nothing of the disk. */
static int synchronise(hid_t file)
{
    int *descriptor;
    return H5Fflush(file, H5F_SCOPE_LOCAL) < 0 || H5Fget_vfd_handle(file, H5P_DEFAULT, (void **)&descriptor) < 0 ||
           fsync(*descriptor) != 0;
}

static int write_file(const struct sink *sink, struct sable_error *error)
{
    hsize_t size = DATASET_DOUBLES;
    hid_t file = create_nameless(sink, error);
    if (file < 0)
        return error->code;
    hid_t space = H5Screate_simple(1, &size, NULL);
    hid_t set = H5Dcreate2(file, "data", H5T_NATIVE_DOUBLE, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    int failed = set < 0 || H5Dwrite(set, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, sink->data) < 0;
    if (set >= 0)
        failed |= H5Dclose(set) < 0;
    if (space >= 0)
        H5Sclose(space);
    failed = failed || synchronise(file);
    failed |= H5Fclose(file) < 0;
    if (failed)
        sable_fail(error, SABLE_ENVIRONMENT, "cannot write %zu bytes of HDF5 to %s: is the disk full?",
                   DATASET_DOUBLES * sizeof(double), sink->path);
    return error->code;
}

static int run_write(void *state, int64_t files, struct sable_error *error)
{
    H5E_BEGIN_TRY /* our line, not HDF5's stack */
    {
        for (int64_t i = 0; i < files && error->code == SABLE_OK; i++)
            write_file(state, error);
    }
    H5E_END_TRY
    return error->code;
}

static int measure_alone(const char *path, struct sable_ceilings *ceilings, struct sable_error *error)
{
    struct sink sink;
    struct ceilings_site site = {.comm = MPI_COMM_SELF, .ranks = 1, .threads = 1, .nodes = 1, .node_ranks = 1};
    struct ceilings_kernel kernel = {.run = run_write, .state = &sink, .most = 0};
    struct sable_interval seconds;
    int index, length = snprintf(sink.path, sizeof sink.path, "%s.XXXXXX", path);
    if (length < 0 || (size_t)length >= sizeof sink.path)
        return sable_fail(error, SABLE_ENVIRONMENT, "the path %.80s... is too long", path);
    sink.data = sable_array(DATASET_DOUBLES, 1, sizeof *sink.data);
    if (!sink.data)
        return sable_fail(error, SABLE_ENVIRONMENT, "no memory for a dataset to measure HDF5 with");
    for (int64_t i = 0; i < DATASET_DOUBLES; i++)
        sink.data[i] = (double)i; /* not zeros, which a disk may compress away */
    if (ceilings_time(&site, &kernel, &seconds, error) == SABLE_OK)
        ceilings_add_rate(&site, "hdf5_write", "GB/s", DATASET_DOUBLES * (double)sizeof(double), &seconds, ceilings,
                          &index, error);
    sable_array_free(sink.data);
    return error->code;
}

int sable_ceilings_hdf5(MPI_Comm comm, const char *path, struct sable_ceilings *ceilings, struct sable_error *error)
{
    int rank;
    MPI_Comm_rank(comm, &rank);
    if (rank == 0)
        measure_alone(path, ceilings, error);
    if (sable_agree(comm, error))
        return error->code;
    return sable_check_mpi(MPI_Bcast(ceilings, sizeof *ceilings, MPI_BYTE, 0, comm), "MPI_Bcast", error);
}
