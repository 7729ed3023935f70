/* The command line of `sable run` and `sable ceilings`, by GNU argp. */
#ifndef SABLE_OPTIONS_H
#define SABLE_OPTIONS_H

#include <stdbool.h>
#include <stdio.h>

#include "ceilings.h"
#include "driver.h"
#include "measure.h"

enum { SABLE_MAX_WHAT = 128, SABLE_MAX_SETTINGS = 64, SABLE_MAX_RANK_SETS = 32, SABLE_DEFAULT_SEED = 1 };

/* `compare`: must outputs be the same bits, within the workload's tolerance, or are they not looked at? */
enum sable_outputs { SABLE_OUTPUTS_EXACT, SABLE_OUTPUTS_TOLERANCE, SABLE_OUTPUTS_IGNORE };

/* All texts point into argv, or into copies that live as long as the process. */
struct sable_options {
    bool help;
    int whats;
    const char *what[SABLE_MAX_WHAT];
    const char *class_name; /* "auto" picks the largest that fits into `memory` */
    double memory;          /* share of the memory available to a rank: 0.8 */
    int variants;
    const char *variant[SABLE_MAX_VARIANTS]; /* "all" stands alone */
    int settings;
    const char *setting[SABLE_MAX_SETTINGS]; /* "name=value" */
    bool weak;                               /* the class is the problem of one processor, grown by ranks × threads */
    const char *input, *output, *resume, *fault;
    struct sable_effort effort;
    enum sable_keep keep;
    uint64_t seed;
    enum sable_ceilings_effort ceilings;
    bool verify, dry_run, json, quiet, progress, strict, shuffle, force;
    double threshold;           /* compare: what counts as a change, 0.05 is 5 % */
    enum sable_outputs outputs; /* compare */
    int rank_sets;
    int rank_set[SABLE_MAX_RANK_SETS]; /* --ranks: the run is repeated on the first n ranks of the launch */
};

/* `argv[0]` is the command: "run", "ceilings", "rerun" (whose file is what[0]) or "compare" (what[0] and what[1]). Any
 * mistake is SABLE_BAD_INPUT with one line. */
int sable_options_parse(int argc, char **argv, struct sable_options *options, struct sable_error *error);

void sable_options_help(FILE *stream, const char *command);

#endif
