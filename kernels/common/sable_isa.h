/* Which instruction set the kernels use, chosen at run time. A kernel source named *.isa.c is compiled once per level
 * (cmake/SableKernels.cmake); its functions carry the level in their name (SABLE_ISA_NAME) and SABLE_ISA_PICK takes
 * one. Levels differ in lane width, never in the order of additions: results may differ between levels only where a
 * kernel says so. */
#ifndef SABLE_ISA_H
#define SABLE_ISA_H

#ifdef __cplusplus
extern "C" {
#endif

enum sable_isa {
    SABLE_ISA_BASE, /* what the compiler's flags give: SSE2, NEON, or everything with -DSABLE_NATIVE=ON */
    SABLE_ISA_V2,   /* x86-64-v2: SSE4.2 */
    SABLE_ISA_V3,   /* x86-64-v3: AVX2, FMA */
    SABLE_ISA_V4,   /* x86-64-v4: AVX-512 F/BW/CD/DQ/VL */
    SABLE_ISA_COUNT
};

/* The best level that the processor and this build have, or a lower one forced by SABLE_ISA=base|v2|v3|v4 in the
 * environment (an unknown or unavailable name is ignored; sable_isa_request_failed() tells). */
enum sable_isa sable_isa(void);
/* The best level that the processor and this build have. */
enum sable_isa sable_isa_best(void);
/* The value of SABLE_ISA if it could not be honoured, else NULL. */
const char *sable_isa_request_failed(void);
const char *sable_isa_name(enum sable_isa level); /* "base", "v2", "v3", "v4" */

#define SABLE_ISA_JOIN_(name, suffix) name##_##suffix
#define SABLE_ISA_JOIN(name, suffix)  SABLE_ISA_JOIN_(name, suffix)
/* In a per-level source: the level's own name of a function. */
#define SABLE_ISA_NAME(name) SABLE_ISA_JOIN(name, SABLE_ISA_SUFFIX)

#ifdef SABLE_ISA_DISPATCH
/* Declares a function at every level: SABLE_ISA_DECLARE(void, sweep, (int64_t n, double *v)); */
#define SABLE_ISA_DECLARE(type, name, arguments)                                                                       \
    type name##_base arguments;                                                                                        \
    type name##_v2 arguments;                                                                                          \
    type name##_v3 arguments;                                                                                          \
    type name##_v4 arguments
#define SABLE_ISA_PICK(name)                                                                                           \
    ((sable_isa() == SABLE_ISA_V4)   ? name##_v4                                                                       \
     : (sable_isa() == SABLE_ISA_V3) ? name##_v3                                                                       \
     : (sable_isa() == SABLE_ISA_V2) ? name##_v2                                                                       \
                                     : name##_base)
#else
#define SABLE_ISA_DECLARE(type, name, arguments) type name##_base arguments
#define SABLE_ISA_PICK(name)                     name##_base
#endif

#ifdef __cplusplus
}
#endif
#endif
