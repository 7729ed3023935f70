/* What control workloads prove of their answer, and what they store. */
#include <math.h>

#include "rollouts_control.h"
#include "sable_array.h"

/* Chunks of this rank's last batch that differ when the textbook plays them again; −1 if memory is short. */
static int64_t replay(const struct rollouts_control *c, int kind)
{
    enum { MOST = 4 };
    int64_t index[MOST], differ = 0, cut = 0;
    int count = rollouts_sample(&c->share[kind], MOST, index);
    struct sable_rollouts_values *values = sable_array(c->pairs, 1, sizeof *values);
    for (int k = 0; k < count && values && differ >= 0; k++) {
        struct sable_rollouts_share one = c->share[kind];
        struct sable_rollouts_chunk again;
        for (int64_t i = 0; i < c->pairs; i++)
            values[i] = (struct sable_rollouts_values){0};
        one.first += index[k] * one.stride;
        one.count = 1;
        if (!sable_rollouts_reference_predict(&c->rows, &one, rollouts_control_visits(c, kind), values, &cut, &again))
            differ = -1;
        else
            differ += again.sum != c->chunk[kind][index[k]].sum || again.steps != c->chunk[kind][index[k]].steps;
    }
    sable_array_free(values);
    return values ? differ : -1;
}

/* Names of the checks of a batch. */
struct batch_names {
    const char *replayed, *sums, *pooled, *largest;
};
static const struct batch_names names[ROLLOUTS_BATCH_KINDS] = {
    {"last batch: chunks that differ from a replay", "last batch: sums of pairs less those of the chunks",
     "last batch: z of the mean return", "last batch: largest |z| of a pair's start returns"},
    {"evaluation: chunks that differ from a replay", "evaluation: sums of pairs less those of the chunks",
     "evaluation: z of the mean return", "evaluation: largest |z| of a pair's start returns"},
};

static int check_batch(struct rollouts_control *c, struct sable_context *context, int kind,
                       const struct sable_rollouts_expected *expected, struct sable_checks *checks,
                       struct sable_error *error)
{
    const int64_t first = c->first * c->model.actions, count = c->count * c->model.actions;
    int64_t counts[2] = {replay(c, kind), 0};
    double most = 0, worst;
    if (counts[0] < 0)
        sable_fail(error, SABLE_ENVIRONMENT, "%s: out of memory for a replay", c->method->name);
    for (int64_t i = 0; i < c->share[kind].count; i++)
        counts[1] = (int64_t)((uint64_t)counts[1] - c->chunk[kind][i].sum);
    for (int64_t k = 0; k < count; k++) {
        const struct sable_rollouts_values *own = &c->own[kind][k];
        int64_t pair = first + k;
        counts[1] = (int64_t)((uint64_t)counts[1] +
                              rollouts_low_word(rollouts_control_moments(c, kind, own)) * (uint64_t)(2 * pair + 1));
        if (own->starts.count > 0)
            most = fmax(
                most, rollouts_surprise(&own->starts, expected->value[pair], expected->square[pair], c->model.horizon));
    }
    if (sable_agree(context->comm, error) || rollouts_sum(context, counts, 2, error) ||
        sable_check_mpi(MPI_Allreduce(&most, &worst, 1, MPI_DOUBLE, MPI_MAX, context->comm), "MPI_Allreduce", error))
        return error->code;
    sable_check(checks, names[kind].replayed, (double)counts[0], 0, 0);
    sable_check(checks, names[kind].sums, (double)counts[1], 0, 0);
    sable_check_at_most(checks, names[kind].largest, worst, rollouts_most_z_of(c->pairs));
    return rollouts_check_pooled(checks, names[kind].pooled, context, c->own[kind], count, expected->value + first,
                                 expected->square + first, c->params.batch, error);
}

/* Own states whose action is not the best of their estimates, or whose estimates aren't what the last batch makes them.
 */
static int64_t unimproved(const struct rollouts_control *c)
{
    const int64_t actions = c->model.actions;
    int64_t wrong = 0;
    for (int64_t i = 0; i < c->count; i++) {
        const struct rollouts_estimate *now = c->estimate + i * actions, *before = c->estimate_before + i * actions;
        int32_t chosen = c->action[c->first + i];
        bool known = false, good = true;
        for (int64_t a = 0; a < actions; a++) {
            const struct rollouts_estimate again = rollouts_control_learn(
                before[a], c->params.memory,
                rollouts_control_moments(c, ROLLOUTS_TRAIN, &c->own[ROLLOUTS_TRAIN][i * actions + a]));
            bool unknown = isnan(now[a].q);
            good = good && (unknown ? isnan(again.q) : again.q == now[a].q);
            good = good && (unknown || (chosen >= 0 && now[chosen].q >= now[a].q));
            known = known || !unknown;
        }
        wrong += !good || (chosen >= 0) != known;
    }
    return wrong;
}

/* Σ start·value, of the model's starts and a policy's pairs. */
static double value_of(const struct rollouts_control *c, const double *q)
{
    double sum = 0, weight = 0;
    for (int64_t pair = 0; pair < c->pairs; pair++) {
        sum += c->start[pair] * (c->start[pair] > 0 ? q[pair] : 0);
        weight += c->start[pair];
    }
    return sum / weight;
}

/* Exact moments of every pair's return under the batch in hand. */
static int expect(struct rollouts_control *c, struct sable_rollouts_expected *expected, struct sable_error *error)
{
    const struct sable_rollouts_pairs pairs = {&c->process, c->policy};
    if (!sable_rollouts_expect(&pairs, sable_rollouts_pair_outcomes, c->pairs, INT64_C(1) << c->rows.bits,
                               c->model.gamma, c->model.horizon, expected))
        return sable_fail(error, SABLE_ENVIRONMENT, "%s: out of memory for the exact values", c->method->name);
    return SABLE_OK;
}

/* Plays nothing: the exact value of the policy `action` from the model's starts. */
static int exact_value(struct rollouts_control *c, const int32_t *action, double *value, struct sable_error *error)
{
    struct sable_rollouts_expected expected;
    if (rollouts_control_prepare(c, action, c->params.epsilon, ROLLOUTS_EVALUATE, error) || expect(c, &expected, error))
        return error->code;
    *value = value_of(c, expected.value);
    sable_rollouts_expected_free(&expected);
    return SABLE_OK;
}

/* How far the final policy, of this exact value, is from the best. */
static int check_loss(struct rollouts_control *c, struct sable_context *context, double reached,
                      struct sable_checks *checks, struct sable_error *error)
{
    double *best = sable_array(c->model.states, 1, sizeof *best), sum = 0, weight = 0, at_first = 0;
    int32_t *none = sable_array(c->model.states, 1, sizeof *none);
    if (!best || !none || !sable_rollouts_optimum(&c->process, c->params.epsilon, best))
        sable_fail(error, SABLE_ENVIRONMENT, "%s: out of memory for the optimum", c->method->name);
    for (int64_t s = 0; s < c->model.states && !error->code; s++) {
        none[s] = -1;
        sum += c->model.start[s] * (c->model.start[s] > 0 ? best[s] : 0);
        weight += c->model.start[s];
    }
    if (!error->code)
        exact_value(c, none, &at_first, error);
    sable_array_free(best);
    sable_array_free(none);
    if (sable_agree(context->comm, error))
        return error->code;
    double optimum = sum / weight, rounding = 1e-9 * (1 + fabs(optimum));
    sable_check_at_most(checks, "what the final policy misses of the optimum", optimum - reached,
                        c->params.accuracy * (optimum - at_first) + rounding);
    sable_check_at_most(checks, "the final policy's value less the optimum", reached - optimum, rounding);
    return SABLE_OK;
}

int rollouts_control_verify(void *state, struct sable_context *context, struct sable_checks *checks,
                            struct sable_error *error)
{
    struct rollouts_control *c = state;
    struct sable_rollouts_expected expected = {0};
    double reached = 0;
    int64_t wrong = unimproved(c);
    sable_check(checks, "episodes played", (double)c->episodes, (double)((c->params.batches + 1) * c->params.batch), 0);
    if (rollouts_sum(context, &wrong, 1, error))
        return error->code;
    sable_check(checks, "states whose action is not the best of the estimates", (double)wrong, 0, 0);
    for (int kind = 0; kind < ROLLOUTS_BATCH_KINDS; kind++) {
        if (!rollouts_control_prepare(c, kind == ROLLOUTS_TRAIN ? c->before : c->action, c->params.epsilon, kind,
                                      error))
            expect(c, &expected, error);
        if (!sable_agree(context->comm, error))
            check_batch(c, context, kind, &expected, checks, error);
        if (kind == ROLLOUTS_EVALUATE && !error->code)
            reached = value_of(c, expected.value);
        sable_rollouts_expected_free(&expected);
        if (error->code)
            return error->code;
    }
    return check_loss(c, context, reached, checks, error);
}

/* ---- Outputs ---- */

const struct sable_field rollouts_control_outputs[] = {
    {"policy", "[n, A]", "the final policy: chance of each action"},
    {"action", "[n]", "its greedy action; -1 where nothing is known, or nothing to be done"},
    {"q", "[n, A]", "estimate for each state and action that the final policy is greedy for; NaN: never visited"},
    {"q_error, count", "[n, A]", "standard error of the last batch's mean return; visits that counted in it"},
    {"return_mean, return_error", "[1]",
     "of the evaluation's episodes: what the final policy is worth from the starts"},
    {"steps, cut", "[1]", "of all batches; episodes that the horizon ended"},
    ROLLOUTS_COUNTER_FIELD,
    {0},
};

/* This rank's part of an array over all pairs. */
static int put_pairs(struct rollouts_control *c, struct sable_sink *sink, const char *name, const char *help,
                     const double *data, struct sable_error *error)
{
    const struct sable_array array = {.name = name,
                                      .unit = "",
                                      .help = help,
                                      .keep = SABLE_KEEP_SUMMARY,
                                      .type = SABLE_F64,
                                      .dims = 2,
                                      .global = {c->model.states, c->model.actions},
                                      .offset = {c->first, 0},
                                      .count = {c->count, c->count ? c->model.actions : 0},
                                      .labels = {"state", "action"},
                                      .data = data};
    return sable_put(sink, &array, error);
}

static int put_batch(struct rollouts_control *c, struct sable_sink *sink, const char *name, const char *help,
                     double (*of)(const struct sable_exact_moments *moments), struct sable_error *error)
{
    for (int64_t k = 0; k < c->count * c->model.actions; k++)
        c->column[k] = of(rollouts_control_moments(c, ROLLOUTS_TRAIN, &c->own[ROLLOUTS_TRAIN][k]));
    return put_pairs(c, sink, name, help, c->column, error);
}

static int put_number(struct sable_sink *sink, const char *name, const char *help, enum sable_number type,
                      const void *data, struct sable_error *error)
{
    const struct sable_array array = {
        .name = name, .help = help, .type = type, .dims = 1, .global = {1}, .labels = {"value"}, .data = data};
    return sable_put_whole(sink, &array, error);
}

/* Exact sums of the evaluation over all ranks. */
static int sum_evaluation(struct rollouts_control *c, struct sable_context *context, struct sable_exact_moments *total,
                          struct sable_error *error)
{
    *total = (struct sable_exact_moments){0};
    for (int64_t k = 0; k < c->count * c->model.actions; k++)
        sable_exact_add(total, &c->own[ROLLOUTS_EVALUATE][k].starts);
    if (rollouts_sum(context, (int64_t *)total, SABLE_EXACT_WORDS, error))
        return error->code;
    rollouts_carry(total);
    return SABLE_OK;
}

int rollouts_control_output(void *state, struct sable_context *context, struct sable_sink *sink,
                            struct sable_error *error)
{
    struct rollouts_control *c = state;
    const int64_t actions = c->model.actions;
    const struct sable_array action = {.name = "action",
                                       .unit = "",
                                       .help = "greedy action of the final policy",
                                       .keep = SABLE_KEEP_SUMMARY,
                                       .type = SABLE_I32,
                                       .dims = 1,
                                       .global = {c->model.states},
                                       .offset = {c->first},
                                       .count = {c->count},
                                       .labels = {"state"},
                                       .data = c->action + c->first};
    struct sable_exact_moments total;
    for (int64_t i = 0; i < c->count; i++)
        sable_rollouts_soft_policy(&c->process, c->first + i, c->action[c->first + i], c->params.epsilon,
                                   c->column + i * actions);
    if (put_pairs(c, sink, "policy", "chance of each action in the final policy", c->column, error) ||
        sable_put(sink, &action, error))
        return error->code;
    for (int64_t k = 0; k < c->count * actions; k++)
        c->column[k] = c->estimate[k].q;
    if (put_pairs(c, sink, "q", "estimate that the final policy is greedy for", c->column, error) ||
        put_batch(c, sink, "q_error", "standard error of the last batch's mean", rollouts_error_of, error) ||
        put_batch(c, sink, "count", "visits that counted in the last batch", rollouts_count_of, error) ||
        sum_evaluation(c, context, &total, error))
        return error->code;
    const double mean = rollouts_mean_of(&total), spread = rollouts_error_of(&total);
    if (put_number(sink, "return_mean", "mean return of the evaluation", SABLE_F64, &mean, error) ||
        put_number(sink, "return_error", "its standard error", SABLE_F64, &spread, error) ||
        put_number(sink, "steps", "steps of all batches", SABLE_I64, &c->steps, error) ||
        put_number(sink, "cut", "episodes that the horizon ended", SABLE_I64, &c->cut, error))
        return error->code;
    return rollouts_put_counter(sink, error);
}
