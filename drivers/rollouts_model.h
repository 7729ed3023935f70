/* A finite Markov decision process with a policy and a start distribution: read from an sable-mdp file, or built in. */
#ifndef ROLLOUTS_MODEL_H
#define ROLLOUTS_MODEL_H

#include "driver.h"
#include "sable_rollouts.h"

struct rollouts_model {
    char name[64];
    int64_t states, actions, transitions;
    int64_t *indptr; /* [states·actions + 1]; row = s·actions + a */
    int64_t *next;   /* [transitions]; −1: the episode ends */
    double *chance;  /* [transitions] */
    double *reward;  /* [transitions] */
    double *policy;  /* [states × actions] */
    double *start;   /* [states] */
    uint8_t *ended;  /* [states] nothing starts or happens there */
    double gamma;
    int64_t horizon;
    /* The chain under the policy: equal outcomes of a state are one. */
    int64_t *row;                           /* [states + 1] */
    struct sable_rollouts_outcome *outcome; /* [row[states]] */
    int64_t most_outcomes;                  /* of a state */
};

/* Reads and checks a file: gamma and horizon are its attributes, where it has them. Freed by rollouts_model_free() in
 * any case. Not collective. */
int rollouts_model_read(struct sable_input *input, double gamma, int64_t horizon, struct rollouts_model *model,
                        struct sable_error *error);
/* For those that build one: allocates the arrays for states, actions and transitions; then, when they are filled in,
 * makes the chain under the policy and refuses returns that can't be summed. */
int rollouts_model_allocate(struct rollouts_model *model, struct sable_error *error);
int rollouts_model_finish(struct rollouts_model *model, struct sable_error *error);
/* The model as the kernels take it; it points into `model`. */
struct sable_rollouts_process rollouts_model_process(const struct rollouts_model *model);
void rollouts_model_free(struct rollouts_model *model);

/* sable_rollouts_outcomes of the chain under the model's policy. */
sable_rollouts_outcomes rollouts_model_outcomes;

#endif
