/* The variants of ssm/s4 and ssm/s4d. */
#include <math.h>
#include <string.h>

#include "sable_array.h"
#include "sable_s4d.h"
#include "ssm_filter.h"

static const float *input_of(const struct filter *f)
{
    return f->turned ? f->u_turned : f->u;
}

static float *output_of(const struct filter *f)
{
    return f->turned ? f->y_turned : f->y;
}

/* ---- Convolution ---- */

/* From half way on a filter with a lost carry knows nothing of what came before: as if its kernel ended there. */
static void spoil_kernel(struct filter *f)
{
    const int64_t length = f->params.length;
    for (int64_t h = 0; h < f->part.columns && f->fault == FAULT_LOST_CARRY; h++)
        for (int64_t t = length / 2; t < length; t++)
            f->kernel[sable_kernel_index(length, h, t)] = 0;
}

static void make_kernel(struct filter *f)
{
    if (f->part.rows == 0 || (f->params.kernel == FILTER_ONCE && f->kernel_made))
        return;
    f->model->discretise(f);
    f->model->kernel(f);
    spoil_kernel(f);
    if (f->variant == FILTER_SABLE)
        sable_spectrum(&f->fft, f->part.columns, f->params.length, f->kernel, f->spectrum);
    else
        sable_fftw_spectrum(f->fftw, f->part.columns, f->params.length, f->kernel, f->spectrum);
    f->kernel_made = true;
}

static void convolve(struct filter *f)
{
    const struct filter_params *p = &f->params;
    if (f->part.rows == 0)
        return;
    if (f->variant == FILTER_SABLE)
        sable_convolve(&f->fft, f->part.rows, f->part.columns, p->length, input_of(f), f->spectrum, f->skip,
                       output_of(f), f->room);
    else
        sable_fftw_convolve(f->fftw, f->part.rows, f->part.columns, p->length, input_of(f), f->spectrum, f->skip,
                            output_of(f), f->room);
}

/* ---- The transforms alone: rows of u there and back ---- */

void filter_bare_begin(struct filter *f)
{
    const int64_t length = f->params.length, columns = f->part.columns, rows = f->part.rows * columns;
    const int64_t pitch = sable_fftw_pitch(2 * f->fft.size);
    const float *u = input_of(f);
#pragma omp parallel for schedule(static)
    for (int64_t r = 0; r < rows; r++) {
        float *row = f->rows + r * pitch;
        for (int64_t t = 0; t < length; t++)
            row[t] = u[(r / columns * length + t) * columns + r % columns];
        memset(row + length, 0, (size_t)(pitch - length) * sizeof *row);
        if (f->fault == FAULT_WRONG_POLE || f->fault == FAULT_LOST_CARRY) /* one value, or all of the later half */
            memset(row + length / 2, 0, (size_t)(f->fault == FAULT_WRONG_POLE ? 1 : length - length / 2) * sizeof *row);
    }
}

static void bare_end(struct filter *f)
{
    const int64_t length = f->params.length, columns = f->part.columns, rows = f->part.rows * columns;
    const int64_t points = 2 * f->fft.size, pitch = sable_fftw_pitch(points);
    const float scale = 1 / (float)points;
    float *y = output_of(f);
#pragma omp parallel for schedule(static)
    for (int64_t r = 0; r < rows; r++)
        for (int64_t t = 0; t < length; t++)
            y[(r / columns * length + t) * columns + r % columns] = scale * f->rows[r * pitch + t];
}

/* ---- Steps ---- */

static void steps(struct filter *f)
{
    const struct filter_params *p = &f->params;
    const int64_t half = p->length / 2, each = f->part.columns * p->length, x = 2 * f->pairs * f->table_columns;
    if (f->part.rows == 0)
        return;
    if (f->fault != FAULT_LOST_CARRY) {
        f->model->steps(f, f->part.rows, p->length, input_of(f), f->state, output_of(f));
        return;
    }
    for (int64_t b = 0; b < f->part.rows; b++) {
        const float *u = input_of(f) + b * each;
        float *y = output_of(f) + b * each;
        f->model->steps(f, 1, half, u, f->state + b * x, y);
        memset(f->state + b * x, 0, (size_t)x * sizeof *f->state);
        f->model->steps(f, 1, p->length - half, u + half * f->part.columns, f->state + b * x,
                        y + half * f->part.columns);
    }
}

/* Ends of all chunks to seeds: each rank chains all chunks of its own channels. Without `over_time` all are here. */
static int carry(struct filter *f, struct sable_context *context, struct sable_error *error)
{
    const struct filter_params *p = &f->params;
    const int64_t all = (p->length + p->chunk - 1) / p->chunk, inner = 2 * f->pairs;
    const int64_t first = f->over_time ? f->part.column : 0, count = f->over_time ? f->part.columns : f->table_columns;
    const int64_t sequences = f->over_time ? p->batch : f->part.rows;
    float *slices = f->over_time ? sable_array(sequences * all * inner, count, sizeof *slices) : f->state;
    double *from = sable_array(inner, count, sizeof *from);
    if (!slices || !from)
        sable_fail(error, SABLE_ENVIRONMENT, "%s: out of memory for the carries", f->model->name);
    if (sable_agree(context->comm, error))
        goto done;
    sable_phase(context, FILTER_COMMUNICATE);
    if (f->over_time && filter_turn(context, sequences, all, 1, inner, p->channels, f->state, slices, false, error))
        goto done;
    for (int64_t b = 0; b < sequences; b++) {
        memset(from, 0, (size_t)(inner * count) * sizeof *from);
        sable_s4d_carry(f->table_columns, f->pairs, first, count, all, p->chunk, f->table,
                        slices + b * all * inner * count, from);
    }
    if (f->over_time)
        filter_turn(context, sequences, all, 1, inner, p->channels, f->state, slices, true, error);
done:
    sable_array_free(from);
    if (slices != f->state)
        sable_array_free(slices);
    return error->code;
}

static int by_chunks(struct filter *f, struct sable_context *context, struct sable_error *error)
{
    const struct filter_params *p = &f->params;
    const int64_t sequences = f->over_time ? p->batch : f->part.rows, inner = 2 * f->pairs * f->table_columns;
    const int64_t length = f->over_time ? f->steps : p->length;
    sable_phase(context, FILTER_APPLY);
    if (length > 0)
        sable_s4d_steps(f->table_columns, f->pairs, sequences, length, p->chunk, f->factors, f->u, NULL, f->state,
                        NULL);
    if (carry(f, context, error))
        return error->code;
    sable_phase(context, FILTER_APPLY);
    if (f->fault == FAULT_LOST_CARRY) /* of all chunks but the first of each rank */
        for (int64_t b = 0; b < sequences && f->chunks > 1; b++)
            memset(f->state + (b * f->chunks + 1) * inner, 0, (size_t)((f->chunks - 1) * inner) * sizeof *f->state);
    if (length > 0)
        sable_s4d_steps(f->table_columns, f->pairs, sequences, length, p->chunk, f->factors, f->u, f->skip, f->state,
                        f->y);
    return SABLE_OK;
}

/* ---- The formula ---- */

static int reference(struct filter *f, struct sable_error *error)
{
    const int64_t length = f->params.length, columns = f->part.columns, rows = f->part.rows * columns;
    const int64_t half = f->fault == FAULT_LOST_CARRY ? length / 2 : 0;
    int failed = 0;
    f->model->discretise(f);
#pragma omp parallel for schedule(static) reduction(| : failed)
    for (int64_t r = 0; r < rows; r++) {
        const int64_t b = r / columns, h = r % columns;
        const float *u = input_of(f) + b * length * columns + h;
        float *y = output_of(f) + b * length * columns + h;
        double *x = f->final + r * 2 * f->pairs, *out = sable_array(length, 1, sizeof *out);
        const double skip = (double)f->skip[h];
        if (!out) {
            failed = 1;
            continue;
        }
        memset(x, 0, (size_t)(2 * f->pairs) * sizeof *x);
        if (half > 0) {
            f->model->row(f, h, half, u, columns, skip, x, out);
            memset(x, 0, (size_t)(2 * f->pairs) * sizeof *x);
        }
        f->model->row(f, h, length - half, u + half * columns, columns, skip, x, out + half);
        for (int64_t t = 0; t < length; t++)
            y[t * columns] = (float)out[t];
        if (b == 0 && f->kernel) {
            f->model->impulse(f, h, length, out);
            for (int64_t t = 0; t < length; t++)
                f->kernel[sable_kernel_index(length, h, t)] = (float)out[t];
        }
        sable_array_free(out);
    }
    f->kernel_made = f->kernel && rows > 0;
    return failed ? sable_fail(error, SABLE_ENVIRONMENT, "%s: out of memory for a row", f->model->name) : SABLE_OK;
}

/* ---- Faults of y, in the first channel of a rank ---- */

static void spoil(struct filter *f)
{
    const struct filter_params *p = &f->params;
    const int64_t pitch = f->over_time ? p->channels : f->part.columns, steps = f->steps, block = steps / 4;
    float *y = f->y;
    uint32_t bits;
    if (steps == 0 || pitch == 0 || (!f->over_time && f->part.rows == 0))
        return;
    if (f->fault == FAULT_WRONG_CHUNK)
        for (int64_t t = 0; t < block; t++) {
            const float first = y[t * pitch];
            y[t * pitch] = y[(t + steps - block) * pitch];
            y[(t + steps - block) * pitch] = first;
        }
    if (f->fault == FAULT_SHIFT)
        for (int64_t t = steps - 1; t >= 0; t--)
            y[t * pitch] = t > 0 ? y[(t - 1) * pitch] : y[0] + 1;
    if (f->fault == FAULT_SKIP_BLOCK)
        for (int64_t t = steps - block - 1; t < steps; t++)
            y[t * pitch] = 0;
    if (f->fault == FAULT_NAN)
        y[steps / 2 * pitch] = NAN;
    if (f->fault == FAULT_FLIP_BIT) {
        memcpy(&bits, &y[steps / 2 * pitch], sizeof bits);
        bits ^= 1U << 30;
        memcpy(&y[steps / 2 * pitch], &bits, sizeof bits);
    }
}

/* ---- A repetition ---- */

void filter_settle(struct filter *f)
{
    if (f->settled)
        return;
    f->settled = true;
    if (f->variant == FILTER_BARE && !f->over_time)
        bare_end(f);
    spoil(f);
}

static int turn_signal(struct filter *f, struct sable_context *context, bool back, struct sable_error *error)
{
    const struct filter_params *p = &f->params;
    sable_phase(context, FILTER_COMMUNICATE);
    return filter_turn(context, p->batch, p->length, p->chunk, 1, p->channels, back ? f->y : f->u,
                       back ? f->y_turned : f->u_turned, back, error);
}

int filter_run(void *state, struct sable_context *context, struct sable_error *error)
{
    struct filter *f = state;
    if (f->turned && turn_signal(f, context, false, error))
        return error->code;
    sable_phase(context, f->variant == FILTER_BARE ? FILTER_APPLY : FILTER_KERNEL);
    if (f->variant == FILTER_REFERENCE)
        reference(f, error);
    else if (f->variant == FILTER_BARE) {
        if (f->over_time)
            filter_bare_begin(f);
        sable_fftw_transform(f->fftw, f->part.rows * f->part.columns, f->rows, true);
        if (f->over_time)
            bare_end(f);
    } else if (f->mode == FILTER_CONVOLUTION) {
        make_kernel(f);
        sable_phase(context, FILTER_APPLY);
        convolve(f);
    } else {
        f->model->discretise(f);
        sable_phase(context, FILTER_APPLY);
        if (f->by_chunks)
            by_chunks(f, context, error);
        else
            steps(f);
    }
    if (f->variant == FILTER_REFERENCE && sable_agree(context->comm, error))
        return error->code;
    if (f->turned && !error->code)
        turn_signal(f, context, true, error);
    return error->code;
}

const struct sable_variant filter_variants[] = {
    [FILTER_REFERENCE] = {"reference", "the formula in float64, step by step; the kernel by powers", filter_run},
    [FILTER_SABLE] = {"sable", "lanes over channels, as `mode` says", filter_run},
    [FILTER_BARE] = {"fftw", "FFTW's transforms of the same sizes alone, there and back: the limit of a convolution",
                     filter_run, .peer = true},
    [FILTER_FFTW] = {"fftw_convolution", "the convolution by FFTW's real transforms", filter_run, .peer = true},
    {0},
};
