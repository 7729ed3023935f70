/* `sable compare`: two results files, run by run. Never calls MPI. */
#ifndef SABLE_COMPARE_H
#define SABLE_COMPARE_H

#include "options.h"
#include "results.h"

/* Compares the files options->what[0] (base) and what[1] (new), and further pairs of launches of the same two, and
 * tells on `stream`. Returns SABLE_WRONG where an answer is wrong or another one, else SABLE_REGRESSION where one is
 * slower, without an error line: it was told. SABLE_BAD_INPUT if a file can't be read or the files hold different
 * problems. */
int sable_compare(FILE *stream, const struct sable_options *options, struct sable_error *error);

/* ---- Outputs (compare_outputs.c) ---- */

enum sable_likeness {
    SABLE_SAME,          /* the same digest */
    SABLE_WITHIN,        /* stored outputs within their tolerances */
    SABLE_DIFFERENT,     /* or within none, or not stored in both */
    SABLE_NOT_COMPARABLE /* no digest, or bits that depend on a layout that differs */
};

/* One output of one run in both files. `why`: "" or why it could not be compared; then it is not `within`. */
struct sable_output_pair {
    char name[64], why[64];
    double difference, tolerance;
    bool within;
};

enum { SABLE_MAX_OUTPUTS = 64 };

struct sable_output_pairs {
    int count;
    struct sable_output_pair pair[SABLE_MAX_OUTPUTS];
};

/* Reads the outputs of two runs element by element, in bounded pieces. Damage is an entry with a reason. */
int sable_compare_outputs(const char *base_path, const struct sable_run *base, const char *new_path,
                          const struct sable_run *updated, struct sable_output_pairs *pairs, struct sable_error *error);

#endif
