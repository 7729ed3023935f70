/* rollouts/epsilon_greedy: Monte Carlo control with an ε-soft policy, which explores by itself: episodes start as the
 * model says. The optimum is that among ε-soft policies. Everything else: rollouts_control.h, docs/rollouts.md. */
#include "rollouts_control.h"

static const struct sable_param parameters[] = {
    ROLLOUTS_CONTROL_PARAMETERS,
    {"visits", SABLE_CHOICE, ROLLOUTS_CONTROL_AT(visits), "", 0, 0, 0, 0, rollouts_visit_names, "first",
     "which visits of a pair count: the first of an episode, or every one"},
    {"epsilon", SABLE_REAL, ROLLOUTS_CONTROL_AT(epsilon), "", 1e-6, 1, 0, 0, NULL, "0.2",
     "share of the policy that is spread over all actions"},
    {0},
};
static const struct sable_growth weak[] = {{"batch", 1}, {0}};
static const struct sable_class classes[] = {
    {"T", "env=book batches=4 batch=3072 horizon=62 accuracy=0.2"},
    {"S", "env=book batches=8 batch=131072"},
    {"A", "env=gridworld n=16 gamma=0.95 batches=16 batch=1048576 accuracy=0.05"},
    {"B", "env=gridworld n=32 gamma=0.95 batches=24 batch=8388608 accuracy=0.05"},
    {"C", "env=gridworld n=64 gamma=0.95 batches=32 batch=67108864 accuracy=0.05"},
    {"D", "env=sea n=120 gamma=0.97 batches=48 batch=268435456 accuracy=0.1"},
    {"E", "env=sea n=360 gamma=0.97 batches=96 batch=2147483648 accuracy=0.1"},
    {0}};
static const struct sable_fault faults[] = {ROLLOUTS_FAULTS, {"no_exploration", "play the greedy policy"}, {0}};
static const struct rollouts_control_method method = {.name = "rollouts/epsilon_greedy",
                                                      .fault = ROLLOUTS_NO_EXPLORATION};

static int setup(const void *params, struct sable_context *context, void **state, struct sable_error *error)
{
    return rollouts_control_setup(&method, params, context, state, error);
}

const struct sable_workload sable_rollouts_epsilon_greedy = {
    .name = "rollouts/epsilon_greedy",
    .summary = "Monte Carlo control with an epsilon-greedy policy, improved in batches",
    .source = "Sutton & Barto, Reinforcement Learning (2018), section 5.4; Zhao (2025), algorithm 5.3",
    .fom = {"steps", "Gstep/s", 1e9},
    .params_size = sizeof(struct rollouts_control_params),
    .params = parameters,
    .classes = classes,
    .weak = weak,
    .variants = rollouts_control_variants,
    .phases = rollouts_control_phases,
    .faults = faults,
    .inputs = rollouts_control_inputs,
    .outputs = rollouts_control_outputs,
    .layout_invariant = true,
    .check = rollouts_control_check,
    .work = rollouts_control_work,
    .setup = setup,
    .reset = rollouts_control_reset,
    .verify = rollouts_control_verify,
    .output = rollouts_control_output,
    .free = rollouts_control_free,
};
