/* The inverted pendulum, row by row: see sable_pendulum.h. */
#include "sable_pendulum.h"

#include <math.h>

static const double pi = 3.14159265358979323846, gravity = 9.81;

/* Point i of n from −most to most. */
static double on_grid(int64_t i, int64_t n, double most)
{
    return n > 1 ? most * (double)(2 * i - (n - 1)) / (double)(n - 1) : 0;
}

/* A coordinate in units of the grid: the point below, and the weight of the one above. */
struct place {
    int64_t below;
    double above;
};

static struct place around(double x, int64_t n)
{
    double whole = floor(x), part = x - whole;
    int64_t i = (int64_t)whole % n;
    return (struct place){i < 0 ? i + n : i, part};
}

static struct place clipped(double x, int64_t n)
{
    double last = (double)(n - 1), inside = fmin(fmax(x, 0), last), whole = fmin(floor(inside), last - 1);
    return (struct place){(int64_t)whole, inside - whole};
}

static void sort(int64_t n, int64_t *column, double *probability)
{
    for (int64_t i = 1; i < n; i++)
        for (int64_t j = i; j > 0 && column[j - 1] > column[j]; j--) {
            int64_t c = column[j];
            double p = probability[j];
            column[j] = column[j - 1], probability[j] = probability[j - 1];
            column[j - 1] = c, probability[j - 1] = p;
        }
}

int64_t sable_pendulum_row(const struct sable_pendulum *pendulum, int64_t state, int64_t action, double *cost,
                           int64_t *column, double *probability)
{
    const int64_t angles = pendulum->angles, speeds = pendulum->speeds;
    const double step = 2 * pi / (double)angles, dt = pendulum->time_step;
    const double angle = step * (double)(state / speeds);
    const double speed = on_grid(state % speeds, speeds, pendulum->most_speed);
    const double torque = on_grid(action, pendulum->torques, pendulum->most_torque);
    const double faster = speed + dt * (torque - gravity * sin(angle));
    *cost = dt * (2 * ((angle - pi) * (angle - pi) + speed * speed) + torque * torque);
    struct place i = around((double)(state / speeds) + dt * speed / step, angles);
    struct place j = clipped((faster / pendulum->most_speed + 1) * (double)(speeds - 1) / 2, speeds);
    int64_t n = 0;
    for (int a = 0; a < 2; a++)
        for (int b = 0; b < 2; b++) {
            double weight = (a ? i.above : 1 - i.above) * (b ? j.above : 1 - j.above);
            if (weight > 0) {
                column[n] = (i.below + a) % angles * speeds + j.below + b;
                probability[n++] = weight;
            }
        }
    sort(n, column, probability);
    return n;
}

double sable_pendulum_most_cost(const struct sable_pendulum *pendulum)
{
    return pendulum->time_step * (2 * (pi * pi + pendulum->most_speed * pendulum->most_speed) +
                                  pendulum->most_torque * pendulum->most_torque);
}

double sable_pendulum_reach(const struct sable_pendulum *pendulum)
{
    return pendulum->most_speed * pendulum->time_step / (2 * pi / (double)pendulum->angles) + 1;
}
