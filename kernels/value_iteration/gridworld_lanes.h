/* The sweep's inner loop in AVX-512 and AVX2 intrinsics, included by gridworld_sweep.isa.c at levels v4 and v3, where
 * compilers need three times as many instructions (AVX-512), or give up vectors (AVX2), for the same loop in C. Vector
 * operations a turn, of 8 or 4 cells: 19 with AVX-512, which looks rewards up in one register and puts a bump where an
 * arrival is NaN by one instruction; 26 with AVX2. Three more where the change is looked at, and one or two more where
 * episodes end. Bit for bit the same as the loop in C. */
#include <immintrin.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

enum { AHEAD = 256 }; /* cells: rows come from memory while others are computed; the row below is the only new one */

/* ---- What differs: WIDTH cells as `vector`, some of them as `some` ---- */

#ifdef __AVX512F__

enum { WIDTH = 8 };
typedef __m512d vector;
typedef __mmask8 some;

struct lookup {
    __m512d reward, gamma_of; /* by kind of cell */
    __m512i nan_only;
};

static inline vector vector_all(double x)
{
    return _mm512_set1_pd(x);
}

static inline struct lookup load_lookup(const struct gridworld_constants *model)
{
    return (struct lookup){
        .reward = _mm512_loadu_pd(model->reward),
        .gamma_of = _mm512_loadu_pd(model->gamma_of),
        .nan_only = _mm512_set1_epi64(0x11111110), /* the old value for a quiet NaN, the new one for all else */
    };
}

static inline some vector_first_of(int64_t count)
{
    return (some)((1 << count) - 1);
}

static inline vector vector_load(const double *u)
{
    return _mm512_loadu_pd(u);
}

/* NaN, an obstacle, where there is none. */
static inline vector vector_load_some(const double *u, some lanes)
{
    return _mm512_mask_loadu_pd(vector_all((double)NAN), lanes, u);
}

static inline void vector_store(double *to, vector x)
{
    _mm512_storeu_pd(to, x);
}

static inline void vector_store_some(double *to, some lanes, vector x)
{
    _mm512_mask_storeu_pd(to, lanes, x);
}

static inline void vector_stream(double *to, vector x)
{
    _mm512_stream_pd(to, x);
}

static inline void look_up(const struct lookup *table, uint64_t kinds, vector gamma, bool ends, vector *reward,
                           vector *gamma_of)
{
    const __m512i kind = _mm512_cvtepu8_epi64(_mm_cvtsi64_si128((int64_t)kinds));
    *reward = _mm512_permutexvar_pd(kind, table->reward);
    *gamma_of = ends ? _mm512_permutexvar_pd(kind, table->gamma_of) : gamma;
}

static inline vector unless_nan(const struct lookup *table, vector arrival, vector bump)
{
    return _mm512_fixupimm_pd(bump, arrival, table->nan_only, 0);
}

static inline vector vector_plus(vector a, vector b)
{
    return _mm512_add_pd(a, b);
}

static inline vector vector_minus(vector a, vector b)
{
    return _mm512_sub_pd(a, b);
}

static inline vector vector_times(vector a, vector b)
{
    return _mm512_mul_pd(a, b);
}

static inline vector vector_times_plus(vector a, vector b, vector c)
{
    return _mm512_fmadd_pd(a, b, c);
}

/* Of two numbers, an extreme that meets NaN is the second. */
static inline vector vector_largest(vector a, vector b)
{
    return _mm512_max_pd(a, b);
}

static inline vector vector_least(vector a, vector b)
{
    return _mm512_min_pd(a, b);
}

#else

enum { WIDTH = 4 };
typedef __m256d vector;
typedef __m256i some;

/* Kinds pay one of four rewards, 8 bytes each: their halves fill one register. */
struct lookup {
    __m256i spread;          /* byte i of each half, into all of lane i */
    __m256i payment, ending; /* by kind: which reward, and whether it ends the episode */
    __m256i upper;
    __m256 halves; /* the lower ones of all four, then the upper ones */
};

static inline vector vector_all(double x)
{
    return _mm256_set1_pd(x);
}

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

static inline some vector_first_of(int64_t count)
{
    return _mm256_cmpgt_epi64(_mm256_set1_epi64x(count), _mm256_setr_epi64x(0, 1, 2, 3));
}

static inline vector vector_load(const double *u)
{
    return _mm256_loadu_pd(u);
}

static inline vector vector_load_some(const double *u, some lanes)
{
    return _mm256_blendv_pd(vector_all((double)NAN), _mm256_maskload_pd(u, lanes), _mm256_castsi256_pd(lanes));
}

static inline void vector_store(double *to, vector x)
{
    _mm256_storeu_pd(to, x);
}

static inline void vector_store_some(double *to, some lanes, vector x)
{
    _mm256_maskstore_pd(to, lanes, x);
}

static inline void vector_stream(double *to, vector x)
{
    _mm256_stream_pd(to, x);
}

static inline void look_up(const struct lookup *table, uint64_t kinds, vector gamma, bool ends, vector *reward,
                           vector *gamma_of)
{
    const __m256i kind = _mm256_shuffle_epi8(_mm256_set1_epi32((int32_t)kinds), table->spread);
    const __m256i half = _mm256_or_si256(_mm256_shuffle_epi8(table->payment, kind), table->upper);
    *reward = _mm256_castps_pd(_mm256_permutevar8x32_ps(table->halves, half));
    *gamma_of = gamma;
    if (ends)
        *gamma_of = _mm256_andnot_pd(_mm256_castsi256_pd(_mm256_shuffle_epi8(table->ending, kind)), gamma);
}

static inline vector unless_nan(const struct lookup *table, vector arrival, vector bump)
{
    (void)table;
    return _mm256_blendv_pd(arrival, bump, _mm256_cmp_pd(arrival, arrival, _CMP_UNORD_Q));
}

static inline vector vector_plus(vector a, vector b)
{
    return _mm256_add_pd(a, b);
}

static inline vector vector_minus(vector a, vector b)
{
    return _mm256_sub_pd(a, b);
}

static inline vector vector_times(vector a, vector b)
{
    return _mm256_mul_pd(a, b);
}

static inline vector vector_times_plus(vector a, vector b, vector c)
{
    return _mm256_fmadd_pd(a, b, c);
}

/* Of two numbers, an extreme that meets NaN is the second. */
static inline vector vector_largest(vector a, vector b)
{
    return _mm256_max_pd(a, b);
}

static inline vector vector_least(vector a, vector b)
{
    return _mm256_min_pd(a, b);
}

#endif

/* ---- The sweep ---- */

struct lanes_change {
    vector least, most;
};

/* What a loop keeps in registers. */
struct lanes_model {
    struct lookup lookup;
    vector gamma, boundary, intended, sideways;
};

static inline struct lanes_model load_model(const struct gridworld_constants *model)
{
    return (struct lanes_model){
        .lookup = load_lookup(model),
        .gamma = vector_all(model->gamma),
        .boundary = vector_all(model->boundary),
        .intended = vector_all(model->intended),
        .sideways = vector_all(model->sideways),
    };
}

/* What WIDTH cells have of their own, and their neighbours' arrival values. */
struct lanes_own {
    vector stay, reward, gamma, bump;
};

struct lanes_beside {
    vector north, east, south, west;
};

static inline struct lanes_own own_of(const struct lanes_model *m, uint64_t kinds, vector stay, bool ends)
{
    struct lanes_own own = {.stay = stay};
    look_up(&m->lookup, kinds, m->gamma, ends, &own.reward, &own.gamma);
    own.bump = vector_plus(stay, vector_minus(m->boundary, own.reward));
    return own;
}

static inline struct lanes_own load_own(const struct lanes_model *m, const uint8_t *cells, const double *u, bool ends)
{
    uint64_t kinds = 0;
    memcpy(&kinds, cells, WIDTH);
    return own_of(m, kinds, vector_load(u), ends);
}

/* Their U′; tightens *change. */
static inline vector backup(const struct lanes_model *m, const struct lanes_own *own, struct lanes_beside u,
                            struct lanes_change *change)
{
    const vector north = unless_nan(&m->lookup, u.north, own->bump), east = unless_nan(&m->lookup, u.east, own->bump);
    const vector south = unless_nan(&m->lookup, u.south, own->bump), west = unless_nan(&m->lookup, u.west, own->bump);

    const vector vertical = vector_times_plus(m->intended, vector_largest(north, south),
                                              vector_times(m->sideways, vector_plus(east, west)));
    const vector horizontal = vector_times_plus(m->intended, vector_largest(east, west),
                                                vector_times(m->sideways, vector_plus(north, south)));
    const vector best = vector_largest(vector_largest(vertical, horizontal), own->stay);
    const vector next = vector_times_plus(own->gamma, best, own->reward);
    if (change) {
        const vector difference = vector_minus(next, own->stay);
        change->least = vector_least(difference, change->least);
        change->most = vector_largest(difference, change->most);
    }
    return next;
}

/* The rest of a row: `count` < WIDTH cells. */
static inline void sweep_rest(const struct lanes_model *m, const uint8_t *cells, const double *u, int64_t pitch,
                              int64_t count, bool ends, double *next, struct lanes_change *change)
{
    const some lanes = vector_first_of(count);
    uint64_t kinds = 0;
    memcpy(&kinds, cells, (size_t)count);
    const struct lanes_own own = own_of(m, kinds, vector_load_some(u, lanes), ends);
    const struct lanes_beside beside = {vector_load_some(u - pitch, lanes), vector_load_some(u + 1, lanes),
                                        vector_load_some(u + pitch, lanes), vector_load_some(u - 1, lanes)};
    vector_store_some(next, lanes, backup(m, &own, beside, change));
}

/* Each turn prepares the next one's own values: the chain of one turn is longer than the scheduler's window. */
static inline void sweep_cells(const struct gridworld_constants *model, const uint8_t *restrict cells,
                               const double *restrict u, int64_t pitch, int64_t n, bool stream, bool ends,
                               double *restrict next, struct lanes_change *change)
{
    const struct lanes_model lanes_model = load_model(model);
    int64_t i = 0;
    if (n >= WIDTH) {
        struct lanes_own own = load_own(&lanes_model, cells, u, ends);
#pragma GCC unroll 4
        for (; i + WIDTH <= n; i += WIDTH) {
            _mm_prefetch((const char *)(u + pitch + i + AHEAD), _MM_HINT_T0);
            const struct lanes_own now = own;
            own = load_own(&lanes_model, cells + i + WIDTH, u + i + WIDTH, ends);
            const struct lanes_beside beside = {vector_load(u + i - pitch), vector_load(u + i + 1),
                                                vector_load(u + i + pitch), vector_load(u + i - 1)};
            const vector updated = backup(&lanes_model, &now, beside, change);
            if (stream)
                vector_stream(next + i, updated);
            else
                vector_store(next + i, updated);
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
        struct lanes_change change = {vector_all(total->least), vector_all(total->most)};
        double least[WIDTH], most[WIDTH];
        sweep_cells(model, cells, u, pitch, n, stream, true, next, &change);
        vector_store(least, change.least);
        vector_store(most, change.most);
        for (int i = 0; i < WIDTH; i++) {
            total->least = least[i] < total->least ? least[i] : total->least;
            total->most = most[i] > total->most ? most[i] : total->most;
        }
    } else if (model->ends)
        sweep_cells(model, cells, u, pitch, n, stream, true, next, NULL);
    else
        sweep_cells(model, cells, u, pitch, n, stream, false, next, NULL);
}
