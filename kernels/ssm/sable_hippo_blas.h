/* HiPPO's steps as dense products and triangular solves of a BLAS over all channels, as reference codes have them: a
 * peer of sable_legs_scan() and sable_window_scan(). Built where OpenBLAS was found (sable_blas.h). */
#ifndef SABLE_HIPPO_BLAS_H
#define SABLE_HIPPO_BLAS_H

#include <stdbool.h>

#include "sable_blas.h"
#include "sable_hippo.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Steps begin < t ≤ end of LegS in float32: strmm and strsm (one channel: strmv and strsv). `signal` [length,
 * channels], `c` [order, channels] is updated. Each OpenMP thread calls OpenBLAS for its own channels. False if memory
 * is short. */
bool sable_legs_blas(const struct sable_blas *blas, enum sable_legs_rule rule, int64_t order, int64_t channels,
                     int64_t begin, int64_t end, const float *signal, float *c);

/* `steps` steps of a time-invariant measure in float32: sgemm (one channel: sgemv) by `next` [order, order], `gain`
 * [order]. `signal` [steps, channels], `c` as above. False if memory is short. */
bool sable_window_blas(const struct sable_blas *blas, int64_t order, int64_t channels, int64_t steps, const float *next,
                       const float *gain, const float *signal, float *c);

#ifdef __cplusplus
}
#endif
#endif
