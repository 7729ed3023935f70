/* Value iteration on a gridworld: the model, the textbook sweep, and the proof of a result. See sable_gridworld.h and
 * docs/value_iteration.md. The fast sweep's inner loop is in gridworld_sweep.isa.c, its blocking in gridworld_rows.c.
 */
#include "sable_gridworld.h"

#include <math.h>

#include "sable_random.h"

enum { PURPOSE_CELLS = 0x6772 }; /* "gr": the stream of sable_random() that draws cells */

int64_t sable_gridworld_pitch(int64_t width, int depth)
{
    return 8 + (width + depth + 7) / 8 * 8;
}

int64_t sable_gridworld_origin(int64_t pitch, int depth)
{
    return depth * pitch + 8;
}

/* ---- Cells ---- */

enum sable_gridworld_kind sable_gridworld_draw(uint64_t seed, const struct sable_gridworld_densities *densities,
                                               uint64_t index)
{
    const double share[] = {densities->obstacles, densities->forbidden, densities->goals, densities->holes,
                            densities->targets};
    uint32_t word = sable_random(seed, PURPOSE_CELLS, index, 0).word[0];
    double up_to = 0;
    for (int kind = SABLE_CELL_OBSTACLE; kind <= SABLE_CELL_TARGET; kind++) {
        up_to += share[kind - SABLE_CELL_OBSTACLE];
        if (sable_random_event(word, up_to))
            return (enum sable_gridworld_kind)kind;
    }
    return SABLE_CELL_FREE;
}

/* Where a move (or a slip) in a direction leads; north is up. */
static const struct direction {
    int row, column;
} direction[SABLE_ACTIONS] = {
    [SABLE_ACTION_STAY] = {0, 0},  [SABLE_ACTION_NORTH] = {-1, 0}, [SABLE_ACTION_EAST] = {0, 1},
    [SABLE_ACTION_SOUTH] = {1, 0}, [SABLE_ACTION_WEST] = {0, -1},
};

static int64_t towards(int action, int64_t pitch)
{
    return direction[action].row * pitch + direction[action].column;
}

double sable_gridworld_reward(const struct sable_gridworld_model *model, enum sable_gridworld_kind kind)
{
    switch (kind) {
    case SABLE_CELL_FORBIDDEN:
        return model->forbidden;
    case SABLE_CELL_GOAL:
    case SABLE_CELL_TARGET:
        return model->target;
    case SABLE_CELL_HOLE:
        return model->hole;
    default:
        return model->other;
    }
}

/* ---- The textbook's sweep ---- */

/* x_d: the value of trying to go one step in a direction. */
static double arrival(const struct sable_gridworld_model *model, const uint8_t *cell, const double *v, int64_t pitch,
                      int action)
{
    int64_t to = towards(action, pitch);
    if (cell[to] != SABLE_CELL_OBSTACLE)
        return fma(model->gamma, v[to], sable_gridworld_reward(model, cell[to]));
    /* r_boundary + γ V(s), rounded as the fast sweep does, which has r(s) + γ V(s) at hand. */
    double reward = sable_gridworld_reward(model, *cell);
    return fma(model->gamma, v[0], reward) + (model->boundary - reward);
}

/* max_a q(s,a), and the first action that attains it. */
static double best_action(const struct sable_gridworld_model *model, const uint8_t *cell, const double *v,
                          int64_t pitch, int *best)
{
    double x[SABLE_ACTIONS], most = -INFINITY;
    for (int a = 0; a < SABLE_ACTIONS; a++)
        x[a] = arrival(model, cell, v, pitch, a);
    double intended = 1 - model->slip, sideways = model->slip / 2;
    for (int a = 0; a < SABLE_ACTIONS; a++) {
        double q = x[a];
        if (a == SABLE_ACTION_NORTH || a == SABLE_ACTION_SOUTH)
            q = fma(intended, x[a], sideways * (x[SABLE_ACTION_EAST] + x[SABLE_ACTION_WEST]));
        else if (a != SABLE_ACTION_STAY)
            q = fma(intended, x[a], sideways * (x[SABLE_ACTION_NORTH] + x[SABLE_ACTION_SOUTH]));
        if (q > most) {
            most = q;
            *best = a;
        }
    }
    return most;
}

struct sable_gridworld_change sable_gridworld_reference_sweep(const struct sable_gridworld_model *model,
                                                              const struct sable_gridworld_block *block,
                                                              const double *v, double *next)
{
    struct sable_gridworld_change change = {INFINITY, -INFINITY};
    for (int64_t r = 0; r < block->height; r++)
        for (int64_t c = 0; c < block->width; c++) {
            int64_t s = r * block->pitch + c;
            int action;
            next[s] = 0;
            if (block->cells[s] == SABLE_CELL_OBSTACLE)
                continue;
            if (sable_gridworld_decides(block->cells[s]))
                next[s] = best_action(model, &block->cells[s], &v[s], block->pitch, &action);
            double reward = sable_gridworld_reward(model, block->cells[s]);
            double difference = fma(model->gamma, next[s], reward) - fma(model->gamma, v[s], reward);
            change.least = difference < change.least ? difference : change.least;
            change.most = difference > change.most ? difference : change.most;
        }
    return change;
}

void sable_gridworld_reference_policy(const struct sable_gridworld_model *model,
                                      const struct sable_gridworld_block *block, const double *v, double shift,
                                      double *next, int8_t *policy)
{
    for (int64_t r = 0; r < block->height; r++)
        for (int64_t c = 0; c < block->width; c++) {
            int64_t s = r * block->pitch + c;
            int action = SABLE_NO_ACTION;
            next[s] = 0;
            if (sable_gridworld_decides(block->cells[s]))
                next[s] = best_action(model, &block->cells[s], &v[s], block->pitch, &action) + shift;
            policy[s] = (int8_t)action;
        }
}
