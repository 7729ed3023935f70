/* Stand-ins of value_iteration/gridworld. Unit: one cell of one sweep. No sweep converges: `max_sweeps` ends the run.
 */
#include "sable_gridworld.h"

#include "stand_in.h"

STAND_IN(sable_gridworld_draw);
STAND_IN(sable_gridworld_encode);
STAND_IN(sable_gridworld_start);
STAND_IN(sable_gridworld_sweep);
STAND_IN(sable_gridworld_policy);

enum sable_gridworld_kind __wrap_sable_gridworld_draw(uint64_t seed, const struct sable_gridworld_densities *densities,
                                                      uint64_t index)
{
    (void)seed, (void)densities, (void)index;
    return SABLE_CELL_FREE;
}

void __wrap_sable_gridworld_encode(const uint8_t *kinds, int64_t height, int64_t width, int64_t pitch, uint8_t *cells)
{
    (void)kinds, (void)height, (void)width, (void)pitch, (void)cells;
}

void __wrap_sable_gridworld_start(const struct sable_gridworld_model *model, const struct sable_gridworld_block *block,
                                  double value, double *u)
{
    (void)model, (void)block, (void)value, (void)u;
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

void __wrap_sable_gridworld_policy(const struct sable_gridworld_model *model, const struct sable_gridworld_block *block,
                                   const double *u, double shift, double *v, int8_t *policy)
{
    (void)model, (void)u, (void)shift, (void)v, (void)policy;
    simulate_units((double)block->height * (double)block->width);
}
