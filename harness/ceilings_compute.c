/* What the cores can do without memory: multiply-adds, dot products, exponentials, barriers. */
#include "ceilings_site.h"
#include "sable_peaks.h"

static const double operand = 1;

struct peak {
    int threads;
    enum sable_bf16_unit unit;
    double flops; /* of one step on this rank's threads */
};

static int run_fp64(void *state, int64_t steps, struct sable_error *error)
{
    struct peak *peak = state;
    if (sable_peak_fma_fp64(peak->threads, steps, operand, operand, &peak->flops) != (double)steps)
        return sable_fail(error, SABLE_BUG, "the fp64 multiply-add kernel lost some of %lld steps", (long long)steps);
    peak->flops /= (double)steps;
    return SABLE_OK;
}

static int run_ops(void *state, int64_t steps, struct sable_error *error)
{
    struct peak *peak = state;
    if (sable_peak_ops_fp64(peak->threads, steps, operand, operand, &peak->flops) != (double)steps)
        return sable_fail(error, SABLE_BUG, "the fp64 operations kernel lost some of %lld steps", (long long)steps);
    peak->flops /= (double)steps;
    return SABLE_OK;
}

static int run_ops_int32(void *state, int64_t steps, struct sable_error *error)
{
    struct peak *peak = state;
    if (sable_peak_ops_int32(peak->threads, steps, 0, 1, &peak->flops) != (double)steps)
        return sable_fail(error, SABLE_BUG, "the integer operations kernel lost some of %lld steps", (long long)steps);
    peak->flops /= (double)steps;
    return SABLE_OK;
}

static int run_fp32(void *state, int64_t steps, struct sable_error *error)
{
    struct peak *peak = state;
    if (sable_peak_fma_fp32(peak->threads, steps, (float)operand, (float)operand, &peak->flops) != (double)steps)
        return sable_fail(error, SABLE_BUG, "the fp32 multiply-add kernel lost some of %lld steps", (long long)steps);
    peak->flops /= (double)steps;
    return SABLE_OK;
}

static int run_bf16(void *state, int64_t steps, struct sable_error *error)
{
    struct peak *peak = state;
    double expected = (peak->unit == SABLE_BF16_AMX ? 64 : 4) * (double)steps;
    if (sable_peak_bf16(peak->unit, peak->threads, steps, &peak->flops) != expected)
        return sable_fail(error, SABLE_BUG, "the bfloat16 kernel lost some of %lld steps", (long long)steps);
    peak->flops /= (double)steps;
    return SABLE_OK;
}

static int run_exp(void *state, int64_t passes, struct sable_error *error)
{
    const struct peak *peak = state;
    double mean = sable_peak_exp_fp32(peak->threads, passes);
    if (!(mean > 0.632 && mean < 0.6322)) /* 1 − 1/e */
        return sable_fail(error, SABLE_BUG, "the mean of exp over [-1, 0) came out as %g", mean);
    return SABLE_OK;
}

static int run_barrier(void *state, int64_t count, struct sable_error *error)
{
    const struct peak *peak = state;
    if (sable_peak_barriers(peak->threads, count) != peak->threads * count)
        return sable_fail(error, SABLE_BUG, "a value written before an OpenMP barrier was not seen after it");
    return SABLE_OK;
}

/* The fp32 and integer sums of the kernels are exact up to these numbers of steps. */
enum { MOST_FP32 = 1 << 22, MOST_BF16 = 1 << 17, MOST_INT32 = 1 << 30 };

static int add_fma(const struct ceilings_site *site, struct sable_ceilings *ceilings, struct sable_error *error)
{
    struct peak peak = {.threads = site->threads};
    struct sable_interval seconds;
    int index;
    struct ceilings_kernel fp64 = {.run = run_fp64, .state = &peak, .most = 0};
    struct ceilings_kernel ops = {.run = run_ops, .state = &peak, .most = 0};
    struct ceilings_kernel int32 = {.run = run_ops_int32, .state = &peak, .most = MOST_INT32};
    struct ceilings_kernel fp32 = {.run = run_fp32, .state = &peak, .most = MOST_FP32};
    if (ceilings_time(site, &fp64, &seconds, error) ||
        ceilings_add_rate(site, "fma_fp64", "GFLOP/s", peak.flops * site->ranks, &seconds, ceilings, &index, error))
        return error->code;
    if (ceilings_time(site, &ops, &seconds, error) ||
        ceilings_add_rate(site, "ops_fp64", "Gop/s", peak.flops * site->ranks, &seconds, ceilings, &index, error))
        return error->code;
    if (ceilings_time(site, &int32, &seconds, error) ||
        ceilings_add_rate(site, "ops_int32", "Gop/s", peak.flops * site->ranks, &seconds, ceilings, &index, error))
        return error->code;
    if (ceilings_time(site, &fp32, &seconds, error))
        return error->code;
    return ceilings_add_rate(site, "fma_fp32", "GFLOP/s", peak.flops * site->ranks, &seconds, ceilings, &index, error);
}

/* The faster of the units that every rank has. */
static int add_bf16(const struct ceilings_site *site, struct sable_ceilings *ceilings, struct sable_error *error)
{
    int have[SABLE_BF16_UNITS], index;
    for (int unit = 0; unit < SABLE_BF16_UNITS; unit++)
        have[unit] = sable_bf16_available((enum sable_bf16_unit)unit);
    if (sable_check_mpi(MPI_Allreduce(MPI_IN_PLACE, have, SABLE_BF16_UNITS, MPI_INT, MPI_MIN, site->comm),
                        "MPI_Allreduce", error))
        return error->code;
    struct sable_interval best = {0}, seconds;
    double flops = 0;
    const char *means = "";
    for (int unit = 0; unit < SABLE_BF16_UNITS; unit++) {
        struct peak peak = {.threads = site->threads, .unit = (enum sable_bf16_unit)unit};
        struct ceilings_kernel kernel = {.run = run_bf16, .state = &peak, .most = MOST_BF16};
        if (!have[unit])
            continue;
        if (ceilings_time(site, &kernel, &seconds, error))
            return error->code;
        if (flops == 0 || peak.flops / seconds.mid > flops / best.mid) {
            best = seconds;
            flops = peak.flops;
            means = unit == SABLE_BF16_AMX ? "amx" : "avx512";
        }
    }
    if (flops == 0)
        return SABLE_OK;
    if (ceilings_add_rate(site, "dot_bf16", "GFLOP/s", flops * site->ranks, &best, ceilings, &index, error))
        return error->code;
    ceilings_set_means(&ceilings->list[index], means);
    return SABLE_OK;
}

int ceilings_compute(const struct ceilings_site *site, struct sable_ceilings *ceilings, struct sable_error *error)
{
    struct peak peak = {.threads = site->threads};
    struct sable_interval seconds;
    int index;
    if (add_fma(site, ceilings, error) || add_bf16(site, ceilings, error))
        return error->code;
    struct ceilings_kernel exponential = {.run = run_exp, .state = &peak, .most = 0};
    double each = (double)SABLE_PEAK_EXP_ELEMENTS * site->threads * site->ranks;
    if (ceilings_time(site, &exponential, &seconds, error) ||
        ceilings_add_rate(site, "exp_fp32", "Gexp/s", each, &seconds, ceilings, &index, error))
        return error->code;
    struct ceilings_kernel barrier = {.run = run_barrier, .state = &peak, .most = 0};
    if (ceilings_time(site, &barrier, &seconds, error))
        return error->code;
    return ceilings_add_time(site, "omp_barrier", "us", 1e-6, &seconds, ceilings, error);
}
