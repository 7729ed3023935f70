/* Building one rank's part of a decision process: which states it owns, which others its rows lead to, storage. Rows
 * are asked for three times (ghosts, widths, contents), so that nothing but the storage itself is ever held. */
#include <float.h>
#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "sable_array.h"
#include "sable_isa.h"
#include "value_iteration_mdp_partition.h"
#include "value_iteration_mdp_set.h"

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

/* Does the method copy the rows of a policy out? */
static bool evaluates_rows(const struct mdp_params *params)
{
    return params->method != MDP_VI && params->method != MDP_COLOURED && params->method != MDP_ANDERSON;
}

double mdp_memory(const struct mdp_params *params, const struct mdp_source *source, struct mdp_part part, double row,
                  double ghosts)
{
    double states = (double)lanes(part.count), actions = (double)source->actions;
    double vectors = 8 * states * (double)(mdp_vectors(params) + 1);
    double rows = evaluates_rows(params) ? states * (12 * (double)source->longest + 8) : 0; /* of a policy */
    double transition = source->few && params->probabilities == MDP_CODED ? 5 : 12;
    return states * actions * (transition * row + 8 + 1) + rows + 2 * 8 * (states + ghosts) +
           4 * states                             /* values, policy */
           + 16 * ghosts + 16 * ghosts + vectors; /* halo lists, buffers, lists while built */
}

/* ---- Ghosts ---- */

/* A thread's row buffers. */
struct row {
    int64_t *column;
    int32_t *local;
    double *probability, reward;
};

static bool row_make(int64_t longest, struct row *row)
{
    size_t n = (size_t)(longest > 0 ? longest : 1);
    *row = (struct row){malloc(n * sizeof(int64_t)), malloc(n * sizeof(int32_t)), malloc(n * sizeof(double)), 0};
    return row->column && row->local && row->probability;
}

static void row_free(struct row *row)
{
    free(row->column);
    free(row->local);
    free(row->probability);
}

static int64_t get_row(const struct mdp_rank *g, int64_t s, int64_t a, struct row *row)
{
    return g->source->row(g->source->self, g->part.first + s, a, &row->reward, row->column, row->probability);
}

static bool collect_thread(const struct mdp_rank *g, struct mdp_set *set, struct row *row)
{
    bool fits = true;
#pragma omp for schedule(static)
    for (int64_t s = 0; s < g->part.count; s++)
        for (int64_t a = 0; fits && a < g->source->actions; a++) {
            int64_t length = get_row(g, s, a, row);
            fits = mdp_set_room(set, length);
            for (int64_t j = 0; fits && j < length; j++)
                if (row->column[j] < g->part.first || row->column[j] >= g->part.first + g->part.count)
                    set->item[set->count++] = row->column[j];
        }
    mdp_set_tidy(set);
    return fits;
}

static int collect_ghosts(struct mdp_rank *g, struct sable_error *error)
{
    struct mdp_set all = {0};
    bool fits = true;
#pragma omp parallel
    {
        struct mdp_set own = {0};
        struct row row;
        bool mine = row_make(g->source->longest, &row) && collect_thread(g, &own, &row);
#pragma omp critical(mdp_ghosts)
        {
            fits = fits && mine && mdp_set_room(&all, own.count);
            if (fits && own.count > 0)
                memcpy(all.item + all.count, own.item, (size_t)own.count * sizeof *own.item);
            all.count += fits ? own.count : 0;
        }
        free(own.item);
        row_free(&row);
    }
    mdp_set_tidy(&all);
    g->ghost = all.item;
    g->ghosts = all.count;
    if (!fits)
        return sable_fail(error, SABLE_ENVIRONMENT, "out of memory for the halo of %lld states",
                          (long long)g->part.count);
    if (g->padded + g->ghosts > INT32_MAX)
        return sable_fail(error, SABLE_BAD_INPUT,
                          "%lld states and %lld of other ranks are more on one rank than 32 bits count: use more ranks",
                          (long long)g->part.count, (long long)g->ghosts);
    return SABLE_OK;
}

int64_t mdp_local(const struct mdp_rank *g, int64_t state)
{
    if (state >= g->part.first && state < g->part.first + g->part.count)
        return state - g->part.first;
    const int64_t at = mdp_set_find(g->ghost, g->ghosts, state);
    return at < g->ghosts && g->ghost[at] == state ? g->padded + at : -1;
}

/* ---- Storage ---- */

static int64_t get_local_row(const struct mdp_rank *g, int64_t s, int64_t a, struct row *row)
{
    int64_t length = get_row(g, s, a, row);
    for (int64_t j = 0; j < length; j++)
        row->local[j] = (int32_t)mdp_local(g, row->column[j]);
    if (g->source->minimise && row->reward > -INFINITY)
        row->reward = -row->reward;
    row->reward += 0.0; /* no −0: equal values have equal bits */
    return length;
}

static bool asks_for_codes(const struct mdp_rank *g)
{
    return g->params.probabilities == MDP_CODED && !g->reference;
}

/* Row sums and rewards of this rank; widths (lanes) or lengths (compressed rows). */
static bool measure_rows(struct mdp_rank *g)
{
    double sum_low = INFINITY, sum_high = 0, low = INFINITY, high = -INFINITY;
    int64_t entries = 0;
    const bool coded = asks_for_codes(g);
    g->values = SABLE_MDP_NO_VALUES;
    bool fits = true;
#pragma omp parallel reduction(min : sum_low, low) reduction(max : sum_high, high) reduction(&& : fits) reduction(+ : entries)
    {
        struct row row;
        struct sable_mdp_values values = SABLE_MDP_NO_VALUES;
        fits = row_make(g->source->longest, &row);
#pragma omp for schedule(static)
        for (int64_t b = 0; b < g->padded / LANES; b++)
            for (int64_t s = LANES * b; fits && s < least(LANES * (b + 1), g->part.count); s++)
                for (int64_t a = 0; a < g->source->actions; a++) {
                    int64_t length = get_local_row(g, s, a, &row);
                    double sum = 0;
                    entries += length;
                    if (coded)
                        sable_mdp_values_add(&values, length, row.probability);
                    for (int64_t j = 0; j < length; j++)
                        sum += row.probability[j];
                    if (g->reference)
                        g->csr.start[s * g->source->actions + a + 1] = length;
                    else
                        sable_mdp_widen(&g->model, s, a, length);
                    if (row.reward > -INFINITY) {
                        sum_low = sum < sum_low ? sum : sum_low, sum_high = sum > sum_high ? sum : sum_high;
                        low = row.reward < low ? row.reward : low, high = row.reward > high ? row.reward : high;
                    }
                }
#pragma omp critical(mdp_values)
        sable_mdp_values_join(&g->values, &values);
        row_free(&row);
    }
    g->facts = (struct sable_mdp_facts){sum_low, sum_high, 0, g->source->longest};
    g->entries = entries;
    g->reward_low = low;
    g->reward_high = high;
    return fits;
}

static bool fill_rows(struct mdp_rank *g)
{
    bool fits = true;
#pragma omp parallel reduction(&& : fits)
    {
        struct row row;
        fits = row_make(g->source->longest, &row);
#pragma omp for schedule(static)
        for (int64_t b = 0; b < g->padded / LANES; b++)
            for (int64_t s = LANES * b; fits && s < least(LANES * (b + 1), g->part.count); s++)
                for (int64_t a = 0; a < g->source->actions; a++) {
                    int64_t length = get_local_row(g, s, a, &row), index = s * g->source->actions + a;
                    if (!g->reference) {
                        sable_mdp_put(&g->model, s, a, row.reward, length, row.local, row.probability);
                        continue;
                    }
                    g->csr.reward[index] = row.reward;
                    memcpy(g->csr.column + g->csr.start[index], row.local, (size_t)length * sizeof *row.local);
                    memcpy(g->csr.probability + g->csr.start[index], row.probability,
                           (size_t)length * sizeof *row.probability);
                }
        row_free(&row);
    }
    return fits;
}

static bool store_csr(struct mdp_rank *g)
{
    int64_t rows;
    if (!sable_multiply(g->part.count, g->source->actions, &rows) || rows == INT64_MAX)
        return false;
    g->csr.states = g->part.count;
    g->csr.actions = g->source->actions;
    g->csr.start = sable_array(rows + 1, 1, sizeof *g->csr.start);
    g->csr.reward = sable_array(rows, 1, sizeof *g->csr.reward);
    if (!g->csr.start || !g->csr.reward || !measure_rows(g))
        return false;
    g->csr.start[0] = 0;
    for (int64_t row = 0; row < rows; row++)
        g->csr.start[row + 1] += g->csr.start[row];
    g->transitions = g->csr.start[rows];
    g->evaluated = g->csr.states > 0 ? g->transitions / g->source->actions : 0;
    g->csr.column = sable_array(g->transitions, 1, sizeof *g->csr.column);
    g->csr.probability = sable_array(g->transitions, 1, sizeof *g->csr.probability);
    return g->csr.column && g->csr.probability && fill_rows(g);
}

static bool store_lanes(struct mdp_rank *g)
{
    if (!sable_mdp_begin(&g->model, g->part.count, g->source->actions) || !measure_rows(g))
        return false;
    const bool coded = asks_for_codes(g) && g->values.count > 0;
    if (!(coded ? sable_mdp_allocate_codes(&g->model, &g->values) : sable_mdp_allocate(&g->model)) || !fill_rows(g))
        return false;
    g->transitions = g->model.start[g->model.blocks * g->model.actions];
    if (!evaluates_rows(&g->params))
        return true;
    if (!sable_mdp_rows_allocate(&g->model, &g->rows))
        return false;
    g->evaluated = g->rows.start[g->rows.blocks];
    return true;
}

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

int64_t mdp_vectors(const struct mdp_params *params)
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

static bool make_vectors(struct mdp_rank *g)
{
    const int64_t vectors = mdp_vectors(&g->params);
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
    if (!collect_ghosts(g, error) &&
        !((g->reference ? store_csr(g) : store_lanes(g)) && order_blocks(g) && colour_blocks(g) && make_vectors(g)))
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
    for (int64_t k = 0; g->vector && k < mdp_vectors(&g->params); k++)
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
