#include "hdf5_util.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { REASON_SIZE = 200, COMPRESS_FROM = 64 * 1024, CHUNK_BYTES = 1024 * 1024 };

void sable_hdf5_begin(void)
{
    setenv("HDF5_USE_FILE_LOCKING", "FALSE", 0);
    H5dont_atexit();
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
}

/* ---- Errors ---- */

/* Walked from the innermost frame: keeps the first reason, or a system's message wherever it comes. */
static herr_t keep_reason(unsigned frame, const H5E_error2_t *entry, void *data)
{
    static const char marker[] = "error message = '";
    char *reason = data;
    const char *system = entry->desc ? strstr(entry->desc, marker) : NULL;
    if (system) {
        system += strlen(marker);
        snprintf(reason, REASON_SIZE, "%.*s", (int)strcspn(system, "'"), system);
        return 1;
    }
    if (frame == 0 && entry->desc)
        snprintf(reason, REASON_SIZE, "%s", entry->desc);
    return 0;
}

int sable_hdf5_fail(struct sable_error *error, enum sable_exit code, const char *format, ...)
{
    char what[600], reason[REASON_SIZE] = "";
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(what, sizeof what, format, arguments);
    va_end(arguments);
    H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, keep_reason, reason);
    return sable_fail(error, code, "%s%s%s", what, *reason ? ": " : "", reason);
}

/* ---- Files ---- */

int sable_hdf5_check_regular(const char *path, struct sable_error *error)
{
    struct stat status;
    if (stat(path, &status))
        return sable_fail(error, SABLE_BAD_INPUT, "cannot read %s: %s", path, strerror(errno));
    if (S_ISDIR(status.st_mode))
        return sable_fail(error, SABLE_BAD_INPUT, "%s is a directory, not an HDF5 file", path);
    if (!S_ISREG(status.st_mode))
        return sable_fail(error, SABLE_BAD_INPUT, "%s is not a regular file", path);
    if (access(path, R_OK))
        return sable_fail(error, SABLE_BAD_INPUT, "cannot read %s: %s", path, strerror(errno));
    if (status.st_size == 0)
        return sable_fail(error, SABLE_BAD_INPUT, "%s is empty", path);
    return SABLE_OK;
}

int sable_hdf5_check_file(const char *path, struct sable_error *error)
{
    if (sable_hdf5_check_regular(path, error))
        return error->code;
    if (H5Fis_hdf5(path) <= 0)
        return sable_fail(error, SABLE_BAD_INPUT, "%s is not an HDF5 file", path);
    return SABLE_OK;
}

/* ---- Types ---- */

/* Lives as long as the process, as the native types do. */
static hid_t complex_type(hid_t part, size_t size)
{
    hid_t type = H5Tcreate(H5T_COMPOUND, 2 * size);
    if (type >= 0 && H5Tinsert(type, "r", 0, part) >= 0 && H5Tinsert(type, "i", size, part) >= 0)
        return type;
    if (type >= 0)
        H5Tclose(type);
    return H5I_INVALID_HID;
}

hid_t sable_hdf5_type(enum sable_number type)
{
    static hid_t complex64 = H5I_INVALID_HID, complex128 = H5I_INVALID_HID;
    switch (type) {
    case SABLE_F64:
        return H5T_NATIVE_DOUBLE;
    case SABLE_F32:
        return H5T_NATIVE_FLOAT;
    case SABLE_I64:
        return H5T_NATIVE_INT64;
    case SABLE_I32:
        return H5T_NATIVE_INT32;
    case SABLE_I16:
        return H5T_NATIVE_INT16;
    case SABLE_I8:
        return H5T_NATIVE_INT8;
    case SABLE_U8:
        return H5T_NATIVE_UINT8;
    case SABLE_C64:
        if (complex64 < 0)
            complex64 = complex_type(H5T_NATIVE_FLOAT, sizeof(float));
        return complex64;
    case SABLE_C128:
        if (complex128 < 0)
            complex128 = complex_type(H5T_NATIVE_DOUBLE, sizeof(double));
        return complex128;
    }
    return H5I_INVALID_HID;
}

/* Of a fixed length, although h5py gives such as bytes: texts of variable length lie in HDF5's global heap, which has
 * no checksum (a flipped bit crashes readers), and H5Ocopy() of HDF5 1.10 crashes on attributes that hold them. */
hid_t sable_hdf5_string(size_t size)
{
    hid_t type = H5Tcopy(H5T_C_S1);
    if (type >= 0 && (H5Tset_size(type, size ? size : 1) < 0 || H5Tset_cset(type, H5T_CSET_UTF8) < 0)) {
        H5Tclose(type);
        return H5I_INVALID_HID;
    }
    return type;
}

/* ---- Attributes ---- */

static herr_t put(hid_t object, const char *name, hid_t type, hid_t space, const void *value)
{
    if (H5Aexists(object, name) > 0 && H5Adelete(object, name) < 0)
        return -1;
    hid_t attribute = H5Acreate2(object, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
    if (attribute < 0)
        return -1;
    herr_t written = H5Awrite(attribute, type, value);
    return H5Aclose(attribute) < 0 ? -1 : written;
}

static herr_t put_scalar(hid_t object, const char *name, hid_t type, const void *value)
{
    hid_t space = H5Screate(H5S_SCALAR);
    herr_t written = space < 0 ? -1 : put(object, name, type, space, value);
    if (space >= 0)
        H5Sclose(space);
    return written;
}

herr_t sable_hdf5_put_text(hid_t object, const char *name, const char *text)
{
    hid_t type = sable_hdf5_string(strlen(text) + 1);
    herr_t written = type < 0 ? -1 : put_scalar(object, name, type, text);
    if (type >= 0)
        H5Tclose(type);
    return written;
}

herr_t sable_hdf5_put_integer(hid_t object, const char *name, int64_t value)
{
    return put_scalar(object, name, H5T_NATIVE_INT64, &value);
}

herr_t sable_hdf5_put_real(hid_t object, const char *name, double value)
{
    return put_scalar(object, name, H5T_NATIVE_DOUBLE, &value);
}

herr_t sable_hdf5_put_reals(hid_t object, const char *name, const double *values, int count)
{
    hsize_t size = (hsize_t)count;
    hid_t space = H5Screate_simple(1, &size, NULL);
    herr_t written = space < 0 ? -1 : put(object, name, H5T_NATIVE_DOUBLE, space, values);
    if (space >= 0)
        H5Sclose(space);
    return written;
}

herr_t sable_hdf5_put_texts(hid_t object, const char *name, const char *const *texts, int count)
{
    size_t size = 1;
    hsize_t shape = (hsize_t)count;
    for (int i = 0; i < count; i++)
        size = strlen(texts[i]) >= size ? strlen(texts[i]) + 1 : size;
    char *packed = calloc((size_t)count + 1, size);
    hid_t type = sable_hdf5_string(size), space = H5Screate_simple(1, &shape, NULL);
    for (int i = 0; i < count && packed; i++)
        memcpy(packed + (size_t)i * size, texts[i], strlen(texts[i]));
    herr_t written = packed && type >= 0 && space >= 0 ? put(object, name, type, space, packed) : -1;
    if (space >= 0)
        H5Sclose(space);
    if (type >= 0)
        H5Tclose(type);
    free(packed);
    return written;
}

/* Opens a scalar attribute of one of two classes; negative if it is none. */
static hid_t open_scalar(hid_t object, const char *name, H5T_class_t class, H5T_class_t other, hid_t *type)
{
    *type = H5I_INVALID_HID;
    if (H5Aexists(object, name) <= 0)
        return H5I_INVALID_HID;
    hid_t attribute = H5Aopen(object, name, H5P_DEFAULT);
    if (attribute < 0)
        return attribute;
    hid_t space = H5Aget_space(attribute);
    *type = H5Aget_type(attribute);
    H5T_class_t found = *type < 0 ? H5T_NO_CLASS : H5Tget_class(*type);
    bool good = space >= 0 && H5Sget_simple_extent_npoints(space) == 1 && (found == class || found == other);
    if (space >= 0)
        H5Sclose(space);
    if (good)
        return attribute;
    if (*type >= 0)
        H5Tclose(*type);
    H5Aclose(attribute);
    return H5I_INVALID_HID;
}

static bool get_number(hid_t object, const char *name, H5T_class_t class, H5T_class_t other, hid_t memory, void *value)
{
    hid_t type, attribute = open_scalar(object, name, class, other, &type);
    if (attribute < 0)
        return false;
    herr_t read = H5Aread(attribute, memory, value);
    H5Tclose(type);
    H5Aclose(attribute);
    return read >= 0;
}

bool sable_hdf5_get_integer(hid_t object, const char *name, int64_t *value)
{
    return get_number(object, name, H5T_INTEGER, H5T_INTEGER, H5T_NATIVE_INT64, value);
}

bool sable_hdf5_get_real(hid_t object, const char *name, double *value)
{
    return get_number(object, name, H5T_FLOAT, H5T_INTEGER, H5T_NATIVE_DOUBLE, value);
}

void sable_hdf5_plain_text(char *text, bool lines)
{
    for (; *text; text++)
        if (((unsigned char)*text < ' ' && !(lines && *text == '\n')) || *text == 0x7f)
            *text = '?';
}

bool sable_hdf5_get_text(hid_t object, const char *name, char *text, size_t size)
{
    hid_t type, attribute = open_scalar(object, name, H5T_STRING, H5T_STRING, &type);
    if (attribute < 0)
        return false;
    bool good = false;
    size_t length = H5Tget_size(type);
    if (H5Tis_variable_str(type) > 0) {
        char *value = NULL;
        hid_t memory = H5Tcopy(type);
        good = memory >= 0 && H5Aread(attribute, memory, &value) >= 0;
        snprintf(text, size, "%s", good && value ? value : "");
        H5free_memory(value);
        if (memory >= 0)
            H5Tclose(memory);
    } else if (length < 1024 * 1024) {
        char *value = calloc(1, length + 1);
        good = value && H5Aread(attribute, type, value) >= 0;
        snprintf(text, size, "%s", good ? value : "");
        free(value);
    }
    if (good)
        sable_hdf5_plain_text(text, true);
    H5Tclose(type);
    H5Aclose(attribute);
    return good;
}

/* ---- Datasets ---- */

/* Chunks of about 1 MiB: whole inner dimensions as far as they fit. */
static herr_t compress(hid_t properties, size_t element, int dims, const hsize_t *shape)
{
    hsize_t chunk[SABLE_MAX_DIMS], room = CHUNK_BYTES / element;
    for (int d = dims - 1; d >= 0; d--) {
        chunk[d] = shape[d] < room ? shape[d] : room;
        room = room / chunk[d] ? room / chunk[d] : 1;
    }
    return H5Pset_chunk(properties, dims, chunk) < 0 || H5Pset_shuffle(properties) < 0 ||
                   H5Pset_deflate(properties, 1) < 0 || H5Pset_fletcher32(properties) < 0
               ? -1
               : 0;
}

hid_t sable_hdf5_dataset(hid_t parent, const char *name, hid_t type, int dims, const hsize_t *shape, const void *data)
{
    hsize_t bytes = H5Tget_size(type);
    for (int d = 0; d < dims; d++)
        bytes *= shape[d];
    hid_t dataset = H5I_INVALID_HID, space = H5Screate_simple(dims, shape, NULL);
    hid_t properties = H5Pcreate(H5P_DATASET_CREATE);
    if (space >= 0 && properties >= 0 &&
        (bytes < COMPRESS_FROM || compress(properties, H5Tget_size(type), dims, shape) >= 0))
        dataset = H5Dcreate2(parent, name, type, space, H5P_DEFAULT, properties, H5P_DEFAULT);
    if (dataset >= 0 && data && bytes > 0 && H5Dwrite(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) < 0) {
        H5Dclose(dataset);
        dataset = H5I_INVALID_HID;
    }
    if (properties >= 0)
        H5Pclose(properties);
    if (space >= 0)
        H5Sclose(space);
    return dataset;
}

enum sable_hdf5_found sable_hdf5_find(hid_t file, const char *name)
{
    char path[512];
    if (strlen(name) >= sizeof path)
        return SABLE_HDF5_ABSENT;
    for (size_t end = 1; end <= strlen(name); end++) {
        if (name[end] != '/' && name[end] != '\0')
            continue;
        snprintf(path, sizeof path, "%.*s", (int)end, name);
        H5L_info_t link;
        if (strcmp(path, "/") == 0)
            continue;
        if (H5Lexists(file, path, H5P_DEFAULT) <= 0)
            return SABLE_HDF5_ABSENT;
        if (H5Lget_info(file, path, &link, H5P_DEFAULT) < 0 || link.type != H5L_TYPE_HARD)
            return SABLE_HDF5_ELSEWHERE;
    }
    return SABLE_HDF5_OWN;
}

bool sable_hdf5_has(hid_t file, const char *name)
{
    return sable_hdf5_find(file, name) == SABLE_HDF5_OWN;
}
