/* Limits of this process's cgroups, version 1 or 2, and small files of /proc and /sys. */
#ifndef SABLE_CGROUP_H
#define SABLE_CGROUP_H

#include <stdbool.h>
#include <stddef.h>

/* The first line of a file without its newline; false if there is none. */
bool sable_read_line(const char *path, char *line, size_t size);
/* The number after `key` in a file of lines "key value" or "key: value"; NaN if it is not there. */
double sable_read_field(const char *path, const char *key);

struct sable_cgroup {           /* INFINITY where there is no limit */
    double cpus;                /* processors' worth of time */
    double memory, memory_left; /* bytes; not yet used */
};

/* `groups` is "/proc/self/cgroup", `root` "/sys/fs/cgroup", where a test has no others. */
struct sable_cgroup sable_cgroup_read(const char *groups, const char *root);
/* This process's. */
struct sable_cgroup sable_cgroup_own(void);

#endif
