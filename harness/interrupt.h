/* Signals that ask a run to end: SIGUSR1 and SIGUSR2 (what Slurm's --signal sends before a time limit) and SIGTERM. The
 * run ends after the repetition under way, with what had finished kept for --resume. */
#ifndef SABLE_INTERRUPT_H
#define SABLE_INTERRUPT_H

#include "error.h"

/* From here on those signals are remembered instead of ending the process; a second one of a kind ends it at once. */
void sable_interrupt_watch(void);

/* An error (SABLE_ENVIRONMENT) if this process was asked to end; the caller agrees on it with the other ranks. */
int sable_interrupt_check(struct sable_error *error);

#endif
