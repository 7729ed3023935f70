#include "sable_returns.h"

static void returns_of_episode(const double *restrict r, int64_t steps, double gamma, double *restrict g)
{
    double next = 0; /* G(e, T) */
    for (int64_t t = steps - 1; t >= 0; t--)
        g[t] = next = r[t] + gamma * next;
}

void sable_returns_reference(const double *rewards, int64_t episodes, int64_t steps, double gamma, double *returns)
{
    for (int64_t e = 0; e < episodes; e++)
        returns_of_episode(rewards + e * steps, steps, gamma, returns + e * steps);
}

void sable_returns(const double *rewards, int64_t episodes, int64_t steps, double gamma, double *returns)
{
#pragma omp parallel for schedule(static)
    for (int64_t e = 0; e < episodes; e++)
        returns_of_episode(rewards + e * steps, steps, gamma, returns + e * steps);
}
