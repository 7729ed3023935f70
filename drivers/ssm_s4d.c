/* ssm/s4d: the diagonal state space model S4D, as a convolution (kernel by powers, transforms), by steps, or by chunks
 * of steps whose carries are chained. What ranks share and how answers are checked: ssm_filter.h. Mathematics, work
 * model, bounds: docs/ssm_s4.md. */
#include <math.h>
#include <string.h>

#include "input.h"
#include "sable_array.h"
#include "sable_s4d.h"
#include "ssm_filter.h"

enum { START_LIN, START_INV };

#define PARAM(field) offsetof(struct filter_params, field)
static const char *const modes[] = {"auto", "convolution", "recurrence", "chunked", NULL};
static const char *const starts[] = {"lin", "inv", NULL};
static const struct sable_param parameters[] = {
    {"batch", SABLE_INT, PARAM(batch), "sequences", 1, 1e9, 0, 0, NULL, "1", "sequences"},
    {"channels", SABLE_INT, PARAM(channels), "", 1, 1e9, 0, 0, NULL, "256", "channels (H)"},
    {"states", SABLE_INT, PARAM(states), "", 2, 1024, 0, 0, NULL, "64", "states of a channel (N), pairs of conjugates"},
    {"length", SABLE_INT, PARAM(length), "steps", 1, 1e9, 0, 0, NULL, "16384", "steps of a sequence"},
    {"mode", SABLE_CHOICE, PARAM(mode), "", 0, 0, 0, 0, modes, "auto",
     "how y is found; auto: recurrence for few states, else convolution; chunked if ranks share time"},
    {"strategy", SABLE_CHOICE, PARAM(strategy), "", 0, 0, 0, 0, filter_strategies, "auto",
     "what ranks share: sequences as far as they divide, then channels; one of both; or time"},
    {"chunk", SABLE_INT, PARAM(chunk), "steps", 1, 1e9, 0, 0, NULL, "1024",
     "steps of a chunk of time; changes bits of mode=chunked"},
    {"kernel", SABLE_CHOICE, PARAM(kernel), "", 0, 0, 0, 0, filter_kernels, "every",
     "a convolution's kernel is made in every repetition, or once"},
    {"start", SABLE_CHOICE, PARAM(start), "", 0, 0, 0, 0, starts, "lin", "generated poles: S4D-Lin or S4D-Inv"},
    {0},
};
static const struct sable_field inputs[] = {
    {"u", "[batch, length, channels]", "input"},
    {"a", "[channels, states/2] complex", "poles, one of each pair of conjugates; real part at most 0"},
    {"b, c", "[channels, states/2] complex", "1 and drawn if absent"},
    {"d, dt", "[channels]", "skip and step"},
    {0},
};
static const struct sable_field outputs[] = {
    {"y", "[batch, length, channels]", "(--keep full)"},
    {"state", "[batch, channels, states/2] complex", "x after the last step; not of a convolution"},
    {"kernel", "[channels, length]", "of a convolution (--keep full)"},
    {0},
};

/* ---- Sizes ---- */

static int sizes(struct filter_params *p, struct sable_context *context, struct sable_error *error)
{
    int64_t of_a[2];
    struct sable_input *input = context->input;
    if (input && sable_input_has(input, "a")) {
        if (sable_input_shape(input, "a", 2, of_a, error))
            return error->code;
        if (of_a[1] > 512)
            return sable_fail(error, SABLE_BAD_INPUT, "%s: 'a' has %lld states, more than 512", sable_input_path(input),
                              (long long)of_a[1]);
        p->states = 2 * of_a[1];
        if (!sable_input_has(input, "u"))
            p->channels = of_a[0];
    }
    const int64_t of_state[] = {p->channels, p->states / 2};
    if (ssm_expect(context, "a", 2, of_state, error) || ssm_expect(context, "b", 2, of_state, error) ||
        ssm_expect(context, "c", 2, of_state, error) || ssm_expect(context, "dt", 1, of_state, error))
        return error->code;
    return SABLE_OK;
}

/* Measured times in operations on lanes: a step of a pair 6, a convolution FFT for each doubling of the length; where
 * it is made each time, shared by the sequences, a kernel KERNEL a pair, its spectrum SPECTRUM a doubling
 * (docs/ssm_s4.md).
 */
static int choose(const struct filter_params *p)
{
    enum { STEP = 6, FFT = 15, KERNEL = 6, SPECTRUM = 7 };
    const double pairs = (double)p->states / 2, doublings = log2((double)p->length + 1);
    const double made = p->kernel == FILTER_EVERY ? (KERNEL * pairs + SPECTRUM * doublings) / (double)p->batch : 0;
    if (filter_over_time(p))
        return FILTER_OTHER;
    return STEP * pairs <= FFT * doublings + made ? FILTER_RECURRENCE : FILTER_CONVOLUTION;
}

static double memory(const struct filter_params *p, double columns, int threads)
{
    const double pairs = (double)p->states / 2;
    return columns * pairs * (8 * 12 + 4 * 4) + (double)sable_s4d_kernel_room((int64_t)pairs, p->length, threads) * 4;
}

/* ---- Parameters ---- */

static void draw(struct filter *f, uint64_t seed)
{
    const int64_t columns = f->table_columns;
    const double states = (double)f->params.states, pi = 3.14159265358979323846;
    for (int64_t p = 0; p < f->pairs; p++)
        for (int64_t h = 0; h < columns; h++) {
            const int64_t re = 2 * p * columns + h, im = re + columns;
            const int64_t index = 2 * ((f->table_column + h) * f->pairs + p);
            f->a[re] = -0.5;
            f->a[im] = f->params.start == START_LIN ? pi * (double)p : states / pi * (states / (2 * (double)p + 1) - 1);
            f->b[re] = 1;
            f->b[im] = 0;
            f->c[re] = ssm_draw(seed, SSM_C, index, -1, 1);
            f->c[im] = ssm_draw(seed, SSM_C, index + 1, -1, 1);
        }
}

static int fill(struct filter *f, struct sable_context *context, struct sable_error *error)
{
    const int64_t columns = f->table_columns, n = 2 * f->pairs * columns;
    const int64_t room = sable_s4d_kernel_room(f->pairs, f->params.length, context->layout.threads);
    const char *const names[] = {"a", "b", "c"};
    f->dt = sable_array(columns, 1, sizeof(double));
    f->a = sable_array(n, 1, sizeof(double));
    f->b = sable_array(n, 1, sizeof(double));
    f->c = sable_array(n, 1, sizeof(double));
    f->table = sable_array(n, 1, sizeof(double)); /* q */
    f->input = sable_array(n, 1, sizeof(double));
    f->truncated = sable_array(n, 1, sizeof(double)); /* the gain */
    f->factors = sable_array(2 * n, 1, sizeof(float));
    f->cauchy = room < 0 ? NULL : sable_array(room, 1, sizeof(float));
    if (!f->dt || !f->a || !f->b || !f->c || !f->table || !f->input || !f->truncated || !f->factors || !f->cauchy)
        return sable_fail(error, SABLE_ENVIRONMENT, "ssm/s4d: out of memory for %lld channels", (long long)columns);
    draw(f, context->seed);
    double *tables[] = {f->a, f->b, f->c};
    for (int i = 0; i < 3 && context->input; i++)
        if (sable_input_has(context->input, names[i]) &&
            filter_read(f, context, names[i], 2, f->pairs, tables[i], error))
            return error->code;
    for (int64_t i = 0; i < n; i++)
        if (i / columns % 2 == 0 && !(f->a[i] <= 0))
            return sable_fail(error, SABLE_BAD_INPUT, "%s: 'a' holds a pole of real part %g, but it must be at most 0",
                              sable_input_path(context->input), f->a[i]);
    return filter_read_dt(f, context, false, error);
}

/* ---- The model ---- */

static void discretise(struct filter *f)
{
    const int64_t columns = f->table_columns;
    sable_s4d_discretise(columns, f->pairs, f->a, f->b, f->c, f->dt, f->table, f->input, f->truncated);
    if (f->fault == FAULT_WRONG_POLE && f->pairs > 1)
        memcpy(f->table, f->table + 2 * columns, (size_t)(2 * columns) * sizeof *f->table);
    sable_s4d_factors(columns, f->pairs, f->table, f->truncated, f->factors);
}

static void kernel(struct filter *f)
{
    sable_s4d_kernel(f->table_columns, f->pairs, f->params.length, f->table, f->truncated, f->kernel, f->cauchy);
}

static void steps(struct filter *f, int64_t sequences, int64_t length, const float *u, float *state, float *y)
{
    sable_s4d_steps(f->table_columns, f->pairs, sequences, length, length, f->factors, u, f->skip, state, y);
}

static void row(const struct filter *f, int64_t h, int64_t length, const float *u, int64_t pitch, double skip,
                double *x, double *y)
{
    sable_s4d_reference(f->table_columns, f->pairs, h, length, f->table, f->truncated, u, pitch, skip, x, y);
}

static void impulse(const struct filter *f, int64_t h, int64_t length, double *k)
{
    sable_s4d_kernel_reference(f->table_columns, f->pairs, h, length, f->table, f->truncated, k);
}

static double kernel_error(const struct filter *f, int64_t h, double norm)
{
    (void)norm;
    return sable_s4d_kernel_error(f->table_columns, f->pairs, h, f->truncated);
}

static void follow(const struct filter *f, int64_t h, int64_t length, const float *u, int64_t pitch, double skip,
                   double *bound, double *state)
{
    sable_s4d_follow(f->table_columns, f->pairs, h, length, f->by_chunks ? f->params.chunk : length, f->table,
                     f->truncated, u, pitch, skip, bound, state);
}

/* Steps run on x/b̄. */
static void last(const struct filter *f, int64_t h, int64_t p, const double *x, double *z)
{
    const double *b = f->input + 2 * p * f->table_columns + h;
    z[0] = b[0] * x[0] - b[f->table_columns] * x[1];
    z[1] = b[0] * x[1] + b[f->table_columns] * x[0];
}

static const struct filter_model model = {
    .name = "ssm/s4d",
    .diagonal = true,
    .sizes = sizes,
    .choose = choose,
    .memory = memory,
    .fill = fill,
    .discretise = discretise,
    .kernel = kernel,
    .steps = steps,
    .row = row,
    .impulse = impulse,
    .kernel_error = kernel_error,
    .follow = follow,
    .last = last,
};

/* ---- The workload ---- */

static void work(const void *params, struct sable_layout layout, const void *state, struct sable_work *work)
{
    filter_work(&model, params, layout, state, work);
}

static int setup(const void *params, struct sable_context *context, void **state, struct sable_error *error)
{
    return filter_setup(&model, params, context, state, error);
}

const struct sable_workload sable_ssm_s4d = {
    .name = "ssm/s4d",
    .summary = "diagonal state space model, as convolution, recurrence or in chunks",
    .source = "Gu, Gupta, Goel & Ré, S4D, NeurIPS 2022",
    .fom = {"samples", "Gsample/s", 1e9},
    .params_size = sizeof(struct filter_params),
    .params = parameters,
    .classes = filter_classes,
    .weak = filter_weak,
    .variants = filter_variants,
    .phases = filter_phases,
    .faults = filter_faults,
    .inputs = inputs,
    .outputs = outputs,
    .layout_invariant = true,
    .check = filter_check,
    .work = work,
    .setup = setup,
    .reset = filter_reset,
    .verify = filter_verify,
    .output = filter_output,
    .free = filter_free,
};
