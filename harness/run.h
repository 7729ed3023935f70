/* `sable run` and `sable ceilings`. */
#ifndef SABLE_RUN_H
#define SABLE_RUN_H

#include "options.h"

/* Collective over MPI_COMM_WORLD. Returns the exit status, the same on every rank; SABLE_WRONG (a FAIL) and, with
 * --strict, SABLE_ENVIRONMENT (an untrusted time) come without an error line, since the table has told. */
int sable_run_command(const struct sable_options *options, int threads, const char *command_line,
                      struct sable_error *error);

int sable_ceilings_command(const struct sable_options *options, int threads, const char *command_line,
                           struct sable_error *error);

#endif
