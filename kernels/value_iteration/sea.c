/* Distances, the textbook sweep, the greedy policy and its bounds. The fast sweep is in sea_sweep.isa.c.
 *
 * The bounds. Let T be the Bellman operator, T_π that of the policy greedy for v, δ(s) = (T v − v)(s), and h_π(s) the
 * expected hours of one move under π. With w = (1 + ε) v,
 *
 *   T_π w = (1 + ε) T_π v − ε h_π = (1 + ε)(v + δ) − ε h_π ≤ w   if ε (h_π − δ) ≥ δ in every cell,
 *
 * and T_π w ≤ w, costs being positive, implies that π is proper and V^π ≤ w. In the same way (1 − ε) v is a lower bound
 * if ε ≥ −δ/h in every cell, h the shortest leg there. */
#include "sable_sea.h"

#include <float.h>
#include <math.h>
#include <stddef.h>

#include "sable_isa.h"

static const double EARTH_RADIUS = 6371.0088; /* km, mean: IUGG (2R_equatorial + R_polar)/3 */
static const double RADIANS = 3.14159265358979323846 / 180;

/* All terms of a backup are positive, so its relative rounding error is at most that of its longest chain of
 * operations: six of u = ε/2, and one of the probabilities. The guards leave room for those of the check itself. */
static const double BACKUP_ERROR = 8 * DBL_EPSILON / 2, CERTIFIED_ERROR = 32 * DBL_EPSILON / 2;

double sable_sea_distance(double lat_a, double lon_a, double lat_b, double lon_b)
{
    double up = sin((lat_b - lat_a) * RADIANS / 2), across = sin((lon_b - lon_a) * RADIANS / 2);
    double haversine = up * up + cos(lat_a * RADIANS) * cos(lat_b * RADIANS) * across * across;
    return 2 * EARTH_RADIUS * asin(sqrt(fmin(haversine, 1)));
}

/* Hours between the centres of two cells: of row i and, one column (if `across`) further, of row j. */
static double leg_hours(const struct sable_sea_grid *grid, double knots, int64_t i, int64_t j, bool across)
{
    int64_t south = i < j ? i : j, north = i < j ? j : i;
    if (south < 0 || north >= grid->rows)
        return INFINITY;
    return sable_sea_distance(grid->lat0 + (double)south * grid->dlat, 0, grid->lat0 + (double)north * grid->dlat,
                              across ? grid->dlon : 0) /
           (knots * SABLE_SEA_KNOT);
}

void sable_sea_rows(const struct sable_sea_grid *grid, double knots, int64_t first, int64_t count,
                    struct sable_sea_row *row)
{
    static const int up[SABLE_SEA_HEADINGS] = {1, 1, 0, -1, -1, -1, 0, 1};
    for (int64_t r = 0; r < count; r++) {
        row[r].shortest = INFINITY;
        for (int b = 0; b < SABLE_SEA_HEADINGS; b++) {
            bool across = b != SABLE_SEA_N && b != SABLE_SEA_S;
            row[r].leg[b] = leg_hours(grid, knots, first + r, first + r + up[b], across);
            row[r].shortest = fmin(row[r].shortest, row[r].leg[b]);
        }
    }
}

/* What a ship finds that makes good each heading: the hours of the leg, and those from its end to the port, scaled.
 * Closed ways are +inf. */
static void look_around(const struct sable_sea_row *row, const double *v, int64_t pitch, double scale,
                        double hours[SABLE_SEA_HEADINGS])
{
    const ptrdiff_t step[SABLE_SEA_HEADINGS] = {pitch, pitch + 1, 1, 1 - pitch, -pitch, -pitch - 1, -1, pitch - 1};
    for (int b = 0; b < SABLE_SEA_HEADINGS; b++) {
        double ahead = row->leg[b] + scale * v[step[b]];
        hours[b] = ahead < INFINITY ? ahead : INFINITY; /* NaN is land */
    }
    for (int b = SABLE_SEA_NE; b < SABLE_SEA_HEADINGS; b += 2)
        if (hours[b - 1] == INFINITY && hours[(b + 1) % SABLE_SEA_HEADINGS] == INFINITY)
            hours[b] = INFINITY; /* between two corners of land */
}

/* The mean over where a ship gets to that steers a, of values by heading; `hours` tells which ways are open. */
static double expect(const double hours[SABLE_SEA_HEADINGS], const double value[SABLE_SEA_HEADINGS], double drift,
                     int a)
{
    int port = (a + 7) % SABLE_SEA_HEADINGS, starboard = (a + 1) % SABLE_SEA_HEADINGS;
    double set_to_port = hours[port] < INFINITY ? value[port] : value[a];
    double set_to_starboard = hours[starboard] < INFINITY ? value[starboard] : value[a];
    return (1 - 2 * drift) * value[a] + drift * (set_to_port + set_to_starboard);
}

/* The Bellman backup of one cell; *heading is the first of the best, or SABLE_SEA_NO_WAY. */
static double backup(const double hours[SABLE_SEA_HEADINGS], double drift, int *heading)
{
    double best = INFINITY;
    *heading = SABLE_SEA_NO_WAY;
    for (int a = 0; a < SABLE_SEA_HEADINGS; a++) {
        if (hours[a] == INFINITY)
            continue;
        double q = expect(hours, hours, drift, a);
        if (q < best) {
            best = q;
            *heading = a;
        }
    }
    return best;
}

double sable_sea_sweep_reference(const struct sable_sea_row *row, double drift, int64_t rows, int64_t columns,
                                 const double *v, double *next, int64_t pitch)
{
    double largest = 0;
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < columns; c++) {
            const double *cell = v + r * pitch + c;
            double *updated = next + r * pitch + c, hours[SABLE_SEA_HEADINGS];
            int heading;
            *updated = *cell;
            if (!(*cell > 0)) /* land or the port */
                continue;
            look_around(&row[r], cell, pitch, 1, hours);
            *updated = backup(hours, drift, &heading);
            double change = fabs(*updated - *cell) * (1 / row[r].shortest);
            if (change > largest)
                largest = change;
        }
    return largest;
}

/* What the cell contributes to the bounds: see the head of this file. */
static void certify(const struct sable_sea_row *row, double drift, double v, double backed_up,
                    const double hours[SABLE_SEA_HEADINGS], int heading, struct sable_sea_bounds *bounds)
{
    double guard = CERTIFIED_ERROR * backed_up;
    double move = expect(hours, row->leg, drift, heading);
    double excess = fmax(backed_up - v, 0) + guard, lack = fmax(v - backed_up, 0) + guard;
    double above = excess < move ? excess / (move - excess) : INFINITY, below = lack / row->shortest;
    if (above > bounds->above)
        bounds->above = above;
    if (below > bounds->below)
        bounds->below = below;
}

void sable_sea_greedy(const struct sable_sea_row *row, double drift, int64_t rows, int64_t columns, const double *v,
                      int64_t pitch, int8_t *heading, int64_t heading_pitch, struct sable_sea_bounds *bounds)
{
    *bounds = (struct sable_sea_bounds){0, 0};
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < columns; c++) {
            const double *cell = v + r * pitch + c;
            double hours[SABLE_SEA_HEADINGS];
            int best = isnan(*cell) ? SABLE_SEA_LAND : *cell == 0 ? SABLE_SEA_ARRIVED : SABLE_SEA_NO_WAY;
            if (*cell > 0 && *cell < INFINITY) {
                look_around(&row[r], cell, pitch, 1, hours);
                double backed_up = backup(hours, drift, &best);
                if (best == SABLE_SEA_NO_WAY)
                    *bounds = (struct sable_sea_bounds){INFINITY, INFINITY};
                else
                    certify(&row[r], drift, *cell, backed_up, hours, best, bounds);
            }
            heading[r * heading_pitch + c] = (int8_t)best;
        }
}

bool sable_sea_bounded(const struct sable_sea_row *row, double drift, const double *v, int64_t pitch, int heading,
                       double above)
{
    double hours[SABLE_SEA_HEADINGS];
    look_around(row, v, pitch, 1 + above, hours);
    return heading >= 0 && heading < SABLE_SEA_HEADINGS &&
           expect(hours, hours, drift, heading) * (1 + BACKUP_ERROR) <= (1 + above) * *v;
}

SABLE_ISA_DECLARE(double, sable_sea_sweep,
                  (const struct sable_sea_row *row, double drift, int64_t rows, int64_t columns, const double *v,
                   double *next, int64_t pitch));

sable_sea_sweep_function *sable_sea_sweep(void)
{
    return SABLE_ISA_PICK(sable_sea_sweep);
}
