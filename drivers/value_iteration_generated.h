/* Workloads whose model is generated: every row a pure function of seed, state and action, so that any rank makes any
 * row, and none holds all. What value_iteration/garnet, maze, pendulum and epidemic share over value_iteration_mdp.h: a
 * driver brings parameters, a function that fills in its model, and how many ghosts to expect. */
#ifndef VALUE_ITERATION_GENERATED_H
#define VALUE_ITERATION_GENERATED_H

#include "value_iteration_mdp.h"

/* Fills in `model`, a struct of the workload's own, and `source`, which refers to it. Pure. */
typedef void (*mdp_make)(const void *params, uint64_t seed, void *model, struct mdp_source *source);

/* The state of such a workload. */
struct mdp_generated {
    struct mdp_params params;
    struct mdp_source source;
    struct mdp_rank rank;
    void *model; /* owned */
};

/* Cross-parameter rules: sizes are counted by 64 bits, and double precision can prove `tol` for rewards up to
 * `reward_most`. */
int mdp_generated_check(const struct mdp_params *params, const struct mdp_source *source, double reward_most,
                        struct sable_error *error);
/* The work model of a rank with `row` transitions a row and `ghosts` states of others; state: NULL before the run. */
void mdp_generated_work(const struct mdp_params *params, const struct mdp_source *source, struct sable_layout layout,
                        double row, double ghosts, const void *state, struct sable_work *work);
/* Collective. `params` are the workload's, whose first member is a struct mdp_params; `size`: of its model. */
int mdp_generated_setup(const void *params, size_t size, mdp_make make, struct sable_context *context, void **state,
                        struct sable_error *error);

/* Of struct sable_workload and its variants, over a struct mdp_generated. */
int mdp_generated_reset(void *state, struct sable_context *context, struct sable_error *error);
int mdp_generated_verify(void *state, struct sable_context *context, struct sable_checks *checks,
                         struct sable_error *error);
int mdp_generated_output(void *state, struct sable_context *context, struct sable_sink *sink,
                         struct sable_error *error);
void mdp_generated_free(void *state);
extern const struct sable_variant mdp_generated_variants[];

#endif
