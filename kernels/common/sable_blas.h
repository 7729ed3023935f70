/* OpenBLAS, loaded on demand: its constructor starts a thread on every core unless it is told otherwise before. Built
 * where it was found (SABLE_HAVE_OPENBLAS). */
#ifndef SABLE_BLAS_H
#define SABLE_BLAS_H

#ifdef __cplusplus
extern "C" {
#endif

struct sable_blas;

/* Loads OpenBLAS to run in its callers' threads; NULL if it is not to be had. On processors with AVX-512 its kernels of
 * SkylakeX are asked for, unless OPENBLAS_CORETYPE says something else: older releases take processors that they don't
 * know for ones without AVX-512, at half the speed. Not thread-safe: it sets the environment's OPENBLAS_NUM_THREADS
 * and OPENBLAS_CORETYPE. Freed by sable_blas_close(), which does nothing with NULL. */
struct sable_blas *sable_blas_open(void);
void sable_blas_close(struct sable_blas *blas);
/* Version and core type: "OpenBLAS 0.3.21 …, core SkylakeX". Owned by `blas`. */
const char *sable_blas_describe(const struct sable_blas *blas);

#ifdef __cplusplus
}
#endif
#endif
