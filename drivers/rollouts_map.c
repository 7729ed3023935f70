#include "rollouts_map.h"

#include "sea_chart.h"

/* The cell beside one; −1: there is none. */
static int64_t neighbour(const struct rollouts_map *map, int64_t cell, int direction)
{
    static const int down[] = {-1, 0, 1, 0, 0}, right[] = {0, 1, 0, -1, 0};
    int64_t r = cell / map->width + down[direction], c = cell % map->width + right[direction];
    if (map->wraps)
        c = (c + map->width) % map->width;
    bool inside = r >= 0 && r < map->height && c >= 0 && c < map->width;
    return inside ? r * map->width + c : -1;
}

struct sable_rollouts_outcome rollouts_map_move(const struct rollouts_map *map, int64_t cell, int direction)
{
    int64_t to = neighbour(map, cell, direction);
    uint8_t kind = to < 0 ? (uint8_t)SABLE_CELL_OBSTACLE : map->kind[to];
    if (kind == SABLE_CELL_OBSTACLE)
        return (struct sable_rollouts_outcome){.reward = map->rewards.boundary, .next = cell};
    if (kind == ROLLOUTS_CLIFF)
        return (struct sable_rollouts_outcome){.reward = map->rewards.hole, .next = map->restart};
    return (struct sable_rollouts_outcome){.reward =
                                               sable_gridworld_reward(&map->rewards, (enum sable_gridworld_kind)kind),
                                           .next = kind == SABLE_CELL_GOAL || kind == SABLE_CELL_HOLE ? -1 : to};
}

bool rollouts_map_is_over(uint8_t kind)
{
    return kind == SABLE_CELL_OBSTACLE || kind == SABLE_CELL_GOAL || kind == SABLE_CELL_HOLE || kind == ROLLOUTS_CLIFF;
}

void rollouts_map_draw(struct rollouts_map *map, uint64_t seed, const struct sable_gridworld_densities *share)
{
#pragma omp parallel for schedule(static)
    for (int64_t s = 0; s < map->height * map->width; s++)
        map->kind[s] = (uint8_t)sable_gridworld_draw(seed, share, (uint64_t)s);
}

/* The least divisor of the chart's rows that leaves at most n of them. */
static int64_t coarsening(int64_t n)
{
    int64_t merge = (ROLLOUTS_SEA_ROWS - 1) / n + 1;
    while (ROLLOUTS_SEA_ROWS % merge != 0)
        merge++;
    return merge;
}

void rollouts_map_sea_shape(struct rollouts_map *map, int64_t n)
{
    map->height = ROLLOUTS_SEA_ROWS / coarsening(n);
    map->width = ROLLOUTS_SEA_COLUMNS / coarsening(n);
    map->wraps = true;
}

int rollouts_map_sea(struct rollouts_map *map, struct sable_error *error)
{
    const struct sable_chart_options options = {ROLLOUTS_SEA_ROWS / map->height, 1, 75, true};
    const struct sable_point rotterdam = {51.9, 4.0};
    struct sable_chart chart;
    struct sable_block block;
    int64_t row, column;
    if (!sable_chart_open(NULL, &options, &chart, error)) {
        sable_block_of(chart.grid.rows, chart.grid.columns, true, (struct sable_layout){0, 1, 1}, &block);
        if (!sable_chart_read(&chart, &block, map->kind, error) &&
            !sable_chart_nearest(&chart, &block, map->kind, MPI_COMM_SELF, rotterdam, 1000, &row, &column, error)) {
            for (int64_t s = 0; s < map->height * map->width; s++)
                map->kind[s] =
                    map->kind[s] == SABLE_CHART_SEA ? (uint8_t)SABLE_CELL_FREE : (uint8_t)SABLE_CELL_OBSTACLE;
            map->kind[row * map->width + column] = SABLE_CELL_GOAL;
        }
    }
    sable_chart_close(&chart);
    return error->code;
}
