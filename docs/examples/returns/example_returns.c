/* example/returns: discounted returns of many episodes, dealt out over ranks. The worked example of
 * docs/adding-a-benchmark.md. It measures memory bandwidth through a recurrence that can't be vectorised along time. */
#include <math.h>
#include <stdlib.h>

#include "driver.h"
#include "reduce.h"
#include "sable_array.h"
#include "sable_random.h"
#include "sable_returns.h"

/* ---- Parameters and classes ---- */

struct params {
    int64_t episodes, steps;
    double gamma;
};

#define PARAM(field) offsetof(struct params, field)
static const struct sable_param parameters[] = {
    {"episodes", SABLE_INT, PARAM(episodes), "", 1, 1e12, 0, 0, NULL, "10000", "finished episodes"},
    {"steps", SABLE_INT, PARAM(steps), "steps", 1, 1e9, 0, 0, NULL, "1000", "of each episode"},
    {"gamma", SABLE_REAL, PARAM(gamma), "", 0, 1, 0, 0, NULL, "0.99", "discount"},
    {0},
};
static const struct sable_class classes[] = {{"T", "episodes=101 steps=37"},
                                             {"S", "episodes=10000 steps=1000"},
                                             {"A", "episodes=100000 steps=1000"},
                                             {"B", "episodes=1000000 steps=1000"},
                                             {0}};
static const struct sable_growth weak[] = {{"episodes", 1}, {0}};
static const char *const phases[] = {"compute", NULL};

enum { FAULT_SKIP_BLOCK = 1, FAULT_NAN };
static const struct sable_fault faults[] = {
    {"skip_block", "leave out the last episode of the last rank"}, {"nan", "make one return NaN"}, {0}};

/* ---- How ranks share it: episodes, evenly, in the order of ranks ---- */

static void own_episodes(int64_t episodes, struct sable_layout layout, int64_t *first, int64_t *count)
{
    int64_t each = episodes / layout.ranks, more = episodes % layout.ranks;
    *first = layout.rank * each + (layout.rank < more ? layout.rank : more);
    *count = each + (layout.rank < more);
}

struct state {
    struct params params;
    int64_t first, count;      /* this rank's episodes */
    double *rewards, *returns; /* [count, steps] */
};

static void release(void *state)
{
    struct state *s = state;
    sable_array_free(s->rewards);
    sable_array_free(s->returns);
    free(s);
}

enum { PURPOSE_REWARD = 0x7267 }; /* what random numbers are drawn for: docs/determinism.md */

/* Drawn for episode and step, so the same on any layout; a quarter is negative. */
static double reward(uint64_t seed, int64_t episode, int64_t step)
{
    struct sable_random_block drawn = sable_random(seed, PURPOSE_REWARD, (uint64_t)episode, (uint32_t)step);
    return sable_random_unit(drawn.word[0], drawn.word[1]) - 0.25;
}

static int setup(const void *params, struct sable_context *context, void **state, struct sable_error *error)
{
    struct state *s = calloc(1, sizeof *s);
    if (!s)
        return sable_fail(error, SABLE_ENVIRONMENT, "example/returns: out of memory");
    *state = s; /* from here on `release` is called, whatever fails */
    s->params = *(const struct params *)params;
    own_episodes(s->params.episodes, context->layout, &s->first, &s->count);
    s->rewards = sable_array(s->count, s->params.steps, sizeof(double));
    s->returns = sable_array(s->count, s->params.steps, sizeof(double));
    if (!s->rewards || !s->returns)
        return sable_fail(error, SABLE_ENVIRONMENT, "example/returns: out of memory for %lld episodes",
                          (long long)s->count);
#pragma omp parallel for schedule(static)
    for (int64_t e = 0; e < s->count; e++)
        for (int64_t t = 0; t < s->params.steps; t++)
            s->rewards[e * s->params.steps + t] = reward(context->seed, s->first + e, t);
    return SABLE_OK;
}

/* Untimed, before each repetition: what an earlier one left must not pass for this one's answer. */
static int reset(void *state, struct sable_context *context, struct sable_error *error)
{
    (void)context, (void)error;
    struct state *s = state;
    for (int64_t i = 0; i < s->count * s->params.steps; i++)
        s->returns[i] = NAN;
    return SABLE_OK;
}

/* ---- The timed call, once a variant ---- */

typedef void compute(const double *, int64_t, int64_t, double, double *);

static int run_by(compute *returns, struct state *s, const struct sable_context *context)
{
    bool last = context->layout.rank == context->layout.ranks - 1;
    int64_t count = s->count - (context->fault == FAULT_SKIP_BLOCK && last && s->count > 0);
    returns(s->rewards, count, s->params.steps, s->params.gamma, s->returns);
    if (context->fault == FAULT_NAN && s->count > 0)
        s->returns[s->count * s->params.steps / 2] = NAN;
    return SABLE_OK;
}

static int run_reference(void *state, struct sable_context *context, struct sable_error *error)
{
    (void)error;
    return run_by(sable_returns_reference, state, context);
}

static int run_sable(void *state, struct sable_context *context, struct sable_error *error)
{
    (void)error;
    return run_by(sable_returns, state, context);
}

/* ---- The work model of a rank ---- */

static void work(const void *params, struct sable_layout layout, const void *state, struct sable_work *work)
{
    (void)state;
    const struct params *p = params;
    int64_t first, count;
    own_episodes(p->episodes, layout, &first, &count);
    double elements = (double)count * (double)p->steps;
    *work = (struct sable_work){.items = elements,
                                .flops_fp64 = 2 * elements,
                                .bytes = 16 * elements,
                                .pattern = SABLE_COPY,
                                .working_set = 16 * elements,
                                .memory = 16 * elements + sizeof(struct state)};
}

/* ---- Is it right? ---- */

/* The definition, element by element, by another order of evaluation: |G(t) − γ G(t+1) − r(t)| is at most the roundings
 * of the product and the sum, u (|γ G(t+1)| + |G(t)|), u = 2⁻⁵³, and of this very line, as much again. NaN gives NaN.
 */
static int verify(void *state, struct sable_context *context, struct sable_checks *checks, struct sable_error *error)
{
    const struct state *s = state;
    double own[2] = {0, 0}, all[2]; /* largest residual over its bound; how many NaN */
    for (int64_t e = 0; e < s->count; e++)
        for (int64_t t = 0; t < s->params.steps; t++) {
            const double *g = s->returns + e * s->params.steps + t;
            double next = t + 1 < s->params.steps ? s->params.gamma * g[1] : 0,
                   r = reward(context->seed, s->first + e, t);
            double over = fabs(g[0] - next - r) / (0x1p-51 * (fabs(next) + fabs(g[0]) + fabs(r)));
            own[1] += isnan(over);
            own[0] = over > own[0] ? over : own[0];
        }
    if (sable_check_mpi(MPI_Allreduce(own, all, 2, MPI_DOUBLE, MPI_MAX, context->comm), "MPI_Allreduce", error))
        return error->code;
    sable_check_at_most(checks, "residual of a step over its rounding bound", all[0], 1);
    sable_check(checks, "returns that are NaN", all[1], 0, 0);
    return SABLE_OK;
}

/* ---- What comes out ---- */

static int output(void *state, struct sable_context *context, struct sable_sink *sink, struct sable_error *error)
{
    (void)context;
    const struct state *s = state;
    const struct sable_array returns = {.name = "returns",
                                        .unit = "",
                                        .help = "rewards to go",
                                        .keep = SABLE_KEEP_FULL,
                                        .type = SABLE_F64,
                                        .dims = 2,
                                        .global = {s->params.episodes, s->params.steps},
                                        .offset = {s->first, 0},
                                        .count = {s->count, s->params.steps},
                                        .labels = {"episode", "step"},
                                        .data = s->returns};
    return sable_put(sink, &returns, error);
}

static const struct sable_variant variants[] = {
    {"reference", "the recurrence on one thread", run_reference, false},
    {"sable", "episodes in parallel, the same bits", run_sable, false},
    {0},
};
static const struct sable_field outputs[] = {{"returns", "[episodes, steps]", "rewards to go (--keep full)"}, {0}};

const struct sable_workload sable_example_returns = {
    .name = "example/returns",
    .summary = "discounted returns of finished episodes",
    .source = "Sutton & Barto, Reinforcement Learning, 2nd ed., 3.3",
    .fom = {"steps", "Gstep/s", 1e9},
    .params_size = sizeof(struct params),
    .params = parameters,
    .classes = classes,
    .weak = weak,
    .variants = variants,
    .phases = phases,
    .faults = faults,
    .outputs = outputs,
    .layout_invariant = true,
    .work = work,
    .setup = setup,
    .reset = reset,
    .verify = verify,
    .output = output,
    .free = release,
};
