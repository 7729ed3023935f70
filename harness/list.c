#include "list.h"

#include <stdlib.h>
#include <string.h>

#include "build_info.h"
#include "json.h"
#include "registry.h"

enum { RANGE_SIZE = 400 };

static const char *type_name(enum sable_type type)
{
    static const char *const names[] = {"integer", "real", "choice", "text", "point"};
    return names[type];
}

/* "1 … 65536", "a | b", "-90 … 90, -180 … 180". */
static void describe_range(const struct sable_param *param, char range[RANGE_SIZE])
{
    range[0] = '\0';
    if (param->type == SABLE_CHOICE)
        for (int i = 0; param->choices[i]; i++) {
            size_t used = strlen(range);
            snprintf(range + used, RANGE_SIZE - used, "%s%s", i ? " | " : "", param->choices[i]);
        }
    else if (param->type == SABLE_POINT)
        snprintf(range, RANGE_SIZE, "%g … %g, %g … %g", param->min, param->max, param->min_y, param->max_y);
    else if (param->type != SABLE_TEXT)
        snprintf(range, RANGE_SIZE, "%.10g … %.10g", param->min, param->max);
}

static void print_params(FILE *stream, const struct sable_workload *workload)
{
    char range[RANGE_SIZE];
    for (const struct sable_param *param = workload->params; param->name; param++) {
        describe_range(param, range);
        fprintf(stream, "    %-14s %s\n", param->name, param->help);
        fprintf(stream, "    %-14s %s%s%s%s%s; default %s\n", "", type_name(param->type), *range ? " " : "", range,
                *param->unit ? " " : "", param->unit, *param->fallback ? param->fallback : "empty");
    }
}

static void print_fields(FILE *stream, const char *title, const struct sable_field *field)
{
    if (!field || !field->name)
        return;
    fprintf(stream, "\n  %s\n", title);
    for (; field->name; field++)
        fprintf(stream, "    %-14s %-14s %s\n", field->name, field->shape, field->help);
}

static void print_help(FILE *stream, const struct sable_workload *workload)
{
    fprintf(stream, "%s: %s\n", workload->name, workload->summary);
    if (*workload->source)
        fprintf(stream, "  source: %s\n", workload->source);
    fprintf(stream, "  figure of merit: %s, %s%s\n", workload->fom.name, workload->fom.unit,
            workload->layout_invariant ? "; the same bits on any ranks × threads" : "");
    fprintf(stream, "\n  parameters (--set NAME=VALUE)\n");
    print_params(stream, workload);
    fprintf(stream, "\n  classes (--class)\n");
    for (const struct sable_class *class = workload->classes; class->name; class ++)
        fprintf(stream, "    %-14s %s\n", class->name, class->settings);
    if (workload->weak) {
        fprintf(stream, "\n  weak scaling (--weak), on p processors\n");
        for (const struct sable_growth *growth = workload->weak; growth->parameter; growth++)
            fprintf(stream, "    %-14s times p^%g\n", growth->parameter, growth->exponent);
    }
    fprintf(stream, "\n  variants (--variant)\n");
    for (const struct sable_variant *variant = workload->variants; variant->name; variant++)
        fprintf(stream, "    %-14s %s%s\n", variant->name, variant->summary, variant->peer ? " (peer)" : "");
    print_fields(stream, "inputs (--input FILE.h5)", workload->inputs);
    print_fields(stream, "outputs (--keep full)", workload->outputs);
    if (workload->faults && workload->faults->name) {
        fprintf(stream, "\n  faults (--inject-fault)\n");
        for (const struct sable_fault *fault = workload->faults; fault->name; fault++)
            fprintf(stream, "    %-14s %s\n", fault->name, fault->help);
    }
}

int sable_list_help(FILE *stream, const char *what, struct sable_error *error)
{
    bool *selected = calloc((size_t)sable_workload_count(), sizeof *selected);
    if (!selected)
        return sable_fail(error, SABLE_ENVIRONMENT, "out of memory");
    if (!sable_select(what, selected, error))
        for (int i = 0, shown = 0; i < sable_workload_count(); i++)
            if (selected[i]) {
                fputs(shown++ ? "\n" : "", stream);
                print_help(stream, sable_workload(i));
            }
    free(selected);
    return error->code;
}

/* ---- sable list ---- */

static size_t family_length(const struct sable_workload *workload)
{
    return strcspn(workload->name, "/");
}

static bool same_family(const struct sable_workload *a, const struct sable_workload *b)
{
    return family_length(a) == family_length(b) && strncmp(a->name, b->name, family_length(a)) == 0;
}

static void print_list(FILE *stream)
{
    for (int i = 0; i < sable_workload_count(); i++) {
        const struct sable_workload *workload = sable_workload(i);
        if (i == 0 || !same_family(workload, sable_workload(i - 1)))
            fprintf(stream, "%s%.*s%s\n", i ? "\n" : "", (int)family_length(workload), workload->name,
                    workload->test_only ? " (tests sable itself; not part of `run all`)" : "");
        fprintf(stream, "  %s: %s\n    variants ", workload->name, workload->summary);
        for (const struct sable_variant *variant = workload->variants; variant->name; variant++)
            fprintf(stream, " %s", variant->name);
        fprintf(stream, "\n    classes  ");
        for (const struct sable_class *class = workload->classes; class->name; class ++)
            fprintf(stream, " %s", class->name);
        fprintf(stream, "\n");
        print_params(stream, workload);
    }
    fprintf(stream, "\n`sable run WORKLOAD --help` tells more.\n");
}

static json_t *json_of_param(const struct sable_param *param)
{
    json_t *json = json_pack("{ss ss ss ss ss}", "name", param->name, "type", type_name(param->type), "unit",
                             param->unit, "default", param->fallback, "help", param->help);
    if (param->type == SABLE_INT || param->type == SABLE_REAL)
        json_object_update_new(json, json_pack("{sf sf}", "min", param->min, "max", param->max));
    else if (param->type == SABLE_POINT)
        json_object_update_new(
            json, json_pack("{s[ff] s[ff]}", "min", param->min, param->min_y, "max", param->max, param->max_y));
    else if (param->type == SABLE_CHOICE) {
        json_t *choices = json_array();
        for (int i = 0; param->choices[i]; i++)
            json_array_append_new(choices, json_string(param->choices[i]));
        json_object_set_new(json, "choices", choices);
    }
    return json;
}

static json_t *json_of_fields(const struct sable_field *field)
{
    json_t *list = json_array();
    for (; field && field->name; field++)
        json_array_append_new(list,
                              json_pack("{ss ss ss}", "name", field->name, "shape", field->shape, "help", field->help));
    return list;
}

/* null where no weak scaling is declared. */
static json_t *json_of_growth(const struct sable_growth *growth)
{
    json_t *list = growth ? json_array() : json_null();
    for (; growth && growth->parameter; growth++)
        json_array_append_new(list, json_pack("{ss sf}", "parameter", growth->parameter, "exponent", growth->exponent));
    return list;
}

static json_t *json_of_workload(const struct sable_workload *workload)
{
    json_t *params = json_array(), *classes = json_object(), *variants = json_object(), *faults = json_object();
    json_t *peers = json_array();
    for (const struct sable_param *param = workload->params; param->name; param++)
        json_array_append_new(params, json_of_param(param));
    for (const struct sable_class *class = workload->classes; class->name; class ++)
        json_object_set_new(classes, class->name, json_string(class->settings));
    for (const struct sable_variant *variant = workload->variants; variant->name; variant++)
        json_object_set_new(variants, variant->name, json_string(variant->summary));
    for (const struct sable_variant *variant = workload->variants; variant->name; variant++)
        if (variant->peer)
            json_array_append_new(peers, json_string(variant->name));
    for (const struct sable_fault *fault = workload->faults; fault && fault->name; fault++)
        json_object_set_new(faults, fault->name, json_string(fault->help));
    return json_pack("{ss ss# ss ss s{ss ss} sb sb so so so so so so so so}", "name", workload->name, "family",
                     workload->name, (int)family_length(workload), "summary", workload->summary, "source",
                     workload->source, "fom", "name", workload->fom.name, "unit", workload->fom.unit,
                     "layout_invariant", workload->layout_invariant, "test_only", workload->test_only, "parameters",
                     params, "classes", classes, "weak", json_of_growth(workload->weak), "variants", variants, "peers",
                     peers, "faults", faults, "inputs", json_of_fields(workload->inputs), "outputs",
                     json_of_fields(workload->outputs));
}

int sable_list(FILE *stream, bool json, struct sable_error *error)
{
    if (!json) {
        print_list(stream);
        return SABLE_OK;
    }
    json_t *workloads = json_array();
    for (int i = 0; i < sable_workload_count(); i++)
        json_array_append_new(workloads, json_of_workload(sable_workload(i)));
    json_t *root = json_pack("{ss so}", "sable_version", SABLE_VERSION, "workloads", workloads);
    return sable_json_write(stream, root, "the list", error);
}
