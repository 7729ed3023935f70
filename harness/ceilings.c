/* Which ceilings there are, and those that a work model asks for. How each is measured: ceilings_*.c. */
#include "ceilings.h"

#include <math.h>
#include <stdio.h>

#include "ceilings_site.h"

static const char *const pattern_name[] = {[SABLE_READ] = "read", [SABLE_COPY] = "copy", [SABLE_TRIAD] = "triad"};
enum { PATTERNS = 3 };

/* ---- All of them ---- */

/* `stream_bytes` and `table_bytes` per rank: threads cut streams into parts, each in a cache of its own, but all read
 * the whole table. */
static int measure_level(const struct ceilings_site *site, const char *level, double stream_bytes, double table_bytes,
                         struct sable_ceilings *ceilings, struct sable_error *error)
{
    char name[sizeof ceilings->list[0].name];
    int index;
    for (int pattern = 0; pattern < PATTERNS; pattern++) {
        snprintf(name, sizeof name, "%s_%s", pattern_name[pattern], level);
        if (ceilings_stream(site, name, (enum sable_pattern)pattern, stream_bytes, ceilings, &index, error))
            return error->code;
    }
    snprintf(name, sizeof name, "random_%s", level);
    if (ceilings_gather(site, name, table_bytes, ceilings, &index, error))
        return error->code;
    snprintf(name, sizeof name, "chase_%s", level);
    return ceilings_chase(site, name, table_bytes, ceilings, error);
}

static double power_of_two_within(double bytes)
{
    return exp2(floor(log2(bytes)));
}

int sable_ceilings_measure(MPI_Comm comm, int threads, enum sable_ceilings_effort effort,
                           struct sable_ceilings *ceilings, struct sable_error *error)
{
    struct ceilings_site site;
    struct ceilings_levels levels;
    if (effort == SABLE_CEILINGS_NONE)
        return SABLE_OK;
    if (ceilings_site(comm, threads, &site, error) || ceilings_compute(&site, ceilings, error))
        return error->code;
    if (effort == SABLE_CEILINGS_FULL) {
        if (ceilings_levels(&site, &levels, error))
            return error->code;
        if (levels.l2 > 0 &&
            measure_level(&site, "L2", levels.l2 * threads, power_of_two_within(levels.l2), ceilings, error))
            return error->code;
        if (levels.l3 > 0 &&
            measure_level(&site, "L3", levels.l3 * threads, power_of_two_within(levels.l3 * threads), ceilings, error))
            return error->code;
        if (measure_level(&site, "memory", levels.memory, levels.memory, ceilings, error))
            return error->code;
    }
    return ceilings_network(&site, ceilings, error);
}

/* ---- For the working set of a workload ---- */

static const double least_per_thread = 16 << 10; /* below, loops and barriers would be measured */

/* Finds the size class of `bytes` and its name, e.g. copy_16MiB. */
static int classify(const struct ceilings_site *site, const char *what, double *bytes, char *name, size_t size,
                    struct sable_error *error)
{
    static const char *const unit[] = {"KiB", "MiB", "GiB", "TiB"};
    struct ceilings_levels levels;
    if (ceilings_levels(site, &levels, error))
        return error->code;
    *bytes = power_of_two_within(fmax(*bytes, least_per_thread * site->threads));
    if (*bytes >= levels.memory) {
        *bytes = levels.memory;
        snprintf(name, size, "%s_memory", what);
        return SABLE_OK;
    }
    int power = (int)log2(*bytes);
    snprintf(name, size, "%s_%d%s", what, 1 << power % 10, unit[power / 10 - 1]);
    return SABLE_OK;
}

int sable_ceilings_stream(MPI_Comm comm, int threads, enum sable_pattern pattern, double bytes,
                          struct sable_ceilings *ceilings, int *index, struct sable_error *error)
{
    struct ceilings_site site;
    char name[sizeof ceilings->list[0].name];
    if (ceilings_site(comm, threads, &site, error) ||
        classify(&site, pattern_name[pattern], &bytes, name, sizeof name, error))
        return error->code;
    *index = sable_ceilings_find(ceilings, name);
    return *index >= 0 ? SABLE_OK : ceilings_stream(&site, name, pattern, bytes, ceilings, index, error);
}

int sable_ceilings_random(MPI_Comm comm, int threads, double bytes, struct sable_ceilings *ceilings, int *index,
                          struct sable_error *error)
{
    struct ceilings_site site;
    char name[sizeof ceilings->list[0].name];
    if (ceilings_site(comm, threads, &site, error) || classify(&site, "random", &bytes, name, sizeof name, error))
        return error->code;
    *index = sable_ceilings_find(ceilings, name);
    return *index >= 0 ? SABLE_OK : ceilings_gather(&site, name, bytes, ceilings, index, error);
}
