/* ssm/scan: diagonal complex linear recurrences, x_t = a x_{t−1} + b_t, over time × channels × states. With many states
 * it measures memory bandwidth; with few and a long time, chunks of time over lanes, threads and ranks, whose carries
 * are combined by two all-to-alls. Mathematics, work model, parallel scheme: docs/ssm.md. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "sable_array.h"
#include "ssm_scan.h"

enum { FAULT_LOST_CARRY = 1, FAULT_SHIFT, FAULT_SKIP_BLOCK, FAULT_FLIP_BIT, FAULT_NAN };
enum { FEW = 256, FLOPS_OF_UPDATE = 8 };
static const double check_all_up_to = 0x1p28; /* updates of all ranks; beyond it, that many are checked */

#define PARAM(field) offsetof(struct scan_params, field)
static const char *const strategies[] = {"auto", "channels", "sequence", NULL};
static const char *const carries[] = {"fixed", "native", NULL};
static const struct sable_param parameters[] = {
    {"channels", SABLE_INT, PARAM(channels), "", 1, 1e9, 0, 0, NULL, "256", "channels"},
    {"states", SABLE_INT, PARAM(states), "", 1, 65536, 0, 0, NULL, "16", "states of a channel"},
    {"length", SABLE_INT, PARAM(length), "steps", 1, 1e15, 0, 0, NULL, "4096", "steps"},
    {"strategy", SABLE_CHOICE, PARAM(strategy), "", 0, 0, 0, 0, strategies, "auto",
     "ranks and threads share channels, or chunks of time; auto: time if channels x states < 256"},
    {"chunk", SABLE_INT, PARAM(chunk), "steps", 1, 1e9, 0, 0, NULL, "1024", "steps of a chunk of time; changes bits"},
    {"carries", SABLE_CHOICE, PARAM(carries), "", 0, 0, 0, 0, carries, "fixed",
     "over time: of chunks of `chunk` steps, or native: as few chunks as keep all ranks, threads and lanes busy, so "
     "that "
     "bits depend on the layout and are not digested"},
    {0},
};
static const struct sable_class classes[] = {
    {"T", "channels=7 states=1 length=2003 chunk=17"}, {"S", "channels=256 states=16 length=4096"},
    {"A", "channels=1024 states=16 length=16384"},     {"B", "channels=1024 states=64 length=65536"},
    {"C", "channels=4096 states=64 length=131072"},    {"D", "channels=4096 states=64 length=1048576"},
    {"E", "channels=16384 states=64 length=2097152"},  {0}};
static const struct sable_growth weak[] = {{"channels", 1}, {0}};
static const char *const phases[] = {[SCAN_PHASE] = "scan",
                                     [SCAN_PHASE_CARRY] = "carry",
                                     [SCAN_PHASE_RESCAN] = "rescan",
                                     [SCAN_PHASE_WAIT] = "wait",
                                     NULL};
static const struct sable_fault faults[] = {
    {"lost_carry", "forget the state half way (of the first chunks)"},
    {"shift", "give x one step late"},
    {"skip_block", "leave out the last steps of a rank"},
    {"flip_bit", "flip a bit of one x"},
    {"nan", "make one x NaN"},
    {0},
};
static const struct sable_field inputs[] = {
    {"b", "[length, channels, states] complex", "what is added at each step"},
    {"a", "[channels, states] complex", "|a| ≤ 1"},
    {"x0", "[channels, states] complex", "state before the first step; 0 if absent"},
    {0},
};
static const struct sable_field outputs[] = {
    {"x", "[length, channels, states] complex", "(--keep full)"},
    {"state", "[channels, states] complex", "x after the last step"},
    {0},
};

/* ---- Sizes and work ---- */

static bool over_time(const struct scan_params *p)
{
    return p->strategy == SCAN_SEQUENCE || (p->strategy == SCAN_AUTO && (double)p->channels * (double)p->states < FEW);
}

/* Native carries: a chunk for each thread, or, with fewer states than a vector of 16 has lanes, for each lane. */
static struct scan_params chunked(const struct scan_params *params, struct sable_layout layout)
{
    struct scan_params p = *params;
    if (p.carries == SCAN_NATIVE && over_time(&p)) {
        const double busy = (double)layout.ranks * layout.threads;
        const double lanes = (double)p.channels * (double)p.states < 16 ? 16 : 1;
        p.chunk = (int64_t)fmax(1, ceil((double)p.length / (busy * lanes)));
    }
    return p;
}

static void work(const void *params, struct sable_layout layout, const void *state, struct sable_work *work)
{
    const struct scan_state *s = state;
    const struct scan_params used = chunked(s ? &s->params : params, layout), *p = &used;
    struct scan_part part = scan_split(p, over_time(p), layout);
    const double row = (double)part.columns * (double)p->states, updates = row * (double)part.steps;
    const double ends = over_time(p) ? row * (double)part.chunks : 0;
    *work = (struct sable_work){
        .items = updates,
        .flops_fp32 = FLOPS_OF_UPDATE * updates * (over_time(p) ? 2 : 1),
        .bytes = (over_time(p) && layout.ranks > 1 ? 24 : 16) * updates, /* b, x; over ranks in time b twice */
        .pattern = SABLE_COPY,
        .working_set = 16 * updates,
        .bytes_network = over_time(p) ? scan_bytes_sent(p, layout) : 0,
        .messages = over_time(p) ? 2 * (layout.ranks - 1) : 0,
        .memory = 24 * updates + 24 * ends + 80 * row, /* and x in pairs, for output */
    };
}

static int check(const void *params, struct sable_layout layout, struct sable_error *error)
{
    const struct scan_params used = chunked(params, layout), *p = &used;
    int64_t row, all;
    if (!sable_multiply(p->channels, p->states, &row) || !sable_multiply(row, p->length, &all) || all > INT64_MAX / 32)
        return sable_fail(error, SABLE_BAD_INPUT,
                          "length × channels × states = %lld × %lld × %lld is more than 64 bits hold",
                          (long long)p->length, (long long)p->channels, (long long)p->states);
    if (over_time(p) && 2 * (double)row * ((double)(p->length / p->chunk) + 1) > 2147483647.0)
        return sable_fail(error, SABLE_BAD_INPUT,
                          "chunk=%lld gives more than 2^31 numbers to carry: take a longer chunk, or strategy=channels",
                          (long long)p->chunk);
    return SABLE_OK;
}

/* ---- Setup ---- */

static int setup(const void *params, struct sable_context *context, void **state, struct sable_error *error)
{
    struct scan_state *s = calloc(1, sizeof *s);
    if (!s)
        return sable_fail(error, SABLE_ENVIRONMENT, "ssm/scan: out of memory");
    *state = s;
    s->params = *(const struct scan_params *)params;
    s->reference = context->variant[0] == 'r';
    if (scan_sizes(&s->params, context, error) || check(&s->params, context->layout, error))
        return error->code;
    s->over_time = over_time(&s->params);
    s->params = chunked(&s->params, context->layout);
    s->part = scan_split(&s->params, s->over_time, context->layout);
    return scan_fill(s, context, error);
}

static int reset(void *state, struct sable_context *context, struct sable_error *error)
{
    (void)context, (void)error;
    struct scan_state *s = state;
    memcpy(s->state, s->x0, (size_t)(2 * s->row) * sizeof *s->state);
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < 2 * s->row * s->part.steps; i++)
        s->x[i] = NAN; /* what is not written is seen */
    return SABLE_OK;
}

/* ---- Run ---- */

static int reference(struct scan_state *s, struct sable_context *context, struct sable_error *error)
{
    double *carry = s->carry;
    const int rank = context->layout.rank, count = (int)(2 * s->row);
    for (int64_t i = 0; i < 2 * s->row; i++)
        carry[i] = (double)s->x0[i];
    if (s->over_time && rank > 0 &&
        sable_check_mpi(MPI_Recv(carry, count, MPI_DOUBLE, rank - 1, 0, context->comm, MPI_STATUS_IGNORE), "MPI_Recv",
                        error))
        return error->code;
    if (context->fault == FAULT_LOST_CARRY && rank == 0) {
        int64_t half = s->part.steps / 2;
        sable_scan_reference(s->row, half, s->a, s->b, carry, s->x);
        memset(carry, 0, (size_t)(2 * s->row) * sizeof *carry);
        sable_scan_reference(s->row, s->part.steps - half, s->a, s->b + 2 * half * s->row, carry,
                             s->x + 2 * half * s->row);
    } else
        sable_scan_reference(s->row, s->part.steps, s->a, s->b, carry, s->x);
    for (int64_t i = 0; i < 2 * s->row; i++)
        s->state[i] = (float)carry[i];
    if (s->over_time && rank + 1 < context->layout.ranks) {
        sable_count_sent(context, (size_t)count * sizeof(double));
        sable_check_mpi(MPI_Send(carry, count, MPI_DOUBLE, rank + 1, 0, context->comm), "MPI_Send", error);
    }
    return error->code;
}

bool scan_streams(const struct scan_state *s)
{
    return 16 * (double)s->row * (double)s->part.steps > 0x1p25; /* x would only push b out of the caches */
}

static void by_channels(struct scan_state *s, const struct sable_context *context)
{
    const int64_t half = context->fault == FAULT_LOST_CARRY ? s->part.steps / 2 : 0;
    const bool stream = scan_streams(s);
    if (half > 0) {
        sable_scan(s->row, half, s->a, s->b, s->state, s->x, stream);
        memset(s->state, 0, (size_t)(2 * s->row) * sizeof *s->state);
    }
    sable_scan(s->row, s->part.steps - half, s->a, s->b + 2 * half * s->row, s->state, s->x + 2 * half * s->row,
               stream);
}

static void spoil(struct scan_state *s, int fault)
{
    const int64_t row = 2 * s->row, steps = s->part.steps;
    float *x = s->x;
    uint32_t bits;
    if (steps == 0 || row == 0)
        return;
    if (fault == FAULT_SHIFT)
        memmove(x + row, x, (size_t)(row * (steps - 1)) * sizeof *x);
    if (fault == FAULT_SKIP_BLOCK)
        memset(x + row * (steps - steps / 4 - 1), 0, (size_t)(row * (steps / 4 + 1)) * sizeof *x);
    if (fault == FAULT_NAN)
        x[row * (steps / 2)] = NAN;
    if (fault == FAULT_FLIP_BIT) {
        memcpy(&bits, &x[row * (steps / 2)], sizeof bits);
        bits ^= 1U << 30;
        memcpy(&x[row * (steps / 2)], &bits, sizeof bits);
    }
}

static int run(void *state, struct sable_context *context, struct sable_error *error)
{
    struct scan_state *s = state;
    if (s->reference)
        reference(s, context, error);
    else if (s->over_time)
        scan_over_time(s, context->fault == FAULT_LOST_CARRY, context, error);
    else
        by_channels(s, context);
    if (!error->code)
        spoil(s, context->fault);
    return error->code;
}

/* ---- Verification ---- */

/* All states, or each k-th, step by step; where the rank before ends, by what it sends. Every x is seen to be finite.
 */
static int verify(void *state, struct sable_context *context, struct sable_checks *checks, struct sable_error *error)
{
    struct scan_state *s = state;
    const struct scan_params *p = &s->params;
    const double updates = (double)p->length * (double)p->channels * (double)p->states;
    const int64_t every = (int64_t)fmax(1, ceil(updates / check_all_up_to)), row = s->row, steps = s->part.steps;
    const int64_t chunk = s->over_time && !s->reference ? p->chunk : steps + 1; /* the reference has no seams */
    double worst = 0, unfinished = 0, all[2];
    if (scan_before(s, context, error))
        return error->code;
#pragma omp parallel for schedule(static) reduction(+ : unfinished)
    for (int64_t i = 0; i < 2 * row * steps; i++)
        unfinished += !isfinite(s->x[i]);
#pragma omp parallel for schedule(dynamic) reduction(max : worst)
    for (int64_t m = 0; m < row; m++) {
        s->evidence[m] = (struct sable_scan_evidence){0};
        if (m % every == 0 && steps > 0)
            s->evidence[m] = sable_scan_examine(row, steps, chunk, m, s->a, s->b, s->before, s->x);
        worst = s->evidence[m].worst > worst ? s->evidence[m].worst : worst;
    }
    if (scan_seams(s, context, error))
        return error->code;
    for (int64_t m = 0; m < row && steps > 0; m += every) {
        const struct sable_scan_evidence *e = &s->evidence[m];
        double ratio = e->first / (e->room + e->reach * s->seam[m]);
        worst = ratio <= worst ? worst : isnan(ratio) ? (double)INFINITY : ratio;
    }
    double sums = unfinished;
    if (sable_check_mpi(MPI_Allreduce(&sums, &all[0], 1, MPI_DOUBLE, MPI_SUM, context->comm), "MPI_Allreduce", error) ||
        sable_check_mpi(MPI_Allreduce(&worst, &all[1], 1, MPI_DOUBLE, MPI_MAX, context->comm), "MPI_Allreduce", error))
        return error->code;
    sable_check(checks, "values that are not finite", all[0], 0, 0);
    sable_check_at_most(checks, "residual of a step over its rounding bound", all[1], 1);
    return SABLE_OK;
}

static const struct sable_variant variants[] = {
    {"reference", "the formula in float64 on one thread of each rank, ranks in turn over time", run},
    {"sable", "lanes over states, or over chunks of time", run},
    {0},
};

const struct sable_workload sable_ssm_scan = {
    .name = "ssm/scan",
    .summary = "diagonal complex linear recurrence (S5, LRU)",
    .source = "Smith et al., S5, ICLR 2023; Orvieto et al., LRU, ICML 2023",
    .fom = {"state updates", "Gupdate/s", 1e9},
    .params_size = sizeof(struct scan_params),
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
    .output = scan_output,
    .free = scan_free,
};
