/* rollouts/prediction: the value of every state under a policy, by first-visit or every-visit Monte Carlo, with
 * standard errors. It measures scattered exact additions, one a visit, behind the stepping of rollouts/steps. Any model
 * can be given with --input. Mathematics, work model, parallel scheme: docs/rollouts.md. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "rollouts_chunks.h"
#include "rollouts_environment.h"
#include "rollouts_table.h"
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
    struct rollouts_chunks chunks;
    struct rollouts_table table;         /* of struct sable_rollouts_values */
    struct sable_rollouts_values *again; /* [states] of a replay */
    int64_t cut;
};
enum { PARTS = sizeof(struct sable_rollouts_values) / sizeof(struct sable_exact_moments) };

static struct sable_rollouts_values *own_values(const struct prediction_state *s)
{
    return (struct sable_rollouts_values *)s->table.own;
}

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
    const double steps = s ? (double)rollouts_chunks_steps(&s->chunks) : 0;
    *work = (struct sable_work){
        .items = steps,
        .flops_fp64 = 5 * steps, /* γ^t G forwards, r + γ G backwards */
        .operations_int32 = (double)ROLLOUTS_WORD_OPERATIONS * steps,
        .random_accesses = 2 * steps, /* a row, a tally */
        .working_set = states * (row + sizeof(struct sable_digits)),
        .bytes_network = layout.ranks > 1 ? states * sizeof(struct sable_rollouts_values) : 0,
        .messages = layout.ranks > 1 ? layout.ranks - 1 : 0,
        .memory = (double)sizeof *s + rollouts_chunks_memory(layout, p->sharing, p->episodes) +
                  rollouts_table_memory(states, PARTS) + states * (row + 64 + 17 + 64) + 48 * states * 2 +
                  transitions * (24 + sizeof(struct sable_rollouts_outcome)) +
                  sable_rollouts_predict_memory((int64_t)states, horizon, layout.threads),
    };
}

static void free_state(void *state)
{
    struct prediction_state *s = state;
    rollouts_model_free(&s->model);
    sable_rollouts_rows_free(&s->rows);
    rollouts_chunks_free(&s->chunks);
    rollouts_table_free(&s->table);
    sable_array_free(s->again);
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

static int setup(const void *params, struct sable_context *context, void **state, struct sable_error *error)
{
    struct prediction_state *s = calloc(1, sizeof *s);
    if (!s)
        return sable_fail(error, SABLE_ENVIRONMENT, "rollouts/prediction: out of memory");
    *state = s;
    s->params = *(const struct prediction_params *)params;
    if (rollouts_chunks_make(&s->chunks, context, s->params.sharing, s->params.episodes, error) ||
        make_model(s, context, error))
        return error->code;
    return rollouts_table_make(&s->table, s->model.states, PARTS, context->layout, error);
}

static int reset(void *state, struct sable_context *context, struct sable_error *error)
{
    (void)context;
    struct prediction_state *s = state;
    rollouts_table_clear(&s->table);
    s->cut = 0;
    return rollouts_chunks_reset(&s->chunks, error);
}

/* ---- Run ---- */

static int run(struct prediction_state *s, struct sable_context *context, sable_rollouts_predictor *predict,
               struct sable_error *error)
{
    struct sable_rollouts_share share = rollouts_sharing_play(&s->chunks.sharing, context, &s->chunks.share);
    struct sable_rollouts_values *values = (struct sable_rollouts_values *)s->table.values;
    struct sable_rollouts_rows rows = s->rows;
    if (context->fault == ROLLOUTS_BIASED_MODEL)
        rows.gamma *= 1 - 1.0 / 16;
    if (!predict(&rows, &share, (enum sable_rollouts_visits)s->params.visits, values, &s->cut, s->chunks.chunk))
        sable_fail(error, SABLE_ENVIRONMENT, "rollouts/prediction: out of memory for tallies");
    else
        rollouts_sharing_check(&s->chunks.sharing, error);
    if (context->fault == ROLLOUTS_FLIP_BIT && context->layout.rank == 0)
        values[s->model.states / 2].visits.sum[0] ^= 1 << 20;
    sable_phase(context, PHASE_WAIT);
    if (sable_agree(context->comm, error))
        return error->code;
    sable_phase(context, PHASE_REDUCE);
    if (rollouts_table_reduce(&s->table, context, error))
        return error->code;
    return rollouts_sum(context, &s->cut, 1, error);
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

static bool again(void *state, const struct sable_rollouts_share *one, struct sable_rollouts_chunk *chunk)
{
    struct prediction_state *s = state;
    int64_t cut = 0;
    if (!s->again)
        s->again = sable_array(s->model.states, 1, sizeof *s->again);
    if (!s->again)
        return false;
    memset(s->again, 0, (size_t)s->model.states * sizeof *s->again);
    return sable_rollouts_reference_predict(&s->rows, one, (enum sable_rollouts_visits)s->params.visits, s->again, &cut,
                                            chunk);
}

static int verify_values(struct prediction_state *s, struct sable_context *context,
                         const struct sable_rollouts_expected *expected, struct sable_checks *checks,
                         struct sable_error *error)
{
    /* differ; states' sum less the chunks'; starts; visits − steps */
    int64_t counts[4] = {rollouts_chunks_replay(&s->chunks, again, s), 0, 0, 0};
    double most[2] = {0, 0}, worst[2];
    bool uncut = s->cut == 0 && s->params.visits == SABLE_VISITS_FIRST;
    if (counts[0] < 0)
        sable_fail(error, SABLE_ENVIRONMENT, "rollouts/prediction: out of memory for a replay");
    counts[1] = (int64_t)(rollouts_table_sum(&s->table, 0) - rollouts_chunks_sum(&s->chunks));
    counts[3] = -rollouts_chunks_steps(&s->chunks);
    for (int64_t i = 0; i < s->table.count; i++) {
        const struct sable_rollouts_values *own = &own_values(s)[i];
        int64_t state = s->table.first + i;
        double v = expected->value[state], w = expected->square[state];
        counts[2] += own->starts.count;
        counts[3] += own->visits.count;
        if (own->starts.count > 0)
            most[0] = fmax(most[0], rollouts_surprise(&own->starts, v, w, s->model.horizon));
        if (uncut && own->visits.count > 0)
            most[1] = fmax(most[1], rollouts_surprise(&own->visits, v, w, s->model.horizon));
    }
    if (sable_agree(context->comm, error) || rollouts_sum(context, counts, 4, error) ||
        sable_check_mpi(MPI_Allreduce(most, worst, 2, MPI_DOUBLE, MPI_MAX, context->comm), "MPI_Allreduce", error))
        return error->code;
    sable_check(checks, "episodes played", (double)counts[2], (double)s->params.episodes, 0);
    sable_check(checks, "chunks that differ from a replay", (double)counts[0], 0, 0);
    sable_check(checks, "sums of states less those of the chunks", (double)counts[1], 0, 0);
    if (s->params.visits == SABLE_VISITS_EVERY)
        sable_check(checks, "visits less steps", (double)counts[3], 0, 0);
    else
        sable_check_at_most(checks, "first visits less steps", (double)counts[3], 0);
    if (rollouts_check_pooled(checks, "z of the mean return of all episodes", context, own_values(s), s->table.count,
                              expected->value + s->table.first, expected->square + s->table.first, s->params.episodes,
                              error))
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

/* Of a state's visits, the first of its moments, and of its starts, the second. */
static double mean_of(const struct sable_exact_moments *moments)
{
    return rollouts_mean_of(&moments[0]);
}

static double error_of(const struct sable_exact_moments *moments)
{
    return rollouts_error_of(&moments[0]);
}

static double visits_of(const struct sable_exact_moments *moments)
{
    return rollouts_count_of(&moments[0]);
}

static double start_mean_of(const struct sable_exact_moments *moments)
{
    return rollouts_mean_of(&moments[1]);
}

static double start_error_of(const struct sable_exact_moments *moments)
{
    return rollouts_error_of(&moments[1]);
}

static double starts_of(const struct sable_exact_moments *moments)
{
    return rollouts_count_of(&moments[1]);
}

static int output(void *state, struct sable_context *context, struct sable_sink *sink, struct sable_error *error)
{
    (void)context;
    struct prediction_state *s = state;
    static const struct rollouts_column columns[] = {
        {"mean", "mean return after the visits that count", mean_of},
        {"standard_error", "of mean, for i.i.d. returns", error_of},
        {"count", "visits that count", visits_of},
        {"start_mean", "mean return of episodes that started there", start_mean_of},
        {"start_error", "its standard error", start_error_of},
        {"start_count", "episodes that started there", starts_of},
    };
    for (size_t k = 0; k < sizeof columns / sizeof *columns; k++)
        if (rollouts_table_put(&s->table, sink, &columns[k], error))
            return error->code;
    if (rollouts_put_number(sink, "cut", "episodes that the horizon ended", SABLE_I64, &s->cut, error))
        return error->code;
    return rollouts_put_counter(sink, error);
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
