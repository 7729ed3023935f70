/* One row of a gridworld sweep over arrival values U(s) = r(s) + γ V(s), the value of arriving in s:
 *
 *   x_d = U(s + d), or U(s) + (r_boundary − r(s)) if the side is blocked       d = N, E, S, W
 *   V(s) = max{ U(s),                                                          stay
 *               p max(x_N, x_S) + p′(x_E + x_W),                               north, south
 *               p max(x_E, x_W) + p′(x_N + x_S) }                              east, west;  p = 1 − slip, p′ = slip/2
 *   U′(s) = r(s) + γ V(s)
 *
 * Rounding is monotone, so the largest of rounded sums is the rounded sum of the largest: this is bit for bit the
 * textbook's maximum over five actions. No neighbour's reward is looked up, no branch depends on data, and rewards are
 * selected, not gathered. A sweep reads U and one byte a cell and writes U′: 17 bytes for 17 flops, so memory bounds it
 * wherever a block is larger than the caches; then U′ bypasses them, by strips that fit into L1. */
#include "gridworld_sweep.h"

#ifdef __AVX512F__
#include "gridworld_avx512.h"
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

static inline double pick(int cell, double other, double forbidden, double target)
{
    double special = cell & SABLE_IS_TARGET ? target : other;
    return cell & SABLE_IS_FORBIDDEN ? forbidden : special;
}

static inline struct arrivals arrive(const struct gridworld_constants *model, int cell, const double *u, int64_t pitch)
{
    double bump = u[0] + pick(cell, model->bump_other, model->bump_forbidden, model->bump_target);
    double north = u[-pitch], east = u[1], south = u[pitch], west = u[-1];
    return (struct arrivals){
        .stay = u[0],
        .north = cell & SABLE_BLOCKED_NORTH ? bump : north,
        .east = cell & SABLE_BLOCKED_EAST ? bump : east,
        .south = cell & SABLE_BLOCKED_SOUTH ? bump : south,
        .west = cell & SABLE_BLOCKED_WEST ? bump : west,
    };
}

/* The change of each cell is left in `difference`, NaN where there is nothing to decide. */
static inline void sweep_strip(const struct gridworld_constants *given, const uint8_t *restrict cells,
                               const double *restrict u, int64_t pitch, int64_t n, double *restrict next,
                               double *restrict difference)
{
    const struct gridworld_constants model = *given; /* a copy that no store can alias */
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        int cell = cells[i];
        struct arrivals x = arrive(&model, cell, u + i, pitch);
        double vertical = model.intended * larger(x.north, x.south) + model.sideways * (x.east + x.west);
        double horizontal = model.intended * larger(x.east, x.west) + model.sideways * (x.north + x.south);
        double best = larger(larger(x.stay, vertical), horizontal);
        double updated = pick(cell, model.other, model.forbidden, model.target) + model.gamma * best;
        next[i] = cell & SABLE_IS_FIXED ? x.stay : updated;
        difference[i] = cell & SABLE_IS_FIXED ? (double)NAN : updated - x.stay;
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
#if defined(__AVX512F__)
    for (; i + 8 <= n; i += 8)
        _mm512_stream_pd(to + i, _mm512_load_pd(from + i));
#elif defined(__AVX__)
    for (; i + 4 <= n; i += 4)
        _mm256_stream_pd(to + i, _mm256_load_pd(from + i));
#elif defined(__SSE2__)
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
#ifdef __AVX512F__
    sweep_row_avx512(model, cells, u, pitch, n, stream, next, change);
    return;
#endif
    _Alignas(64) double strip[STRIP], difference[STRIP];
    for (int64_t i = 0; i < n; i += STRIP) {
        int64_t length = n - i < STRIP ? n - i : STRIP;
        sweep_strip(model, cells + i, u + i, pitch, length, stream ? strip : next + i, difference);
        widen(change, difference, length);
        if (stream)
            stream_out(next + i, strip, length);
    }
}

void SABLE_ISA_NAME(gridworld_policy_row)(const struct gridworld_constants *given, const uint8_t *restrict cells,
                                          const double *restrict u, int64_t pitch, int64_t n, double shift,
                                          double *restrict v, int8_t *restrict policy)
{
    const struct gridworld_constants model = *given;
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        int cell = cells[i];
        struct arrivals x = arrive(&model, cell, u + i, pitch);
        double beside = model.sideways * (x.east + x.west), along = model.sideways * (x.north + x.south);
        double north = model.intended * x.north + beside, south = model.intended * x.south + beside;
        double east = model.intended * x.east + along, west = model.intended * x.west + along;
        double best = x.stay, action = SABLE_ACTION_STAY; /* as double: one lane width throughout */
        action = north > best ? SABLE_ACTION_NORTH : action, best = larger(north, best);
        action = east > best ? SABLE_ACTION_EAST : action, best = larger(east, best);
        action = south > best ? SABLE_ACTION_SOUTH : action, best = larger(south, best);
        action = west > best ? SABLE_ACTION_WEST : action, best = larger(west, best);
        v[i] = cell & SABLE_IS_FIXED ? 0 : best + shift;
        policy[i] = (int8_t)(cell & SABLE_IS_FIXED ? SABLE_NO_ACTION : action);
    }
}
