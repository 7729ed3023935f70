/* The exchange of values between the ranks of a decision process: lists made once by Alltoallv from what each rank's
 * rows lead to, then persistent point-to-point messages between the ranks that need each other, of needed values only.
 * Values arrive where the sweep reads them, without a copy. */
#include <limits.h>
#include <stdlib.h>

#include "sable_array.h"
#include "value_iteration_mdp_partition.h"

enum { TAG_VALUES = 61 };

struct mdp_halo {
    int sends, receives;
    int64_t sent;          /* values that others need of this rank … */
    int64_t *index;        /* … where they lie … */
    double *buffer;        /* … and in which order they leave */
    int64_t *count;        /* of each message, for bytes_sent */
    MPI_Request *value[2]; /* receives into each of rank->value, then the sends */
};

static int owner_of(const struct mdp_rank *g, int ranks, int64_t state)
{
    const struct mdp_source *source = g->source;
    return source->partition ? mdp_partition_owner(source->partition, state)
                             : mdp_owner_of(source->states, ranks, state);
}

/* How many values this rank needs of each other, and each other of it. */
struct plan {
    int ranks;
    int *need, *give, *need_at, *give_at;
};

static void plan_free(struct plan *plan)
{
    free(plan->need);
    free(plan->give);
    free(plan->need_at);
    free(plan->give_at);
}

static int plan_make(MPI_Comm comm, const struct mdp_rank *g, struct plan *plan, struct sable_error *error)
{
    MPI_Comm_size(comm, &plan->ranks);
    size_t ranks = (size_t)plan->ranks;
    plan->need = calloc(ranks, sizeof(int));
    plan->give = calloc(ranks, sizeof(int));
    plan->need_at = calloc(ranks, sizeof(int));
    plan->give_at = calloc(ranks, sizeof(int));
    if (!plan->need || !plan->give || !plan->need_at || !plan->give_at)
        sable_fail(error, SABLE_ENVIRONMENT, "out of memory for the halo lists of %d ranks", plan->ranks);
    else
        for (int64_t i = 0; i < g->ghosts; i++)
            plan->need[owner_of(g, plan->ranks, g->ghost[i])]++;
    if (sable_agree(comm, error) ||
        sable_check_mpi(MPI_Alltoall(plan->need, 1, MPI_INT, plan->give, 1, MPI_INT, comm), "MPI_Alltoall", error))
        return error->code;
    int64_t sent = 0;
    for (int r = 0; r < plan->ranks; r++) {
        plan->need_at[r] = r > 0 ? plan->need_at[r - 1] + plan->need[r - 1] : 0;
        plan->give_at[r] = (int)sent;
        sent += plan->give[r];
        if (sent > INT_MAX)
            return sable_fail(error, SABLE_BAD_INPUT, "other ranks need more values of one rank than MPI counts");
    }
    return SABLE_OK;
}

static int add_requests(MPI_Comm comm, struct mdp_rank *g, const struct plan *plan, struct sable_error *error)
{
    struct mdp_halo *halo = g->halo;
    for (int i = 0; i < 2; i++) {
        int at = 0;
        for (int r = 0; r < plan->ranks && !error->code; r++)
            if (plan->need[r] > 0)
                sable_check_mpi(MPI_Recv_init(g->value[i] + g->padded + plan->need_at[r], plan->need[r], MPI_DOUBLE, r,
                                              TAG_VALUES, comm, &halo->value[i][at++]),
                                "MPI_Recv_init", error);
        halo->receives = at;
        for (int r = 0; r < plan->ranks && !error->code; r++)
            if (plan->give[r] > 0) {
                halo->count[at - halo->receives] = plan->give[r];
                sable_check_mpi(MPI_Send_init(halo->buffer + plan->give_at[r], plan->give[r], MPI_DOUBLE, r, TAG_VALUES,
                                              comm, &halo->value[i][at++]),
                                "MPI_Send_init", error);
            }
        halo->sends = at - halo->receives;
    }
    return error->code;
}

static int allocate(struct mdp_rank *g, const struct plan *plan, struct sable_error *error)
{
    struct mdp_halo *halo = g->halo = calloc(1, sizeof *halo);
    if (!halo)
        return sable_fail(error, SABLE_ENVIRONMENT, "out of memory for a halo");
    int peers = 0;
    for (int r = 0; r < plan->ranks; r++) {
        halo->sent += plan->give[r];
        peers += (plan->need[r] > 0) + (plan->give[r] > 0);
    }
    halo->index = sable_array(halo->sent, 1, sizeof *halo->index);
    halo->buffer = sable_array(halo->sent, 1, sizeof *halo->buffer);
    halo->count = calloc((size_t)peers + 1, sizeof *halo->count);
    for (int i = 0; i < 2; i++)
        halo->value[i] = calloc((size_t)peers + 1, sizeof(MPI_Request));
    if (!halo->index || !halo->buffer || !halo->count || !halo->value[0] || !halo->value[1])
        return sable_fail(error, SABLE_ENVIRONMENT, "out of memory for a halo of %lld values", (long long)halo->sent);
    return SABLE_OK;
}

int mdp_halo_create(MPI_Comm comm, struct mdp_rank *g, struct sable_error *error)
{
    struct plan plan = {0};
    if (!plan_make(comm, g, &plan, error))
        allocate(g, &plan, error);
    if (!sable_agree(comm, error) &&
        !sable_check_mpi(MPI_Alltoallv(g->ghost, plan.need, plan.need_at, MPI_INT64_T, g->halo->index, plan.give,
                                       plan.give_at, MPI_INT64_T, comm),
                         "MPI_Alltoallv", error)) {
        for (int64_t i = 0; i < g->halo->sent; i++)
            g->halo->index[i] -= g->part.first;
        add_requests(comm, g, &plan, error);
        g->halo_bytes = 8.0 * (double)g->halo->sent;
        g->halo_messages = g->halo->sends;
    }
    plan_free(&plan);
    return sable_agree(comm, error);
}

void mdp_halo_free(struct mdp_halo *halo)
{
    if (!halo)
        return;
    for (int i = 0; i < 2; i++) {
        for (int k = 0; halo->value[i] && k < halo->receives + halo->sends; k++)
            MPI_Request_free(&halo->value[i][k]);
        free(halo->value[i]);
    }
    sable_array_free(halo->index);
    sable_array_free(halo->buffer);
    free(halo->count);
    free(halo);
}

static MPI_Request *requests(const struct mdp_rank *g, const double *v)
{
    return g->halo->value[v == g->value[1]];
}

int mdp_halo_start(struct mdp_rank *g, struct sable_context *context, const double *v, struct sable_error *error)
{
    struct mdp_halo *halo = g->halo;
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < halo->sent; i++)
        halo->buffer[i] = v[halo->index[i]];
    for (int k = 0; k < halo->sends; k++)
        sable_count_sent(context, (size_t)halo->count[k] * sizeof(double));
    return sable_check_mpi(MPI_Startall(halo->receives + halo->sends, requests(g, v)), "MPI_Startall (halo)", error);
}

int mdp_halo_finish(struct mdp_rank *g, const double *v, struct sable_error *error)
{
    return sable_check_mpi(MPI_Waitall(g->halo->receives + g->halo->sends, requests(g, v), MPI_STATUSES_IGNORE),
                           "MPI_Waitall (halo)", error);
}
