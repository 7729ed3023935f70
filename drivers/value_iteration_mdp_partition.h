/* States of a decision process assigned to ranks by a graph partitioner, then renumbered so that each rank owns a
 * contiguous range of new numbers, its states ascending by their numbers in the model. Everything behind a
 * `struct mdp_source` sees new numbers only; rows keep the order of their transitions, so bits don't depend on the
 * assignment as long as nothing is summed over states. Outputs return to the model's numbers.
 *
 * Nothing global lies on one rank: each holds what concerns its `home`, the range that it would own in blocks, and the
 * states that its rows lead to. */
#ifndef VALUE_ITERATION_MDP_PARTITION_H
#define VALUE_ITERATION_MDP_PARTITION_H

#include "value_iteration_mdp.h"

struct mdp_partition {
    struct mdp_source model; /* in the model's own numbers */
    int rank, ranks;
    struct mdp_part home;
    int64_t *first;         /* [ranks + 1] new numbers of each rank begin here */
    int64_t *original;      /* of this rank's states, ascending */
    int64_t *known, *fresh; /* states that its rows lead to, ascending, and their new numbers */
    int64_t knowns;
    int64_t *order; /* [home.count] states of `home`, from 0, by the rank that they went to, ascending */
    int *left;      /* [ranks] how many went to each … */
    int *came;      /* [ranks] … and how many of this rank's are of each one's home */
};

/* Can this sable partition graphs? */
bool mdp_can_partition(void);
/* Refuses partition=scotch in a build without, and with methods whose bits, or colours, depend on which states lie
 * together. */
int mdp_partition_check(const struct mdp_params *params, struct sable_error *error);

/* Bytes of a rank, predicted: what is kept, and the most while the graph is made, `row` transitions a row. */
double mdp_partition_memory(struct mdp_part part, double ghosts);
double mdp_graph_memory(const struct mdp_source *source, struct mdp_part home, double row);

/* Collective. Renumbers `source`, which refers to the partition from then on and has it as `partition`; freed in any
 * case by mdp_partition_free(). */
int mdp_partition_create(struct sable_context *context, struct mdp_source *source, struct sable_error *error);
void mdp_partition_free(struct mdp_partition *partition);

struct mdp_part mdp_partition_own(const struct mdp_partition *partition);
int mdp_partition_owner(const struct mdp_partition *partition, int64_t state);
/* Collective. From a value a state that this rank owns to a value a state of its home, in the model's order. */
int mdp_partition_return(const struct mdp_partition *partition, MPI_Comm comm, MPI_Datatype type, const void *own,
                         void *home, struct sable_error *error);
/* Collective. How many states of this rank's home no rank owns, or more than one. */
int mdp_partition_lost(const struct mdp_partition *partition, MPI_Comm comm, double *lost, struct sable_error *error);

/* Collective. Sends give[r] numbers to each rank, in the order of ranks; allocates and counts what came. */
int mdp_exchange(MPI_Comm comm, int ranks, const int64_t *send, const int *give, int64_t **received, int *take,
                 struct sable_error *error);

/* Collective. The rank of each state of `home`, into owner[home.count]: few values cross between ranks of about equally
 * many states. By PT-Scotch, to which two states are neighbours if one leads to the other. */
int mdp_graph_assign(MPI_Comm comm, int ranks, const struct mdp_source *source, struct mdp_part home, int *owner,
                     struct sable_error *error);
/* The library, for the record; "" without one. */
const char *mdp_graph_library(void);

#endif
