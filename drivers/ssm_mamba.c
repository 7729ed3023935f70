/* ssm/mamba: the selective scan of Mamba, fused with softplus, gate and skip, over sequences × channels × states. It
 * measures exponentials and short dependent chains of multiply-adds; threads share channels, ranks sequences,
 * channels or time. Mathematics, work model, bounds: docs/ssm.md. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "input.h"
#include "sable_array.h"
#include "ssm_mamba.h"

#define PARAM(field) offsetof(struct mamba_params, field)
static const char *const gates[] = {"yes", "no", NULL};
static const char *const strategies[] = {"auto", "channels", "batch", "sequence", NULL};
static const struct sable_param parameters[] = {
    {"batch", SABLE_INT, PARAM(batch), "sequences", 1, 1e9, 0, 0, NULL, "1", "sequences"},
    {"channels", SABLE_INT, PARAM(channels), "", 1, 1e9, 0, 0, NULL, "1536", "channels of a sequence (d_inner)"},
    {"states", SABLE_INT, PARAM(states), "", 1, 1024, 0, 0, NULL, "16", "states of a channel (d_state)"},
    {"length", SABLE_INT, PARAM(length), "steps", 1, 1e12, 0, 0, NULL, "2048", "steps of a sequence"},
    {"gate", SABLE_CHOICE, PARAM(gate), "", 0, 0, 0, 0, gates, "yes", "multiply by silu(z); a file decides by its z"},
    {"strategy", SABLE_CHOICE, PARAM(strategy), "", 0, 0, 0, 0, strategies, "auto",
     "what ranks share: channels, sequences, or time; auto: sequences as far as they divide, then channels; time if "
     "ranks "
     "are more than these"},
    {0},
};
static const struct sable_class classes[] = {
    {"T", "batch=2 channels=37 states=5 length=203"},          {"S", "batch=1 channels=1536 states=16 length=2048"},
    {"A", "batch=4 channels=2048 states=16 length=4096"},      {"B", "batch=16 channels=4096 states=16 length=8192"},
    {"C", "batch=64 channels=5120 states=16 length=16384"},    {"D", "batch=256 channels=8192 states=16 length=32768"},
    {"E", "batch=1024 channels=8192 states=16 length=131072"}, {0}};
static const struct sable_growth weak[] = {{"batch", 1}, {0}};
static const char *const phases[] = {[MAMBA_PHASE_SCAN] = "scan", [MAMBA_PHASE_WAIT] = "wait", NULL};
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

struct mamba_part mamba_split(const struct mamba_params *p, struct sable_layout layout)
{
    const double groups = (double)p->batch * ceil((double)p->channels / SABLE_MAMBA_GROUP);
    struct mamba_part part = {.cut = {.rows = p->batch, .columns = p->channels}, .steps = p->length};
    part.over_time = p->strategy == MAMBA_SEQUENCE || (p->strategy == SSM_AUTO && groups < layout.ranks);
    if (part.over_time) {
        part.step = ssm_first(p->length, layout.ranks, layout.rank);
        part.steps = ssm_first(p->length, layout.ranks, layout.rank + 1) - part.step;
    } else
        part.cut = ssm_split(p->batch, p->channels, (enum ssm_strategy)p->strategy, layout);
    return part;
}

static double floats_of(const struct mamba_params *p, const struct mamba_part *q)
{
    const struct ssm_part *part = &q->cut;
    double rows = (double)part->rows * (double)part->columns, padded = (double)((p->states + 3) / 4 * 4);
    return rows * (double)q->steps * (p->gate ? 3 : 4) + rows * (double)p->states +
           (double)part->columns * (double)(p->states + 2) +
           (double)part->rows * (double)q->steps * (2 * (double)p->states + 2 * padded);
}

static void work(const void *params, struct sable_layout layout, const void *state, struct sable_work *work)
{
    const struct mamba_state *s = state;
    const struct mamba_params *p = s ? &s->params : params;
    const struct mamba_part q = mamba_split(p, layout);
    const struct ssm_part part = q.cut;
    const double steps = (double)part.rows * (double)part.columns * (double)q.steps;
    const double updates = steps * (double)p->states,
                 states = (double)part.rows * (double)part.columns * (double)p->states;
    const bool sends = q.over_time && layout.rank + 1 < layout.ranks;
    *work = (struct sable_work){
        .items = updates,
        .flops_fp32 = 6 * updates + 5 * steps,               /* Δ A, Δu B, two multiply-adds; the exponential apart */
        .exponentials = updates + steps * (p->gate ? 1 : 2), /* gate: 0 is yes */
        .bytes = 4 * (steps * (p->gate ? 3 : 4) + 2 * (double)part.rows * (double)p->states * (double)q.steps),
        .pattern = SABLE_READ,
        .working_set = 4 * floats_of(p, &q),
        .bytes_network = sends ? 4 * states : 0,
        .messages = sends ? (double)mamba_pieces((int64_t)part.rows * ((part.columns + 15) / 16), layout.threads) : 0,
        .memory = (q.over_time ? 16 * states : 0) +
                  4 * (floats_of(p, &q) + (double)layout.threads * 32 * (double)(p->states + 4)),
    };
}

static int check(const void *params, struct sable_layout layout, struct sable_error *error)
{
    const struct mamba_params *p = params;
    int64_t rows, all;
    if (!sable_multiply(p->batch, p->channels > 2 * p->states + 8 ? p->channels : 2 * p->states + 8, &rows) ||
        !sable_multiply(rows, p->length, &all) || all > INT64_MAX / 8)
        return sable_fail(error, SABLE_BAD_INPUT,
                          "batch × channels × length = %lld × %lld × %lld is more than 64 bits hold",
                          (long long)p->batch, (long long)p->channels, (long long)p->length);
    if (mamba_split(p, layout).over_time &&
        2 * (double)p->batch * (double)p->channels * (double)p->states > 2147483647.0)
        return sable_fail(error, SABLE_BAD_INPUT,
                          "batch × channels × states = %lld × %lld × %lld is too much to carry: take strategy=batch",
                          (long long)p->batch, (long long)p->channels, (long long)p->states);
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
    sable_array_free(s->carry);
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
    const struct ssm_part *q = &s->part.cut;
    const int64_t step = s->part.step, own = s->part.steps;
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
         {q->row, q->column, step},
         {q->rows, q->columns, own}},
        {"delta_raw",
         SSM_DELTA,
         -2,
         2,
         3,
         {p->batch, p->channels, p->length},
         {q->row, q->column, step},
         {q->rows, q->columns, own}},
        {"z",
         SSM_Z,
         -4,
         4,
         3,
         {p->batch, p->channels, p->length},
         {q->row, q->column, step},
         {p->gate ? 0 : q->rows, q->columns, own}},
        {"a", SSM_A, 0, 0, 2, {p->channels, p->states}, {q->column}, {q->columns, p->states}},
        {"b", SSM_B, -1, 1, 3, {p->batch, p->states, p->length}, {q->row, 0, step}, {q->rows, p->states, own}},
        {"c", SSM_C, -1, 1, 3, {p->batch, p->states, p->length}, {q->row, 0, step}, {q->rows, p->states, own}},
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
    const int64_t of_a = q->columns * p->states;
    if (!context->input || !sable_input_has(context->input, "a"))
        for (int64_t i = 0; i < of_a; i++)
            a[i] = -(float)(i % p->states + 1); /* S4D-real, as Mamba starts */
    return ssm_at_most_0(context, "a", of_a, a, error);
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
    s->part = mamba_split(p, context->layout);
    if (fill(s, context, error))
        return error->code;
    float **x = s->array;
    s->model = (struct sable_mamba){.sequences = s->part.cut.rows,
                                    .channels = s->part.cut.columns,
                                    .states = p->states,
                                    .length = s->part.steps,
                                    .u = x[0],
                                    .delta = x[1],
                                    .z = p->gate ? NULL : x[2],
                                    .a = x[3],
                                    .b = x[4],
                                    .c = x[5],
                                    .d = x[6],
                                    .bias = x[7]};
    int64_t rows = s->part.cut.rows * s->part.cut.columns, scratch = sable_mamba_scratch(&s->model);
    s->state = sable_array(rows, p->states, sizeof(float));
    s->y = sable_array(rows, s->part.steps, sizeof(float));
    s->carry = sable_array(s->part.over_time ? 2 * rows : 0, p->states, sizeof(double));
    s->scratch = scratch < 0 ? NULL : sable_array(scratch, 1, sizeof(float));
    if (!s->state || !s->y || !s->scratch || !s->carry)
        return sable_fail(error, SABLE_ENVIRONMENT, "ssm/mamba: out of memory for %lld rows of %lld steps",
                          (long long)rows, (long long)s->part.steps);
    memset(s->scratch, 0, (size_t)scratch * sizeof(float));
    return SABLE_OK;
}

static int reset(void *state, struct sable_context *context, struct sable_error *error)
{
    (void)context, (void)error;
    struct mamba_state *s = state;
    const int64_t rows = s->part.cut.rows * s->part.cut.columns, length = s->part.steps;
    memset(s->carry, 0, s->part.over_time ? (size_t)(2 * rows * s->params.states) * sizeof(double) : 0);
    memset(s->state, 0, (size_t)(rows * s->params.states) * sizeof(float));
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < rows * length; i++)
        s->y[i] = NAN; /* a y that is not written is seen */
    return SABLE_OK;
}

static const struct sable_variant variants[] = {
    {"reference", "the formula in float64, step by step", mamba_run},
    {"sable", "lanes over channels, states in registers, exponential fused", mamba_run},
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
    .verify = mamba_verify,
    .output = mamba_output,
    .free = free_state,
};
