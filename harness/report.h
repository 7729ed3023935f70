/* Runs as a person and a script read them: the table, the FOM lines, JSON. On rank 0; no MPI, no HDF5. */
#ifndef SABLE_REPORT_H
#define SABLE_REPORT_H

#include <jansson.h>
#include <stdio.h>

#include "results.h"
#include "stats.h"

/* "FOM attention/prefill sable 231.4 GFLOP/s 86.7 % of fma_fp32 PASS"; without a ceiling "nan % of none". */
void sable_report_fom(FILE *stream, const struct sable_run *run);

/* One line per run, then the ratios of variants, failed checks and warnings. */
void sable_report_table(FILE *stream, const struct sable_run *runs, int count);
/* P50, P90, P99 and maximum of each phase of each run. */
void sable_report_phases(FILE *stream, const struct sable_run *runs, int count);

/* An array of objects, owned by the caller; NULL if memory is short. */
json_t *sable_report_json(const struct sable_run *runs, int count);

void sable_report_ceilings(FILE *stream, const struct sable_ceilings *ceilings);
json_t *sable_report_ceilings_json(const struct sable_ceilings *ceilings);

#endif
