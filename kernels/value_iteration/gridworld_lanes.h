/* The sweep's inner loop in AVX-512 and AVX2 intrinsics, included by gridworld_sweep.isa.c at levels v4 and v3, where
 * compilers need three times as many instructions (AVX-512), or give up vectors (AVX2), for the same loop in C. Vector
 * operations a turn, of 8 or 4 cells: 19 with AVX-512, which looks rewards up in one register and puts a bump where an
 * arrival is NaN by one instruction; 26 with AVX2. Three more where the change is looked at, and one or two more where
 * episodes end. Bit for bit the same as the loop in C. */
#include "lanes64.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

enum { AHEAD = 256 }; /* cells: rows come from memory while others are computed; the row below is the only new one */

/* ---- What differs: rewards by kind of cell, and bumps into obstacles ---- */

#ifdef __AVX512F__

struct lookup {
    lanes64 reward, gamma_of; /* by kind of cell */
    __m512i nan_only;
};

static inline struct lookup load_lookup(const struct gridworld_constants *model)
{
    return (struct lookup){
        .reward = _mm512_loadu_pd(model->reward),
        .gamma_of = _mm512_loadu_pd(model->gamma_of),
        .nan_only = _mm512_set1_epi64(0x11111110), /* the old value for a quiet NaN, the new one for all else */
    };
}

static inline void look_up(const struct lookup *table, uint64_t kinds, lanes64 gamma, bool ends, lanes64 *reward,
                           lanes64 *gamma_of)
{
    const __m512i kind = _mm512_cvtepu8_epi64(_mm_cvtsi64_si128((int64_t)kinds));
    *reward = _mm512_permutexvar_pd(kind, table->reward);
    *gamma_of = gamma;
    if (ends)
        *gamma_of = _mm512_permutexvar_pd(kind, table->gamma_of);
}

static inline lanes64 unless_nan(const struct lookup *table, lanes64 arrival, lanes64 bump)
{
    return _mm512_fixupimm_pd(bump, arrival, table->nan_only, 0);
}

#else

/* Kinds pay one of four rewards, 8 bytes each: their halves fill one register. */
struct lookup {
    __m256i spread;          /* byte i of each half, into all of lane i */
    __m256i payment, ending; /* by kind: which reward, and whether it ends the episode */
    __m256i upper;
    __m256 halves; /* the lower ones of all four, then the upper ones */
};

static inline struct lookup load_lookup(const struct gridworld_constants *model)
{
    /* By enum sable_gridworld_kind: free, obstacle, forbidden, goal, hole, target. */
    const __m128i payment = _mm_setr_epi8(0, 0, 1, 2, 3, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
    const __m128i ending = _mm_setr_epi8(0, 0, 0, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
    const double rewards[4] = {model->reward[SABLE_CELL_FREE], model->reward[SABLE_CELL_FORBIDDEN],
                               model->reward[SABLE_CELL_GOAL], model->reward[SABLE_CELL_HOLE]};
    const __m256 pairs = _mm256_castpd_ps(_mm256_loadu_pd(rewards));
    return (struct lookup){
        .spread = _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303),
        .payment = _mm256_broadcastsi128_si256(payment),
        .ending = _mm256_broadcastsi128_si256(ending),
        .upper = _mm256_setr_epi32(0, 4, 0, 4, 0, 4, 0, 4),
        .halves = _mm256_permutevar8x32_ps(pairs, _mm256_setr_epi32(0, 2, 4, 6, 1, 3, 5, 7)),
    };
}

static inline void look_up(const struct lookup *table, uint64_t kinds, lanes64 gamma, bool ends, lanes64 *reward,
                           lanes64 *gamma_of)
{
    const __m256i kind = _mm256_shuffle_epi8(_mm256_set1_epi32((int32_t)kinds), table->spread);
    const __m256i half = _mm256_or_si256(_mm256_shuffle_epi8(table->payment, kind), table->upper);
    *reward = _mm256_castps_pd(_mm256_permutevar8x32_ps(table->halves, half));
    *gamma_of = gamma;
    if (ends)
        *gamma_of = _mm256_andnot_pd(_mm256_castsi256_pd(_mm256_shuffle_epi8(table->ending, kind)), gamma);
}

static inline lanes64 unless_nan(const struct lookup *table, lanes64 arrival, lanes64 bump)
{
    (void)table;
    return _mm256_blendv_pd(arrival, bump, _mm256_cmp_pd(arrival, arrival, _CMP_UNORD_Q));
}

#endif

/* ---- The sweep ---- */

struct lanes_change {
    lanes64 least, most;
};

/* What a loop keeps in registers. */
struct lanes_model {
    struct lookup lookup;
    lanes64 gamma, boundary, intended, sideways;
};

static inline struct lanes_model load_model(const struct gridworld_constants *model)
{
    return (struct lanes_model){
        .lookup = load_lookup(model),
        .gamma = lanes64_all(model->gamma),
        .boundary = lanes64_all(model->boundary),
        .intended = lanes64_all(model->intended),
        .sideways = lanes64_all(model->sideways),
    };
}

/* What LANES64 cells have of their own, and their neighbours' arrival values. */
struct lanes_own {
    lanes64 stay, reward, gamma, bump;
};

struct lanes_beside {
    lanes64 north, east, south, west;
};

static inline struct lanes_own own_of(const struct lanes_model *m, uint64_t kinds, lanes64 stay, bool ends)
{
    struct lanes_own own = {.stay = stay};
    look_up(&m->lookup, kinds, m->gamma, ends, &own.reward, &own.gamma);
    own.bump = stay + (m->boundary - own.reward);
    return own;
}

static inline struct lanes_own load_own(const struct lanes_model *m, const uint8_t *cells, const double *u, bool ends)
{
    uint64_t kinds = 0;
    memcpy(&kinds, cells, LANES64);
    return own_of(m, kinds, lanes64_load(u), ends);
}

/* Their U′; tightens *change. */
static inline lanes64 backup(const struct lanes_model *m, const struct lanes_own *own, struct lanes_beside u,
                             struct lanes_change *change)
{
    const lanes64 north = unless_nan(&m->lookup, u.north, own->bump), east = unless_nan(&m->lookup, u.east, own->bump);
    const lanes64 south = unless_nan(&m->lookup, u.south, own->bump), west = unless_nan(&m->lookup, u.west, own->bump);

    const lanes64 vertical = lanes64_fma(m->intended, lanes64_max(north, south), m->sideways * (east + west));
    const lanes64 horizontal = lanes64_fma(m->intended, lanes64_max(east, west), m->sideways * (north + south));
    const lanes64 best = lanes64_max(lanes64_max(vertical, horizontal), own->stay);
    const lanes64 next = lanes64_fma(own->gamma, best, own->reward);
    if (change) { /* NaN, of an obstacle, counts for nothing */
        const lanes64 difference = next - own->stay;
        change->least = lanes64_min(difference, change->least);
        change->most = lanes64_max(difference, change->most);
    }
    return next;
}

/* The rest of a row: `count` < LANES64 cells. */
static inline void sweep_rest(const struct lanes_model *m, const uint8_t *cells, const double *u, int64_t pitch,
                              int64_t count, bool ends, double *next, struct lanes_change *change)
{
    const lanes64 none = lanes64_all((double)NAN); /* an obstacle */
    uint64_t kinds = 0;
    memcpy(&kinds, cells, (size_t)count);
    const struct lanes_own own = own_of(m, kinds, lanes64_load_some(u, count, none), ends);
    const struct lanes_beside beside = {
        .north = lanes64_load_some(u - pitch, count, none),
        .east = lanes64_load_some(u + 1, count, none),
        .south = lanes64_load_some(u + pitch, count, none),
        .west = lanes64_load_some(u - 1, count, none),
    };
    lanes64_store_some(next, backup(m, &own, beside, change), count);
}

/* Each turn prepares the next one's own values: the chain of one turn is longer than the scheduler's window. */
static inline void sweep_cells(const struct gridworld_constants *model, const uint8_t *restrict cells,
                               const double *restrict u, int64_t pitch, int64_t n, bool stream, bool ends,
                               double *restrict next, struct lanes_change *change)
{
    const struct lanes_model lanes_model = load_model(model);
    int64_t i = 0;
    if (n >= LANES64) {
        struct lanes_own own = load_own(&lanes_model, cells, u, ends);
#pragma GCC unroll 4
        for (; i + LANES64 <= n; i += LANES64) {
            _mm_prefetch((const char *)(u + pitch + i + AHEAD), _MM_HINT_T0);
            const struct lanes_own now = own;
            own = load_own(&lanes_model, cells + i + LANES64, u + i + LANES64, ends);
            const struct lanes_beside beside = {
                .north = lanes64_load(u + i - pitch),
                .east = lanes64_load(u + i + 1),
                .south = lanes64_load(u + i + pitch),
                .west = lanes64_load(u + i - 1),
            };
            const lanes64 updated = backup(&lanes_model, &now, beside, change);
            if (stream)
                lanes64_stream(next + i, updated);
            else
                lanes64_store(next + i, updated);
        }
    }
    if (i < n)
        sweep_rest(&lanes_model, cells + i, u + i, pitch, n - i, ends, next + i, change);
}

static inline void sweep_row_lanes(const struct gridworld_constants *model, const uint8_t *cells, const double *u,
                                   int64_t pitch, int64_t n, bool stream, double *next,
                                   struct sable_gridworld_change *total)
{
    if (total) {
        struct lanes_change change = {lanes64_all(total->least), lanes64_all(total->most)};
        double least[LANES64], most[LANES64];
        sweep_cells(model, cells, u, pitch, n, stream, true, next, &change);
        lanes64_store(least, change.least);
        lanes64_store(most, change.most);
        for (int i = 0; i < LANES64; i++) {
            total->least = least[i] < total->least ? least[i] : total->least;
            total->most = most[i] > total->most ? most[i] : total->most;
        }
    } else if (model->ends)
        sweep_cells(model, cells, u, pitch, n, stream, true, next, NULL);
    else
        sweep_cells(model, cells, u, pitch, n, stream, false, next, NULL);
}
