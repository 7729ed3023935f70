/* Monte Carlo control, shared by its workloads: batches of episodes under a fixed policy, which is improved only at
 * their ends. Batch b is the episodes [b·batch, (b+1)·batch), so that no answer depends on who played what when. A last
 * batch plays the final policy from the model's starts and says what it is worth. */
#ifndef ROLLOUTS_CONTROL_H
#define ROLLOUTS_CONTROL_H

#include "rollouts_environment.h"
#include "rollouts_share.h"

struct rollouts_control_params {
    struct rollouts_environment environment;
    int64_t batches, batch;
    double epsilon, memory, accuracy;
    int visits;
};

/* The fault that each algorithm knows beside ROLLOUTS_FAULTS, last in its list. */
enum rollouts_control_fault { ROLLOUTS_STALE_POLICY, ROLLOUTS_WORST_ACTION, ROLLOUTS_NO_EXPLORATION };

/* What makes one algorithm of the engine. */
struct rollouts_control_method {
    const char *name;
    bool each_pair;   /* episodes start in every available pair alike, else as the model says */
    bool starts_only; /* an estimate is the mean return of the episodes that started there; else params.visits says */
    enum rollouts_control_fault fault;
};

/* A mean of returns of several batches, NaN: none yet; and how many returns it counts for. */
struct rollouts_estimate {
    double q, weight;
};
/* With a batch's returns, where there are any: earlier batches keep the share `memory` of their weight. */
struct rollouts_estimate rollouts_control_learn(struct rollouts_estimate old, double memory,
                                                const struct sable_exact_moments *moments);

enum { ROLLOUTS_TRAIN, ROLLOUTS_EVALUATE, ROLLOUTS_BATCH_KINDS };

/* One rank's state. Pair p = state·actions + action; a policy is kept as its greedy actions. */
struct rollouts_control {
    struct rollouts_control_params params;
    const struct rollouts_control_method *method;
    struct rollouts_model model;
    struct sable_rollouts_process process;
    int64_t pairs;
    int64_t each, first, count; /* states that a rank sums up, those of this one; the last ranks fewer */
    int32_t *action, *before; /* [each·ranks] greedy actions, −1: all alike; and those of the last training batch */
    double *policy, *start;   /* [pairs] of the batch in hand */
    struct sable_rollouts_rows rows;
    struct rollouts_estimate *estimate, *estimate_before; /* [each × actions] of this rank's pairs, now and before the
                                                              last improvement */
    struct sable_rollouts_values *values;                 /* [each·ranks × actions] this rank's sums of a batch */
    struct sable_rollouts_values *own[ROLLOUTS_BATCH_KINDS]; /* [each × actions] those of all ranks */
    struct sable_rollouts_share share[ROLLOUTS_BATCH_KINDS]; /* of the last batch of either kind */
    struct sable_rollouts_chunk *chunk[ROLLOUTS_BATCH_KINDS];
    int64_t episodes, steps, cut; /* of all batches */
    double *column;               /* [each × actions] an output */
};

/* Policy, starts and rows of a batch that plays `action`. */
int rollouts_control_prepare(struct rollouts_control *c, const int32_t *action, double epsilon, int kind,
                             struct sable_error *error);
/* Which visits make the estimates of a batch. */
enum sable_rollouts_visits rollouts_control_visits(const struct rollouts_control *c, int kind);
static inline const struct sable_exact_moments *rollouts_control_moments(const struct rollouts_control *c, int kind,
                                                                         const struct sable_rollouts_values *values)
{
    return rollouts_control_visits(c, kind) == SABLE_VISITS_START ? &values->starts : &values->visits;
}

extern const char *const rollouts_visit_names[]; /* first, every */
#define ROLLOUTS_CONTROL_AT(field)             offsetof(struct rollouts_control_params, field)
#define ROLLOUTS_CONTROL_ENVIRONMENT_AT(field) offsetof(struct rollouts_control_params, environment.field)
#define ROLLOUTS_CONTROL_PARAMETERS                                                                                    \
    ROLLOUTS_ENVIRONMENT_PARAMETERS(ROLLOUTS_CONTROL_ENVIRONMENT_AT, "book", "64", "0.9"),                             \
        {"batches",                                                                                                    \
         SABLE_INT,                                                                                                    \
         ROLLOUTS_CONTROL_AT(batches),                                                                                 \
         "",                                                                                                           \
         1,                                                                                                            \
         100000,                                                                                                       \
         0,                                                                                                            \
         0,                                                                                                            \
         NULL,                                                                                                         \
         "8",                                                                                                          \
         "how often the policy is improved; one more batch evaluates the final policy"},                               \
        {"batch",                                                                                                      \
         SABLE_INT,                                                                                                    \
         ROLLOUTS_CONTROL_AT(batch),                                                                                   \
         "episodes",                                                                                                   \
         ROLLOUTS_LEAST_EPISODES,                                                                                      \
         1e12,                                                                                                         \
         0,                                                                                                            \
         0,                                                                                                            \
         NULL,                                                                                                         \
         "65536",                                                                                                      \
         "episodes of a batch: a multiple of 1024"},                                                                   \
        {"memory",                                                                                                     \
         SABLE_REAL,                                                                                                   \
         ROLLOUTS_CONTROL_AT(memory),                                                                                  \
         "",                                                                                                           \
         0,                                                                                                            \
         1,                                                                                                            \
         0,                                                                                                            \
         0,                                                                                                            \
         NULL,                                                                                                         \
         "0",                                                                                                          \
         "weight of earlier batches' returns that estimates keep: 0 none, 1 all (the average of all returns)"},        \
    {                                                                                                                  \
        "accuracy", SABLE_REAL, ROLLOUTS_CONTROL_AT(accuracy), "", 0, 1, 0, 0, NULL, "0.02",                           \
            "stated error: the share of what there was to gain over the first policy that the last one may miss"       \
    }

extern const struct sable_variant rollouts_control_variants[];
extern const char *const rollouts_control_phases[];
extern const struct sable_field rollouts_control_inputs[], rollouts_control_outputs[];

int rollouts_control_check(const void *params, struct sable_layout layout, struct sable_error *error);
void rollouts_control_work(const void *params, struct sable_layout layout, const void *state, struct sable_work *work);
int rollouts_control_setup(const struct rollouts_control_method *method, const struct rollouts_control_params *params,
                           struct sable_context *context, void **state, struct sable_error *error);
int rollouts_control_reset(void *state, struct sable_context *context, struct sable_error *error);
int rollouts_control_verify(void *state, struct sable_context *context, struct sable_checks *checks,
                            struct sable_error *error);
int rollouts_control_output(void *state, struct sable_context *context, struct sable_sink *sink,
                            struct sable_error *error);
void rollouts_control_free(void *state);

#endif
