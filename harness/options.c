#include "options.h"

#include <argp.h>
#include <string.h>

#include "option_values.h"

enum key {
    KEY_CLASS = 'c',
    KEY_VARIANT = 'V',
    KEY_SET = 's',
    KEY_INPUT = 'i',
    KEY_OUTPUT = 'o',
    KEY_REPS = 'n',
    KEY_WARMUP = 'w',
    KEY_TIME = 't',
    KEY_KEEP = 'k',
    KEY_HELP = 'h',
    KEY_SEED = 256,
    KEY_CEILINGS,
    KEY_NO_VERIFY,
    KEY_DRY_RUN,
    KEY_JSON,
    KEY_QUIET,
    KEY_NO_PROGRESS,
    KEY_STRICT,
    KEY_SHUFFLE,
    KEY_FORCE,
    KEY_RESUME,
    KEY_RANKS,
    KEY_MEMORY,
    KEY_FAULT,
    KEY_WEAK,
    KEY_THRESHOLD,
    KEY_OUTPUTS
};

static const struct argp_option run_options[] = {
    {NULL, 0, NULL, 0, "What is run:", 1},
    {"class", KEY_CLASS, "T|S|A|B|C|D|E|auto", 0, "Problem size (default S); auto: the largest that fits (--memory)",
     1},
    {"variant", KEY_VARIANT, "NAME[,NAME]|all", 0, "Default sable; several are run interleaved and compared", 1},
    {"set", KEY_SET, "NAME=VALUE", 0, "Any parameter, repeatable; sable run WORKLOAD --help lists them", 1},
    {"input", KEY_INPUT, "FILE", 0, "A real input file instead of a generated one", 1},
    {"seed", KEY_SEED, "N", 0, "Of the random numbers (default 1)", 1},
    {"memory", KEY_MEMORY, "PCT%", 0, "Of the memory available, for --class auto (default 80%)", 1},
    {"ranks", KEY_RANKS, "N[,N]", 0, "Repeat the run on the first N ranks of this launch, for each N", 1},
    {"weak", KEY_WEAK, NULL, 0, "Weak scaling: grow the problem by ranks x threads, as each workload declares", 1},
    {NULL, 0, NULL, 0, "How it is measured:", 2},
    {"reps", KEY_REPS, "N|auto", 0, "Repetitions; auto: until the median is known to 2 % (default)", 2},
    {"warmup", KEY_WARMUP, "N", 0, "Repetitions that are not counted (default 1)", 2},
    {"max-time", KEY_TIME, "SECONDS", 0, "Of one workload (default 60, but at least 10 repetitions)", 2},
    {"ceilings", KEY_CEILINGS, "quick|full|none", 0, "Machine limits measured beforehand (default quick)", 2},
    {"shuffle", KEY_SHUFFLE, NULL, 0, "Run the workloads in an order drawn from the seed", 2},
    {"strict", KEY_STRICT, NULL, 0, "Exit with 3 if a time is untrusted", 2},
    {"no-verify", KEY_NO_VERIFY, NULL, 0, "Do not check the answers", 2},
    {"inject-fault", KEY_FAULT, "NAME", 0, "Spoil the computation: verification must see it", 2},
    {NULL, 0, NULL, 0, "What comes out:", 3},
    {"output", KEY_OUTPUT, "FILE.h5", 0, "Default results/<what>-<class>-<UTC>-<ranks>x<threads>.h5", 3},
    {"force", KEY_FORCE, NULL, 0, "Replace an existing results file", 3},
    {"resume", KEY_RESUME, "FILE", 0, "Keep what FILE (or FILE.partial) holds complete and run the rest", 3},
    {"keep", KEY_KEEP, "none|summary|full", 0, "Which outputs are stored (default summary)", 3},
    {"dry-run", KEY_DRY_RUN, NULL, 0, "Say what would run and how much memory it needs", 3},
    {"json", KEY_JSON, NULL, 0, "JSON on standard output instead of the table", 3},
    {"quiet", KEY_QUIET, NULL, 0, "Only the FOM lines on standard output", 3},
    {"no-progress", KEY_NO_PROGRESS, NULL, 0, "No progress line on a terminal", 3},
    {"help", KEY_HELP, NULL, 0, "This text; after a WORKLOAD, its parameters", 4},
    {0},
};

static const struct argp_option ceilings_options[] = {
    {"output", KEY_OUTPUT, "FILE.h5", 0, "Store them in a results file", 1},
    {"force", KEY_FORCE, NULL, 0, "Replace an existing results file", 1},
    {"json", KEY_JSON, NULL, 0, "JSON on standard output instead of the table", 1},
    {"help", KEY_HELP, NULL, 0, "This text", 2},
    {0},
};

static const struct argp_option rerun_options[] = {
    {"input", KEY_INPUT, "FILE", 0, "The input file, if it is no longer where the stored runs had it", 1},
    {"json", KEY_JSON, NULL, 0, "JSON on standard output instead of lines", 1},
    {"no-progress", KEY_NO_PROGRESS, NULL, 0, "No progress line on a terminal", 1},
    {"help", KEY_HELP, NULL, 0, "This text", 2},
    {0},
};

static const struct argp_option compare_options[] = {
    {"threshold", KEY_THRESHOLD, "PCT", 0, "Change of the time that counts, in percent (default 5)", 1},
    {"outputs", KEY_OUTPUTS, "exact|tolerance|ignore", 0,
     "The same bits (default), within the workload's tolerance, or not looked at", 1},
    {"json", KEY_JSON, NULL, 0, "JSON on standard output instead of lines", 1},
    {"help", KEY_HELP, NULL, 0, "This text", 2},
    {0},
};

/* What the parser sees besides the options: where an unknown option is to be looked for. */
struct parse {
    struct sable_options *options;
    struct sable_error *error;
    int next; /* index of the first argument not yet parsed */
};

/* An option with a value; returns whether `key` is one. */
static bool parse_value(int key, char *text, struct sable_options *o, struct sable_error *error)
{
    static const char *const keeps[] = {"none", "summary", "full", NULL};
    static const char *const efforts[] = {"none", "quick", "full", NULL};
    static const char *const outputs[] = {"exact", "tolerance", "ignore", NULL};
    int choice = 0;
    switch (key) {
    case KEY_CLASS:
        return sable_option_name("class", text, &o->class_name, error), true;
    case KEY_VARIANT:
        return sable_option_variants(o, text, error), true;
    case KEY_SET:
        return sable_option_add("settings", o->setting, &o->settings, SABLE_MAX_SETTINGS, text, error), true;
    case KEY_INPUT:
        return sable_option_name("input", text, &o->input, error), true;
    case KEY_OUTPUT:
        return sable_option_name("output", text, &o->output, error), true;
    case KEY_RESUME:
        return sable_option_name("resume", text, &o->resume, error), true;
    case KEY_FAULT:
        return sable_option_name("inject-fault", text, &o->fault, error), true;
    case KEY_SEED:
        return sable_option_seed(o, text, error), true;
    case KEY_REPS:
        return sable_option_reps(o, text, error), true;
    case KEY_WARMUP:
        return sable_option_integer("warmup", text, 0, SABLE_MAX_REPS, &o->effort.warmups, error), true;
    case KEY_TIME:
        return sable_option_time(o, text, error), true;
    case KEY_MEMORY:
        return sable_option_memory(o, text, error), true;
    case KEY_RANKS:
        return sable_option_ranks(o, text, error), true;
    case KEY_KEEP:
        if (!sable_option_choice("keep", text, keeps, &choice, error))
            o->keep = (enum sable_keep)choice;
        return true;
    case KEY_THRESHOLD:
        return sable_option_threshold(o, text, error), true;
    case KEY_OUTPUTS:
        if (!sable_option_choice("outputs", text, outputs, &choice, error))
            o->outputs = (enum sable_outputs)choice;
        return true;
    case KEY_CEILINGS:
        if (!sable_option_choice("ceilings", text, efforts, &choice, error))
            o->ceilings = (enum sable_ceilings_effort)choice;
        return true;
    default:
        return false;
    }
}

static bool *flag_of(int key, struct sable_options *o)
{
    switch (key) {
    case KEY_DRY_RUN:
        return &o->dry_run;
    case KEY_JSON:
        return &o->json;
    case KEY_QUIET:
        return &o->quiet;
    case KEY_STRICT:
        return &o->strict;
    case KEY_SHUFFLE:
        return &o->shuffle;
    case KEY_FORCE:
        return &o->force;
    case KEY_WEAK:
        return &o->weak;
    case KEY_HELP:
        return &o->help;
    default:
        return NULL;
    }
}

static error_t parse_option(int key, char *text, struct argp_state *state)
{
    struct parse *parse = state->input;
    struct sable_options *o = parse->options;
    if (key < ARGP_KEY_END) /* an option or a word, not one of argp's own events */
        parse->next = state->next;
    bool *flag = flag_of(key, o);
    if (flag)
        *flag = true;
    else if (key == KEY_NO_VERIFY)
        o->verify = false;
    else if (key == KEY_NO_PROGRESS)
        o->progress = false;
    else if (key == ARGP_KEY_ARG)
        sable_option_add("workloads", o->what, &o->whats, SABLE_MAX_WHAT, text, parse->error);
    else if (!parse_value(key, text, o, parse->error))
        return ARGP_ERR_UNKNOWN;
    return parse->error->code ? EINVAL : 0;
}

static const struct argp run_argp = {run_options,
                                     parse_option,
                                     "WHAT...",
                                     "Measures workloads and checks their answers.\vWHAT is a family, family/workload, "
                                     "or all; `sable list` names them. Exit status: 0 good, 1 a wrong answer, 2 a bad "
                                     "command line or input, 3 the environment failed, 5 a bug.",
                                     NULL,
                                     NULL,
                                     NULL};
static const struct argp ceilings_argp = {ceilings_options,
                                          parse_option,
                                          "",
                                          "Measures this machine's limits on the ranks and threads of the launch.",
                                          NULL,
                                          NULL,
                                          NULL};

static const struct argp rerun_argp = {
    rerun_options,
    parse_option,
    "FILE.h5 [WHAT...]",
    "Repeats the runs of a results file, once each, verifies them, and compares their "
    "digests with the stored ones.\vWHAT is a family or family/workload; without it all "
    "are repeated. Runs whose bits depend on the layout need the same ranks and threads. "
    "Exit status 1: an answer is wrong or not the stored one.",
    NULL,
    NULL,
    NULL};

static const struct argp compare_argp = {
    compare_options,
    parse_option,
    "BASE.h5 NEW.h5 [BASE.h5 NEW.h5 ...]",
    "Compares two results files, workload by workload and variant by variant: times, outputs, ceilings and where they "
    "ran.\vLaunches of one program differ by more than the repetitions within one tell: where the machine is not quiet "
    "give "
    "several pairs, launched in turn; from six on the interval is that of the median of their ratios. A change is told "
    "only where the whole 95 % interval of the ratio of medians lies beyond the threshold. Exit "
    "status: 0 no regression, 1 other or wrong outputs, 2 the files hold different problems or can't be read, 4 a "
    "regression.",
    NULL,
    NULL,
    NULL};

static const struct argp *argp_of(const char *command)
{
    static const struct {
        const char *command;
        const struct argp *argp;
    } known[] = {{"run", &run_argp}, {"rerun", &rerun_argp}, {"compare", &compare_argp}, {"ceilings", &ceilings_argp}};
    size_t k = 0;
    while (strcmp(known[k].command, command) != 0)
        k++;
    return known[k].argp;
}

void sable_options_help(FILE *stream, const char *command)
{
    char name[64];
    snprintf(name, sizeof name, "sable %s", command);
    argp_help(argp_of(command), stream, ARGP_HELP_LONG | ARGP_HELP_USAGE | ARGP_HELP_DOC, name);
}

int sable_options_parse(int argc, char **argv, struct sable_options *options, struct sable_error *error)
{
    *options = (struct sable_options){.class_name = "S",
                                      .memory = 0.8,
                                      .threshold = 0.05,
                                      .variants = 1,
                                      .variant = {"sable"},
                                      .effort = {.warmups = 1, .max_time = 60, .target = 0.02},
                                      .keep = SABLE_KEEP_SUMMARY,
                                      .seed = SABLE_DEFAULT_SEED,
                                      .ceilings = SABLE_CEILINGS_QUICK,
                                      .verify = true,
                                      .progress = true};
    struct parse parse = {options, error, 1};
    const char *command = argv[0];
    error_t failed = argp_parse(argp_of(command), argc, argv, ARGP_NO_ERRS | ARGP_NO_EXIT | ARGP_NO_HELP, NULL, &parse);
    if (failed && !error->code) { /* argp says only that an option was bad: it is the first one not yet parsed */
        const char *bad = "";
        for (int i = parse.next; i < argc && !*bad; i++)
            bad = argv[i][0] == '-' ? argv[i] : "";
        return sable_fail(error, SABLE_BAD_INPUT,
                          "option '%.80s' is unknown, ambiguous, or lacks its value; see `sable %s --help`", bad,
                          command);
    }
    if (error->code || options->help)
        return error->code;
    if (strcmp(command, "run") == 0 && options->whats == 0)
        return sable_fail(error, SABLE_BAD_INPUT, "run what? A family, family/workload, or all: see `sable list`");
    if (strcmp(command, "rerun") == 0 && options->whats == 0)
        return sable_fail(error, SABLE_BAD_INPUT, "rerun what? A results file: see `sable rerun --help`");
    if (strcmp(command, "compare") == 0 && (options->whats < 2 || options->whats % 2))
        return sable_fail(error, SABLE_BAD_INPUT,
                          "compare which two files? sable compare BASE.h5 NEW.h5, or more pairs");
    if (strcmp(command, "ceilings") == 0 && options->whats > 0)
        return sable_fail(error, SABLE_BAD_INPUT, "sable %s takes no argument '%.80s'", command, options->what[0]);
    return SABLE_OK;
}
