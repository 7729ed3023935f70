#include "results.h"

#include <errno.h>
#include <inttypes.h>
#include <libgen.h>
#include <math.h>
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

/* Remembers the first failed write, after which the file is left as the last flush made it. */
static int lose(struct sable_results *results, struct sable_error *error)
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
    return lose(results, error);
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

/* Creates `name` with the root's attributes and the empty groups. */
static int create_file(struct sable_results *results, const char *name, bool replace, const char *command_line,
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

/* An object for `path`, its names checked; NULL with an error. */
static struct sable_results *prepare(const char *path, bool force, struct sable_error *error)
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
    *results = prepare(path, force, error);
    if (!*results)
        return error->code;
    if (create_file(*results, (*results)->partial, force, command_line, error)) {
        free(*results);
        *results = NULL;
    }
    return error->code;
}

/* ---- Resuming ---- */

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
    *results = prepare(path, force, error);
    if (*results) {
        /* `file` may be the very .partial that is to be written: it is replaced only when all is copied */
        snprintf(fresh, sizeof fresh, "%s.new", (*results)->partial);
        if (create_file(*results, fresh, true, command_line, error) || copy_runs(*results, source, file, error) ||
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

/* ---- Is a run stored? ---- */

static void join_settings(const struct sable_run *run, char *text, size_t size)
{
    text[0] = '\0';
    for (int s = 0; s < run->settings; s++) {
        size_t used = strlen(text);
        snprintf(text + used, size - used, "%s%s=%s", s ? "\n" : "", run->setting[s].name, run->setting[s].text);
    }
}

enum { SETTINGS_SIZE = 16384 };

static bool same_run(hid_t group, const struct sable_run *run)
{
    char expected[SETTINGS_SIZE], found[SETTINGS_SIZE], class_name[16];
    int64_t seed, ranks, threads, complete;
    join_settings(run, expected, sizeof expected);
    return sable_hdf5_get_integer(group, "complete", &complete) && complete == 1 &&
           sable_hdf5_get_text(group, "class", class_name, sizeof class_name) &&
           strcmp(class_name, run->class_name) == 0 && sable_hdf5_get_text(group, "parameters", found, sizeof found) &&
           strcmp(found, expected) == 0 && sable_hdf5_get_integer(group, "seed", &seed) &&
           (uint64_t)seed == run->seed && sable_hdf5_get_integer(group, "ranks", &ranks) && ranks == run->ranks &&
           sable_hdf5_get_integer(group, "threads", &threads) && threads == run->threads;
}

/* Name of the k-th run (1, 2, …) of a variant. */
static void name_run(const struct sable_run *run, int k, char name[SABLE_GROUP_SIZE])
{
    char suffix[16] = "";
    if (k > 1)
        snprintf(suffix, sizeof suffix, ".%d", k);
    snprintf(name, SABLE_GROUP_SIZE, "/runs/%s/%s%s", run->name, run->variant, suffix);
}

bool sable_results_has(struct sable_results *results, const struct sable_run *run)
{
    char name[SABLE_GROUP_SIZE];
    for (int k = 1;; k++) {
        name_run(run, k, name);
        if (!sable_hdf5_has(results->file, name))
            return false;
        hid_t group = H5Gopen2(results->file, name, H5P_DEFAULT);
        bool same = group >= 0 && same_run(group, run);
        if (group >= 0)
            H5Gclose(group);
        if (same)
            return true;
    }
}

/* ---- The machine ---- */

static herr_t replace_table(hid_t parent, const char *name, hid_t type, int64_t count, const void *data)
{
    hsize_t shape = (hsize_t)count;
    if (type < 0 || (H5Lexists(parent, name, H5P_DEFAULT) > 0 && H5Ldelete(parent, name, H5P_DEFAULT) < 0))
        return -1;
    hid_t dataset = sable_hdf5_dataset(parent, name, type, 1, &shape, data);
    H5Tclose(type);
    return dataset < 0 ? -1 : H5Dclose(dataset);
}

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
        replace_table(group, "binding", sable_results_binding_type(), machine->bindings, machine->binding) < 0 ||
        replace_table(group, "ceilings", sable_results_ceilings_type(), ceilings->count, ceilings->list) < 0)
        sable_hdf5_fail(error, SABLE_ENVIRONMENT, "could not write the machine's description into %s",
                        results->partial);
    if (group >= 0)
        H5Gclose(group);
    return error->code ? lose(results, error) : sable_results_flush(results, error);
}

/* ---- Runs ---- */

int sable_results_begin(struct sable_results *results, const struct sable_run *run, struct sable_error *error)
{
    double bytes = (double)run->reps * run->ranks * (1 + run->phases) * sizeof(double) +
                   (double)run->ranks * sizeof(struct sable_counters);
    if (sable_results_room(results, bytes, error))
        return error->code;
    for (int k = 1;; k++) {
        name_run(run, k, results->group);
        if (!sable_hdf5_has(results->file, results->group))
            break;
    }
    hid_t links = H5Pcreate(H5P_LINK_CREATE);
    if (links >= 0 && H5Pset_create_intermediate_group(links, 1) >= 0)
        results->run = H5Gcreate2(results->file, results->group, links, H5P_DEFAULT, H5P_DEFAULT);
    if (links >= 0)
        H5Pclose(links);
    hid_t outputs =
        results->run < 0 ? H5I_INVALID_HID : H5Gcreate2(results->run, "outputs", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    if (outputs < 0 || H5Gclose(outputs) < 0 || sable_hdf5_put_integer(results->run, "complete", 0) < 0)
        return sable_hdf5_fail(error, SABLE_ENVIRONMENT, "could not write %s into %s", run->name, results->partial),
               lose(results, error);
    return SABLE_OK;
}

static herr_t put_setting(hid_t group, const struct sable_setting *setting)
{
    switch (setting->type) {
    case SABLE_INT:
        return sable_hdf5_put_integer(group, setting->name, setting->integer);
    case SABLE_REAL:
        return sable_hdf5_put_real(group, setting->name, setting->real);
    case SABLE_POINT:
        return sable_hdf5_put_reals(group, setting->name, (double[]){setting->point.x, setting->point.y}, 2);
    default:
        return sable_hdf5_put_text(group, setting->name, setting->text);
    }
}

static herr_t put_identity(hid_t group, const struct sable_run *run)
{
    char parameters[SETTINGS_SIZE];
    herr_t written = 0;
    for (int s = 0; s < run->settings && written >= 0; s++)
        written = put_setting(group, &run->setting[s]);
    join_settings(run, parameters, sizeof parameters);
    return written < 0 || sable_hdf5_put_text(group, "parameters", parameters) < 0 ||
                   sable_hdf5_put_text(group, "class", run->class_name) < 0 ||
                   sable_hdf5_put_integer(group, "seed", (int64_t)run->seed) < 0 ||
                   sable_hdf5_put_integer(group, "ranks", run->ranks) < 0 ||
                   sable_hdf5_put_integer(group, "threads", run->threads) < 0 ||
                   sable_hdf5_put_integer(group, "growth", run->growth) < 0 ||
                   sable_hdf5_put_text(group, "strategy", run->strategy) < 0 ||
                   sable_hdf5_put_text(group, "input", run->input) < 0 ||
                   sable_hdf5_put_integer(group, "order", run->order) < 0
               ? -1
               : 0;
}

static herr_t put_outcome(hid_t group, const struct sable_run *run)
{
    char digest[20] = "";
    if (run->has_digest)
        snprintf(digest, sizeof digest, "%016" PRIx64, run->digest);
    const struct {
        const char *name;
        double value;
    } reals[] = {{"fom", run->fom},
                 {"fom_ci_low", run->fom_low},
                 {"fom_ci_high", run->fom_high},
                 {"ceiling_value", run->ceiling_value},
                 {"share_of_ceiling", run->share},
                 {"ratio", run->ratio},
                 {"ratio_ci_low", run->ratio_low},
                 {"ratio_ci_high", run->ratio_high}};
    const struct {
        const char *name, *text;
    } texts[] = {{"fom_name", run->fom_name},
                 {"fom_unit", run->fom_unit},
                 {"ceiling", run->ceiling},
                 {"ratio_to", run->ratio_to},
                 {"verified", sable_verdict_name(run->verified)},
                 {"verdict", sable_verdict_name(run->verdict)},
                 {"digest", digest},
                 {"warnings", run->warnings}};
    herr_t written = sable_hdf5_put_integer(group, "layout_invariant", run->layout_invariant);
    if (written >= 0)
        written = sable_hdf5_put_integer(group, "peer", run->peer);
    for (size_t i = 0; i < sizeof reals / sizeof *reals && written >= 0; i++)
        written = sable_hdf5_put_real(group, reals[i].name, reals[i].value);
    for (size_t i = 0; i < sizeof texts / sizeof *texts && written >= 0; i++)
        written = sable_hdf5_put_text(group, texts[i].name, texts[i].text);
    char names[sizeof run->note] = "";
    for (int i = 0; i < run->notes && written >= 0; i++) {
        size_t used = strlen(names);
        snprintf(names + used, sizeof names - used, "%s\n", run->note[i].name);
        written = sable_hdf5_put_text(group, run->note[i].name, run->note[i].text);
    }
    return written >= 0 && run->notes > 0 ? sable_hdf5_put_text(group, "notes", names) : written;
}

static herr_t put_times(hid_t group, const struct sable_run *run)
{
    hsize_t shape[3] = {(hsize_t)run->reps, (hsize_t)run->ranks, (hsize_t)run->phases};
    hid_t seconds = sable_hdf5_dataset(group, "seconds", H5T_NATIVE_DOUBLE, 2, shape, run->seconds);
    hid_t cube = sable_hdf5_dataset(group, "phases", H5T_NATIVE_DOUBLE, 3, shape, run->phase_seconds);
    herr_t written = seconds < 0 || cube < 0 || sable_hdf5_put_text(seconds, "unit", "s") < 0 ||
                             sable_hdf5_put_text(seconds, "dimensions", "repetition, rank") < 0 ||
                             sable_hdf5_put_text(seconds, "clock", "CLOCK_MONOTONIC of each rank") < 0 ||
                             sable_hdf5_put_integer(seconds, "warmups", run->warmups) < 0 ||
                             sable_hdf5_put_text(seconds, "stopped", run->stopped) < 0 ||
                             sable_hdf5_put_text(cube, "unit", "s") < 0 ||
                             sable_hdf5_put_texts(cube, "phases", run->workload->phases, run->phases) < 0 ||
                             sable_hdf5_put_text(cube, "dimensions", "repetition, rank, phase") < 0
                         ? -1
                         : 0;
    if (seconds >= 0)
        H5Dclose(seconds);
    if (cube >= 0)
        H5Dclose(cube);
    return written;
}

/* Takes an unfinished run out of the file. */
static void drop_run(struct sable_results *results)
{
    if (results->run < 0)
        return;
    H5Gclose(results->run);
    results->run = H5I_INVALID_HID;
    if (!results->lost.code)
        H5Ldelete(results->file, results->group, H5P_DEFAULT);
}

int sable_results_end(struct sable_results *results, const struct sable_run *run, struct sable_error *error)
{
    if (results->lost.code)
        return sable_fail(error, (enum sable_exit)results->lost.code, "%s", results->lost.text);
    hid_t group = results->run;
    if (put_identity(group, run) < 0 || put_outcome(group, run) < 0 || put_times(group, run) < 0 ||
        replace_table(group, "counters", sable_results_counters_type(), run->ranks, run->counters) < 0 ||
        replace_table(group, "checks", sable_results_checks_type(), run->checks, run->check) < 0 ||
        sable_hdf5_put_integer(group, "complete", 1) < 0)
        return sable_hdf5_fail(error, SABLE_ENVIRONMENT, "could not write %s into %s", run->name, results->partial),
               lose(results, error);
    H5Gclose(group);
    results->run = H5I_INVALID_HID;
    if (sable_results_flush(results, error))
        return error->code;
    results->complete++;
    return SABLE_OK;
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
    drop_run(results);
    if (!results->lost.code && !sable_results_flush(results, &ignored))
        H5Fclose(results->file);
    if (results->complete == 0) /* nothing worth keeping */
        unlink(results->partial);
    free(results);
}
