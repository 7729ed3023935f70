/* rollouts/steps between its files: the state of a rank, and what checks it and gives it out. */
#ifndef ROLLOUTS_STEPS_H
#define ROLLOUTS_STEPS_H

#include "rollouts_chunks.h"
#include "rollouts_map.h"

struct steps_params {
    int64_t n, episodes, horizon;
    int map, env, policy, sharing;
    double gamma, slip;
    struct sable_gridworld_densities share;
    struct sable_gridworld_model rewards;
};

struct steps_state {
    struct steps_params params;
    struct rollouts_chunks chunks;
    struct rollouts_map map;
    struct sable_rollouts_grid grid;
    struct sable_rollouts_rows rows; /* env=alias */
    struct sable_rollouts_totals totals;
    double mean, error;
};

int64_t steps_cells(const struct steps_state *state);
/* A cell's outcomes under the policy, of a struct steps_state, as sable_rollouts_expect() asks for them. */
int64_t steps_outcomes(const void *state, int64_t cell, struct sable_rollouts_outcome *outcome);
/* Plays one chunk again by the reference, for rollouts_chunks_replay(). */
bool steps_replay(void *state, const struct sable_rollouts_share *one, struct sable_rollouts_chunk *chunk);

int steps_verify(void *state, struct sable_context *context, struct sable_checks *checks, struct sable_error *error);
int steps_output(void *state, struct sable_context *context, struct sable_sink *sink, struct sable_error *error);

#endif
