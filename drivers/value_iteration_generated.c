/* What workloads with generated rows share: see value_iteration_generated.h. */
#include "value_iteration_generated.h"

#include <math.h>
#include <stdlib.h>

#include "value_iteration_mdp_partition.h"

int mdp_generated_check(const struct mdp_params *params, const struct mdp_source *source, double reward_most,
                        struct sable_error *error)
{
    int64_t transitions;
    if (mdp_partition_check(params, error))
        return error->code;
    if (__builtin_mul_overflow(source->states, source->actions, &transitions) ||
        __builtin_mul_overflow(transitions, 16 * source->longest, &transitions))
        return sable_fail(error, SABLE_BAD_INPUT, "states × actions × successors is more than 64 bits count");
    struct sable_mdp_facts facts = {1, 1, reward_most, source->longest};
    /* Nothing changes any more; values are at least about as large as one reward. */
    struct sable_mdp_change still = {0, 0, reward_most, true};
    double floor = sable_mdp_certify(&facts, source->gamma, still, false).bound;
    if (!(params->tol >= floor))
        return sable_fail(error, SABLE_BAD_INPUT, "tol=%g is finer than double precision can prove here: at least %.2g",
                          params->tol, floor);
    return SABLE_OK;
}

void mdp_generated_work(const struct mdp_params *params, const struct mdp_source *source, struct sable_layout layout,
                        double row, double ghosts, const void *state, struct sable_work *work)
{
    const struct mdp_generated *g = state;
    struct mdp_part part = mdp_part_of(source->states, layout.rank, layout.ranks);
    *work = (struct sable_work){.memory = mdp_memory(params, source, part, row, ghosts)};
    if (params->partition == MDP_PARTITION_SCOTCH && layout.ranks > 1)
        work->memory = fmax(work->memory + mdp_partition_memory(part, ghosts), mdp_graph_memory(source, part, row));
    if (g)
        mdp_work(&g->rank, work);
}

int mdp_generated_setup(const void *params, size_t size, mdp_make make, struct sable_context *context, void **state,
                        struct sable_error *error)
{
    struct mdp_generated *g = calloc(1, sizeof *g);
    *state = g;
    if (!g || !(g->model = calloc(1, size)))
        sable_fail(error, SABLE_ENVIRONMENT, "value_iteration: out of memory");
    if (sable_agree(context->comm, error))
        return error->code;
    g->params = *(const struct mdp_params *)params;
    make(params, context->seed, g->model, &g->source);
    if (g->params.partition == MDP_PARTITION_SCOTCH && context->layout.ranks > 1 &&
        mdp_partition_create(context, &g->source, error))
        return error->code;
    return mdp_build(&g->params, &g->source, context, &g->rank, error);
}

int mdp_generated_reset(void *state, struct sable_context *context, struct sable_error *error)
{
    (void)context, (void)error;
    mdp_start(&((struct mdp_generated *)state)->rank);
    return SABLE_OK;
}

static int run(void *state, struct sable_context *context, struct sable_error *error)
{
    return mdp_solve(&((struct mdp_generated *)state)->rank, context, error);
}

int mdp_generated_verify(void *state, struct sable_context *context, struct sable_checks *checks,
                         struct sable_error *error)
{
    return mdp_verify(&((struct mdp_generated *)state)->rank, context, checks, error);
}

int mdp_generated_output(void *state, struct sable_context *context, struct sable_sink *sink, struct sable_error *error)
{
    return mdp_output(&((struct mdp_generated *)state)->rank, context, sink, error);
}

void mdp_generated_free(void *state)
{
    struct mdp_generated *g = state;
    if (!g)
        return;
    mdp_free(&g->rank);
    mdp_partition_free(g->source.partition);
    free(g->model);
    free(g);
}

const struct sable_variant mdp_generated_variants[] = {
    {"reference", "the textbook's loops over compressed rows, one thread a rank", run},
    {"sable", "eight states in SIMD lanes, all threads, overlapped halos; the same bits", run},
    MDP_PEER(run){0},
};
