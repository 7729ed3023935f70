/* rollouts/prediction: the value of every state under a policy, by first-visit or every-visit Monte Carlo, with
 * standard errors. It measures scattered exact additions, one a visit, behind the stepping of rollouts/steps. Any model
 * can be given with --input. Mathematics, work model, parallel scheme: docs/rollouts.md. */
#include <math.h>
#include <stdlib.h>

#include "rollouts_environment.h"
#include "rollouts_sharing.h"
#include "sable_array.h"

struct prediction_params {
    struct rollouts_environment environment;
    int64_t episodes;
    int visits, starts, sharing;
};
enum { STARTS_MODEL, STARTS_EACH };

#define PARAM(field)       offsetof(struct prediction_params, field)
#define ENVIRONMENT(field) offsetof(struct prediction_params, environment.field)
static const char *const visit_choices[] = {"first", "every", NULL};
static const char *const start_choices[] = {"model", "each", NULL};
static const struct sable_param parameters[] = {
    ROLLOUTS_ENVIRONMENT_PARAMETERS(ENVIRONMENT, "gridworld", "64", "0.99"),
    {"episodes", SABLE_INT, PARAM(episodes), "", ROLLOUTS_LEAST_EPISODES, 1e15, 0, 0, NULL, "1000000",
     "episodes of a repetition"},
    {"visits", SABLE_CHOICE, PARAM(visits), "", 0, 0, 0, 0, visit_choices, "first",
     "which visits of a state count: the first of an episode, or every one"},
    {"starts", SABLE_CHOICE, PARAM(starts), "", 0, 0, 0, 0, start_choices, "model",
     "where episodes start: as the model says, or in each state that is no end alike"},
    ROLLOUTS_SHARING_PARAMETER(PARAM(sharing)),
    {0},
};

static const struct sable_class classes[] = {
    {"T", "n=11 episodes=9001 horizon=62"}, {"S", "n=64 episodes=500000"},
    {"A", "n=64 episodes=10000000"},        {"B", "n=256 episodes=100000000"},
    {"C", "n=512 episodes=1000000000"},     {"D", "n=512 episodes=10000000000"},
    {"E", "n=1024 episodes=100000000000"},  {0}};
static const struct sable_growth weak[] = {{"episodes", 1}, {0}};
enum { PHASE_PLAY, PHASE_WAIT, PHASE_REDUCE };
static const char *const phases[] = {[PHASE_PLAY] = "play", [PHASE_WAIT] = "wait", [PHASE_REDUCE] = "reduce", NULL};
static const struct sable_fault faults[] = {ROLLOUTS_FAULTS, {0}};
static const struct sable_field inputs[] = {
    ROLLOUTS_MODEL_INPUTS,
    {0},
};
static const struct sable_field outputs[] = {
    {"mean", "[n]", "mean return after the visits that count; NaN where there was none"},
    {"standard_error", "[n]", "of mean, for i.i.d. returns (first visits); NaN below two"},
    {"count", "[n]", "visits that count"},
    {"start_mean, start_error, start_count", "[n]", "the same of the episodes that started there"},
    {"cut", "[1]", "episodes that the horizon ended"},
    ROLLOUTS_COUNTER_FIELD,
    {0},
};

struct prediction_state {
    struct prediction_params params;
    struct rollouts_model model;
    struct sable_rollouts_rows rows;
    struct rollouts_sharing sharing;
    struct sable_rollouts_share share;
    struct sable_rollouts_chunk *chunk;
    int64_t each;                         /* states that each rank holds the values of in the end; the last fewer */
    int64_t first, count;                 /* those of this rank */
    struct sable_rollouts_values *values; /* [each · ranks] this rank's sums */
    struct sable_rollouts_values *own;    /* [each] those of all ranks; `values` itself on one rank */
    int64_t cut;
    double *column; /* [each] an output */
};

static int check(const void *params, struct sable_layout layout, struct sable_error *error)
{
    (void)layout;
    return rollouts_environment_check(&((const struct prediction_params *)params)->environment, error);
}

static void work(const void *params, struct sable_layout layout, const void *state, struct sable_work *work)
{
    const struct prediction_params *p = params;
    const struct prediction_state *s = state;
    const struct rollouts_environment_size size = rollouts_environment_size(&p->environment);
    const double states = (double)(s ? s->model.states : size.states);
    const double transitions = (double)(s ? s->model.transitions : size.transitions);
    const int bits = s ? s->rows.bits : sable_rollouts_row_bits(size.actions * size.outcomes);
    const double row = (double)sizeof(struct sable_rollouts_entry) * (double)(1 << bits);
    const int64_t horizon = s ? s->model.horizon : p->environment.horizon;
    const double chunks = (double)rollouts_sharing_share(p->sharing, layout, 0, p->episodes).count;
    double steps = 0;
    for (int64_t i = 0; s && i < s->share.count; i++)
        steps += (double)s->chunk[i].steps;
    *work = (struct sable_work){
        .items = steps,
        .flops_fp64 = 5 * steps, /* γ^t G forwards, r + γ G backwards */
        .operations_int32 = (double)ROLLOUTS_WORD_OPERATIONS * steps,
        .random_accesses = 2 * steps, /* a row, a tally */
        .working_set = states * (row + sizeof(struct sable_digits)),
        .bytes_network = layout.ranks > 1 ? states * sizeof(struct sable_rollouts_values) : 0,
        .messages = layout.ranks > 1 ? layout.ranks - 1 : 0,
        .memory = (double)sizeof *s + chunks * sizeof(struct sable_rollouts_chunk) + states * (row + 8 * 9 + 17 + 64) +
                  48 * states * 2 + transitions * (24 + sizeof(struct sable_rollouts_outcome)) +
                  2 * states * sizeof(struct sable_rollouts_values) +
                  sable_rollouts_predict_memory((int64_t)states, horizon, layout.threads),
    };
}

static void free_state(void *state)
{
    struct prediction_state *s = state;
    rollouts_sharing_close(&s->sharing);
    rollouts_model_free(&s->model);
    sable_rollouts_rows_free(&s->rows);
    sable_array_free(s->chunk);
    if (s->own != s->values)
        sable_array_free(s->own);
    sable_array_free(s->values);
    sable_array_free(s->column);
    free(s);
}

/* ---- Setup ---- */

static int make_model(struct prediction_state *s, struct sable_context *context, struct sable_error *error)
{
    const struct prediction_params *p = &s->params;
    struct rollouts_model *m = &s->model;
    if (rollouts_environment_make(&p->environment, context, m, error))
        return error->code;
    bool any = false;
    for (int64_t state = 0; state < m->states; state++) {
        if (p->starts == STARTS_EACH)
            m->start[state] = !m->ended[state];
        any = any || m->start[state] > 0;
    }
    if (!any)
        return sable_fail(error, SABLE_BAD_INPUT, "%s has no state to start from", m->name);
    if (!sable_rollouts_rows_make(m, rollouts_model_outcomes, m->states, m->most_outcomes, m->gamma,
                                  (uint32_t)m->horizon, m->start, &s->rows))
        return sable_fail(error, SABLE_ENVIRONMENT, "out of memory for the rows of %lld states", (long long)m->states);
    return SABLE_OK;
}

static int make_values(struct prediction_state *s, struct sable_layout layout, struct sable_error *error)
{
    s->each = (s->model.states - 1) / layout.ranks + 1;
    s->first = s->each * layout.rank < s->model.states ? s->each * layout.rank : s->model.states;
    s->count = s->model.states - s->first < s->each ? s->model.states - s->first : s->each;
    if (s->each > INT32_MAX / SABLE_VALUES_WORDS)
        return sable_fail(error, SABLE_BAD_INPUT, "%lld states on %d ranks: at most %d a rank",
                          (long long)s->model.states, layout.ranks, INT32_MAX / SABLE_VALUES_WORDS);
    s->chunk = sable_array(s->share.count, 1, sizeof *s->chunk);
    s->values = sable_array(s->each, layout.ranks, sizeof *s->values);
    s->own = layout.ranks == 1 ? s->values : sable_array(s->each, 1, sizeof *s->own);
    s->column = sable_array(s->each, 1, sizeof *s->column);
    if (!s->chunk || !s->values || !s->own || !s->column)
        return sable_fail(error, SABLE_ENVIRONMENT, "out of memory for the values of %lld states",
                          (long long)s->model.states);
    return SABLE_OK;
}

static int setup(const void *params, struct sable_context *context, void **state, struct sable_error *error)
{
    struct prediction_state *s = calloc(1, sizeof *s);
    if (!s)
        return sable_fail(error, SABLE_ENVIRONMENT, "rollouts/prediction: out of memory");
    *state = s;
    s->params = *(const struct prediction_params *)params;
    s->share = rollouts_sharing_share(s->params.sharing, context->layout, context->seed, s->params.episodes);
    if (rollouts_sharing_open(&s->sharing, context, s->params.sharing, error))
        return error->code;
    if (make_model(s, context, error))
        return error->code;
    return make_values(s, context->layout, error);
}

static int reset(void *state, struct sable_context *context, struct sable_error *error)
{
    struct prediction_state *s = state;
    for (int64_t i = 0; i < s->each * context->layout.ranks; i++)
        s->values[i] = (struct sable_rollouts_values){0};
    for (int64_t i = 0; i < s->share.count; i++)
        s->chunk[i] = (struct sable_rollouts_chunk){0};
    s->cut = 0;
    return rollouts_sharing_reset(&s->sharing, s->params.episodes, error);
}

/* ---- Run ---- */

/* Each rank receives the sums of its own states. */
static int reduce(struct prediction_state *s, struct sable_context *context, struct sable_error *error)
{
    if (context->layout.ranks > 1) {
        sable_count_sent(context, (size_t)s->each * (size_t)(context->layout.ranks - 1) * sizeof *s->values);
        if (sable_check_mpi(MPI_Reduce_scatter_block(s->values, s->own, (int)s->each * SABLE_VALUES_WORDS, MPI_INT64_T,
                                                     MPI_SUM, context->comm),
                            "MPI_Reduce_scatter_block", error))
            return error->code;
    }
    for (int64_t i = 0; i < s->count; i++) {
        rollouts_carry(&s->own[i].visits);
        rollouts_carry(&s->own[i].starts);
    }
    return rollouts_sum(context, &s->cut, 1, error);
}

static int run(struct prediction_state *s, struct sable_context *context, sable_rollouts_predictor *predict,
               struct sable_error *error)
{
    struct sable_rollouts_share share = rollouts_sharing_play(&s->sharing, context, &s->share);
    struct sable_rollouts_rows rows = s->rows;
    if (context->fault == ROLLOUTS_BIASED_MODEL)
        rows.gamma *= 1 - 1.0 / 16;
    if (!predict(&rows, &share, (enum sable_rollouts_visits)s->params.visits, s->values, &s->cut, s->chunk))
        sable_fail(error, SABLE_ENVIRONMENT, "rollouts/prediction: out of memory for tallies");
    else
        rollouts_sharing_check(&s->sharing, error);
    if (context->fault == ROLLOUTS_FLIP_BIT && context->layout.rank == 0)
        s->values[s->model.states / 2].visits.sum[0] ^= 1 << 20;
    sable_phase(context, PHASE_WAIT);
    if (sable_agree(context->comm, error))
        return error->code;
    sable_phase(context, PHASE_REDUCE);
    return reduce(s, context, error);
}

static int run_reference(void *state, struct sable_context *context, struct sable_error *error)
{
    return run(state, context, sable_rollouts_reference_predict, error);
}

static int run_sable(void *state, struct sable_context *context, struct sable_error *error)
{
    return run(state, context, sable_rollouts_predict, error);
}

/* ---- Verification ---- */

/* Chunks of this rank that differ when the textbook plays them again; −1 if memory is short. */
static int64_t replay(const struct prediction_state *s)
{
    enum { MOST = 4 };
    int64_t index[MOST], differ = 0, cut;
    int count = s->sharing.open ? rollouts_sample_played(&s->share, s->chunk, MOST, index)
                                : rollouts_sample(&s->share, MOST, index);
    struct sable_rollouts_values *values = sable_array(s->model.states, 1, sizeof *values);
    for (int k = 0; k < count && values && differ >= 0; k++) {
        struct sable_rollouts_share one = s->share;
        struct sable_rollouts_chunk again;
        for (int64_t i = 0; i < s->model.states; i++)
            values[i] = (struct sable_rollouts_values){0};
        one.first += index[k] * one.stride;
        one.count = 1;
        if (!sable_rollouts_reference_predict(&s->rows, &one, (enum sable_rollouts_visits)s->params.visits, values,
                                              &cut, &again))
            differ = -1;
        else
            differ += again.sum != s->chunk[index[k]].sum || again.steps != s->chunk[index[k]].steps;
    }
    sable_array_free(values);
    return values ? differ : -1;
}

static int verify_values(struct prediction_state *s, struct sable_context *context,
                         const struct sable_rollouts_expected *expected, struct sable_checks *checks,
                         struct sable_error *error)
{
    int64_t counts[5] = {replay(s), 0, 0, 0, 0}; /* differ; chunks' sum; states' sum less it; starts; visits − steps */
    double most[2] = {0, 0}, worst[2];
    bool uncut = s->cut == 0 && s->params.visits == SABLE_VISITS_FIRST;
    if (counts[0] < 0)
        sable_fail(error, SABLE_ENVIRONMENT, "rollouts/prediction: out of memory for a replay");
    for (int64_t i = 0; i < s->share.count; i++) {
        counts[1] = (int64_t)((uint64_t)counts[1] - s->chunk[i].sum);
        counts[4] -= s->chunk[i].steps;
    }
    for (int64_t i = 0; i < s->count; i++) {
        const struct sable_rollouts_values *own = &s->own[i];
        int64_t state = s->first + i;
        double v = expected->value[state], w = expected->square[state];
        counts[1] = (int64_t)((uint64_t)counts[1] + rollouts_low_word(&own->visits) * (uint64_t)(2 * state + 1));
        counts[3] += own->starts.count;
        counts[4] += own->visits.count;
        if (own->starts.count > 0)
            most[0] = fmax(most[0], rollouts_surprise(&own->starts, v, w, s->model.horizon));
        if (uncut && own->visits.count > 0)
            most[1] = fmax(most[1], rollouts_surprise(&own->visits, v, w, s->model.horizon));
    }
    if (sable_agree(context->comm, error) || rollouts_sum(context, counts, 5, error) ||
        sable_check_mpi(MPI_Allreduce(most, worst, 2, MPI_DOUBLE, MPI_MAX, context->comm), "MPI_Allreduce", error))
        return error->code;
    sable_check(checks, "episodes played", (double)counts[3], (double)s->params.episodes, 0);
    sable_check(checks, "chunks that differ from a replay", (double)counts[0], 0, 0);
    sable_check(checks, "sums of states less those of the chunks", (double)counts[1], 0, 0);
    if (s->params.visits == SABLE_VISITS_EVERY)
        sable_check(checks, "visits less steps", (double)counts[4], 0, 0);
    else
        sable_check_at_most(checks, "first visits less steps", (double)counts[4], 0);
    if (rollouts_check_pooled(checks, "z of the mean return of all episodes", context, s->own, s->count,
                              expected->value + s->first, expected->square + s->first, s->params.episodes, error))
        return error->code;
    double limit = rollouts_most_z_of(s->model.states);
    sable_check_at_most(checks, "largest |z| of a state's start returns", worst[0], limit);
    if (uncut)
        sable_check_at_most(checks, "largest |z| of a state's first visits", worst[1], limit);
    return error->code;
}

static int verify(void *state, struct sable_context *context, struct sable_checks *checks, struct sable_error *error)
{
    struct prediction_state *s = state;
    struct sable_rollouts_expected expected;
    if (!sable_rollouts_expect(&s->model, rollouts_model_outcomes, s->model.states, s->model.most_outcomes,
                               s->model.gamma, s->model.horizon, &expected))
        sable_fail(error, SABLE_ENVIRONMENT, "rollouts/prediction: out of memory for the exact values");
    if (!sable_agree(context->comm, error))
        verify_values(s, context, &expected, checks, error);
    sable_rollouts_expected_free(&expected);
    return error->code;
}

/* ---- Outputs ---- */

static int output(void *state, struct sable_context *context, struct sable_sink *sink, struct sable_error *error)
{
    (void)context;
    struct prediction_state *s = state;
    static const struct {
        const char *name, *help;
        double (*of)(const struct sable_exact_moments *moments);
        bool starts;
    } columns[] = {
        {"mean", "mean return after the visits that count", rollouts_mean_of, false},
        {"standard_error", "of mean, for i.i.d. returns", rollouts_error_of, false},
        {"count", "visits that count", rollouts_count_of, false},
        {"start_mean", "mean return of episodes that started there", rollouts_mean_of, true},
        {"start_error", "its standard error", rollouts_error_of, true},
        {"start_count", "episodes that started there", rollouts_count_of, true},
    };
    for (size_t k = 0; k < sizeof columns / sizeof *columns; k++) {
        for (int64_t i = 0; i < s->count; i++)
            s->column[i] = columns[k].of(columns[k].starts ? &s->own[i].starts : &s->own[i].visits);
        const struct sable_array array = {.name = columns[k].name,
                                          .unit = "",
                                          .help = columns[k].help,
                                          .keep = SABLE_KEEP_SUMMARY,
                                          .type = SABLE_F64,
                                          .dims = 1,
                                          .global = {s->model.states},
                                          .offset = {s->first},
                                          .count = {s->count},
                                          .labels = {"state"},
                                          .data = s->column};
        if (sable_put(sink, &array, error))
            return error->code;
    }
    const struct sable_array cut = {.name = "cut",
                                    .help = "episodes that the horizon ended",
                                    .type = SABLE_I64,
                                    .dims = 1,
                                    .global = {1},
                                    .labels = {"value"},
                                    .data = &s->cut};
    return sable_put_whole(sink, &cut, error) ? error->code : rollouts_put_counter(sink, error);
}

static const struct sable_variant variants[] = {
    {"reference", "episode after episode, one thread a rank", run_reference},
    {"sable", "32 episodes in SIMD lanes that leave a trace, all threads; the same bits", run_sable},
    {0},
};

const struct sable_workload sable_rollouts_prediction = {
    .name = "rollouts/prediction",
    .summary = "first-visit and every-visit Monte Carlo policy evaluation with standard errors",
    .source = "Sutton & Barto, Reinforcement Learning (2018), section 5.1",
    .fom = {"visits", "Gvisit/s", 1e9},
    .params_size = sizeof(struct prediction_params),
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
