/* Workloads that test the harness itself: their times and answers are known beforehand.
 *
 *   null/sleep   a wait of a known length with known noise: a 10 % difference must be found, equal variants must not be
 *                called different, and every fault must be seen
 *   null/sum     a dot product over all ranks in fixed blocks: the same bits for any layout */
#include <math.h>
#include <stdlib.h>
#include <time.h>

#include "driver.h"
#include "reduce.h"
#include "sable_array.h"
#include "sable_random.h"
#include "sable_sum.h"

enum { PURPOSE_NOISE = 1, PURPOSE_X = 2, PURPOSE_Y = 3 };

/* ---- null/sleep ---- */

struct sleep_params {
    double delay, slowdown, noise, imbalance;
};

struct sleep_state {
    struct sleep_params params;
    uint64_t repetition;
    double answer;
};

#define SLEEP(field) offsetof(struct sleep_params, field)
static const struct sable_param sleep_parameters[] = {
    {"delay", SABLE_REAL, SLEEP(delay), "s", 0, 3600, 0, 0, NULL, "0.001", "time of a repetition"},
    {"slowdown", SABLE_REAL, SLEEP(slowdown), "", 0, 100, 0, 0, NULL, "0.1", "by how much `slower` is slower"},
    {"noise", SABLE_REAL, SLEEP(noise), "", 0, 100, 0, 0, NULL, "0", "mean of exponential noise, relative to delay"},
    {"imbalance", SABLE_REAL, SLEEP(imbalance), "", 0, 100, 0, 0, NULL, "0", "how much longer the last rank takes"},
    {0},
};

static const struct sable_class sleep_classes[] = {{"T", "delay=0.0001"}, {"S", "delay=0.001"}, {"A", "delay=0.01"},
                                                   {"B", "delay=0.1"},    {"C", "delay=1"},     {0}};
static const char *const sleep_phases[] = {"compute", "wait", NULL};
static const struct sable_fault sleep_faults[] = {
    {"wrong", "give a wrong answer"},
    {"nan", "answer NaN"},
    {"error", "fail in run on the last rank"},
    {"lost", "leave the answer of an earlier run"},
    {0},
};
enum { FAULT_WRONG = 1, FAULT_NAN, FAULT_ERROR, FAULT_LOST };

static int sleep_setup(const void *params, struct sable_context *context, void **state, struct sable_error *error)
{
    (void)context;
    struct sleep_state *s = calloc(1, sizeof *s);
    if (!s)
        return sable_fail(error, SABLE_ENVIRONMENT, "null/sleep: out of memory");
    s->params = *(const struct sleep_params *)params;
    *state = s;
    return SABLE_OK;
}

static int sleep_reset(void *state, struct sable_context *context, struct sable_error *error)
{
    (void)context, (void)error;
    struct sleep_state *s = state;
    s->repetition++;
    s->answer = 0;
    return SABLE_OK;
}

/* Waits by looking at the clock: nanosleep alone is late by more than what the tests look for. */
static void wait_for(double seconds)
{
    struct timespec start, now;
    clock_gettime(CLOCK_MONOTONIC, &start);
    do
        clock_gettime(CLOCK_MONOTONIC, &now);
    while ((double)(now.tv_sec - start.tv_sec) + 1e-9 * (double)(now.tv_nsec - start.tv_nsec) < seconds);
}

static int sleep_for(struct sleep_state *s, struct sable_context *context, double factor, struct sable_error *error)
{
    const struct sleep_params *p = &s->params;
    if (context->layout.rank == context->layout.ranks - 1) {
        factor *= 1 + p->imbalance;
        if (context->fault == FAULT_ERROR)
            return sable_fail(error, SABLE_ENVIRONMENT, "null/sleep: the injected error of rank %d",
                              context->layout.rank);
    }
    struct sable_random_block drawn = sable_random(context->seed, PURPOSE_NOISE, s->repetition, 0);
    double u = sable_random_unit(drawn.word[0], drawn.word[1]);
    wait_for(p->delay * factor * (1 - p->noise * log1p(-u)));
    sable_phase(context, 1);
    if (context->fault != FAULT_LOST)
        s->answer = context->fault == FAULT_NAN ? NAN : context->fault == FAULT_WRONG ? 43 : 42;
    return SABLE_OK;
}

static int sleep_equal(void *state, struct sable_context *context, struct sable_error *error)
{
    return sleep_for(state, context, 1, error);
}

static int sleep_slower(void *state, struct sable_context *context, struct sable_error *error)
{
    struct sleep_state *s = state;
    return sleep_for(s, context, 1 + s->params.slowdown, error);
}

static void sleep_work(const void *params, struct sable_layout layout, const void *state, struct sable_work *work)
{
    (void)params, (void)state;
    *work = (struct sable_work){.items = layout.rank == 0 ? 1 : 0, .memory = sizeof(struct sleep_state)};
}

static int sleep_verify(void *state, struct sable_context *context, struct sable_checks *checks,
                        struct sable_error *error)
{
    const struct sleep_state *s = state;
    double least;
    /* NaN propagates through MPI_SUM as it may not through MPI_MIN. */
    if (sable_check_mpi(MPI_Allreduce(&s->answer, &least, 1, MPI_DOUBLE, MPI_SUM, context->comm), "MPI_Allreduce",
                        error))
        return error->code;
    sable_check(checks, "answer", least / context->layout.ranks, 42, 0);
    return SABLE_OK;
}

static int sleep_output(void *state, struct sable_context *context, struct sable_sink *sink, struct sable_error *error)
{
    (void)context;
    const struct sleep_state *s = state;
    const struct sable_array answer = {.name = "answer",
                                       .help = "forty-two",
                                       .type = SABLE_F64,
                                       .dims = 1,
                                       .global = {1},
                                       .labels = {"value"},
                                       .data = &s->answer};
    return sable_put_whole(sink, &answer, error);
}

static const struct sable_field sleep_outputs[] = {{"answer", "[1]", "forty-two"}, {0}};

static const struct sable_variant sleep_variants[] = {
    {"reference", "waits for `delay`", sleep_equal},
    {"sable", "the same", sleep_equal},
    {"slower", "waits 1 + `slowdown` times as long", sleep_slower},
    {0},
};

const struct sable_workload sable_null_sleep = {
    .name = "null/sleep",
    .summary = "waits for a known time: tests the harness",
    .source = "",
    .fom = {"repetitions", "rep/s", 1},
    .params_size = sizeof(struct sleep_params),
    .params = sleep_parameters,
    .classes = sleep_classes,
    .variants = sleep_variants,
    .phases = sleep_phases,
    .faults = sleep_faults,
    .outputs = sleep_outputs,
    .layout_invariant = true,
    .test_only = true,
    .work = sleep_work,
    .setup = sleep_setup,
    .reset = sleep_reset,
    .verify = sleep_verify,
    .output = sleep_output,
    .free = free,
};

/* ---- null/sum ---- */

struct sum_params {
    int64_t n;
};

struct sum_state {
    int64_t n, first, count; /* this rank's elements [first, first + count), first a multiple of the block */
    double *x, *y, *block;
    double total;
};

static const struct sable_param sum_parameters[] = {
    {"n", SABLE_INT, offsetof(struct sum_params, n), "elements", 1, 1e15, 0, 0, NULL, "1000000",
     "length of the vectors"},
    {0},
};
static const struct sable_class sum_classes[] = {{"T", "n=100003"},    {"S", "n=1000000"},    {"A", "n=16000000"},
                                                 {"B", "n=256000000"}, {"C", "n=4000000000"}, {0}};
static const struct sable_growth sum_weak[] = {{"n", 1}, {0}};
static const char *const sum_phases[] = {"compute", "communicate", NULL};
static const struct sable_fault sum_faults[] = {
    {"lost_rank", "leave out the last rank's part"}, {"flip_bit", "flip one bit of one element"}, {0}};
enum { FAULT_LOST_RANK = 1, FAULT_FLIP_BIT };

/* Blocks of n elements dealt out evenly, in the order of ranks. */
static void own_range(int64_t n, struct sable_layout layout, int64_t *first, int64_t *count)
{
    int64_t blocks = sable_sum_blocks(n), each = blocks / layout.ranks, more = blocks % layout.ranks;
    int64_t start = layout.rank * each + (layout.rank < more ? layout.rank : more);
    int64_t end = start + each + (layout.rank < more);
    *first = start * SABLE_SUM_BLOCK;
    *count = end * SABLE_SUM_BLOCK < n ? (end - start) * SABLE_SUM_BLOCK : n - *first;
    if (*count < 0)
        *count = 0;
}

static double element(uint64_t seed, uint32_t purpose, int64_t i)
{
    struct sable_random_block drawn = sable_random(seed, purpose, (uint64_t)i, 0);
    return sable_random_unit(drawn.word[0], drawn.word[1]);
}

static void sum_free(void *state)
{
    struct sum_state *s = state;
    sable_array_free(s->x);
    sable_array_free(s->y);
    sable_array_free(s->block);
    free(s);
}

static int sum_setup(const void *params, struct sable_context *context, void **state, struct sable_error *error)
{
    struct sum_state *s = calloc(1, sizeof *s);
    if (!s)
        return sable_fail(error, SABLE_ENVIRONMENT, "null/sum: out of memory");
    *state = s;
    s->n = ((const struct sum_params *)params)->n;
    own_range(s->n, context->layout, &s->first, &s->count);
    s->x = sable_array(s->count, 1, sizeof(double));
    s->y = sable_array(s->count, 1, sizeof(double));
    s->block = sable_array(sable_sum_blocks(s->count), 1, sizeof(double));
    if (!s->x || !s->y || !s->block)
        return sable_fail(error, SABLE_ENVIRONMENT, "null/sum: out of memory for 2 × %lld elements",
                          (long long)s->count);
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < s->count; i++) {
        s->x[i] = element(context->seed, PURPOSE_X, s->first + i);
        s->y[i] = element(context->seed, PURPOSE_Y, s->first + i);
    }
    return SABLE_OK;
}

static int combine(struct sum_state *s, struct sable_context *context, struct sable_error *error)
{
    struct sable_sum_nodes nodes;
    int64_t blocks = sable_sum_blocks(s->count);
    bool lost = context->fault == FAULT_LOST_RANK && context->layout.rank == context->layout.ranks - 1;
    sable_sum_range(s->block, s->first / SABLE_SUM_BLOCK, lost ? blocks / 2 : blocks, &nodes);
    sable_phase(context, 1);
    if (context->layout.rank > 0)
        sable_count_sent(context, sizeof nodes);
    return sable_sum_ranks(context->comm, &nodes, &s->total, error);
}

/* Sets the sign bit of one element; again, if it is called again. */
static void spoil(struct sum_state *s, const struct sable_context *context)
{
    if (context->fault == FAULT_FLIP_BIT && context->layout.rank == 0 && s->count > 0)
        s->x[s->count / 2] = -fabs(s->x[s->count / 2]);
}

static int sum_run(void *state, struct sable_context *context, struct sable_error *error)
{
    struct sum_state *s = state;
    spoil(s, context);
    sable_dot(s->x, s->y, s->count, s->block);
    return combine(s, context, error);
}

static int sum_reference(void *state, struct sable_context *context, struct sable_error *error)
{
    struct sum_state *s = state;
    spoil(s, context);
    for (int64_t b = 0; b < sable_sum_blocks(s->count); b++) {
        int64_t start = b * SABLE_SUM_BLOCK, left = s->count - start;
        s->block[b] = sable_dot_block(s->x + start, s->y + start, left < SABLE_SUM_BLOCK ? left : SABLE_SUM_BLOCK);
    }
    return combine(s, context, error);
}

static void sum_work(const void *params, struct sable_layout layout, const void *state, struct sable_work *work)
{
    (void)state;
    int64_t first, count;
    own_range(((const struct sum_params *)params)->n, layout, &first, &count);
    double n = (double)count;
    *work = (struct sable_work){.items = n,
                                .flops_fp64 = 2 * n,
                                .bytes = 16 * n,
                                .pattern = SABLE_READ,
                                .working_set = 16 * n,
                                .bytes_network = layout.rank > 0 ? (double)sizeof(struct sable_sum_nodes) : 0,
                                .messages = layout.rank > 0,
                                .memory = 16 * n + 8 * (double)sable_sum_blocks(count)};
}

/* Against a plain long double sum of elements drawn anew: |error| ≤ (log2-depth + lanes) roundings of a sum of
 * non-negative terms, at most (4096/32 + 5 + 64) u relative; long double's own is far below. */
static int sum_verify(void *state, struct sable_context *context, struct sable_checks *checks,
                      struct sable_error *error)
{
    const struct sum_state *s = state;
    long double own = 0;
    for (int64_t i = s->first; i < s->first + s->count; i++)
        own += (long double)element(context->seed, PURPOSE_X, i) * element(context->seed, PURPOSE_Y, i);
    double part = (double)own, expected;
    if (sable_check_mpi(MPI_Allreduce(&part, &expected, 1, MPI_DOUBLE, MPI_SUM, context->comm), "MPI_Allreduce", error))
        return error->code;
    double roundings = SABLE_SUM_BLOCK / SABLE_SUM_LANES + 5 + 64 + context->layout.ranks;
    sable_check(checks, "dot product", s->total, expected, roundings * 0x1p-53 * expected);
    return SABLE_OK;
}

static int sum_output(void *state, struct sable_context *context, struct sable_sink *sink, struct sable_error *error)
{
    (void)context;
    const struct sum_state *s = state;
    struct sable_array x = {.name = "x",
                            .unit = "",
                            .help = "left vector",
                            .keep = SABLE_KEEP_FULL,
                            .type = SABLE_F64,
                            .dims = 1,
                            .global = {s->n},
                            .offset = {s->first},
                            .count = {s->count},
                            .labels = {"index"},
                            .data = s->x};
    const struct sable_array total = {.name = "total",
                                      .help = "dot product",
                                      .type = SABLE_F64,
                                      .dims = 1,
                                      .global = {1},
                                      .labels = {"value"},
                                      .data = &s->total};
    if (sable_put(sink, &x, error))
        return error->code;
    return sable_put_whole(sink, &total, error);
}

static const struct sable_variant sum_variants[] = {
    {"reference", "one thread", sum_reference},
    {"sable", "all threads, the same bits", sum_run},
    {0},
};
static const struct sable_field sum_outputs[] = {
    {"x", "[n]", "left vector (--keep full)"}, {"total", "[1]", "dot product"}, {0}};

const struct sable_workload sable_null_sum = {
    .name = "null/sum",
    .summary = "dot product in fixed blocks: the same bits for any ranks and threads",
    .source = "docs/determinism.md",
    .fom = {"elements", "Gelement/s", 1e9},
    .params_size = sizeof(struct sum_params),
    .params = sum_parameters,
    .classes = sum_classes,
    .weak = sum_weak,
    .variants = sum_variants,
    .phases = sum_phases,
    .faults = sum_faults,
    .outputs = sum_outputs,
    .layout_invariant = true,
    .test_only = true,
    .work = sum_work,
    .setup = sum_setup,
    .verify = sum_verify,
    .output = sum_output,
    .free = sum_free,
};
