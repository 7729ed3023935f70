/* Random decision processes, row by row: see sable_garnet.h. Bound by Philox. */
#include "sable_garnet.h"

#include <stdbool.h>

#include "sable_random.h"

enum { PURPOSE_SUCCESSOR = 0x6761, PURPOSE_CUT, PURPOSE_REWARD }; /* "ga" and on: streams of sable_random() */

int64_t sable_garnet_window(const struct sable_garnet *garnet)
{
    int64_t window = 2 * garnet->locality + 1;
    return garnet->locality == 0 || window > garnet->states ? garnet->states : window;
}

static double draw(const struct sable_garnet *garnet, uint32_t purpose, int64_t row, int64_t j)
{
    struct sable_random_block drawn = sable_random(garnet->seed, purpose, (uint64_t)row, (uint32_t)j);
    return sable_random_unit(drawn.word[0], drawn.word[1]);
}

static bool holds(const int64_t *set, int64_t n, int64_t x)
{
    for (int64_t i = 0; i < n; i++)
        if (set[i] == x)
            return true;
    return false;
}

/* A uniform subset of 0 … window − 1 (Floyd; Bentley, Programming Pearls, CACM 30, 1987). */
static void choose(const struct sable_garnet *garnet, int64_t row, int64_t window, int64_t *column)
{
    const int64_t n = garnet->branching;
    for (int64_t j = 0; j < n; j++) {
        int64_t last = window - n + j;
        int64_t drawn = (int64_t)((double)(last + 1) * draw(garnet, PURPOSE_SUCCESSOR, row, j));
        drawn = drawn > last ? last : drawn; /* the product may round up */
        column[j] = holds(column, j, drawn) ? last : drawn;
    }
}

static void sort_integers(int64_t *x, int64_t n)
{
    for (int64_t i = 1; i < n; i++) {
        int64_t moved = x[i], j = i;
        for (; j > 0 && x[j - 1] > moved; j--)
            x[j] = x[j - 1];
        x[j] = moved;
    }
}

static void sort_reals(double *x, int64_t n)
{
    for (int64_t i = 1; i < n; i++) {
        double moved = x[i];
        int64_t j = i;
        for (; j > 0 && x[j - 1] > moved; j--)
            x[j] = x[j - 1];
        x[j] = moved;
    }
}

int64_t sable_garnet_row(const struct sable_garnet *garnet, int64_t state, int64_t action, double *reward,
                         int64_t *column, double *probability)
{
    const int64_t n = garnet->branching, row = state * garnet->actions + action;
    const int64_t window = sable_garnet_window(garnet);
    choose(garnet, row, window, column);
    if (window < garnet->states)
        for (int64_t j = 0; j < n; j++) {
            int64_t to = state - garnet->locality + column[j];
            column[j] = to < 0 ? to + garnet->states : to >= garnet->states ? to - garnet->states : to;
        }
    sort_integers(column, n);
    for (int64_t j = 0; j < n - 1; j++)
        probability[j] = draw(garnet, PURPOSE_CUT, row, j);
    sort_reals(probability, n - 1);
    probability[n - 1] = 1;
    for (int64_t j = n - 1; j > 0; j--)
        probability[j] -= probability[j - 1];
    *reward = draw(garnet, PURPOSE_REWARD, row, 0);
    return n;
}
