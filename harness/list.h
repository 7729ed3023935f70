/* `sable list` and the help of one workload. No MPI. */
#ifndef SABLE_LIST_H
#define SABLE_LIST_H

#include <stdbool.h>
#include <stdio.h>

#include "error.h"

/* Families, workloads, variants, classes and parameters with their ranges, on `stream`. */
int sable_list(FILE *stream, bool json, struct sable_error *error);

/* `sable run WHAT --help`: all that each workload named by `what` takes. */
int sable_list_help(FILE *stream, const char *what, struct sable_error *error);

#endif
