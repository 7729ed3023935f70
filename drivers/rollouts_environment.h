/* The environments of rollouts' workloads: built in, or any sable-mdp file. */
#ifndef ROLLOUTS_ENVIRONMENT_H
#define ROLLOUTS_ENVIRONMENT_H

#include "rollouts_model.h"

/* Embedded in a workload's parameters, and listed by ROLLOUTS_ENVIRONMENT_PARAMETERS. */
struct rollouts_environment {
    int64_t n, horizon;
    int env;
    double gamma, slip;
};
enum rollouts_environment_name {
    ENV_GRIDWORLD,
    ENV_RANDOM_WALK,
    ENV_SEA,
    ENV_BOOK,
    ENV_FROZENLAKE4,
    ENV_FROZENLAKE8,
    ENV_CLIFF,
    ENV_BLACKJACK
};
extern const char *const rollouts_environment_names[];

/* `at(field)`: offset of a field of the embedded struct; `fallback`: the default environment, n and gamma. */
#define ROLLOUTS_ENVIRONMENT_PARAMETERS(at, fallback_env, fallback_n, fallback_gamma)                                  \
    {"env",                                                                                                            \
     SABLE_CHOICE,                                                                                                     \
     at(env),                                                                                                          \
     "",                                                                                                               \
     0,                                                                                                                \
     0,                                                                                                                \
     0,                                                                                                                \
     0,                                                                                                                \
     rollouts_environment_names,                                                                                       \
     fallback_env,                                                                                                     \
     "n x n cells, a fair walk over n states, the sea chart in at most n rows (goal: Rotterdam), 5 x 5 cells of "      \
     "Zhao's book, FrozenLake 4 x 4 or 8 x 8, CliffWalking, blackjack; --input replaces it"},                          \
        {"n", SABLE_INT, at(n), "", 1, 1000000, 0, 0, NULL, fallback_n, "rows and columns, or states of the walk"},    \
        {"horizon",                                                                                                    \
         SABLE_INT,                                                                                                    \
         at(horizon),                                                                                                  \
         "steps",                                                                                                      \
         1,                                                                                                            \
         SABLE_MAX_PREDICTED,                                                                                          \
         0,                                                                                                            \
         0,                                                                                                            \
         NULL,                                                                                                         \
         "256",                                                                                                        \
         "an episode is cut after so many (unless the file says)"},                                                    \
        {"gamma", SABLE_REAL, at(gamma), "", 0, 1, 0, 0, NULL, fallback_gamma, "discount (unless the file says)"},     \
    {                                                                                                                  \
        "slip", SABLE_REAL, at(slip), "", 0, 1, 0, 0, NULL, "0.2",                                                     \
            "chance that a move goes to one of its two sides (gridworld, sea)"                                         \
    }

/* The arrays of an sable-mdp file. */
#define ROLLOUTS_MODEL_INPUTS                                                                                          \
    {"format, gamma, horizon", "attributes of /", "\"sable-mdp\"; the last two instead of the parameters"},            \
        {"indptr", "[n*A + 1]", "row = s*A + a: its transitions are indptr[row] to indptr[row + 1] - 1"},              \
        {"indices, probs", "[transitions]", "successor and probability; rows add up to 1 within 1e-9"},                \
        {"rewards", "[n, A]", "-inf marks an unavailable action; or transition_rewards [transitions]"},                \
        {"terminal", "[n] uint8",                                                                                      \
         "optional: states that end an episode; transition_terminal [transitions]: steps that do"},                    \
        {"policy", "[n, A]", "optional: all available actions alike"},                                                 \
    {                                                                                                                  \
        "start", "[n]", "optional: all states that are no ends alike"                                                  \
    }

/* What a built-in environment has; of its states and transitions at most. */
struct rollouts_environment_size {
    int64_t states, actions, transitions, outcomes; /* outcomes: most of a state and action */
};
struct rollouts_environment_size rollouts_environment_size(const struct rollouts_environment *environment);
/* Cross-parameter rules. */
int rollouts_environment_check(const struct rollouts_environment *environment, struct sable_error *error);
/* Makes or reads the model; freed by rollouts_model_free() in any case. Policies: sticks on 20 or more (blackjack), all
 * actions alike (else). Not collective. */
int rollouts_environment_make(const struct rollouts_environment *environment, struct sable_context *context,
                              struct rollouts_model *model, struct sable_error *error);

#endif
