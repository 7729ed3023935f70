#include "input.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "build_info.h"
#include "digest.h"
#include "hdf5_util.h"

struct sable_input {
    hid_t file;
    char path[1024];
};

/* ---- Opening ---- */

static int open_file(const char *path, bool only_hdf5, struct sable_input **input, struct sable_error *error)
{
    *input = NULL;
    sable_hdf5_begin();
    struct sable_input *opened = calloc(1, sizeof *opened);
    if (!opened)
        return sable_fail(error, SABLE_ENVIRONMENT, "out of memory for %s", path);
    if (strlen(path) >= sizeof opened->path)
        sable_fail(error, SABLE_BAD_INPUT, "an input's name is longer than %zu bytes", sizeof opened->path);
    else if (!sable_hdf5_check_regular(path, error)) {
        snprintf(opened->path, sizeof opened->path, "%s", path);
        const bool other = H5Fis_hdf5(path) <= 0;
        opened->file = other ? H5I_INVALID_HID : H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
        if (other && only_hdf5)
            sable_fail(error, SABLE_BAD_INPUT, "%s is not an HDF5 file", path);
        else if (!other && opened->file < 0)
            sable_hdf5_fail(error, SABLE_BAD_INPUT, "%s is truncated or corrupt", path);
    }
    if (error->code) {
        free(opened);
        return error->code;
    }
    *input = opened;
    return SABLE_OK;
}

int sable_input_open(const char *path, struct sable_input **input, struct sable_error *error)
{
    return open_file(path, true, input, error);
}

int sable_input_open_any(const char *path, struct sable_input **input, struct sable_error *error)
{
    return open_file(path, false, input, error);
}

bool sable_input_is_hdf5(const struct sable_input *input)
{
    return input->file >= 0;
}

void sable_input_close(struct sable_input *input)
{
    if (!input)
        return;
    if (input->file >= 0)
        H5Fclose(input->file);
    free(input);
}

const char *sable_input_path(const struct sable_input *input)
{
    return input->path;
}

/* ---- Datasets ---- */

/* Whatever bears the name counts, a link to nowhere, too: what is there must be good, and reading will tell. */
bool sable_input_has(struct sable_input *input, const char *name)
{
    return sable_hdf5_find(input->file, name) != SABLE_HDF5_ABSENT;
}

int sable_input_check(struct sable_input *input, const struct sable_workload *workload, struct sable_error *error)
{
    char names[400] = "";
    if (input->file < 0)
        return workload->other_inputs ? SABLE_OK
                                      : sable_fail(error, SABLE_BAD_INPUT, "%s is not an HDF5 file", input->path);
    for (const struct sable_field *field = workload->inputs; field && field->name; field++) {
        size_t used = strlen(names);
        snprintf(names + used, sizeof names - used, "%s%s", used ? ", " : "", field->name);
        for (const char *at = field->name; *at; at += strspn(at, ", ")) { /* a field may be several: "lat, lon" */
            char name[64];
            size_t length = strcspn(at, ", ");
            snprintf(name, sizeof name, "%.*s", (int)length, at);
            if (sable_input_has(input, name) || H5Aexists(input->file, name) > 0)
                return SABLE_OK;
            at += length;
        }
    }
    return sable_fail(error, SABLE_BAD_INPUT, "%s holds nothing that %s reads (%s)", input->path, workload->name,
                      names);
}

/* Data that HDF5 would fetch from other files: external storage and virtual datasets. */
static bool lies_elsewhere(hid_t dataset)
{
    hid_t properties = H5Dget_create_plist(dataset);
    bool elsewhere =
        properties < 0 || H5Pget_external_count(properties) != 0 || H5Pget_layout(properties) == H5D_VIRTUAL;
    if (properties >= 0)
        H5Pclose(properties);
    return elsewhere;
}

/* A compound of two floats named r and i. */
static bool is_complex(hid_t type)
{
    if (H5Tget_class(type) != H5T_COMPOUND || H5Tget_nmembers(type) != 2)
        return false;
    int r = H5Tget_member_index(type, "r"), i = H5Tget_member_index(type, "i");
    return r >= 0 && i >= 0 && H5Tget_member_class(type, (unsigned)r) == H5T_FLOAT &&
           H5Tget_member_class(type, (unsigned)i) == H5T_FLOAT;
}

/* Opens dataset and file space of a numeric dataset with `dims` dimensions. */
static int open_dataset(struct sable_input *input, const char *name, int dims, hsize_t shape[], bool *complex,
                        hid_t *dataset, hid_t *space, struct sable_error *error)
{
    *dataset = *space = H5I_INVALID_HID;
    if (!sable_hdf5_has(input->file, name))
        return sable_fail(error, SABLE_BAD_INPUT, "%s has no dataset '%s' of its own", input->path, name);
    if ((*dataset = H5Dopen2(input->file, name, H5P_DEFAULT)) < 0 || (*space = H5Dget_space(*dataset)) < 0)
        return sable_hdf5_fail(error, SABLE_BAD_INPUT, "%s: '%s' is not a readable dataset", input->path, name);
    if (lies_elsewhere(*dataset))
        return sable_fail(error, SABLE_BAD_INPUT, "%s: '%s' keeps its data in other files", input->path, name);
    hid_t type = H5Dget_type(*dataset);
    H5T_class_t class = type < 0 ? H5T_NO_CLASS : H5Tget_class(type);
    *complex = type >= 0 && is_complex(type);
    if (type >= 0)
        H5Tclose(type);
    if (class != H5T_INTEGER && class != H5T_FLOAT && !*complex)
        return sable_fail(error, SABLE_BAD_INPUT,
                          "%s: '%s' holds neither integers nor floats nor complex numbers (r, i)", input->path, name);
    int found = H5Sget_simple_extent_ndims(*space);
    if (found != dims || H5Sget_simple_extent_dims(*space, shape, NULL) != dims)
        return sable_fail(error, SABLE_BAD_INPUT, "%s: '%s' has %d dimensions instead of %d", input->path, name, found,
                          dims);
    return SABLE_OK;
}

static void close_dataset(hid_t dataset, hid_t space)
{
    if (space >= 0)
        H5Sclose(space);
    if (dataset >= 0)
        H5Dclose(dataset);
}

int sable_input_shape(struct sable_input *input, const char *name, int dims, int64_t shape[], struct sable_error *error)
{
    hid_t dataset, space;
    hsize_t found[SABLE_MAX_DIMS];
    bool complex;
    if (!open_dataset(input, name, dims, found, &complex, &dataset, &space, error))
        for (int d = 0; d < dims && !error->code; d++) {
            shape[d] = (int64_t)found[d];
            if (found[d] < 1 || found[d] > INT64_MAX)
                sable_fail(error, SABLE_BAD_INPUT, "%s: dimension %d of '%s' is %llu", input->path, d, name,
                           (unsigned long long)found[d]);
        }
    close_dataset(dataset, space);
    return error->code;
}

/* Bounds of what an integer type holds; reals hold anything. */
static bool integer_range(enum sable_number type, double *low, double *high)
{
    switch (type) {
    case SABLE_I64:
        *low = -0x1p63, *high = 0x1p63;
        return true;
    case SABLE_I32:
        *low = INT32_MIN, *high = INT32_MAX;
        return true;
    case SABLE_I16:
        *low = INT16_MIN, *high = INT16_MAX;
        return true;
    case SABLE_I8:
        *low = INT8_MIN, *high = INT8_MAX;
        return true;
    case SABLE_U8:
        *low = 0, *high = UINT8_MAX;
        return true;
    default:
        return false;
    }
}

/* What HDF5 meets while converting: values out of range would silently be clipped. */
static H5T_conv_ret_t refuse_conversion(H5T_conv_except_t kind, hid_t source, hid_t target, void *from, void *to,
                                        void *data)
{
    (void)source, (void)target, (void)from, (void)to;
    if (kind == H5T_CONV_EXCEPT_PRECISION)
        return H5T_CONV_UNHANDLED; /* rounding to the nearest is what reading as another type means */
    *(bool *)data = true;
    return H5T_CONV_UNHANDLED;
}

static int read_block(struct sable_input *input, const char *name, enum sable_number type, int dims,
                      const int64_t offset[], const int64_t count[], hid_t dataset, hid_t space, void *data,
                      struct sable_error *error)
{
    hsize_t start[SABLE_MAX_DIMS], extent[SABLE_MAX_DIMS];
    for (int d = 0; d < dims; d++) {
        start[d] = (hsize_t)offset[d];
        extent[d] = (hsize_t)count[d];
    }
    bool misfit = false;
    double low, high;
    hid_t memory = dims ? H5Screate_simple(dims, extent, NULL) : H5Screate(H5S_SCALAR),
          transfer = H5Pcreate(H5P_DATASET_XFER);
    if (memory < 0 || transfer < 0 || H5Pset_type_conv_cb(transfer, refuse_conversion, &misfit) < 0 ||
        (dims && H5Sselect_hyperslab(space, H5S_SELECT_SET, start, NULL, extent, NULL) < 0) ||
        H5Dread(dataset, sable_hdf5_type(type), memory, space, transfer, data) < 0)
        sable_hdf5_fail(error, SABLE_BAD_INPUT, "%s: '%s' could not be read", input->path, name);
    else if (misfit && integer_range(type, &low, &high))
        sable_fail(error, SABLE_BAD_INPUT, "%s: '%s' holds values that are no integers from %g to %g", input->path,
                   name, low, high);
    if (transfer >= 0)
        H5Pclose(transfer);
    if (memory >= 0)
        H5Sclose(memory);
    return error->code;
}

int sable_input_read(struct sable_input *input, const char *name, enum sable_number type, int dims,
                     const int64_t offset[], const int64_t count[], void *data, struct sable_error *error)
{
    hid_t dataset, space;
    hsize_t shape[SABLE_MAX_DIMS];
    bool empty = false, complex, wanted = type == SABLE_C64 || type == SABLE_C128;
    if (!open_dataset(input, name, dims, shape, &complex, &dataset, &space, error)) {
        if (complex != wanted)
            sable_fail(error, SABLE_BAD_INPUT, "%s: '%s' holds %s numbers instead of %s ones", input->path, name,
                       complex ? "complex" : "real", wanted ? "complex" : "real");
        for (int d = 0; d < dims && !error->code; d++) {
            empty = empty || count[d] == 0;
            if (offset[d] < 0 || count[d] < 0 || (hsize_t)offset[d] > shape[d] ||
                (hsize_t)count[d] > shape[d] - (hsize_t)offset[d])
                sable_fail(error, SABLE_BAD_INPUT, "%s: '%s' has %llu elements in dimension %d, fewer than %lld",
                           input->path, name, (unsigned long long)shape[d], d, (long long)(offset[d] + count[d]));
        }
        if (!error->code && !empty)
            read_block(input, name, type, dims, offset, count, dataset, space, data, error);
    }
    close_dataset(dataset, space);
    return error->code;
}

/* ---- Attributes ---- */

/* Opens the object that carries the attribute; *found is false, without an error, where there is none. */
static hid_t open_carrier(struct sable_input *input, const char *object, const char *name, bool *found)
{
    *found = false;
    if (strcmp(object, "/") != 0 && !sable_hdf5_has(input->file, object))
        return H5I_INVALID_HID;
    hid_t carrier = H5Oopen(input->file, object, H5P_DEFAULT);
    *found = carrier >= 0 && H5Aexists(carrier, name) > 0;
    return carrier;
}

int sable_input_real(struct sable_input *input, const char *object, const char *name, double *value, bool *found,
                     struct sable_error *error)
{
    hid_t carrier = open_carrier(input, object, name, found);
    if (*found && !sable_hdf5_get_real(carrier, name, value))
        sable_fail(error, SABLE_BAD_INPUT, "%s: attribute '%s' of %s is not a number", input->path, name, object);
    if (carrier >= 0)
        H5Oclose(carrier);
    return error->code;
}

int sable_input_text(struct sable_input *input, const char *object, const char *name, char *text, size_t size,
                     bool *found, struct sable_error *error)
{
    hid_t carrier = open_carrier(input, object, name, found);
    if (*found && !sable_hdf5_get_text(carrier, name, text, size))
        sable_fail(error, SABLE_BAD_INPUT, "%s: attribute '%s' of %s is not a text", input->path, name, object);
    if (carrier >= 0)
        H5Oclose(carrier);
    return error->code;
}

/* ---- sable's own data ---- */

int sable_data_path(const char *name, char *path, size_t size, struct sable_error *error)
{
    const char *folders[] = {getenv("SABLE_DATA"), SABLE_SOURCE_DATA, SABLE_INSTALL_DATA};
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
        if (!folders[i] || !*folders[i])
            continue;
        int length = snprintf(path, size, "%s/%s", folders[i], name);
        if (length > 0 && (size_t)length < size && access(path, F_OK) == 0)
            return SABLE_OK;
    }
    return sable_fail(error, SABLE_BAD_INPUT,
                      "sable's data file %s was not found: set SABLE_DATA to the folder that holds it, or make it with "
                      "scripts/data/make-%.*s",
                      name, (int)strcspn(name, "."), name);
}
