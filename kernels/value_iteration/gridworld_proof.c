/* How good a gridworld's values are: the bound that a sweep's changes give, and an examination that uses no code of the
 * sweeps. Derivations: docs/value_iteration.md, "The bound" and "Verification". */
#include <float.h>
#include <math.h>

#include "sable_gridworld.h"

static const double unit_roundoff = DBL_EPSILON / 2;

/* No value or arrival value, exact or computed, is larger: R/(1 − γ), where R bounds the rewards. */
static double magnitude(const struct sable_gridworld_model *model)
{
    double largest = fmax(fmax(fabs(model->boundary), fabs(model->forbidden)),
                          fmax(fmax(fabs(model->target), fabs(model->hole)), fabs(model->other)));
    return largest / (1 - model->gamma);
}

/* Rounding errors of one backup of an arrival value: 10 u A to first order (docs); 12 covers the rest. */
static double backup_rounding(const struct sable_gridworld_model *model)
{
    return 12 * unit_roundoff * magnitude(model);
}

/* V* − T(u) lies between (γ^(1 + later) least − e)/(1 − γ) and (γ^(1 + later) most + e)/(1 − γ), e = (1 + 2γ) × the
 * rounding of a backup, give or take the rounding of T and of adding the shift. */
struct sable_gridworld_bound sable_gridworld_certify(const struct sable_gridworld_model *model,
                                                     enum sable_gridworld_stop stop,
                                                     struct sable_gridworld_change change, int64_t later)
{
    double least = change.least, most = change.most;
    if (least > most) /* nothing is ever decided */
        least = most = 0;
    const double gamma = model->gamma;
    double scale = gamma / (1 - gamma);
    for (int64_t i = 0; i < later; i++)
        scale *= gamma;
    struct sable_gridworld_bound result;
    if (stop == SABLE_STOP_SPAN)
        result = (struct sable_gridworld_bound){scale * (least + most) / 2 + 0.0, scale * (most - least) / 2};
    else
        result = (struct sable_gridworld_bound){0, scale * fmax(fabs(least), fabs(most))};
    const double few = (16 + (double)later) * unit_roundoff, rounding = backup_rounding(model);
    result.bound =
        result.bound * (1 + few) + (1 + 2 * gamma) / (1 - gamma) * rounding + rounding + few * fabs(result.shift);
    return result;
}

double sable_gridworld_floor(const struct sable_gridworld_model *model)
{
    return sable_gridworld_certify(model, SABLE_STOP_RESIDUAL, (struct sable_gridworld_change){0, 0}, 1).bound;
}

/* ---- Examination ---- */

/* Where a step from a cell leads: reward, value, and whether life goes on there. */
struct outcome {
    double reward, value, alive;
};

static const struct sable_cell_step {
    int row, column;
} step[SABLE_ACTIONS] = {{0, 0}, {-1, 0}, {0, 1}, {1, 0}, {0, -1}}; /* by enum sable_gridworld_action */

static struct outcome try_step(const struct sable_gridworld_model *model, const uint8_t *cell, const double *v,
                               int64_t pitch, int action)
{
    int64_t to = step[action].row * pitch + step[action].column;
    enum sable_gridworld_kind kind = cell[to];
    if (kind == SABLE_CELL_OBSTACLE)
        return (struct outcome){model->boundary, v[0], 1};
    if (kind == SABLE_CELL_GOAL || kind == SABLE_CELL_HOLE)
        return (struct outcome){sable_gridworld_reward(model, kind), 0, 0};
    return (struct outcome){sable_gridworld_reward(model, kind), v[to], 1};
}

/* q(s, action) for the values v + offset: the chances of the three outcomes of a move add up to one. */
static double expected(const struct sable_gridworld_model *model, const struct outcome outcome[SABLE_ACTIONS],
                       int action, double offset)
{
    double total = 0;
    for (int d = 0; d < SABLE_ACTIONS; d++) {
        bool sideways = action != SABLE_ACTION_STAY && d != SABLE_ACTION_STAY && (d + action) % 2 == 1;
        double chance = sideways ? model->slip / 2 : d == action ? 1 - (action ? model->slip : 0) : 0;
        if (chance > 0)
            total += chance * (outcome[d].reward + model->gamma * (outcome[d].value + offset * outcome[d].alive));
    }
    return total;
}

static double larger(double worst, double found)
{
    return found <= worst ? worst : isnan(found) ? (double)INFINITY : found;
}

static void examine_state(const struct sable_gridworld_model *model, const uint8_t *cell, const double *v,
                          int64_t pitch, int policy, double bound, struct sable_gridworld_evidence *worst)
{
    struct outcome outcome[SABLE_ACTIONS];
    for (int a = 0; a < SABLE_ACTIONS; a++)
        outcome[a] = try_step(model, cell, v, pitch, a);
    double low = -INFINITY, middle = -INFINITY, high = -INFINITY;
    for (int a = 0; a < SABLE_ACTIONS; a++) {
        low = larger(low, expected(model, outcome, a, -bound));
        middle = larger(middle, expected(model, outcome, a, 0));
        high = larger(high, expected(model, outcome, a, bound));
    }
    worst->below = larger(worst->below, (v[0] - bound) - low);
    worst->above = larger(worst->above, high - (v[0] + bound));
    if (policy < 0 || policy >= SABLE_ACTIONS)
        worst->fixed = INFINITY;
    else
        worst->loss = larger(worst->loss, middle - expected(model, outcome, policy, 0));
}

struct sable_gridworld_evidence sable_gridworld_examine(const struct sable_gridworld_model *model,
                                                        const struct sable_gridworld_block *block, const double *v,
                                                        const int8_t *policy, double bound)
{
    double below = -INFINITY, above = -INFINITY, loss = -INFINITY, fixed = 0;
#pragma omp parallel for schedule(static) reduction(max : below, above, loss, fixed)
    for (int64_t r = 0; r < block->height; r++) {
        struct sable_gridworld_evidence worst = {below, above, loss, fixed};
        for (int64_t s = r * block->pitch; s < r * block->pitch + block->width; s++) {
            if (sable_gridworld_decides(block->cells[s]))
                examine_state(model, &block->cells[s], &v[s], block->pitch, policy[s], bound, &worst);
            else
                worst.fixed = larger(worst.fixed, policy[s] == SABLE_NO_ACTION ? fabs(v[s]) : (double)INFINITY);
        }
        below = worst.below, above = worst.above, loss = worst.loss, fixed = worst.fixed;
    }
    return (struct sable_gridworld_evidence){below, above, loss, fixed};
}

/* At most 10 roundings of numbers of at most twice the magnitude (v and the bound); 24 covers the second order. */
double sable_gridworld_examine_rounding(const struct sable_gridworld_model *model)
{
    return 24 * unit_roundoff * magnitude(model);
}
