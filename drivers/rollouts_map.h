/* Maps that rollouts walk on: cells of a kind (enum sable_gridworld_kind), drawn, spelt out, or the sea chart. */
#ifndef ROLLOUTS_MAP_H
#define ROLLOUTS_MAP_H

#include "driver.h"
#include "sable_gridworld.h"
#include "sable_rollouts.h"

enum { ROLLOUTS_NORTH, ROLLOUTS_EAST, ROLLOUTS_SOUTH, ROLLOUTS_WEST, ROLLOUTS_DIRECTIONS };
enum { ROLLOUTS_STAY = ROLLOUTS_DIRECTIONS }; /* a fifth move */
enum { ROLLOUTS_CLIFF = SABLE_CELL_KINDS };   /* one more kind: back to where episodes start, for `hole` */

struct rollouts_map {
    int64_t height, width;
    uint8_t *kind; /* [height·width] owned by whoever made the map */
    struct sable_gridworld_model rewards;
    bool wraps;      /* the westernmost column is east of the easternmost */
    int64_t restart; /* the only start, or −1: all cells are */
};

/* What a move leads to, for certain: its probability is left at 0. Into obstacles and over edges: the agent stays. */
struct sable_rollouts_outcome rollouts_map_move(const struct rollouts_map *map, int64_t cell, int direction);
/* Nobody acts in a cell of this kind. */
bool rollouts_map_is_over(uint8_t kind);

/* Draws the kinds of a map of known shape. */
void rollouts_map_draw(struct rollouts_map *map, uint64_t seed, const struct sable_gridworld_densities *share);

/* The chart data/sea.h5, of whose cells so many are merged along each axis that at most n ≥ 2 rows are left: all water
 * is free, land is an obstacle, Rotterdam the goal, and the map goes round the Earth. */
enum { ROLLOUTS_SEA_ROWS = 720, ROLLOUTS_SEA_COLUMNS = 1440 };
/* Height, width and wraps. */
void rollouts_map_sea_shape(struct rollouts_map *map, int64_t n);
/* The kinds of a map of that shape. Not collective. */
int rollouts_map_sea(struct rollouts_map *map, struct sable_error *error);

#endif
