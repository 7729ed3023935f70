/* The workloads of drivers/drivers.def, and their parameters. */
#ifndef SABLE_REGISTRY_H
#define SABLE_REGISTRY_H

#include "driver.h"
#include "results.h"

int sable_workload_count(void);
const struct sable_workload *sable_workload(int index);

/* Adds to `selected` (bytes, one per workload) what WHAT names: a family, family/workload, or all. An unknown name is
 * exit 2, with the names that exist. */
int sable_select(const char *what, bool *selected, struct sable_error *error);

const struct sable_variant *sable_variant_find(const struct sable_workload *workload, const char *name);
int sable_phase_count(const struct sable_workload *workload);
int sable_param_count(const struct sable_workload *workload);

/* All parameters at their defaults. */
int sable_params_default(const struct sable_workload *workload, void *params, struct sable_error *error);
/* One "name=value", checked against type and range. */
int sable_params_set(const struct sable_workload *workload, void *params, const char *setting,
                     struct sable_error *error);
/* The settings of a class. */
int sable_params_class(const struct sable_workload *workload, void *params, const char *class_name,
                       struct sable_error *error);
/* Weak scaling: the problem of one processor grown for `processors`. SABLE_BAD_INPUT where the workload declares no
 * growth, or rounding would spoil it by more than a tenth. */
int sable_params_grow(const struct sable_workload *workload, void *params, int64_t processors,
                      struct sable_error *error);
bool sable_params_know(const struct sable_workload *workload, const char *name, size_t length);

/* The parameters as stored and shown; `settings` has room for sable_param_count(). */
void sable_params_settings(const struct sable_workload *workload, const void *params, struct sable_setting *settings);

/* A whole text as a number: no rest, no NaN, no overflow. False if it is none. Used for every number a user types. */
bool sable_parse_integer(const char *text, int64_t *value);
bool sable_parse_real(const char *text, double *value);

#endif
