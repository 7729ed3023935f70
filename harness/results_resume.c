/* A new results file that starts with the complete runs of another one. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "results_file.h"

struct copying {
    struct sable_results *results;
    hid_t source;
    const char *family; /* "", "family" or "family/workload": the groups above the one visited */
    int depth;
    struct sable_error *error;
};

static int copy_run(struct copying *c, const char *name)
{
    int64_t complete = 0;
    hid_t run = H5Gopen2(c->source, name, H5P_DEFAULT);
    bool whole = run >= 0 && sable_hdf5_get_integer(run, "complete", &complete) && complete == 1;
    if (run >= 0)
        H5Gclose(run);
    if (!whole)
        return SABLE_OK;
    hid_t links = H5Pcreate(H5P_LINK_CREATE);
    herr_t copied = H5Pset_create_intermediate_group(links, 1) < 0
                        ? -1
                        : H5Ocopy(c->source, name, c->results->file, name, H5P_DEFAULT, links);
    H5Pclose(links);
    if (copied < 0)
        return sable_hdf5_fail(c->error, SABLE_ENVIRONMENT, "could not copy %s into %s", name, c->results->partial);
    c->results->complete++;
    return SABLE_OK;
}

/* Walks /runs/<family>/<workload>/<run>: groups three levels deep. */
static herr_t visit_runs(hid_t group, const char *name, const H5L_info_t *link, void *data)
{
    (void)group;
    struct copying *c = data;
    char path[SABLE_GROUP_SIZE];
    if (link->type != H5L_TYPE_HARD || snprintf(path, sizeof path, "%s/%s", c->family, name) >= (int)sizeof path)
        return 0;
    if (c->depth == 2)
        return copy_run(c, path) ? -1 : 0;
    hid_t inner = H5Gopen2(c->source, path, H5P_DEFAULT);
    if (inner < 0)
        return 0;
    struct copying deeper = {c->results, c->source, path, c->depth + 1, c->error};
    herr_t result = H5Literate(inner, H5_INDEX_NAME, H5_ITER_INC, NULL, visit_runs, &deeper);
    H5Gclose(inner);
    return result;
}

static int copy_runs(struct sable_results *results, hid_t source, const char *file, struct sable_error *error)
{
    char format[32];
    if (!sable_hdf5_get_text(source, "format", format, sizeof format) || strcmp(format, "sable-results") != 0 ||
        !sable_hdf5_has(source, "/runs"))
        return sable_fail(error, SABLE_BAD_INPUT, "%s is not a results file of sable", file);
    hid_t runs = H5Gopen2(source, "/runs", H5P_DEFAULT);
    struct copying copying = {results, source, "/runs", 0, error};
    if (runs < 0 || H5Literate(runs, H5_INDEX_NAME, H5_ITER_INC, NULL, visit_runs, &copying) < 0)
        sable_hdf5_fail(error, SABLE_BAD_INPUT, "could not read the runs of %s", file);
    if (runs >= 0)
        H5Gclose(runs);
    if (!error->code && sable_hdf5_put_text(results->file, "resumed_from", file) < 0)
        sable_hdf5_fail(error, SABLE_ENVIRONMENT, "could not write %s", results->partial);
    return error->code ? error->code : sable_results_flush(results, error);
}

int sable_results_resume(const char *file, const char *path, bool force, const char *command_line,
                         struct sable_results **results, struct sable_error *error)
{
    char fresh[SABLE_PATH_SIZE + 8];
    *results = NULL;
    sable_hdf5_begin();
    if (sable_hdf5_check_file(file, error))
        return error->code;
    hid_t source = H5Fopen(file, H5F_ACC_RDONLY, H5P_DEFAULT);
    if (source < 0)
        return sable_hdf5_fail(error, SABLE_BAD_INPUT, "cannot resume %s: truncated or corrupt", file);
    *results = sable_results_prepare(path, force, error);
    if (*results) {
        /* `file` may be the very .partial that is to be written: it is replaced only when all is copied */
        snprintf(fresh, sizeof fresh, "%s.new", (*results)->partial);
        if (sable_results_create_file(*results, fresh, true, command_line, error) ||
            copy_runs(*results, source, file, error) ||
            (rename(fresh, (*results)->partial) &&
             sable_fail(error, SABLE_ENVIRONMENT, "cannot write %s: %s", (*results)->partial, strerror(errno)))) {
            unlink(fresh);
            free(*results);
            *results = NULL;
        }
    }
    H5Fclose(source);
    return error->code;
}
