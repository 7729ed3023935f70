/* One row of a gridworld sweep over arrival values U(s) = r(s) + γ V(s), the value of arriving in s:
 *
 *   x_d = U(s + d), or U(s) + (r_boundary − r(s)) if U(s + d) is NaN: a wall      d = N, E, S, W
 *   V(s) = max{ U(s),                                                             stay
 *               p max(x_N, x_S) + p′(x_E + x_W),                                  north, south
 *               p max(x_E, x_W) + p′(x_N + x_S) }                                 east, west;  p = 1 − slip, p′ =
 * slip/2 U′(s) = r(s) + γ V(s);  γ = 0 for goals and holes
 *
 * Rounding is monotone, so the largest of rounded sums is the rounded sum of the largest: this is bit for bit the
 * textbook's maximum over five actions. No neighbour's kind is looked up, no branch depends on data, walls remain NaN
 * by themselves, and rewards are selected, not gathered. A sweep reads U and one byte a cell and writes U′: 17 bytes
 * for 17 flops. One that goes to memory alone bypasses the caches with U′, by strips that fit into L1. */
#include "gridworld_sweep.h"

#if defined(__AVX512F__) || (defined(__AVX2__) && defined(__FMA__))
#define BY_INTRINSICS
#include "gridworld_lanes.h"
#endif

#include <math.h>
#include <string.h>

#ifdef __SSE2__
#include <immintrin.h>
#endif

enum { STRIP = 512 /* cells: 4 KiB of U′ */, LANES = 8 };

struct arrivals {
    double stay, north, east, south, west;
};

static inline double larger(double a, double b)
{
    return a > b ? a : b;
}

static inline double reward_of(const struct gridworld_constants *model, int kind)
{
    double reward = kind == SABLE_CELL_FORBIDDEN ? model->reward[SABLE_CELL_FORBIDDEN] : model->reward[SABLE_CELL_FREE];
    reward = kind == SABLE_CELL_HOLE ? model->reward[SABLE_CELL_HOLE] : reward;
    return ((kind == SABLE_CELL_GOAL) | (kind == SABLE_CELL_TARGET)) ? model->reward[SABLE_CELL_GOAL] : reward;
}

static inline double unless_wall(double arrival, double bump)
{
    return isnan(arrival) ? bump : arrival;
}

static inline struct arrivals arrive(double bump, const double *u, int64_t pitch)
{
    return (struct arrivals){
        .stay = u[0],
        .north = unless_wall(u[-pitch], bump),
        .east = unless_wall(u[1], bump),
        .south = unless_wall(u[pitch], bump),
        .west = unless_wall(u[-1], bump),
    };
}

#ifdef BY_INTRINSICS

void SABLE_ISA_NAME(gridworld_sweep_row)(const struct gridworld_constants *model, const uint8_t *cells, const double *u,
                                         int64_t pitch, int64_t n, bool stream, double *next,
                                         struct sable_gridworld_change *change)
{
    sweep_row_lanes(model, cells, u, pitch, n, stream, next, change);
}

#else

/* The change of each cell is left in `difference`, NaN on obstacles. */
static inline void sweep_strip(const struct gridworld_constants *given, const uint8_t *restrict cells,
                               const double *restrict u, int64_t pitch, int64_t n, double *restrict next,
                               double *restrict difference)
{
    const struct gridworld_constants model = *given; /* a copy that no store can alias */
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        int kind = cells[i];
        double reward = reward_of(&model, kind);
        struct arrivals x = arrive(u[i] + (model.boundary - reward), u + i, pitch);
        double vertical = fma(model.intended, larger(x.north, x.south), model.sideways * (x.east + x.west));
        double horizontal = fma(model.intended, larger(x.east, x.west), model.sideways * (x.north + x.south));
        double best = larger(larger(vertical, horizontal), x.stay);
        double gamma = ((kind == SABLE_CELL_GOAL) | (kind == SABLE_CELL_HOLE)) ? 0 : model.gamma;
        next[i] = fma(gamma, best, reward);
        difference[i] = next[i] - x.stay;
    }
}

/* Extremes in as many lanes as the widest vector; a comparison with NaN is false, so NaN counts for nothing. */
static inline void widen(struct sable_gridworld_change *change, const double *difference, int64_t n)
{
    double least[LANES], most[LANES];
    for (int j = 0; j < LANES; j++)
        least[j] = change->least, most[j] = change->most;
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int j = 0; j < LANES; j++) {
            double d = difference[i + j];
            least[j] = d < least[j] ? d : least[j];
            most[j] = d > most[j] ? d : most[j];
        }
    for (int j = 0; i < n; i++, j++) {
        least[j] = difference[i] < least[j] ? difference[i] : least[j];
        most[j] = difference[i] > most[j] ? difference[i] : most[j];
    }
    for (int j = 0; j < LANES; j++) {
        change->least = least[j] < change->least ? least[j] : change->least;
        change->most = most[j] > change->most ? most[j] : change->most;
    }
}

/* Writes past the caches. `to` lies on a cache line. */
static inline void stream_out(double *restrict to, const double *restrict from, int64_t n)
{
    int64_t i = 0;
#ifdef __SSE2__
    for (; i + 2 <= n; i += 2)
        _mm_stream_pd(to + i, _mm_load_pd(from + i));
#endif
    for (; i < n; i++)
        to[i] = from[i];
}

void SABLE_ISA_NAME(gridworld_sweep_row)(const struct gridworld_constants *model, const uint8_t *cells, const double *u,
                                         int64_t pitch, int64_t n, bool stream, double *next,
                                         struct sable_gridworld_change *change)
{
    _Alignas(64) double strip[STRIP], difference[STRIP];
    for (int64_t i = 0; i < n; i += STRIP) {
        int64_t length = n - i < STRIP ? n - i : STRIP;
        sweep_strip(model, cells + i, u + i, pitch, length, stream ? strip : next + i, difference);
        if (change)
            widen(change, difference, length);
        if (stream)
            stream_out(next + i, strip, length);
    }
}

#endif

void SABLE_ISA_NAME(gridworld_policy_row)(const struct gridworld_constants *given, const uint8_t *restrict cells,
                                          const double *restrict u, int64_t pitch, int64_t n, double shift,
                                          double *restrict v, int8_t *restrict policy)
{
    const struct gridworld_constants model = *given;
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        struct arrivals x = arrive(u[i] + (model.boundary - reward_of(&model, cells[i])), u + i, pitch);
        double beside = model.sideways * (x.east + x.west), along = model.sideways * (x.north + x.south);
        double north = fma(model.intended, x.north, beside), south = fma(model.intended, x.south, beside);
        double east = fma(model.intended, x.east, along), west = fma(model.intended, x.west, along);
        double best = x.stay, action = SABLE_ACTION_STAY; /* as double: one lane width throughout */
        action = north > best ? SABLE_ACTION_NORTH : action, best = larger(north, best);
        action = east > best ? SABLE_ACTION_EAST : action, best = larger(east, best);
        action = south > best ? SABLE_ACTION_SOUTH : action, best = larger(south, best);
        action = west > best ? SABLE_ACTION_WEST : action, best = larger(west, best);
        v[i] = sable_gridworld_decides(cells[i]) ? best + shift : 0;
        policy[i] = (int8_t)(sable_gridworld_decides(cells[i]) ? action : SABLE_NO_ACTION);
    }
}
