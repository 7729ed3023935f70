#include "sable_streams.h"

#include <omp.h>

#include "ceilings_isa.h"

struct part {
    int64_t first, count; /* doubles; multiples of SABLE_STREAM_BLOCK */
};

/* The calling thread's part of n doubles: the same in every function below. */
static struct part own_part(int64_t n)
{
    int64_t blocks = n / SABLE_STREAM_BLOCK, threads = omp_get_num_threads(), thread = omp_get_thread_num();
    int64_t first = blocks * thread / threads, end = blocks * (thread + 1) / threads;
    return (struct part){first * SABLE_STREAM_BLOCK, (end - first) * SABLE_STREAM_BLOCK};
}

void sable_stream_fill(int threads, int64_t n, double value, double *x)
{
#pragma omp parallel num_threads(threads)
    {
        struct part part = own_part(n);
        for (int64_t i = part.first; i < part.first + part.count; i++)
            x[i] = value;
    }
}

uint64_t sable_stream_read(int threads, int64_t n, int64_t passes, enum sable_route route, const double *x)
{
    uint64_t (*run)(int64_t, const double *) =
        route == SABLE_ROUTE_STREAMING ? SABLE_ISA_PICK(sable_read_streaming) : SABLE_ISA_PICK(sable_read_cached);
    uint64_t sum = 0;
#pragma omp parallel num_threads(threads) reduction(+ : sum)
    {
        struct part part = own_part(n);
        for (int64_t pass = 0; pass < passes; pass++)
            sum += run(part.count, x + part.first);
    }
    return sum;
}

void sable_stream_copy(int threads, int64_t n, int64_t passes, enum sable_route route, const double *x, double *y)
{
    void (*run)(int64_t, const double *, double *) =
        route == SABLE_ROUTE_STREAMING ? SABLE_ISA_PICK(sable_copy_streaming) : SABLE_ISA_PICK(sable_copy_cached);
#pragma omp parallel num_threads(threads)
    {
        struct part part = own_part(n);
        for (int64_t pass = 0; pass < passes; pass++)
            run(part.count, x + part.first, y + part.first);
    }
}

void sable_stream_triad(int threads, int64_t n, int64_t passes, enum sable_route route, double s, const double *x,
                        const double *z, double *y)
{
    void (*run)(int64_t, double, const double *, const double *, double *) =
        route == SABLE_ROUTE_STREAMING ? SABLE_ISA_PICK(sable_triad_streaming) : SABLE_ISA_PICK(sable_triad_cached);
#pragma omp parallel num_threads(threads)
    {
        struct part part = own_part(n);
        for (int64_t pass = 0; pass < passes; pass++)
            run(part.count, s, x + part.first, z + part.first, y + part.first);
    }
}
