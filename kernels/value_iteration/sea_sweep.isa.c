/* The sweep of sable_sea.h, a vector of cells at a time. Nothing is looked up or branched on: the nine values around a
 * cell are loaded from three rows, land (NaN) and cut-off water (+inf) close a heading by comparison, and the minimum
 * over headings skips what is closed since no comparison with NaN holds. Per cell 40 floating-point operations and 28
 * selections on 16 bytes of memory traffic: bound by the vector units, not by memory. Operations and their order are
 * those of the reference, so the bits are, too. */
#include <math.h>

#include "sable_isa.h"
#include "sable_sea.h"

enum { STRIP = 64 }; /* columns done together: their changes stay in the first-level cache */

/* A way between two closed neighbours is closed. */
static inline double past_corners(double diagonal, double left, double right)
{
    double open = left < INFINITY ? left : right;
    return open < INFINITY ? diagonal : INFINITY;
}

/* The better of `best` and steering `ahead`; a closed way ahead gives +inf or NaN. */
static inline double steer(double best, double ahead, double port, double starboard, double keep, double drift)
{
    double set_to_port = port < INFINITY ? port : ahead;
    double set_to_starboard = starboard < INFINITY ? starboard : ahead;
    double q = keep * ahead + drift * (set_to_port + set_to_starboard);
    return q < best ? q : best;
}

/* One row of a strip; change[c] = max(change[c], |next − v| / shortest leg). */
static inline void sweep_row(const struct sable_sea_row *row, double drift, int64_t columns,
                             const double *restrict below, const double *restrict here, const double *restrict above,
                             double *restrict next, double *restrict change)
{
    const double keep = 1 - 2 * drift, scale = 1 / row->shortest;
    const double to_n = row->leg[SABLE_SEA_N], to_ne = row->leg[SABLE_SEA_NE], to_e = row->leg[SABLE_SEA_E],
                 to_se = row->leg[SABLE_SEA_SE], to_s = row->leg[SABLE_SEA_S];
#pragma omp simd
    for (int64_t c = 0; c < columns; c++) {
        double n = to_n + above[c], s = to_s + below[c], e = to_e + here[c + 1], w = to_e + here[c - 1];
        double ne = past_corners(to_ne + above[c + 1], n, e), nw = past_corners(to_ne + above[c - 1], w, n);
        double se = past_corners(to_se + below[c + 1], e, s), sw = past_corners(to_se + below[c - 1], s, w);
        double best = INFINITY;
        best = steer(best, n, nw, ne, keep, drift);
        best = steer(best, ne, n, e, keep, drift);
        best = steer(best, e, ne, se, keep, drift);
        best = steer(best, se, e, s, keep, drift);
        best = steer(best, s, se, sw, keep, drift);
        best = steer(best, sw, s, w, keep, drift);
        best = steer(best, w, sw, nw, keep, drift);
        best = steer(best, nw, w, n, keep, drift);
        double updated = here[c] > 0 ? best : here[c], moved = fabs(updated - here[c]) * scale;
        change[c] = moved > change[c] ? moved : change[c];
        next[c] = updated;
    }
}

double SABLE_ISA_NAME(sable_sea_sweep)(const struct sable_sea_row *row, double drift, int64_t rows, int64_t columns,
                                       const double *v, double *next, int64_t pitch);

double SABLE_ISA_NAME(sable_sea_sweep)(const struct sable_sea_row *row, double drift, int64_t rows, int64_t columns,
                                       const double *v, double *next, int64_t pitch)
{
    double largest = 0;
    for (int64_t first = 0; first < columns; first += STRIP) {
        double change[STRIP] = {0};
        int64_t width = columns - first < STRIP ? columns - first : STRIP;
        for (int64_t r = 0; r < rows; r++) {
            const double *here = v + r * pitch + first;
            sweep_row(&row[r], drift, width, here - pitch, here, here + pitch, next + r * pitch + first, change);
        }
        for (int64_t c = 0; c < width; c++)
            largest = change[c] > largest ? change[c] : largest;
    }
    return largest;
}
