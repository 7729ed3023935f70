/* rollouts/importance_sampling between its files: the state of a rank, and what checks it and gives it out. */
#ifndef ROLLOUTS_IMPORTANCE_SAMPLING_H
#define ROLLOUTS_IMPORTANCE_SAMPLING_H

#include "rollouts_chunks.h"
#include "rollouts_environment.h"
#include "rollouts_table.h"

enum { CHOICE_START, CHOICE_FIRST };

struct weigh_params {
    struct rollouts_environment environment;
    int64_t episodes;
    int visits, starts, sharing;
    double behaviour;
};

struct weigh_state {
    struct weigh_params params;
    struct rollouts_model model;
    struct sable_rollouts_process process;
    double *behaviour, *ratio, *start; /* [pairs] */
    struct sable_rollouts_rows rows;
    struct rollouts_chunks chunks;
    struct rollouts_table table;           /* of struct sable_rollouts_weighted */
    struct sable_rollouts_weighted *again; /* [states] of a replay */
    struct sable_rollouts_lost lost;
};

static inline enum sable_rollouts_visits weigh_visits_of(const struct weigh_state *s)
{
    return s->params.visits == CHOICE_START ? SABLE_VISITS_START : SABLE_VISITS_FIRST;
}

int weigh_verify(void *state, struct sable_context *context, struct sable_checks *checks, struct sable_error *error);
int weigh_output(void *state, struct sable_context *context, struct sable_sink *sink, struct sable_error *error);

#endif
