/* Ship routing on a latitude–longitude grid as a stochastic shortest path: what one rank computes.
 *
 * States are sea cells, actions the eight headings, the cost of a move is its hours over the great circle between cell
 * centres. A ship that steers heading a makes good a with probability 1 − 2d, and each neighbouring heading with
 * probability d; where that way is closed, the helmsman keeps to a. A heading is closed if the cell ahead is no sea, or
 * if it is a diagonal between two cells of land. The expected hours to the port, V, solve
 *
 *   V(s) = min_a Σ_b p(b|a) (hours_b(s) + V(s_b)),   V(port) = 0
 *
 * A field of hours holds, in one array: NaN on land, 0 at the port, +inf where no way to the port is known, else the
 * hours. A field has a halo of one cell on each side; cell (r, c) is v[r·pitch + c], rows from south to north, columns
 * from west to east. Mathematics and bounds: docs/value_iteration_sea.md. Source: Bertsekas & Tsitsiklis, An Analysis
 * of Stochastic Shortest Path Problems, Math. Oper. Res. 16 (1991) 580–595. */
#ifndef SABLE_SEA_H
#define SABLE_SEA_H

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Headings are numbered clockwise from north. */
enum sable_heading {
    SABLE_SEA_N,
    SABLE_SEA_NE,
    SABLE_SEA_E,
    SABLE_SEA_SE,
    SABLE_SEA_S,
    SABLE_SEA_SW,
    SABLE_SEA_W,
    SABLE_SEA_NW,
    SABLE_SEA_HEADINGS
};
#define SABLE_SEA_KNOT 1.852 /* km/h */

/* What stands in a map of headings where none is steered. */
enum { SABLE_SEA_ARRIVED = 8, SABLE_SEA_NO_WAY = -1, SABLE_SEA_LAND = -2 };

/* Great-circle distance in km on the sphere of the Earth's mean radius; degrees. */
double sable_sea_distance(double lat_a, double lon_a, double lat_b, double lon_b);

/* The moves from the cells of one row: they depend on the latitude alone. */
struct sable_sea_row {
    double leg[SABLE_SEA_HEADINGS]; /* hours; +inf beyond the poles */
    double shortest;                /* hours of the shortest of them */
};

/* Centres of the whole grid's cells: lat0 + i·dlat, lon0 + j·dlon, in degrees. */
struct sable_sea_grid {
    int64_t rows, columns;
    double lat0, dlat, lon0, dlon;
};

/* Rows [first, first + count) of the grid, at a speed in knots. Legs are the same to the bit in both directions. */
void sable_sea_rows(const struct sable_sea_grid *grid, double knots, int64_t first, int64_t count,
                    struct sable_sea_row *row);

/* One sweep over a rectangle of rows × columns cells: next = T v, land and port as they are. Returns the largest
 * |next − v| in units of the row's shortest leg: 0 if no bit changed, +inf if a cell was reached for the first time.
 * With drift 0 and v = +inf at first, sweeps are Bellman–Ford's. Bit for bit the same for both functions below and
 * every instruction set. */
typedef double sable_sea_sweep_function(const struct sable_sea_row *row, double drift, int64_t rows, int64_t columns,
                                        const double *v, double *next, int64_t pitch);
/* The textbook's: cell by cell, action by action. */
sable_sea_sweep_function sable_sea_sweep_reference;
/* The vectorised one for this processor; chosen once, outside of loops. */
sable_sea_sweep_function *sable_sea_sweep(void);

/* The guarantee for a field of hours v and its greedy policy π, whose hours are V^π ≥ V*:
 *
 *   (1 − below) v ≤ V* ≤ V^π ≤ (1 + above) v,   rounding errors included. */
struct sable_sea_bounds {
    double below, above; /* +inf if there is none */
};

/* The best heading of each cell of a rectangle (codes as above), and what its cells contribute to the bounds; the
 * bounds of the whole are the largest. heading[r·columns + c]. */
void sable_sea_greedy(const struct sable_sea_row *row, double drift, int64_t rows, int64_t columns, const double *v,
                      int64_t pitch, int8_t *heading, int64_t heading_pitch, struct sable_sea_bounds *bounds);

/* Is (1 + above) v of cell v[0] at least what following `heading` from there gives, rounding errors included? If that
 * holds in every cell, (1 + above) v bounds the policy's hours from above. */
bool sable_sea_bounded(const struct sable_sea_row *row, double drift, const double *v, int64_t pitch, int heading,
                       double above);

#ifdef __cplusplus
}
#endif
#endif
