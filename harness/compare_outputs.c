/* Outputs of two runs, element by element. The files may come from anywhere: arrays are read in bounded pieces, links
 * are followed only to the file that a large output has beside its results file. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compare.h"
#include "results_file.h"

enum { PIECE_ELEMENTS = 1 << 20 };

/* Deflate packs at most 1032 to 1: an array that claims more was never written. */
static const double most_packed = 1100;

struct side {
    const char *path; /* of the results file */
    hid_t file, outputs;
};

struct opened {
    hid_t own_file, dataset, space, type; /* type: of the elements in memory */
    int dims, parts;                      /* parts: doubles or integers of an element */
    bool integer;
    hsize_t shape[SABLE_MAX_DIMS];
};

static void close_opened(struct opened *o)
{
    if (o->space >= 0)
        H5Sclose(o->space);
    if (o->dataset >= 0)
        H5Dclose(o->dataset);
    if (o->own_file >= 0)
        H5Fclose(o->own_file);
}

/* The file beside the results file that a large output lies in: the link must name a file of that very folder, which
 * begins as the results file does. */
static hid_t open_beside(const struct side *side, const char *name, hid_t *own_file)
{
    char link[1200], path[SABLE_PATH_SIZE + sizeof link];
    const char *target, *object, *slash = strrchr(side->path, '/');
    H5L_info_t info;
    if (H5Lget_info(side->outputs, name, &info, H5P_DEFAULT) < 0 || info.type != H5L_TYPE_EXTERNAL ||
        info.u.val_size > sizeof link || H5Lget_val(side->outputs, name, link, sizeof link, H5P_DEFAULT) < 0 ||
        H5Lunpack_elink_val(link, info.u.val_size, NULL, &target, &object) < 0)
        return H5I_INVALID_HID;
    int folder = slash ? (int)(slash - side->path) + 1 : 0;
    if (strchr(target, '/') || strcmp(object + (object[0] == '/'), name) != 0 ||
        snprintf(path, sizeof path, "%.*s%s", folder, side->path, target) >= (int)sizeof path)
        return H5I_INVALID_HID;
    struct sable_error ignored = {0};
    if (sable_hdf5_check_file(path, &ignored) || (*own_file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT)) < 0 ||
        !sable_hdf5_has(*own_file, name))
        return H5I_INVALID_HID;
    return H5Dopen2(*own_file, name, H5P_DEFAULT);
}

/* Which numbers are they? False for texts and other structures. */
static bool element_type(hid_t dataset, struct opened *o)
{
    hid_t found = H5Dget_type(dataset);
    H5T_class_t class = found < 0 ? H5T_NO_CLASS : H5Tget_class(found);
    bool complex = class == H5T_COMPOUND && H5Tget_nmembers(found) == 2 && H5Tget_member_index(found, "r") >= 0 &&
                   H5Tget_member_index(found, "i") >= 0 && H5Tget_member_class(found, 0) == H5T_FLOAT &&
                   H5Tget_member_class(found, 1) == H5T_FLOAT;
    o->integer = class == H5T_INTEGER;
    o->parts = complex ? 2 : 1;
    o->type = o->integer           ? H5T_NATIVE_INT64
              : class == H5T_FLOAT ? H5T_NATIVE_DOUBLE
              : complex            ? sable_hdf5_type(SABLE_C128)
                                   : H5I_INVALID_HID;
    if (found >= 0)
        H5Tclose(found);
    return o->type >= 0;
}

/* Returns "" or why the output can't be read. */
static const char *open_output(const struct side *side, const char *name, struct opened *o)
{
    *o = (struct opened){H5I_INVALID_HID, H5I_INVALID_HID, H5I_INVALID_HID, H5I_INVALID_HID, 0, 1, false, {0}};
    enum sable_hdf5_found found = side->outputs < 0 ? SABLE_HDF5_ABSENT : sable_hdf5_find(side->outputs, name);
    if (found == SABLE_HDF5_ABSENT)
        return "not stored in both";
    o->dataset =
        found == SABLE_HDF5_OWN ? H5Dopen2(side->outputs, name, H5P_DEFAULT) : open_beside(side, name, &o->own_file);
    if (o->dataset < 0 || (o->space = H5Dget_space(o->dataset)) < 0)
        return "can't be read";
    if (!element_type(o->dataset, o))
        return "not an array of numbers";
    o->dims = H5Sget_simple_extent_ndims(o->space);
    if (o->dims < 1 || o->dims > SABLE_MAX_DIMS || H5Sget_simple_extent_dims(o->space, o->shape, NULL) != o->dims)
        return "damaged";
    double elements = 1;
    for (int d = 0; d < o->dims; d++)
        elements *= (double)o->shape[d];
    return elements > most_packed * (double)H5Dget_storage_size(o->dataset) ? "damaged" : "";
}

static bool read_piece(const struct opened *o, const hsize_t *start, const hsize_t *count, void *data)
{
    hid_t memory = H5Screate_simple(o->dims, count, NULL);
    bool good = memory >= 0 && H5Sselect_hyperslab(o->space, H5S_SELECT_SET, start, NULL, count, NULL) >= 0 &&
                H5Dread(o->dataset, o->type, memory, o->space, H5P_DEFAULT, data) >= 0;
    if (memory >= 0)
        H5Sclose(memory);
    return good;
}

/* |a − b|, 0 for equal numbers and for two NaN, infinite for one NaN or unlike infinities. */
static double distance(double a, double b)
{
    if (a == b || (isnan(a) && isnan(b)))
        return 0;
    double d = fabs(a - b);
    return isnan(d) ? INFINITY : d;
}

static double largest_distance(const struct opened *o, const void *base, const void *updated, size_t elements)
{
    double most = 0;
    for (size_t i = 0; i < elements * (size_t)o->parts; i++) {
        double d = o->integer ? fabs((double)((const int64_t *)updated)[i] - (double)((const int64_t *)base)[i])
                              : distance(((const double *)updated)[i], ((const double *)base)[i]);
        if (o->integer && d == 0 && ((const int64_t *)updated)[i] != ((const int64_t *)base)[i])
            d = 1; /* lost in the conversion */
        most = d > most ? d : most;
    }
    return most;
}

/* Cuts the array into hyperslabs of at most PIECE_ELEMENTS: outer indices one by one, a stretch of one dimension, all
 * of the inner ones. Returns "" or why it can't be read. */
static const char *walk(const struct opened *base, const struct opened *updated, void *a, void *b, double *most)
{
    int dims = base->dims, split = dims - 1;
    hsize_t inner = 1, start[SABLE_MAX_DIMS] = {0}, count[SABLE_MAX_DIMS];
    for (int d = 0; d < dims; d++)
        if (base->shape[d] == 0)
            return "";
    for (; split > 0 && base->shape[split] <= PIECE_ELEMENTS / inner; split--)
        inner *= base->shape[split];
    hsize_t stretch = PIECE_ELEMENTS / inner;
    for (;;) {
        size_t elements = 1;
        for (int d = 0; d < dims; d++) {
            hsize_t rest = base->shape[d] - start[d];
            count[d] = d < split ? 1 : d == split ? (rest < stretch ? rest : stretch) : base->shape[d];
            elements *= (size_t)count[d];
        }
        if (!read_piece(base, start, count, a) || !read_piece(updated, start, count, b))
            return "can't be read";
        double d = largest_distance(base, a, b, elements);
        *most = d > *most ? d : *most;
        int place = split;
        while (place >= 0 && (start[place] += count[place]) >= base->shape[place])
            start[place--] = 0;
        if (place < 0)
            return "";
    }
}

static void compare_output(const struct side *base, const struct side *updated, struct sable_output_pair *pair, void *a,
                           void *b)
{
    struct opened one, two;
    const char *why = open_output(base, pair->name, &one);
    const char *other = open_output(updated, pair->name, &two);
    why = *why ? why : other;
    if (!*why && !sable_hdf5_get_real(one.dataset, "tolerance", &pair->tolerance))
        pair->tolerance = 0;                     /* files before 0.1 had none */
    bool free = !*why && isinf(pair->tolerance); /* no result */
    if (!*why && (one.dims != two.dims || memcmp(one.shape, two.shape, sizeof one.shape) != 0))
        why = "of another shape";
    if (!*why && (one.integer != two.integer || one.parts != two.parts))
        why = "of another type";
    pair->difference = *why ? NAN : 0;
    if (!*why)
        why = walk(&one, &two, a, b, &pair->difference);
    snprintf(pair->why, sizeof pair->why, "%s", why);
    pair->within = free || (!*why && pair->difference <= pair->tolerance);
    close_opened(&one);
    close_opened(&two);
}

/* Names of the outputs of one file are added to the list, each once. */
static herr_t add_name(hid_t group, const char *name, const H5L_info_t *link, void *data)
{
    (void)group, (void)link;
    struct sable_output_pairs *pairs = data;
    for (int p = 0; p < pairs->count; p++)
        if (strcmp(pairs->pair[p].name, name) == 0)
            return 0;
    if (pairs->count < SABLE_MAX_OUTPUTS && strlen(name) < sizeof pairs->pair[0].name)
        snprintf(pairs->pair[pairs->count++].name, sizeof pairs->pair[0].name, "%s", name);
    return 0;
}

static struct side open_side(const char *path, const struct sable_run *run, struct sable_output_pairs *pairs)
{
    struct side side = {path, H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT), H5I_INVALID_HID};
    char name[sizeof run->group + 16];
    snprintf(name, sizeof name, "%s/outputs", run->group);
    if (side.file >= 0 && sable_hdf5_has(side.file, name))
        side.outputs = H5Gopen2(side.file, name, H5P_DEFAULT);
    if (side.outputs >= 0)
        H5Literate(side.outputs, H5_INDEX_NAME, H5_ITER_INC, NULL, add_name, pairs);
    return side;
}

static void close_side(struct side *side)
{
    if (side->outputs >= 0)
        H5Gclose(side->outputs);
    if (side->file >= 0)
        H5Fclose(side->file);
}

int sable_compare_outputs(const char *base_path, const struct sable_run *base, const char *new_path,
                          const struct sable_run *updated, struct sable_output_pairs *pairs, struct sable_error *error)
{
    *pairs = (struct sable_output_pairs){0};
    void *a = malloc((size_t)PIECE_ELEMENTS * 2 * sizeof(double)),
         *b = malloc((size_t)PIECE_ELEMENTS * 2 * sizeof(double));
    struct side one = open_side(base_path, base, pairs), two = open_side(new_path, updated, pairs);
    if (!a || !b)
        sable_fail(error, SABLE_ENVIRONMENT, "out of memory for the outputs of %s", base->name);
    for (int p = 0; p < pairs->count && !error->code; p++) {
        compare_output(&one, &two, &pairs->pair[p], a, b);
        sable_hdf5_plain_text(pairs->pair[p].name, false);
    }
    close_side(&one);
    close_side(&two);
    free(a);
    free(b);
    return error->code;
}
