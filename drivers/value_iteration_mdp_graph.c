/* The graph of a decision process, cut by PT-Scotch (Chevalier & Pellegrini, Parallel Computing 34, 2008): states are
 * vertices, two are neighbours if any action leads from one to the other. Each rank lists what its own rows lead to and
 * tells the other ends, as the library wants every edge from both. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#include "value_iteration_mdp_partition.h"
#include "value_iteration_mdp_set.h"

#ifdef SABLE_HAVE_PTSCOTCH
#include <ptscotch.h>

bool mdp_can_partition(void)
{
    return true;
}

const char *mdp_graph_library(void)
{
    static char text[64];
    int version, release, patch;
    SCOTCH_version(&version, &release, &patch);
    snprintf(text, sizeof text, "PT-Scotch %d.%d.%d", version, release, patch);
    return text;
}

struct arc {
    int64_t from, to;
};

struct arcs {
    struct arc *item;
    int64_t count, room;
};

static int no_memory(struct sable_error *error)
{
    return sable_fail(error, SABLE_ENVIRONMENT, "out of memory for a graph: use more ranks, or partition=block");
}

static bool append(struct arcs *arcs, int64_t from, const struct mdp_set *to)
{
    if (arcs->count + to->count > arcs->room) {
        const int64_t room = 3 * (arcs->count + to->count) / 2 + 1024;
        struct arc *larger = realloc(arcs->item, (size_t)room * sizeof *larger);
        if (!larger)
            return false;
        arcs->item = larger, arcs->room = room;
    }
    for (int64_t i = 0; i < to->count; i++)
        if (to->item[i] != from)
            arcs->item[arcs->count++] = (struct arc){from, to->item[i]};
    return true;
}

/* What each state of `home` leads to, each once. */
static int list_arcs(const struct mdp_source *source, struct mdp_part home, struct arcs *arcs,
                     struct sable_error *error)
{
    int64_t *column = malloc(((size_t)source->longest + 1) * sizeof *column);
    double *probability = malloc(((size_t)source->longest + 1) * sizeof *probability), reward;
    struct mdp_set to = {0};
    bool fits = column && probability;
    for (int64_t s = home.first; fits && s < home.first + home.count; s++) {
        to.count = 0;
        for (int64_t a = 0; fits && a < source->actions; a++) {
            const int64_t n = source->row(source->self, s, a, &reward, column, probability);
            fits = mdp_set_room(&to, n);
            for (int64_t j = 0; fits && j < n; j++)
                to.item[to.count++] = column[j];
        }
        mdp_set_tidy(&to);
        fits = fits && append(arcs, s, &to);
    }
    free(to.item);
    free(column);
    free(probability);
    return fits ? SABLE_OK : no_memory(error);
}

static int by_ends(const void *a, const void *b)
{
    const struct arc *x = a, *y = b;
    if (x->from != y->from)
        return x->from < y->from ? -1 : 1;
    return (x->to > y->to) - (x->to < y->to);
}

static void tidy(struct arcs *arcs)
{
    if (arcs->count == 0)
        return;
    qsort(arcs->item, (size_t)arcs->count, sizeof *arcs->item, by_ends);
    int64_t kept = 1;
    for (int64_t i = 1; i < arcs->count; i++)
        if (by_ends(&arcs->item[i], &arcs->item[kept - 1]) != 0)
            arcs->item[kept++] = arcs->item[i];
    arcs->count = kept;
}

/* Arcs turned round, by the rank whose home they begin in then. */
static int turn_arcs(const struct mdp_source *source, int ranks, const struct arcs *arcs, int *give, int64_t *numbers,
                     struct sable_error *error)
{
    int64_t *at = calloc((size_t)ranks + 1, sizeof *at);
    if (!at)
        return no_memory(error);
    for (int64_t i = 0; i < arcs->count; i++)
        at[mdp_owner_of(source->states, ranks, arcs->item[i].to) + 1] += 2;
    for (int r = 0; r < ranks; r++) {
        if (at[r + 1] > INT_MAX)
            sable_fail(error, SABLE_BAD_INPUT, "a graph of more arcs a rank than MPI counts: use more ranks");
        give[r] = (int)at[r + 1];
        at[r + 1] += at[r];
    }
    for (int64_t i = 0; i < arcs->count; i++) {
        int64_t *next = &at[mdp_owner_of(source->states, ranks, arcs->item[i].to)];
        numbers[(*next)++] = arcs->item[i].to;
        numbers[(*next)++] = arcs->item[i].from;
    }
    free(at);
    return error->code;
}

/* Adds to this rank's arcs those of other ranks, and its own, that lead the other way. */
static int add_turned(MPI_Comm comm, int ranks, const struct mdp_source *source, struct arcs *arcs,
                      struct sable_error *error)
{
    int *give = calloc(2 * (size_t)ranks, sizeof *give), *take = give ? give + ranks : NULL;
    int64_t *numbers = malloc(((size_t)arcs->count + 1) * 2 * sizeof *numbers), *received = NULL, more = 0;
    if (!give || !numbers)
        no_memory(error);
    else
        turn_arcs(source, ranks, arcs, give, numbers, error);
    if (!sable_agree(comm, error))
        mdp_exchange(comm, ranks, numbers, give, &received, take, error);
    free(numbers);
    for (int r = 0; !error->code && r < ranks; r++)
        more += take[r] / 2;
    struct arc *larger = error->code ? NULL : realloc(arcs->item, ((size_t)(arcs->count + more) + 1) * sizeof *larger);
    if (larger) {
        arcs->item = larger;
        for (int64_t i = 0; i < more; i++)
            arcs->item[arcs->count++] = (struct arc){received[2 * i], received[2 * i + 1]};
        tidy(arcs);
    } else
        no_memory(error);
    free(received);
    free(give);
    return sable_agree(comm, error);
}

/* ---- The library's form ---- */

struct form {
    SCOTCH_Num *start, *edge, *part;
};

static int make_form(const struct arcs *arcs, struct mdp_part home, struct form *form, struct sable_error *error)
{
    form->start = calloc((size_t)home.count + 1, sizeof *form->start);
    form->part = calloc((size_t)home.count + 1, sizeof *form->part);
    form->edge = malloc(((size_t)arcs->count + 1) * sizeof *form->edge);
    if (!form->start || !form->part || !form->edge)
        return no_memory(error);
    for (int64_t i = 0; i < arcs->count; i++) {
        form->start[arcs->item[i].from - home.first + 1]++;
        form->edge[i] = (SCOTCH_Num)arcs->item[i].to;
    }
    for (int64_t i = 0; i < home.count; i++)
        form->start[i + 1] += form->start[i];
    return SABLE_OK;
}

static int check_size(MPI_Comm comm, int64_t arcs, int64_t states, struct sable_error *error)
{
    int64_t all;
    if (sable_check_mpi(MPI_Allreduce(&arcs, &all, 1, MPI_INT64_T, MPI_SUM, comm), "MPI_Allreduce", error))
        return error->code;
    if (sizeof(SCOTCH_Num) == 4 && (all > INT32_MAX || states > INT32_MAX))
        return sable_fail(error, SABLE_BAD_INPUT,
                          "a graph of %lld states and %lld arcs is more than this PT-Scotch counts by 32 bits: use "
                          "partition=block",
                          (long long)states, (long long)all);
    return SABLE_OK;
}

/* Parts of equal size but for a hundredth, as well cut as the library can. */
static int cut(MPI_Comm comm, int ranks, struct form *form, int64_t states, int64_t arcs, struct sable_error *error)
{
    SCOTCH_Dgraph graph;
    SCOTCH_Strat strategy;
    const SCOTCH_Num count = (SCOTCH_Num)states, edges = (SCOTCH_Num)arcs;
    SCOTCH_randomReset();
    if (SCOTCH_dgraphInit(&graph, comm))
        return sable_fail(error, SABLE_ENVIRONMENT, "PT-Scotch can't begin a graph");
    SCOTCH_stratInit(&strategy);
    if (SCOTCH_stratDgraphMapBuild(&strategy, SCOTCH_STRATQUALITY, ranks, ranks, 0.01) ||
        SCOTCH_dgraphBuild(&graph, 0, count, count, form->start, NULL, NULL, NULL, edges, edges, form->edge, NULL,
                           NULL) ||
        SCOTCH_dgraphPart(&graph, ranks, &strategy, form->part))
        sable_fail(error, SABLE_ENVIRONMENT, "PT-Scotch can't cut the graph: use partition=block");
    SCOTCH_stratExit(&strategy);
    SCOTCH_dgraphExit(&graph);
    return error->code;
}

int mdp_graph_assign(MPI_Comm comm, int ranks, const struct mdp_source *source, struct mdp_part home, int *owner,
                     struct sable_error *error)
{
    struct arcs arcs = {0};
    struct form form = {0};
    list_arcs(source, home, &arcs, error);
    if (!sable_agree(comm, error) && !add_turned(comm, ranks, source, &arcs, error) &&
        !check_size(comm, arcs.count, source->states, error))
        make_form(&arcs, home, &form, error);
    free(arcs.item);
    if (!sable_agree(comm, error))
        cut(comm, ranks, &form, home.count, arcs.count, error);
    for (int64_t i = 0; !error->code && i < home.count; i++)
        if (form.part[i] < 0 || form.part[i] >= ranks)
            sable_fail(error, SABLE_BUG, "PT-Scotch gave a state to rank %lld", (long long)form.part[i]);
        else
            owner[i] = (int)form.part[i];
    free(form.start);
    free(form.edge);
    free(form.part);
    return sable_agree(comm, error);
}

#else

bool mdp_can_partition(void)
{
    return false;
}

const char *mdp_graph_library(void)
{
    return "";
}

int mdp_graph_assign(MPI_Comm comm, int ranks, const struct mdp_source *source, struct mdp_part home, int *owner,
                     struct sable_error *error)
{
    (void)comm, (void)ranks, (void)source, (void)home, (void)owner;
    return sable_fail(error, SABLE_BUG, "no graph partitioner was built in");
}

#endif
