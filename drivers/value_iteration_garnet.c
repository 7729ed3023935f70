/* value_iteration/garnet: random decision processes, solved to a proven bound. It measures sparse Bellman sweeps: the
 * stream of stored transitions against the gathers of values, from any cache level by `states`, and the exchange of
 * scattered (locality=0) or near (locality>0) values between ranks. Mathematics, work model, parallel scheme:
 * docs/value_iteration_mdp.md; the model: kernels/value_iteration/sable_garnet.h. */
#include <math.h>

#include "sable_garnet.h"
#include "value_iteration_generated.h"

struct garnet_params {
    struct mdp_params mdp;
    int64_t states, actions, branching, locality;
    double gamma;
};

#define PARAM(field) offsetof(struct garnet_params, field)
static const struct sable_param parameters[] = {
    {"states", SABLE_INT, PARAM(states), "", 1, 1e15, 0, 0, NULL, "100000", "states of the model"},
    {"actions", SABLE_INT, PARAM(actions), "", 1, 1e6, 0, 0, NULL, "8", "actions of each state"},
    {"branching", SABLE_INT, PARAM(branching), "", 1, SABLE_GARNET_MOST_BRANCHES, 0, 0, NULL, "8",
     "successors of each state and action, all different"},
    {"locality", SABLE_INT, PARAM(locality), "states", 0, 1e15, 0, 0, NULL, "0",
     "successors lie within so many states, around the ends; 0: anywhere"},
    {"gamma", SABLE_REAL, PARAM(gamma), "", 0, 0.9999999, 0, 0, NULL, "0.99", "discount"},
    MDP_PARAMETERS,
    MDP_PARTITION,
    {0},
};

/* From C on successors are near: with scattered ones every rank would hold nearly every value. */
static const struct sable_class classes[] = {
    {"T", "states=1003 actions=3 branching=5 gamma=0.9 max_sweeps=1000"},
    {"S", "states=100000 actions=8 branching=8 gamma=0.99"},
    {"A", "states=1000000 actions=8 branching=8 gamma=0.99"},
    {"B", "states=10000000 actions=8 branching=8 gamma=0.99 locality=100000"},
    {"C", "states=100000000 actions=8 branching=8 gamma=0.99 locality=100000"},
    {"D", "states=2000000000 actions=8 branching=8 gamma=0.99 locality=100000"},
    {"E", "states=40000000000 actions=8 branching=8 gamma=0.99 locality=100000"},
    {0},
};
static const struct sable_growth weak[] = {{"states", 1}, {0}};

static int64_t row_of(const void *self, int64_t state, int64_t action, double *reward, int64_t *column,
                      double *probability)
{
    return sable_garnet_row(self, state, action, reward, column, probability);
}

static void make_model(const void *params, uint64_t seed, void *model, struct mdp_source *source)
{
    const struct garnet_params *p = params;
    struct sable_garnet *garnet = model;
    *garnet = (struct sable_garnet){seed, p->states, p->actions, p->branching, p->locality};
    *source = (struct mdp_source){.states = p->states,
                                  .actions = p->actions,
                                  .longest = p->branching,
                                  .gamma = p->gamma,
                                  .self = garnet,
                                  .row = row_of};
}

static int check(const void *params, struct sable_layout layout, struct sable_error *error)
{
    (void)layout;
    const struct garnet_params *p = params;
    struct sable_garnet garnet;
    struct mdp_source source;
    make_model(p, 0, &garnet, &source);
    if (p->branching > sable_garnet_window(&garnet))
        return sable_fail(error, SABLE_BAD_INPUT, "branching=%lld different successors out of %lld states",
                          (long long)p->branching, (long long)sable_garnet_window(&garnet));
    return mdp_generated_check(&p->mdp, &source, 1, error);
}

/* States of other ranks that some row of this one leads to, as expected for uniform successors. */
static double expected_ghosts(const struct garnet_params *p, struct mdp_part part, const struct sable_garnet *garnet)
{
    double own = (double)part.count, others = (double)p->states - own, window = (double)sable_garnet_window(garnet);
    if (own == 0 || others <= 0)
        return 0;
    if (window < (double)p->states)
        others = fmin(others, 2 * (double)p->locality);
    double rows = own * (double)p->actions * (double)p->branching;
    double met = 1 - exp(-rows / fmin((double)p->states, own + others));
    return others * met;
}

static void work(const void *params, struct sable_layout layout, const void *state, struct sable_work *work)
{
    const struct garnet_params *p = params;
    struct sable_garnet garnet;
    struct mdp_source source;
    make_model(p, 0, &garnet, &source);
    double ghosts = expected_ghosts(p, mdp_part_of(p->states, layout.rank, layout.ranks), &garnet);
    mdp_generated_work(&p->mdp, &source, layout, (double)p->branching, ghosts, state, work);
}

static int setup(const void *params, struct sable_context *context, void **state, struct sable_error *error)
{
    return mdp_generated_setup(params, sizeof(struct sable_garnet), make_model, context, state, error);
}

const struct sable_workload sable_value_iteration_garnet = {
    .name = "value_iteration/garnet",
    .summary = "random sparse decision processes, solved to a guaranteed bound",
    .source = "Archibald, McKinnon & Thomas, J. Oper. Res. Soc. 46 (1995); Puterman, Markov Decision Processes (1994)",
    .fom = {"transitions", "Gtransition/s", 1e9},
    .params_size = sizeof(struct garnet_params),
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
