/* What value_iteration/sea holds of one rank, shared by its files: value_iteration_sea.c solves, sea_result.c verifies
 * the answer and gives it out. */
#ifndef SEA_STATE_H
#define SEA_STATE_H

#include "sea_chart.h"
#include "sea_field.h"

struct sea_params {
    struct sable_point port; /* latitude, longitude */
    double speed, drift, gap, ice;
    int canals;
    int64_t coarsen, refine;
};

enum sea_pass { SEA_FREE, SEA_DRIFTING }; /* without and with drift */

struct sea_state {
    struct sea_params params;
    struct sable_sea_grid grid;
    struct sable_sea_field field;
    int64_t port_row, port_column; /* in the grid */
    int8_t *heading;               /* [height × width] */
    double *axis;                  /* room for lat or lon of the block */
    int64_t sweeps[2];             /* by enum sea_pass */
    struct sable_sea_bounds bounds;
};

/* What the certified bounds differ by, relative. */
static inline double sea_gap(const struct sea_state *s)
{
    return s->bounds.above + s->bounds.below;
}

/* As in struct sable_workload. */
int sea_verify(void *state, struct sable_context *context, struct sable_checks *checks, struct sable_error *error);
int sea_output(void *state, struct sable_context *context, struct sable_sink *sink, struct sable_error *error);

#endif
