/* Softmax of rows of logits, compiled for each SIMD level; private to kernels/attention. */
#ifndef ATTENTION_ROWS_H
#define ATTENTION_ROWS_H

#include <stdint.h>

#include "sable_isa.h"

/* s [rows][pitch], row r holds logits of `first_seen + r` keys, at most n and at least 0, which become 2^(t − m) for
 * t = scale·log2(e)·s and m the largest t, rounded; the others up to n become 0. inverse [rows] is 1/Σ, lse [rows] the
 * logarithm of the sum of exponentials. pitch is a multiple of 16 and at least n. */
SABLE_ISA_DECLARE(void, sable_attention_softmax_rows,
                  (int rows, int64_t n, int64_t first_seen, int64_t pitch, double scale, float *s, float *inverse,
                   float *lse));
/* x [rows][dim], row r times factor[r]. */
SABLE_ISA_DECLARE(void, sable_attention_scale_rows, (int rows, int64_t dim, const float *factor, float *x));

#endif
