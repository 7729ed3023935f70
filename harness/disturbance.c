#include <fcntl.h>
#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>
#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include "binding.h"

/* ---- The clock ---- */

/* Register + register: newer processors do not execute the addition of a constant at all. */
#if defined(__x86_64__)
#define ADD "add %1, %0\n\t"
#elif defined(__aarch64__)
#define ADD "add %0, %0, %1\n\t"
#endif

#ifdef ADD
#define ADD10 ADD ADD ADD ADD ADD ADD ADD ADD ADD ADD

enum { ADDS_PER_ROUND = 100, ROUNDS = 100 };

/* Seconds of ADDS_PER_ROUND · ROUNDS additions, each of which waits for the one before: a cycle each. */
static double time_chain(void)
{
    struct timespec start, end;
    unsigned long sum = 0, one = 1;
    clock_gettime(CLOCK_MONOTONIC, &start);
    for (int i = 0; i < ROUNDS; i++)
        __asm__ volatile(ADD10 ADD10 ADD10 ADD10 ADD10 ADD10 ADD10 ADD10 ADD10 ADD10 : "+r"(sum) : "r"(one) : "cc");
    clock_gettime(CLOCK_MONOTONIC, &end);
    return (double)(end.tv_sec - start.tv_sec) + 1e-9 * (double)(end.tv_nsec - start.tv_nsec);
}

/* The fastest of a few: an interrupt lengthens one of them, nothing shortens any. About 10 µs. */
static double clock_ghz(void)
{
    double best = INFINITY;
    for (int i = 0; i < 3; i++)
        best = fmin(best, time_chain());
    return 1e-9 * ADDS_PER_ROUND * ROUNDS / best;
}
#else
static double clock_ghz(void)
{
    return NAN;
}
#endif

/* ---- Steal time ---- */

/* Only a hypervisor steals; without one the long /proc/stat of a large machine need not be read. */
static bool may_be_stolen_from(void)
{
#if defined(__x86_64__)
    unsigned a, b, c = 0, d; /* bit 31 of c: a hypervisor is present */
    return __get_cpuid(1, &a, &b, &c, &d) && c >> 31 == 1;
#else
    return true;
#endif
}

/* Where this process's threads may run, asked once, as it takes a parallel region: threads are not bound again after
 * sable_bind_threads(), which comes before any repetition. */
static const struct sable_mask *watched_processors(void)
{
    static struct sable_mask watched;
    if (sable_mask_is_empty(&watched))
        watched = sable_mask_of_team(omp_get_max_threads());
    return &watched;
}

/* Clock ticks in column `steal` of the line "cpu7 user nice system idle iowait irq softirq steal …". */
static long long steal_ticks(const char *line, const struct sable_mask *watched)
{
    enum { COLUMNS_BEFORE = 7 };
    char *end;
    if (line[3] < '0' || line[3] > '9')
        return 0;
    const unsigned long bits = 8 * sizeof *watched->word;
    unsigned long cpu = strtoul(line + 3, &end, 10);
    if (cpu >= bits * SABLE_MASK_WORDS || !(watched->word[cpu / bits] >> cpu % bits & 1))
        return 0;
    for (int i = 0; i < COLUMNS_BEFORE; i++)
        strtoll(end, &end, 10);
    return strtoll(end, NULL, 10);
}

static double steal_seconds(void)
{
    if (!may_be_stolen_from())
        return 0;
    const struct sable_mask *watched = watched_processors();
    char text[65536];
    int file = open("/proc/stat", O_RDONLY | O_CLOEXEC);
    ssize_t size = file < 0 ? 0 : read(file, text, sizeof text - 1);
    if (file >= 0)
        close(file);
    text[size > 0 ? size : 0] = '\0';
    long long ticks = 0;
    char *line = text;
    for (char *end; strncmp(line, "cpu", 3) == 0 && (end = strchr(line, '\n')); line = end + 1)
        ticks += steal_ticks(line, watched);
    return (double)ticks / (double)sysconf(_SC_CLK_TCK);
}

void sable_disturbance_sample(struct sable_disturbance *now)
{
    struct rusage usage;
    int failed = getrusage(RUSAGE_SELF, &usage);
    now->involuntary_switches = failed ? 0 : usage.ru_nivcsw;
    now->peak_rss = failed ? 0 : usage.ru_maxrss * INT64_C(1024);
    now->steal_seconds = steal_seconds();
    now->clock_ghz = clock_ghz();
}
