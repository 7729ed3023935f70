/* One rank's part of ssm/s4 and ssm/s4d: its arrays and its runs. The files beside it: ssm_filter_turn.c (what ranks
 * say to each other), ssm_filter_check.c (verification, outputs), ssm_s4.c and ssm_s4d.c (the models). */
#include "ssm_filter.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "input.h"
#include "sable_array.h"

const char *const filter_phases[] = {
    [FILTER_KERNEL] = "kernel", [FILTER_APPLY] = "apply", [FILTER_COMMUNICATE] = "communicate", NULL};
const char *const filter_strategies[] = {"auto", "channels", "batch", "sequence", NULL};
const char *const filter_kernels[] = {"every", "once", NULL};
const struct sable_class filter_classes[] = {
    {"T", "batch=2 channels=5 states=6 length=101 chunk=17"}, {"S", "batch=1 channels=256 states=64 length=16384"},
    {"A", "batch=4 channels=512 states=64 length=16384"},     {"B", "batch=16 channels=1024 states=64 length=16384"},
    {"C", "batch=32 channels=1024 states=64 length=65536"},   {"D", "batch=128 channels=2048 states=64 length=65536"},
    {"E", "batch=256 channels=4096 states=64 length=262144"}, {0}};
const struct sable_growth filter_weak[] = {{"batch", 1}, {0}};
const struct sable_fault filter_faults[] = {
    {"lost_carry", "forget the first half of the sequence half way"},
    {"wrong_chunk", "swap two chunks of y"},
    {"shift", "give y one step late"},
    {"skip_block", "leave out the last steps of a channel"},
    {"flip_bit", "flip a bit of one y"},
    {"nan", "make one y NaN"},
    {"wrong_pole", "give a state the pole of another (the bare transforms: lose a value)"},
    {0},
};

/* ---- Sizes ---- */

bool filter_over_time(const struct filter_params *p)
{
    return p->strategy == FILTER_SEQUENCE;
}

/* Sequences × channels of a rank's run; over time by chunks, of its share of the verification. */
struct ssm_part filter_split(const struct filter_params *p, bool turned, struct sable_layout layout)
{
    return ssm_split(p->batch, p->channels, turned ? SSM_CHANNELS : (enum ssm_strategy)p->strategy, layout);
}

int filter_check(const void *params, struct sable_layout layout, struct sable_error *error)
{
    (void)layout;
    const struct filter_params *p = params;
    int64_t all, row;
    if (p->states % 2)
        return sable_fail(error, SABLE_BAD_INPUT,
                          "states=%lld: states come in pairs of conjugates, so take an even number",
                          (long long)p->states);
    if (!sable_multiply(p->channels + 16, p->states + 4, &row) || !sable_multiply(p->batch, p->channels + 16, &all) ||
        !sable_multiply(all > row ? all : row, p->length, &all) || all > INT64_MAX / 128)
        return sable_fail(error, SABLE_BAD_INPUT,
                          "batch × channels × length = %lld × %lld × %lld is more than 64 bits hold",
                          (long long)p->batch, (long long)p->channels, (long long)p->length);
    if (filter_over_time(p) && (double)p->length * (double)p->channels > 2147483647.0)
        return sable_fail(
            error, SABLE_BAD_INPUT,
            "strategy=sequence exchanges length × channels = %lld × %lld numbers of a sequence: more than "
            "2^31; take strategy=channels, or less of both",
            (long long)p->length, (long long)p->channels);
    return SABLE_OK;
}

static int64_t size_of(int64_t length)
{
    const int64_t size = sable_fft_size(length);
    return size < 2 * SABLE_FFT_LEAST ? 2 * SABLE_FFT_LEAST : size; /* S4 makes its kernel from half of it */
}

static int mode_of(const struct filter_model *model, const struct filter_params *p)
{
    return p->mode == FILTER_AUTO ? model->choose(p) : p->mode;
}

static bool by_chunks_of(const struct filter_model *model, const struct filter_params *p)
{
    return model->diagonal && mode_of(model, p) == FILTER_OTHER;
}

static int64_t chunks_of(const struct filter_params *p)
{
    return (p->length + p->chunk - 1) / p->chunk;
}

/* ---- The work model ---- */

void filter_work(const struct filter_model *model, const struct filter_params *params, struct sable_layout layout,
                 const struct filter *f, struct sable_work *work)
{
    const struct filter_params *p = f ? &f->params : params;
    const struct ssm_part part = filter_split(p, filter_over_time(p), layout);
    const bool chunks = by_chunks_of(model, p), turned = filter_over_time(p) && !chunks;
    const double columns = (double)part.columns, tables = chunks && filter_over_time(p) ? (double)p->channels : columns;
    const double samples = (double)part.rows * columns * (double)p->length, pairs = (double)p->states / 2;
    const double size = (double)size_of(p->length), padded = ceil(tables / 16) * 16, log_size = log2(size);
    const int mode = mode_of(model, p);
    double memory = 4 * samples * (filter_over_time(p) ? 5 : 3) + 4 * tables, flops = 0;
    memory += model->memory(p, tables, layout.threads);
    if (mode == FILTER_CONVOLUTION) { /* two transforms of M complex points, a product */
        const double rows = (double)part.rows * columns, kernels = p->kernel == FILTER_EVERY ? columns : 0;
        flops = rows * (10 * size * log_size + 6 * size) +
                kernels * (5 * size * log_size + (model->diagonal ? 4 * pairs * (double)p->length : 20 * pairs * size));
        memory += 4 * (padded * ((double)p->length + 2 * size) + 32 * layout.threads * (2 * size + 64)) +
                  8 * columns * (rows > 0 ? 1 : 0) * 2 * size + (rows + 16) * 4 * (2 * size + 32);
    } else {
        /* x ← q x + u, y ← y + g x; dplr: w s and the next s besides; dense: N² */
        flops = samples * pairs * (model->diagonal ? 12 : mode == FILTER_OTHER ? 8 * pairs : 24);
        flops *= chunks && chunks_of(p) > 1 ? 20.0 / 12 : 1;
        memory += 4 * ((double)part.rows * tables * 2 * pairs * (double)(chunks ? chunks_of(p) + 1 : 1) * 2);
    }
    *work = (struct sable_work){
        .items = samples,
        .flops_fp32 = flops,
        .bytes = 8 * samples,
        .pattern = SABLE_COPY,
        .working_set = 8 * samples,
        .bytes_network = layout.ranks > 1 ? turned                ? 8 * samples
                                            : filter_over_time(p) ? 16 * samples * pairs / (double)p->chunk
                                                                  : 0
                                          : 0,
        .messages = layout.ranks > 1 && filter_over_time(p) ? 2 * (layout.ranks - 1) : 0,
        .memory =
            memory + 16 * samples * pairs / (double)p->length + 8 * (double)layout.threads * 6 * (double)p->length,
    };
}

/* ---- Setup ---- */

void filter_free(void *state)
{
    struct filter *f = state;
    void *arrays[] = {f->u,         f->y,       f->skip,   f->u_turned, f->y_turned, f->a,
                      f->b,         f->c,       f->p,      f->dt,       f->table,    f->input,
                      f->truncated, f->factors, f->matrix, f->cauchy,   f->nodes,    f->kernel,
                      f->spectrum,  f->room,    f->rows,   f->state,    f->final,    f->c_imaginary};
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++)
        sable_array_free(arrays[i]);
    sable_fft_free(&f->fft);
    sable_fft_free(&f->half);
    sable_fftw_free(f->fftw);
    free(f);
}

static int no_memory(const struct filter *f, struct sable_error *error)
{
    return sable_fail(error, SABLE_ENVIRONMENT, "%s: out of memory for %lld channels of %lld steps", f->model->name,
                      (long long)f->part.columns, (long long)f->params.length);
}

static bool room(float **array, int64_t floats)
{
    return floats >= 0 && (*array = sable_array(floats, 1, sizeof(float)));
}

static bool convolution_arrays(struct filter *f, int threads)
{
    const int64_t columns = f->part.columns, rows = f->part.rows * columns, size = size_of(f->params.length);
    const int64_t points = 2 * size, pitch = sable_fftw_pitch(points);
    if (!sable_fft_plan(size, &f->fft) || !sable_fft_plan(size / 2, &f->half) ||
        !room(&f->kernel, sable_kernel_floats(columns, f->params.length)))
        return false;
    memset(f->kernel, 0, (size_t)sable_kernel_floats(columns, f->params.length) * sizeof(float));
    if (f->variant == FILTER_SABLE || f->variant == FILTER_REFERENCE)
        return room(&f->spectrum, sable_spectrum_floats(size, columns)) &&
               room(&f->room, sable_convolution_room(size, threads));
    return (f->fftw = sable_fftw_plan(points)) && room(&f->spectrum, columns * pitch) &&
           room(&f->room, 16 * pitch * threads + sable_convolution_room(size, threads)) &&
           (f->variant != FILTER_BARE || room(&f->rows, rows * pitch));
}

static bool arrays(struct filter *f, int threads)
{
    const struct filter_params *p = &f->params;
    const int64_t home = f->over_time ? p->batch * f->steps * p->channels : f->part.rows * f->part.columns * p->length;
    const int64_t turned = f->over_time ? p->batch * p->length * f->part.columns : 0;
    const int64_t state = (f->over_time ? p->batch : f->part.rows) * f->chunks * 2 * f->pairs * f->table_columns;
    if (!room(&f->u, home) || !room(&f->y, home) || !room(&f->u_turned, turned) || !room(&f->y_turned, turned) ||
        !room(&f->skip, f->table_columns) || !room(&f->state, state))
        return false;
    f->final = sable_array(f->part.rows * f->part.columns, 2 * f->pairs, sizeof(double));
    return f->final && (f->mode != FILTER_CONVOLUTION || convolution_arrays(f, threads));
}

/* u, its block at home; and the skip of the table's channels. */
static int signals(struct filter *f, struct sable_context *context, struct sable_error *error)
{
    const struct filter_params *p = &f->params;
    const int64_t shape[] = {p->batch, p->length, p->channels}, at[] = {f->table_column};
    const int64_t offset[] = {f->over_time ? 0 : f->part.row, f->step, f->over_time ? 0 : f->part.column};
    const int64_t count[] = {f->over_time ? p->batch : f->part.rows, f->steps,
                             f->over_time ? p->channels : f->part.columns};
    ssm_fill(context, "u", SSM_U, -1, 1, 3, shape, offset, count, f->u, error);
    if (!error->code)
        ssm_fill(context, "d", SSM_D, 0.5, 1.5, 1, &p->channels, at, &f->table_columns, f->skip, error);
    return error->code;
}

static int sizes_of_u(struct filter_params *p, struct sable_input *input, struct sable_error *error)
{
    int64_t shape[3];
    if (!input || !sable_input_has(input, "u"))
        return SABLE_OK;
    if (sable_input_shape(input, "u", 3, shape, error))
        return error->code;
    p->batch = shape[0], p->length = shape[1], p->channels = shape[2];
    return SABLE_OK;
}

int filter_read_dt(struct filter *f, struct sable_context *context, bool one, struct sable_error *error)
{
    const int64_t columns = f->table_columns;
    struct sable_error other = {0};
    int64_t none;
    for (int64_t h = 0; h < columns; h++)
        f->dt[h] = exp(ssm_draw(context->seed, SSM_DELTA, f->table_column + h, log(0.001), log(0.1)));
    if (context->input && sable_input_has(context->input, "dt") && columns > 0) {
        const bool scalar = one && sable_input_shape(context->input, "dt", 0, &none, &other) == 0;
        if ((!scalar && ssm_expect(context, "dt", 1, &f->params.channels, error)) ||
            sable_input_read(context->input, "dt", SABLE_F64, scalar ? 0 : 1, &f->table_column, &columns, f->dt, error))
            return error->code;
        for (int64_t h = 1; h < columns && scalar; h++)
            f->dt[h] = f->dt[0];
    }
    for (int64_t h = 0; h < columns; h++)
        if (!(f->dt[h] > 0 && f->dt[h] <= 1e6))
            return sable_fail(error, SABLE_BAD_INPUT, "%s: 'dt' holds %g, which is no step",
                              sable_input_path(context->input), f->dt[h]);
    return SABLE_OK;
}

int filter_setup(const struct filter_model *model, const struct filter_params *params, struct sable_context *context,
                 void **state, struct sable_error *error)
{
    struct filter *f = calloc(1, sizeof *f);
    if (!f)
        return sable_fail(error, SABLE_ENVIRONMENT, "%s: out of memory", model->name);
    *state = f;
    f->model = model;
    f->params = *params;
    struct filter_params *p = &f->params;
    if (sizes_of_u(p, context->input, error) || model->sizes(p, context, error) ||
        filter_check(p, context->layout, error))
        return error->code;
    for (int v = 0; filter_variants[v].name; v++)
        if (strcmp(filter_variants[v].name, context->variant) == 0)
            f->variant = (enum filter_variant)v;
    f->fault = context->fault;
    f->pairs = p->states / 2;
    f->mode = f->variant >= FILTER_BARE ? FILTER_CONVOLUTION : mode_of(model, p);
    f->over_time = filter_over_time(p);
    f->by_chunks = model->diagonal && f->mode == FILTER_OTHER && f->variant == FILTER_SABLE;
    f->turned = f->over_time && !f->by_chunks;
    f->part = filter_split(p, f->over_time, context->layout);
    f->steps = p->length;
    if (f->over_time) {
        const int64_t unit = p->chunk, all = chunks_of(p), ranks = context->layout.ranks, rank = context->layout.rank;
        const int64_t end = ssm_first(all, ranks, rank + 1) * unit;
        f->step = ssm_first(all, ranks, rank) * unit < p->length ? ssm_first(all, ranks, rank) * unit : p->length;
        f->steps = (end < p->length ? end : p->length) - f->step;
    }
    f->table_column = f->over_time && f->by_chunks ? 0 : f->part.column;
    f->table_columns = f->over_time && f->by_chunks ? p->channels : f->part.columns;
    f->chunks = !f->by_chunks ? 1 : f->over_time ? (f->steps + p->chunk - 1) / p->chunk : chunks_of(p);
    if (!arrays(f, context->layout.threads))
        return no_memory(f, error);
    if (signals(f, context, error) || model->fill(f, context, error))
        return error->code;
    return SABLE_OK;
}

int filter_reset(void *state, struct sable_context *context, struct sable_error *error)
{
    (void)context, (void)error;
    struct filter *f = state;
    const struct filter_params *p = &f->params;
    const int64_t n = f->over_time ? p->batch * f->steps * p->channels : f->part.rows * f->part.columns * p->length;
    const int64_t states = (f->over_time ? p->batch : f->part.rows) * f->chunks * 2 * f->pairs * f->table_columns;
    memset(f->state, 0, (size_t)states * sizeof *f->state);
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < n; i++)
        f->y[i] = NAN; /* a y that is not written is seen */
    f->settled = false;
    if (f->variant == FILTER_BARE && !f->over_time)
        filter_bare_begin(f);
    return SABLE_OK;
}
