#include "rollouts_control.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "sable_array.h"

const char *const rollouts_visit_names[] = {"first", "every", NULL};
enum { PHASE_PLAY, PHASE_WAIT, PHASE_REDUCE, PHASE_IMPROVE };
const char *const rollouts_control_phases[] = {
    [PHASE_PLAY] = "play", [PHASE_WAIT] = "wait", [PHASE_REDUCE] = "reduce", [PHASE_IMPROVE] = "improve", NULL};
const struct sable_field rollouts_control_inputs[] = {ROLLOUTS_MODEL_INPUTS, {0}};

int rollouts_control_check(const void *params, struct sable_layout layout, struct sable_error *error)
{
    (void)layout;
    const struct rollouts_control_params *p = params;
    if (p->batch % SABLE_CHUNK != 0)
        return sable_fail(error, SABLE_BAD_INPUT, "batch=%lld is not a multiple of %d", (long long)p->batch,
                          SABLE_CHUNK);
    return rollouts_environment_check(&p->environment, error);
}

void rollouts_control_work(const void *params, struct sable_layout layout, const void *state, struct sable_work *work)
{
    const struct rollouts_control_params *p = params;
    const struct rollouts_control *c = state;
    const struct rollouts_environment_size size = rollouts_environment_size(&p->environment);
    const double states = (double)(c ? c->model.states : size.states);
    const double actions = (double)(c ? c->model.actions : size.actions), pairs = states * actions;
    const double transitions = (double)(c ? c->model.transitions : size.transitions);
    const int bits = c ? c->rows.bits : sable_rollouts_row_bits(size.actions * size.outcomes);
    const double row = (double)sizeof(struct sable_rollouts_entry) * (double)(1 << bits);
    const double batches = (double)p->batches + 1, values = (double)sizeof(struct sable_rollouts_values);
    const double steps = c ? (double)c->steps / layout.ranks : 0; /* shares of batches are alike to a chunk */
    *work = (struct sable_work){
        .items = steps,
        .flops_fp64 = 5 * steps,      /* γ^t G forwards, r + γ G backwards */
        .random_accesses = 2 * steps, /* a row, a tally */
        .working_set = pairs * (row + sizeof(struct sable_digits)),
        .bytes_network = layout.ranks > 1 ? batches * (pairs * values + 4 * states) : 0,
        .messages = layout.ranks > 1 ? batches * (2 * layout.ranks - 2) : 0,
        .memory = (double)sizeof *c +
                  2 * (double)p->batch / SABLE_CHUNK / layout.ranks * sizeof(struct sable_rollouts_chunk) +
                  pairs * (row + values * 3 + 16 + 8 * 8 + 48 * 2 + 24) + states * 64 +
                  transitions * (24 + sizeof(struct sable_rollouts_outcome)) +
                  sable_rollouts_predict_memory((int64_t)pairs, p->environment.horizon, layout.threads),
    };
}

void rollouts_control_free(void *state)
{
    struct rollouts_control *c = state;
    rollouts_model_free(&c->model);
    sable_rollouts_rows_free(&c->rows);
    sable_array_free(c->action);
    sable_array_free(c->before);
    sable_array_free(c->policy);
    sable_array_free(c->start);
    sable_array_free(c->estimate);
    sable_array_free(c->estimate_before);
    sable_array_free(c->values);
    for (int kind = 0; kind < ROLLOUTS_BATCH_KINDS; kind++) {
        sable_array_free(c->own[kind]);
        sable_array_free(c->chunk[kind]);
    }
    sable_array_free(c->column);
    free(c);
}

/* ---- Setup ---- */

static int allocate(struct rollouts_control *c, struct sable_layout layout, struct sable_error *error)
{
    const int64_t actions = c->model.actions;
    const struct sable_rollouts_share share = rollouts_share(layout, 0, c->params.batch);
    int64_t block;
    c->each = (c->model.states - 1) / layout.ranks + 1;
    c->first = c->each * layout.rank < c->model.states ? c->each * layout.rank : c->model.states;
    c->count = c->model.states - c->first < c->each ? c->model.states - c->first : c->each;
    if (!sable_multiply(c->each, actions, &block) || block > INT32_MAX / SABLE_VALUES_WORDS)
        return sable_fail(error, SABLE_BAD_INPUT, "%lld states of %lld actions on %d ranks: at most %d pairs a rank",
                          (long long)c->model.states, (long long)actions, layout.ranks, INT32_MAX / SABLE_VALUES_WORDS);
    c->pairs = c->model.states * actions;
    c->action = sable_array(c->each, layout.ranks, sizeof *c->action);
    c->before = sable_array(c->each, layout.ranks, sizeof *c->before);
    c->policy = sable_array(c->pairs, 1, sizeof *c->policy);
    c->start = sable_array(c->pairs, 1, sizeof *c->start);
    c->estimate = sable_array(block, 1, sizeof *c->estimate);
    c->estimate_before = sable_array(block, 1, sizeof *c->estimate_before);
    c->values = sable_array(block, layout.ranks, sizeof *c->values);
    c->column = sable_array(block, 1, sizeof *c->column);
    bool good =
        c->action && c->before && c->policy && c->start && c->estimate && c->estimate_before && c->values && c->column;
    for (int kind = 0; kind < ROLLOUTS_BATCH_KINDS; kind++) {
        c->own[kind] = sable_array(block, 1, sizeof *c->own[kind]);
        c->chunk[kind] = sable_array(share.count, 1, sizeof *c->chunk[kind]);
        good = good && c->own[kind] && c->chunk[kind];
    }
    return good ? SABLE_OK
                : sable_fail(error, SABLE_ENVIRONMENT, "out of memory for %lld states of %lld actions",
                             (long long)c->model.states, (long long)actions);
}

int rollouts_control_setup(const struct rollouts_control_method *method, const struct rollouts_control_params *params,
                           struct sable_context *context, void **state, struct sable_error *error)
{
    struct rollouts_control *c = calloc(1, sizeof *c);
    if (!c)
        return sable_fail(error, SABLE_ENVIRONMENT, "%s: out of memory", method->name);
    *state = c;
    c->params = *params;
    c->method = method;
    if (rollouts_environment_make(&params->environment, context, &c->model, error))
        return error->code;
    c->process = rollouts_model_process(&c->model);
    return allocate(c, context->layout, error);
}

int rollouts_control_reset(void *state, struct sable_context *context, struct sable_error *error)
{
    (void)error;
    struct rollouts_control *c = state;
    for (int64_t s = 0; s < c->each * context->layout.ranks; s++)
        c->action[s] = c->before[s] = -1;
    for (int64_t k = 0; k < c->each * c->model.actions; k++)
        c->estimate[k] = (struct rollouts_estimate){NAN, 0};
    c->episodes = c->steps = c->cut = 0;
    return SABLE_OK;
}

/* ---- A batch ---- */

enum sable_rollouts_visits rollouts_control_visits(const struct rollouts_control *c, int kind)
{
    return kind == ROLLOUTS_EVALUATE || c->method->starts_only ? SABLE_VISITS_START
                                                               : (enum sable_rollouts_visits)c->params.visits;
}

int rollouts_control_prepare(struct rollouts_control *c, const int32_t *action, double epsilon, int kind,
                             struct sable_error *error)
{
    const int64_t actions = c->model.actions;
    const bool each_pair = kind == ROLLOUTS_TRAIN && c->method->each_pair;
    int64_t width = 1;
    bool any = false;
    for (int64_t s = 0; s < c->model.states; s++) {
        double *policy = c->policy + s * actions, *start = c->start + s * actions;
        int64_t taken = 0;
        sable_rollouts_soft_policy(&c->process, s, action[s], epsilon, policy);
        for (int64_t a = 0; a < actions; a++) {
            taken += policy[a] > 0;
            start[a] =
                each_pair ? sable_rollouts_available(&c->process, s * actions + a) : c->model.start[s] * policy[a];
            any = any || start[a] > 0;
        }
        width = taken > width ? taken : width;
    }
    if (!any)
        return sable_fail(error, SABLE_BAD_INPUT, "%s has no state to start from", c->model.name);
    const struct sable_rollouts_pairs pairs = {&c->process, c->policy};
    sable_rollouts_rows_free(&c->rows);
    if (!sable_rollouts_rows_make(&pairs, sable_rollouts_pair_outcomes, c->pairs,
                                  sable_rollouts_pair_width(&c->process, width), c->model.gamma,
                                  (uint32_t)c->model.horizon, c->start, &c->rows))
        return sable_fail(
            error, SABLE_ENVIRONMENT,
            "no room for the rows of %lld pairs of up to %lld outcomes (memory, or more than 2^28 in all)",
            (long long)c->pairs, (long long)sable_rollouts_pair_width(&c->process, width));
    return SABLE_OK;
}

/* Sums of all ranks: each rank gets those of its own pairs. */
static int reduce(struct rollouts_control *c, struct sable_context *context, int kind, struct sable_error *error)
{
    const int64_t block = c->each * c->model.actions;
    if (context->layout.ranks > 1) {
        sable_count_sent(context, (size_t)block * (size_t)(context->layout.ranks - 1) * sizeof *c->values);
        if (sable_check_mpi(MPI_Reduce_scatter_block(c->values, c->own[kind], (int)block * SABLE_VALUES_WORDS,
                                                     MPI_INT64_T, MPI_SUM, context->comm),
                            "MPI_Reduce_scatter_block", error))
            return error->code;
    } else {
        memcpy(c->own[kind], c->values, (size_t)block * sizeof *c->values);
    }
    int64_t counts[2] = {0, 0}; /* episodes, steps */
    for (int64_t k = 0; k < c->count * c->model.actions; k++) {
        rollouts_carry(&c->own[kind][k].visits);
        rollouts_carry(&c->own[kind][k].starts);
        counts[0] += c->own[kind][k].starts.count;
    }
    for (int64_t i = 0; i < c->share[kind].count; i++)
        counts[1] += c->chunk[kind][i].steps;
    if (rollouts_sum(context, counts, 2, error))
        return error->code;
    c->episodes += counts[0];
    c->steps += counts[1];
    return SABLE_OK;
}

/* The algorithm's own fault, or −1. */
static int own_fault(const struct rollouts_control *c, const struct sable_context *context)
{
    return context->fault == ROLLOUTS_FLIP_BIT + 1 ? (int)c->method->fault : -1;
}

static int play(struct rollouts_control *c, struct sable_context *context, sable_rollouts_predictor *predict,
                int64_t batch, int kind, struct sable_error *error)
{
    const double epsilon = own_fault(c, context) == ROLLOUTS_NO_EXPLORATION ? 0 : c->params.epsilon;
    sable_phase(context, PHASE_IMPROVE);
    if (!rollouts_control_prepare(c, c->action, epsilon, kind, error)) {
        sable_phase(context, PHASE_PLAY);
        c->share[kind] = rollouts_share(context->layout, context->seed, c->params.batch);
        c->share[kind].first += batch * (c->params.batch / SABLE_CHUNK);
        c->share[kind].episodes = (batch + 1) * c->params.batch;
        struct sable_rollouts_share share = rollouts_faulty_share(context, &c->share[kind]);
        if (context->fault == ROLLOUTS_BIASED_MODEL)
            c->rows.gamma *= 1 - 1.0 / 16;
        memset(c->values, 0, (size_t)(c->each * context->layout.ranks * c->model.actions) * sizeof *c->values);
        memset(c->chunk[kind], 0, (size_t)c->share[kind].count * sizeof *c->chunk[kind]);
        if (!predict(&c->rows, &share, rollouts_control_visits(c, kind), c->values, &c->cut, c->chunk[kind]))
            sable_fail(error, SABLE_ENVIRONMENT, "%s: out of memory for tallies", c->method->name);
        if (context->fault == ROLLOUTS_FLIP_BIT && context->layout.rank == 0) {
            struct sable_rollouts_values *spoilt = &c->values[c->pairs / 2];
            (rollouts_control_visits(c, kind) == SABLE_VISITS_START ? &spoilt->starts : &spoilt->visits)->sum[0] ^=
                1 << 20;
        }
    }
    sable_phase(context, PHASE_WAIT);
    if (sable_agree(context->comm, error))
        return error->code;
    sable_phase(context, PHASE_REDUCE);
    return reduce(c, context, kind, error);
}

struct rollouts_estimate rollouts_control_learn(struct rollouts_estimate old, double memory,
                                                const struct sable_exact_moments *moments)
{
    double count = (double)moments->count, kept = memory * old.weight;
    if (moments->count == 0)
        return old;
    double mean = sable_exact_mean(moments);
    return (struct rollouts_estimate){kept > 0 ? old.q + (mean - old.q) * (count / (kept + count)) : mean,
                                      kept + count};
}

/* The action of one of this rank's states that is best after a batch, or as a fault has it. */
static int32_t best_action(struct rollouts_control *c, int fault, int64_t own, double *q)
{
    const int64_t actions = c->model.actions, state = c->first + own;
    for (int64_t a = 0; a < actions; a++) {
        const int64_t k = own * actions + a;
        c->estimate_before[k] = c->estimate[k];
        c->estimate[k] = rollouts_control_learn(
            c->estimate[k], c->params.memory, rollouts_control_moments(c, ROLLOUTS_TRAIN, &c->own[ROLLOUTS_TRAIN][k]));
        q[a] = fault == ROLLOUTS_WORST_ACTION ? -c->estimate[k].q : c->estimate[k].q;
    }
    return fault == ROLLOUTS_STALE_POLICY ? c->action[state]
                                          : (int32_t)sable_rollouts_best_action(&c->process, state, q);
}

/* Improves the policy in this rank's states, and tells all ranks. */
static int improve(struct rollouts_control *c, struct sable_context *context, struct sable_error *error)
{
    sable_phase(context, PHASE_IMPROVE);
    int32_t *chosen = sable_array(c->each, 1, sizeof *chosen);
    double *q = sable_array(c->model.actions, 1, sizeof *q);
    if (!chosen || !q)
        sable_fail(error, SABLE_ENVIRONMENT, "%s: out of memory", c->method->name);
    for (int64_t i = 0; i < c->each && !error->code; i++)
        chosen[i] = i < c->count ? best_action(c, own_fault(c, context), i, q) : -1;
    memcpy(c->before, c->action, (size_t)(c->each * context->layout.ranks) * sizeof *c->before);
    if (!sable_agree(context->comm, error)) {
        if (context->layout.ranks > 1)
            sable_count_sent(context, (size_t)c->each * (size_t)(context->layout.ranks - 1) * sizeof *chosen);
        sable_check_mpi(
            MPI_Allgather(chosen, (int)c->each, MPI_INT32_T, c->action, (int)c->each, MPI_INT32_T, context->comm),
            "MPI_Allgather", error);
    }
    sable_array_free(q);
    sable_array_free(chosen);
    return error->code;
}

static int run(struct rollouts_control *c, struct sable_context *context, sable_rollouts_predictor *predict,
               struct sable_error *error)
{
    for (int64_t batch = 0; batch < c->params.batches; batch++)
        if (play(c, context, predict, batch, ROLLOUTS_TRAIN, error) || improve(c, context, error))
            return error->code;
    if (play(c, context, predict, c->params.batches, ROLLOUTS_EVALUATE, error))
        return error->code;
    return rollouts_sum(context, &c->cut, 1, error);
}

static int run_reference(void *state, struct sable_context *context, struct sable_error *error)
{
    return run(state, context, sable_rollouts_reference_predict, error);
}

static int run_sable(void *state, struct sable_context *context, struct sable_error *error)
{
    return run(state, context, sable_rollouts_predict, error);
}

const struct sable_variant rollouts_control_variants[] = {
    {"reference", "episode after episode, one thread a rank", run_reference},
    {"sable", "32 episodes in SIMD lanes that leave a trace, all threads; the same bits", run_sable},
    {0},
};
