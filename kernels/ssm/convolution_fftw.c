#include "sable_convolution_fftw.h"

#include <fftw3.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "sable_convolution.h"

enum { ROWS = 16 /* channels at a time: a line of u or y */, LINE = 16 };

struct sable_fftw {
    int64_t points;
    fftwf_plan there, back;
};

int64_t sable_fftw_pitch(int64_t points)
{
    return (points + 2 + LINE - 1) / LINE * LINE;
}

struct sable_fftw *sable_fftw_plan(int64_t points)
{
    struct sable_fftw *plan = calloc(1, sizeof *plan);
    float *x = fftwf_malloc((size_t)sable_fftw_pitch(points) * sizeof *x);
    if (plan && x && points <= INT32_MAX) {
        plan->points = points;
        plan->there = fftwf_plan_dft_r2c_1d((int)points, x, (fftwf_complex *)x, FFTW_ESTIMATE);
        plan->back = fftwf_plan_dft_c2r_1d((int)points, (fftwf_complex *)x, x, FFTW_ESTIMATE);
    }
    fftwf_free(x);
    if (plan && plan->there && plan->back)
        return plan;
    sable_fftw_free(plan);
    return NULL;
}

void sable_fftw_free(struct sable_fftw *plan)
{
    if (!plan)
        return;
    if (plan->there)
        fftwf_destroy_plan(plan->there);
    if (plan->back)
        fftwf_destroy_plan(plan->back);
    free(plan);
}

void sable_fftw_transform(const struct sable_fftw *plan, int64_t rows, float *x, bool back)
{
    const int64_t pitch = sable_fftw_pitch(plan->points);
#pragma omp parallel for schedule(static)
    for (int64_t r = 0; r < rows; r++) {
        float *row = x + r * pitch;
        fftwf_execute_dft_r2c(plan->there, row, (fftwf_complex *)row);
        if (back)
            fftwf_execute_dft_c2r(plan->back, (fftwf_complex *)row, row);
    }
}

/* `count` ≤ ROWS columns of x [length, pitch of x] to rows, zeros behind. */
static void columns_to_rows(int64_t length, int64_t count, const float *x, int64_t from, int64_t pitch, int64_t points,
                            float *rows)
{
    for (int64_t t = 0; t < length; t++)
        for (int64_t i = 0; i < count; i++)
            rows[i * pitch + t] = x[t * from + i];
    for (int64_t i = 0; i < count; i++)
        memset(rows + i * pitch + length, 0, (size_t)(points - length) * sizeof *rows);
}

void sable_fftw_spectrum(const struct sable_fftw *plan, int64_t channels, int64_t length, const float *kernel,
                         float *spectrum)
{
    const int64_t points = plan->points, pitch = sable_fftw_pitch(points);
    const float scale = 1 / (float)points;
#pragma omp parallel for schedule(static)
    for (int64_t h = 0; h < channels; h += SABLE_KERNEL_BLOCK) {
        int64_t count = channels - h < SABLE_KERNEL_BLOCK ? channels - h : SABLE_KERNEL_BLOCK;
        float *rows = spectrum + h * pitch;
        columns_to_rows(length, count, kernel + sable_kernel_index(length, h, 0), SABLE_KERNEL_BLOCK, pitch, points,
                        rows);
        for (int64_t i = 0; i < count; i++) {
            float *row = rows + i * pitch;
            for (int64_t t = 0; t < length; t++)
                row[t] *= scale;
            fftwf_execute_dft_r2c(plan->there, row, (fftwf_complex *)row);
        }
    }
}

static void filter(const struct sable_fftw *plan, float *row, const float *by)
{
    fftwf_execute_dft_r2c(plan->there, row, (fftwf_complex *)row);
    for (int64_t k = 0; k < plan->points + 2; k += 2) {
        const float re = row[k], im = row[k + 1];
        row[k] = re * by[k] - im * by[k + 1];
        row[k + 1] = re * by[k + 1] + im * by[k];
    }
    fftwf_execute_dft_c2r(plan->back, (fftwf_complex *)row, row);
}

void sable_fftw_convolve(const struct sable_fftw *plan, int64_t sequences, int64_t channels, int64_t length,
                         const float *u, const float *spectrum, const float *skip, float *y, float *room)
{
    const int64_t points = plan->points, pitch = sable_fftw_pitch(points), blocks = (channels + ROWS - 1) / ROWS;
#pragma omp parallel for schedule(static)
    for (int64_t task = 0; task < sequences * blocks; task++) {
        const int64_t h = task / sequences * ROWS, at = task % sequences * length * channels + h;
        const int64_t count = channels - h < ROWS ? channels - h : ROWS;
        float *rows = room + omp_get_thread_num() * ROWS * pitch;
        columns_to_rows(length, count, u + at, channels, pitch, points, rows);
        for (int64_t i = 0; i < count; i++)
            filter(plan, rows + i * pitch, spectrum + (h + i) * pitch);
        for (int64_t t = 0; t < length; t++)
            for (int64_t i = 0; i < count; i++)
                y[at + t * channels + i] = rows[i * pitch + t] + skip[h + i] * u[at + t * channels + i];
    }
}

bool sable_fftw_double(int64_t points, double *z)
{
    if (points > INT32_MAX)
        return false;
    fftw_plan plan = fftw_plan_dft_1d((int)points, (fftw_complex *)z, (fftw_complex *)z, FFTW_FORWARD, FFTW_ESTIMATE);
    if (!plan)
        return false;
    fftw_execute(plan);
    fftw_destroy_plan(plan);
    return true;
}
