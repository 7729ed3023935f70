/* Slippery mazes, row by row: see sable_maze.h. Bound by Philox, four cells around each. */
#include "sable_maze.h"

#include "sable_random.h"

enum { PURPOSE_WALLS = 0x6d7a }; /* "mz": stream of sable_random() */

static bool draw(const struct sable_maze *maze, int64_t row, int64_t column, double p)
{
    uint64_t cell = (uint64_t)(row * maze->columns + column);
    return sable_random_event(sable_random(maze->seed, PURPOSE_WALLS, cell, 0).word[0], p);
}

/* `up`, `left`: from the goal's row and column. A room opens its passage to the one below it or to its right. */
static bool is_tree_wall(const struct sable_maze *maze, int64_t up, int64_t left)
{
    const bool odd_row = up % 2, odd_column = left % 2;
    if (odd_row == odd_column)
        return odd_row;
    /* A passage: the room beyond decides, unless there is none or it has but one way to go. */
    const int64_t row = maze->rows - 1 - (odd_row ? up + 1 : up);
    const int64_t column = maze->columns - 1 - (odd_column ? left + 1 : left);
    if (row < 0 || column < 0)
        return true;
    if (odd_row ? left == 0 : up == 0)
        return false;
    return draw(maze, row, column, 0.5) != odd_row;
}

bool sable_maze_is_wall(const struct sable_maze *maze, int64_t row, int64_t column)
{
    const int64_t up = maze->rows - 1 - row, left = maze->columns - 1 - column;
    if (up == 0 && left == 0)
        return false;
    return maze->kind == SABLE_MAZE_TREE ? is_tree_wall(maze, up, left) : draw(maze, row, column, maze->walls);
}

/* Where a step (of −1, 0, 1 rows and columns) ends. */
static int64_t arrive(const struct sable_maze *maze, int64_t state, int action)
{
    static const int down[SABLE_MAZE_ACTIONS] = {0, -1, 0, 1, 0}, right[SABLE_MAZE_ACTIONS] = {0, 0, 1, 0, -1};
    const int64_t row = state / maze->columns + down[action], column = state % maze->columns + right[action];
    if (row < 0 || row >= maze->rows || column < 0 || column >= maze->columns || sable_maze_is_wall(maze, row, column))
        return state;
    return row * maze->columns + column;
}

/* Adds a successor, keeping them different and ascending. Returns their new number. */
static int64_t add(int64_t n, int64_t to, double p, int64_t *column, double *probability)
{
    int64_t at = 0;
    while (at < n && column[at] < to)
        at++;
    if (at < n && column[at] == to) {
        probability[at] += p;
        return n;
    }
    for (int64_t i = n; i > at; i--)
        column[i] = column[i - 1], probability[i] = probability[i - 1];
    column[at] = to, probability[at] = p;
    return n + 1;
}

int64_t sable_maze_row(const struct sable_maze *maze, int64_t state, int64_t action, double *cost, int64_t *column,
                       double *probability)
{
    const bool goal = state == maze->rows * maze->columns - 1;
    const bool absorbing = goal || sable_maze_is_wall(maze, state / maze->columns, state % maze->columns);
    *cost = absorbing ? 0 : 1;
    if (absorbing || action == 0)
        return add(0, state, 1, column, probability);
    const int ahead = (int)action, one_side = ahead % 4 + 1, other_side = (ahead + 2) % 4 + 1;
    int64_t n = 0;
    if (maze->slip < 1)
        n = add(n, arrive(maze, state, ahead), 1 - maze->slip, column, probability);
    if (maze->slip > 0) {
        n = add(n, arrive(maze, state, one_side), maze->slip / 2, column, probability);
        n = add(n, arrive(maze, state, other_side), maze->slip / 2, column, probability);
    }
    return n;
}
