#include "verdict.h"

#include <math.h>
#include <stdio.h>

static void record(struct sable_checks *checks, const char *name, double value, double expected, double tolerance,
                   bool pass)
{
    if (checks->count == SABLE_MAX_CHECKS) {
        checks->full = true;
        return;
    }
    struct sable_check_result *check = &checks->list[checks->count++];
    *check = (struct sable_check_result){.value = value, .expected = expected, .tolerance = tolerance, .pass = pass};
    snprintf(check->name, sizeof check->name, "%s", name);
}

/* Comparisons are written so that a NaN on any side fails. */
void sable_check(struct sable_checks *checks, const char *name, double value, double expected, double tolerance)
{
    record(checks, name, value, expected, tolerance, fabs(value - expected) <= tolerance);
}

void sable_check_at_most(struct sable_checks *checks, const char *name, double value, double limit)
{
    record(checks, name, value, limit, 0, value <= limit);
}

bool sable_checks_pass(const struct sable_checks *checks)
{
    bool pass = checks->count > 0 && !checks->full;
    for (int i = 0; i < checks->count; i++)
        pass = pass && checks->list[i].pass;
    return pass;
}

const char *sable_verdict_name(enum sable_verdict verdict)
{
    static const char *const names[] = {"PASS", "FAIL", "SKIPPED", "UNTRUSTED"};
    return names[verdict];
}
