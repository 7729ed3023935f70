/* What building a rank asks of its rows: for value_iteration_mdp_build.c only. */
#ifndef VALUE_ITERATION_MDP_ROWS_H
#define VALUE_ITERATION_MDP_ROWS_H

#include "value_iteration_mdp.h"

/* States of other ranks that the rows of rank->part lead to: rank->ghost, ascending, and how many. */
int mdp_collect_ghosts(struct mdp_rank *rank, struct sable_error *error);

/* Their contents, as compressed rows (rank->reference) or in lanes, with states by mdp_local(); and what bounds must
 * know of this rank's rows. False if memory is short. */
bool mdp_store_rows(struct mdp_rank *rank);

/* Does the method copy the rows of a policy out? */
bool mdp_evaluates_rows(const struct mdp_params *params);

#endif
