/* ssm/s4: the state space model S4, diagonal plus low rank by the bilinear rule, as a convolution whose kernel comes
 * from Cauchy sums at roots of unity, or by steps of its own form or of the dense matrix. What ranks share and how
 * answers are checked: ssm_filter.h. Mathematics, work model, bounds: docs/ssm_s4.md. */
#include <math.h>
#include <string.h>

#include "input.h"
#include "sable_array.h"
#include "sable_legs_dplr.h"
#include "sable_s4.h"
#include "ssm_s4_input.h"

#define PARAM(field) offsetof(struct filter_params, field)
static const char *const modes[] = {"auto", "convolution", "recurrence", "dense", NULL};
static const struct sable_param parameters[] = {
    {"batch", SABLE_INT, PARAM(batch), "sequences", 1, 1e9, 0, 0, NULL, "1", "sequences"},
    {"channels", SABLE_INT, PARAM(channels), "", 1, 1e9, 0, 0, NULL, "256", "channels (H)"},
    {"states", SABLE_INT, PARAM(states), "", 2, 1024, 0, 0, NULL, "64", "states of a channel (N), pairs of conjugates"},
    {"length", SABLE_INT, PARAM(length), "steps", 1, 1e9, 0, 0, NULL, "16384", "steps of a sequence"},
    {"mode", SABLE_CHOICE, PARAM(mode), "", 0, 0, 0, 0, modes, "convolution",
     "how y is found: recurrence by steps of diagonal and low rank, dense by those of the matrix; auto: recurrence for "
     "few states, else convolution"},
    {"strategy", SABLE_CHOICE, PARAM(strategy), "", 0, 0, 0, 0, filter_strategies, "auto",
     "what ranks share: sequences as far as they divide, then channels; one of both; or time"},
    {"chunk", SABLE_INT, PARAM(chunk), "steps", 1, 1e9, 0, 0, NULL, "1024", "unit in which ranks share time"},
    {"kernel", SABLE_CHOICE, PARAM(kernel), "", 0, 0, 0, 0, filter_kernels, "every",
     "a convolution's kernel is made in every repetition, or once"},
    {0},
};
static const struct sable_field inputs[] = {
    {"u", "[batch, length, channels]", "input"},
    {"lambda_, p, b, c", "[channels, states] or [states] complex",
     "A = diag(lambda_) - p p*; all states, or one of each pair of conjugates; HiPPO-LegS if absent"},
    {"dt", "[channels] or one", "step"},
    {"d", "[channels]", "skip"},
    {0},
};
static const struct sable_field outputs[] = {
    {"y", "[batch, length, channels]", "(--keep full)"},
    {"state", "[batch, channels, states/2] complex", "x after the last step; not of a convolution"},
    {"kernel", "[channels, length]", "of a convolution; complex if the file gave all states (--keep full)"},
    {0},
};

/* As in ssm_s4d.c: 12 operations of steps take the time of STEP there. */
static int choose(const struct filter_params *p)
{
    enum { STEP = 16, FFT = 15, CAUCHY = 21, SPECTRUM = 7 };
    const double pairs = (double)p->states / 2, doublings = log2((double)p->length + 1);
    const double made = p->kernel == FILTER_EVERY ? (CAUCHY * pairs + SPECTRUM * doublings) / (double)p->batch : 0;
    return STEP * pairs <= FFT * doublings + made ? FILTER_RECURRENCE : FILTER_CONVOLUTION;
}

static double memory(const struct filter_params *p, double columns, int threads)
{
    const double pairs = (double)p->states / 2, matrix = p->mode == FILTER_OTHER ? 4 * pairs * (pairs + 1) : 0;
    return columns * pairs * (8 * (2 * (SABLE_S4_TABLES + 6)) + 4 * (2 * SABLE_S4_TABLES + SABLE_S4_CAUCHY)) +
           4 * columns * matrix + 4 * SABLE_S4_NODE * (double)p->length +
           (double)sable_s4_steps_room((int64_t)pairs, threads) * 4;
}

/* ---- Parameters ---- */

static struct sable_s4 model_of(const struct filter *f)
{
    return (struct sable_s4){f->table_columns, f->pairs, f->a, f->p, f->b, f->c, f->dt};
}

/* LegS for every channel, its own c. */
static bool draw(struct filter *f, uint64_t seed)
{
    const int64_t columns = f->table_columns, n = 2 * f->pairs;
    double *one = sable_array(3, n, sizeof *one), *tables[] = {f->a, f->p, f->b};
    if (!one || !sable_legs_dplr(n, one, one + n, one + 2 * n)) {
        sable_array_free(one);
        return false;
    }
    for (int64_t i = 0; i < n; i++)
        for (int64_t h = 0; h < columns; h++) {
            for (int k = 0; k < 3; k++)
                tables[k][i * columns + h] = one[k * n + i];
            f->c[i * columns + h] = ssm_draw(seed, SSM_C, (f->table_column + h) * n + i, -1, 1);
        }
    sable_array_free(one);
    return true;
}

/* A table of `rows` floats a pair and channel, in blocks of channels. */
static float *in_blocks(const struct filter *f, int64_t rows)
{
    const int64_t floats = sable_kernel_floats(f->table_columns, rows * f->pairs);
    return floats < 0 ? NULL : sable_array(floats, 1, sizeof(float));
}

static int fill(struct filter *f, struct sable_context *context, struct sable_error *error)
{
    const int64_t columns = f->table_columns, n = 2 * f->pairs * columns, size = f->fft.size;
    double **tables[] = {&f->a, &f->b, &f->c, &f->p, &f->truncated, &f->c_imaginary};
    bool good = (f->dt = sable_array(columns, 1, sizeof(double))) &&
                (f->table = sable_array(SABLE_S4_TABLES, n, sizeof(double))) &&
                (f->factors = in_blocks(f, SABLE_S4_TABLES * 2)) && (f->cauchy = in_blocks(f, SABLE_S4_CAUCHY)) &&
                (f->nodes = sable_array(SABLE_S4_NODE, size / 2 + 1, sizeof(float)));
    for (int i = 0; i < 6 && good; i++)
        good = (*tables[i] = sable_array(n, 1, sizeof(double)));
    if (good && f->mode == FILTER_OTHER) {
        const int64_t matrix = sable_s4_matrix_floats(columns, f->pairs);
        good = matrix >= 0 && (f->matrix = sable_array(matrix, 1, sizeof(float)));
    }
    if (good && f->mode != FILTER_CONVOLUTION)
        good = (f->room = sable_array(sable_s4_steps_room(f->pairs, context->layout.threads), 1, sizeof(float)));
    if (!good || !draw(f, context->seed))
        return sable_fail(error, SABLE_ENVIRONMENT, "ssm/s4: out of memory for %lld channels", (long long)columns);
    memset(f->c_imaginary, 0, (size_t)n * sizeof(double));
    if (s4_read(f, context, error))
        return error->code;
    if (f->mode == FILTER_CONVOLUTION) {
        const struct sable_s4 model = model_of(f);
        sable_s4_nodes(&f->half, f->nodes);
        sable_s4_discretise(&model, f->table);
        sable_s4_truncate(columns, f->pairs, size, f->table, f->truncated);
    }
    return SABLE_OK;
}

/* ---- The model ---- */

static void discretise(struct filter *f)
{
    const int64_t columns = f->table_columns;
    struct sable_s4 model = model_of(f);
    const bool wrong = f->fault == FAULT_WRONG_POLE && f->pairs > 1;
    sable_s4_discretise(&model, f->table);
    if (wrong) /* of the first pair that of the second */
        memcpy(f->table, f->table + 2 * SABLE_S4_TABLES * columns, (size_t)(2 * columns) * sizeof *f->table);
    if (f->mode != FILTER_CONVOLUTION) {
        sable_s4_factors(columns, f->pairs, f->table, f->factors);
        if (f->matrix)
            sable_s4_matrix(columns, f->pairs, f->table, f->matrix);
        return;
    }
    sable_s4_cauchy_factors(&model, f->truncated, f->cauchy);
    for (int64_t h = 0; h < columns && wrong; h += SABLE_KERNEL_BLOCK) {
        float *first = f->cauchy + sable_kernel_index(f->pairs * SABLE_S4_CAUCHY, h, 0);
        memcpy(first, first + SABLE_S4_CAUCHY * SABLE_KERNEL_BLOCK, 3 * SABLE_KERNEL_BLOCK * sizeof *first);
    }
}

static void kernel(struct filter *f)
{
    sable_s4_kernel(f->table_columns, f->pairs, f->params.length, &f->half, f->nodes, f->cauchy, f->kernel, f->room);
}

static void steps(struct filter *f, int64_t sequences, int64_t length, const float *u, float *state, float *y)
{
    sable_s4_steps(f->table_columns, f->pairs, sequences, length, f->factors, f->matrix, u, f->skip, state, y, f->room);
}

static void row(const struct filter *f, int64_t h, int64_t length, const float *u, int64_t pitch, double skip,
                double *x, double *y)
{
    sable_s4_reference(f->table_columns, f->pairs, h, length, f->table, u, pitch, skip, x, y);
}

static void impulse(const struct filter *f, int64_t h, int64_t length, double *k)
{
    double *x = sable_array(2 * f->pairs, 1, sizeof *x);
    for (int64_t t = 0; t < length; t++)
        k[t] = NAN; /* without memory nothing passes */
    if (!x)
        return;
    memset(x, 0, (size_t)(2 * f->pairs) * sizeof *x);
    sable_s4_reference(f->table_columns, f->pairs, h, length, f->table, NULL, 0, 0, x, k);
    sable_array_free(x);
}

/* The mean of the errors at all nodes, and what the transform back does. */
static double kernel_error(const struct filter *f, int64_t h, double norm)
{
    const struct sable_s4 model = model_of(f);
    double sum = 0, value[2], forward, backward;
    sable_convolution_error(f->half.size, &forward, &backward);
    for (int64_t i = 0; i < f->half.size; i++)
        sum += sable_s4_generating(&model, h, f->truncated, sable_fft_node(&f->half, i), value);
    return sum / (double)f->half.size + 0x1p-24 * 1.1 * (backward + 1) * norm + 0x1p-140;
}

static void follow(const struct filter *f, int64_t h, int64_t length, const float *u, int64_t pitch, double skip,
                   double *bound, double *state)
{
    double *x = sable_array(2 * f->pairs, 1, sizeof *x), error = 0;
    if (x)
        error = sable_s4_follow(f->table_columns, f->pairs, h, length, f->table, u, pitch, skip, x, bound);
    for (int64_t p = 0; p < f->pairs; p++)
        state[p] = x ? error : NAN;
    sable_array_free(x);
}

static void last(const struct filter *f, int64_t h, int64_t p, const double *x, double *z)
{
    (void)f, (void)h, (void)p;
    z[0] = x[0];
    z[1] = x[1];
}

/* Im c* Ā^l B̄ = Re (ic)* Ā^l B̄, and likewise with c of pairs (ssm_s4_input.h). */
static bool complex_kernel(struct filter *f, float *kernel_imaginary)
{
    if (!kernel_imaginary)
        return f->complex_given;
    double *c = f->c, *k = sable_array(f->params.length, 1, sizeof *k);
    struct sable_s4 model = model_of(f);
    model.c = f->c = f->c_imaginary;
    sable_s4_discretise(&model, f->table);
    if (k && f->variant == FILTER_REFERENCE)
        for (int64_t h = 0; h < f->part.columns; h++) {
            impulse(f, h, f->params.length, k);
            for (int64_t t = 0; t < f->params.length; t++)
                f->kernel[sable_kernel_index(f->params.length, h, t)] = (float)k[t];
        }
    else {
        sable_s4_truncate(f->table_columns, f->pairs, f->fft.size, f->table, f->truncated);
        sable_s4_cauchy_factors(&model, f->truncated, f->cauchy);
        kernel(f);
    }
    f->c = c;
    sable_array_free(k);
    return k;
}

static const struct filter_model model = {
    .name = "ssm/s4",
    .sizes = s4_sizes,
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
    .complex_kernel = complex_kernel,
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

const struct sable_workload sable_ssm_s4 = {
    .name = "ssm/s4",
    .summary = "state space model of diagonal plus low rank: Cauchy kernel and convolution, or recurrence",
    .source = "Gu, Goel & Ré, S4, ICLR 2022",
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
