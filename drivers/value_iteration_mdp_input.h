/* A rank's rows of a decision process in the sable-mdp format, read and checked. */
#ifndef VALUE_ITERATION_MDP_INPUT_H
#define VALUE_ITERATION_MDP_INPUT_H

#include "input.h"
#include "value_iteration_mdp.h"

struct mdp_file {
    struct mdp_part part;
    int64_t states, actions, *start, *column; /* start [count·A + 1], from 0; columns are global */
    double *probability, *reward;             /* reward [count·A] */
};

/* Collective. Reads this rank's range of rows; refuses what the format doesn't allow, naming the first bad row. Fills
 * in `source`, which refers to `file`. `file` is freed by mdp_file_free() in any case. */
int mdp_file_read(struct sable_input *input, struct sable_context *context, struct mdp_file *file,
                  struct mdp_source *source, struct sable_error *error);
/* Numbers of states, actions (into `file`) and stored transitions, from the shapes alone. Not collective. */
int mdp_file_sizes(struct sable_input *input, struct mdp_file *file, int64_t *transitions, struct sable_error *error);
void mdp_file_free(struct mdp_file *file);

#endif
