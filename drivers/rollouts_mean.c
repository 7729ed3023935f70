/* rollouts/mean: estimating a mean, which all Monte Carlo rests on: incrementally in SIMD lanes that are merged, from
 * sums, or by stochastic approximation over many replicates. It measures the generator. Mathematics: docs/rollouts.md.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "rollouts_mean.h"
#include "sable_array.h"

#define PARAM(field) offsetof(struct rollouts_mean_params, field)
static const char *const methods[] = {"incremental", "sums", "approximation", NULL};
static const char *const rules[] = {"mean", "linear", "tanh", NULL};
static const struct sable_param parameters[] = {
    {"samples", SABLE_INT, PARAM(samples), "", 16384, 1e12, 0, 0, NULL, "1000000000", "samples of a repetition"},
    {"method", SABLE_CHOICE, PARAM(method), "", 0, 0, 0, 0, methods, "incremental",
     "Welford's means merged by Chan's formula, integer sums divided at the end, or stochastic approximation"},
    {"rule", SABLE_CHOICE, PARAM(rule.kind), "", 0, 0, 0, 0, rules, "mean",
     "approximation: w <- w + alpha (x - w), w <- w - a/(k + k0) (c (w - root) + sigma eta), eta ~ N(0, 1), or that "
     "with tanh(c (w - root))"},
    {"steps", SABLE_INT, PARAM(rule.steps), "", 1, 1000000, 0, 0, NULL, "100",
     "of each replicate (approximation): samples / steps of them"},
    {"alpha", SABLE_REAL, PARAM(rule.alpha), "", 0, 1, 0, 0, NULL, "0.1", "step size (rule=mean); 0: 1/k"},
    {"a", SABLE_REAL, PARAM(rule.a), "", 0, 100, 0, 0, NULL, "1", "numerator of steps (other rules)"},
    {"c", SABLE_REAL, PARAM(rule.c), "", 0, 100, 0, 0, NULL, "1", "slope at the root"},
    {"k0", SABLE_REAL, PARAM(rule.k0), "", 0, 1e6, 0, 0, NULL, "0", "steps begin at a/(1 + k0)"},
    {"root", SABLE_REAL, PARAM(rule.root), "", -1e4, 1e4, 0, 0, NULL, "1", "where the function is zero"},
    {"sigma", SABLE_REAL, PARAM(rule.sigma), "", 0, 10, 0, 0, NULL, "1", "standard deviation of its noise"},
    {"start", SABLE_REAL, PARAM(rule.start), "", -1e4, 1e4, 0, 0, NULL, "0", "w at first (approximation)"},
    {0},
};
static const struct sable_growth weak[] = {{"samples", 1}, {0}};
static const struct sable_class classes[] = {{"T", "samples=70001"},         {"S", "samples=1000000000"},
                                             {"A", "samples=10000000000"},   {"B", "samples=50000000000"},
                                             {"C", "samples=200000000000"},  {"D", "samples=500000000000"},
                                             {"E", "samples=1000000000000"}, {0}};
enum { PHASE_DRAW, PHASE_WAIT, PHASE_REDUCE };
static const char *const phases[] = {[PHASE_DRAW] = "draw", [PHASE_WAIT] = "wait", [PHASE_REDUCE] = "reduce", NULL};
static const struct sable_fault faults[] = {ROLLOUTS_FAULTS, {0}};
static const struct sable_field outputs[] = {
    {"mean, variance", "[1]", "of the samples, or of w over replicates"},
    {"count", "[1]", "samples, or replicates"},
    {"counter", "[4]", "Philox rounds, purposes of samples and of normal noise, samples of a block"},
    {0},
};

/* A chunk: blocks of samples, or replicates, that one thread takes at once. */
enum { WANTED_CHUNKS = 1024, REPLICATES = 64 };

static int64_t chunk_of(const struct rollouts_mean_params *p)
{
    if (p->method == ROLLOUTS_MEAN_APPROXIMATION)
        return REPLICATES;
    int64_t blocks = (p->samples - 1) / SABLE_MEAN_BLOCK + 1, wanted = (blocks - 1) / WANTED_CHUNKS + 1;
    return (wanted < ROLLOUTS_MEAN_BLOCKS ? wanted : ROLLOUTS_MEAN_BLOCKS) * SABLE_MEAN_BLOCK;
}

static int64_t items_of(const struct rollouts_mean_params *p)
{
    return p->method == ROLLOUTS_MEAN_APPROXIMATION ? p->samples / p->rule.steps : p->samples;
}

static int check(const void *params, struct sable_layout layout, struct sable_error *error)
{
    (void)layout;
    const struct rollouts_mean_params *p = params;
    if (p->method == ROLLOUTS_MEAN_APPROXIMATION && p->samples / p->rule.steps < 2 * REPLICATES)
        return sable_fail(error, SABLE_BAD_INPUT, "samples=%lld and steps=%lld make %lld replicates: at least %d",
                          (long long)p->samples, (long long)p->rule.steps, (long long)(p->samples / p->rule.steps),
                          2 * REPLICATES);
    if (p->rule.kind != SABLE_RULE_MEAN && p->rule.a * p->rule.c > 2 * (1 + p->rule.k0))
        return sable_fail(error, SABLE_BAD_INPUT, "a=%g, c=%g, k0=%g: a c must not be above 2 (1 + k0), or steps grow",
                          p->rule.a, p->rule.c, p->rule.k0);
    return SABLE_OK;
}

static void work(const void *params, struct sable_layout layout, const void *state, struct sable_work *work)
{
    const struct rollouts_mean_params *p = params;
    const double items = (double)items_of(p), chunks = ceil(items / (double)chunk_of(p));
    const double samples = p->method == ROLLOUTS_MEAN_APPROXIMATION ? items * (double)p->rule.steps : items;
    const double sent = chunks * 5 * sizeof(int64_t);
    (void)state;
    *work = (struct sable_work){
        .items = samples / layout.ranks,
        /* x − w, w + (x − w) share, M + … (x − w); the rest is integer arithmetic */
        .flops_fp64 = (p->method == ROLLOUTS_MEAN_INCREMENTAL ? 6
                       : p->method == ROLLOUTS_MEAN_SUMS      ? 0
                                                              : 3) *
                      samples / layout.ranks,
        .operations_int32 = (double)ROLLOUTS_WORD_OPERATIONS * samples / layout.ranks,
        .bytes_network = layout.ranks > 1 ? sent : 0,
        .messages = layout.ranks > 1 ? 2 : 0,
        .memory = chunks * (sizeof(struct sable_mean) + 5 * sizeof(int64_t)) +
                  (double)layout.threads * ROLLOUTS_MEAN_BLOCKS * sizeof(struct sable_mean),
    };
}

static void free_state(void *state)
{
    struct rollouts_mean *s = state;
    sable_array_free(s->part);
    sable_array_free(s->whole);
    sable_array_free(s->real);
    free(s);
}

static int setup(const void *params, struct sable_context *context, void **state, struct sable_error *error)
{
    struct rollouts_mean *s = calloc(1, sizeof *s);
    if (!s)
        return sable_fail(error, SABLE_ENVIRONMENT, "rollouts/mean: out of memory");
    *state = s;
    s->params = *(const struct rollouts_mean_params *)params;
    s->items = items_of(&s->params);
    s->chunk = chunk_of(&s->params);
    s->chunks = (s->items - 1) / s->chunk + 1;
    s->first = context->layout.rank;
    s->stride = context->layout.ranks;
    s->part = sable_array(s->chunks, 1, sizeof *s->part);
    s->whole = sable_array(s->chunks, 3, sizeof *s->whole);
    s->real = sable_array(s->chunks, 2, sizeof *s->real);
    if (!s->part || !s->whole || !s->real || s->chunks > INT32_MAX / 3)
        return sable_fail(error, SABLE_ENVIRONMENT, "rollouts/mean: out of memory for %lld chunks",
                          (long long)s->chunks);
    return SABLE_OK;
}

static int reset(void *state, struct sable_context *context, struct sable_error *error)
{
    (void)context, (void)error;
    struct rollouts_mean *s = state;
    memset(s->part, 0, (size_t)s->chunks * sizeof *s->part);
    s->replicates = s->noise = (struct sable_exact_moments){0};
    return SABLE_OK;
}

/* ---- Run ---- */

struct sable_mean rollouts_mean_chunk(const struct rollouts_mean *s, uint64_t seed, int64_t c, int64_t drawn,
                                      sable_mean_block_function *block, struct rollouts_mean_scratch *scratch)
{
    const int64_t count = s->items - c * s->chunk < s->chunk ? s->items - c * s->chunk : s->chunk;
    if (s->params.method == ROLLOUTS_MEAN_APPROXIMATION) {
        struct sable_mean part = {.count = count};
        for (int64_t r = 0; r < count; r++) {
            double noise, w = sable_mean_approximate(seed, drawn * s->chunk + r, &s->params.rule, &noise);
            int64_t quantised = sable_exact_quantise(w * ROLLOUTS_MEAN_SCALE);
            sable_exact_add_value(&scratch->replicates, quantised);
            sable_exact_add_value(&scratch->noise, sable_exact_quantise(noise * ROLLOUTS_MEAN_SCALE));
            part.sum += quantised;
        }
        return part;
    }
    const enum sable_mean_method method =
        s->params.method == ROLLOUTS_MEAN_SUMS ? SABLE_MEAN_SUMS : SABLE_MEAN_INCREMENTAL;
    int64_t blocks = 0;
    for (int64_t from = 0; from < count; from += SABLE_MEAN_BLOCK)
        scratch->list[blocks++] = block(seed, drawn * s->chunk + from,
                                        count - from < SABLE_MEAN_BLOCK ? count - from : SABLE_MEAN_BLOCK, method);
    return sable_mean_tree(scratch->list, blocks);
}

/* What a fault makes of a chunk. */
static void spoil(const struct rollouts_mean *s, int fault, int64_t c, struct sable_mean *part)
{
    if (fault == ROLLOUTS_BIASED_MODEL) {
        part->mean += 1.0 / 16;
        part->sum += part->count / 16 + 1;
    }
    if (fault == ROLLOUTS_FLIP_BIT && c == 0) {
        part->mean += 1e-3;
        part->sum ^= 1 << 12;
    }
    if (fault == ROLLOUTS_DROPPED_CHUNK && c + s->stride >= s->chunks && s->first == 0)
        *part = (struct sable_mean){0};
}

static int reduce(struct rollouts_mean *s, struct sable_context *context, struct sable_error *error)
{
    for (int64_t c = 0; c < s->chunks; c++) {
        s->whole[3 * c] = s->part[c].count;
        s->whole[3 * c + 1] = s->part[c].sum;
        s->whole[3 * c + 2] = s->part[c].sum_of_squares;
        s->real[2 * c] = s->part[c].mean;
        s->real[2 * c + 1] = s->part[c].squares;
    }
    /* A chunk is one rank's, and 0 on the others: sums are exact in any order. */
    if (context->layout.ranks > 1)
        sable_count_sent(context, (size_t)s->chunks * 2 * sizeof *s->real);
    if (rollouts_sum(context, s->whole, (int)(3 * s->chunks), error) ||
        sable_check_mpi(MPI_Allreduce(MPI_IN_PLACE, s->real, (int)(2 * s->chunks), MPI_DOUBLE, MPI_SUM, context->comm),
                        "MPI_Allreduce", error) ||
        rollouts_sum(context, (int64_t *)&s->replicates, SABLE_EXACT_WORDS, error) ||
        rollouts_sum(context, (int64_t *)&s->noise, SABLE_EXACT_WORDS, error))
        return error->code;
    rollouts_carry(&s->replicates);
    rollouts_carry(&s->noise);
    for (int64_t c = 0; c < s->chunks; c++)
        s->part[c] = (struct sable_mean){s->whole[3 * c], s->real[2 * c], s->real[2 * c + 1], s->whole[3 * c + 1],
                                         s->whole[3 * c + 2]};
    return SABLE_OK;
}

static void finish(struct rollouts_mean *s)
{
    if (s->params.method == ROLLOUTS_MEAN_APPROXIMATION) {
        s->total = (struct sable_mean){.count = s->replicates.count};
        s->mean = sable_exact_mean(&s->replicates) / ROLLOUTS_MEAN_SCALE;
        s->variance = sable_exact_variance(&s->replicates) / (ROLLOUTS_MEAN_SCALE * ROLLOUTS_MEAN_SCALE);
        return;
    }
    /* The tree uses its list up; verification finds the chunks' numbers in `whole` and `real`. */
    s->total = sable_mean_tree(s->part, s->chunks);
    if (s->params.method == ROLLOUTS_MEAN_SUMS) {
        s->total.mean = (double)s->total.sum / (double)s->total.count;
        s->total.squares = rollouts_mean_squares(&s->total);
    }
    s->mean = s->total.mean;
    s->variance = s->total.squares / (double)(s->total.count - 1);
}

static int run(struct rollouts_mean *s, struct sable_context *context, sable_mean_block_function *block, bool threads,
               struct sable_error *error)
{
    const int64_t own = (s->chunks - s->first + s->stride - 1) / s->stride;
    const bool repeat = context->fault == ROLLOUTS_REUSED_COUNTER;
#pragma omp parallel if (threads)
    {
        struct rollouts_mean_scratch scratch = {.replicates = {0}, .noise = {0}};
#pragma omp for schedule(dynamic)
        for (int64_t i = 0; i < own; i++) {
            int64_t c = s->first + i * s->stride, drawn = repeat ? 0 : c;
            s->part[c] = rollouts_mean_chunk(s, context->seed, c, drawn, block, &scratch);
            spoil(s, context->fault, c, &s->part[c]);
        }
#pragma omp critical(sable_rollouts_mean)
        {
            sable_exact_add(&s->replicates, &scratch.replicates);
            sable_exact_add(&s->noise, &scratch.noise);
        }
    }
    sable_phase(context, PHASE_WAIT);
    if (sable_check_mpi(MPI_Barrier(context->comm), "MPI_Barrier", error))
        return error->code;
    sable_phase(context, PHASE_REDUCE);
    if (reduce(s, context, error))
        return error->code;
    finish(s);
    return SABLE_OK;
}

static int run_reference(void *state, struct sable_context *context, struct sable_error *error)
{
    return run(state, context, sable_mean_block_reference, false, error);
}

static int run_sable(void *state, struct sable_context *context, struct sable_error *error)
{
    return run(state, context, sable_mean_block(), true, error);
}

static int output(void *state, struct sable_context *context, struct sable_sink *sink, struct sable_error *error)
{
    (void)context;
    struct rollouts_mean *s = state;
    const int64_t counter[4] = {10, SABLE_MEAN_PURPOSE, SABLE_NORMAL_PURPOSE, SABLE_MEAN_BLOCK};
    const struct sable_array array = {
        .name = "counter",
        .help = "Philox4x32 rounds, purposes of samples and of normal noise, samples of a block; counter = (sample div "
                "4, low and high, 0, purpose)",
        .type = SABLE_I64,
        .dims = 1,
        .global = {4},
        .labels = {"what"},
        .data = counter};
    if (rollouts_put_number(sink, "mean", "mean", SABLE_F64, &s->mean, error) ||
        rollouts_put_number(sink, "variance", "unbiased variance", SABLE_F64, &s->variance, error) ||
        rollouts_put_number(sink, "count", "samples or replicates", SABLE_I64, &s->total.count, error))
        return error->code;
    return sable_put_whole(sink, &array, error);
}

static const struct sable_variant variants[] = {
    {"reference", "sample after sample, one thread a rank", run_reference},
    {"sable", "32 samples in SIMD lanes, all threads; the same bits", run_sable},
    {0},
};

const struct sable_workload sable_rollouts_mean = {
    .name = "rollouts/mean",
    .summary = "a mean and a variance, incrementally, from sums, or by stochastic approximation",
    .source = "Welford, Technometrics 4 (1962); Chan, Golub & LeVeque (1979); Zhao (2025), ch. 6",
    .fom = {"samples", "Gsample/s", 1e9},
    .params_size = sizeof(struct rollouts_mean_params),
    .params = parameters,
    .classes = classes,
    .weak = weak,
    .variants = variants,
    .phases = phases,
    .faults = faults,
    .outputs = outputs,
    .layout_invariant = true,
    .check = check,
    .work = work,
    .setup = setup,
    .reset = reset,
    .verify = rollouts_mean_verify,
    .output = output,
    .free = free_state,
};
