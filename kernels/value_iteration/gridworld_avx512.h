/* The sweep's inner loop in AVX-512 intrinsics, included by gridworld_sweep.isa.c at level v4: 19 vector operations for
 * 8 cells (22 where the change is looked at, one more where episodes end), where compilers need three times as many for
 * the same loop in C. Rewards are looked up in a register, and one instruction puts a bump where an arrival is NaN. Bit
 * for bit the same as the loop in C. */
#include <immintrin.h>
#include <stdint.h>

enum { AHEAD = 256 }; /* cells: rows come from memory while others are computed; the row below is the only new one */

struct lanes_change {
    __m512d least, most;
};

/* What a loop keeps in registers. */
struct lanes_model {
    __m512d reward, gamma_of; /* by kind of cell */
    __m512d gamma, boundary, intended, sideways;
    __m512i nan_only;
};

static inline struct lanes_model load_model(const struct gridworld_constants *model)
{
    return (struct lanes_model){
        .reward = _mm512_loadu_pd(model->reward),
        .gamma_of = _mm512_loadu_pd(model->gamma_of),
        .gamma = _mm512_set1_pd(model->gamma),
        .boundary = _mm512_set1_pd(model->boundary),
        .intended = _mm512_set1_pd(model->intended),
        .sideways = _mm512_set1_pd(model->sideways),
        .nan_only = _mm512_set1_epi64(0x11111110), /* the old value for a quiet NaN, the new one for all else */
    };
}

/* What 8 cells at u have of their own; of them `lanes` exist. */
struct lanes_own {
    __m512d stay, reward, gamma, bump;
};

static inline struct lanes_own load_own(const struct lanes_model *m, const uint8_t *cells, const double *u,
                                        __mmask8 lanes, bool ends)
{
    const __m512i kind = _mm512_cvtepu8_epi64(lanes == 0xff ? _mm_loadl_epi64((const __m128i *)cells)
                                                            : _mm_maskz_loadu_epi8(lanes, cells));
    const __m512d reward = _mm512_permutexvar_pd(kind, m->reward), stay = _mm512_maskz_loadu_pd(lanes, u);
    return (struct lanes_own){
        .stay = stay,
        .reward = reward,
        .gamma = ends ? _mm512_permutexvar_pd(kind, m->gamma_of) : m->gamma,
        .bump = _mm512_add_pd(stay, _mm512_sub_pd(m->boundary, reward)),
    };
}

/* Their U′; tightens *change. */
static inline __m512d backup8(const struct lanes_model *m, const struct lanes_own *own, const double *u, int64_t pitch,
                              __mmask8 lanes, struct lanes_change *change)
{
    const __m512d north = _mm512_fixupimm_pd(own->bump, _mm512_maskz_loadu_pd(lanes, u - pitch), m->nan_only, 0);
    const __m512d east = _mm512_fixupimm_pd(own->bump, _mm512_maskz_loadu_pd(lanes, u + 1), m->nan_only, 0);
    const __m512d south = _mm512_fixupimm_pd(own->bump, _mm512_maskz_loadu_pd(lanes, u + pitch), m->nan_only, 0);
    const __m512d west = _mm512_fixupimm_pd(own->bump, _mm512_maskz_loadu_pd(lanes, u - 1), m->nan_only, 0);

    const __m512d vertical = _mm512_fmadd_pd(m->intended, _mm512_max_pd(north, south),
                                             _mm512_mul_pd(m->sideways, _mm512_add_pd(east, west)));
    const __m512d horizontal = _mm512_fmadd_pd(m->intended, _mm512_max_pd(east, west),
                                               _mm512_mul_pd(m->sideways, _mm512_add_pd(north, south)));
    const __m512d best = _mm512_max_pd(_mm512_max_pd(vertical, horizontal), own->stay);
    const __m512d next = _mm512_fmadd_pd(own->gamma, best, own->reward);
    if (change) { /* of two numbers, an extreme that meets NaN is the second */
        const __m512d difference = _mm512_sub_pd(next, own->stay);
        change->least = _mm512_mask_min_pd(change->least, lanes, difference, change->least);
        change->most = _mm512_mask_max_pd(change->most, lanes, difference, change->most);
    }
    return next;
}

/* Each turn prepares the next one's own values: the chain of one turn is longer than the scheduler's window. */
static inline void sweep_cells_avx512(const struct gridworld_constants *model, const uint8_t *restrict cells,
                                      const double *restrict u, int64_t pitch, int64_t n, bool stream, bool ends,
                                      double *restrict next, struct lanes_change *change)
{
    const struct lanes_model lanes_model = load_model(model);
    int64_t i = 0;
    if (n >= 8) {
        struct lanes_own own = load_own(&lanes_model, cells, u, 0xff, ends);
#pragma GCC unroll 4
        for (; i + 8 <= n; i += 8) {
            _mm_prefetch((const char *)(u + pitch + i + AHEAD), _MM_HINT_T0);
            const struct lanes_own now = own;
            own = load_own(&lanes_model, cells + i + 8, u + i + 8, 0xff, ends);
            const __m512d updated = backup8(&lanes_model, &now, u + i, pitch, 0xff, change);
            if (stream)
                _mm512_stream_pd(next + i, updated);
            else
                _mm512_storeu_pd(next + i, updated);
        }
    }
    if (i < n) {
        const __mmask8 lanes = (__mmask8)((1 << (n - i)) - 1);
        const struct lanes_own own = load_own(&lanes_model, cells + i, u + i, lanes, ends);
        _mm512_mask_storeu_pd(next + i, lanes, backup8(&lanes_model, &own, u + i, pitch, lanes, change));
    }
}

static inline void sweep_row_avx512(const struct gridworld_constants *model, const uint8_t *cells, const double *u,
                                    int64_t pitch, int64_t n, bool stream, double *next,
                                    struct sable_gridworld_change *total)
{
    if (total) {
        struct lanes_change change = {_mm512_set1_pd(total->least), _mm512_set1_pd(total->most)};
        sweep_cells_avx512(model, cells, u, pitch, n, stream, true, next, &change);
        total->least = _mm512_reduce_min_pd(change.least);
        total->most = _mm512_reduce_max_pd(change.most);
    } else if (model->ends)
        sweep_cells_avx512(model, cells, u, pitch, n, stream, true, next, NULL);
    else
        sweep_cells_avx512(model, cells, u, pitch, n, stream, false, next, NULL);
}
