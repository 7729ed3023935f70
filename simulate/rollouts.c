/* Stand-ins of rollouts/steps. Unit: one episode (of the mean length that the real run had). */
#include "sable_rollouts.h"

#include "stand_in.h"

STAND_IN(sable_rollouts_play_grid);
STAND_IN(sable_rollouts_play_rows);

static void play(const struct sable_rollouts_share *share, struct sable_rollouts_totals *totals,
                 struct sable_rollouts_chunk *chunk)
{
    int64_t episodes = 0;
    for (int64_t i = 0; i < share->count; i++) {
        int64_t first = (share->first + i * share->stride) * SABLE_CHUNK;
        int64_t left = share->episodes - first;
        episodes += left < SABLE_CHUNK ? left : SABLE_CHUNK;
        chunk[i] = (struct sable_rollouts_chunk){0};
    }
    *totals = (struct sable_rollouts_totals){0};
    simulate_units((double)episodes);
}

void __wrap_sable_rollouts_play_grid(const struct sable_rollouts_grid *grid, const struct sable_rollouts_share *share,
                                     struct sable_rollouts_totals *totals, struct sable_rollouts_chunk *chunk)
{
    (void)grid;
    play(share, totals, chunk);
}

void __wrap_sable_rollouts_play_rows(const struct sable_rollouts_rows *rows, const struct sable_rollouts_share *share,
                                     struct sable_rollouts_totals *totals, struct sable_rollouts_chunk *chunk)
{
    (void)rows;
    play(share, totals, chunk);
}
