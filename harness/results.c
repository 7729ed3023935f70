/* A results file from its creation to its final name; what lies in its root and in /machine. Runs: results_run.c. */
#include <errno.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <fcntl.h>
#include <unistd.h>

#include "build_info.h"
#include "registry.h"
#include "results_file.h"

static const double spare_room = 128 * 1024; /* for HDF5's own metadata */

/* ---- Disk ---- */

int sable_results_room(struct sable_results *results, double bytes, struct sable_error *error)
{
    struct statvfs disk;
    if (results->lost.code)
        return sable_fail(error, (enum sable_exit)results->lost.code, "%s", results->lost.text);
    if (statvfs(results->partial, &disk) == 0 && (double)disk.f_bavail * (double)disk.f_frsize < bytes + spare_room)
        return sable_fail(error, SABLE_ENVIRONMENT,
                          "no space left for %s: %.3g MB are needed; what had finished is kept in %s", results->path,
                          (bytes + spare_room) * 1e-6, results->partial);
    return SABLE_OK;
}

int sable_results_lose(struct sable_results *results, struct sable_error *error)
{
    if (error->code && !results->lost.code)
        results->lost = *error;
    return error->code;
}

int sable_results_flush(struct sable_results *results, struct sable_error *error)
{
    int *descriptor = NULL;
    if (H5Fflush(results->file, H5F_SCOPE_GLOBAL) < 0)
        sable_hdf5_fail(error, SABLE_ENVIRONMENT, "could not write %s", results->partial);
    else if (H5Fget_vfd_handle(results->file, H5P_DEFAULT, (void **)&descriptor) >= 0 && descriptor &&
             fsync(*descriptor) && errno != EINVAL && errno != ENOTSUP)
        sable_fail(error, SABLE_ENVIRONMENT, "could not write %s: %s", results->partial, strerror(errno));
    return sable_results_lose(results, error);
}

static int sync_folder(const char *path, struct sable_error *error)
{
    char copy[SABLE_PATH_SIZE];
    snprintf(copy, sizeof copy, "%s", path);
    int folder = open(dirname(copy), O_RDONLY | O_DIRECTORY);
    if (folder < 0)
        return SABLE_OK; /* a folder that can be written but not read */
    if (fsync(folder) && errno != EINVAL && errno != ENOTSUP)
        sable_fail(error, SABLE_ENVIRONMENT, "could not write the folder of %s: %s", path, strerror(errno));
    close(folder);
    return error->code;
}

/* ---- Creating ---- */

static int check_folder(const char *path, struct sable_error *error)
{
    char copy[SABLE_PATH_SIZE];
    struct stat status;
    snprintf(copy, sizeof copy, "%s", path);
    const char *folder = dirname(copy);
    if (stat(folder, &status))
        return sable_fail(error, SABLE_ENVIRONMENT, "cannot write %s: folder %s: %s", path, folder, strerror(errno));
    if (!S_ISDIR(status.st_mode))
        return sable_fail(error, SABLE_ENVIRONMENT, "cannot write %s: %s is not a folder", path, folder);
    if (access(folder, W_OK | X_OK))
        return sable_fail(error, SABLE_ENVIRONMENT, "cannot write %s: folder %s: %s", path, folder, strerror(errno));
    if (stat(path, &status) == 0 && S_ISDIR(status.st_mode))
        return sable_fail(error, SABLE_ENVIRONMENT, "cannot write %s: it is a folder", path);
    return SABLE_OK;
}

static int check_taken(const struct sable_results *results, bool force, struct sable_error *error)
{
    if (!force && access(results->path, F_OK) == 0)
        return sable_fail(error, SABLE_BAD_INPUT, "%s exists: choose another --output, or --force to replace it",
                          results->path);
    if (!force && access(results->partial, F_OK) == 0)
        return sable_fail(error, SABLE_BAD_INPUT,
                          "%s was left by a run that did not end, or is being written: --resume continues it, --force "
                          "replaces it",
                          results->partial);
    return SABLE_OK;
}

static herr_t put_created(hid_t file, const char *command_line)
{
    char utc[32];
    time_t now = time(NULL);
    struct tm parts;
    gmtime_r(&now, &parts);
    strftime(utc, sizeof utc, "%Y-%m-%dT%H:%M:%SZ", &parts);
    return sable_hdf5_put_text(file, "format", "sable-results") < 0 ||
                   sable_hdf5_put_integer(file, "format_version", 1) < 0 ||
                   sable_hdf5_put_text(file, "sable_version", SABLE_VERSION) < 0 ||
                   sable_hdf5_put_text(file, "git_revision", SABLE_GIT_REVISION) < 0 ||
                   sable_hdf5_put_text(file, "created", utc) < 0 ||
                   sable_hdf5_put_text(file, "command_line", command_line) < 0 ||
                   sable_hdf5_put_integer(file, "complete", 0) < 0
               ? -1
               : 0;
}

int sable_results_create_file(struct sable_results *results, const char *name, bool replace, const char *command_line,
                              struct sable_error *error)
{
    hid_t access_list = H5Pcreate(H5P_FILE_ACCESS), machine = H5I_INVALID_HID, runs = H5I_INVALID_HID;
    H5Pset_libver_bounds(access_list, H5F_LIBVER_V18, H5F_LIBVER_V110);
    results->file = H5Fcreate(name, replace ? H5F_ACC_TRUNC : H5F_ACC_EXCL, H5P_DEFAULT, access_list);
    H5Pclose(access_list);
    if (results->file < 0)
        return sable_hdf5_fail(error, SABLE_ENVIRONMENT, "could not create %s", name);
    if (put_created(results->file, command_line) < 0 ||
        (machine = H5Gcreate2(results->file, "machine", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT)) < 0 ||
        (runs = H5Gcreate2(results->file, "runs", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT)) < 0)
        sable_hdf5_fail(error, SABLE_ENVIRONMENT, "could not write %s", name);
    if (machine >= 0)
        H5Gclose(machine);
    if (runs >= 0)
        H5Gclose(runs);
    return error->code ? error->code : sable_results_flush(results, error);
}

struct sable_results *sable_results_prepare(const char *path, bool force, struct sable_error *error)
{
    sable_hdf5_begin();
    struct sable_results *results = calloc(1, sizeof *results);
    if (!results) {
        sable_fail(error, SABLE_ENVIRONMENT, "out of memory for %s", path);
        return NULL;
    }
    results->file = results->run = H5I_INVALID_HID;
    snprintf(results->path, sizeof results->path, "%s", path);
    snprintf(results->partial, sizeof results->partial, "%.*s.partial", (int)sizeof results->partial - 9, path);
    if (strlen(path) + sizeof ".partial" > sizeof results->partial)
        sable_fail(error, SABLE_BAD_INPUT, "the results file's name is longer than %zu bytes", sizeof results->path);
    else if (!check_folder(path, error))
        check_taken(results, force, error);
    if (error->code) {
        free(results);
        return NULL;
    }
    return results;
}

int sable_results_create(const char *path, bool force, const char *command_line, struct sable_results **results,
                         struct sable_error *error)
{
    *results = sable_results_prepare(path, force, error);
    if (!*results)
        return error->code;
    if (sable_results_create_file(*results, (*results)->partial, force, command_line, error)) {
        free(*results);
        *results = NULL;
    }
    return error->code;
}

/* ---- The machine ---- */

int sable_results_machine(struct sable_results *results, const struct sable_machine *machine,
                          const struct sable_ceilings *ceilings, struct sable_error *error)
{
    if (sable_results_room(results, (double)machine->bindings * sizeof(struct sable_binding), error))
        return error->code;
    herr_t written = 0;
    hid_t group = H5Gopen2(results->file, "/machine", H5P_DEFAULT);
    for (int f = 0; f < machine->facts && group >= 0 && written >= 0; f++)
        written = sable_hdf5_put_text(group, machine->fact[f].name, machine->fact[f].text);
    if (group < 0 || written < 0 || sable_hdf5_put_text(group, "guard", machine->guard) < 0 ||
        sable_hdf5_put_text(group, "notice", machine->notice) < 0 ||
        sable_results_put_table(group, "binding", sable_results_binding_type(), machine->bindings, machine->binding) <
            0 ||
        sable_results_put_table(group, "ceilings", sable_results_ceilings_type(), ceilings->count, ceilings->list) < 0)
        sable_hdf5_fail(error, SABLE_ENVIRONMENT, "could not write the machine's description into %s",
                        results->partial);
    if (group >= 0)
        H5Gclose(group);
    return error->code ? sable_results_lose(results, error) : sable_results_flush(results, error);
}

/* ---- The end ---- */

/* Reads the closed file again: is it what was meant to be written? */
static int check_written(const struct sable_results *results, struct sable_error *error)
{
    int64_t complete = 0;
    hid_t file = H5Fopen(results->partial, H5F_ACC_RDONLY, H5P_DEFAULT);
    bool good = file >= 0 && sable_hdf5_get_integer(file, "complete", &complete) && complete == 1 &&
                sable_hdf5_has(file, "/runs") && sable_hdf5_has(file, "/machine");
    if (file >= 0)
        good = H5Fclose(file) >= 0 && good;
    return good ? SABLE_OK
                : sable_hdf5_fail(error, SABLE_ENVIRONMENT, "%s can't be read back after writing", results->partial);
}

int sable_results_finish(struct sable_results *results, struct sable_error *error)
{
    if (results->lost.code)
        sable_fail(error, (enum sable_exit)results->lost.code, "%s", results->lost.text);
    else if (sable_hdf5_put_integer(results->file, "complete", 1) < 0)
        sable_hdf5_fail(error, SABLE_ENVIRONMENT, "could not write %s", results->partial);
    else if (!sable_results_flush(results, error) && H5Fclose(results->file) < 0)
        sable_hdf5_fail(error, SABLE_ENVIRONMENT, "could not close %s", results->partial);
    if (!error->code && !check_written(results, error) && rename(results->partial, results->path))
        sable_fail(error, SABLE_ENVIRONMENT, "could not rename %s to %s: %s", results->partial, results->path,
                   strerror(errno));
    if (!error->code)
        sync_folder(results->path, error);
    free(results);
    return error->code;
}

void sable_results_abandon(struct sable_results *results)
{
    struct sable_error ignored = {0};
    sable_results_drop_run(results);
    if (!results->lost.code && !sable_results_flush(results, &ignored))
        H5Fclose(results->file);
    if (results->complete == 0) /* nothing worth keeping */
        unlink(results->partial);
    free(results);
}
