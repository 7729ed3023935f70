/* value_iteration/garnet: random decision processes, solved to a proven bound. It measures sparse Bellman sweeps: the
 * stream of stored transitions against the gathers of values, from any cache level by `states`, and the exchange of
 * scattered (locality=0) or near (locality>0) values between ranks. Mathematics, work model, parallel scheme:
 * docs/value_iteration_mdp.md; the model: kernels/value_iteration/sable_garnet.h. */
#include <math.h>
#include <stdlib.h>

#include "sable_garnet.h"
#include "value_iteration_mdp.h"

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

struct garnet_state {
    struct garnet_params params;
    struct sable_garnet garnet;
    struct mdp_source source;
    struct mdp_rank rank;
};

static int64_t row_of(const void *self, int64_t state, int64_t action, double *reward, int64_t *column,
                      double *probability)
{
    return sable_garnet_row(self, state, action, reward, column, probability);
}

static void make_model(const struct garnet_params *p, uint64_t seed, struct sable_garnet *garnet,
                       struct mdp_source *source)
{
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
    int64_t transitions;
    if (__builtin_mul_overflow(p->states, p->actions, &transitions) ||
        __builtin_mul_overflow(transitions, 16 * p->branching, &transitions))
        return sable_fail(error, SABLE_BAD_INPUT, "states × actions × branching is more than 64 bits count");
    struct sable_mdp_facts facts = {1, 1, 1, p->branching};
    struct sable_mdp_change still = {0, 0, 1, true};
    double floor = sable_mdp_certify(&facts, p->gamma, still, false).bound;
    if (!(p->mdp.tol >= floor))
        return sable_fail(error, SABLE_BAD_INPUT, "tol=%g is finer than double precision can prove here: at least %.2g",
                          p->mdp.tol, floor);
    return SABLE_OK;
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
    const struct garnet_state *s = state;
    struct sable_garnet garnet;
    struct mdp_source source;
    make_model(p, 0, &garnet, &source);
    struct mdp_part part = mdp_part_of(p->states, layout.rank, layout.ranks);
    *work = (struct sable_work){
        .memory = mdp_memory(&p->mdp, &source, part, (double)p->branching, expected_ghosts(p, part, &garnet))};
    if (s)
        mdp_work(&s->rank, work);
}

static void free_state(void *state)
{
    struct garnet_state *s = state;
    mdp_free(&s->rank);
    free(s);
}

static int setup(const void *params, struct sable_context *context, void **state, struct sable_error *error)
{
    struct garnet_state *s = calloc(1, sizeof *s);
    if (!s)
        sable_fail(error, SABLE_ENVIRONMENT, "value_iteration/garnet: out of memory");
    *state = s;
    if (sable_agree(context->comm, error))
        return error->code;
    s->params = *(const struct garnet_params *)params;
    make_model(&s->params, context->seed, &s->garnet, &s->source);
    return mdp_build(&s->params.mdp, &s->source, context, &s->rank, error);
}

static int reset(void *state, struct sable_context *context, struct sable_error *error)
{
    (void)context, (void)error;
    mdp_start(&((struct garnet_state *)state)->rank);
    return SABLE_OK;
}

static int run(void *state, struct sable_context *context, struct sable_error *error)
{
    return mdp_solve(&((struct garnet_state *)state)->rank, context, error);
}

static int verify(void *state, struct sable_context *context, struct sable_checks *checks, struct sable_error *error)
{
    return mdp_verify(&((struct garnet_state *)state)->rank, context, checks, error);
}

static int output(void *state, struct sable_context *context, struct sable_sink *sink, struct sable_error *error)
{
    return mdp_output(&((struct garnet_state *)state)->rank, context, sink, error);
}

static const struct sable_variant variants[] = {
    {"reference", "the textbook's loops over compressed rows, one thread a rank", run},
    {"sable", "eight states in SIMD lanes, all threads, overlapped halos; the same bits", run},
    {0},
};

const struct sable_workload sable_value_iteration_garnet = {
    .name = "value_iteration/garnet",
    .summary = "random sparse decision processes, solved to a guaranteed bound",
    .source = "Archibald, McKinnon & Thomas, J. Oper. Res. Soc. 46 (1995); Puterman, Markov Decision Processes (1994)",
    .fom = {"transitions", "Gtransition/s", 1e9},
    .params_size = sizeof(struct garnet_params),
    .params = parameters,
    .classes = classes,
    .weak = weak,
    .variants = variants,
    .phases = mdp_phases,
    .faults = mdp_faults,
    .outputs = mdp_outputs,
    .layout_invariant = true,
    .check = check,
    .work = work,
    .setup = setup,
    .reset = reset,
    .verify = verify,
    .output = output,
    .free = free_state,
};
