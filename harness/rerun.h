/* `sable rerun`: are the answers of a results file the same to the bit, here and now? */
#ifndef SABLE_RERUN_H
#define SABLE_RERUN_H

#include "options.h"

/* Collective over MPI_COMM_WORLD. Repeats the runs of the file options->what[0], or those that the further names
 * select, once each and verified. SABLE_WRONG (told line by line, no error line) if an answer is wrong or has another
 * digest; SABLE_BAD_INPUT if no run was chosen. */
int sable_rerun_command(const struct sable_options *options, int threads, struct sable_error *error);

#endif
