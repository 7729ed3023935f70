#include "registry.h"

#include <stdio.h>
#include <string.h>

#define SABLE_WORKLOAD(symbol) extern const struct sable_workload symbol;
#include "drivers.def"
#undef SABLE_WORKLOAD

static const struct sable_workload *const workloads[] = {
#define SABLE_WORKLOAD(symbol) &symbol,
#include "drivers.def"
#undef SABLE_WORKLOAD
};

int sable_workload_count(void)
{
    return (int)(sizeof workloads / sizeof *workloads);
}

const struct sable_workload *sable_workload(int index)
{
    return workloads[index];
}

static bool in_family(const struct sable_workload *workload, const char *family)
{
    size_t length = strlen(family);
    return strncmp(workload->name, family, length) == 0 && workload->name[length] == '/';
}

int sable_select(const char *what, bool *selected, struct sable_error *error)
{
    bool all = strcmp(what, "all") == 0, found = false;
    for (int i = 0; i < sable_workload_count(); i++)
        if ((all && !workloads[i]->test_only) || strcmp(workloads[i]->name, what) == 0 || in_family(workloads[i], what))
            selected[i] = found = true;
    if (found)
        return SABLE_OK;
    char names[700] = "";
    for (int i = 0; i < sable_workload_count(); i++) {
        size_t used = strlen(names);
        snprintf(names + used, sizeof names - used, "%s%s", i ? ", " : "", workloads[i]->name);
    }
    return sable_fail(error, SABLE_BAD_INPUT, "unknown workload '%.100s': one of all, a family, or %s", what, names);
}

const struct sable_variant *sable_variant_find(const struct sable_workload *workload, const char *name)
{
    for (const struct sable_variant *variant = workload->variants; variant->name; variant++)
        if (strcmp(variant->name, name) == 0)
            return variant;
    return NULL;
}

int sable_phase_count(const struct sable_workload *workload)
{
    int count = 0;
    while (workload->phases[count])
        count++;
    return count;
}

int sable_param_count(const struct sable_workload *workload)
{
    int count = 0;
    while (workload->params[count].name)
        count++;
    return count;
}
