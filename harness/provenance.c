#include "provenance.h"

#include <ctype.h>
#include <hdf5.h>
#include <hwloc.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "build_info.h"
#include "sable_isa.h"

extern char **environ;

void sable_add_fact(struct sable_machine *machine, const char *name, const char *format, ...)
{
    if (machine->facts >= (int)(sizeof machine->fact / sizeof *machine->fact))
        return;
    struct sable_fact *fact = &machine->fact[machine->facts++];
    va_list arguments;
    va_start(arguments, format);
    snprintf(fact->name, sizeof fact->name, "%s", name);
    vsnprintf(fact->text, sizeof fact->text, format, arguments);
    va_end(arguments);
    fact->text[strcspn(fact->text, "\r\n")] = '\0';
    for (char *c = fact->text; *c; c++) /* what is cut to size or came from outside may be no UTF-8 */
        if (*c < ' ' || *c > '~')
            *c = '?';
}

/* ---- Software ---- */

void sable_describe_software(struct sable_machine *machine)
{
    char library[MPI_MAX_LIBRARY_VERSION_STRING];
    int length, version, subversion, level;
    unsigned major = 0, minor = 0, release = 0, hwloc = hwloc_get_api_version();
    MPI_Get_library_version(library, &length);
    MPI_Get_version(&version, &subversion);
    MPI_Query_thread(&level);
    H5get_libversion(&major, &minor, &release);
    sable_add_fact(machine, "mpi_library", "%s", library);
    sable_add_fact(machine, "mpi_standard", "%d.%d", version, subversion);
    sable_add_fact(machine, "mpi_thread_level", "%s",
                   level == MPI_THREAD_MULTIPLE     ? "MPI_THREAD_MULTIPLE"
                   : level == MPI_THREAD_SERIALIZED ? "MPI_THREAD_SERIALIZED"
                   : level == MPI_THREAD_FUNNELED   ? "MPI_THREAD_FUNNELED"
                                                    : "MPI_THREAD_SINGLE");
    sable_add_fact(machine, "compiler", "%s", SABLE_COMPILER);
    sable_add_fact(machine, "flags", "%s", SABLE_FLAGS);
    sable_add_fact(machine, "openmp", "%d", _OPENMP);
    sable_add_fact(machine, "hdf5", "%u.%u.%u (built with %d.%d.%d)", major, minor, release, H5_VERS_MAJOR,
                   H5_VERS_MINOR, H5_VERS_RELEASE);
    sable_add_fact(machine, "hwloc", "%u.%u.%u", hwloc >> 16, hwloc >> 8 & 255, hwloc & 255);
    sable_add_fact(machine, "simd", "%s", sable_isa_name(sable_isa()));
    sable_add_fact(machine, "simd_best", "%s", sable_isa_name(sable_isa_best()));
}

/* ---- The environment ---- */

/* Launchers pass keys, addresses and names of people in the environment: not to be published with results. */
static bool is_private(const char *name)
{
    static const char *const words[] = {
        "KEY",   "TOKEN",      "SECRET",          "PASS", "JWT",      "CRED",         "COOKIE",       "USER",
        "UID",   "_GID",       "ACCOUNT",         "ORTE", "PMIX",     "_ESS",         "_HOST",        "_ADDR",
        "_PORT", "TRANSPORTS", "WORKING_CLUSTER", "URI",  "TASK_PID", "INITIAL_WDIR", "RUNTIME_QUERY"};
    char upper[sizeof((struct sable_fact *)NULL)->name];
    size_t length = 0;
    for (; name[length]; length++)
        upper[length] = (char)toupper((unsigned char)name[length]);
    upper[length] = '\0';
    for (size_t w = 0; w < sizeof words / sizeof *words; w++)
        if (strstr(upper, words[w]))
            return true;
    return false;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The environment in the order of names; NULL if memory is short. Owned by the caller. */
static char **sort_environment(size_t *count)
{
    *count = 0;
    while (environ && environ[*count])
        ++*count;
    char **sorted = malloc((*count + 1) * sizeof *sorted);
    if (!sorted)
        return NULL;
    for (size_t i = 0; i < *count; i++)
        sorted[i] = environ[i];
    qsort(sorted, *count, sizeof *sorted, by_text);
    return sorted;
}

void sable_describe_environment(struct sable_machine *machine)
{
    static const char *const prefixes[] = {"SABLE_",     "OMP_",   "GOMP_", "KMP_", "OMPI_MCA_", "MPICH_",
                                           "MPIR_CVAR_", "I_MPI_", "UCX_",  "FI_",  "SLURM_"};
    const int most = sizeof machine->fact / sizeof *machine->fact - 1;
    size_t count;
    int left_out = 0;
    char **sorted = sort_environment(&count);
    for (size_t p = 0; p < sizeof prefixes / sizeof *prefixes && sorted; p++)
        for (size_t i = 0; i < count; i++) {
            char name[sizeof machine->fact->name];
            size_t length = strcspn(sorted[i], "=");
            if (strncmp(sorted[i], prefixes[p], strlen(prefixes[p])) || length >= sizeof name || !sorted[i][length])
                continue;
            memcpy(name, sorted[i], length);
            name[length] = '\0';
            if (is_private(name))
                continue;
            if (machine->facts < most)
                sable_add_fact(machine, name, "%s", sorted[i] + length + 1);
            else
                left_out++;
        }
    if (left_out > 0)
        sable_add_fact(machine, "environment_left_out", "%d more variables", left_out);
    free(sorted);
}
