/* `sable show`. */
#include <stdlib.h>
#include <string.h>

#include "json.h"
#include "report.h"

static void show_text(const char *path, const struct sable_results_contents *c)
{
    static const char *const shown[] = {"host_names",  "cpu_model", "cores", "memory", "kernel",
                                        "mpi_library", "compiler",  "flags", "simd",   NULL};
    printf("%s: sable %s (%s), %s\n  %s\n", path, c->sable_version, c->git_revision, c->created, c->command_line);
    for (int s = 0; shown[s]; s++)
        for (int f = 0; f < c->machine.facts; f++)
            if (strcmp(c->machine.fact[f].name, shown[s]) == 0)
                printf("  %-12s %s\n", shown[s], c->machine.fact[f].text);
    if (c->machine.guard[0])
        printf("  not trusted: %s\n", c->machine.guard);
    if (!c->complete)
        printf("  THE RUN DID NOT END: this file holds what had finished (`sable run ... --resume %s` continues)\n",
               path);
    if (c->incomplete > 0)
        printf("  %d run%s had been begun and not finished\n", c->incomplete, c->incomplete > 1 ? "s" : "");
    putchar('\n');
    if (c->ceilings.count > 0) {
        sable_report_ceilings(stdout, &c->ceilings);
        putchar('\n');
    }
    if (c->runs > 0) {
        sable_report_table(stdout, c->run, c->runs);
        putchar('\n');
        sable_report_phases(stdout, c->run, c->runs);
    } else {
        printf("no runs\n");
    }
}

static int show_json(const char *path, const struct sable_results_contents *c, struct sable_error *error)
{
    json_t *machine = json_object();
    for (int f = 0; f < c->machine.facts; f++)
        json_object_set_new(machine, c->machine.fact[f].name, json_string(c->machine.fact[f].text));
    json_t *root = json_pack("{ss ss ss ss ss sb si so so so}", "file", path, "sable_version", c->sable_version,
                             "git_revision", c->git_revision, "created", c->created, "command_line", c->command_line,
                             "complete", c->complete, "incomplete_runs", c->incomplete, "machine", machine, "ceilings",
                             sable_report_ceilings_json(&c->ceilings), "runs", sable_report_json(c->run, c->runs));
    return sable_json_write(stdout, root, path, error);
}

int sable_show(const char *path, bool json, struct sable_error *error)
{
    struct sable_results_contents *contents = calloc(1, sizeof *contents);
    if (!contents)
        return sable_fail(error, SABLE_ENVIRONMENT, "out of memory for %s", path);
    if (!sable_results_read(path, contents, error)) {
        if (json)
            show_json(path, contents, error);
        else
            show_text(path, contents);
    }
    sable_results_contents_free(contents);
    free(contents);
    return error->code;
}
