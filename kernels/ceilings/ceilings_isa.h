/* What one thread does, compiled for each SIMD level; private to kernels/ceilings. */
#ifndef CEILINGS_ISA_H
#define CEILINGS_ISA_H

#include <stdint.h>

#include "sable_isa.h"

/* Lanes of all accumulators together; gain is their sum. */
struct peak_gain {
    double sum;
    int64_t lanes;
};

SABLE_ISA_DECLARE(struct peak_gain, sable_fma_fp64, (int64_t steps, double a, double b));
SABLE_ISA_DECLARE(struct peak_gain, sable_ops_fp64, (int64_t steps, double a, double b));
SABLE_ISA_DECLARE(struct peak_gain, sable_fma_fp32, (int64_t steps, float a, float b));
SABLE_ISA_DECLARE(struct peak_gain, sable_ops_int32, (int64_t steps, uint32_t a, uint32_t b));
SABLE_ISA_DECLARE(void, sable_exp_lanes, (int64_t n, const float *x, float *y));

SABLE_ISA_DECLARE(uint64_t, sable_read_cached, (int64_t n, const double *x));
SABLE_ISA_DECLARE(uint64_t, sable_read_streaming, (int64_t n, const double *x));
SABLE_ISA_DECLARE(void, sable_copy_cached, (int64_t n, const double *x, double *y));
SABLE_ISA_DECLARE(void, sable_copy_streaming, (int64_t n, const double *x, double *y));
SABLE_ISA_DECLARE(void, sable_triad_cached, (int64_t n, double s, const double *x, const double *z, double *y));
SABLE_ISA_DECLARE(void, sable_triad_streaming, (int64_t n, double s, const double *x, const double *z, double *y));

SABLE_ISA_DECLARE(uint64_t, sable_gather_words, (uint32_t first, int64_t count, uint32_t mask, const uint64_t *table));
SABLE_ISA_DECLARE(uint64_t, sable_gather_listed_words, (int64_t count, const uint32_t *place, const uint64_t *table));

#endif
