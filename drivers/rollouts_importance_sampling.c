/* rollouts/importance_sampling: the value of every state under a policy, of episodes that follow another one
 * (off-policy prediction): ordinary and weighted importance sampling with standard errors. The behaviour mixes the
 * policy with the uniform one. Mathematics, work model, parallel scheme: docs/rollouts.md. */
#include <stdlib.h>

#include "rollouts_importance_sampling.h"
#include "sable_array.h"

enum { STARTS_MODEL, STARTS_EACH };
enum { FAULT_UNWEIGHTED = ROLLOUTS_FLIP_BIT + 1 };

#define PARAM(field)       offsetof(struct weigh_params, field)
#define ENVIRONMENT(field) offsetof(struct weigh_params, environment.field)
static const char *const visit_choices[] = {"start", "first", NULL};
static const char *const start_choices[] = {"model", "each", NULL};
static const struct sable_param parameters[] = {
    ROLLOUTS_ENVIRONMENT_PARAMETERS(ENVIRONMENT, "blackjack", "64", "1"),
    {"episodes", SABLE_INT, PARAM(episodes), "", ROLLOUTS_LEAST_EPISODES, 1e15, 0, 0, NULL, "4000000",
     "episodes of a repetition"},
    {"behaviour", SABLE_REAL, PARAM(behaviour), "", 1e-6, 1, 0, 0, NULL, "1",
     "share of the uniform policy in the one that is followed; the rest is the policy that is asked about"},
    {"visits", SABLE_CHOICE, PARAM(visits), "", 0, 0, 0, 0, visit_choices, "start",
     "which visits of a state count: that of the episode's start, or the first of every state"},
    {"starts", SABLE_CHOICE, PARAM(starts), "", 0, 0, 0, 0, start_choices, "each",
     "where episodes start: as the model says, or in each state that is no end alike"},
    ROLLOUTS_SHARING_PARAMETER(PARAM(sharing)),
    {0},
};

static const struct sable_growth weak[] = {{"episodes", 1}, {0}};
static const struct sable_class classes[] = {
    {"T", "episodes=9001 horizon=16"},
    {"S", "episodes=4000000"},
    {"A", "episodes=40000000"},
    {"B", "env=frozenlake8 gamma=0.95 behaviour=0.1 horizon=128 episodes=100000000"},
    {"C", "env=gridworld n=64 gamma=0.9 behaviour=0.05 horizon=64 episodes=1000000000"},
    {"D", "env=gridworld n=256 gamma=0.9 behaviour=0.05 horizon=64 episodes=10000000000"},
    {"E", "env=gridworld n=512 gamma=0.9 behaviour=0.05 horizon=64 episodes=100000000000"},
    {0}};
enum { PHASE_PLAY, PHASE_WAIT, PHASE_REDUCE };
static const char *const phases[] = {[PHASE_PLAY] = "play", [PHASE_WAIT] = "wait", [PHASE_REDUCE] = "reduce", NULL};
static const struct sable_fault faults[] = {ROLLOUTS_FAULTS, {"unweighted", "take every weight for 1"}, {0}};
static const struct sable_field inputs[] = {ROLLOUTS_MODEL_INPUTS, {0}};
static const struct sable_field outputs[] = {
    {"ordinary, ordinary_error", "[n]", "sum of W G / count, and its standard error; NaN where nothing was counted"},
    {"weighted, weighted_error", "[n]", "sum of W G / sum of W, and its standard error (delta method)"},
    {"count", "[n]", "visits that count"},
    {"effective", "[n]", "effective sample size: (sum of W)^2 / sum of W^2"},
    {"lost", "[2]", "episodes that the horizon ended; weights that were too large to be summed"},
    ROLLOUTS_COUNTER_FIELD,
    {0},
};

enum { PARTS = sizeof(struct sable_rollouts_weighted) / sizeof(struct sable_exact_moments) };

static int check(const void *params, struct sable_layout layout, struct sable_error *error)
{
    (void)layout;
    return rollouts_environment_check(&((const struct weigh_params *)params)->environment, error);
}

static void work(const void *params, struct sable_layout layout, const void *state, struct sable_work *work)
{
    const struct weigh_params *p = params;
    const struct weigh_state *s = state;
    const struct rollouts_environment_size size = rollouts_environment_size(&p->environment);
    const double states = (double)(s ? s->model.states : size.states);
    const double pairs = states * (double)(s ? s->model.actions : size.actions);
    const double transitions = (double)(s ? s->model.transitions : size.transitions);
    const int bits = s ? s->rows.bits : sable_rollouts_row_bits(size.actions * size.outcomes);
    const double row = (double)sizeof(struct sable_rollouts_entry) * (double)(1 << bits);
    const double steps = s ? (double)rollouts_chunks_steps(&s->chunks) : 0;
    *work = (struct sable_work){
        .items = steps,
        .flops_fp64 = 6 * steps, /* γ^t G forwards, r + γ G and the weight backwards */
        .operations_int32 = (double)ROLLOUTS_WORD_OPERATIONS * steps,
        .random_accesses = 3 * steps, /* a row, a ratio, a tally */
        .working_set = pairs * (row + 8) + states * (double)sizeof(struct sable_rollouts_weighted),
        .bytes_network = layout.ranks > 1 ? states * sizeof(struct sable_rollouts_weighted) : 0,
        .messages = layout.ranks > 1 ? layout.ranks - 1 : 0,
        .memory = (double)sizeof *s + rollouts_chunks_memory(layout, p->sharing, p->episodes) +
                  pairs * (row + 24 + 16 + 96) + rollouts_table_memory(states, PARTS) + states * (64 + 33) +
                  transitions * (24 + sizeof(struct sable_rollouts_outcome)) +
                  sable_rollouts_predict_memory((int64_t)states, p->environment.horizon, layout.threads),
    };
}

static void free_state(void *state)
{
    struct weigh_state *s = state;
    rollouts_model_free(&s->model);
    sable_rollouts_rows_free(&s->rows);
    sable_array_free(s->behaviour);
    sable_array_free(s->ratio);
    sable_array_free(s->start);
    rollouts_chunks_free(&s->chunks);
    rollouts_table_free(&s->table);
    sable_array_free(s->again);
    free(s);
}

/* ---- Setup ---- */

/* Behaviour, weights of a step, and starts, of every pair. */
static void mix_policies(struct weigh_state *s)
{
    const int64_t actions = s->model.actions;
    const double share = s->params.behaviour;
    for (int64_t state = 0; state < s->model.states; state++) {
        double *b = s->behaviour + state * actions;
        sable_rollouts_soft_policy(&s->process, state, -1, 1, b);
        double start = s->params.starts == STARTS_EACH ? !s->model.ended[state] : s->model.start[state];
        for (int64_t a = 0; a < actions; a++) {
            double target = s->model.policy[state * actions + a];
            b[a] = (1 - share) * target + share * b[a];
            s->ratio[state * actions + a] = b[a] > 0 ? target / b[a] : 0;
            s->start[state * actions + a] = start * b[a];
        }
    }
}

static int allocate(struct weigh_state *s, struct sable_layout layout, struct sable_error *error)
{
    const int64_t states = s->model.states, actions = s->model.actions;
    s->behaviour = sable_array(states, actions, sizeof *s->behaviour);
    s->ratio = sable_array(states, actions, sizeof *s->ratio);
    s->start = sable_array(states, actions, sizeof *s->start);
    if (!s->behaviour || !s->ratio || !s->start)
        return sable_fail(error, SABLE_ENVIRONMENT, "out of memory for %lld states", (long long)states);
    return rollouts_table_make(&s->table, states, PARTS, layout, error);
}

static int setup(const void *params, struct sable_context *context, void **state, struct sable_error *error)
{
    struct weigh_state *s = calloc(1, sizeof *s);
    if (!s)
        return sable_fail(error, SABLE_ENVIRONMENT, "rollouts/importance_sampling: out of memory");
    *state = s;
    s->params = *(const struct weigh_params *)params;
    if (rollouts_chunks_make(&s->chunks, context, s->params.sharing, s->params.episodes, error) ||
        rollouts_environment_make(&s->params.environment, context, &s->model, error))
        return error->code;
    s->process = rollouts_model_process(&s->model);
    if (allocate(s, context->layout, error))
        return error->code;
    mix_policies(s);
    double sum = 0;
    for (int64_t pair = 0; pair < s->model.states * s->model.actions; pair++)
        sum += s->start[pair];
    if (!(sum > 0))
        return sable_fail(error, SABLE_BAD_INPUT, "%s has no state to start from", s->model.name);
    const struct sable_rollouts_pairs pairs = {&s->process, s->behaviour};
    if (!sable_rollouts_rows_make(&pairs, sable_rollouts_pair_outcomes, s->model.states * s->model.actions,
                                  sable_rollouts_pair_width(&s->process, s->model.actions), s->model.gamma,
                                  (uint32_t)s->model.horizon, s->start, &s->rows))
        return sable_fail(error, SABLE_ENVIRONMENT, "no room for the rows of %lld states and %lld actions",
                          (long long)s->model.states, (long long)s->model.actions);
    return SABLE_OK;
}

static int reset(void *state, struct sable_context *context, struct sable_error *error)
{
    (void)context;
    struct weigh_state *s = state;
    rollouts_table_clear(&s->table);
    s->lost = (struct sable_rollouts_lost){0};
    return rollouts_chunks_reset(&s->chunks, error);
}

/* ---- Run ---- */

static int run(struct weigh_state *s, struct sable_context *context, sable_rollouts_off_policy *weigh,
               struct sable_error *error)
{
    struct sable_rollouts_share share = rollouts_sharing_play(&s->chunks.sharing, context, &s->chunks.share);
    struct sable_rollouts_weighted *values = (struct sable_rollouts_weighted *)s->table.values;
    struct sable_rollouts_rows rows = s->rows;
    const bool unweighted = context->fault == FAULT_UNWEIGHTED;
    double *ones = sable_array(unweighted ? s->rows.states : 1, 1, sizeof *ones);
    for (int64_t pair = 0; unweighted && ones && pair < s->rows.states; pair++)
        ones[pair] = 1;
    const struct sable_rollouts_ratios ratios = {unweighted ? ones : s->ratio, s->model.actions};
    if (context->fault == ROLLOUTS_BIASED_MODEL)
        rows.gamma *= 1 - 1.0 / 16;
    if (!ones || !weigh(&rows, &share, &ratios, weigh_visits_of(s), values, &s->lost, s->chunks.chunk))
        sable_fail(error, SABLE_ENVIRONMENT, "rollouts/importance_sampling: out of memory for tallies");
    else
        rollouts_sharing_check(&s->chunks.sharing, error);
    sable_array_free(ones);
    if (context->fault == ROLLOUTS_FLIP_BIT && context->layout.rank == 0)
        values[s->model.states / 2].product.sum[0] ^= 1 << 20;
    sable_phase(context, PHASE_WAIT);
    if (sable_agree(context->comm, error))
        return error->code;
    sable_phase(context, PHASE_REDUCE);
    int64_t lost[2] = {s->lost.cut, s->lost.saturated};
    if (rollouts_table_reduce(&s->table, context, error) || rollouts_sum(context, lost, 2, error))
        return error->code;
    s->lost = (struct sable_rollouts_lost){lost[0], lost[1]};
    return SABLE_OK;
}

static int run_reference(void *state, struct sable_context *context, struct sable_error *error)
{
    return run(state, context, sable_rollouts_reference_weigh, error);
}

static int run_sable(void *state, struct sable_context *context, struct sable_error *error)
{
    return run(state, context, sable_rollouts_weigh, error);
}

static const struct sable_variant variants[] = {
    {"reference", "episode after episode, one thread a rank", run_reference},
    {"sable", "32 episodes in SIMD lanes that leave a trace, all threads; the same bits", run_sable},
    {0},
};

const struct sable_workload sable_rollouts_importance_sampling = {
    .name = "rollouts/importance_sampling",
    .summary = "off-policy prediction by ordinary and weighted importance sampling, with standard errors",
    .source = "Sutton & Barto, Reinforcement Learning (2018), section 5.5",
    .fom = {"visits", "Gvisit/s", 1e9},
    .params_size = sizeof(struct weigh_params),
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
    .verify = weigh_verify,
    .output = weigh_output,
    .free = free_state,
};
