/* The chart of value_iteration/sea: land and sea on a latitude–longitude grid, read block by block from an input file
 * or data/sea.h5, and made coarser or finer. */
#ifndef SABLE_SEA_CHART_H
#define SABLE_SEA_CHART_H

#include "driver.h"
#include "grid_halo.h"
#include "sable_sea.h"

enum { SABLE_CHART_LAND, SABLE_CHART_SEA, SABLE_CHART_ICE }; /* what a cell of the chart is */

struct sable_chart_options {
    int64_t coarsen, refine; /* cells merged, or cut, along each axis: one of them is 1 */
    double ice;              /* degrees: the sea is closed beyond this latitude, north and south */
    bool canals;             /* ship canals are open */
};

struct sable_chart {
    struct sable_sea_grid grid; /* after merging and cutting */
    struct sable_chart_options options;
    struct sable_input *input;
    bool opened; /* input is the chart's own */
};

/* Opens `input`, or data/sea.h5 if it is NULL, and checks shape and axes: rows from south to north, columns from west
 * to east all the way round, both regular. Not collective. Closed by sable_chart_close() also after an error. */
int sable_chart_open(struct sable_input *input, const struct sable_chart_options *options, struct sable_chart *chart,
                     struct sable_error *error);
void sable_chart_close(struct sable_chart *chart);

/* Fills in cell[r·width + c] for this rank's block. Merged cells are sea if at least half of their cells are, or if a
 * fairway runs through. Not collective. */
int sable_chart_read(const struct sable_chart *chart, const struct sable_block *block, uint8_t *cell,
                     struct sable_error *error);

/* Collective. The sea cell nearest to a place, of equal ones the first: its row and column in the grid. Refused if it
 * is more than `limit` km away. */
int sable_chart_nearest(const struct sable_chart *chart, const struct sable_block *block, const uint8_t *cell,
                        MPI_Comm comm, struct sable_point place, double limit, int64_t *row, int64_t *column,
                        struct sable_error *error);

#endif
