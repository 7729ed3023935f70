/* The rows of one rank's states: which other states they lead to, and their storage. Rows are asked for three times
 * (ghosts, widths, contents), so that nothing but the storage itself is ever held. */
#include "value_iteration_mdp_rows.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "sable_array.h"
#include "value_iteration_mdp_set.h"

enum { LANES = SABLE_MDP_LANES };

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

/* ---- Ghosts ---- */

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

int mdp_collect_ghosts(struct mdp_rank *g, struct sable_error *error)
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

/* The first state beyond block b. */
static int64_t end_of_block(const struct mdp_rank *g, int64_t b)
{
    return LANES * (b + 1) < g->part.count ? LANES * (b + 1) : g->part.count;
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
            for (int64_t s = LANES * b; fits && s < end_of_block(g, b); s++)
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
            for (int64_t s = LANES * b; fits && s < end_of_block(g, b); s++)
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
    if (!mdp_evaluates_rows(&g->params))
        return true;
    if (!sable_mdp_rows_allocate(&g->model, &g->rows))
        return false;
    g->evaluated = g->rows.start[g->rows.blocks];
    return true;
}

bool mdp_evaluates_rows(const struct mdp_params *params)
{
    return params->method != MDP_VI && params->method != MDP_COLOURED && params->method != MDP_ANDERSON;
}

bool mdp_store_rows(struct mdp_rank *g)
{
    return g->reference ? store_csr(g) : store_lanes(g);
}
