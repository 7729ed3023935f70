/* Streams over arrays: how fast words move between the cores and the level of memory that holds them. The arrays are
 * cut into one contiguous part for each OpenMP thread; filling, reading and writing use the same cut, so that with
 * first-touch placement each thread's part lies near it. Source: McCalpin, STREAM (1995); docs/ceilings.md */
#ifndef SABLE_STREAMS_H
#define SABLE_STREAMS_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Arrays hold a multiple of this many doubles and are aligned to 64 bytes (sable_array). */
enum { SABLE_STREAM_BLOCK = 128 };

/* How words travel. Which is faster depends on where the arrays lie. */
enum sable_route {
    SABLE_ROUTE_CACHED,   /* one stream for each array and thread, through the caches: a write to memory first reads the
                             line */
    SABLE_ROUTE_STREAMING /* for memory: several streams at once (read and copy also prefetch), and stores around the
                             caches (non-temporal) where the processor family has them */
};

/* x[i] = value; the first touch. */
void sable_stream_fill(int threads, int64_t n, double value, double *x);

/* Each of the functions below does `passes` over the arrays, threads not waiting for one another in between. */

/* The sum of the bit patterns of x[0..n) modulo 2^64, `passes` times over: 8n bytes a pass. */
uint64_t sable_stream_read(int threads, int64_t n, int64_t passes, enum sable_route route, const double *x);
/* y[i] = x[i]: 16n bytes a pass. */
void sable_stream_copy(int threads, int64_t n, int64_t passes, enum sable_route route, const double *x, double *y);
/* y[i] = x[i] + s·z[i]: 24n bytes a pass, as STREAM counts. Product and sum are rounded separately. */
void sable_stream_triad(int threads, int64_t n, int64_t passes, enum sable_route route, double s, const double *x,
                        const double *z, double *y);

#ifdef __cplusplus
}
#endif
#endif
