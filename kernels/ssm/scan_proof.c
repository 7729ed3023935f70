/* Each step is checked against float64: |x_t − (a x_{t−1} + b_t)| may be what its roundings are, with x_{t−1} as
 * stored. Where a chunk begins, x was continued from the chunk's seed, which the carries gave, and not from the x
 * stored before: both lie near what exact steps from the last seed would give, x by its own roundings (`scan`), the
 * seed by those of the scan from 0 (`zero`) and of the two seeds. By induction the whole result is then that of the
 * recurrence with a known disturbance in each step. */
#include "sable_scan.h"

#include <math.h>

static double room_of(double a, double s, double b, double x)
{
    return 0x1p-24 * 1.1 * (a * s + b + x) + 0x1p-148; /* 1-norms: modulus of both parts' roundings */
}

struct sable_scan_evidence sable_scan_examine(int64_t states, int64_t length, int64_t chunk, int64_t m, const float *a,
                                              const float *b, const float *before, const float *x)
{
    const double ar = (double)a[m], ai = (double)a[states + m], norm = fabs(ar) + fabs(ai), size = hypot(ar, ai);
    struct sable_scan_evidence found = {.reach = size};
    double sr = (double)before[m], si = (double)before[states + m], zr = 0, zi = 0, zero = 0, scan = 0, start = 0;
    for (int64_t t = 0; t < length; t++) {
        const int64_t at = 2 * t * states + m;
        double br = (double)b[at], bi = (double)b[at + states], xr = (double)x[at], xi = (double)x[at + states];
        double residual = hypot(xr - (ar * sr - ai * si + br), xi - (ar * si + ai * sr + bi));
        double room = room_of(norm, fabs(sr) + fabs(si), fabs(br) + fabs(bi), fabs(xr) + fabs(xi));
        if (t % chunk == 0) {
            zr = zi = zero = scan = 0;
            start = fabs(sr) + fabs(si);
        }
        if (t == 0) {
            found.first = residual;
            found.room = room;
        } else {
            double ratio = residual / (room + (t % chunk == 0 ? size * found.seam : 0));
            found.worst = ratio <= found.worst ? found.worst : isnan(ratio) ? (double)INFINITY : ratio;
        }
        double z_old = fabs(zr) + fabs(zi), r = ar * zr - ai * zi + br;
        zi = ar * zi + ai * zr + bi;
        zr = r;
        zero = size * zero + room_of(norm, z_old, fabs(br) + fabs(bi), fabs(zr) + fabs(zi));
        scan = size * scan + room;
        sr = xr;
        si = xi;
        if ((t + 1) % chunk == 0)
            found.seam = zero + scan + 0x1p-23 * (start + fabs(xr) + fabs(xi)) + 0x1p-148;
    }
    return found;
}
