/* Stand-ins of value_iteration/gridworld. Unit: one cell of one sweep. No sweep converges: `max_sweeps` ends the run.
 */
#include "sable_gridworld.h"

#include "stand_in.h"

STAND_IN(sable_gridworld_draw);
STAND_IN(sable_gridworld_start);
STAND_IN(sable_gridworld_sweep);
STAND_IN(sable_gridworld_sweeps);
STAND_IN(sable_gridworld_policy);

enum sable_gridworld_kind __wrap_sable_gridworld_draw(uint64_t seed, const struct sable_gridworld_densities *densities,
                                                      uint64_t index)
{
    (void)seed, (void)densities, (void)index;
    return SABLE_CELL_FREE;
}

void __wrap_sable_gridworld_start(const struct sable_gridworld_model *model, const struct sable_gridworld_block *block,
                                  int depth, double value, double *u)
{
    (void)model, (void)block, (void)depth, (void)value, (void)u;
}

struct sable_gridworld_change __wrap_sable_gridworld_sweep(const struct sable_gridworld_model *model,
                                                           const struct sable_gridworld_block *block, const double *u,
                                                           struct sable_gridworld_range range, bool stream,
                                                           double *next)
{
    (void)model, (void)block, (void)u, (void)stream, (void)next;
    simulate_units((double)(range.row_end - range.row) * (double)(range.column_end - range.column));
    return (struct sable_gridworld_change){-1e30, 1e30};
}

/* With the cells of the halo that a rank sweeps again. */
struct sable_gridworld_change __wrap_sable_gridworld_sweeps(const struct sable_gridworld_model *model,
                                                            const struct sable_gridworld_block *block,
                                                            struct sable_gridworld_sides sides, int count,
                                                            double *const u[2])
{
    (void)model, (void)u;
    for (int more = count - 1; more >= 0; more--)
        simulate_units((double)(block->height + more * (sides.north + sides.south)) *
                       (double)(block->width + more * (sides.east + sides.west)));
    return (struct sable_gridworld_change){-1e30, 1e30};
}

void __wrap_sable_gridworld_policy(const struct sable_gridworld_model *model, const struct sable_gridworld_block *block,
                                   const double *u, double shift, double *v, int8_t *policy)
{
    (void)model, (void)u, (void)shift, (void)v, (void)policy;
    simulate_units((double)block->height * (double)block->width);
}
