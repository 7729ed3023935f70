/* Reading a results file back. The file may come from anywhere: every object is checked before it is believed. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "results_file.h"

enum { MOST_RUNS = 100000 };

static const double most_times = 1e9; /* repetitions × ranks that are read at once */

struct reading {
    hid_t file;
    const char *path; /* of the file */
    const char *above;
    int depth;
    struct sable_results_contents *contents;
    struct sable_error *error;
};

/* ---- One run ---- */

/* The whole of a table of `type` or of reals with the expected dimensions, allocated; NULL if it is something else. */
static void *read_whole(hid_t group, const char *name, hid_t type, int dims, hsize_t *shape)
{
    void *data = NULL;
    hid_t dataset = H5I_INVALID_HID, space = H5I_INVALID_HID;
    if (sable_hdf5_has(group, name))
        dataset = H5Dopen2(group, name, H5P_DEFAULT);
    if (dataset >= 0)
        space = H5Dget_space(dataset);
    if (space >= 0 && H5Sget_simple_extent_ndims(space) == dims &&
        H5Sget_simple_extent_dims(space, shape, NULL) == dims) {
        double elements = 1;
        for (int d = 0; d < dims; d++)
            elements *= (double)shape[d];
        if (elements <= most_times)
            data = malloc((size_t)elements * H5Tget_size(type) + 1);
        if (data && elements > 0 && H5Dread(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) < 0) {
            free(data);
            data = NULL;
        }
    }
    if (space >= 0)
        H5Sclose(space);
    if (dataset >= 0)
        H5Dclose(dataset);
    return data;
}

static bool read_times(hid_t group, struct sable_run *run)
{
    hsize_t shape[2];
    int64_t ranks, threads;
    if (!sable_hdf5_get_integer(group, "ranks", &ranks) || !sable_hdf5_get_integer(group, "threads", &threads))
        return false;
    run->seconds = read_whole(group, "seconds", H5T_NATIVE_DOUBLE, 2, shape);
    if (!run->seconds || ranks < 1 || shape[1] != (hsize_t)ranks || ranks > INT32_MAX || threads < 1 ||
        threads > INT32_MAX)
        return false;
    run->reps = (int64_t)shape[0];
    run->ranks = (int)ranks;
    run->threads = (int)threads;
    hid_t seconds = H5Dopen2(group, "seconds", H5P_DEFAULT);
    int64_t warmups = 0;
    bool good = seconds >= 0 && sable_hdf5_get_text(seconds, "stopped", run->stopped, sizeof run->stopped) &&
                sable_hdf5_get_integer(seconds, "warmups", &warmups);
    run->warmups = (int)warmups;
    if (seconds >= 0)
        H5Dclose(seconds);
    return good;
}

/* The seconds of each phase and, from the attribute, the phases' names. */
static bool read_phases(hid_t group, struct sable_run *run)
{
    hsize_t shape[3], count = 0;
    run->phase_seconds = read_whole(group, "phases", H5T_NATIVE_DOUBLE, 3, shape);
    if (!run->phase_seconds || shape[0] != (hsize_t)run->reps || shape[1] != (hsize_t)run->ranks || shape[2] < 1 ||
        shape[2] > SABLE_MAX_PHASES)
        return false;
    run->phases = (int)shape[2];
    hid_t dataset = H5Dopen2(group, "phases", H5P_DEFAULT);
    hid_t names =
        dataset >= 0 && H5Aexists(dataset, "phases") > 0 ? H5Aopen(dataset, "phases", H5P_DEFAULT) : H5I_INVALID_HID;
    hid_t space = names >= 0 ? H5Aget_space(names) : H5I_INVALID_HID, found = names >= 0 ? H5Aget_type(names) : -1;
    hid_t type = sable_hdf5_string(SABLE_PHASE_NAME_SIZE);
    bool good = space >= 0 && found >= 0 && type >= 0 && H5Tget_class(found) == H5T_STRING &&
                H5Tis_variable_str(found) == 0 && H5Sget_simple_extent_ndims(space) == 1 &&
                H5Sget_simple_extent_dims(space, &count, NULL) == 1 && count == (hsize_t)run->phases &&
                H5Aread(names, type, run->phase_name) >= 0;
    for (int phase = 0; phase < run->phases; phase++) {
        run->phase_name[phase][SABLE_PHASE_NAME_SIZE - 1] = '\0';
        sable_hdf5_plain_text(run->phase_name[phase], false);
    }
    const hid_t open[] = {type, found};
    for (size_t i = 0; i < sizeof open / sizeof *open; i++)
        if (open[i] >= 0)
            H5Tclose(open[i]);
    if (space >= 0)
        H5Sclose(space);
    if (names >= 0)
        H5Aclose(names);
    if (dataset >= 0)
        H5Dclose(dataset);
    return good;
}

static bool read_checks(hid_t group, struct sable_run *run)
{
    hsize_t count;
    hid_t type = sable_results_checks_type();
    run->check = type < 0 ? NULL : read_whole(group, "checks", type, 1, &count);
    if (type >= 0)
        H5Tclose(type);
    run->checks = run->check ? (int)count : 0;
    for (int c = 0; c < run->checks; c++)
        run->check[c].name[sizeof run->check[c].name - 1] = '\0';
    return run->check != NULL;
}

static bool read_verdict(hid_t group, const char *name, enum sable_verdict *verdict)
{
    char text[32];
    if (!sable_hdf5_get_text(group, name, text, sizeof text))
        return false;
    for (int v = SABLE_PASS; v <= SABLE_UNTRUSTED; v++)
        if (strcmp(sable_verdict_name((enum sable_verdict)v), text) == 0) {
            *verdict = (enum sable_verdict)v;
            return true;
        }
    return false;
}

/* `notes` names, a line each, the attributes that hold facts of the run; many runs have none. */
static void read_notes(hid_t group, struct sable_run *run)
{
    char names[sizeof run->note];
    if (!sable_hdf5_get_text(group, "notes", names, sizeof names))
        return;
    for (char *name = names, *end; (end = strchr(name, '\n')) && run->notes < SABLE_MAX_NOTES; name = end + 1) {
        struct sable_note *note = &run->note[run->notes];
        *end = '\0';
        snprintf(note->name, sizeof note->name, "%.*s", (int)sizeof note->name - 1, name);
        run->notes += sable_hdf5_get_text(group, note->name, note->text, sizeof note->text);
    }
}

static bool read_outcome(hid_t group, struct sable_run *run)
{
    char digest[32], *end;
    int64_t invariant, peer = 0;
    const struct {
        const char *name;
        double *value;
    } reals[] = {{"fom", &run->fom},
                 {"fom_ci_low", &run->fom_low},
                 {"fom_ci_high", &run->fom_high},
                 {"ceiling_value", &run->ceiling_value},
                 {"share_of_ceiling", &run->share},
                 {"ratio", &run->ratio},
                 {"ratio_ci_low", &run->ratio_low},
                 {"ratio_ci_high", &run->ratio_high}};
    const struct {
        const char *name;
        char *text;
        size_t size;
    } texts[] = {{"class", run->class_name, sizeof run->class_name}, {"strategy", run->strategy, sizeof run->strategy},
                 {"fom_name", run->fom_name, sizeof run->fom_name},  {"fom_unit", run->fom_unit, sizeof run->fom_unit},
                 {"ceiling", run->ceiling, sizeof run->ceiling},     {"ratio_to", run->ratio_to, sizeof run->ratio_to},
                 {"warnings", run->warnings, sizeof run->warnings},  {"digest", digest, sizeof digest}};
    for (size_t i = 0; i < sizeof reals / sizeof *reals; i++)
        if (!sable_hdf5_get_real(group, reals[i].name, reals[i].value))
            return false;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if (!sable_hdf5_get_text(group, texts[i].name, texts[i].text, texts[i].size))
            return false;
    run->growth = 1;
    sable_hdf5_get_integer(group, "growth", &run->growth);              /* as this */
    sable_hdf5_get_text(group, "input", run->input, sizeof run->input); /* files before 0.1 had none */
    read_notes(group, run);
    run->has_digest = digest[0] != '\0';
    run->digest = strtoull(digest, &end, 16);
    if (*end || !sable_hdf5_get_integer(group, "layout_invariant", &invariant) ||
        !sable_hdf5_get_integer(group, "order", &run->order) || !read_verdict(group, "verified", &run->verified))
        return false;
    run->layout_invariant = invariant != 0;
    run->peer = sable_hdf5_get_integer(group, "peer", &peer) && peer != 0; /* files before 0.1 had none */
    return read_verdict(group, "verdict", &run->verdict);
}

/* "name=value" lines; the type of each is that of the attribute of its name. */
static bool read_settings(hid_t group, struct sable_run *run)
{
    enum { SIZE = 16384 };
    char *lines = malloc(SIZE);
    bool good = lines && sable_hdf5_get_text(group, "parameters", lines, SIZE);
    int count = 0;
    for (const char *c = good ? lines : ""; *c; c++)
        count += *c == '\n';
    if (!good || !(run->setting = calloc((size_t)count + 1, sizeof *run->setting))) {
        free(lines);
        return false;
    }
    for (char *line = lines, *rest = lines; line && *line; line = rest) {
        if ((rest = strchr(line, '\n')))
            *rest++ = '\0';
        char *equals = strchr(line, '=');
        if (!equals)
            continue;
        *equals = '\0';
        struct sable_setting *setting = &run->setting[run->settings++];
        snprintf(setting->text, sizeof setting->text, "%.*s", (int)sizeof setting->text - 1, equals + 1);
        setting->type = sable_hdf5_get_integer(group, line, &setting->integer) ? SABLE_INT
                        : sable_hdf5_get_real(group, line, &setting->real)     ? SABLE_REAL
                                                                               : SABLE_TEXT;
        setting->name = strdup(line);
        if (!setting->name)
            good = false;
    }
    free(lines);
    return good;
}

static void free_run(struct sable_run *run)
{
    for (int s = 0; s < run->settings; s++)
        free((void *)(uintptr_t)run->setting[s].name);
    free(run->setting);
    free(run->seconds);
    free(run->phase_seconds);
    free(run->check);
}

static int add_run(struct reading *r, const char *name)
{
    struct sable_results_contents *contents = r->contents;
    int64_t complete = 0;
    hid_t group = H5Gopen2(r->file, name, H5P_DEFAULT);
    if (group < 0 || !sable_hdf5_get_integer(group, "complete", &complete))
        sable_fail(r->error, SABLE_BAD_INPUT, "%s: %s is not a run", r->path, name);
    else if (complete != 1)
        contents->incomplete++;
    else if (contents->runs == MOST_RUNS)
        sable_fail(r->error, SABLE_BAD_INPUT, "%s holds more than %d runs", r->path, MOST_RUNS);
    else {
        struct sable_run *larger = realloc(contents->run, ((size_t)contents->runs + 1) * sizeof *larger);
        if (!larger) {
            sable_fail(r->error, SABLE_ENVIRONMENT, "out of memory for the runs of %s", r->path);
        } else {
            const char *workload = name + strlen("/runs/"), *variant = strrchr(name, '/') + 1;
            struct sable_run *run = &larger[contents->runs++];
            contents->run = larger;
            *run = (struct sable_run){0};
            snprintf(run->name, sizeof run->name, "%.*s", (int)(variant - 1 - workload), workload);
            snprintf(run->variant, sizeof run->variant, "%.*s", (int)strcspn(variant, "."), variant);
            snprintf(run->group, sizeof run->group, "%s", name);
            sable_hdf5_plain_text(run->name, false);
            sable_hdf5_plain_text(run->variant, false);
            int64_t seed = 0;
            if (!read_times(group, run) || !read_phases(group, run) || !read_checks(group, run) ||
                !read_outcome(group, run) || !read_settings(group, run) ||
                !sable_hdf5_get_integer(group, "seed", &seed))
                sable_fail(r->error, SABLE_BAD_INPUT, "%s: %s lacks an attribute or dataset, or holds a damaged one",
                           r->path, name);
            run->seed = (uint64_t)seed;
        }
    }
    if (group >= 0)
        H5Gclose(group);
    return r->error->code;
}

/* Walks /runs/<family>/<workload>/<run>. */
static herr_t visit(hid_t group, const char *name, const H5L_info_t *link, void *data)
{
    (void)group;
    struct reading *r = data;
    char path[SABLE_GROUP_SIZE];
    if (link->type != H5L_TYPE_HARD || snprintf(path, sizeof path, "%s/%s", r->above, name) >= (int)sizeof path)
        return 0;
    if (r->depth == 2)
        return add_run(r, path) ? -1 : 0;
    hid_t inner = H5Gopen2(r->file, path, H5P_DEFAULT);
    if (inner < 0)
        return 0;
    struct reading deeper = *r;
    deeper.above = path;
    deeper.depth++;
    herr_t result = H5Literate(inner, H5_INDEX_NAME, H5_ITER_INC, NULL, visit, &deeper);
    H5Gclose(inner);
    return result;
}

/* ---- The machine ---- */

static herr_t add_fact(hid_t group, const char *name, const H5A_info_t *info, void *data)
{
    (void)info;
    struct sable_machine *machine = data;
    if (machine->facts == (int)(sizeof machine->fact / sizeof *machine->fact) || strcmp(name, "guard") == 0 ||
        strcmp(name, "notice") == 0)
        return 0;
    struct sable_fact *fact = &machine->fact[machine->facts];
    if (sable_hdf5_get_text(group, name, fact->text, sizeof fact->text)) {
        snprintf(fact->name, sizeof fact->name, "%.*s", (int)sizeof fact->name - 1, name);
        machine->facts++;
    }
    return 0;
}

static void read_ceilings(hid_t group, struct sable_ceilings *ceilings)
{
    hsize_t count = 0;
    hid_t type = sable_results_ceilings_type();
    struct sable_ceiling *list = type < 0 ? NULL : read_whole(group, "ceilings", type, 1, &count);
    for (hsize_t i = 0; list && i < count && ceilings->count < SABLE_MAX_CEILINGS; i++) {
        list[i].name[sizeof list[i].name - 1] = list[i].unit[sizeof list[i].unit - 1] = '\0';
        ceilings->list[ceilings->count++] = list[i];
    }
    free(list);
    if (type >= 0)
        H5Tclose(type);
}

static void read_machine(hid_t file, struct sable_results_contents *contents)
{
    hid_t group = sable_hdf5_has(file, "/machine") ? H5Gopen2(file, "/machine", H5P_DEFAULT) : H5I_INVALID_HID;
    if (group < 0)
        return;
    hsize_t from = 0;
    H5Aiterate2(group, H5_INDEX_CRT_ORDER, H5_ITER_INC, &from, add_fact, &contents->machine);
    sable_hdf5_get_text(group, "guard", contents->machine.guard, sizeof contents->machine.guard);
    sable_hdf5_get_text(group, "notice", contents->machine.notice, sizeof contents->machine.notice);
    read_ceilings(group, &contents->ceilings);
    H5Gclose(group);
}

/* ---- The file ---- */

static int by_order(const void *a, const void *b)
{
    const struct sable_run *x = a, *y = b;
    return (x->order > y->order) - (x->order < y->order);
}

static int read_file(hid_t file, const char *path, struct sable_results_contents *contents, struct sable_error *error)
{
    char format[32] = "";
    int64_t version = 0, complete = 0;
    if (!sable_hdf5_get_text(file, "format", format, sizeof format) || strcmp(format, "sable-results") != 0)
        return sable_fail(error, SABLE_BAD_INPUT, "%s is an HDF5 file, but not a results file of sable", path);
    if (!sable_hdf5_get_integer(file, "format_version", &version) || version != 1)
        return sable_fail(error, SABLE_BAD_INPUT, "%s has format_version %lld: this sable reads version 1", path,
                          (long long)version);
    if (!sable_hdf5_get_text(file, "sable_version", contents->sable_version, sizeof contents->sable_version) ||
        !sable_hdf5_get_text(file, "git_revision", contents->git_revision, sizeof contents->git_revision) ||
        !sable_hdf5_get_text(file, "created", contents->created, sizeof contents->created) ||
        !sable_hdf5_get_text(file, "command_line", contents->command_line, sizeof contents->command_line) ||
        !sable_hdf5_get_integer(file, "complete", &complete) || !sable_hdf5_has(file, "/runs"))
        return sable_fail(error, SABLE_BAD_INPUT, "%s lacks attributes or the group /runs of a results file", path);
    contents->complete = complete == 1;
    read_machine(file, contents);
    hid_t runs = H5Gopen2(file, "/runs", H5P_DEFAULT);
    struct reading reading = {file, path, "/runs", 0, contents, error};
    if (runs < 0 || H5Literate(runs, H5_INDEX_NAME, H5_ITER_INC, NULL, visit, &reading) < 0)
        sable_hdf5_fail(error, SABLE_BAD_INPUT, "%s: the runs can't be read", path);
    if (runs >= 0)
        H5Gclose(runs);
    if (contents->runs > 0)
        qsort(contents->run, (size_t)contents->runs, sizeof *contents->run, by_order);
    return error->code;
}

int sable_results_read(const char *path, struct sable_results_contents *contents, struct sable_error *error)
{
    *contents = (struct sable_results_contents){0};
    sable_hdf5_begin();
    if (sable_hdf5_check_file(path, error))
        return error->code;
    hid_t file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
    if (file < 0)
        return sable_hdf5_fail(error, SABLE_BAD_INPUT, "%s is truncated or corrupt", path);
    read_file(file, path, contents, error);
    H5Fclose(file);
    return error->code;
}

void sable_results_contents_free(struct sable_results_contents *contents)
{
    for (int r = 0; r < contents->runs; r++)
        free_run(&contents->run[r]);
    free(contents->run);
    contents->run = NULL;
    contents->runs = 0;
}
