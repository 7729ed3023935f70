#include "run.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "build_info.h"
#include "input.h"
#include "interrupt.h"
#include "json.h"
#include "report.h"
#include "session.h"

/* ---- One workload ---- */

static const char *setting_text(const struct sable_plan_item *item, const char *name)
{
    for (int i = 0; i < item->settings; i++)
        if (strcmp(item->setting[i].name, name) == 0)
            return item->setting[i].text;
    return "";
}

/* What is known of a run before it ran: enough to look it up in a file that is resumed. */
static struct sable_run expected_run(const struct sable_session *s, const struct sable_plan_item *item, int v,
                                     int ranks)
{
    struct sable_run run = {.workload = item->workload,
                            .settings = item->settings,
                            .setting = item->setting,
                            .seed = s->options->seed,
                            .ranks = ranks,
                            .threads = s->threads,
                            .growth = item->growth,
                            .fom = NAN,
                            .ratio = NAN};
    snprintf(run.name, sizeof run.name, "%s", item->workload->name);
    snprintf(run.variant, sizeof run.variant, "%s", item->variant[v]->name);
    snprintf(run.class_name, sizeof run.class_name, "%s", item->class_name);
    snprintf(run.input, sizeof run.input, "%s", s->options->input ? s->options->input : "");
    snprintf(run.strategy, sizeof run.strategy, "%.31s", setting_text(item, "strategy"));
    return run;
}

/* Collective. Variants are measured together or not at all: their ratios need each other. */
static int is_stored(struct sable_session *s, const struct sable_plan_item *item, const struct sable_rank_set *set,
                     int *stored, struct sable_error *error)
{
    *stored = s->results && s->options->resume;
    for (int v = 0; v < item->variants && *stored; v++) {
        struct sable_run run = expected_run(s, item, v, set->ranks);
        *stored = sable_results_has(s->results, &run);
    }
    return sable_check_mpi(MPI_Bcast(stored, 1, MPI_INT, 0, set->comm), "MPI_Bcast", error);
}

static struct sable_run *room_for(struct sable_session *s, int count, struct sable_error *error)
{
    if (s->runs + count > s->capacity) {
        int capacity = 2 * (s->runs + count);
        struct sable_run *larger = realloc(s->run, (size_t)capacity * sizeof *larger);
        if (!larger) {
            sable_fail(error, SABLE_ENVIRONMENT, "out of memory for %d runs", capacity);
            return NULL;
        }
        s->run = larger;
        s->capacity = capacity;
    }
    return s->run + s->runs;
}

static int run_item(struct sable_session *s, const struct sable_plan_item *item, const struct sable_rank_set *set,
                    struct sable_ceilings *ceilings, struct sable_error *error)
{
    const struct sable_options *o = s->options;
    int stored;
    if (is_stored(s, item, set, &stored, error))
        return error->code;
    if (stored) {
        s->kept += item->variants;
        return SABLE_OK;
    }
    struct sable_job job = {.workload = item->workload,
                            .params = item->params,
                            .variants = item->variants,
                            .seed = o->seed,
                            .input = s->input,
                            .fault = item->fault,
                            .verify = o->verify,
                            .keep = o->keep,
                            .effort = o->effort};
    struct sable_run *runs = room_for(s, item->variants, error);
    if (sable_agree(set->comm, error))
        return error->code;
    for (int v = 0; v < item->variants; v++) {
        job.variant[v] = item->variant[v];
        runs[v] = expected_run(s, item, v, set->ranks);
        runs[v].order = s->order++;
    }
    s->progress.name = item->workload->name;
    s->progress.started = sable_now();
    const struct sable_bench bench = {.comm = set->comm,
                                      .threads = s->threads,
                                      .machine = &set->machine,
                                      .effort = o->ceilings,
                                      .ceilings = ceilings,
                                      .results = s->results,
                                      .stored = s->stored,
                                      .progress = &s->progress};
    int failed = sable_measure(&job, &bench, runs, error);
    sable_progress_clear(&s->progress);
    if (failed) {
        for (int v = 0; v < item->variants; v++)
            sable_run_free(&runs[v]);
        return failed;
    }
    s->runs += item->variants;
    for (int v = 0; v < item->variants && s->rank == 0 && !o->json; v++)
        sable_report_fom(stdout, &runs[v]);
    fflush(stdout);
    return SABLE_OK;
}

/* ---- Sets of ranks ---- */

static int make_set(struct sable_session *s, int ranks, struct sable_rank_set *set, struct sable_error *error)
{
    set->ranks = ranks;
    set->comm = MPI_COMM_NULL;
    if (sable_check_mpi(MPI_Comm_split(MPI_COMM_WORLD, s->rank < ranks ? 0 : MPI_UNDEFINED, s->rank, &set->comm),
                        "MPI_Comm_split", error))
        return error->code;
    if (set->comm == MPI_COMM_NULL)
        return SABLE_OK;
    return sable_machine_describe(set->comm, s->threads, &set->machine, error) ||
                   sable_plan_make(s->options, set->comm, s->threads, set->machine.memory_available, &set->plan, error)
               ? error->code
               : SABLE_OK;
}

/* Every mistake that can be seen before anything is computed is seen here. */
static int make_sets(struct sable_session *s, struct sable_error *error)
{
    const struct sable_options *o = s->options;
    s->sets = o->rank_sets ? o->rank_sets : 1;
    if (!(s->set = calloc((size_t)s->sets, sizeof *s->set)))
        sable_fail(error, SABLE_ENVIRONMENT, "out of memory for %d sets of ranks", s->sets);
    for (int i = 0; i < o->rank_sets; i++)
        if (o->rank_set[i] > s->ranks)
            return sable_fail(error, SABLE_BAD_INPUT, "--ranks: %d of a launch of %d", o->rank_set[i], s->ranks);
    if (sable_agree(MPI_COMM_WORLD, error))
        return error->code;
    for (int i = 0; i < s->sets; i++) {
        make_set(s, o->rank_sets ? o->rank_set[i] : s->ranks, &s->set[i], error);
        if (sable_agree(MPI_COMM_WORLD, error))
            return error->code;
        s->progress.workloads += s->set[i].plan.count;
        if (s->set[i].plan.left_out[0] && s->rank == 0 && !o->dry_run)
            fprintf(stderr, "left out: %s\n", s->set[i].plan.left_out);
    }
    return SABLE_OK;
}

static int run_set(struct sable_session *s, const struct sable_rank_set *set, struct sable_ceilings *ceilings,
                   struct sable_error *error)
{
    const struct sable_options *o = s->options;
    if (o->ceilings != SABLE_CEILINGS_NONE &&
        sable_ceilings_measure(set->comm, s->threads, o->ceilings, ceilings, error))
        return error->code;
    for (int i = 0; i < set->plan.count; i++) {
        s->progress.workload++;
        if (run_item(s, &set->plan.item[i], set, ceilings, error))
            return error->code;
    }
    return SABLE_OK;
}

/* Ranks outside of the set sleep until it is done: a spinning wait would disturb the measurement. */
static int wait_for_set(struct sable_error *error)
{
    const struct timespec nap = {0, 2000000};
    MPI_Request request;
    int done = 0;
    if (sable_check_mpi(MPI_Ibarrier(MPI_COMM_WORLD, &request), "MPI_Ibarrier", error))
        return error->code;
    while (!done) {
        if (sable_check_mpi(MPI_Test(&request, &done, MPI_STATUS_IGNORE), "MPI_Test", error))
            return error->code;
        if (!done)
            nanosleep(&nap, NULL);
    }
    return SABLE_OK;
}

static int run_sets(struct sable_session *s, struct sable_error *error)
{
    for (int i = 0; i < s->sets; i++) {
        struct sable_ceilings ceilings = {0};
        if (s->set[i].comm != MPI_COMM_NULL)
            run_set(s, &s->set[i], &ceilings, error);
        wait_for_set(error);
        if (sable_agree(MPI_COMM_WORLD, error) || sable_session_store_machine(s, &ceilings, error))
            return error->code;
    }
    return SABLE_OK;
}

/* ---- The command ---- */

static int dry_run(const struct sable_session *s, struct sable_error *error)
{
    json_t *list = json_array();
    for (int i = 0; i < s->sets && s->rank == 0; i++) {
        const struct sable_rank_set *set = &s->set[i];
        double available = set->machine.memory_available;
        if (s->options->json)
            json_array_append_new(list, sable_plan_json(&set->plan, set->ranks, s->threads, available));
        else
            sable_plan_print(stdout, &set->plan, set->ranks, s->threads, available);
    }
    if (s->rank == 0 && s->options->json)
        sable_json_write(stdout, json_incref(list), "the plan", error);
    json_decref(list);
    return sable_agree(MPI_COMM_WORLD, error);
}

static void report(const struct sable_session *s, struct sable_error *error)
{
    if (s->options->json) {
        json_t *root =
            json_pack("{ss ss si so so}", "sable_version", SABLE_VERSION, "results", s->path, "kept", s->kept,
                      "ceilings", sable_report_ceilings_json(&s->ceilings), "runs", sable_report_json(s->run, s->runs));
        sable_json_write(stdout, root, "the runs", error);
    } else if (!s->options->quiet) {
        fputc('\n', stdout);
        if (s->runs > 0)
            sable_report_table(stdout, s->run, s->runs);
        if (s->kept > 0)
            printf("%d run%s kept from %s\n", s->kept, s->kept > 1 ? "s" : "", s->options->resume);
        printf("results: %s\n", s->path);
    }
    fflush(stdout);
}

/* Collective. The verdicts of rank 0 decide for all. */
static int judge(const struct sable_session *s, struct sable_error *error)
{
    int code = SABLE_OK;
    for (int r = 0; r < s->runs && s->rank == 0; r++) {
        if (s->run[r].verdict == SABLE_FAIL)
            code = SABLE_WRONG;
        else if (s->run[r].verdict == SABLE_UNTRUSTED && s->options->strict && code == SABLE_OK)
            code = SABLE_ENVIRONMENT;
    }
    return sable_check_mpi(MPI_Bcast(&code, 1, MPI_INT, 0, MPI_COMM_WORLD), "MPI_Bcast", error) ? error->code : code;
}

/* Of the one workload that is planned (plan.c refuses --input with several). */
static int open_input(struct sable_session *s, struct sable_error *error)
{
    const struct sable_plan *plan = &s->set[0].plan;
    if (sable_input_open_any(s->options->input, &s->input, error) || plan->count == 0) /* ranks outside of the set */
        return error->code;
    return sable_input_check(s->input, plan->item[0].workload, error);
}

static int measure_all(struct sable_session *s, const char *command_line, struct sable_error *error)
{
    if (s->options->input)
        open_input(s, error);
    const struct sable_ceilings none = {0};
    if (sable_agree(MPI_COMM_WORLD, error) || sable_session_open_results(s, command_line, error) ||
        sable_session_store_machine(s, &none, error) || run_sets(s, error) || sable_session_finish_results(s, error))
        return error->code;
    if (s->rank == 0)
        report(s, error);
    return sable_agree(MPI_COMM_WORLD, error) ? error->code : judge(s, error);
}

int sable_run_command(const struct sable_options *options, int threads, const char *command_line,
                      struct sable_error *error)
{
    struct sable_session *s = sable_session_open(options, threads, error);
    if (!s)
        return error->code;
    int code = SABLE_OK;
    sable_interrupt_watch();
    sable_bind_threads(MPI_COMM_WORLD, threads);
    if (make_sets(s, error) || sable_machine_describe(MPI_COMM_WORLD, threads, &s->machine, error))
        code = error->code;
    else if (options->dry_run)
        code = dry_run(s, error);
    else
        code = measure_all(s, command_line, error);
    sable_session_close(s);
    return code;
}
