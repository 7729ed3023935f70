/* Distributed arrays into the results file: moved in bounded pieces to rank 0, which writes them. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <hdf5_hl.h>

#include "digest.h"
#include "results_file.h"

enum { PIECE_BYTES = 16 * 1024 * 1024, TAG_HEADER = 1, TAG_PIECE = 2 };

static const double own_file_from = 64.0 * 1024 * 1024; /* bytes */

/* ---- A block in pieces: all of the inner dimensions, a stretch of `split`, one index of each outer one ---- */

struct pieces {
    int dims, split;
    int64_t offset[SABLE_MAX_DIMS], count[SABLE_MAX_DIMS]; /* of the block */
    int64_t stretch, along, total;
};

static struct pieces cut(int dims, const int64_t *offset, const int64_t *count, size_t size)
{
    struct pieces p = {.dims = dims, .split = dims - 1, .total = 1};
    int64_t inner = (int64_t)size;
    memcpy(p.offset, offset, (size_t)dims * sizeof *offset);
    memcpy(p.count, count, (size_t)dims * sizeof *count);
    for (; p.split > 0 && count[p.split] <= PIECE_BYTES / inner; p.split--)
        inner *= count[p.split] ? count[p.split] : 1;
    p.stretch = PIECE_BYTES / inner;
    p.along = (count[p.split] + p.stretch - 1) / p.stretch;
    for (int d = 0; d < dims; d++)
        p.total *= d < p.split ? count[d] : d == p.split ? p.along : (count[d] > 0);
    return p;
}

/* First index within the block and extent of piece k; returns its elements. */
static int64_t piece_of(const struct pieces *p, int64_t k, int64_t first[], int64_t extent[])
{
    int64_t rest = k, elements = 1;
    for (int d = p->dims - 1; d >= 0; d--) {
        first[d] = 0;
        extent[d] = p->count[d];
        if (d == p->split) {
            first[d] = rest % p->along * p->stretch;
            rest /= p->along;
            extent[d] = p->count[d] - first[d] < p->stretch ? p->count[d] - first[d] : p->stretch;
        } else if (d < p->split) {
            first[d] = rest % p->count[d];
            rest /= p->count[d];
            extent[d] = 1;
        }
        elements *= extent[d];
    }
    return elements;
}

static void pack(const struct sable_array *array, const int64_t first[], const int64_t extent[], char *packed)
{
    int inner = array->dims - 1;
    int64_t stride[SABLE_MAX_DIMS], rows = 1;
    size_t size = sable_number_size(array->type);
    sable_array_strides(array, stride);
    for (int d = 0; d < inner; d++)
        rows *= extent[d];
    for (int64_t row = 0; row < rows; row++) {
        int64_t rest = row, element = first[inner] * stride[inner];
        for (int d = inner - 1; d >= 0; d--) {
            element += (first[d] + rest % extent[d]) * stride[d];
            rest /= extent[d];
        }
        const char *from = (const char *)array->data + (size_t)element * size;
        for (int64_t i = 0; i < extent[inner]; i++, packed += size)
            memcpy(packed, from + (size_t)(i * stride[inner]) * size, size);
    }
}

/* ---- Rank 0: where the array goes ---- */

struct target {
    hid_t file, dataset; /* a file of its own, or invalid */
    char name[SABLE_PATH_SIZE + SABLE_GROUP_SIZE + 160];
};

/* "results.value_iteration.gridworld.sable.v.h5" beside "results.h5". */
static void name_own_file(const struct sable_results *results, const char *array, char *name, size_t size)
{
    char base[SABLE_PATH_SIZE], run[SABLE_GROUP_SIZE];
    snprintf(base, sizeof base, "%s", results->path);
    snprintf(run, sizeof run, "%s", results->group + strlen("/runs/"));
    size_t length = strlen(base);
    if (length > 3 && strcmp(base + length - 3, ".h5") == 0)
        base[length - 3] = '\0';
    for (char *c = run; *c; c++)
        if (*c == '/')
            *c = '.';
    snprintf(name, size, "%s.%s.%.150s.h5", base, run, array);
}

static herr_t describe_array(hid_t dataset, const struct sable_array *array)
{
    double tolerance = array->no_digest && array->tolerance == 0 ? INFINITY : array->tolerance;
    herr_t written = sable_hdf5_put_text(dataset, "unit", array->unit ? array->unit : "") < 0 ||
                             sable_hdf5_put_real(dataset, "tolerance", tolerance) < 0 ||
                             sable_hdf5_put_text(dataset, "help", array->help ? array->help : "") < 0
                         ? -1
                         : 0;
    for (int d = 0; d < array->dims && written >= 0; d++)
        if (array->labels[d])
            written = H5DSset_label(dataset, (unsigned)d, array->labels[d]);
    return written;
}

/* A label that names an earlier 1-D array of this run attaches that array as the dimension's scale. */
static herr_t attach_scales(hid_t outputs, hid_t dataset, const struct sable_array *array)
{
    herr_t attached = 0;
    for (int d = 0; d < array->dims && attached >= 0; d++) {
        const char *label = array->labels[d];
        if (!label || strcmp(label, array->name) == 0 || H5Lexists(outputs, label, H5P_DEFAULT) <= 0)
            continue;
        hid_t scale = H5Dopen2(outputs, label, H5P_DEFAULT);
        attached = scale < 0 || (H5DSis_scale(scale) <= 0 && H5DSset_scale(scale, label) < 0) ||
                           H5DSattach_scale(dataset, scale, (unsigned)d) < 0
                       ? -1
                       : 0;
        if (scale >= 0)
            H5Dclose(scale);
    }
    return attached;
}

static int open_target(struct sable_results *results, const struct sable_array *array, double bytes,
                       struct target *target, struct sable_error *error)
{
    hsize_t shape[SABLE_MAX_DIMS];
    for (int d = 0; d < array->dims; d++)
        shape[d] = (hsize_t)array->global[d];
    *target = (struct target){.file = H5I_INVALID_HID, .dataset = H5I_INVALID_HID};
    if (sable_results_room(results, bytes, error))
        return error->code;
    bool own = bytes > own_file_from;
    hid_t parent = H5Gopen2(results->run, "outputs", H5P_DEFAULT), type = sable_hdf5_type(array->type);
    if (own) {
        name_own_file(results, array->name, target->name, sizeof target->name);
        target->file = H5Fcreate(target->name, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    }
    if (parent >= 0 && (!own || target->file >= 0))
        target->dataset = sable_hdf5_dataset(own ? target->file : parent, array->name, type, array->dims, shape, NULL);
    const char *beside = strrchr(target->name, '/') ? strrchr(target->name, '/') + 1 : target->name;
    if (target->dataset < 0 || describe_array(target->dataset, array) < 0 ||
        (own ? H5Lcreate_external(beside, array->name, parent, array->name, H5P_DEFAULT, H5P_DEFAULT)
             : attach_scales(parent, target->dataset, array)) < 0)
        sable_hdf5_fail(error, SABLE_ENVIRONMENT, "could not write output %s into %s", array->name,
                        own ? target->name : results->partial);
    if (parent >= 0)
        H5Gclose(parent);
    return error->code;
}

static int move_piece(hid_t dataset, const struct pieces *p, int64_t k, hid_t type, char *packed, bool write)
{
    int64_t first[SABLE_MAX_DIMS], extent[SABLE_MAX_DIMS];
    hsize_t start[SABLE_MAX_DIMS], count[SABLE_MAX_DIMS];
    piece_of(p, k, first, extent);
    for (int d = 0; d < p->dims; d++) {
        start[d] = (hsize_t)(p->offset[d] + first[d]);
        count[d] = (hsize_t)extent[d];
    }
    hid_t space = H5Dget_space(dataset), memory = H5Screate_simple(p->dims, count, NULL);
    int failed = space < 0 || memory < 0 || H5Sselect_hyperslab(space, H5S_SELECT_SET, start, NULL, count, NULL) < 0 ||
                 (write ? H5Dwrite(dataset, type, memory, space, H5P_DEFAULT, packed)
                        : H5Dread(dataset, type, memory, space, H5P_DEFAULT, packed)) < 0;
    if (memory >= 0)
        H5Sclose(memory);
    if (space >= 0)
        H5Sclose(space);
    return failed;
}

/* Reads a file of its own back from the disk and compares the digest of what it holds. */
static int check_own_file(const struct target *target, const struct sable_array *array, uint64_t digest, char *packed,
                          struct sable_error *error)
{
    const int64_t zero[SABLE_MAX_DIMS] = {0};
    struct pieces p = cut(array->dims, zero, array->global, sable_number_size(array->type));
    struct sable_array piece = *array;
    uint64_t found = 0;
    hid_t file = H5Fopen(target->name, H5F_ACC_RDONLY, H5P_DEFAULT);
    hid_t dataset = file < 0 ? H5I_INVALID_HID : H5Dopen2(file, array->name, H5P_DEFAULT);
    int failed = dataset < 0;
    memset(piece.stride, 0, sizeof piece.stride);
    piece.data = packed;
    for (int64_t k = 0; k < p.total && !failed; k++) {
        failed = move_piece(dataset, &p, k, sable_hdf5_type(array->type), packed, false);
        piece_of(&p, k, piece.offset, piece.count);
        found += failed ? 0 : sable_digest_block(&piece);
    }
    if (dataset >= 0)
        H5Dclose(dataset);
    if (file >= 0)
        H5Fclose(file);
    if (failed || found != digest)
        return sable_hdf5_fail(error, SABLE_ENVIRONMENT, "%s does not read back as it was written", target->name);
    return SABLE_OK;
}

static int close_target(struct sable_results *results, const struct sable_array *array, uint64_t digest, char *packed,
                        struct target *target, struct sable_error *error)
{
    if (target->dataset >= 0 && H5Dclose(target->dataset) < 0)
        sable_hdf5_fail(error, SABLE_ENVIRONMENT, "could not write output %s", array->name);
    if (target->file < 0)
        return error->code ? error->code : sable_results_flush(results, error);
    if (H5Fflush(target->file, H5F_SCOPE_GLOBAL) < 0 || H5Fclose(target->file) < 0)
        sable_hdf5_fail(error, SABLE_ENVIRONMENT, "could not write %s", target->name);
    return error->code ? error->code : check_own_file(target, array, digest, packed, error);
}

/* ---- All ranks ---- */

struct header {
    int64_t offset[SABLE_MAX_DIMS], count[SABLE_MAX_DIMS];
};

static int send_block(MPI_Comm comm, const struct sable_array *array, char *packed, struct sable_error *error)
{
    struct header own;
    size_t size = sable_number_size(array->type);
    memcpy(own.offset, array->offset, sizeof own.offset);
    memcpy(own.count, array->count, sizeof own.count);
    struct pieces p = cut(array->dims, array->offset, array->count, size);
    sable_check_mpi(MPI_Send(&own, sizeof own, MPI_BYTE, 0, TAG_HEADER, comm), "MPI_Send", error);
    for (int64_t k = 0; k < p.total && !error->code; k++) {
        int64_t first[SABLE_MAX_DIMS], extent[SABLE_MAX_DIMS];
        int64_t elements = piece_of(&p, k, first, extent);
        pack(array, first, extent, packed);
        sable_check_mpi(MPI_Send(packed, (int)((size_t)elements * size), MPI_BYTE, 0, TAG_PIECE, comm), "MPI_Send",
                        error);
    }
    return error->code;
}

/* Takes the block of `rank`, and goes on taking when a write has failed: the sender must not wait for ever. */
static int take_block(MPI_Comm comm, int rank, const struct sable_array *array, hid_t dataset, char *packed,
                      struct sable_error *error)
{
    struct header from;
    size_t size = sable_number_size(array->type);
    struct sable_error network = {0};
    memcpy(from.offset, array->offset, sizeof from.offset);
    memcpy(from.count, array->count, sizeof from.count);
    if (rank > 0 && sable_check_mpi(MPI_Recv(&from, sizeof from, MPI_BYTE, rank, TAG_HEADER, comm, MPI_STATUS_IGNORE),
                                    "MPI_Recv", &network))
        return sable_fail(error, (enum sable_exit)network.code, "%s", network.text);
    struct pieces p = cut(array->dims, from.offset, from.count, size);
    for (int64_t k = 0; k < p.total; k++) {
        int64_t first[SABLE_MAX_DIMS], extent[SABLE_MAX_DIMS];
        int64_t elements = piece_of(&p, k, first, extent);
        if (rank == 0)
            pack(array, first, extent, packed);
        else if (sable_check_mpi(MPI_Recv(packed, (int)((size_t)elements * size), MPI_BYTE, rank, TAG_PIECE, comm,
                                          MPI_STATUS_IGNORE),
                                 "MPI_Recv", &network))
            return sable_fail(error, (enum sable_exit)network.code, "%s", network.text);
        if (!error->code && move_piece(dataset, &p, k, sable_hdf5_type(array->type), packed, true))
            sable_hdf5_fail(error, SABLE_ENVIRONMENT, "could not write output %s", array->name);
    }
    return error->code;
}

int sable_results_array(struct sable_results *results, MPI_Comm comm, const struct sable_array *array,
                        struct sable_error *error)
{
    int rank, ranks;
    double bytes = (double)sable_number_size(array->type);
    struct target target = {.file = H5I_INVALID_HID, .dataset = H5I_INVALID_HID};
    uint64_t digest = 0;
    MPI_Comm_rank(comm, &rank);
    MPI_Comm_size(comm, &ranks);
    for (int d = 0; d < array->dims; d++)
        bytes *= (double)array->global[d];
    char *packed = malloc(bytes < PIECE_BYTES ? (size_t)bytes + 1 : PIECE_BYTES);
    if (!packed)
        sable_fail(error, SABLE_ENVIRONMENT, "out of memory to move output %s", array->name);
    else if (rank == 0)
        open_target(results, array, bytes, &target, error);
    if (!sable_agree(comm, error)) {
        for (int r = 0; r < ranks && rank == 0; r++)
            take_block(comm, r, array, target.dataset, packed, error);
        if (rank > 0)
            send_block(comm, array, packed, error);
        if (bytes > own_file_from) /* the same on all ranks */
            sable_digest_combine(comm, sable_digest_block(array), &digest, error);
    }
    if (rank == 0)
        close_target(results, array, digest, packed, &target, error);
    free(packed);
    return sable_agree(comm, error);
}
