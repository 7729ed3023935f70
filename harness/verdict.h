/* The checks of one verification. */
#ifndef SABLE_VERDICT_H
#define SABLE_VERDICT_H

#include "results.h"

enum { SABLE_MAX_CHECKS = 64 };

struct sable_checks {
    int count;
    bool full; /* more checks than there is room for: a bug, counted as a failure */
    struct sable_check_result list[SABLE_MAX_CHECKS];
};

/* True if there is at least one check and all pass. */
bool sable_checks_pass(const struct sable_checks *checks);

#endif
