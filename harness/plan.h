/* What a command line asks for: workloads with their parameters, variants and predicted memory. */
#ifndef SABLE_PLAN_H
#define SABLE_PLAN_H

#include <jansson.h>
#include <stdio.h>

#include "options.h"
#include "results.h"

struct sable_plan_item {
    const struct sable_workload *workload;
    void *params;
    int settings;
    struct sable_setting *setting; /* [settings] the parameters as stored */
    char class_name[16];
    int64_t growth;     /* --weak: how many times the class's problem it is; 1 otherwise */
    char left_out[300]; /* why it can't grow so */
    int variants;
    const struct sable_variant *variant[SABLE_MAX_VARIANTS];
    int fault;     /* --inject-fault, as in struct sable_context */
    double memory; /* bytes of the rank that needs most, all variants: they are set up side by side */
};

struct sable_plan {
    int count;
    struct sable_plan_item *item; /* in the order of running */
    char left_out[2000];          /* --weak: lines that say which workloads can't grow, and why */
};

/* Collective over `comm`. Checks every name and range, and that each workload fits into `available` bytes per rank. */
int sable_plan_make(const struct sable_options *options, MPI_Comm comm, int threads, double available,
                    struct sable_plan *plan, struct sable_error *error);
void sable_plan_free(struct sable_plan *plan);

/* --dry-run. */
void sable_plan_print(FILE *stream, const struct sable_plan *plan, int ranks, int threads, double available);
json_t *sable_plan_json(const struct sable_plan *plan, int ranks, int threads, double available);

#endif
