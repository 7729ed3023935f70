/* SIS epidemics, row by row: see sable_epidemic.h. Binomial weights by their recursion from the mode outwards, which
 * neither over- nor underflows and needs no factorials:
 *
 *   w(k + 1)/w(k) = (S − k)/(k + 1) · q/(1 − q) */
#include "sable_epidemic.h"

#include <math.h>

enum { HYGIENES = 5 };

/* By level: risk ψ of a contact, contacts that distancing leaves, costs, quality of life that is left. */
static const double risk[HYGIENES] = {0.25, 0.125, 0.08, 0.05, 0.03}, left[] = {1, 0.8, 0.5, 0.05};
static const double hygiene_cost[HYGIENES] = {0, 1, 5, 6, 9}, distancing_cost[] = {0, 1, 10, 30};
static const double hygiene_life[HYGIENES] = {1, 0.7, 0.5, 0.4, 0.05}, distancing_life[] = {1, 0.9, 0.5, 0.1};
static const double money = 0.05, life = 0.2, hospitals = 6; /* weights */

static double cost_of(double infected, int64_t action)
{
    const int64_t h = action % HYGIENES, d = action / HYGIENES;
    return money * (hygiene_cost[h] + distancing_cost[d]) + life * (1 - hygiene_life[h] * distancing_life[d]) +
           hospitals * pow(infected, 1.1);
}

double sable_epidemic_most_cost(void)
{
    return cost_of(1, SABLE_EPIDEMIC_ACTIONS - 1);
}

double sable_epidemic_risk(const struct sable_epidemic *epidemic, int64_t state, int64_t action)
{
    double infected = (double)(epidemic->population - state) / (double)epidemic->population;
    return -expm1(-infected * risk[action % HYGIENES] * left[action / HYGIENES] * epidemic->contacts);
}

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

int64_t sable_epidemic_row(const struct sable_epidemic *epidemic, int64_t state, int64_t action, double *cost,
                           int64_t *column, double *probability)
{
    const int64_t n = epidemic->population;
    const double q = sable_epidemic_risk(epidemic, state, action);
    *cost = cost_of((double)(n - state) / (double)n, action);
    if (state == 0 || !(q > 0 && q < 1)) {
        column[0] = q > 0 ? n - state : n;
        probability[0] = 1;
        return 1;
    }
    /* Infections `low` … `high` are kept, the window around the mode. */
    const int64_t mode = least((int64_t)((double)(state + 1) * q), state), window = least(epidemic->window, state + 1);
    int64_t low = mode - window / 2;
    low = low < 0 ? 0 : least(low, state + 1 - window);
    const int64_t high = low + window - 1;
    const double odds = q / (1 - q);
    double sum = 1;
    /* More infections are fewer susceptible: k infections are column n − k, the last ones first. */
    probability[high - mode] = 1;
    for (int64_t k = mode; k < high; k++)
        sum += probability[high - k - 1] = probability[high - k] * ((double)(state - k) / (double)(k + 1) * odds);
    for (int64_t k = mode; k > low; k--)
        sum += probability[high - k + 1] = probability[high - k] * ((double)k / ((double)(state - k + 1) * odds));
    for (int64_t i = 0; i < window; i++) {
        column[i] = n - high + i;
        probability[i] /= sum;
    }
    return window;
}
