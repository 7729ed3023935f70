/* rollouts/mc_basic: policy iteration whose evaluation is Monte Carlo (MC Basic): in each batch episodes start in every
 * pair of a state and an action alike, and the mean return of those that started there is its q. Everything else:
 * rollouts_control.h, docs/rollouts.md. */
#include "rollouts_control.h"

static const struct sable_param parameters[] = {ROLLOUTS_CONTROL_PARAMETERS, {0}};
static const struct sable_growth weak[] = {{"batch", 1}, {0}};
static const struct sable_class classes[] = {
    {"T", "env=book batches=5 batch=3072 horizon=30 accuracy=0.1 memory=0"},
    {"S", "env=book batches=8 batch=131072 memory=0"},
    {"A", "env=gridworld n=16 gamma=0.95 batches=16 batch=1048576 accuracy=0.05"},
    {"B", "env=gridworld n=32 gamma=0.95 batches=24 batch=8388608 accuracy=0.05"},
    {"C", "env=gridworld n=64 gamma=0.95 batches=32 batch=67108864 accuracy=0.05"},
    {"D", "env=sea n=120 gamma=0.97 batches=48 batch=268435456 accuracy=0.1"},
    {"E", "env=sea n=360 gamma=0.97 batches=96 batch=2147483648 accuracy=0.1"},
    {0}};
static const struct sable_fault faults[] = {ROLLOUTS_FAULTS, {"stale_policy", "never improve the policy"}, {0}};
static const struct rollouts_control_method method = {
    .name = "rollouts/mc_basic", .each_pair = true, .starts_only = true, .fault = ROLLOUTS_STALE_POLICY};

static int setup(const void *params, struct sable_context *context, void **state, struct sable_error *error)
{
    return rollouts_control_setup(&method, params, context, state, error);
}

const struct sable_workload sable_rollouts_mc_basic = {
    .name = "rollouts/mc_basic",
    .summary = "policy iteration with Monte Carlo evaluation from every state and action",
    .source = "Zhao, Mathematical Foundations of Reinforcement Learning (2025), algorithm 5.1",
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
