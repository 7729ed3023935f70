#include "plan.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "input.h"
#include "registry.h"
#include "sable_random.h"

enum { PURPOSE_SHUFFLE = 0x5ab1e };

static const double gib = 1024.0 * 1024.0 * 1024.0;

/* ---- Names ---- */

static int choose_variants(const struct sable_options *options, struct sable_plan_item *item, struct sable_error *error)
{
    const struct sable_workload *workload = item->workload;
    if (options->variants == 1 && strcmp(options->variant[0], "all") == 0) {
        for (int v = 0; workload->variants[v].name && v < SABLE_MAX_VARIANTS; v++)
            item->variant[item->variants++] = &workload->variants[v];
        return SABLE_OK;
    }
    for (int v = 0; v < options->variants; v++) {
        const struct sable_variant *variant = sable_variant_find(workload, options->variant[v]);
        if (!variant) {
            char names[300] = "";
            for (const struct sable_variant *known = workload->variants; known->name; known++) {
                size_t used = strlen(names);
                snprintf(names + used, sizeof names - used, "%s, ", known->name);
            }
            return sable_fail(error, SABLE_BAD_INPUT, "%s has no variant '%.80s': choose from %sor all", workload->name,
                              options->variant[v], names);
        }
        item->variant[item->variants++] = variant;
    }
    return SABLE_OK;
}

static int choose_fault(const char *name, struct sable_plan_item *item)
{
    const struct sable_fault *faults = item->workload->faults;
    for (int f = 0; name && faults && faults[f].name; f++)
        if (strcmp(faults[f].name, name) == 0)
            return f + 1;
    return 0;
}

/* A setting belongs to every selected workload that knows its name; one that none knows is a mistake. */
static int check_names(const struct sable_options *options, const struct sable_plan *plan, struct sable_error *error)
{
    bool fault_known = !options->fault, takes_input = false;
    for (int i = 0; i < plan->count; i++) {
        fault_known |= plan->item[i].fault > 0;
        takes_input |= plan->item[i].workload->inputs != NULL;
    }
    if (!fault_known)
        return sable_fail(error, SABLE_BAD_INPUT, "--inject-fault=%.80s: %s knows no such fault; its --help lists them",
                          options->fault, plan->item[0].workload->name);
    if (options->input && (plan->count > 1 || !takes_input))
        return sable_fail(error, SABLE_BAD_INPUT, "--input needs one workload that reads a file; %s",
                          plan->count > 1 ? "several were named" : "this one does not");
    for (int s = 0; s < options->settings; s++) {
        const char *setting = options->setting[s], *equals = strchr(setting, '=');
        bool known = false;
        if (!equals || equals == setting)
            return sable_fail(error, SABLE_BAD_INPUT, "--set %.80s: must be NAME=VALUE", setting);
        for (int i = 0; i < plan->count; i++)
            known |= sable_params_know(plan->item[i].workload, setting, (size_t)(equals - setting));
        if (!known)
            return sable_fail(error, SABLE_BAD_INPUT,
                              "--set %.80s: no selected workload has that parameter; `sable run %s --help` lists them",
                              setting, plan->item[0].workload->name);
    }
    return SABLE_OK;
}

/* ---- Parameters and memory ---- */

static int fill_params(const struct sable_options *options, const char *class_name, struct sable_layout layout,
                       struct sable_plan_item *item, struct sable_error *error)
{
    const struct sable_workload *workload = item->workload;
    snprintf(item->class_name, sizeof item->class_name, "%s", class_name);
    if (sable_params_default(workload, item->params, error) ||
        sable_params_class(workload, item->params, class_name, error))
        return error->code;
    for (int s = 0; s < options->settings; s++) {
        size_t length = strcspn(options->setting[s], "=");
        if (sable_params_know(workload, options->setting[s], length) &&
            sable_params_set(workload, item->params, options->setting[s], error))
            return error->code;
    }
    item->growth = options->weak ? (int64_t)layout.ranks * layout.threads : 1;
    struct sable_error why = {0};
    if ((options->weak && sable_params_grow(workload, item->params, item->growth, &why)) ||
        (workload->check && workload->check(item->params, layout, &why))) {
        if (!options->weak || why.code != SABLE_BAD_INPUT)
            return sable_fail(error, (enum sable_exit)why.code, "%s", why.text);
        bool named = strncmp(why.text, workload->name, strlen(workload->name)) == 0;
        snprintf(item->left_out, sizeof item->left_out, "%s%s%.200s", named ? "" : workload->name, named ? "" : ": ",
                 why.text);
    }
    return SABLE_OK;
}

/* Writes what --input changes of the parameters into `params`. */
static int adopt_input(const char *path, const struct sable_workload *workload, void *params, struct sable_error *error)
{
    struct sable_input *input = NULL;
    if (!sable_input_open_any(path, &input, error) && !sable_input_check(input, workload, error))
        workload->adopt(params, input, error);
    if (input)
        sable_input_close(input);
    return error->code;
}

/* Collective: the most that a rank needs, and the largest share of what a rank has. */
static int predict_memory(const struct sable_options *options, MPI_Comm comm, struct sable_layout layout,
                          double available, struct sable_plan_item *item, double *share, struct sable_error *error)
{
    const struct sable_workload *workload = item->workload;
    struct sable_work work = {0};
    void *params = malloc(workload->params_size + 1);
    if (!params)
        sable_fail(error, SABLE_ENVIRONMENT, "out of memory for the parameters of %s", workload->name);
    else {
        memcpy(params, item->params, workload->params_size);
        if (!options->input || !workload->adopt || !adopt_input(options->input, workload, params, error))
            workload->work(params, layout, NULL, &work);
    }
    free(params);
    if (sable_agree(comm, error))
        return error->code;
    double need = work.memory * item->variants, own[2] = {need, available > 0 ? need / available : 0}, most[2];
    if (sable_check_mpi(MPI_Allreduce(own, most, 2, MPI_DOUBLE, MPI_MAX, comm), "MPI_Allreduce", error))
        return error->code;
    item->memory = most[0];
    *share = most[1];
    return SABLE_OK;
}

/* --class auto: from the largest down, the first that fits; the smallest if none does. */
static int largest_class(const struct sable_options *options, MPI_Comm comm, struct sable_layout layout,
                         double available, struct sable_plan_item *item, struct sable_error *error)
{
    const struct sable_class *classes = item->workload->classes;
    int last = 0;
    double share = INFINITY;
    while (classes[last + 1].name)
        last++;
    for (; last >= 0 && !(share <= options->memory); last--)
        if (fill_params(options, classes[last].name, layout, item, error) ||
            predict_memory(options, comm, layout, available, item, &share, error))
            return error->code;
    return SABLE_OK;
}

/* Collective: what one rank can't grow, all leave out. */
static int agree_to_leave_out(MPI_Comm comm, struct sable_plan_item *item, struct sable_error *error)
{
    int own = item->left_out[0] != '\0', any;
    if (sable_check_mpi(MPI_Allreduce(&own, &any, 1, MPI_INT, MPI_MAX, comm), "MPI_Allreduce", error))
        return error->code;
    if (any && !own)
        snprintf(item->left_out, sizeof item->left_out, "%s can't grow so on all ranks", item->workload->name);
    return SABLE_OK;
}

static int make_item(const struct sable_options *options, MPI_Comm comm, struct sable_layout layout, double available,
                     struct sable_plan_item *item, struct sable_error *error)
{
    const struct sable_workload *workload = item->workload;
    double share;
    item->settings = sable_param_count(workload);
    item->params = calloc(1, workload->params_size ? workload->params_size : 1);
    item->setting = calloc((size_t)item->settings + 1, sizeof *item->setting);
    if (!item->params || !item->setting)
        sable_fail(error, SABLE_ENVIRONMENT, "out of memory for the parameters of %s", workload->name);
    else if (!choose_variants(options, item, error) && strcmp(options->class_name, "auto") != 0)
        fill_params(options, options->class_name, layout, item, error);
    if (sable_agree(comm, error) || (options->weak && agree_to_leave_out(comm, item, error)) || item->left_out[0] ||
        (strcmp(options->class_name, "auto") == 0 && largest_class(options, comm, layout, available, item, error)) ||
        predict_memory(options, comm, layout, available, item, &share, error))
        return error->code;
    sable_params_settings(workload, item->params, item->setting);
    if (share > 1 && !options->dry_run)
        return sable_fail(error, SABLE_ENVIRONMENT,
                          "%s class %s needs %.3g GiB on a rank, which has %.3g GiB: take a smaller class, fewer "
                          "variants at once, or more hosts",
                          workload->name, item->class_name, item->memory / gib, available / gib);
    return SABLE_OK;
}

/* Fisher–Yates by the seed, the same on every rank. */
static void shuffle(struct sable_plan *plan, uint64_t seed)
{
    for (int i = plan->count - 1; i > 0; i--) {
        int j = (int)(sable_random(seed, PURPOSE_SHUFFLE, (uint64_t)i, 0).word[0] % (uint32_t)(i + 1));
        struct sable_plan_item swapped = plan->item[i];
        plan->item[i] = plan->item[j];
        plan->item[j] = swapped;
    }
}

static int select_items(const struct sable_options *options, struct sable_plan *plan, struct sable_error *error)
{
    size_t most = (size_t)sable_workload_count();
    bool *selected = calloc(most, sizeof *selected);
    plan->item = calloc(most, sizeof *plan->item);
    if (!selected || !plan->item)
        sable_fail(error, SABLE_ENVIRONMENT, "out of memory for the plan");
    for (int w = 0; w < options->whats && !error->code; w++)
        sable_select(options->what[w], selected, error);
    for (int i = 0; i < (int)most && !error->code; i++)
        if (selected[i]) {
            struct sable_plan_item *item = &plan->item[plan->count++];
            item->workload = sable_workload(i);
            item->fault = choose_fault(options->fault, item);
        }
    free(selected);
    return error->code ? error->code : check_names(options, plan, error);
}

/* Takes out what can't grow, the same on every rank; a mistake only if nothing is left. */
static int leave_out(struct sable_plan *plan, struct sable_error *error)
{
    int kept = 0;
    for (int i = 0; i < plan->count; i++) {
        struct sable_plan_item *item = &plan->item[i];
        size_t used = strlen(plan->left_out);
        if (item->left_out[0]) {
            snprintf(plan->left_out + used, sizeof plan->left_out - used, "%s%s", used ? "\n" : "", item->left_out);
            free(item->params);
            free(item->setting);
        } else
            plan->item[kept++] = *item;
    }
    plan->count = kept;
    return kept
               ? SABLE_OK
               : sable_fail(error, SABLE_BAD_INPUT, "--weak: %.*s", (int)strcspn(plan->left_out, "\n"), plan->left_out);
}

int sable_plan_make(const struct sable_options *options, MPI_Comm comm, int threads, double available,
                    struct sable_plan *plan, struct sable_error *error)
{
    struct sable_layout layout = {.threads = threads};
    MPI_Comm_rank(comm, &layout.rank);
    MPI_Comm_size(comm, &layout.ranks);
    *plan = (struct sable_plan){0};
    select_items(options, plan, error);
    if (sable_agree(comm, error))
        return error->code;
    for (int i = 0; i < plan->count; i++) {
        make_item(options, comm, layout, available, &plan->item[i], error);
        if (sable_agree(comm, error))
            return error->code;
    }
    if (leave_out(plan, error)) /* alike on all ranks */
        return error->code;
    if (options->shuffle)
        shuffle(plan, options->seed);
    return SABLE_OK;
}

void sable_plan_free(struct sable_plan *plan)
{
    for (int i = 0; i < plan->count; i++) {
        free(plan->item[i].params);
        free(plan->item[i].setting);
    }
    free(plan->item);
    *plan = (struct sable_plan){0};
}

/* ---- --dry-run ---- */

void sable_plan_print(FILE *stream, const struct sable_plan *plan, int ranks, int threads, double available)
{
    fprintf(stream, "would run on %d rank%s x %d thread%s, %.4g GiB available to each rank:\n", ranks,
            ranks > 1 ? "s" : "", threads, threads > 1 ? "s" : "", available / gib);
    for (int i = 0; i < plan->count; i++) {
        const struct sable_plan_item *item = &plan->item[i];
        fprintf(stream, "%s class %s, %.4g GiB per rank%s\n  variants  ", item->workload->name, item->class_name,
                item->memory / gib, item->memory > available ? ": DOES NOT FIT" : "");
        for (int v = 0; v < item->variants; v++)
            fprintf(stream, " %s", item->variant[v]->name);
        if (item->growth > 1)
            fprintf(stream, "\n  growth     %lld times the class", (long long)item->growth);
        fprintf(stream, "\n  parameters");
        for (int s = 0; s < item->settings; s++)
            fprintf(stream, " %s=%s", item->setting[s].name, item->setting[s].text);
        fprintf(stream, "\n");
    }
    if (plan->left_out[0])
        fprintf(stream, "left out: %s\n", plan->left_out);
}

json_t *sable_plan_json(const struct sable_plan *plan, int ranks, int threads, double available)
{
    json_t *list = json_array();
    for (int i = 0; i < plan->count; i++) {
        const struct sable_plan_item *item = &plan->item[i];
        json_t *variants = json_array(), *parameters = json_object();
        for (int v = 0; v < item->variants; v++)
            json_array_append_new(variants, json_string(item->variant[v]->name));
        for (int s = 0; s < item->settings; s++)
            json_object_set_new(parameters, item->setting[s].name, json_string(item->setting[s].text));
        json_array_append_new(list, json_pack("{ss ss sI sf so so}", "workload", item->workload->name, "class",
                                              item->class_name, "growth", (json_int_t)item->growth, "memory_per_rank",
                                              item->memory, "variants", variants, "parameters", parameters));
    }
    return json_pack("{si si sf so ss}", "ranks", ranks, "threads", threads, "memory_available", available, "would_run",
                     list, "left_out", plan->left_out);
}
