#include "rollouts_sharing.h"

#include <omp.h>
#include <sched.h>

#include "sable_array.h"

const char *const rollouts_sharing_names[] = {"static", "dynamic", NULL};
enum { AHEAD = 4, REFILL = 2 }; /* for each thread: room, and what rank 0 is asked for at a time */

struct sable_rollouts_share rollouts_sharing_share(int kind, struct sable_layout layout, uint64_t seed,
                                                   int64_t episodes)
{
    const struct sable_layout alone = {0, 1, layout.threads};
    return rollouts_share(kind == ROLLOUTS_DYNAMIC ? alone : layout, seed, episodes);
}

int rollouts_sharing_open(struct rollouts_sharing *sharing, struct sable_context *context, int kind,
                          struct sable_error *error)
{
    const bool first = context->layout.rank == 0;
    *sharing = (struct rollouts_sharing){
        .context = context, .ranks = context->layout.ranks, .threads = context->layout.threads};
    if (kind != ROLLOUTS_DYNAMIC || context->layout.ranks == 1)
        return SABLE_OK; /* one rank has them all */
    if (sable_check_mpi(MPI_Win_allocate(first ? sizeof *sharing->counter : 0, sizeof *sharing->counter, MPI_INFO_NULL,
                                         context->comm, (void *)&sharing->counter, &sharing->window),
                        "MPI_Win_allocate", error))
        return error->code;
    sharing->open = true;
    sharing->ahead = sable_array(sharing->threads, AHEAD, sizeof *sharing->ahead);
    if (!sharing->ahead)
        sable_fail(error, SABLE_ENVIRONMENT, "rollouts: out of memory for the chunks that are taken ahead");
    if (!error->code &&
        !sable_check_mpi(MPI_Win_set_errhandler(sharing->window, MPI_ERRORS_RETURN), "MPI_Win_set_errhandler", error))
        sable_check_mpi(MPI_Win_lock_all(0, sharing->window), "MPI_Win_lock_all", error);
    return error->code;
}

void rollouts_sharing_close(struct rollouts_sharing *sharing)
{
    sable_array_free(sharing->ahead);
    sharing->ahead = NULL;
    if (!sharing->open)
        return;
    MPI_Win_unlock_all(sharing->window);
    MPI_Win_free(&sharing->window);
    sharing->open = false;
}

/* *before = the counter, which becomes `operand` (MPI_REPLACE) or that much more (MPI_SUM). */
static int fetch(struct rollouts_sharing *sharing, MPI_Op op, int64_t operand, int64_t *before)
{
    int code = MPI_Fetch_and_op(&operand, before, MPI_INT64_T, 0, 0, op, sharing->window);
    return code == MPI_SUCCESS ? MPI_Win_flush(0, sharing->window) : code;
}

int rollouts_sharing_reset(struct rollouts_sharing *sharing, int64_t episodes, struct sable_error *error)
{
    int64_t before;
    sharing->chunks = (episodes - 1) / SABLE_CHUNK + 1;
    sharing->taken = sharing->filled = 0;
    sharing->finished = false;
    sharing->failed = MPI_SUCCESS;
    if (!sharing->open)
        return SABLE_OK;
    if (sharing->context->layout.rank == 0 &&
        sable_check_mpi(fetch(sharing, MPI_REPLACE, 0, &before), "MPI_Fetch_and_op", error))
        return error->code;
    return sable_check_mpi(MPI_Barrier(sharing->context->comm), "MPI_Barrier", error);
}

/* Asks rank 0 for some chunks more: fewer and fewer towards the end, when ranks must not keep what others could play.
 */
static void refill(struct rollouts_sharing *sharing, int64_t left)
{
    int64_t most = (int64_t)REFILL * sharing->threads, fair = left / (2 * sharing->ranks), first;
    int64_t count = fair < 1 ? 1 : fair < most ? fair : most;
    int code = fetch(sharing, MPI_SUM, count, &first);
    sable_count_sent(sharing->context, sizeof count);
#pragma omp critical(rollouts_sharing)
    {
        for (int64_t k = 0; k < count && first + k < sharing->chunks && code == MPI_SUCCESS; k++)
            sharing->ahead[sharing->filled++ % ((int64_t)AHEAD * sharing->threads)] = first + k;
        sharing->finished = code != MPI_SUCCESS || first + count >= sharing->chunks;
        sharing->failed = code;
    }
}

/* sable_rollouts_take: by any thread of the rank. */
static int64_t take(void *context)
{
    struct rollouts_sharing *sharing = context;
    for (;;) {
        int64_t chunk = -1, stock, last;
        bool finished;
#pragma omp critical(rollouts_sharing)
        {
            int64_t room = (int64_t)AHEAD * sharing->threads;
            last = sharing->filled > 0 ? sharing->ahead[(sharing->filled - 1) % room] : -1;
            if (sharing->taken < sharing->filled)
                chunk = sharing->ahead[sharing->taken++ % room];
            stock = sharing->filled - sharing->taken;
            finished = sharing->finished;
        }
        if (omp_get_thread_num() == 0 && !finished && stock < sharing->threads)
            refill(sharing, sharing->chunks - 1 - last);
        if (chunk >= 0 || (finished && stock == 0))
            return chunk;
        sched_yield(); /* thread 0 will come by when its chunk is played */
    }
}

struct sable_rollouts_share rollouts_sharing_play(struct rollouts_sharing *sharing, struct sable_context *context,
                                                  const struct sable_rollouts_share *share)
{
    struct sable_rollouts_share played = rollouts_faulty_share(context, share);
    if (!sharing->open)
        return played;
    played.count = share->count; /* room for all; the last chunk is left out for all ranks alike */
    sharing->chunks = share->count - (context->fault == ROLLOUTS_DROPPED_CHUNK);
    played.take = take;
    played.taker = sharing;
    return played;
}

int rollouts_sharing_check(const struct rollouts_sharing *sharing, struct sable_error *error)
{
    return sable_check_mpi(sharing->failed, "MPI_Fetch_and_op", error);
}
