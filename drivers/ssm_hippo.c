/* ssm/hippo: the history of many signals at once as coefficients of polynomials (HiPPO), updated at every step. It
 * measures multiply-adds on state that stays in a cache, by the O(N) structure of LegS's step or the dense step of the
 * time-invariant measures; ranks and threads share channels. Mathematics, work model, bounds: docs/ssm.md. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "input.h"
#include "sable_array.h"
#include "sable_hippo_blas.h"
#include "ssm_hippo.h"
#include "ssm_wav.h"

enum { FAULT_LOST_CARRY = 1, FAULT_SHIFT, FAULT_SKIP_BLOCK, FAULT_FLIP_BIT, FAULT_NAN };
enum { POWERS = 32768 /* at most, until forward Euler must have shrunk */ };
enum { FLOPS_OF_UPDATE = 6 };

#define PARAM(field) offsetof(struct hippo_params, field)
static const char *const rules[] = {"bilinear", "backward", "zoh", "forward", NULL};
static const char *const measures[] = {"legs", "legt", "lagt", "fout", NULL};
static const struct sable_param parameters[] = {
    {"order", SABLE_INT, PARAM(order), "coefficients", 1, 1024, 0, 0, NULL, "64", "N: polynomials of degree below N"},
    {"channels", SABLE_INT, PARAM(channels), "signals", 1, 1e12, 0, 0, NULL, "1024", "independent signals"},
    {"length", SABLE_INT, PARAM(length), "steps", 1, 16777216, 0, 0, NULL, "4096", "steps"},
    {"discretisation", SABLE_CHOICE, PARAM(rule), "", 0, 0, 0, 0, rules, "bilinear",
     "rule of a step; legs: no forward, and zoh, the exact projection, in dense float64 in every variant"},
    {"measure", SABLE_CHOICE, PARAM(measure), "", 0, 0, 0, 0, measures, "legs",
     "legs: the whole history; legt, fout: the last window by Legendre's or Fourier's functions; lagt: a fading past"},
    {"window", SABLE_INT, PARAM(window), "steps", 1, 16777216, 0, 0, NULL, "256",
     "steps of a window (lagt: of a unit)"},
    {0},
};
static const struct sable_class classes[] = {
    {"T", "order=19 channels=75 length=203"},          {"S", "order=64 channels=4096 length=1024"},
    {"A", "order=256 channels=4096 length=4096"},      {"B", "order=256 channels=65536 length=8192"},
    {"C", "order=256 channels=524288 length=16384"},   {"D", "order=256 channels=4194304 length=16384"},
    {"E", "order=256 channels=33554432 length=16384"}, {0}};
static const struct sable_growth weak[] = {{"channels", 1}, {0}};
static const char *const phases[] = {"scan", NULL};
static const struct sable_fault faults[] = {
    {"lost_carry", "forget the coefficients half way"},
    {"shift", "read the signal one step late"},
    {"skip_block", "leave out the last steps"},
    {"flip_bit", "flip a bit of one coefficient"},
    {"nan", "make one coefficient NaN"},
    {0},
};
static const struct sable_field inputs[] = {{"signal", "[length, channels]", "one row a step; or a WAV file"}, {0}};
static const struct sable_field outputs[] = {
    {"coefficients", "[order, channels]", "after the last step"},
    {"reconstruction", "[64, channels]",
     "of the history or the last window, at the middles of 64 equal parts, oldest first"},
    {"reconstruction_error", "[channels]",
     "root mean square of what the history or the last window is off by, over that of the signal there"},
    {0},
};

/* ---- Sizes and work ---- */

static bool is_dense(const struct hippo_params *p, bool reference)
{
    return reference || (p->measure == HIPPO_LEGS && p->rule == SABLE_LEGS_ZOH);
}

static void work(const void *params, struct sable_layout layout, const void *state, struct sable_work *work)
{
    const struct hippo_state *s = state;
    const struct hippo_params *p = s ? &s->params : params;
    struct ssm_part part = ssm_split(1, p->channels, SSM_CHANNELS, layout);
    const double channels = (double)part.columns, order = (double)p->order, steps = (double)p->length;
    const double updates = channels * order * steps, padded = (double)sable_legs_groups(part.columns) * 32 * order;
    const bool invariant = p->measure != HIPPO_LEGS, zoh = !invariant && p->rule == SABLE_LEGS_ZOH;
    *work = (struct sable_work){
        .items = updates,
        .flops_fp32 = zoh         ? 0
                      : invariant ? (2 * order + 1) * updates
                                  : FLOPS_OF_UPDATE * updates,
        .flops_fp64 = zoh ? (order + 2) * updates + 1.5 * steps * order * order * order : 0,
        .bytes = 4 * channels * steps,
        .pattern = SABLE_READ,
        .working_set = 4 * channels * steps,
        .memory = 4 * (channels * steps + (invariant ? 2 : 1) * padded + 32 * order + order * order) +
                  8 * (channels * (2 * order + HIPPO_POINTS + 1) + 2 * order * order + 6 * order) +
                  (invariant ? 24 * (order + 1) * (order + 1) : 0),
    };
}

static int check(const void *params, struct sable_layout layout, struct sable_error *error)
{
    (void)layout;
    const struct hippo_params *p = params;
    int64_t all;
    if (p->measure == HIPPO_LEGS && p->rule == SABLE_WINDOW_FORWARD)
        return sable_fail(error, SABLE_BAD_INPUT,
                          "discretisation=forward is not stable for measure=legs (docs/ssm.md)");
    if (!sable_multiply(p->channels, p->length > 2 * p->order + HIPPO_POINTS ? p->length : 2 * p->order + HIPPO_POINTS,
                        &all) ||
        all > INT64_MAX / 16)
        return sable_fail(error, SABLE_BAD_INPUT, "channels × length = %lld × %lld is more than 64 bits hold",
                          (long long)p->channels, (long long)p->length);
    return SABLE_OK;
}

/* ---- Setup ---- */

static void free_state(void *state)
{
    struct hippo_state *s = state;
    float *floats[] = {s->signal, s->c, s->factors, s->next, s->gain, s->spare};
    double *doubles[] = {s->exact, s->a, s->b, s->e, s->w, s->room, s->coefficients, s->history, s->off};
    for (size_t i = 0; i < sizeof floats / sizeof *floats; i++)
        sable_array_free(floats[i]);
    for (size_t i = 0; i < sizeof doubles / sizeof *doubles; i++)
        sable_array_free(doubles[i]);
#ifdef SABLE_HAVE_OPENBLAS
    sable_blas_close(s->blas);
#endif
    free(s);
}

static int allocate(struct hippo_state *s, struct sable_error *error)
{
    const int64_t order = s->params.order, own = s->part.columns;
    s->signal = sable_array(s->params.length, own, sizeof(float));
    s->c = sable_array(sable_legs_groups(own) * order, SABLE_LEGS_GROUP, sizeof(float));
    s->factors = sable_array(SABLE_LEGS_STEPS * order, 2, sizeof(float));
    s->exact = sable_array(own, order, sizeof(double));
    s->a = sable_array(order, order, sizeof(double));
    s->b = sable_array(order, 1, sizeof(double));
    s->e = sable_array(order, order, sizeof(double));
    s->w = sable_array(order, 1, sizeof(double));
    s->next = sable_array(order, order, sizeof(float));
    s->gain = sable_array(order, 1, sizeof(float));
    s->spare = sable_array(s->params.measure == HIPPO_LEGS ? 1 : sable_legs_groups(own) * order, SABLE_LEGS_GROUP,
                           sizeof(float));
    s->room = sable_array(order, 3, sizeof(double));
    s->coefficients = sable_array(order, own, sizeof(double));
    s->history = sable_array(HIPPO_POINTS, own, sizeof(double));
    s->off = sable_array(own, 1, sizeof(double));
    if (!s->signal || !s->c || !s->factors || !s->exact || !s->a || !s->b || !s->e || !s->w || !s->next || !s->gain ||
        !s->spare || !s->room || !s->coefficients || !s->history || !s->off)
        return sable_fail(error, SABLE_ENVIRONMENT, "ssm/hippo: out of memory for %lld channels of %lld steps",
                          (long long)own, (long long)s->params.length);
    return SABLE_OK;
}

/* Ā and B̄ of the time-invariant measures, once, in float64. */
static int discretise(struct hippo_state *s, struct sable_error *error)
{
    const struct hippo_params *p = &s->params;
    const int64_t order = p->order;
    /* The window of LegT and FouT is two units of time. */
    const double step = (p->measure == HIPPO_LAGT ? 1.0 : 2.0) / (double)p->window;
    const double affordable = 0x1p33 / pow((double)order, 3); /* some seconds */
    const int64_t powers = affordable < POWERS ? (int64_t)affordable : POWERS;
    double *room = sable_array(3 * (order + 1), order + 1, sizeof *room), sum = 0;
    if (!room)
        return sable_fail(error, SABLE_ENVIRONMENT, "ssm/hippo: out of memory for matrices of order %lld",
                          (long long)order);
    sable_window_matrices(hippo_window_of(p), order, s->a, s->b);
    sable_window_discretise((enum sable_window_rule)p->rule, order, step, s->a, s->b, s->e, s->w, room);
    s->growth =
        p->rule == SABLE_WINDOW_FORWARD ? sable_window_growth(hippo_window_of(p), order, s->a, s->e, powers, room) : 1;
    sable_array_free(room);
    for (int64_t i = 0; i < order * order; i++)
        s->next[i] = (float)s->e[i], sum += s->e[i] * s->e[i];
    for (int64_t n = 0; n < order; n++)
        s->gain[n] = (float)s->w[n];
    s->norm = sqrt(sum);
    if (isinf(s->growth))
        return sable_fail(error, SABLE_BAD_INPUT,
                          "discretisation=forward is not stable at order=%lld, window=%lld: take a longer window or "
                          "another rule",
                          (long long)order, (long long)p->window);
    return SABLE_OK;
}

/* A signal's length and channels are the file's; `wav` is filled in if it is one. */
static int read_sizes(struct hippo_params *p, struct sable_context *context, struct ssm_wav *wav,
                      struct sable_error *error)
{
    int64_t shape[2];
    if (!context->input)
        return SABLE_OK;
    const char *path = sable_input_path(context->input);
    if (sable_input_is_hdf5(context->input)) {
        if (sable_input_shape(context->input, "signal", 2, shape, error))
            return error->code;
        p->length = shape[0], p->channels = shape[1];
    } else {
        if (ssm_wav_open(path, wav, error))
            return error->code;
        p->length = wav->frames, p->channels = wav->channels;
    }
    if (p->length > 16777216)
        return sable_fail(error, SABLE_BAD_INPUT, "%s: the signal has %lld steps, more than 2^24", path,
                          (long long)p->length);
    return check(p, context->layout, error);
}

static int setup(const void *params, struct sable_context *context, void **state, struct sable_error *error)
{
    struct hippo_state *s = calloc(1, sizeof *s);
    if (!s)
        return sable_fail(error, SABLE_ENVIRONMENT, "ssm/hippo: out of memory");
    *state = s;
    s->params = *(const struct hippo_params *)params;
    struct hippo_params *p = &s->params;
    struct ssm_wav wav = {0};
    if (read_sizes(p, context, &wav, error))
        return error->code;
    s->part = ssm_split(1, p->channels, SSM_CHANNELS, context->layout);
    s->dense = is_dense(p, context->variant[0] == 'r');
#ifdef SABLE_HAVE_OPENBLAS
    if (!s->dense && context->variant[0] == 'o' && !(s->blas = sable_blas_open()))
        return sable_fail(error, SABLE_ENVIRONMENT, "ssm/hippo: %s could not be loaded", SABLE_HAVE_OPENBLAS);
    if (s->blas)
        sable_note_that(context, "peer_library", "%s", sable_blas_describe(s->blas));
#endif
    if (allocate(s, error))
        return error->code;
    if (p->measure == HIPPO_LEGS) {
        sable_legs_matrices(p->order, s->a, s->b);
        sable_legendre_nodes(p->order, s->room + p->order, s->room + 2 * p->order);
    } else if (discretise(s, error))
        return error->code;
    if (wav.frames > 0)
        return ssm_wav_read(&wav, s->part.column, s->part.columns, s->signal, error);
    const int64_t all[] = {p->length, p->channels}, offset[] = {0, s->part.column};
    const int64_t count[] = {p->length, s->part.columns};
    return ssm_fill(context, "signal", SSM_U, -0.5, 1.5, 2, all, offset, count, s->signal, error);
}

static void forget(struct hippo_state *s)
{
    const int64_t order = s->params.order, own = s->part.columns;
    memset(s->c, 0, (size_t)(sable_legs_groups(own) * order * SABLE_LEGS_GROUP) * sizeof *s->c);
    memset(s->exact, 0, (size_t)(own * order) * sizeof *s->exact);
}

static int reset(void *state, struct sable_context *context, struct sable_error *error)
{
    (void)context, (void)error;
    struct hippo_state *s = state;
    forget(s);
    for (int64_t i = 0; i < s->params.order * s->part.columns; i++)
        s->coefficients[i] = NAN; /* what is not written is seen */
    return SABLE_OK;
}

/* ---- Run ---- */

static void dense_steps(struct hippo_state *s, int64_t begin, int64_t end)
{
    const int64_t order = s->params.order, own = s->part.columns;
    const enum sable_legs_rule rule = (enum sable_legs_rule)s->params.rule;
    if (rule != SABLE_LEGS_ZOH) {
#pragma omp parallel for schedule(static)
        for (int64_t i = 0; i < own; i++) {
            double w[1024]; /* the largest order */
            for (int64_t t = begin; t < end; t++)
                sable_legs_dense_step(rule, order, t + 1, s->a, s->b, (double)s->signal[t * own + i],
                                      s->exact + i * order, NULL, w);
        }
        return;
    }
    for (int64_t t = begin; t < end; t++) {
        sable_legs_zoh(order, t + 1, s->room + order, s->room + 2 * order, s->e, s->w);
#pragma omp parallel for schedule(static)
        for (int64_t i = 0; i < own; i++)
            sable_legs_dense_step(rule, order, t + 1, s->a, s->b, (double)s->signal[t * own + i], s->exact + i * order,
                                  s->e, s->w);
    }
}

static int blas_steps(struct hippo_state *s, int64_t begin, int64_t end, struct sable_error *error)
{
#ifdef SABLE_HAVE_OPENBLAS
    const struct hippo_params *p = &s->params;
    const int64_t own = s->part.columns;
    const bool good =
        p->measure == HIPPO_LEGS
            ? sable_legs_blas(s->blas, (enum sable_legs_rule)p->rule, p->order, own, begin, end, s->signal, s->c)
            : sable_window_blas(s->blas, p->order, own, end - begin, s->next, s->gain, s->signal + begin * own, s->c);
    return good ? SABLE_OK : sable_fail(error, SABLE_ENVIRONMENT, "ssm/hippo: out of memory for OpenBLAS's steps");
#else
    (void)s, (void)begin, (void)end;
    return sable_fail(error, SABLE_BUG, "ssm/hippo: built without OpenBLAS");
#endif
}

static void invariant_steps(struct hippo_state *s, int64_t begin, int64_t end)
{
    const int64_t order = s->params.order, own = s->part.columns;
    if (!s->dense) {
        sable_window_scan(order, own, end - begin, s->next, s->gain, s->signal + begin * own, s->c, s->spare);
        return;
    }
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < own; i++) {
        double room[1024]; /* the largest order */
        for (int64_t t = begin; t < end; t++)
            sable_window_follow(order, s->e, s->w, 0, 0, 0, (double)s->signal[t * own + i], s->exact + i * order, NULL,
                                room);
    }
}

static int steps(struct hippo_state *s, int64_t begin, int64_t end, struct sable_error *error)
{
    if (s->blas)
        return blas_steps(s, begin, end, error);
    if (s->params.measure != HIPPO_LEGS)
        invariant_steps(s, begin, end);
    else if (s->dense)
        dense_steps(s, begin, end);
    else
        sable_legs_scan((enum sable_legs_rule)s->params.rule, s->params.order, s->part.columns, begin, end, s->signal,
                        s->c, s->factors);
    return SABLE_OK;
}

/* A block of neighbouring n, whose coefficients of a group of channels lie together. */
static void collect_block(const struct hippo_state *s, int64_t begin, int64_t end)
{
    const int64_t order = s->params.order, own = s->part.columns, width = s->blas ? own : SABLE_LEGS_GROUP;
    const bool scaled = s->params.measure == HIPPO_LEGS && !s->blas; /* as the scan has them */
    for (int64_t first = 0; first < own; first += width)
        for (int64_t n = begin; n < end; n++) {
            const int64_t count = own - first < width ? own - first : width;
            const double unit = scaled ? 1 / sqrt(2 * (double)n + 1) : 1;
            const float *c = s->c + (first / width * order + n) * width;
            double *to = s->coefficients + n * own + first;
            for (int64_t i = 0; i < count; i++)
                to[i] = s->dense ? s->exact[(first + i) * order + n] : (double)c[i] * unit;
        }
}

static void collect(struct hippo_state *s)
{
    const int64_t order = s->params.order, block = 8;
#pragma omp parallel for schedule(static)
    for (int64_t n = 0; n < order; n += block)
        collect_block(s, n, n + block < order ? n + block : order);
}

static int run(void *state, struct sable_context *context, struct sable_error *error)
{
    struct hippo_state *s = state;
    const int64_t length = s->params.length, own = s->part.columns;
    float *kept = s->signal;
    uint64_t bits;
    if (context->fault == FAULT_LOST_CARRY) { /* where a window would not have forgotten it anyway */
        const int64_t back =
            s->params.measure != HIPPO_LEGS && s->params.window / 4 < length / 2 ? s->params.window / 4 : length / 2;
        if (steps(s, 0, length - back, error))
            return error->code;
        forget(s);
        steps(s, length - back, length, error);
    } else if (context->fault == FAULT_SHIFT) { /* one step less, with the signal from its second row on */
        s->signal = kept + own;
        steps(s, 0, length - 1, error);
        s->signal = kept;
    } else
        steps(s, 0, context->fault == FAULT_SKIP_BLOCK ? length - length / 8 - 1 : length, error);
    if (error->code)
        return error->code;
    collect(s);
    if (own > 0 && context->fault == FAULT_NAN)
        s->coefficients[0] = NAN;
    if (own > 0 && context->fault == FAULT_FLIP_BIT) {
        memcpy(&bits, s->coefficients, sizeof bits);
        bits ^= (uint64_t)1 << 62;
        memcpy(s->coefficients, &bits, sizeof bits);
    }
    return SABLE_OK;
}

static const struct sable_variant variants[] = {
    {"reference", "float64, dense matrices, as the definition has it", run},
    {"sable", "float32, lanes over channels; legs O(N) by prefix sums, else blocks of four rows", run},
#ifdef SABLE_HAVE_OPENBLAS
    {"openblas", "float32, dense steps by OpenBLAS, as codes of HiPPO have them (zoh of legs: as reference)", run,
     true},
#endif
    {0},
};

const struct sable_workload sable_ssm_hippo = {
    .name = "ssm/hippo",
    .summary = "online projection of signals on polynomials (HiPPO: LegS, LegT, LagT, FouT)",
    .source = "Gu, Dao, Ermon, Rudra & Ré, HiPPO, NeurIPS 2020",
    .fom = {"state updates", "Gupdate/s", 1e9},
    .params_size = sizeof(struct hippo_params),
    .params = parameters,
    .classes = classes,
    .weak = weak,
    .variants = variants,
    .phases = phases,
    .faults = faults,
    .inputs = inputs,
    .outputs = outputs,
    .layout_invariant = true,
    .other_inputs = true,
    .check = check,
    .work = work,
    .setup = setup,
    .reset = reset,
    .verify = hippo_verify,
    .output = hippo_output,
    .free = free_state,
};
