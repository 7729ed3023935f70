#include "sable_isa.h"

#include <stdlib.h>
#include <string.h>

static const char *const names[SABLE_ISA_COUNT] = {"base", "v2", "v3", "v4"};

const char *sable_isa_name(enum sable_isa level)
{
    return names[level];
}

enum sable_isa sable_isa_best(void)
{
#if defined(SABLE_ISA_DISPATCH) && defined(__x86_64__)
    __builtin_cpu_init();
    int v2 = __builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("popcnt") && __builtin_cpu_supports("ssse3");
    int v3 = v2 && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2");
    int v4 = v3 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
             __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
             __builtin_cpu_supports("avx512vl");
    return v4 ? SABLE_ISA_V4 : v3 ? SABLE_ISA_V3 : v2 ? SABLE_ISA_V2 : SABLE_ISA_BASE;
#else
    return SABLE_ISA_BASE;
#endif
}

/* Both functions below recompute from the environment: they run outside of timed loops, and hold no state that threads
 * could race on. */
static int requested_level(const char *request)
{
    for (int level = 0; level <= (int)sable_isa_best(); level++)
        if (strcmp(request, names[level]) == 0)
            return level;
    return -1;
}

enum sable_isa sable_isa(void)
{
    const char *request = getenv("SABLE_ISA");
    int level = request ? requested_level(request) : -1;
    return level >= 0 ? (enum sable_isa)level : sable_isa_best();
}

const char *sable_isa_request_failed(void)
{
    const char *request = getenv("SABLE_ISA");
    return request && request[0] && requested_level(request) < 0 ? request : NULL;
}
