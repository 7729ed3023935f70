/* ssm/hippo: the history of many signals at once as coefficients of polynomials (HiPPO), updated at every step. It
 * measures multiply-adds on state that stays in a cache, by the O(N) structure of LegS's step or the dense step of the
 * time-invariant measures; ranks and threads share channels. Mathematics, work model, bounds: docs/ssm.md. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "input.h"
#include "sable_array.h"
#include "sable_hippo.h"
#include "sable_window.h"
#include "ssm_part.h"

enum { FAULT_LOST_CARRY = 1, FAULT_SHIFT, FAULT_SKIP_BLOCK, FAULT_FLIP_BIT, FAULT_NAN };
enum { LEGS, LEGT, LAGT, FOUT }; /* measures */
enum { POWERS = 32768 /* at most, until forward Euler must have shrunk */ };
enum { POINTS = 64 /* of the reconstruction */, FLOPS_OF_UPDATE = 6 };
static const double check_all_up_to = 0x1p30; /* updates of all ranks; beyond it, that many are checked */

struct hippo_params {
    int64_t order, channels, length, window;
    int measure, rule;
};

struct hippo_state {
    struct hippo_params params; /* of the whole problem; sizes are the input's, if it has any */
    struct ssm_part part;       /* columns are channels */
    bool dense;                 /* float64 by dense matrices: `exact`; else float32: `c` */
    float *signal;              /* [length, own channels] */
    float *c, *factors;         /* [groups, order, group] */
    double *exact;              /* [own channels, order] */
    double *a, *b, *e, *w;      /* [order, order] and [order]; e and w: of a step */
    float *next, *gain, *spare; /* of a step in float32, and as c: of the time-invariant measures */
    double norm, growth;        /* of e, and of its powers at most */
    double *room;               /* [order] and quadrature nodes and weights */
    double *coefficients;       /* [order, own channels]: the result */
    double *history;            /* [POINTS, own channels] reconstruction */
};

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
static const struct sable_field inputs[] = {{"signal", "[length, channels]", "one row a step"}, {0}};
static const struct sable_field outputs[] = {
    {"coefficients", "[order, channels]", "after the last step"},
    {"reconstruction", "[64, channels]",
     "of the history or the last window, at the middles of 64 equal parts, oldest first"},
    {0},
};

/* ---- Sizes and work ---- */

static bool is_dense(const struct hippo_params *p, bool reference)
{
    return reference || (p->measure == LEGS && p->rule == SABLE_LEGS_ZOH);
}

static enum sable_window_measure window_of(const struct hippo_params *p)
{
    return (enum sable_window_measure)(p->measure - LEGT);
}

static void work(const void *params, struct sable_layout layout, const void *state, struct sable_work *work)
{
    const struct hippo_state *s = state;
    const struct hippo_params *p = s ? &s->params : params;
    struct ssm_part part = ssm_split(1, p->channels, SSM_CHANNELS, layout);
    const double channels = (double)part.columns, order = (double)p->order, steps = (double)p->length;
    const double updates = channels * order * steps, padded = (double)sable_legs_groups(part.columns) * 32 * order;
    const bool invariant = p->measure != LEGS, zoh = !invariant && p->rule == SABLE_LEGS_ZOH;
    *work = (struct sable_work){
        .items = updates,
        .flops_fp32 = zoh         ? 0
                      : invariant ? (2 * order + 1) * updates
                                  : FLOPS_OF_UPDATE * updates,
        .flops_fp64 = zoh ? (order + 2) * updates + 1.5 * steps * order * order * order : 0,
        .bytes = 4 * channels * steps,
        .pattern = SABLE_READ,
        .working_set = 4 * channels * steps,
        .memory = 4 * (channels * steps + (invariant ? 2 : 1) * padded + 64 * order + order * order) +
                  8 * (channels * (2 * order + POINTS) + 2 * order * order + 6 * order) +
                  (invariant ? 24 * (order + 1) * (order + 1) : 0),
    };
}

static int check(const void *params, struct sable_layout layout, struct sable_error *error)
{
    (void)layout;
    const struct hippo_params *p = params;
    int64_t all;
    if (p->measure == LEGS && p->rule == SABLE_WINDOW_FORWARD)
        return sable_fail(error, SABLE_BAD_INPUT,
                          "discretisation=forward is not stable for measure=legs (docs/ssm.md)");
    if (!sable_multiply(p->channels, p->length > 2 * p->order + POINTS ? p->length : 2 * p->order + POINTS, &all) ||
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
    double *doubles[] = {s->exact, s->a, s->b, s->e, s->w, s->room, s->coefficients, s->history};
    for (size_t i = 0; i < sizeof floats / sizeof *floats; i++)
        sable_array_free(floats[i]);
    for (size_t i = 0; i < sizeof doubles / sizeof *doubles; i++)
        sable_array_free(doubles[i]);
    free(s);
}

static int allocate(struct hippo_state *s, struct sable_error *error)
{
    const int64_t order = s->params.order, own = s->part.columns;
    s->signal = sable_array(s->params.length, own, sizeof(float));
    s->c = sable_array(sable_legs_groups(own) * order, SABLE_LEGS_GROUP, sizeof(float));
    s->factors = sable_array(SABLE_LEGS_STEPS * order, 4, sizeof(float));
    s->exact = sable_array(own, order, sizeof(double));
    s->a = sable_array(order, order, sizeof(double));
    s->b = sable_array(order, 1, sizeof(double));
    s->e = sable_array(order, order, sizeof(double));
    s->w = sable_array(order, 1, sizeof(double));
    s->next = sable_array(order, order, sizeof(float));
    s->gain = sable_array(order, 1, sizeof(float));
    s->spare =
        sable_array(s->params.measure == LEGS ? 1 : sable_legs_groups(own) * order, SABLE_LEGS_GROUP, sizeof(float));
    s->room = sable_array(order, 3, sizeof(double));
    s->coefficients = sable_array(order, own, sizeof(double));
    s->history = sable_array(POINTS, own, sizeof(double));
    if (!s->signal || !s->c || !s->factors || !s->exact || !s->a || !s->b || !s->e || !s->w || !s->next || !s->gain ||
        !s->spare || !s->room || !s->coefficients || !s->history)
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
    const double step = (p->measure == LAGT ? 1.0 : 2.0) / (double)p->window;
    const double affordable = 0x1p33 / pow((double)order, 3); /* some seconds */
    const int64_t powers = affordable < POWERS ? (int64_t)affordable : POWERS;
    double *room = sable_array(3 * (order + 1), order + 1, sizeof *room), sum = 0;
    if (!room)
        return sable_fail(error, SABLE_ENVIRONMENT, "ssm/hippo: out of memory for matrices of order %lld",
                          (long long)order);
    sable_window_matrices(window_of(p), order, s->a, s->b);
    sable_window_discretise((enum sable_window_rule)p->rule, order, step, s->a, s->b, s->e, s->w, room);
    s->growth = p->rule == SABLE_WINDOW_FORWARD ? sable_window_growth(order, s->a, s->e, powers, room) : 1;
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

static int setup(const void *params, struct sable_context *context, void **state, struct sable_error *error)
{
    struct hippo_state *s = calloc(1, sizeof *s);
    if (!s)
        return sable_fail(error, SABLE_ENVIRONMENT, "ssm/hippo: out of memory");
    *state = s;
    s->params = *(const struct hippo_params *)params;
    struct hippo_params *p = &s->params;
    int64_t shape[2];
    if (context->input) {
        if (sable_input_shape(context->input, "signal", 2, shape, error))
            return error->code;
        p->length = shape[0], p->channels = shape[1];
        if (p->length > 16777216)
            return sable_fail(error, SABLE_BAD_INPUT, "%s: 'signal' has %lld steps, more than 2^24",
                              sable_input_path(context->input), (long long)p->length);
        if (check(p, context->layout, error))
            return error->code;
    }
    s->part = ssm_split(1, p->channels, SSM_CHANNELS, context->layout);
    s->dense = is_dense(p, context->variant[0] == 'r');
    if (allocate(s, error))
        return error->code;
    if (p->measure == LEGS) {
        sable_legs_matrices(p->order, s->a, s->b);
        sable_legendre_nodes(p->order, s->room + p->order, s->room + 2 * p->order);
    } else if (discretise(s, error))
        return error->code;
    const int64_t all[] = {p->length, p->channels}, offset[] = {0, s->part.column};
    const int64_t count[] = {p->length, s->part.columns};
    return ssm_fill(context, "signal", SSM_U, -0.5, 1.5, 2, all, offset, count, s->signal, error);
}

static int reset(void *state, struct sable_context *context, struct sable_error *error)
{
    (void)context, (void)error;
    struct hippo_state *s = state;
    const int64_t order = s->params.order, own = s->part.columns;
    memset(s->c, 0, (size_t)(sable_legs_groups(own) * order * SABLE_LEGS_GROUP) * sizeof *s->c);
    memset(s->exact, 0, (size_t)(own * order) * sizeof *s->exact);
    for (int64_t i = 0; i < order * own; i++)
        s->coefficients[i] = NAN; /* what is not written is seen */
    return SABLE_OK;
}

/* ---- Run ---- */

static void dense_steps(struct hippo_state *s, int64_t begin, int64_t end)
{
    const struct hippo_params *p = &s->params;
    const int64_t order = p->order, own = s->part.columns;
    const enum sable_legs_rule rule = (enum sable_legs_rule)p->rule;
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
            sable_window_follow(order, s->e, s->w, 0, 0, (double)s->signal[t * own + i], s->exact + i * order, NULL,
                                room);
    }
}

static void steps(struct hippo_state *s, int64_t begin, int64_t end)
{
    if (s->params.measure != LEGS)
        invariant_steps(s, begin, end);
    else if (s->dense)
        dense_steps(s, begin, end);
    else
        sable_legs_scan((enum sable_legs_rule)s->params.rule, s->params.order, s->part.columns, begin, end, s->signal,
                        s->c, s->factors);
}

static void collect(struct hippo_state *s)
{
    const int64_t order = s->params.order, own = s->part.columns;
#pragma omp parallel for schedule(static)
    for (int64_t n = 0; n < order; n++)
        for (int64_t i = 0; i < own; i++) {
            int64_t at = (i / SABLE_LEGS_GROUP * order + n) * SABLE_LEGS_GROUP + i % SABLE_LEGS_GROUP;
            s->coefficients[n * own + i] = s->dense ? s->exact[i * order + n] : (double)s->c[at];
        }
}

static void forget(struct hippo_state *s)
{
    const int64_t order = s->params.order, own = s->part.columns;
    memset(s->c, 0, (size_t)(sable_legs_groups(own) * order * SABLE_LEGS_GROUP) * sizeof *s->c);
    memset(s->exact, 0, (size_t)(own * order) * sizeof *s->exact);
}

static int run(void *state, struct sable_context *context, struct sable_error *error)
{
    (void)error;
    struct hippo_state *s = state;
    const int64_t length = s->params.length, own = s->part.columns;
    float *kept = s->signal;
    uint64_t bits;
    if (context->fault == FAULT_LOST_CARRY) { /* where a window would not have forgotten it anyway */
        const int64_t back =
            s->params.measure != LEGS && s->params.window / 4 < length / 2 ? s->params.window / 4 : length / 2;
        steps(s, 0, length - back);
        forget(s);
        steps(s, length - back, length);
    } else if (context->fault == FAULT_SHIFT) { /* one step less, with the signal from its second row on */
        s->signal = kept + own;
        steps(s, 0, length - 1);
        s->signal = kept;
    } else
        steps(s, 0, context->fault == FAULT_SKIP_BLOCK ? length - length / 8 - 1 : length);
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

/* ---- Verification ---- */

/* The projection of the piecewise constant signal in closed form: c_n = Σ_k f_k ∫ over step k of √(2n+1) P_n. */
static void project(const struct hippo_state *s, int64_t channel, double *c, double *room)
{
    const int64_t order = s->params.order, length = s->params.length, own = s->part.columns;
    double *p = room, *before = p + order, *after = before + order;
    memset(c, 0, (size_t)order * sizeof *c);
    memset(before, 0, (size_t)order * sizeof *before);
    for (int64_t k = 0; k < length; k++) {
        sable_legendre(order, ((double)k + 1) / (double)length, p, after);
        for (int64_t n = 0; n < order; n++) {
            c[n] += (double)s->signal[k * own + channel] * (after[n] - before[n]);
            before[n] = after[n];
        }
    }
}

/* 2-norm of a channel's error over what it may be; NaN if a coefficient is. For zoh float64 must meet the closed form
 * to 1e-12 of the signal's largest value and what the roundings of so many steps, each of norm ≤ 1, add up to. */
static double error_of(const struct hippo_state *s, int64_t channel, double *room)
{
    const struct hippo_params *p = &s->params;
    const int64_t order = p->order, own = s->part.columns;
    double *c = room, bound = 0, sum = 0, largest = 0;
    memset(c, 0, (size_t)order * sizeof *c);
    if (p->measure != LEGS)
        for (int64_t t = 0; t < p->length; t++)
            sable_window_follow(order, s->e, s->w, s->norm, s->growth, (double)s->signal[t * own + channel], c, &bound,
                                room + order);
    else if (p->rule == SABLE_LEGS_ZOH) {
        project(s, channel, c, room + order);
        for (int64_t t = 0; t < p->length; t++)
            largest = fmax(largest, fabs((double)s->signal[t * own + channel]));
        bound = largest * (1e-12 + (double)p->length * (double)order * 0x1p-53);
    } else
        sable_legs_follow((enum sable_legs_rule)p->rule, order, 0, p->length, s->signal + channel, own, c, &bound,
                          room + order);
    for (int64_t n = 0; n < order; n++) {
        double off = s->coefficients[n * own + channel] - c[n];
        sum += off * off;
    }
    return sqrt(sum) / bound;
}

static int verify(void *state, struct sable_context *context, struct sable_checks *checks, struct sable_error *error)
{
    struct hippo_state *s = state;
    const struct hippo_params *p = &s->params;
    const int64_t order = p->order, own = s->part.columns;
    const double updates =
        (double)order * (double)p->length * (double)p->channels * (p->measure == LEGS ? 1 : (double)order);
    const int64_t every = (int64_t)fmax(1, ceil(updates / check_all_up_to));
    double most = 0, checked = 0, unfinished = 0;
    int failed = 0;
#pragma omp parallel reduction(max : most) reduction(+ : checked, unfinished) reduction(| : failed)
    {
        double *room = sable_array(4, order, sizeof(double));
        failed |= !room;
#pragma omp for schedule(dynamic)
        for (int64_t i = 0; i < own; i++) {
            for (int64_t n = 0; n < order; n++)
                unfinished += !isfinite(s->coefficients[n * own + i]);
            if (!room || i % every != 0)
                continue;
            double off = error_of(s, i, room);
            unfinished += isnan(off);
            most = off > most ? off : most;
            checked += 1;
        }
        sable_array_free(room);
    }
    if (failed)
        sable_fail(error, SABLE_ENVIRONMENT, "ssm/hippo: out of memory while verifying");
    if (sable_agree(context->comm, error))
        return error->code;
    double sums[2] = {checked, unfinished}, all[2], worst;
    if (sable_check_mpi(MPI_Allreduce(sums, all, 2, MPI_DOUBLE, MPI_SUM, context->comm), "MPI_Allreduce", error) ||
        sable_check_mpi(MPI_Allreduce(&most, &worst, 1, MPI_DOUBLE, MPI_MAX, context->comm), "MPI_Allreduce", error))
        return error->code;
    const double channels = (double)p->channels;
    sable_check(checks, "coefficients that are not finite", all[1], 0, 0);
    sable_check_at_most(checks, "error of a channel over its derived bound", worst, 1);
    sable_check_at_most(checks, "channels that are not recomputed", channels - all[0],
                        channels * (1 - 1 / (double)every));
    return SABLE_OK;
}

/* ---- Output ---- */

static void reconstruct(struct hippo_state *s)
{
    const int64_t order = s->params.order, own = s->part.columns;
#pragma omp parallel for schedule(static)
    for (int64_t x = 0; x < POINTS; x++) {
        double p[1024], unused[1024]; /* the largest order */
        const double at = ((double)x + 0.5) / POINTS;
        if (s->params.measure == LEGS)
            sable_legendre(order, at, p, unused);
        else
            sable_window_basis(window_of(&s->params), order, 1 - at, p);
        for (int64_t i = 0; i < own; i++) {
            double sum = 0;
            for (int64_t n = 0; n < order; n++)
                sum += s->coefficients[n * own + i] * p[n];
            s->history[x * own + i] = sum;
        }
    }
}

static int output(void *state, struct sable_context *context, struct sable_sink *sink, struct sable_error *error)
{
    (void)context;
    struct hippo_state *s = state;
    const struct hippo_params *p = &s->params;
    reconstruct(s);
    struct sable_array c = {.name = "coefficients",
                            .unit = "",
                            .help = "of the measure's functions",
                            .keep = SABLE_KEEP_SUMMARY,
                            .type = SABLE_F64,
                            .dims = 2,
                            .global = {p->order, p->channels},
                            .offset = {0, s->part.column},
                            .count = {p->order, s->part.columns},
                            .labels = {"degree", "channel"},
                            .data = s->coefficients};
    struct sable_array history = c;
    history.name = "reconstruction", history.help = "of the history or the last window", history.data = s->history;
    history.global[0] = history.count[0] = POINTS;
    history.labels[0] = "part";
    return sable_put(sink, &c, error) ? error->code : sable_put(sink, &history, error);
}

static const struct sable_variant variants[] = {
    {"reference", "float64, dense matrices, as the definition has it", run},
    {"sable", "float32, lanes over channels; legs O(N) by prefix sums, else blocks of four rows", run},
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
    .check = check,
    .work = work,
    .setup = setup,
    .reset = reset,
    .verify = verify,
    .output = output,
    .free = free_state,
};
