/* Renumbering by an assignment of states to ranks: see value_iteration_mdp_partition.h. */
#include "value_iteration_mdp_partition.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "value_iteration_mdp_set.h"

static size_t some(int64_t count)
{
    return (size_t)count + 1; /* never an allocation of nothing */
}

static int no_memory(struct sable_error *error)
{
    return sable_fail(error, SABLE_ENVIRONMENT, "out of memory for a partition: use more ranks, or partition=block");
}

/* Where each rank's part of a list begins; false if that is more than MPI counts. */
static bool begin(int ranks, const int *count, int *at)
{
    int64_t sum = 0;
    for (int r = 0; r < ranks; r++) {
        at[r] = (int)sum;
        sum += count[r];
        if (sum > INT_MAX)
            return false;
    }
    return true;
}

static int64_t total(int ranks, const int *count)
{
    int64_t sum = 0;
    for (int r = 0; r < ranks; r++)
        sum += count[r];
    return sum;
}

int mdp_exchange(MPI_Comm comm, int ranks, const int64_t *send, const int *give, int64_t **received, int *take,
                 struct sable_error *error)
{
    int *give_at = malloc(2 * (size_t)ranks * sizeof *give_at), *take_at = give_at ? give_at + ranks : NULL;
    *received = NULL;
    if (!give_at)
        no_memory(error);
    if (!sable_agree(comm, error))
        sable_check_mpi(MPI_Alltoall(give, 1, MPI_INT, take, 1, MPI_INT, comm), "MPI_Alltoall", error);
    if (!error->code && (!begin(ranks, give, give_at) || !begin(ranks, take, take_at)))
        sable_fail(error, SABLE_BAD_INPUT, "a graph of more arcs a rank than MPI counts: use more ranks");
    if (!error->code && !(*received = malloc(some(total(ranks, take)) * sizeof **received)))
        no_memory(error);
    if (!sable_agree(comm, error))
        sable_check_mpi(MPI_Alltoallv(send, give, give_at, MPI_INT64_T, *received, take, take_at, MPI_INT64_T, comm),
                        "MPI_Alltoallv", error);
    free(give_at);
    return error->code;
}

int mdp_partition_return(const struct mdp_partition *p, MPI_Comm comm, MPI_Datatype type, const void *own, void *home,
                         struct sable_error *error)
{
    int size, *left_at = malloc(2 * (size_t)p->ranks * sizeof *left_at), *came_at = left_at ? left_at + p->ranks : NULL;
    MPI_Type_size(type, &size);
    char *arrived = malloc(some(p->home.count) * (size_t)size);
    if (!left_at || !arrived || !begin(p->ranks, p->left, left_at) || !begin(p->ranks, p->came, came_at))
        no_memory(error);
    if (!sable_agree(comm, error) &&
        !sable_check_mpi(MPI_Alltoallv(own, p->came, came_at, type, arrived, p->left, left_at, type, comm),
                         "MPI_Alltoallv", error))
        for (int64_t i = 0; i < p->home.count; i++)
            memcpy((char *)home + p->order[i] * size, arrived + i * size, (size_t)size);
    free(left_at);
    free(arrived);
    return error->code;
}

int mdp_partition_lost(const struct mdp_partition *p, MPI_Comm comm, double *lost, struct sable_error *error)
{
    int64_t *number = malloc(some(p->home.count) * sizeof *number);
    if (!number)
        no_memory(error);
    for (int64_t i = 0; number && i < p->home.count; i++)
        number[i] = -1;
    if (!sable_agree(comm, error) && !mdp_partition_return(p, comm, MPI_INT64_T, p->original, number, error)) {
        *lost = 0;
        for (int64_t i = 0; i < p->home.count; i++)
            *lost += number[i] != p->home.first + i;
    }
    free(number);
    return error->code;
}

int mdp_partition_check(const struct mdp_params *params, struct sable_error *error)
{
    if (params->partition == MDP_PARTITION_BLOCK)
        return SABLE_OK;
    if (!mdp_can_partition())
        return sable_fail(error, SABLE_BAD_INPUT,
                          "partition=scotch: this sable was built without PT-Scotch (libptscotch-dev): use "
                          "partition=block");
    if (params->method != MDP_VI && params->method != MDP_MODIFIED && params->method != MDP_AUTO)
        return sable_fail(error, SABLE_BAD_INPUT,
                          "method=%s adds over, or colours, states in the model's order, which partition=scotch "
                          "does not keep: use method=vi, mpi or auto, or partition=block",
                          mdp_methods[params->method]);
    return SABLE_OK;
}

double mdp_partition_memory(struct mdp_part part, double ghosts)
{
    return 16 * (double)part.count + 16 * ((double)part.count + ghosts); /* original, order; known, fresh */
}

double mdp_graph_memory(const struct mdp_source *source, struct mdp_part home, double row)
{
    enum { ARC = 80 }; /* both ways, and as much again to sort them, of 16 bytes; as sent */
    const double most = fmin((double)source->actions * row, (double)source->states);
    return ARC * (double)home.count * most;
}

struct mdp_part mdp_partition_own(const struct mdp_partition *p)
{
    return (struct mdp_part){p->first[p->rank], p->first[p->rank + 1] - p->first[p->rank]};
}

int mdp_partition_owner(const struct mdp_partition *p, int64_t state)
{
    int low = 0, high = p->ranks - 1;
    while (low < high) { /* the first that ends behind it */
        int middle = low + (high - low) / 2;
        if (p->first[middle + 1] <= state)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static int64_t renumbered_row(const void *self, int64_t state, int64_t action, double *reward, int64_t *column,
                              double *probability)
{
    const struct mdp_partition *p = self;
    const int64_t original = p->original[state - p->first[p->rank]];
    const int64_t length = p->model.row(p->model.self, original, action, reward, column, probability);
    for (int64_t j = 0; j < length; j++)
        column[j] = p->fresh[mdp_set_find(p->known, p->knowns, column[j])];
    return length;
}

/* ---- Making it ---- */

/* Lists the states of `home` by their new ranks, sends each its own, and learns where every rank's numbers begin. */
static int move_states(struct mdp_partition *p, MPI_Comm comm, const int *owner, struct sable_error *error)
{
    const size_t ranks = (size_t)p->ranks;
    p->first = calloc(ranks + 1, sizeof *p->first);
    p->left = calloc(ranks, sizeof *p->left);
    p->came = calloc(ranks, sizeof *p->came);
    p->order = malloc(some(p->home.count) * sizeof *p->order);
    int64_t *leaving = malloc(some(p->home.count) * sizeof *leaving), count = 0;
    int *at = calloc(ranks, sizeof *at);
    if (!p->first || !p->left || !p->came || !p->order || !leaving || !at)
        no_memory(error);
    else {
        for (int64_t i = 0; i < p->home.count; i++)
            p->left[owner[i]]++;
        if (!begin(p->ranks, p->left, at))
            no_memory(error);
        for (int64_t i = 0; i < p->home.count; i++) {
            const int to = at[owner[i]]++;
            p->order[to] = i;
            leaving[to] = p->home.first + i;
        }
    }
    if (!sable_agree(comm, error) && !mdp_exchange(comm, p->ranks, leaving, p->left, &p->original, p->came, error)) {
        count = total(p->ranks, p->came);
        sable_check_mpi(MPI_Allgather(&count, 1, MPI_INT64_T, p->first + 1, 1, MPI_INT64_T, comm), "MPI_Allgather",
                        error);
        for (int r = 0; r < p->ranks; r++)
            p->first[r + 1] += p->first[r];
    }
    free(leaving);
    free(at);
    return error->code;
}

/* The states that this rank's rows lead to. */
static int list_known(struct mdp_partition *p, struct sable_error *error)
{
    const int64_t count = mdp_partition_own(p).count;
    const size_t longest = some(p->model.longest);
    int64_t *column = malloc(longest * sizeof *column);
    double *probability = malloc(longest * sizeof *probability), reward;
    struct mdp_set set = {0};
    bool fits = column && probability;
    for (int64_t s = 0; s < count; s++)
        for (int64_t a = 0; fits && a < p->model.actions; a++) {
            const int64_t n = p->model.row(p->model.self, p->original[s], a, &reward, column, probability);
            fits = mdp_set_room(&set, n);
            for (int64_t j = 0; fits && j < n; j++)
                set.item[set.count++] = column[j];
        }
    mdp_set_tidy(&set);
    p->known = set.item;
    p->knowns = set.count;
    free(column);
    free(probability);
    return fits ? SABLE_OK : no_memory(error);
}

/* New numbers of what is known, from the ranks whose homes these states are of. */
static int ask_numbers(struct mdp_partition *p, MPI_Comm comm, const int64_t *number, struct sable_error *error)
{
    int *ask = calloc(2 * (size_t)p->ranks, sizeof *ask), *asked = ask ? ask + p->ranks : NULL;
    int64_t *questions = NULL;
    if (!ask)
        no_memory(error);
    else
        for (int64_t i = 0; i < p->knowns; i++)
            ask[mdp_owner_of(p->model.states, p->ranks, p->known[i])]++;
    if (!sable_agree(comm, error) && !mdp_exchange(comm, p->ranks, p->known, ask, &questions, asked, error)) {
        for (int64_t i = 0; i < total(p->ranks, asked); i++)
            questions[i] = number[questions[i] - p->home.first];
        mdp_exchange(comm, p->ranks, questions, asked, &p->fresh, ask, error);
    }
    free(questions);
    free(ask);
    return error->code;
}

/* New numbers of the states of `home`: their owners send them back. */
static int number_states(struct mdp_partition *p, MPI_Comm comm, struct sable_error *error)
{
    const struct mdp_part own = mdp_partition_own(p);
    int64_t *mine = malloc(some(own.count) * sizeof *mine), *number = malloc(some(p->home.count) * sizeof *number);
    if (!mine || !number)
        no_memory(error);
    for (int64_t i = 0; mine && i < own.count; i++)
        mine[i] = own.first + i;
    if (!sable_agree(comm, error) && !mdp_partition_return(p, comm, MPI_INT64_T, mine, number, error)) {
        list_known(p, error);
        if (!sable_agree(comm, error))
            ask_numbers(p, comm, number, error);
    }
    free(mine);
    free(number);
    return error->code;
}

int mdp_partition_create(struct sable_context *context, struct mdp_source *source, struct sable_error *error)
{
    const struct sable_layout layout = context->layout;
    const struct mdp_part home = mdp_part_of(source->states, layout.rank, layout.ranks);
    struct mdp_partition *p = calloc(1, sizeof *p);
    int *owner = calloc(some(home.count), sizeof *owner);
    if (!p || !owner)
        no_memory(error);
    else {
        *p = (struct mdp_partition){.model = *source, .rank = layout.rank, .ranks = layout.ranks, .home = home};
        source->partition = p;
    }
    if (!sable_agree(context->comm, error) &&
        !mdp_graph_assign(context->comm, layout.ranks, &p->model, home, owner, error) &&
        !move_states(p, context->comm, owner, error) &&
        !(p->model.move && p->model.move(p->model.stored, p, context->comm, error)) &&
        !number_states(p, context->comm, error)) {
        source->self = p;
        source->row = renumbered_row;
        sable_note_that(context, "partitioner", "%s", mdp_graph_library());
    }
    free(owner);
    return error->code;
}

void mdp_partition_free(struct mdp_partition *p)
{
    if (!p)
        return;
    free(p->first);
    free(p->original);
    free(p->known);
    free(p->fresh);
    free(p->order);
    free(p->left);
    free(p->came);
    free(p);
}
