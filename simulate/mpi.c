/* Stand-ins of MPI calls that SimGrid 3.32 makes in a way that no MPI library does, or that would take it too long. */
#include <mpi.h>
#include <stddef.h>
#include <stdlib.h>

#include "stand_in.h"

/* ---- Reductions that are waited for later ---- */

STAND_IN(MPI_Iallreduce);
STAND_IN(MPI_Wait);
extern __typeof__(MPI_Wait) __real_MPI_Wait;

/* SimGrid's MPI_Iallreduce sends from each rank to each other one. Here the reduction is made when it is waited for:
 * its messages are those of MPI_Allreduce, and none of them is overlapped. */
static struct deferred {
    const void *mine;
    void *all;
    int count;
    MPI_Datatype type;
    MPI_Op op;
    MPI_Comm comm;
} deferred[SIMULATE_MOST_RANKS];

static struct deferred *own_deferred(void)
{
    int rank;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    return &deferred[rank];
}

int __wrap_MPI_Iallreduce(const void *mine, void *all, int count, MPI_Datatype type, MPI_Op op, MPI_Comm comm,
                          MPI_Request *request)
{
    *own_deferred() = (struct deferred){mine, all, count, type, op, comm};
    *request = MPI_REQUEST_NULL;
    return MPI_SUCCESS;
}

int __wrap_MPI_Wait(MPI_Request *request, MPI_Status *status)
{
    struct deferred *d = own_deferred(), now = *d;
    if (*request != MPI_REQUEST_NULL || !now.mine)
        return __real_MPI_Wait(request, status);
    d->mine = NULL;
    return MPI_Allreduce(now.mine, now.all, now.count, now.type, now.op, now.comm);
}

/* ---- Personalised all-to-all ---- */

STAND_IN(MPI_Alltoallv);

static char *at(const void *buffer, MPI_Aint extent, int displacement)
{
    return (char *)(size_t)buffer + extent * displacement;
}

/* In pairs, and nothing where nothing is to be sent, as libraries do. SimGrid's posts all messages at once and takes
 * time in the square of their number for it, and its pairwise one sends empty messages. */
int __wrap_MPI_Alltoallv(const void *from, const int *send, const int *send_at, MPI_Datatype send_type, void *to,
                         const int *receive, const int *receive_at, MPI_Datatype receive_type, MPI_Comm comm)
{
    int rank, ranks, result = MPI_SUCCESS;
    MPI_Aint low, send_extent, receive_extent;
    MPI_Comm_rank(comm, &rank);
    MPI_Comm_size(comm, &ranks);
    MPI_Type_get_extent(send_type, &low, &send_extent);
    MPI_Type_get_extent(receive_type, &low, &receive_extent);
    for (int step = 0; step < ranks && result == MPI_SUCCESS; step++) {
        int next = (rank + step) % ranks, before = (rank + ranks - step) % ranks;
        MPI_Request request[2] = {MPI_REQUEST_NULL, MPI_REQUEST_NULL};
        if (receive[before] > 0)
            result = MPI_Irecv(at(to, receive_extent, receive_at[before]), receive[before], receive_type, before, 0,
                               comm, &request[0]);
        if (send[next] > 0 && result == MPI_SUCCESS)
            result = MPI_Isend(at(from, send_extent, send_at[next]), send[next], send_type, next, 0, comm, &request[1]);
        if (result == MPI_SUCCESS)
            result = MPI_Waitall(2, request, MPI_STATUSES_IGNORE);
    }
    return result;
}

/* ---- Messages of derived types ---- */

STAND_IN(MPI_Isend);
STAND_IN(MPI_Irecv);
extern __typeof__(MPI_Isend) __real_MPI_Isend;
extern __typeof__(MPI_Irecv) __real_MPI_Irecv;

/* sable's derived types are contiguous: as bytes, nothing is packed, and folded arrays are not copied. */
static int in_bytes(int *count, MPI_Datatype *type)
{
    int size;
    MPI_Type_size(*type, &size);
    if ((long long)*count * size > 2147483647)
        return 0;
    *count *= size;
    *type = MPI_BYTE;
    return 1;
}

int __wrap_MPI_Isend(const void *buffer, int count, MPI_Datatype type, int to, int tag, MPI_Comm comm,
                     MPI_Request *request)
{
    in_bytes(&count, &type);
    return __real_MPI_Isend(buffer, count, type, to, tag, comm, request);
}

int __wrap_MPI_Irecv(void *buffer, int count, MPI_Datatype type, int from, int tag, MPI_Comm comm, MPI_Request *request)
{
    in_bytes(&count, &type);
    return __real_MPI_Irecv(buffer, count, type, from, tag, comm, request);
}
