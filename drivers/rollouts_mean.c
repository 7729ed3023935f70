/* rollouts/mean: estimating a mean, which all Monte Carlo rests on: incrementally in SIMD lanes that are merged, from
 * sums, or by stochastic approximation over many replicates. It measures the generator. Mathematics: docs/rollouts.md.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "rollouts_share.h"
#include "sable_array.h"
#include "sable_mean.h"

struct mean_params {
    int64_t samples, steps;
    int method;
    double alpha, start;
};
enum { METHOD_INCREMENTAL, METHOD_SUMS, METHOD_APPROXIMATION };

#define PARAM(field) offsetof(struct mean_params, field)
static const char *const methods[] = {"incremental", "sums", "approximation", NULL};
static const struct sable_param parameters[] = {
    {"samples", SABLE_INT, PARAM(samples), "", 16384, 1e12, 0, 0, NULL, "1000000000", "samples of a repetition"},
    {"method", SABLE_CHOICE, PARAM(method), "", 0, 0, 0, 0, methods, "incremental",
     "Welford's means merged by Chan's formula, integer sums divided at the end, or w <- w + alpha (x - w)"},
    {"steps", SABLE_INT, PARAM(steps), "", 1, 1000000, 0, 0, NULL, "100",
     "of each replicate (approximation): samples / steps of them"},
    {"alpha", SABLE_REAL, PARAM(alpha), "", 0, 1, 0, 0, NULL, "0.1", "step size (approximation); 0: 1/k"},
    {"start", SABLE_REAL, PARAM(start), "", -1e6, 1e6, 0, 0, NULL, "0", "w at first (approximation)"},
    {0},
};
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
    {"counter", "[3]", "Philox rounds, purpose, samples of a block"},
    {0},
};

/* Uniform on 1 … 10: mean, variance, and fourth central moment. */
static const double true_mean = 5.5, true_variance = 8.25, true_fourth = 120.8625;

/* A chunk: blocks of samples, or replicates, that one thread takes at once. */
enum { MOST_BLOCKS = 256, WANTED_CHUNKS = 1024, REPLICATES = 64 };

struct mean_state {
    struct mean_params params;
    int64_t items;                 /* samples or replicates … */
    int64_t chunk;                 /* … of which a chunk has so many, the last fewer */
    int64_t chunks, first, stride; /* this rank's: first, first + stride, … */
    struct sable_mean *part;       /* [chunks] */
    int64_t *whole;                /* [chunks × 3] for the reduction */
    double *real;                  /* [chunks × 2] */
    struct sable_exact_moments replicates;
    struct sable_mean total;
    double mean, variance;
};

static int64_t chunk_of(const struct mean_params *p)
{
    if (p->method == METHOD_APPROXIMATION)
        return REPLICATES;
    int64_t blocks = (p->samples - 1) / SABLE_MEAN_BLOCK + 1, wanted = (blocks - 1) / WANTED_CHUNKS + 1;
    return (wanted < MOST_BLOCKS ? wanted : MOST_BLOCKS) * SABLE_MEAN_BLOCK;
}

static int64_t items_of(const struct mean_params *p)
{
    return p->method == METHOD_APPROXIMATION ? p->samples / p->steps : p->samples;
}

static int check(const void *params, struct sable_layout layout, struct sable_error *error)
{
    (void)layout;
    const struct mean_params *p = params;
    if (p->method == METHOD_APPROXIMATION && p->samples / p->steps < 2 * REPLICATES)
        return sable_fail(error, SABLE_BAD_INPUT, "samples=%lld and steps=%lld make %lld replicates: at least %d",
                          (long long)p->samples, (long long)p->steps, (long long)(p->samples / p->steps),
                          2 * REPLICATES);
    return SABLE_OK;
}

static void work(const void *params, struct sable_layout layout, const void *state, struct sable_work *work)
{
    const struct mean_params *p = params;
    const double items = (double)items_of(p), chunks = ceil(items / (double)chunk_of(p));
    const double samples = p->method == METHOD_APPROXIMATION ? items * (double)p->steps : items;
    const double sent = chunks * 5 * sizeof(int64_t);
    (void)state;
    *work = (struct sable_work){
        .items = samples / layout.ranks,
        /* x − w, w + (x − w) share, M + … (x − w); the rest is integer arithmetic */
        .flops_fp64 = (p->method == METHOD_INCREMENTAL ? 6
                       : p->method == METHOD_SUMS      ? 0
                                                       : 3) *
                      samples / layout.ranks,
        .bytes_network = layout.ranks > 1 ? sent : 0,
        .messages = layout.ranks > 1 ? 2 : 0,
        .memory = chunks * (sizeof(struct sable_mean) + 5 * sizeof(int64_t)) +
                  (double)layout.threads * MOST_BLOCKS * sizeof(struct sable_mean),
    };
}

static void free_state(void *state)
{
    struct mean_state *s = state;
    sable_array_free(s->part);
    sable_array_free(s->whole);
    sable_array_free(s->real);
    free(s);
}

static int setup(const void *params, struct sable_context *context, void **state, struct sable_error *error)
{
    struct mean_state *s = calloc(1, sizeof *s);
    if (!s)
        return sable_fail(error, SABLE_ENVIRONMENT, "rollouts/mean: out of memory");
    *state = s;
    s->params = *(const struct mean_params *)params;
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
    struct mean_state *s = state;
    memset(s->part, 0, (size_t)s->chunks * sizeof *s->part);
    s->replicates = (struct sable_exact_moments){0};
    return SABLE_OK;
}

/* ---- Run ---- */

/* Chunk c as it is drawn for chunk `drawn`, of blocks; list[MOST_BLOCKS] is scratch. */
static struct sable_mean blocks_of(const struct mean_state *s, uint64_t seed, int64_t c, int64_t drawn,
                                   sable_mean_block_function *block, struct sable_mean *list)
{
    const int64_t count = s->items - c * s->chunk < s->chunk ? s->items - c * s->chunk : s->chunk;
    const enum sable_mean_method method = s->params.method == METHOD_SUMS ? SABLE_MEAN_SUMS : SABLE_MEAN_INCREMENTAL;
    int64_t blocks = 0;
    for (int64_t from = 0; from < count; from += SABLE_MEAN_BLOCK)
        list[blocks++] = block(seed, drawn * s->chunk + from,
                               count - from < SABLE_MEAN_BLOCK ? count - from : SABLE_MEAN_BLOCK, method);
    return sable_mean_tree(list, blocks);
}

/* Chunk c, of replicates: their sum modulo 2⁶⁴ stays in `sum`. */
static struct sable_mean replicates_of(const struct mean_state *s, uint64_t seed, int64_t c, int64_t drawn,
                                       struct sable_exact_moments *moments)
{
    const int64_t count = s->items - c * s->chunk < s->chunk ? s->items - c * s->chunk : s->chunk;
    struct sable_mean part = {.count = count};
    for (int64_t r = 0; r < count; r++) {
        int64_t quantised = sable_exact_quantise(
            sable_mean_approximate(seed, drawn * s->chunk + r, s->params.steps, s->params.alpha, s->params.start));
        sable_exact_add_value(moments, quantised);
        part.sum += quantised;
    }
    return part;
}

/* What a fault makes of a chunk. */
static void spoil(const struct mean_state *s, int fault, int64_t c, struct sable_mean *part)
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

static int reduce(struct mean_state *s, struct sable_context *context, struct sable_error *error)
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
        rollouts_sum(context, (int64_t *)&s->replicates, SABLE_EXACT_WORDS, error))
        return error->code;
    rollouts_carry(&s->replicates);
    for (int64_t c = 0; c < s->chunks; c++)
        s->part[c] = (struct sable_mean){s->whole[3 * c], s->real[2 * c], s->real[2 * c + 1], s->whole[3 * c + 1],
                                         s->whole[3 * c + 2]};
    return SABLE_OK;
}

/* Σ (x − mean)² of exact sums. */
static double exact_squares(const struct sable_mean *m)
{
    return (double)((sable_int128)m->count * m->sum_of_squares - (sable_int128)m->sum * m->sum) / (double)m->count;
}

static void finish(struct mean_state *s)
{
    if (s->params.method == METHOD_APPROXIMATION) {
        s->total = (struct sable_mean){.count = s->replicates.count};
        s->mean = sable_exact_mean(&s->replicates);
        s->variance = sable_exact_variance(&s->replicates);
        return;
    }
    /* The tree uses its list up; verification finds the chunks' numbers in `whole` and `real`. */
    s->total = sable_mean_tree(s->part, s->chunks);
    if (s->params.method == METHOD_SUMS) {
        s->total.mean = (double)s->total.sum / (double)s->total.count;
        s->total.squares = exact_squares(&s->total);
    }
    s->mean = s->total.mean;
    s->variance = s->total.squares / (double)(s->total.count - 1);
}

static int run(struct mean_state *s, struct sable_context *context, sable_mean_block_function *block, bool threads,
               struct sable_error *error)
{
    const int64_t own = (s->chunks - s->first + s->stride - 1) / s->stride;
    const bool repeat = context->fault == ROLLOUTS_REUSED_COUNTER;
#pragma omp parallel if (threads)
    {
        struct sable_mean list[MOST_BLOCKS];
        struct sable_exact_moments moments = {0};
#pragma omp for schedule(dynamic)
        for (int64_t i = 0; i < own; i++) {
            int64_t c = s->first + i * s->stride, drawn = repeat ? 0 : c;
            s->part[c] = s->params.method == METHOD_APPROXIMATION ? replicates_of(s, context->seed, c, drawn, &moments)
                                                                  : blocks_of(s, context->seed, c, drawn, block, list);
            spoil(s, context->fault, c, &s->part[c]);
        }
#pragma omp critical(sable_rollouts_mean)
        sable_exact_add(&s->replicates, &moments);
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

/* ---- Verification ---- */

/* Chunks of this rank, up to four, that differ when the textbook makes them again. */
static int64_t replay(const struct mean_state *s, uint64_t seed)
{
    enum { MOST = 4 };
    const int64_t own = (s->chunks - s->first + s->stride - 1) / s->stride;
    int64_t differ = 0, index[MOST];
    const struct sable_rollouts_share share = {.seed = seed, .first = s->first, .stride = s->stride, .count = own};
    int count = rollouts_sample(&share, MOST, index);
    for (int k = 0; k < count; k++) {
        struct sable_mean list[MOST_BLOCKS];
        struct sable_exact_moments moments = {0};
        int64_t c = s->first + index[k] * s->stride;
        struct sable_mean again = s->params.method == METHOD_APPROXIMATION
                                      ? replicates_of(s, seed, c, c, &moments)
                                      : blocks_of(s, seed, c, c, sable_mean_block_reference, list);
        differ += again.count != s->whole[3 * c] || again.sum != s->whole[3 * c + 1] || again.mean != s->real[2 * c] ||
                  again.squares != s->real[2 * c + 1];
    }
    return differ;
}

/* Samples: against the distribution, and the merged mean against exact sums. */
static void check_samples(const struct mean_state *s, struct sable_checks *checks)
{
    /* Roundings on a sample's way: 128 updates in its lane, at most 64 merges; each off by few ulp of 10. */
    const double roundings = 4 * (128 + 64) * 0x1p-53, n = (double)s->total.count;
    sable_check(checks, "mean less that of exact sums", s->mean, (double)s->total.sum / n,
                roundings * SABLE_MEAN_VALUES);
    sable_check(checks, "variance less that of exact sums", s->variance, exact_squares(&s->total) / (n - 1),
                4 * roundings * SABLE_MEAN_VALUES * SABLE_MEAN_VALUES);
    rollouts_check_mean(checks, "z of the mean", s->mean, true_mean, true_variance, s->total.count);
    rollouts_check_mean(checks, "z of the variance", s->variance, true_variance,
                        true_fourth - true_variance * true_variance, s->total.count);
}

/* Replicates: against the exact mean and variance of w after so many steps. */
static void check_replicates(const struct mean_state *s, struct sable_checks *checks)
{
    const double a = s->params.alpha, k = (double)s->params.steps, kept = pow(1 - a, k);
    const double mean = a > 0 ? true_mean + (s->params.start - true_mean) * kept : true_mean;
    const double variance = true_variance * (a > 0 ? a / (2 - a) * (1 - kept * kept) : 1 / k);
    int64_t sum = 0;
    for (int64_t c = 0; c < s->chunks; c++)
        sum = (int64_t)((uint64_t)sum + (uint64_t)s->whole[3 * c + 1]);
    sable_check(checks, "sum of replicates less that of chunks",
                (double)(int64_t)(rollouts_low_word(&s->replicates) - (uint64_t)sum), 0, 0);
    rollouts_check_mean(checks, "z of the mean", s->mean, mean, variance, s->total.count);
    /* A sum of uniform samples has lighter tails than the normal: its sample variance varies by less than 2 σ⁴/n. */
    sable_check(checks, "variance by the exact one", s->variance / variance, 1,
                ROLLOUTS_MOST_Z * sqrt(2 / (double)(s->total.count - 1)));
}

static int verify(void *state, struct sable_context *context, struct sable_checks *checks, struct sable_error *error)
{
    struct mean_state *s = state;
    int64_t differ = replay(s, context->seed), count = 0;
    if (rollouts_sum(context, &differ, 1, error))
        return error->code;
    for (int64_t c = 0; c < s->chunks; c++)
        count += s->whole[3 * c];
    sable_check(checks, "counted", (double)count, (double)s->items, 0);
    sable_check(checks, "chunks that differ from a replay", (double)differ, 0, 0);
    if (s->params.method == METHOD_APPROXIMATION)
        check_replicates(s, checks);
    else
        check_samples(s, checks);
    return SABLE_OK;
}

static int output(void *state, struct sable_context *context, struct sable_sink *sink, struct sable_error *error)
{
    (void)context;
    struct mean_state *s = state;
    const int64_t counter[3] = {10, SABLE_MEAN_PURPOSE, SABLE_MEAN_BLOCK};
    const struct sable_array arrays[] = {
        {.name = "mean",
         .help = "mean",
         .type = SABLE_F64,
         .dims = 1,
         .global = {1},
         .labels = {"value"},
         .data = &s->mean},
        {.name = "variance",
         .help = "unbiased variance",
         .type = SABLE_F64,
         .dims = 1,
         .global = {1},
         .labels = {"value"},
         .data = &s->variance},
        {.name = "count",
         .help = "samples or replicates",
         .type = SABLE_I64,
         .dims = 1,
         .global = {1},
         .labels = {"value"},
         .data = &s->total.count},
        {.name = "counter",
         .help = "Philox4x32 rounds, purpose, samples of a block; counter = (sample div 4, low and high, 0, purpose)",
         .type = SABLE_I64,
         .dims = 1,
         .global = {3},
         .labels = {"what"},
         .data = counter},
    };
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++)
        if (sable_put_whole(sink, &arrays[i], error))
            return error->code;
    return SABLE_OK;
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
    .params_size = sizeof(struct mean_params),
    .params = parameters,
    .classes = classes,
    .variants = variants,
    .phases = phases,
    .faults = faults,
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
