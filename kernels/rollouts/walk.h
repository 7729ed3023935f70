/* Private to the family: dealing episodes out to the lanes of a thread. */
#ifndef SABLE_WALK_H
#define SABLE_WALK_H

#include "walk_lanes.h"

typedef void draw_function(uint64_t seed, uint32_t purpose, const uint32_t *low, const uint32_t *high,
                           const uint32_t *block, uint32_t *words);

typedef uint32_t advance_grid_function(const struct sable_rollouts_grid *grid, struct walk_lanes *lanes,
                                       const uint32_t *words);
typedef uint32_t advance_rows_function(const struct sable_rollouts_rows *rows, struct walk_lanes *lanes,
                                       const uint32_t *words, const struct walk_trace *trace);

/* One of the two environments. */
struct walk {
    const struct sable_rollouts_grid *grid; /* or NULL */
    const struct sable_rollouts_rows *rows; /* or NULL */
    draw_function *draw;
    uint32_t resting; /* a state where a lane without an episode may stand: any whose row can be read */
};

/* What a thread has taken from its rank's share. */
struct dealer {
    const struct walk *walk;
    const struct sable_rollouts_share *share;
    int64_t *taken;                      /* of the share's chunks, by all threads together */
    int64_t chunk;                       /* index into the share of the chunk in hand, −1 at first */
    int64_t drawn, left;                 /* the next episode's id as it is drawn for, and how many are left */
    uint32_t start[SABLE_CHUNK + LANES]; /* where the chunk's episodes start; some more can be read */
    int64_t chunk_of_lane[LANES];        /* what each lane plays */
};

/* Tallies of one thread. */
struct tallies {
    struct sable_tally returns, lengths;
    int64_t cut, histogram[SABLE_LENGTH_BINS];
};

/* What an episode contributes. */
static inline void sable_walk_count(double total, uint32_t length, bool cut, struct tallies *tallies,
                                    struct sable_rollouts_chunk *chunk)
{
    int64_t quantised = sable_exact_quantise(total);
    sable_tally_add(&tallies->returns, quantised);
    sable_tally_add(&tallies->lengths, (int64_t)length << 24);
    tallies->cut += cut;
    tallies->histogram[31 - __builtin_clz(length | 1)]++;
    chunk->sum += (uint64_t)quantised;
    chunk->steps += length;
}

/* One thread plays what it can take from its rank's share: chunk[share->count]. Wider levels than the others' 32 lanes
 * keep their lanes to themselves. */
SABLE_ISA_DECLARE(void, rollouts_play_grid,
                  (struct dealer * dealer, struct tallies *tallies, struct sable_rollouts_chunk *chunk));
SABLE_ISA_DECLARE(void, rollouts_play_rows,
                  (struct dealer * dealer, struct tallies *tallies, struct sable_rollouts_chunk *chunk));

/* The index of the next chunk of a share of which *taken are taken, by all threads together; −1 at the end. */
int64_t sable_walk_next(const struct sable_rollouts_share *share, int64_t *taken);

/* Takes the next chunk into an empty hand and draws where its episodes start; false if there is none. */
bool sable_walk_take(struct dealer *dealer);

/* Where an episode starts, of the two words drawn for it. */
uint32_t sable_walk_start(const struct walk *walk, uint32_t high, uint32_t low);

/* Gives the next episode to a lane; false, and the lane is put to rest, if there are no more. */
bool sable_walk_deal(struct dealer *dealer, struct walk_lanes *lanes, int lane);

/* Deals to all lanes of a thread; returns which have one, a bit each. */
uint32_t sable_walk_begin(struct dealer *dealer, struct walk_lanes *lanes);

#endif
