/* How far the values after a sweep can be from the optimum: the bounds of MacQueen (1966) and Porteus (1971; Puterman
 * 1994, §6.6) for rows that may sum to less than one (episodes end) or to one only nearly (files), every rounding
 * included. Derivation: docs/value_iteration_mdp.md. */
#include <float.h>
#include <math.h>

#include "sable_mdp.h"

static const double unit_roundoff = DBL_EPSILON / 2;

/* The c with T(w) ≥ w (low) or ≤ w (high), w = T v + c: c (1 − γρ) = γρ·change, ρ the row sum that is worst for it. */
static double reach(const struct sable_mdp_facts *facts, double gamma, double change, bool high)
{
    double sum = (change >= 0) == high ? facts->row_most : facts->row_least;
    return gamma * sum / (1 - gamma * sum) * change;
}

double sable_mdp_rounding(const struct sable_mdp_facts *facts, double gamma, double magnitude)
{
    return (double)(facts->longest + 4) * unit_roundoff * (facts->reward_most + gamma * facts->row_most * magnitude);
}

struct sable_mdp_bound sable_mdp_certify(const struct sable_mdp_facts *facts, double gamma,
                                         struct sable_mdp_change change, bool span)
{
    /* low and high are those of the rounded T v − v; |v| ≤ |T v| + |T v − v|. */
    double moved = fmax(fabs(change.low), fabs(change.high));
    double rounding = sable_mdp_rounding(facts, gamma, change.magnitude + moved);
    double low = reach(facts, gamma, change.low - 2 * rounding, false);
    double high = reach(facts, gamma, change.high + 2 * rounding, true);
    const double size = span ? change.high - change.low : moved; /* of what the bound is made of */
    struct sable_mdp_bound result = {.exhausted = size <= 4 * rounding};
    if (span) {
        result.shift = (low + high) / 2 + 0.0;
        result.bound = (high - low) / 2;
    } else
        result.bound = fmax(fabs(low), fabs(high));
    result.bound = result.bound * (1 + 16 * unit_roundoff) + rounding +
                   4 * unit_roundoff * (change.magnitude + fabs(result.shift));
    if (!change.finite)
        result.bound = INFINITY;
    return result;
}
