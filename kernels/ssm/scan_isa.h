#ifndef SABLE_SCAN_ISA_H
#define SABLE_SCAN_ISA_H

#include <stdbool.h>

#include "sable_isa.h"
#include "sable_scan.h"

/* States [first, first + count) of `pitch`, lanes over states; x may be NULL. */
SABLE_ISA_DECLARE(void, sable_scan_rows,
                  (int64_t pitch, int64_t first, int64_t count, int64_t length, const float *a, const float *b,
                   float *state, float *x, bool stream));
/* As many whole chunks as a vector has lanes, lanes over chunks; `seed` [lanes, 2, states]; states < lanes. What lies
 * `ahead` floats behind b (0: nothing) is fetched meanwhile. */
SABLE_ISA_DECLARE(void, sable_scan_columns,
                  (int64_t states, int64_t chunk, const float *a, const float *b, float *seed, float *x, bool stream,
                   int64_t ahead));
/* Ends of `count` whole chunks of states < SABLE_SCAN_FEW; `decay` [2, 32 M]: a^16 for each float of 16 steps. */
SABLE_ISA_DECLARE(void, sable_scan_ends,
                  (int64_t states, int64_t chunk, int64_t count, const float *a, const float *decay, const float *b,
                   float *ends));
SABLE_ISA_DECLARE(int64_t, sable_scan_width, (void));

/* (re + i·im)^n by squaring. */
static inline void scan_power(double *re, double *im, int64_t n)
{
    double base_re = *re, base_im = *im, out_re = 1, out_im = 0;
    for (; n > 0; n /= 2) {
        double r;
        if (n % 2) {
            r = out_re * base_re - out_im * base_im;
            out_im = out_re * base_im + out_im * base_re;
            out_re = r;
        }
        r = base_re * base_re - base_im * base_im;
        base_im = 2 * base_re * base_im;
        base_re = r;
    }
    *re = out_re;
    *im = out_im;
}

#endif
