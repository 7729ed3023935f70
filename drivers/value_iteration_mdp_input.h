/* A rank's rows of a decision process in the sable-mdp format, read and checked. */
#ifndef VALUE_ITERATION_MDP_INPUT_H
#define VALUE_ITERATION_MDP_INPUT_H

#include "input.h"
#include "value_iteration_mdp_partition.h"

struct mdp_file {
    struct mdp_part part;                     /* the states whose rows are here, but for … */
    const int64_t *owned;                     /* … a partition: these, ascending, `part.count` of them */
    int64_t states, actions, *start, *column; /* start [count·A + 1], from 0; columns are global */
    double *probability, *reward;             /* reward [count·A] */
};

/* What a file may hold beside the rows; NULL if absent. */
struct mdp_extras {
    double *reward; /* of transitions */
    uint8_t *ends;  /* of transitions */
    uint8_t *terminal;
};

/* For files of other formats, which tell none of these. */
struct mdp_foreign {
    const char *rewards; /* a file of rewards, or "": beside the input by its format's rule */
    double gamma;
    bool minimise;
};

/* Collective. Reads this rank's range of rows; refuses what the format doesn't allow, naming the first bad row. Fills
 * in `source`, which refers to `file`. `file` is freed by mdp_file_free() in any case. */
int mdp_file_read(struct sable_input *input, struct sable_context *context, struct mdp_file *file,
                  struct mdp_source *source, struct sable_error *error);
/* The same for a file of another format, told by its content: PETSc's binary matrices, or PRISM's explicit text. */
int mdp_file_read_other(const char *path, const struct mdp_foreign *foreign, struct sable_context *context,
                        struct mdp_file *file, struct mdp_source *source, struct sable_error *error);
/* Their readers; not collective. Fill in states, actions, part, and its rows. */
int mdp_petsc_read(const char *path, const char *rewards, struct sable_layout layout, struct mdp_file *file,
                   struct sable_error *error);
int mdp_prism_read(const char *path, const char *rewards, struct sable_layout layout, struct mdp_file *file,
                   struct mdp_extras *extras, struct sable_error *error);
bool mdp_is_petsc(const char *path);

/* Numbers of states, actions (into `file`) and stored transitions, from the shapes alone. Not collective. */
int mdp_file_sizes(struct sable_input *input, struct mdp_file *file, int64_t *transitions, struct sable_error *error);
/* Collective. A source's `move`. */
int mdp_file_move(void *file, const struct mdp_partition *partition, MPI_Comm comm, struct sable_error *error);
void mdp_file_free(struct mdp_file *file);

#endif
