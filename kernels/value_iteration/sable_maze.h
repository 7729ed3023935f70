/* Slippery mazes as decision processes with stored transitions: the shortest way out at a cost of 1 a step.
 *
 * Cells are numbered row by row. Actions are stay, up, right, down, left; a move goes where it was meant to with
 * probability 1 − slip, to each of its two sides with slip/2, and stays where a wall or the border is in the way.
 * `stay` stays. The last cell is the goal; it and the walls are absorbing and free (minimise costs).
 *
 * Walls are a pure function of seed and cell (docs/determinism.md), of one of two kinds:
 *   scattered  each cell but the goal is a wall with a given probability, as in the golden case maze_24
 *   tree       a perfect maze by the binary-tree algorithm (J. Buck, Mazes for Programmers, 2015, ch. 2): rooms lie an
 *              even number of rows and columns from the goal, and each opens one passage towards the goal's row or
 *              column. Every open cell has one way out without detours, so without slip V = (1 − γ^d)/(1 − γ) with
 *              d = rows + columns to the goal. */
#ifndef SABLE_MAZE_H
#define SABLE_MAZE_H

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { SABLE_MAZE_ACTIONS = 5, SABLE_MAZE_MOST_SUCCESSORS = 3 };
enum sable_maze_kind { SABLE_MAZE_SCATTERED, SABLE_MAZE_TREE };

struct sable_maze {
    uint64_t seed;
    int64_t rows, columns;
    enum sable_maze_kind kind;
    double walls; /* share of scattered walls, 0 … 1 */
    double slip;  /* 0 … 1 */
};

bool sable_maze_is_wall(const struct sable_maze *maze, int64_t row, int64_t column);

/* Row (state, action): the cost of the step and the different cells where it may end, ascending, with their
 * probabilities. column and probability hold SABLE_MAZE_MOST_SUCCESSORS elements, owned by the caller. Returns how many
 * there are. */
int64_t sable_maze_row(const struct sable_maze *maze, int64_t state, int64_t action, double *cost, int64_t *column,
                       double *probability);

#ifdef __cplusplus
}
#endif
#endif
