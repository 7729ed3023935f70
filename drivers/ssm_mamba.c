/* ssm/mamba: the selective scan of Mamba, fused with softplus, gate and skip, over sequences × channels × states. It
 * measures exponentials and short dependent chains of multiply-adds; ranks and threads share sequences and channels and
 * say nothing to each other. Mathematics, work model, bounds: docs/ssm.md. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "input.h"
#include "sable_array.h"
#include "sable_mamba.h"
#include "ssm_part.h"

enum { FAULT_LOST_CARRY = 1, FAULT_SHIFT, FAULT_SKIP_BLOCK, FAULT_FLIP_BIT, FAULT_NAN };
static const double check_all_up_to = 0x1p30; /* updates of all ranks; beyond it, that many are checked */

struct mamba_params {
    int64_t batch, channels, states, length;
    int gate, strategy;
};

struct mamba_state {
    struct mamba_params params; /* of the whole problem; sizes are the input's, if it has any */
    struct ssm_part part;
    struct sable_mamba model; /* of this rank */
    float *array[8];          /* u, delta, z, a, b, c, d, bias: what `model` points to */
    float *state, *y, *scratch;
    bool reference;
};

#define PARAM(field) offsetof(struct mamba_params, field)
static const char *const gates[] = {"yes", "no", NULL};
static const struct sable_param parameters[] = {
    {"batch", SABLE_INT, PARAM(batch), "sequences", 1, 1e9, 0, 0, NULL, "1", "sequences"},
    {"channels", SABLE_INT, PARAM(channels), "", 1, 1e9, 0, 0, NULL, "1536", "channels of a sequence (d_inner)"},
    {"states", SABLE_INT, PARAM(states), "", 1, 1024, 0, 0, NULL, "16", "states of a channel (d_state)"},
    {"length", SABLE_INT, PARAM(length), "steps", 1, 1e12, 0, 0, NULL, "2048", "steps of a sequence"},
    {"gate", SABLE_CHOICE, PARAM(gate), "", 0, 0, 0, 0, gates, "yes", "multiply by silu(z); a file decides by its z"},
    {"strategy", SABLE_CHOICE, PARAM(strategy), "", 0, 0, 0, 0, ssm_strategies, "auto",
     "what ranks share: sequences as far as they divide, then channels; or one of both"},
    {0},
};
static const struct sable_class classes[] = {
    {"T", "batch=2 channels=37 states=5 length=203"},          {"S", "batch=1 channels=1536 states=16 length=2048"},
    {"A", "batch=4 channels=2048 states=16 length=4096"},      {"B", "batch=16 channels=4096 states=16 length=8192"},
    {"C", "batch=64 channels=5120 states=16 length=16384"},    {"D", "batch=256 channels=8192 states=16 length=32768"},
    {"E", "batch=1024 channels=8192 states=16 length=131072"}, {0}};
static const struct sable_growth weak[] = {{"batch", 1}, {0}};
static const char *const phases[] = {"scan", NULL};
static const struct sable_fault faults[] = {
    {"lost_carry", "forget the state half way"},
    {"shift", "give a row of y one step late"},
    {"skip_block", "leave out the last steps of a channel"},
    {"flip_bit", "flip a bit of one y"},
    {"nan", "make one y NaN"},
    {0},
};
static const struct sable_field inputs[] = {
    {"u, delta_raw", "[batch, channels, length]", "input, and Δ before bias and softplus"},
    {"z", "[batch, channels, length]", "gate before silu; without it there is none"},
    {"a", "[channels, states]", "≤ 0"},
    {"b, c", "[batch, states, length]", ""},
    {"d, delta_bias", "[channels]", ""},
    {0},
};
static const struct sable_field outputs[] = {
    {"y", "[batch, channels, length]", "(--keep full)"},
    {"state", "[batch, channels, states]", "x after the last step"},
    {0},
};

/* ---- Sizes and work ---- */

static double floats_of(const struct mamba_params *p, const struct ssm_part *part)
{
    double rows = (double)part->rows * (double)part->columns, padded = (double)((p->states + 3) / 4 * 4);
    return rows * (double)p->length * (p->gate ? 3 : 4) + rows * (double)p->states +
           (double)part->columns * (double)(p->states + 2) +
           (double)part->rows * (double)p->length * (2 * (double)p->states + 2 * padded);
}

static void work(const void *params, struct sable_layout layout, const void *state, struct sable_work *work)
{
    const struct mamba_state *s = state;
    const struct mamba_params *p = s ? &s->params : params;
    struct ssm_part part = ssm_split(p->batch, p->channels, (enum ssm_strategy)p->strategy, layout);
    double steps = (double)part.rows * (double)part.columns * (double)p->length;
    double updates = steps * (double)p->states;
    *work = (struct sable_work){
        .items = updates,
        .flops_fp32 = 6 * updates + 5 * steps,               /* Δ A, Δu B, two multiply-adds; the exponential apart */
        .exponentials = updates + steps * (p->gate ? 1 : 2), /* gate: 0 is yes */
        .bytes = 4 * (steps * (p->gate ? 3 : 4) + 2 * (double)part.rows * (double)p->states * (double)p->length),
        .pattern = SABLE_READ,
        .working_set = 4 * floats_of(p, &part),
        .memory = 4 * (floats_of(p, &part) + (double)layout.threads * 32 * (double)(p->states + 4)),
    };
}

static int check(const void *params, struct sable_layout layout, struct sable_error *error)
{
    (void)layout;
    const struct mamba_params *p = params;
    int64_t rows, all;
    if (!sable_multiply(p->batch, p->channels > 2 * p->states + 8 ? p->channels : 2 * p->states + 8, &rows) ||
        !sable_multiply(rows, p->length, &all) || all > INT64_MAX / 8)
        return sable_fail(error, SABLE_BAD_INPUT,
                          "batch × channels × length = %lld × %lld × %lld is more than 64 bits hold",
                          (long long)p->batch, (long long)p->channels, (long long)p->length);
    return SABLE_OK;
}

/* ---- Setup ---- */

static void free_state(void *state)
{
    struct mamba_state *s = state;
    for (int i = 0; i < 8; i++)
        sable_array_free(s->array[i]);
    sable_array_free(s->state);
    sable_array_free(s->y);
    sable_array_free(s->scratch);
    free(s);
}

/* Sizes from the file: u says most, a the states. */
static int sizes(struct mamba_params *p, struct sable_context *context, struct sable_error *error)
{
    int64_t shape[3], of_a[2];
    struct sable_input *input = context->input;
    if (!input)
        return SABLE_OK;
    if (sable_input_has(input, "u")) {
        if (sable_input_shape(input, "u", 3, shape, error))
            return error->code;
        p->batch = shape[0], p->channels = shape[1], p->length = shape[2];
    }
    if (sable_input_has(input, "a")) {
        if (sable_input_shape(input, "a", 2, of_a, error))
            return error->code;
        p->states = of_a[1];
    }
    if (p->states > 1024)
        return sable_fail(error, SABLE_BAD_INPUT, "%s: 'a' has %lld states, more than 1024", sable_input_path(input),
                          (long long)p->states);
    p->gate = sable_input_has(input, "z") ? 0 : 1;
    return check(p, context->layout, error);
}

/* Every array of the problem, this rank's block of it, and what is drawn in its place. */
static int fill(struct mamba_state *s, struct sable_context *context, struct sable_error *error)
{
    const struct mamba_params *p = &s->params;
    const struct ssm_part *q = &s->part;
    const struct {
        const char *name;
        enum ssm_purpose purpose;
        double low, high;
        int dims;
        int64_t shape[3], offset[3], count[3];
    } arrays[8] = {
        {"u",
         SSM_U,
         -1,
         1,
         3,
         {p->batch, p->channels, p->length},
         {q->row, q->column},
         {q->rows, q->columns, p->length}},
        {"delta_raw",
         SSM_DELTA,
         -2,
         2,
         3,
         {p->batch, p->channels, p->length},
         {q->row, q->column},
         {q->rows, q->columns, p->length}},
        {"z",
         SSM_Z,
         -4,
         4,
         3,
         {p->batch, p->channels, p->length},
         {q->row, q->column},
         {p->gate ? 0 : q->rows, q->columns, p->length}},
        {"a", SSM_A, 0, 0, 2, {p->channels, p->states}, {q->column}, {q->columns, p->states}},
        {"b", SSM_B, -1, 1, 3, {p->batch, p->states, p->length}, {q->row}, {q->rows, p->states, p->length}},
        {"c", SSM_C, -1, 1, 3, {p->batch, p->states, p->length}, {q->row}, {q->rows, p->states, p->length}},
        {"d", SSM_D, 0.5, 1.5, 1, {p->channels}, {q->column}, {q->columns}},
        {"delta_bias", SSM_BIAS, -6.9, -2.2, 1, {p->channels}, {q->column}, {q->columns}}, /* Δ of 0.001 to 0.1 */
    };
    for (int i = 0; i < 8; i++) {
        int64_t all = 1;
        for (int d = 0; d < arrays[i].dims; d++)
            all *= arrays[i].count[d];
        if (!(s->array[i] = sable_array(all, 1, sizeof(float))))
            return sable_fail(error, SABLE_ENVIRONMENT, "ssm/mamba: out of memory for %s", arrays[i].name);
        if (ssm_fill(context, arrays[i].name, arrays[i].purpose, arrays[i].low, arrays[i].high, arrays[i].dims,
                     arrays[i].shape, arrays[i].offset, arrays[i].count, s->array[i], error))
            return error->code;
    }
    float *a = s->array[3];
    bool drawn = !context->input || !sable_input_has(context->input, "a");
    for (int64_t i = 0; i < q->columns * p->states; i++) {
        if (drawn)
            a[i] = -(float)(i % p->states + 1); /* S4D-real, as Mamba starts */
        if (!(a[i] <= 0))
            return sable_fail(error, SABLE_BAD_INPUT, "%s: 'a' holds %g, but must be at most 0",
                              sable_input_path(context->input), (double)a[i]);
    }
    return SABLE_OK;
}

static int setup(const void *params, struct sable_context *context, void **state, struct sable_error *error)
{
    struct mamba_state *s = calloc(1, sizeof *s);
    if (!s)
        return sable_fail(error, SABLE_ENVIRONMENT, "ssm/mamba: out of memory");
    *state = s;
    s->params = *(const struct mamba_params *)params;
    s->reference = context->variant[0] == 'r';
    if (sizes(&s->params, context, error))
        return error->code;
    struct mamba_params *p = &s->params;
    s->part = ssm_split(p->batch, p->channels, (enum ssm_strategy)p->strategy, context->layout);
    if (fill(s, context, error))
        return error->code;
    float **x = s->array;
    s->model = (struct sable_mamba){.sequences = s->part.rows,
                                    .channels = s->part.columns,
                                    .states = p->states,
                                    .length = p->length,
                                    .u = x[0],
                                    .delta = x[1],
                                    .z = p->gate ? NULL : x[2],
                                    .a = x[3],
                                    .b = x[4],
                                    .c = x[5],
                                    .d = x[6],
                                    .bias = x[7]};
    int64_t rows = s->part.rows * s->part.columns, scratch = sable_mamba_scratch(&s->model);
    s->state = sable_array(rows, p->states, sizeof(float));
    s->y = sable_array(rows, p->length, sizeof(float));
    s->scratch = scratch < 0 ? NULL : sable_array(scratch, 1, sizeof(float));
    if (!s->state || !s->y || !s->scratch)
        return sable_fail(error, SABLE_ENVIRONMENT, "ssm/mamba: out of memory for %lld rows of %lld steps",
                          (long long)rows, (long long)p->length);
    memset(s->scratch, 0, (size_t)scratch * sizeof(float));
    return SABLE_OK;
}

static int reset(void *state, struct sable_context *context, struct sable_error *error)
{
    (void)context, (void)error;
    struct mamba_state *s = state;
    const int64_t rows = s->part.rows * s->part.columns, length = s->params.length;
    memset(s->state, 0, (size_t)(rows * s->params.states) * sizeof(float));
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < rows * length; i++)
        s->y[i] = NAN; /* a y that is not written is seen */
    return SABLE_OK;
}

/* ---- Run ---- */

static int reference(struct mamba_state *s, int64_t begin, int64_t end, struct sable_error *error)
{
    const struct sable_mamba *m = &s->model;
    int failed = 0;
#pragma omp parallel for schedule(static) reduction(| : failed)
    for (int64_t row = 0; row < m->sequences * m->channels; row++) {
        double *y = sable_array(end - begin + m->states, 1, sizeof(double)), *x = y ? y + (end - begin) : NULL;
        if (!y) {
            failed = 1;
            continue;
        }
        for (int64_t n = 0; n < m->states; n++)
            x[n] = (double)s->state[row * m->states + n];
        sable_mamba_reference(m, row / m->channels, row % m->channels, begin, end, x, y, NULL, NULL);
        for (int64_t t = begin; t < end; t++)
            s->y[row * m->length + t] = (float)y[t - begin];
        for (int64_t n = 0; n < m->states; n++)
            s->state[row * m->states + n] = (float)x[n];
        sable_array_free(y);
    }
    return failed ? sable_fail(error, SABLE_ENVIRONMENT, "ssm/mamba: out of memory for a row") : SABLE_OK;
}

static int steps(struct mamba_state *s, int64_t begin, int64_t end, struct sable_error *error)
{
    if (s->reference)
        return reference(s, begin, end, error);
    if (s->part.rows > 0)
        sable_mamba_scan(&s->model, begin, end, s->state, s->y, s->scratch);
    return SABLE_OK;
}

/* Spoils the first row of a rank that has one: it is always among those verified. */
static void spoil(struct mamba_state *s, int fault)
{
    const int64_t length = s->params.length;
    float *y = s->y;
    uint32_t bits;
    if (s->part.rows == 0)
        return;
    if (fault == FAULT_SHIFT)
        memmove(y + 1, y, (size_t)(length - 1) * sizeof *y), y[0] = y[0] + 1;
    if (fault == FAULT_SKIP_BLOCK)
        for (int64_t t = length - length / 4 - 1; t < length; t++)
            y[t] = 0;
    if (fault == FAULT_NAN)
        y[length / 2] = NAN;
    if (fault == FAULT_FLIP_BIT) {
        memcpy(&bits, &y[length / 2], sizeof bits);
        bits ^= 1U << 30;
        memcpy(&y[length / 2], &bits, sizeof bits);
    }
}

static int run(void *state, struct sable_context *context, struct sable_error *error)
{
    struct mamba_state *s = state;
    const int64_t half = s->params.length / 2;
    if (context->fault != FAULT_LOST_CARRY) {
        if (steps(s, 0, s->params.length, error))
            return error->code;
        spoil(s, context->fault);
        return SABLE_OK;
    }
    if (half > 0 && steps(s, 0, half, error))
        return error->code;
    for (int64_t i = 0; i < s->part.rows * s->part.columns * s->params.states; i++)
        s->state[i] = 1;
    return steps(s, half, s->params.length, error);
}

/* ---- Verification ---- */

/* Largest error of a row over its bound; NaN if anything is. */
static double error_of_row(const struct mamba_state *s, int64_t row, double *room)
{
    const struct sable_mamba *m = &s->model;
    double *y = room, *bound = y + m->length, *x = bound + m->length, *error = x + m->states, most = 0;
    memset(x, 0, (size_t)(2 * m->states) * sizeof *x);
    sable_mamba_reference(m, row / m->channels, row % m->channels, 0, m->length, x, y, error, bound);
    for (int64_t t = 0; t < m->length; t++) {
        double off = fabs((double)s->y[row * m->length + t] - y[t]) / bound[t];
        if (isnan(off))
            return NAN;
        most = fmax(most, off);
    }
    for (int64_t n = 0; n < m->states; n++) {
        double off = fabs((double)s->state[row * m->states + n] - x[n]) / (1.1 * error[n] + 0x1p-149);
        if (isnan(off))
            return NAN;
        most = fmax(most, off);
    }
    return most;
}

/* Rows are recomputed in float64 with their rounding errors followed: all of them, or every k-th so that 2^30 updates
 * are; of the others every y is seen to be finite. */
static int verify(void *state, struct sable_context *context, struct sable_checks *checks, struct sable_error *error)
{
    const struct mamba_state *s = state;
    const struct mamba_params *p = &s->params;
    const double row_updates = (double)p->states * (double)p->length, rows_all = (double)p->batch * (double)p->channels;
    const int64_t every = (int64_t)fmax(1, ceil(rows_all * row_updates / check_all_up_to));
    const int64_t rows = s->part.rows * s->part.columns;
    double most = 0, checked = 0, unfinished = 0;
    int failed = 0;
#pragma omp parallel reduction(max : most) reduction(+ : checked, unfinished) reduction(| : failed)
    {
        double *room = sable_array(2 * (p->length + p->states), 1, sizeof(double));
        failed |= !room;
#pragma omp for schedule(dynamic)
        for (int64_t row = 0; row < rows; row++) {
            for (int64_t t = 0; t < p->length; t++)
                unfinished += !isfinite(s->y[row * p->length + t]);
            if (!room || row % every != 0)
                continue;
            double off = error_of_row(s, row, room);
            unfinished += isnan(off);
            most = off > most ? off : most;
            checked += 1;
        }
        sable_array_free(room);
    }
    if (failed)
        sable_fail(error, SABLE_ENVIRONMENT, "ssm/mamba: out of memory while verifying");
    if (sable_agree(context->comm, error))
        return error->code;
    double sums[2] = {checked, unfinished}, all[2], worst;
    if (sable_check_mpi(MPI_Allreduce(sums, all, 2, MPI_DOUBLE, MPI_SUM, context->comm), "MPI_Allreduce", error) ||
        sable_check_mpi(MPI_Allreduce(&most, &worst, 1, MPI_DOUBLE, MPI_MAX, context->comm), "MPI_Allreduce", error))
        return error->code;
    sable_check(checks, "values that are not finite", all[1], 0, 0);
    sable_check_at_most(checks, "error of y and state over its derived bound", worst, 1);
    sable_check_at_most(checks, "rows that are not recomputed", rows_all - all[0], rows_all * (1 - 1 / (double)every));
    return SABLE_OK;
}

static int output(void *state, struct sable_context *context, struct sable_sink *sink, struct sable_error *error)
{
    (void)context;
    const struct mamba_state *s = state;
    const struct mamba_params *p = &s->params;
    const struct ssm_part *q = &s->part;
    struct sable_array y = {.name = "y",
                            .unit = "",
                            .help = "output",
                            .keep = SABLE_KEEP_FULL,
                            .type = SABLE_F32,
                            .dims = 3,
                            .global = {p->batch, p->channels, p->length},
                            .offset = {q->row, q->column, 0},
                            .count = {q->rows, q->columns, p->length},
                            .labels = {"sequence", "channel", "step"},
                            .data = s->y};
    struct sable_array x = y;
    x.name = "state", x.help = "state after the last step", x.keep = SABLE_KEEP_SUMMARY, x.data = s->state;
    x.global[2] = x.count[2] = p->states;
    x.labels[2] = "state";
    return sable_put(sink, &y, error) ? error->code : sable_put(sink, &x, error);
}

static const struct sable_variant variants[] = {
    {"reference", "the formula in float64, step by step", run},
    {"sable", "lanes over channels, states in registers, exponential fused", run},
    {0},
};

const struct sable_workload sable_ssm_mamba = {
    .name = "ssm/mamba",
    .summary = "selective scan with softplus, gate and skip",
    .source = "Gu & Dao, Mamba, 2023",
    .fom = {"state updates", "Gupdate/s", 1e9},
    .params_size = sizeof(struct mamba_params),
    .params = parameters,
    .classes = classes,
    .weak = weak,
    .variants = variants,
    .phases = phases,
    .faults = faults,
    .inputs = inputs,
    .outputs = outputs,
    .layout_invariant = true,
    .check = check,
    .work = work,
    .setup = setup,
    .reset = reset,
    .verify = verify,
    .output = output,
    .free = free_state,
};
