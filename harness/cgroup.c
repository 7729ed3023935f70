#include "cgroup.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PATH_SIZE = 1024, LINE_SIZE = 1024 };

/* ---- Small files ---- */

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
        if (strncmp(line, key, length) == 0 && line[length] && strchr(" \t:", line[length]))
            value = strtod(line + length + strspn(line + length, " \t:"), NULL);
    if (file)
        fclose(file);
    return value;
}

/* The `n` numbers that a file of a group begins with; false if there are fewer ("max 100000"). */
static bool read_numbers(const char *folder, const char *name, int n, double numbers[])
{
    char path[PATH_SIZE], line[LINE_SIZE], *end = line;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    if (!sable_read_line(path, line, sizeof line))
        return false;
    for (int i = 0; i < n; i++) {
        char *start = end;
        numbers[i] = strtod(start, &end);
        if (end == start)
            return false;
    }
    return true;
}

/* ---- One group ---- */

static void lower_cpus(struct sable_cgroup *limits, double quota, double period)
{
    if (quota > 0 && period > 0) /* version 1 says −1 for no limit */
        limits->cpus = fmin(limits->cpus, quota / period);
}

/* Pages of files that were not used for long count as left: they are given up before anybody is refused. */
static void lower_memory(struct sable_cgroup *limits, double limit, const char *folder, const char *usage,
                         const char *inactive)
{
    char path[PATH_SIZE];
    double used, no_limit = 0x1p62; /* version 1 gives the last page of int64_t */
    if (limit >= no_limit || !read_numbers(folder, usage, 1, &used))
        return;
    snprintf(path, sizeof path, "%s/memory.stat", folder);
    double reclaimable = sable_read_field(path, inactive);
    limits->memory = fmin(limits->memory, limit);
    limits->memory_left = fmin(limits->memory_left, fmax(limit - used + (reclaimable > 0 ? reclaimable : 0), 0));
}

static void read_version_2(const char *folder, struct sable_cgroup *limits)
{
    double number[2];
    if (read_numbers(folder, "cpu.max", 2, number))
        lower_cpus(limits, number[0], number[1]);
    if (read_numbers(folder, "memory.max", 1, number))
        lower_memory(limits, number[0], folder, "memory.current", "inactive_file");
}

static void read_cpu_version_1(const char *folder, struct sable_cgroup *limits)
{
    double quota, period;
    if (read_numbers(folder, "cpu.cfs_quota_us", 1, &quota) && read_numbers(folder, "cpu.cfs_period_us", 1, &period))
        lower_cpus(limits, quota, period);
}

static void read_memory_version_1(const char *folder, struct sable_cgroup *limits)
{
    double limit;
    if (read_numbers(folder, "memory.limit_in_bytes", 1, &limit))
        lower_memory(limits, limit, folder, "memory.usage_in_bytes", "total_inactive_file");
}

/* ---- All groups that this process is in ---- */

/* Reads the group and those above it, whose limits hold as well. In a container the path of the group may not be
 * visible; what is, is at the root. */
static void climb(const char *root, const char *group, void (*read)(const char *, struct sable_cgroup *),
                  struct sable_cgroup *limits)
{
    char folder[LINE_SIZE];
    size_t length = strlen(root);
    if (snprintf(folder, sizeof folder, "%s%s", root, group) >= (int)sizeof folder)
        return;
    for (char *end = folder + strlen(folder); end && end >= folder + length; end = strrchr(folder, '/')) {
        *end = '\0';
        read(folder, limits);
    }
}

/* Is `name` in a list "cpu,cpuacct"? */
static bool lists(const char *list, const char *name)
{
    size_t length = strlen(name);
    for (const char *entry = list; entry; entry = strchr(entry, ','), entry += entry != NULL)
        if (strncmp(entry, name, length) == 0 && (entry[length] == ',' || entry[length] == '\0'))
            return true;
    return false;
}

/* Lines are "4:memory:/a/b" for version 1 controllers and "0::/a/b" for version 2. */
struct sable_cgroup sable_cgroup_read(const char *groups, const char *root)
{
    struct sable_cgroup limits = {INFINITY, INFINITY, INFINITY};
    char line[LINE_SIZE], mount[LINE_SIZE];
    FILE *file = fopen(groups, "r");
    while (file && fgets(line, sizeof line, file)) {
        char *controllers = strchr(line, ':'), *group = controllers ? strchr(controllers + 1, ':') : NULL;
        if (!group)
            continue;
        *group++ = '\0';
        group[strcspn(group, "\n")] = '\0';
        controllers++;
        if (!*controllers)
            climb(root, group, read_version_2, &limits);
        snprintf(mount, sizeof mount, "%s/cpu", root);
        if (lists(controllers, "cpu"))
            climb(mount, group, read_cpu_version_1, &limits);
        snprintf(mount, sizeof mount, "%s/memory", root);
        if (lists(controllers, "memory"))
            climb(mount, group, read_memory_version_1, &limits);
    }
    if (file)
        fclose(file);
    return limits;
}

struct sable_cgroup sable_cgroup_own(void)
{
    return sable_cgroup_read("/proc/self/cgroup", "/sys/fs/cgroup");
}
