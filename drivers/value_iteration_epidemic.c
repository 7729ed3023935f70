/* value_iteration/epidemic: which measures against an epidemic, by the number of the susceptible. Rows are long
 * intervals of binomial probabilities: a stream of transitions whose gathers are consecutive, the opposite of
 * value_iteration/garnet. Mathematics, work model, parallel scheme: docs/value_iteration_mdp.md; the model:
 * kernels/value_iteration/sable_epidemic.h. */
#include <math.h>

#include "sable_epidemic.h"
#include "value_iteration_generated.h"

struct epidemic_params {
    struct mdp_params mdp;
    int64_t population, window;
    double contacts, gamma;
};

#define PARAM(field) offsetof(struct epidemic_params, field)
static const struct sable_param parameters[] = {
    {"population", SABLE_INT, PARAM(population), "", 1, 1e12, 0, 0, NULL, "5000", "people; one state more than these"},
    {"window", SABLE_INT, PARAM(window), "", 1, 1e9, 0, 0, NULL, "100",
     "most probable successors that a row keeps, scaled to sum to 1"},
    {"contacts", SABLE_REAL, PARAM(contacts), "", 0, 1e6, 0, 0, NULL, "20",
     "of a person in a step, without distancing"},
    {"gamma", SABLE_REAL, PARAM(gamma), "", 0, 0.9999999, 0, 0, NULL, "0.99", "discount"},
    MDP_PARAMETERS,
    MDP_PARTITION,
    {0},
};

static const struct sable_class classes[] = {
    {"T", "population=150 window=20 gamma=0.9 max_sweeps=1000"},
    {"S", "population=5000 window=100"},
    {"A", "population=20000 window=200"},
    {"B", "population=100000 window=400"},
    {"C", "population=1000000 window=1000"},
    {"D", "population=10000000 window=1000"},
    {"E", "population=200000000 window=1000"},
    {0},
};
static const struct sable_growth weak[] = {{"population", 1}, {0}};

static int64_t row_of(const void *self, int64_t state, int64_t action, double *reward, int64_t *column,
                      double *probability)
{
    return sable_epidemic_row(self, state, action, reward, column, probability);
}

static void make_model(const void *params, uint64_t seed, void *model, struct mdp_source *source)
{
    (void)seed; /* nothing is drawn */
    const struct epidemic_params *p = params;
    struct sable_epidemic *epidemic = model;
    *epidemic = (struct sable_epidemic){p->population, p->window, p->contacts};
    *source = (struct mdp_source){.states = p->population + 1,
                                  .actions = SABLE_EPIDEMIC_ACTIONS,
                                  .longest = p->window < p->population + 1 ? p->window : p->population + 1,
                                  .gamma = p->gamma,
                                  .minimise = true,
                                  .self = epidemic,
                                  .row = row_of};
}

static int check(const void *params, struct sable_layout layout, struct sable_error *error)
{
    (void)layout;
    const struct epidemic_params *p = params;
    struct sable_epidemic epidemic;
    struct mdp_source source;
    make_model(p, 0, &epidemic, &source);
    return mdp_generated_check(&p->mdp, &source, sable_epidemic_most_cost(), error);
}

/* Rows lead anywhere: nearly all states of other ranks are ghosts. */
static void work(const void *params, struct sable_layout layout, const void *state, struct sable_work *work)
{
    const struct epidemic_params *p = params;
    struct sable_epidemic epidemic;
    struct mdp_source source;
    make_model(p, 0, &epidemic, &source);
    double others = (double)(source.states - mdp_part_of(source.states, layout.rank, layout.ranks).count);
    mdp_generated_work(&p->mdp, &source, layout, (double)source.longest, others, state, work);
}

static int setup(const void *params, struct sable_context *context, void **state, struct sable_error *error)
{
    return mdp_generated_setup(params, sizeof(struct sable_epidemic), make_model, context, state, error);
}

const struct sable_workload sable_value_iteration_epidemic = {
    .name = "value_iteration/epidemic",
    .summary = "measures against an SIS epidemic, binomial transitions, to a guaranteed bound",
    .source = "Gargiani et al., Inexact policy iteration methods, arXiv:2404.06136 (2024), 5; Bailey (1975), ch. 14",
    .fom = {"transitions", "Gtransition/s", 1e9},
    .params_size = sizeof(struct epidemic_params),
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
