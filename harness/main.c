/* sable: Sequence, Attention, Bellman & LEarning benchmarks. The command line's first word chooses what happens. */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "build_info.h"
#include "compare.h"
#include "info.h"
#include "launch.h"
#include "list.h"
#include "rerun.h"
#include "run.h"

static const char usage[] =
    "Usage: sable COMMAND [ARGUMENTS]\n"
    "Measures machines on the kernels of reinforcement learning and sequence models, and checks every answer.\n\n"
    "  list [--json]          families, workloads, variants, classes, parameters\n"
    "  info [--json]          build, MPI, topology, binding of every rank and thread\n"
    "  ceilings [-o FILE.h5]  this machine's limits: arithmetic, bandwidth, latency, MPI, HDF5\n"
    "  run WHAT... [OPTIONS]  measure workloads; WHAT is a family, family/workload, or all\n"
    "  show FILE.h5 [--json]  a results file, readable\n"
    "  compare BASE.h5 NEW.h5 faster, same or slower? The same answers? Exit status 4: a regression\n"
    "  rerun FILE.h5 [WHAT]   repeat the runs of a results file: are the answers the same to the bit?\n\n"
    "`sable run --help` lists the options, `sable run WORKLOAD --help` a workload's parameters. Start info, ceilings,\n"
    "run and rerun by mpirun or srun to use several ranks; OMP_NUM_THREADS sets the threads of each.\n"
    "Exit status: 0 good, 1 a wrong answer, 2 a bad command line or input, 3 the environment failed,\n"
    "4 a regression (compare), 5 a bug.\n";

/* The arguments as one line; owned by the caller, NULL if memory is short. */
static char *join_arguments(int argc, char **argv)
{
    size_t size = 1;
    for (int i = 0; i < argc; i++)
        size += strlen(argv[i]) + 1;
    char *line = malloc(size), *end = line;
    for (int i = 0; i < argc && line; i++) {
        size_t length = strlen(argv[i]);
        memcpy(end, argv[i], length);
        end += length;
        *end++ = i + 1 < argc ? ' ' : '\0';
    }
    return line;
}

/* Arguments of a command that has no option but --json: at most `files` names. */
static int parse_simple(int argc, char **argv, int files, const char **file, bool *json, struct sable_error *error)
{
    int found = 0;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--json") == 0)
            *json = true;
        else if (argv[i][0] == '-' || found == files)
            return sable_fail(error, SABLE_BAD_INPUT, "sable %s: unexpected argument '%.80s'; see `sable --help`",
                              argv[0], argv[i]);
        else {
            *file = argv[i];
            found++;
        }
    }
    if (found < files)
        return sable_fail(error, SABLE_BAD_INPUT, "sable %s: which file?", argv[0]);
    return SABLE_OK;
}

static bool asks_for_help(int argc, char **argv)
{
    for (int i = 0; i < argc; i++)
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
            return true;
    return false;
}

/* Commands that use MPI. */
static int with_mpi(int argc, char **argv, const struct sable_options *options, bool json, const char *command_line,
                    struct sable_error *error)
{
    int threads, code;
    if (sable_launch_begin(&argc, &argv, error) || sable_launch_threads(MPI_COMM_WORLD, &threads, error))
        return error->code;
    if (strcmp(argv[0], "info") == 0)
        code = sable_info(MPI_COMM_WORLD, threads, json, error);
    else if (strcmp(argv[0], "ceilings") == 0)
        code = sable_ceilings_command(options, threads, command_line, error);
    else if (strcmp(argv[0], "rerun") == 0)
        code = sable_rerun_command(options, threads, error);
    else
        code = sable_run_command(options, threads, command_line, error);
    return sable_agree(MPI_COMM_WORLD, error) ? error->code : code;
}

/* `speaks`: this process is the one that prints before MPI runs. */
static int dispatch(int argc, char **argv, const char *command_line, bool speaks, struct sable_error *error)
{
    const char *command = argc > 0 ? argv[0] : "";
    const char *file = NULL;
    bool json = false;
    struct sable_options options;
    FILE *out = speaks ? stdout : NULL;

    if (strcmp(command, "--version") == 0) {
        if (out)
            fprintf(out, "sable %s (%s)\n", SABLE_VERSION, SABLE_GIT_REVISION);
        return SABLE_OK;
    }
    bool measures = strcmp(command, "run") == 0 || strcmp(command, "ceilings") == 0 || strcmp(command, "rerun") == 0;
    bool compares = strcmp(command, "compare") == 0;
    bool simple = strcmp(command, "list") == 0 || strcmp(command, "show") == 0 || strcmp(command, "info") == 0;
    if (strcmp(command, "help") == 0 || (!measures && !compares && asks_for_help(argc, argv))) {
        if (out)
            fputs(usage, out);
        return SABLE_OK;
    }
    if (!measures && !simple && !compares)
        return sable_fail(error, SABLE_BAD_INPUT,
                          "%s'%.80s'; commands are list, info, ceilings, run, show, compare, rerun",
                          *command ? "unknown command " : "no command ", command);
    if (simple && parse_simple(argc, argv, strcmp(command, "show") == 0, &file, &json, error))
        return error->code;
    if (strcmp(command, "list") == 0)
        return out ? sable_list(out, json, error) : SABLE_OK;
    if (strcmp(command, "show") == 0)
        return out ? sable_show(file, json, error) : SABLE_OK;
    if ((measures || compares) && sable_options_parse(argc, argv, &options, error))
        return error->code;
    if ((measures || compares) && options.help) {
        bool workloads = strcmp(command, "run") == 0 && options.whats > 0;
        if (out && !workloads)
            sable_options_help(out, command);
        for (int i = 0; out && workloads && i < options.whats; i++)
            sable_list_help(out, options.what[i], error);
        return error->code;
    }
    if (compares)
        return out ? sable_compare(out, &options, error) : SABLE_OK;
    return with_mpi(argc, argv, &options, json, command_line, error);
}

int main(int argc, char **argv)
{
    struct sable_error error = {0};
    char *command_line = join_arguments(argc, argv);
    bool speaks = sable_launch_speaks();
    int code = dispatch(argc - 1, argv + 1, command_line ? command_line : "sable", speaks, &error);
    if (error.code && speaks)
        fprintf(stderr, "sable: %s\n", error.text);
    if (error.code && !speaks)
        sable_launch_let_speak();
    if (fflush(stdout) || ferror(stdout)) {
        if (speaks)
            fprintf(stderr, "sable: standard output could not be written\n");
        code = code ? code : SABLE_ENVIRONMENT;
    }
    sable_launch_end();
    free(command_line);
    return code;
}
