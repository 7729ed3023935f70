/* sable's triad_memory and fma_fp32 beside STREAM's triad and LIBXSMM's small matrix products, on the same cores, round
 * by round in turns. Prints rows of a Markdown table. Built and run by scripts/peers/ceilings_compare. */
#include <float.h>
#include <libxsmm.h>
#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "ceilings.h"
#include "sable_array.h"
#include "stats.h"

enum { ROUNDS = 9, MOST_THREADS = 2, NTIMES = 10 }; /* NTIMES: as STREAM, which reports its best pass */

static _Noreturn void give_up(const char *what)
{
    fprintf(stderr, "ceilings_compare: %s\n", what);
    exit(3);
}

/* ---- sable, by its public functions ---- */

static double sable_triad(int threads)
{
    static struct sable_ceilings ceilings;
    struct sable_error error = {0};
    int index;
    ceilings.count = 0;
    if (sable_ceilings_stream(MPI_COMM_SELF, threads, SABLE_TRIAD, INFINITY, &ceilings, &index, &error))
        give_up(error.text);
    return ceilings.list[index].value;
}

static double sable_fma(int threads)
{
    static struct sable_ceilings ceilings;
    struct sable_error error = {0};
    ceilings.count = 0;
    if (sable_ceilings_measure(MPI_COMM_SELF, threads, SABLE_CEILINGS_QUICK, &ceilings, &error))
        give_up(error.text);
    return ceilings.list[sable_ceilings_find(&ceilings, "fma_fp32")].value;
}

/* ---- STREAM's triad: J. D. McCalpin, stream.c 5.10, the loop as published, and with the stores that a compiler which
 * knows non-temporal stores (Intel's, AMD's) makes of it ---- */

static const int64_t stream_doubles = INT64_C(80) << 20; /* each of the three arrays: 640 MiB */

static void triad_as_published(int64_t n, double scalar, double *restrict a, const double *restrict b,
                               const double *restrict c)
{
#pragma omp parallel for schedule(static)
    for (int64_t j = 0; j < n; j++)
        a[j] = b[j] + scalar * c[j];
}

static void triad_non_temporal(int64_t n, double scalar, double *restrict a, const double *restrict b,
                               const double *restrict c)
{
#if defined(__AVX512F__)
#pragma omp parallel for schedule(static)
    for (int64_t j = 0; j < n; j += 8)
        _mm512_stream_pd(a + j, _mm512_fmadd_pd(_mm512_set1_pd(scalar), _mm512_load_pd(c + j), _mm512_load_pd(b + j)));
#elif defined(__AVX2__) && defined(__FMA__)
#pragma omp parallel for schedule(static)
    for (int64_t j = 0; j < n; j += 4)
        _mm256_stream_pd(a + j, _mm256_fmadd_pd(_mm256_set1_pd(scalar), _mm256_load_pd(c + j), _mm256_load_pd(b + j)));
#else
    triad_as_published(n, scalar, a, b, c);
#endif
}

struct stream {
    double *a, *b, *c;
};

/* Arrays in huge pages, as sable's are: stream.c's static arrays would have small ones here. */
static struct stream stream_arrays(int threads)
{
    struct stream s = {sable_array(stream_doubles, 1, sizeof *s.a), sable_array(stream_doubles, 1, sizeof *s.b),
                       sable_array(stream_doubles, 1, sizeof *s.c)};
    if (!s.a || !s.b || !s.c)
        give_up("no memory for STREAM's arrays");
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t j = 0; j < stream_doubles; j++) {
        s.a[j] = 1;
        s.b[j] = 2;
        s.c[j] = 0;
    }
    return s;
}

static void free_arrays(struct stream *s)
{
    sable_array_free(s->a);
    sable_array_free(s->b);
    sable_array_free(s->c);
}

typedef void triad_loop(int64_t, double, double *restrict, const double *restrict, const double *restrict);

static double stream_rate(int threads, const struct stream *s, triad_loop *triad)
{
    double least = DBL_MAX;
    omp_set_num_threads(threads);
    for (int k = 0; k < NTIMES; k++) {
        double start = omp_get_wtime();
        triad(stream_doubles, 3, s->a, s->b, s->c);
        double seconds = omp_get_wtime() - start;
        if (k > 0) /* STREAM discards the first */
            least = fmin(least, seconds);
    }
    if (s->a[stream_doubles / 2] != 2)
        give_up("STREAM's triad came out wrong");
    return 24e-9 * (double)stream_doubles / least;
}

/* ---- LIBXSMM: one kernel made at run time, each thread on tiles of its own in its L1 or L2 ---- */

struct shape {
    int m, n, k;
    double rate;
};

enum { SLICES = 16 };

/* GFLOP/s of all threads in the fastest of `slices` slices of about a millisecond; each slice begins at a barrier. */
static double gemm_rate(int threads, struct shape shape, int slices)
{
    libxsmm_smmfunction multiply =
        libxsmm_smmdispatch(shape.m, shape.n, shape.k, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
    if (!multiply)
        return 0;
    double flops = 2.0 * shape.m * shape.n * shape.k, least = DBL_MAX;
    int64_t calls = (int64_t)(1e-3 * 200e9 / flops) + 1;
#pragma omp parallel num_threads(threads)
    {
        float *a = sable_array(shape.m, shape.k, sizeof *a), *b = sable_array(shape.k, shape.n, sizeof *b),
              *c = sable_array(shape.m, shape.n, sizeof *c);
        if (!a || !b || !c)
            give_up("no memory for tiles");
        for (int i = 0; i < shape.m * shape.k; i++)
            a[i] = (float)(i % 7) * 0.1F;
        for (int i = 0; i < shape.k * shape.n; i++)
            b[i] = (float)(i % 5) * 0.1F;
        memset(c, 0, (size_t)(shape.m * shape.n) * sizeof *c);
        for (int s = 0; s < slices; s++) {
#pragma omp barrier
            double start = omp_get_wtime();
            for (int64_t i = 0; i < calls; i++)
                multiply(a, b, c);
#pragma omp barrier
            double seconds = omp_get_wtime() - start;
#pragma omp master
            least = fmin(least, seconds);
        }
        sable_array_free(a);
        sable_array_free(b);
        sable_array_free(c);
    }
    return 1e-9 * flops * (double)calls * threads / least;
}

static int by_rate(const void *left, const void *right)
{
    double l = ((const struct shape *)left)->rate, r = ((const struct shape *)right)->rate;
    return (l < r) - (l > r);
}

enum { SIDES = 6, SHAPES = SIDES * SIDES * SIDES, KEPT = 4 };

/* The fastest KEPT of all shapes. */
static void choose_shapes(struct shape kept[KEPT])
{
    static const int side[SIDES] = {16, 32, 48, 64, 96, 128};
    static struct shape shape[SHAPES];
    for (int i = 0; i < SHAPES; i++) {
        shape[i] = (struct shape){.m = side[i % SIDES], .n = side[i / SIDES % SIDES], .k = side[i / SIDES / SIDES]};
        shape[i].rate = gemm_rate(1, shape[i], 4);
    }
    qsort(shape, SHAPES, sizeof shape[0], by_rate);
    memcpy(kept, shape, KEPT * sizeof shape[0]);
}

static double best_gemm(int threads, const struct shape shape[KEPT])
{
    double best = 0;
    for (int i = 0; i < KEPT; i++)
        best = fmax(best, gemm_rate(threads, shape[i], SLICES));
    return best;
}

/* ---- The table ---- */

static void print_row(const char *name, const char *peer, const char *unit, int threads, const double *ours,
                      const double *theirs)
{
    struct sable_interval a = sable_median_interval(ours, ROUNDS), b = sable_median_interval(theirs, ROUNDS);
    struct sable_interval ratio = sable_ratio_interval(ours, theirs, ROUNDS);
    printf("| %s | %s | %d | %.1f [%.1f, %.1f] | %.1f [%.1f, %.1f] | %s | %.3f [%.3f, %.3f] |\n", name, peer, threads,
           a.mid, a.low, a.high, b.mid, b.low, b.high, unit, ratio.mid, ratio.low, ratio.high);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    if (MPI_Init(&argc, &argv) != MPI_SUCCESS)
        give_up("MPI_Init failed");
    struct shape shape[KEPT];
    choose_shapes(shape);
    for (int threads = 1; threads <= MOST_THREADS && threads <= omp_get_num_procs(); threads++) {
        struct stream stream = stream_arrays(threads);
        double triad[ROUNDS], published[ROUNDS], stores[ROUNDS], fma[ROUNDS], gemm[ROUNDS];
        for (int round = 0; round < ROUNDS; round++) {
            triad[round] = sable_triad(threads);
            published[round] = stream_rate(threads, &stream, triad_as_published);
            stores[round] = stream_rate(threads, &stream, triad_non_temporal);
            fma[round] = sable_fma(threads);
            gemm[round] = best_gemm(threads, shape);
        }
        free_arrays(&stream);
        print_row("triad_memory", "STREAM triad, as published", "GB/s", threads, triad, published);
        print_row("triad_memory", "STREAM triad, non-temporal stores", "GB/s", threads, triad, stores);
        print_row("fma_fp32", "LIBXSMM, best small product", "GFLOP/s", threads, fma, gemm);
    }
    printf("\nLIBXSMM's best shapes (m × n × k) on one thread:");
    for (int i = 0; i < KEPT; i++)
        printf(" %d × %d × %d%s", shape[i].m, shape[i].n, shape[i].k, i + 1 < KEPT ? "," : ".\n");
    MPI_Finalize();
    return 0;
}
