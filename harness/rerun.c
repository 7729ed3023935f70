#include "rerun.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "input.h"
#include "json.h"
#include "plan.h"
#include "progress.h"
#include "registry.h"

/* One launch of `sable rerun`. */
struct session {
    const struct sable_options *options;
    int threads, rank, ranks;
    struct sable_machine machine;
    struct sable_results_contents contents;
    struct sable_progress progress;
    json_t *told;
    int chosen, wrong;
};

static bool is_chosen(const struct session *s, const struct sable_run *stored)
{
    const struct sable_options *o = s->options;
    bool chosen = o->whats == 1;
    for (int w = 1; w < o->whats; w++) {
        size_t length = strlen(o->what[w]);
        chosen |= strcmp(o->what[w], "all") == 0 || strcmp(o->what[w], stored->name) == 0 ||
                  (strncmp(o->what[w], stored->name, length) == 0 && stored->name[length] == '/');
    }
    return chosen;
}

static void tell(struct session *s, const struct sable_run *stored, const char *outcome, const char *why)
{
    if (s->rank > 0)
        return;
    if (s->options->json)
        json_array_append_new(s->told, json_pack("{ss ss ss ss}", "workload", stored->name, "variant", stored->variant,
                                                 "outcome", outcome, "why", why));
    else
        printf("%s %s %s%s%s\n", outcome, stored->name, stored->variant, *why ? ": " : "", why);
    fflush(stdout);
}

/* The command line that the stored run amounts to: every parameter by name. `text` owns the settings. */
static int as_options(const struct session *s, const struct sable_run *stored, struct sable_options *o, char **text,
                      struct sable_error *error)
{
    *o = *s->options;
    o->whats = o->variants = 1;
    o->what[0] = stored->name;
    o->variant[0] = stored->variant;
    o->class_name = stored->class_name;
    o->seed = stored->seed;
    o->input = o->input || !*stored->input ? o->input : stored->input;
    o->effort.reps = 1;
    o->effort.warmups = 0;
    const size_t size = SABLE_TEXT_SIZE + 64;
    if (stored->settings > SABLE_MAX_SETTINGS)
        return sable_fail(error, SABLE_BAD_INPUT, "%s: %s has more than %d parameters", s->options->what[0],
                          stored->name, SABLE_MAX_SETTINGS);
    if (!(*text = malloc(SABLE_MAX_SETTINGS * size)))
        return sable_fail(error, SABLE_ENVIRONMENT, "out of memory for the parameters of %s", stored->name);
    for (o->settings = 0; o->settings < stored->settings; o->settings++) {
        char *setting = *text + (size_t)o->settings * size;
        snprintf(setting, size, "%.63s=%s", stored->setting[o->settings].name, stored->setting[o->settings].text);
        o->setting[o->settings] = setting;
    }
    return SABLE_OK;
}

static int measure_once(struct session *s, const struct sable_options *o, struct sable_run *run,
                        struct sable_error *error)
{
    struct sable_plan plan;
    struct sable_input *input = NULL;
    if (o->input)
        sable_input_open_any(o->input, &input, error);
    if (!sable_agree(MPI_COMM_WORLD, error) &&
        !sable_plan_make(o, MPI_COMM_WORLD, s->threads, s->machine.memory_available, &plan, error) &&
        !(input && sable_input_check(input, plan.item[0].workload, error))) {
        struct sable_job job = {.workload = plan.item[0].workload,
                                .params = plan.item[0].params,
                                .variants = 1,
                                .variant = {plan.item[0].variant[0]},
                                .seed = o->seed,
                                .input = input,
                                .verify = true,
                                .keep = SABLE_KEEP_NONE,
                                .effort = o->effort};
        s->progress.name = job.workload->name;
        s->progress.started = sable_now();
        const struct sable_bench bench = {.comm = MPI_COMM_WORLD,
                                          .threads = s->threads,
                                          .machine = &s->machine,
                                          .effort = SABLE_CEILINGS_NONE,
                                          .progress = &s->progress};
        sable_measure(&job, &bench, run, error);
        sable_progress_clear(&s->progress);
        sable_plan_free(&plan);
    }
    if (input)
        sable_input_close(input);
    return error->code;
}

static void compare(struct session *s, const struct sable_run *stored, const struct sable_run *run)
{
    char why[200] = "";
    const char *outcome = "SAME";
    if (run->verified == SABLE_FAIL) {
        outcome = "FAIL";
        snprintf(why, sizeof why, "the answer is wrong");
    } else if (run->has_digest != stored->has_digest || run->digest != stored->digest) {
        outcome = "DIFFERENT";
        snprintf(why, sizeof why, "stored digest %016" PRIx64 " (sable %s), now %016" PRIx64, stored->digest,
                 s->contents.git_revision, run->digest);
    } else
        snprintf(why, sizeof why, "digest %016" PRIx64, run->digest);
    s->wrong += strcmp(outcome, "SAME") != 0;
    tell(s, stored, outcome, why);
}

static int repeat(struct session *s, const struct sable_run *stored, struct sable_error *error)
{
    char *text = NULL;
    struct sable_options o;
    struct sable_run run = {.fom = NAN, .ratio = NAN};
    if (!stored->layout_invariant && (stored->ranks != s->ranks || stored->threads != s->threads)) {
        char why[100];
        snprintf(why, sizeof why, "its bits depend on the layout: start it on %d ranks x %d threads", stored->ranks,
                 stored->threads);
        tell(s, stored, "SKIPPED", why);
        return SABLE_OK;
    }
    as_options(s, stored, &o, &text, error);
    if (!sable_agree(MPI_COMM_WORLD, error) && !measure_once(s, &o, &run, error))
        compare(s, stored, &run);
    sable_run_free(&run);
    free(text);
    return error->code;
}

static int repeat_all(struct session *s, struct sable_error *error)
{
    for (int r = 0; r < s->contents.runs; r++)
        s->progress.workloads += is_chosen(s, &s->contents.run[r]);
    if (s->progress.workloads == 0)
        return sable_fail(error, SABLE_BAD_INPUT, "%s holds no complete run%s%.80s", s->options->what[0],
                          s->options->whats > 1 ? " of " : "", s->options->whats > 1 ? s->options->what[1] : "");
    for (int r = 0; r < s->contents.runs; r++) {
        if (!is_chosen(s, &s->contents.run[r]))
            continue;
        s->progress.workload++;
        if (repeat(s, &s->contents.run[r], error))
            return error->code;
    }
    return SABLE_OK;
}

int sable_rerun_command(const struct sable_options *options, int threads, struct sable_error *error)
{
    int code = SABLE_OK;
    struct session *s = calloc(1, sizeof *s);
    if (!s)
        sable_fail(error, SABLE_ENVIRONMENT, "out of memory");
    else {
        s->options = options;
        s->threads = threads;
        MPI_Comm_rank(MPI_COMM_WORLD, &s->rank);
        MPI_Comm_size(MPI_COMM_WORLD, &s->ranks);
        s->progress.on = s->rank == 0 && options->progress && isatty(STDERR_FILENO);
        s->told = json_array();
        sable_results_read(options->what[0], &s->contents, error);
    }
    if (sable_agree(MPI_COMM_WORLD, error)) {
        code = error->code;
        goto done;
    }
    sable_bind_threads(MPI_COMM_WORLD, threads);
    if (sable_machine_describe(MPI_COMM_WORLD, threads, &s->machine, error) || repeat_all(s, error))
        code = error->code;
    else if (s->wrong > 0) /* rank 0 told; every rank counted the same digests */
        code = SABLE_WRONG;
    if (s->rank == 0 && options->json && sable_json_write(stdout, json_incref(s->told), "the outcomes", error))
        code = error->code;
done:
    if (s) {
        sable_results_contents_free(&s->contents);
        sable_machine_free(&s->machine);
        json_decref(s->told);
    }
    free(s);
    return code;
}
