#include "sable_peaks.h"

#include <omp.h>

#include "ceilings_isa.h"

/* OpenMP may give fewer threads than asked for (OMP_THREAD_LIMIT), so the work is counted by those that did it. */

static double peak_fp64(struct peak_gain (*run)(int64_t, double, double), int threads, int64_t steps, double a,
                        double b, double *operations)
{
    double sum = 0;
    int64_t lanes = 0;
#pragma omp parallel num_threads(threads) reduction(+ : sum, lanes)
    {
        struct peak_gain gain = run(steps, a, b);
        sum += gain.sum;
        lanes += gain.lanes;
    }
    *operations = 2.0 * (double)lanes * (double)steps;
    return sum / (double)lanes;
}

double sable_peak_fma_fp64(int threads, int64_t steps, double a, double b, double *flops)
{
    return peak_fp64(SABLE_ISA_PICK(sable_fma_fp64), threads, steps, a, b, flops);
}

double sable_peak_ops_fp64(int threads, int64_t steps, double a, double b, double *operations)
{
    return peak_fp64(SABLE_ISA_PICK(sable_ops_fp64), threads, steps, a, b, operations);
}

double sable_peak_fma_fp32(int threads, int64_t steps, float a, float b, double *flops)
{
    struct peak_gain (*run)(int64_t, float, float) = SABLE_ISA_PICK(sable_fma_fp32);
    double sum = 0;
    int64_t lanes = 0;
#pragma omp parallel num_threads(threads) reduction(+ : sum, lanes)
    {
        struct peak_gain gain = run(steps, a, b);
        sum += gain.sum;
        lanes += gain.lanes;
    }
    *flops = 2.0 * (double)lanes * (double)steps;
    return sum / (double)lanes;
}

double sable_peak_ops_int32(int threads, int64_t steps, uint32_t a, uint32_t b, double *operations)
{
    struct peak_gain (*run)(int64_t, uint32_t, uint32_t) = SABLE_ISA_PICK(sable_ops_int32);
    double sum = 0;
    int64_t lanes = 0;
#pragma omp parallel num_threads(threads) reduction(+ : sum, lanes)
    {
        struct peak_gain gain = run(steps, a, b);
        sum += gain.sum;
        lanes += gain.lanes;
    }
    *operations = 2.0 * (double)lanes * (double)steps;
    return sum / (double)lanes;
}

void sable_exp_fp32(int64_t n, const float *x, float *y)
{
    SABLE_ISA_PICK(sable_exp_lanes)(n, x, y);
}

double sable_peak_exp_fp32(int threads, int64_t passes)
{
    void (*run)(int64_t, const float *, float *) = SABLE_ISA_PICK(sable_exp_lanes);
    double sum = 0;
    int64_t count = 0;
#pragma omp parallel num_threads(threads) reduction(+ : sum, count)
    {
        _Alignas(64) float x[SABLE_PEAK_EXP_ELEMENTS], y[SABLE_PEAK_EXP_ELEMENTS];
        for (int i = 0; i < SABLE_PEAK_EXP_ELEMENTS; i++) {
            x[i] = ((float)i + 0.5F) / SABLE_PEAK_EXP_ELEMENTS - 1;
            y[i] = 0;
        }
        for (int64_t pass = 0; pass < passes; pass++)
            run(SABLE_PEAK_EXP_ELEMENTS, x, y);
        for (int i = 0; i < SABLE_PEAK_EXP_ELEMENTS; i++)
            sum += (double)y[i];
        count += SABLE_PEAK_EXP_ELEMENTS;
    }
    return sum / (double)count;
}

int64_t sable_peak_barriers(int threads, int64_t count)
{
    /* A cache line for each thread, and a slot for even and odd rounds: a slot is written again only after another
     * barrier has shown that it was read. */
    struct {
        _Alignas(64) int64_t round[2];
    } written[threads];
    int64_t right = 0;
#pragma omp parallel num_threads(threads) reduction(+ : right)
    {
        int own = omp_get_thread_num(), neighbour = (own + 1) % omp_get_num_threads();
        for (int64_t i = 0; i < count; i++) {
            written[own].round[i % 2] = i;
#pragma omp barrier
            right += written[neighbour].round[i % 2] == i;
        }
    }
    return right;
}
