/* Which rank plays which chunk of episodes: dealt out in turn (rank r of R plays r, r + R, …), or taken as ranks come
 * to them, from a counter in a window of rank 0. Who plays a chunk changes nothing in what it comes to. */
#ifndef ROLLOUTS_SHARING_H
#define ROLLOUTS_SHARING_H

#include "rollouts_share.h"

enum rollouts_sharing_kind { ROLLOUTS_STATIC, ROLLOUTS_DYNAMIC };
extern const char *const rollouts_sharing_names[];
#define ROLLOUTS_SHARING_PARAMETER(at)                                                                                 \
    {                                                                                                                  \
        "sharing", SABLE_CHOICE, at, "", 0, 0, 0, 0, rollouts_sharing_names, "static",                                 \
            "chunks of episodes are dealt to ranks in turn, or taken by ranks as they come to them: the same bits"     \
    }

/* One rank's part. Only its thread 0 speaks to other ranks: it keeps a few chunks ahead, which all threads take. */
struct rollouts_sharing {
    bool open;
    MPI_Win window; /* of rank 0: the next chunk that nobody has */
    int64_t *counter;
    int64_t chunks; /* to be taken in this repetition */
    int ranks, threads;
    int64_t *ahead; /* [threads · 4] a ring */
    int64_t taken, filled;
    bool finished;
    int failed; /* an error code of MPI, or MPI_SUCCESS */
    struct sable_context *context;
};

/* Collective; for `dynamic` makes the window. Closed by rollouts_sharing_close() in any case. */
int rollouts_sharing_open(struct rollouts_sharing *sharing, struct sable_context *context, int kind,
                          struct sable_error *error);
void rollouts_sharing_close(struct rollouts_sharing *sharing);
/* Collective, before each repetition: nothing is taken. */
int rollouts_sharing_reset(struct rollouts_sharing *sharing, int64_t episodes, struct sable_error *error);

/* The chunks that a rank may come to play: all of them if they are taken dynamically. */
struct sable_rollouts_share rollouts_sharing_share(int kind, struct sable_layout layout, uint64_t seed,
                                                   int64_t episodes);
/* That share as it is played: taken from the others if need be, and spoilt by the context's fault. */
struct sable_rollouts_share rollouts_sharing_play(struct rollouts_sharing *sharing, struct sable_context *context,
                                                  const struct sable_rollouts_share *share);
/* After it was played: whether communication failed. Not collective. */
int rollouts_sharing_check(const struct rollouts_sharing *sharing, struct sable_error *error);

#endif
