/* value_iteration/maze: the way out of a slippery maze. Short rows with neighbours near and a row of cells away, and
 * long ways: news of the goal travels one cell a sweep, so methods that solve for a policy differ most here.
 * Mathematics, work model, parallel scheme: docs/value_iteration_mdp.md; the model:
 * kernels/value_iteration/sable_maze.h. */
#include <math.h>

#include "sable_maze.h"
#include "value_iteration_generated.h"

struct maze_params {
    struct mdp_params mdp;
    int64_t rows, columns;
    int kind; /* enum sable_maze_kind */
    double walls, slip, gamma;
};

#define PARAM(field) offsetof(struct maze_params, field)
static const char *const kinds[] = {"scattered", "tree", NULL};
static const struct sable_param parameters[] = {
    {"rows", SABLE_INT, PARAM(rows), "cells", 1, 1e9, 0, 0, NULL, "400", "rows of the maze"},
    {"columns", SABLE_INT, PARAM(columns), "cells", 0, 1e9, 0, 0, NULL, "0", "columns; 0: as many as rows"},
    {"maze", SABLE_CHOICE, PARAM(kind), "", 0, 0, 0, 0, kinds, "tree",
     "walls: scattered at random, or a perfect maze by the binary-tree algorithm"},
    {"walls", SABLE_REAL, PARAM(walls), "", 0, 1, 0, 0, NULL, "0.25", "share of scattered walls"},
    {"slip", SABLE_REAL, PARAM(slip), "", 0, 1, 0, 0, NULL, "0.2", "chance that a move goes to one of its two sides"},
    {"gamma", SABLE_REAL, PARAM(gamma), "", 0, 0.9999999, 0, 0, NULL, "0.99", "discount"},
    MDP_PARAMETERS,
    MDP_PARTITION,
    {0},
};

static const struct sable_class classes[] = {
    {"T", "rows=23 columns=31 gamma=0.9 max_sweeps=1000"},
    {"S", "rows=400 gamma=0.99"},
    {"A", "rows=1500 gamma=0.99"},
    {"B", "rows=5000 gamma=0.99"},
    {"C", "rows=16000 gamma=0.99"},
    {"D", "rows=80000 gamma=0.99"},
    {"E", "rows=300000 gamma=0.99"},
    {0},
};
static const struct sable_growth weak[] = {{"rows", 0.5}, {"columns", 0.5}, {0}};

static int64_t row_of(const void *self, int64_t state, int64_t action, double *reward, int64_t *column,
                      double *probability)
{
    return sable_maze_row(self, state, action, reward, column, probability);
}

static void make_model(const void *params, uint64_t seed, void *model, struct mdp_source *source)
{
    const struct maze_params *p = params;
    struct sable_maze *maze = model;
    *maze = (struct sable_maze){seed,     p->rows, p->columns ? p->columns : p->rows, (enum sable_maze_kind)p->kind,
                                p->walls, p->slip};
    *source = (struct mdp_source){.states = maze->rows * maze->columns,
                                  .actions = SABLE_MAZE_ACTIONS,
                                  .longest = SABLE_MAZE_MOST_SUCCESSORS,
                                  .gamma = p->gamma,
                                  .few = true,
                                  .minimise = true,
                                  .self = maze,
                                  .row = row_of};
}

static int check(const void *params, struct sable_layout layout, struct sable_error *error)
{
    (void)layout;
    const struct maze_params *p = params;
    struct sable_maze maze;
    struct mdp_source source;
    make_model(p, 0, &maze, &source);
    return mdp_generated_check(&p->mdp, &source, 1, error);
}

static void work(const void *params, struct sable_layout layout, const void *state, struct sable_work *work)
{
    const struct maze_params *p = params;
    struct sable_maze maze;
    struct mdp_source source;
    make_model(p, 0, &maze, &source);
    double others = (double)(source.states - mdp_part_of(source.states, layout.rank, layout.ranks).count);
    /* To stay has one successor only. */
    const double row = (1 + SABLE_MAZE_MOST_SUCCESSORS * (SABLE_MAZE_ACTIONS - 1.0)) / SABLE_MAZE_ACTIONS;
    mdp_generated_work(&p->mdp, &source, layout, row, fmin(others, 2 * (double)maze.columns), state, work);
}

static int setup(const void *params, struct sable_context *context, void **state, struct sable_error *error)
{
    return mdp_generated_setup(params, sizeof(struct sable_maze), make_model, context, state, error);
}

const struct sable_workload sable_value_iteration_maze = {
    .name = "value_iteration/maze",
    .summary = "the way out of a slippery maze, over stored transitions, to a guaranteed bound",
    .source = "Buck, Mazes for Programmers (2015), ch. 2; Puterman, Markov Decision Processes (1994)",
    .fom = {"transitions", "Gtransition/s", 1e9},
    .params_size = sizeof(struct maze_params),
    .params = parameters,
    .classes = classes,
    .weak = weak,
    .variants = mdp_generated_variants,
    .phases = mdp_phases,
    .faults = mdp_faults,
    .outputs = mdp_outputs,
    .layout_invariant = true,
    .check = check,
    .work = work,
    .setup = setup,
    .reset = mdp_generated_reset,
    .verify = mdp_generated_verify,
    .output = mdp_generated_output,
    .free = mdp_generated_free,
};
