/* Limits of this process's cgroups, version 1 or 2, and small files of /proc and /sys. */
#ifndef SABLE_CGROUP_H
#define SABLE_CGROUP_H

#include <stdbool.h>
#include <stddef.h>

/* The first line of a file without its newline; false if there is none. */
bool sable_read_line(const char *path, char *line, size_t size);
/* The number after `key` in a file of lines "key value" or "key: value"; NaN if it is not there. */
double sable_read_field(const char *path, const char *key);

/* INFINITY where there is no limit. */
double sable_cgroup_cpus(void);        /* processors' worth of time */
double sable_cgroup_memory(void);      /* bytes */
double sable_cgroup_memory_left(void); /* bytes not yet used */

#endif
