/* Discounted returns of finished episodes (rewards to go), the first thing that every policy-gradient method computes:
 *
 *   G(e, t) = r(e, t) + γ G(e, t + 1),   G(e, T) = 0
 *
 * Source: Sutton & Barto, Reinforcement Learning, 2nd ed., §3.3. Bounded by memory bandwidth: 16 bytes for a
 * multiplication and an addition. */
#ifndef SABLE_RETURNS_H
#define SABLE_RETURNS_H

#include <stdint.h>

/* E = episodes, T = steps. rewards, returns: [E, T], row-major, owned by the caller; they must not overlap. The
 * reference is the formula on one thread, the other the same in parallel over episodes: the same bits. */
void sable_returns_reference(const double *rewards, int64_t episodes, int64_t steps, double gamma, double *returns);
void sable_returns(const double *rewards, int64_t episodes, int64_t steps, double gamma, double *returns);

#endif
