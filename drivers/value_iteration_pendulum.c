/* value_iteration/pendulum: swinging up an inverted pendulum on a grid of angles and speeds. Many actions of four
 * successors each, all close together: rows are streamed, gathers hit the caches, and ranks exchange a few rows of the
 * grid. Mathematics, work model, parallel scheme: docs/value_iteration_mdp.md; the model:
 * kernels/value_iteration/sable_pendulum.h. */
#include <math.h>

#include "sable_pendulum.h"
#include "value_iteration_generated.h"

struct pendulum_params {
    struct mdp_params mdp;
    int64_t angles, speeds, torques;
    double most_speed, most_torque, time_step, gamma;
};

#define PARAM(field) offsetof(struct pendulum_params, field)
static const struct sable_param parameters[] = {
    {"angles", SABLE_INT, PARAM(angles), "", 3, 1e8, 0, 0, NULL, "201", "grid points of the angle, around"},
    {"speeds", SABLE_INT, PARAM(speeds), "", 2, 1e8, 0, 0, NULL, "201", "grid points of the angular speed"},
    {"torques", SABLE_INT, PARAM(torques), "", 1, 1e6, 0, 0, NULL, "21", "grid points of the torque: the actions"},
    {"most_speed", SABLE_REAL, PARAM(most_speed), "rad/s", 1e-3, 1e3, 0, 0, NULL, "10", "speeds run to ± this"},
    {"most_torque", SABLE_REAL, PARAM(most_torque), "N m", 0, 1e3, 0, 0, NULL, "3", "torques run to ± this"},
    {"time_step", SABLE_REAL, PARAM(time_step), "s", 1e-6, 1, 0, 0, NULL, "0.05", "of a transition"},
    {"gamma", SABLE_REAL, PARAM(gamma), "", 0, 0.9999999, 0, 0, NULL, "0.99", "discount"},
    MDP_PARAMETERS,
    MDP_PARTITION,
    {0},
};

static const struct sable_class classes[] = {
    {"T", "angles=23 speeds=19 torques=3 gamma=0.9 max_sweeps=1000"},
    {"S", "angles=201 speeds=201 torques=21"},
    {"A", "angles=401 speeds=401 torques=51"},
    {"B", "angles=801 speeds=801 torques=101"},
    {"C", "angles=2001 speeds=2001 torques=101"},
    {"D", "angles=10001 speeds=10001 torques=201"},
    {"E", "angles=40001 speeds=40001 torques=401"},
    {0},
};
static const struct sable_growth weak[] = {{"angles", 1}, {0}};

static int64_t row_of(const void *self, int64_t state, int64_t action, double *reward, int64_t *column,
                      double *probability)
{
    return sable_pendulum_row(self, state, action, reward, column, probability);
}

static void make_model(const void *params, uint64_t seed, void *model, struct mdp_source *source)
{
    (void)seed; /* nothing is drawn */
    const struct pendulum_params *p = params;
    struct sable_pendulum *pendulum = model;
    *pendulum = (struct sable_pendulum){p->angles, p->speeds, p->torques, p->most_speed, p->most_torque, p->time_step};
    *source = (struct mdp_source){.states = p->angles * p->speeds,
                                  .actions = p->torques,
                                  .longest = SABLE_PENDULUM_MOST_SUCCESSORS,
                                  .gamma = p->gamma,
                                  .minimise = true,
                                  .self = pendulum,
                                  .row = row_of};
}

static int check(const void *params, struct sable_layout layout, struct sable_error *error)
{
    (void)layout;
    const struct pendulum_params *p = params;
    struct sable_pendulum pendulum;
    struct mdp_source source;
    make_model(p, 0, &pendulum, &source);
    return mdp_generated_check(&p->mdp, &source, sable_pendulum_most_cost(&pendulum), error);
}

/* Angles within reach on both sides; fast states reach far, slow ones do not, so half of them. */
static void work(const void *params, struct sable_layout layout, const void *state, struct sable_work *work)
{
    const struct pendulum_params *p = params;
    struct sable_pendulum pendulum;
    struct mdp_source source;
    make_model(p, 0, &pendulum, &source);
    double others = (double)(source.states - mdp_part_of(source.states, layout.rank, layout.ranks).count);
    double near = (sable_pendulum_reach(&pendulum) + 1) * (double)p->speeds;
    mdp_generated_work(&p->mdp, &source, layout, SABLE_PENDULUM_MOST_SUCCESSORS, fmin(others, near), state, work);
}

static int setup(const void *params, struct sable_context *context, void **state, struct sable_error *error)
{
    return mdp_generated_setup(params, sizeof(struct sable_pendulum), make_model, context, state, error);
}

const struct sable_workload sable_value_iteration_pendulum = {
    .name = "value_iteration/pendulum",
    .summary = "swinging up an inverted pendulum on a grid, interpolated, to a guaranteed bound",
    .source = "Doya, Neural Computation 12 (2000); Kushner & Dupuis, Numerical Methods for Stochastic Control (2001)",
    .fom = {"transitions", "Gtransition/s", 1e9},
    .params_size = sizeof(struct pendulum_params),
    .params = parameters,
    .classes = classes,
    .weak = weak,
    .variants = mdp_generated_variants,
    .phases = mdp_phases,
    .faults = mdp_faults,
    .outputs = mdp_outputs,
    .layout_invariant = true,
    .check = check,
    .work = work,
    .setup = setup,
    .reset = mdp_generated_reset,
    .verify = mdp_generated_verify,
    .output = mdp_generated_output,
    .free = mdp_generated_free,
};
