/* Limits that a container or a batch system sets by cgroups, version 1 or 2: the strictest one from this process's
 * group up to the root counts. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cgroup.h"

enum { PATH_SIZE = 1024, LINE_SIZE = 1024 };

bool sable_read_line(const char *path, char *line, size_t size)
{
    FILE *file = fopen(path, "r");
    bool good = file && fgets(line, (int)size, file);
    if (file)
        fclose(file);
    if (good)
        line[strcspn(line, "\n")] = '\0';
    return good;
}

double sable_read_field(const char *path, const char *key)
{
    char line[LINE_SIZE];
    double value = NAN;
    size_t length = strlen(key);
    FILE *file = fopen(path, "r");
    while (file && isnan(value) && fgets(line, sizeof line, file))
        if (strncmp(line, key, length) == 0 && strchr(" \t:", line[length]))
            value = strtod(line + length + strspn(line + length, " \t:"), NULL);
    if (file)
        fclose(file);
    return value;
}

/* A file of one number; NaN if it can't be read or says "max". */
static double read_number(const char *folder, const char *name)
{
    char path[PATH_SIZE + 64], line[LINE_SIZE], *end;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    if (!sable_read_line(path, line, sizeof line))
        return NAN;
    double value = strtod(line, &end);
    return end == line ? NAN : value;
}

/* The path of this process's group in /proc/self/cgroup: "4:memory:/a/b" of a version 1 controller, or "0::/a/b" of
 * version 2. */
static bool own_group(const char *controller, char *path, size_t size)
{
    char line[LINE_SIZE];
    bool found = false;
    FILE *file = fopen("/proc/self/cgroup", "r");
    while (file && !found && fgets(line, sizeof line, file)) {
        char *list = strchr(line, ':'), *group = list ? strchr(list + 1, ':') : NULL;
        if (!group)
            continue;
        *group++ = '\0';
        list++;
        group[strcspn(group, "\n")] = '\0';
        size_t length = strlen(controller);
        for (char *name = list; name && !found; name = strchr(name, ','), name += name != NULL)
            found = strncmp(name, controller, length) == 0 && (name[length] == ',' || name[length] == '\0');
        if (found)
            snprintf(path, size, "%s", group);
    }
    if (file)
        fclose(file);
    return found;
}

/* The least limit(folder) of this process's group and those above it. In a container the group's own path may not be
 * visible; its limits are then those of the root. */
static double least_limit(const char *root, const char *controller, double (*limit)(const char *folder))
{
    char path[PATH_SIZE / 2], folder[PATH_SIZE];
    double least = INFINITY;
    if (!own_group(controller, path, sizeof path))
        return least;
    for (;;) {
        snprintf(folder, sizeof folder, "%s%s", root, path);
        least = fmin(least, limit(folder)); /* fmin passes over NaN */
        char *slash = strrchr(path, '/');
        if (!slash)
            return least;
        *slash = '\0';
    }
}

static double cpus_v1(const char *folder)
{
    double quota = read_number(folder, "cpu.cfs_quota_us"); /* −1: no limit */
    return quota > 0 ? quota / read_number(folder, "cpu.cfs_period_us") : NAN;
}

static double cpus_v2(const char *folder)
{
    char path[PATH_SIZE + 64], line[LINE_SIZE], *end; /* "max 100000" or "150000 100000" */
    snprintf(path, sizeof path, "%s/cpu.max", folder);
    if (!sable_read_line(path, line, sizeof line))
        return NAN;
    double quota = strtod(line, &end);
    return end == line ? NAN : quota / strtod(end, NULL);
}

double sable_cgroup_cpus(void)
{
    return fmin(least_limit("/sys/fs/cgroup", "", cpus_v2), least_limit("/sys/fs/cgroup/cpu", "cpu", cpus_v1));
}

static double memory_v1(const char *folder)
{
    double limit = read_number(folder, "memory.limit_in_bytes");
    return limit < 0x1p62 ? limit : NAN; /* "no limit" is the largest page-aligned int64_t */
}

static double memory_v2(const char *folder)
{
    return read_number(folder, "memory.max");
}

double sable_cgroup_memory(void)
{
    return fmin(least_limit("/sys/fs/cgroup", "", memory_v2),
                least_limit("/sys/fs/cgroup/memory", "memory", memory_v1));
}

/* What a limit leaves: pages of files that were not used for long are given up before anybody is refused. */
static double left(const char *folder, double limit, const char *usage, const char *inactive)
{
    char path[PATH_SIZE + 64];
    snprintf(path, sizeof path, "%s/memory.stat", folder);
    double reclaimable = sable_read_field(path, inactive);
    return limit - read_number(folder, usage) + (reclaimable > 0 ? reclaimable : 0);
}

static double memory_left_v1(const char *folder)
{
    return left(folder, memory_v1(folder), "memory.usage_in_bytes", "total_inactive_file");
}

static double memory_left_v2(const char *folder)
{
    return left(folder, memory_v2(folder), "memory.current", "inactive_file");
}

double sable_cgroup_memory_left(void)
{
    double least = fmin(least_limit("/sys/fs/cgroup", "", memory_left_v2),
                        least_limit("/sys/fs/cgroup/memory", "memory", memory_left_v1));
    return fmax(least, 0);
}
