/* Building one rank's part of a decision process: which states it owns, in which order they are swept, the vectors of a
 * method, and what bounds must know. Its rows: value_iteration_mdp_rows.c. */
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "sable_array.h"
#include "sable_isa.h"
#include "value_iteration_mdp_partition.h"
#include "value_iteration_mdp_rows.h"

enum { LANES = SABLE_MDP_LANES };

/* ---- Partition ---- */

static int64_t blocks_of(int64_t states)
{
    return (states + MDP_BLOCK - 1) / MDP_BLOCK;
}

static int64_t first_block(int64_t states, int rank, int ranks)
{
    int64_t each = blocks_of(states) / ranks, more = blocks_of(states) % ranks;
    return rank * each + (rank < more ? rank : more);
}

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

struct mdp_part mdp_part_of(int64_t states, int rank, int ranks)
{
    int64_t first = least(first_block(states, rank, ranks) * MDP_BLOCK, states);
    int64_t end = least(first_block(states, rank + 1, ranks) * MDP_BLOCK, states);
    return (struct mdp_part){first, end - first};
}

int mdp_owner_of(int64_t states, int ranks, int64_t state)
{
    int64_t block = state / MDP_BLOCK, each = blocks_of(states) / ranks, more = blocks_of(states) % ranks;
    int64_t longer = more * (each + 1);
    return (int)(block < longer ? block / (each + 1) : more + (block - longer) / each);
}

static int64_t lanes(int64_t states)
{
    return sable_mdp_blocks(states) * LANES;
}

/* Vectors that a method needs beside two of values. */
static int64_t vectors_of(const struct mdp_params *params)
{
    enum { BICGSTAB = 5 };
    const int64_t krylov = (params->krylov == MDP_BICGSTAB ? BICGSTAB : params->restart + 1) + params->jacobi;
    if (params->krylov == MDP_PETSC)
        return 0;
    switch (params->method) {
    case MDP_INEXACT:
    case MDP_POLICY:
        return krylov;
    case MDP_ANDERSON:
        return 2 * params->depth + 2;
    default:
        return 0;
    }
}

double mdp_memory(const struct mdp_params *params, const struct mdp_source *source, struct mdp_part part, double row,
                  double ghosts)
{
    double states = (double)lanes(part.count), actions = (double)source->actions;
    double vectors = 8 * states * (double)(vectors_of(params) + 1);
    double rows = mdp_evaluates_rows(params) ? states * (12 * (double)source->longest + 8) : 0; /* of a policy */
    double transition = source->few && params->probabilities == MDP_CODED ? 5 : 12;
    return states * actions * (transition * row + 8 + 1) + rows + 2 * 8 * (states + ghosts) +
           4 * states                             /* values, policy */
           + 16 * ghosts + 16 * ghosts + vectors; /* halo lists, buffers, lists while built */
}

/* ---- Order of the blocks ---- */

/* Blocks whose rows lead to no other rank first: they are swept while values travel. */
static bool order_blocks(struct mdp_rank *g)
{
    int64_t blocks = g->padded / LANES;
    g->list = sable_array(blocks, 1, sizeof *g->list);
    if (!g->list)
        return false;
    int64_t from = 0, to = blocks;
    for (int64_t b = 0; b < blocks; b++) {
        bool inner = !g->reference;
        for (int64_t k = inner ? g->model.start[b * g->model.actions] : 0;
             inner && k < g->model.start[(b + 1) * g->model.actions]; k++)
            inner = g->model.column[k] < g->padded;
        g->list[inner ? from++ : --to] = (int32_t)b;
    }
    for (int64_t i = to, j = blocks - 1; i < j; i++, j--) { /* the others ascend, too */
        int32_t swap = g->list[i];
        g->list[i] = g->list[j];
        g->list[j] = swap;
    }
    g->inner = from;
    g->outer = blocks - from;
    return true;
}

/* Each colour's blocks, those without ghosts first. */
static bool colour_blocks(struct mdp_rank *g)
{
    const int64_t colours = g->params.colours, first = g->part.first / LANES;
    if (g->params.method != MDP_COLOURED)
        return true;
    g->colour = calloc((size_t)colours, sizeof *g->colour);
    g->coloured = sable_array(g->padded / LANES, 1, sizeof *g->coloured);
    if (!g->colour || !g->coloured)
        return false;
    int32_t *next = g->coloured;
    for (int64_t c = 0; c < colours; c++) {
        g->colour[c].list = next;
        for (int64_t i = 0; i < g->inner + g->outer; i++)
            if ((first + g->list[i]) / (MDP_BLOCK / LANES) % colours == c) {
                *next++ = g->list[i];
                g->colour[c].inner += i < g->inner;
                g->colour[c].outer += i >= g->inner;
            }
    }
    return true;
}

static bool make_vectors(struct mdp_rank *g)
{
    const int64_t vectors = vectors_of(&g->params);
    for (int i = 0; i < 2; i++)
        g->value[i] = sable_array(g->padded + g->ghosts, 1, sizeof(double));
    g->policy = sable_array(g->padded, 1, sizeof *g->policy);
    g->scratch = sable_array(blocks_of(g->part.count), 1, sizeof *g->scratch);
    if (!g->value[0] || !g->value[1] || !g->policy || !g->scratch)
        return false;
    if (vectors == 0)
        return true;
    int64_t rewards = g->reference ? g->part.count * g->source->actions : g->padded;
    g->no_reward = sable_array(rewards, 1, sizeof(double));
    g->gram = sable_array(g->params.depth, g->params.depth, sizeof(double));
    g->vector = calloc((size_t)vectors, sizeof *g->vector);
    if (!g->no_reward || !g->gram || !g->vector)
        return false;
    memset(g->no_reward, 0, (size_t)rewards * sizeof(double));
    for (int64_t k = 0; k < vectors; k++)
        if (!(g->vector[k] = sable_array(g->padded, 1, sizeof(double))))
            return false;
    g->diagonal = g->params.method != MDP_ANDERSON && g->params.jacobi ? g->vector[vectors - 1] : NULL;
    return true;
}

/* What bounds must know, of all ranks; row sums give way by their own rounding. */
static int share_facts(struct mdp_rank *g, MPI_Comm comm, struct sable_error *error)
{
    double own[4] = {-g->facts.row_least, g->facts.row_most, -g->reward_low, g->reward_high}, all[4];
    if (sable_check_mpi(MPI_Allreduce(own, all, 4, MPI_DOUBLE, MPI_MAX, comm), "MPI_Allreduce", error))
        return error->code;
    double slack = (double)(g->facts.longest + 1) * DBL_EPSILON;
    g->facts.row_least = fmax(-all[0] * (1 - slack), 0);
    g->facts.row_most = all[1] * (1 + slack);
    g->reward_low = -all[2];
    g->reward_high = all[3];
    g->facts.reward_most = fmax(fabs(g->reward_low), fabs(g->reward_high));
    if (!(g->gamma * g->facts.row_most < 1))
        return sable_fail(error, SABLE_BAD_INPUT,
                          "gamma=%.17g with rows that sum to %.17g is no contraction: nothing can be proved", g->gamma,
                          g->facts.row_most);
    return SABLE_OK;
}

int mdp_build_own(const struct mdp_params *params, const struct mdp_source *source, struct sable_layout layout,
                  bool reference, struct mdp_rank *g, struct sable_error *error)
{
    *g = (struct mdp_rank){.params = *params, .source = source, .gamma = source->gamma, .reference = reference};
    g->part = source->partition ? mdp_partition_own(source->partition)
                                : mdp_part_of(source->states, layout.rank, layout.ranks);
    g->padded = lanes(g->part.count);
    if (!mdp_collect_ghosts(g, error) && !(mdp_store_rows(g) && order_blocks(g) && colour_blocks(g) && make_vectors(g)))
        sable_fail(error, SABLE_ENVIRONMENT, "out of memory for the rows of %lld states", (long long)g->part.count);
    return error->code;
}

/* Before the first sweep, when all values are numbers. */
static void choose_reads(struct mdp_rank *g, struct sable_context *context)
{
    mdp_start(g);
    if (g->params.reads == MDP_READS_AUTO)
        g->model.gathers = sable_mdp_gathers_pay(&g->model, g->value[0], g->value[1]);
    else
        g->model.gathers = g->params.reads == MDP_READS_GATHERS && sable_isa() == SABLE_ISA_V4;
    g->rows.gathers = g->model.gathers;
    sable_note_that(context, "values_read_by", "%s", g->model.gathers ? "gathers" : "loads");
}

int mdp_build(const struct mdp_params *params, const struct mdp_source *source, struct sable_context *context,
              struct mdp_rank *g, struct sable_error *error)
{
    const bool petsc = context->variant[0] == 'p';
    struct mdp_params used = *params;
    if (petsc) {
        used.method = params->method == MDP_POLICY ? MDP_POLICY : MDP_INEXACT;
        used.krylov = MDP_PETSC;
    }
    mdp_build_own(&used, source, context->layout, context->variant[0] == 'r', g, error);
    if (sable_agree(context->comm, error) || share_facts(g, context->comm, error) ||
        mdp_halo_create(context->comm, g, error))
        return error->code;
    if (!g->reference)
        choose_reads(g, context);
    return petsc ? mdp_ksp_create(params, g, context, error) : SABLE_OK;
}

void mdp_free(struct mdp_rank *g)
{
    mdp_ksp_free(g);
    mdp_halo_free(g->halo);
    sable_mdp_free(&g->model);
    sable_mdp_free(&g->rows);
    sable_array_free(g->csr.start);
    sable_array_free(g->csr.column);
    sable_array_free(g->csr.probability);
    sable_array_free(g->csr.reward);
    for (int64_t k = 0; g->vector && k < vectors_of(&g->params); k++)
        sable_array_free(g->vector[k]);
    free(g->vector);
    free(g->colour);
    sable_array_free(g->coloured);
    sable_array_free(g->gram);
    free(g->ghost);
    sable_array_free(g->no_reward);
    sable_array_free(g->list);
    sable_array_free(g->value[0]);
    sable_array_free(g->value[1]);
    sable_array_free(g->policy);
    sable_array_free(g->scratch);
}
