/* The inverted pendulum as a finite decision process: swing up and balance a pendulum with a motor too weak to lift it
 * at once, θ̈ = −(g/l) sin θ + u/(m l²), at a cost of (2((θ − π)² + θ̇²) + u²)·Δt a step. θ = 0 hangs, π stands; m = l =
 * 1, g = 9.81.
 *
 * Angles 2π i/n go around, speeds run from −max to max, torques too. A step by Euler ends between grid points: it goes
 * to the four around with the weights of bilinear interpolation, so that the chain moves like the pendulum in the mean
 * (a Markov chain approximation: H. Kushner & P. Dupuis, Numerical Methods for Stochastic Control Problems, 2001, ch.
 * 5; the task: K. Doya, Neural Computation 12, 2000; with these numbers: M. Gargiani et al., madupite, 2024). Speeds
 * are clipped to the grid. */
#ifndef SABLE_PENDULUM_H
#define SABLE_PENDULUM_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { SABLE_PENDULUM_MOST_SUCCESSORS = 4 };

struct sable_pendulum {
    int64_t angles, speeds, torques;           /* grid points: ≥ 3, ≥ 2, ≥ 1; state = angle·speeds + speed */
    double most_speed, most_torque, time_step; /* rad/s, N m, s */
};

/* Row (state, torque): the cost of the step and the grid points where it may end, of positive weight, ascending.
 * column and probability hold SABLE_PENDULUM_MOST_SUCCESSORS elements, owned by the caller. Returns how many there are.
 */
int64_t sable_pendulum_row(const struct sable_pendulum *pendulum, int64_t state, int64_t action, double *cost,
                           int64_t *column, double *probability);

/* The largest cost of a step, and how many angles a step can move at most. */
double sable_pendulum_most_cost(const struct sable_pendulum *pendulum);
double sable_pendulum_reach(const struct sable_pendulum *pendulum);

#ifdef __cplusplus
}
#endif
#endif
