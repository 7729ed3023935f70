#include "session.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "input.h"
#include "measure.h"

struct sable_session *sable_session_open(const struct sable_options *options, int threads, struct sable_error *error)
{
    struct sable_session *s = calloc(1, sizeof *s);
    if (!s)
        sable_fail(error, SABLE_ENVIRONMENT, "out of memory");
    if (sable_agree(MPI_COMM_WORLD, error)) {
        free(s);
        return NULL;
    }
    s->options = options;
    s->threads = threads;
    MPI_Comm_rank(MPI_COMM_WORLD, &s->rank);
    MPI_Comm_size(MPI_COMM_WORLD, &s->ranks);
    s->progress.on = s->rank == 0 && options->progress && isatty(STDERR_FILENO);
    return s;
}

void sable_session_close(struct sable_session *s)
{
    if (s->results)
        sable_results_abandon(s->results);
    if (s->input)
        sable_input_close(s->input);
    for (int r = 0; r < s->runs; r++)
        sable_run_free(&s->run[r]);
    free(s->run);
    for (int i = 0; i < s->sets && s->set; i++) {
        sable_plan_free(&s->set[i].plan);
        sable_machine_free(&s->set[i].machine);
        if (s->set[i].comm != MPI_COMM_NULL)
            MPI_Comm_free(&s->set[i].comm);
    }
    free(s->set);
    sable_machine_free(&s->machine);
    free(s);
}

/* ---- The results file ---- */

static void default_path(const struct sable_options *options, int ranks, int threads, char *path, size_t size)
{
    char what[200] = "", utc[32];
    for (int i = 0; i < options->whats; i++) {
        size_t used = strlen(what);
        snprintf(what + used, sizeof what - used, "%s%s", i ? "+" : "", options->what[i]);
    }
    for (char *c = what; *c; c++)
        if (*c == '/')
            *c = '_';
    time_t now = time(NULL);
    struct tm parts;
    gmtime_r(&now, &parts);
    strftime(utc, sizeof utc, "%Y%m%dT%H%M%SZ", &parts);
    mkdir("results", 0777); /* a failure shows when the file is created in it */
    for (int k = 1;; k++) { /* several launches in one second get .2, .3 … */
        char suffix[16] = "", partial[1100];
        if (k > 1)
            snprintf(suffix, sizeof suffix, ".%d", k);
        snprintf(path, size, "results/%s-%s-%s-%dx%d%s.h5", what, options->class_name, utc, ranks, threads, suffix);
        snprintf(partial, sizeof partial, "%s.partial", path);
        if (access(path, F_OK) && access(partial, F_OK))
            break;
    }
}

/* JSON holds UTF-8 only, and a name must not break the lines it is told in. */
static bool is_plain(const char *path)
{
    json_t *text = json_string(path);
    bool plain = text != NULL;
    for (; *path; path++)
        plain = plain && (unsigned char)*path >= ' ' && *path != 0x7f;
    json_decref(text);
    return plain;
}

int sable_session_open_results(struct sable_session *s, const char *command_line, struct sable_error *error)
{
    const struct sable_options *o = s->options;
    if (s->rank == 0) {
        const char *path = o->output ? o->output : o->resume;
        if (path)
            snprintf(s->path, sizeof s->path, "%s", path);
        else
            default_path(o, s->ranks, s->threads, s->path, sizeof s->path);
        size_t length = strlen(s->path);
        if (path && strlen(path) >= sizeof s->path - sizeof ".partial")
            sable_fail(error, SABLE_BAD_INPUT, "the output's name is longer than %zu bytes", sizeof s->path);
        else if (!is_plain(s->path))
            sable_fail(error, SABLE_BAD_INPUT, "the output's name must be UTF-8 without control characters");
        else if (o->resume && !o->output && length > 8 && strcmp(s->path + length - 8, ".partial") == 0)
            s->path[length - 8] = '\0'; /* FILE.partial continues as FILE */
        if (!error->code && o->resume)
            sable_results_resume(o->resume, s->path, o->force || !o->output, command_line, &s->results, error);
        else if (!error->code)
            sable_results_create(s->path, o->force, command_line, &s->results, error);
    }
    s->stored = true;
    return sable_agree(MPI_COMM_WORLD, error);
}

/* Those of several rank sets lie in one list. */
static void add_ceilings(struct sable_ceilings *all, const struct sable_ceilings *more)
{
    for (int i = 0; i < more->count && all->count < SABLE_MAX_CEILINGS; i++)
        all->list[all->count++] = more->list[i];
}

int sable_session_store_machine(struct sable_session *s, const struct sable_ceilings *latest, struct sable_error *error)
{
    add_ceilings(&s->ceilings, latest);
    if (s->results)
        sable_results_machine(s->results, &s->machine, &s->ceilings, error);
    return sable_agree(MPI_COMM_WORLD, error);
}

int sable_session_finish_results(struct sable_session *s, struct sable_error *error)
{
    struct sable_results *results = s->results;
    s->results = NULL;
    if (results)
        sable_results_finish(results, error);
    return sable_agree(MPI_COMM_WORLD, error);
}
