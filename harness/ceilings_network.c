/* MPI between the ranks that measure: latency and bandwidth of pairs, and the collectives that benchmarks lean on. */
#include "ceilings_site.h"

#include <string.h>

#include "sable_array.h"

enum { SMALL = 8, LARGE = 1 << 20, LARGEST = 4 << 20, TAG = 17 };

struct network {
    MPI_Comm comm;
    int partner; /* or MPI_PROC_NULL */
    int starts;  /* this rank of a pair sends first */
    int to, from;
    int bytes; /* of one message; of an alltoall: to each rank */
    int ranks;
    char *out, *in;
};

/* ---- What is timed ---- */

static int run_ping_pong(void *state, int64_t count, struct sable_error *error)
{
    const struct network *n = state;
    int result = MPI_SUCCESS;
    for (int64_t i = 0; i < count && result == MPI_SUCCESS; i++) {
        if (n->starts)
            result = MPI_Send(n->out, n->bytes, MPI_BYTE, n->partner, TAG, n->comm);
        if (result == MPI_SUCCESS)
            result = MPI_Recv(n->in, n->bytes, MPI_BYTE, n->partner, TAG, n->comm, MPI_STATUS_IGNORE);
        if (result == MPI_SUCCESS && !n->starts)
            result = MPI_Send(n->out, n->bytes, MPI_BYTE, n->partner, TAG, n->comm);
    }
    return sable_check_mpi(result, "MPI_Send or MPI_Recv", error);
}

static int run_shift(void *state, int64_t count, struct sable_error *error)
{
    const struct network *n = state;
    int result = MPI_SUCCESS;
    for (int64_t i = 0; i < count && result == MPI_SUCCESS; i++)
        result = MPI_Sendrecv(n->out, n->bytes, MPI_BYTE, n->to, TAG, n->in, n->bytes, MPI_BYTE, n->from, TAG, n->comm,
                              MPI_STATUS_IGNORE);
    return sable_check_mpi(result, "MPI_Sendrecv", error);
}

static int run_allreduce(void *state, int64_t count, struct sable_error *error)
{
    const struct network *n = state;
    int result = MPI_SUCCESS, doubles = n->bytes / (int)sizeof(double);
    for (int64_t i = 0; i < count && result == MPI_SUCCESS; i++)
        result = MPI_Allreduce(n->out, n->in, doubles, MPI_DOUBLE, MPI_SUM, n->comm);
    return sable_check_mpi(result, "MPI_Allreduce", error);
}

static int run_alltoall(void *state, int64_t count, struct sable_error *error)
{
    const struct network *n = state;
    int result = MPI_SUCCESS;
    for (int64_t i = 0; i < count && result == MPI_SUCCESS; i++)
        result = MPI_Alltoall(n->out, n->bytes, MPI_BYTE, n->in, n->bytes, MPI_BYTE, n->comm);
    return sable_check_mpi(result, "MPI_Alltoall", error);
}

/* ---- Who talks to whom ---- */

/* Rank r with r ^ 1; the last of an odd number of ranks rests. */
static void pair_neighbours(const struct ceilings_site *site, struct network *n)
{
    int partner = site->rank ^ 1;
    n->partner = partner < site->ranks ? partner : MPI_PROC_NULL;
    n->starts = site->rank % 2 == 0;
}

/* Rank 0 with the last one, which launchers place farthest from it; the others rest. */
static void pair_farthest(const struct ceilings_site *site, struct network *n)
{
    int last = site->ranks - 1;
    n->partner = site->rank == 0 ? last : site->rank == last ? 0 : MPI_PROC_NULL;
    n->starts = site->rank == 0;
}

static void shift_by(const struct ceilings_site *site, int distance, struct network *n)
{
    n->to = (site->rank + distance) % site->ranks;
    n->from = (site->rank - distance + site->ranks) % site->ranks;
}

/* ---- Each ceiling ---- */

/* Seconds of half a round trip of messages of `bytes`. */
static int time_ping_pong(const struct ceilings_site *site, int bytes, struct network *n,
                          struct sable_interval *seconds, struct sable_error *error)
{
    struct ceilings_kernel kernel = {.run = run_ping_pong, .state = n, .most = 0};
    n->bytes = bytes;
    if (ceilings_time(site, &kernel, seconds, error))
        return error->code;
    seconds->low /= 2;
    seconds->mid /= 2;
    seconds->high /= 2;
    return SABLE_OK;
}

static int add_latencies(const struct ceilings_site *site, struct network *n, struct sable_ceilings *ceilings,
                         struct sable_error *error)
{
    struct sable_interval seconds;
    int index;
    pair_neighbours(site, n);
    if (time_ping_pong(site, SMALL, n, &seconds, error) ||
        ceilings_add_time(site, "mpi_latency", "us", 1e-6, &seconds, ceilings, error))
        return error->code;
    pair_farthest(site, n);
    if (time_ping_pong(site, SMALL, n, &seconds, error) ||
        ceilings_add_time(site, "mpi_latency_far", "us", 1e-6, &seconds, ceilings, error))
        return error->code;
    if (time_ping_pong(site, LARGEST, n, &seconds, error))
        return error->code;
    return ceilings_add_rate(site, "mpi_bandwidth_far", "GB/s", LARGEST, &seconds, ceilings, &index, error);
}

/* All ranks send and receive at the same time: the faster of 1 and 4 MiB messages. */
static int add_bandwidth(const struct ceilings_site *site, const char *name, int distance, struct network *n,
                         struct sable_ceilings *ceilings, struct sable_error *error)
{
    struct ceilings_kernel kernel = {.run = run_shift, .state = n, .most = 0};
    struct sable_interval seconds, best = {0};
    int best_bytes = 0, index;
    shift_by(site, distance, n);
    for (int bytes = LARGE; bytes <= LARGEST; bytes *= LARGEST / LARGE) {
        n->bytes = bytes;
        if (ceilings_time(site, &kernel, &seconds, error))
            return error->code;
        if (best_bytes == 0 || bytes / seconds.mid > best_bytes / best.mid) {
            best = seconds;
            best_bytes = bytes;
        }
    }
    return ceilings_add_rate(site, name, "GB/s", (double)best_bytes * site->ranks, &best, ceilings, &index, error);
}

static int add_collectives(const struct ceilings_site *site, struct network *n, struct sable_ceilings *ceilings,
                           struct sable_error *error)
{
    struct ceilings_kernel allreduce = {.run = run_allreduce, .state = n, .most = 0};
    struct ceilings_kernel alltoall = {.run = run_alltoall, .state = n, .most = 0};
    struct sable_interval seconds;
    int index;
    n->bytes = SMALL;
    if (ceilings_time(site, &allreduce, &seconds, error) ||
        ceilings_add_time(site, "mpi_allreduce_8B", "us", 1e-6, &seconds, ceilings, error))
        return error->code;
    n->bytes = LARGE;
    if (ceilings_time(site, &allreduce, &seconds, error) ||
        ceilings_add_time(site, "mpi_allreduce_1MB", "us", 1e-6, &seconds, ceilings, error))
        return error->code;
    /* What goes from a rank to itself does not count. */
    n->bytes = LARGEST / site->ranks > SMALL ? LARGEST / site->ranks : SMALL;
    double bytes = (double)n->bytes * site->ranks * (site->ranks - 1);
    if (ceilings_time(site, &alltoall, &seconds, error))
        return error->code;
    return ceilings_add_rate(site, "mpi_alltoall", "GB/s", bytes, &seconds, ceilings, &index, error);
}

int ceilings_network(const struct ceilings_site *site, struct sable_ceilings *ceilings, struct sable_error *error)
{
    if (site->ranks < 2)
        return SABLE_OK;
    int64_t room = LARGEST > (int64_t)SMALL * site->ranks ? LARGEST : (int64_t)SMALL * site->ranks;
    struct network n = {
        .comm = site->comm, .ranks = site->ranks, .out = sable_array(room, 1, 1), .in = sable_array(room, 1, 1)};
    if (!n.out || !n.in)
        sable_fail(error, SABLE_ENVIRONMENT, "no memory for messages of %lld bytes", (long long)room);
    else
        memset(n.out, 0, (size_t)room);
    if (sable_agree(site->comm, error) || add_latencies(site, &n, ceilings, error) ||
        add_bandwidth(site, "mpi_bandwidth", 1, &n, ceilings, error) ||
        add_bandwidth(site, "mpi_bandwidth_half", site->ranks / 2, &n, ceilings, error))
        goto done;
    add_collectives(site, &n, ceilings, error);
done:
    sable_array_free(n.out);
    sable_array_free(n.in);
    return error->code;
}
