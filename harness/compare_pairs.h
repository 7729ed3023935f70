/* What `sable compare` found, shared by compare.c and compare_report.c. */
#ifndef SABLE_COMPARE_PAIRS_H
#define SABLE_COMPARE_PAIRS_H

#include "compare.h"
#include "stats.h"

enum { SABLE_WHY_SIZE = 300 };

/* SABLE_UNCHANGED: the whole interval lies within the threshold. SABLE_UNDECIDED: it reaches over it, or there is none.
 */
enum sable_change { SABLE_FASTER, SABLE_UNCHANGED, SABLE_SLOWER, SABLE_UNDECIDED };

struct sable_pair {
    const struct sable_run *base, *updated;
    double time[2];              /* medians, seconds: base, new; of the first pair of launches */
    struct sable_interval ratio; /* time of new over time of base */
    int launches;                /* pairs of launches that hold it */
    double *ratios;              /* [launches] of medians, where there are several */
    enum sable_change change;
    enum sable_likeness likeness;
    bool wrong;                        /* a new run failed its verification */
    struct sable_output_pairs outputs; /* read only where digests differ */
};

struct sable_comparison {
    const char *path[2]; /* base, new */
    struct sable_results_contents base, updated;
    int pairs, alone[2]; /* alone: runs of one file without a partner */
    struct sable_pair *pair;
    bool *taken; /* [updated.runs] */
};

void sable_comparison_print(FILE *stream, const struct sable_options *options, const struct sable_comparison *c);
int sable_comparison_json(FILE *stream, const struct sable_options *options, const struct sable_comparison *c, int code,
                          struct sable_error *error);

#endif
