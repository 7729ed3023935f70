/* The sweep's inner loop in AVX-512 intrinsics, included by gridworld_sweep.isa.c at level v4: 27 vector operations on
 * the two 512-bit ports for 8 cells, where compilers need twice as many for the same loop in C. Bit for bit the same.
 */
#include <immintrin.h>
#include <math.h>

struct lanes_change {
    __m512d least, most;
};

/* Eight cells, of which `lanes` exist. Returns U′; tightens *change. */
static inline __m512d backup8(const struct gridworld_constants *model, const uint8_t *cells, const double *u,
                              int64_t pitch, __mmask8 lanes, struct lanes_change *change)
{
    const __m512i cell = _mm512_cvtepu8_epi64(_mm_maskz_loadu_epi8(lanes, cells));
    const __m512d stay = _mm512_maskz_loadu_pd(lanes, u);
    __mmask8 is_forbidden = _mm512_test_epi64_mask(cell, _mm512_set1_epi64(SABLE_IS_FORBIDDEN));
    __mmask8 is_target = _mm512_test_epi64_mask(cell, _mm512_set1_epi64(SABLE_IS_TARGET));
    __mmask8 is_free = _mm512_mask_testn_epi64_mask(lanes, cell, _mm512_set1_epi64(SABLE_IS_FIXED));
    __mmask8 north_open = _mm512_mask_testn_epi64_mask(lanes, cell, _mm512_set1_epi64(SABLE_BLOCKED_NORTH));
    __mmask8 east_open = _mm512_mask_testn_epi64_mask(lanes, cell, _mm512_set1_epi64(SABLE_BLOCKED_EAST));
    __mmask8 south_open = _mm512_mask_testn_epi64_mask(lanes, cell, _mm512_set1_epi64(SABLE_BLOCKED_SOUTH));
    __mmask8 west_open = _mm512_mask_testn_epi64_mask(lanes, cell, _mm512_set1_epi64(SABLE_BLOCKED_WEST));

    __m512d reward = _mm512_mask_mov_pd(_mm512_set1_pd(model->other), is_target, _mm512_set1_pd(model->target));
    reward = _mm512_mask_mov_pd(reward, is_forbidden, _mm512_set1_pd(model->forbidden));
    __m512d bump = _mm512_add_pd(stay, _mm512_sub_pd(_mm512_set1_pd(model->boundary), reward));
    __m512d north = _mm512_mask_loadu_pd(bump, north_open, u - pitch);
    __m512d east = _mm512_mask_loadu_pd(bump, east_open, u + 1);
    __m512d south = _mm512_mask_loadu_pd(bump, south_open, u + pitch);
    __m512d west = _mm512_mask_loadu_pd(bump, west_open, u - 1);

    const __m512d intended = _mm512_set1_pd(model->intended), sideways = _mm512_set1_pd(model->sideways);
    __m512d vertical = _mm512_add_pd(_mm512_mul_pd(intended, _mm512_max_pd(north, south)),
                                     _mm512_mul_pd(sideways, _mm512_add_pd(east, west)));
    __m512d horizontal = _mm512_add_pd(_mm512_mul_pd(intended, _mm512_max_pd(east, west)),
                                       _mm512_mul_pd(sideways, _mm512_add_pd(north, south)));
    __m512d best = _mm512_max_pd(_mm512_max_pd(stay, vertical), horizontal);
    __m512d next = _mm512_mask_add_pd(stay, is_free, reward, _mm512_mul_pd(_mm512_set1_pd(model->gamma), best));
    __m512d difference = _mm512_sub_pd(next, stay);
    change->least = _mm512_mask_min_pd(change->least, is_free, difference, change->least);
    change->most = _mm512_mask_max_pd(change->most, is_free, difference, change->most);
    return next;
}

static inline void sweep_row_avx512(const struct gridworld_constants *given, const uint8_t *restrict cells,
                                    const double *restrict u, int64_t pitch, int64_t n, bool stream,
                                    double *restrict next, struct sable_gridworld_change *total)
{
    const struct gridworld_constants model = *given;
    struct lanes_change change = {_mm512_set1_pd(total->least), _mm512_set1_pd(total->most)};
    int64_t i = 0;
    if (stream)
        for (; i + 8 <= n; i += 8)
            _mm512_stream_pd(next + i, backup8(&model, cells + i, u + i, pitch, 0xff, &change));
    for (; i + 8 <= n; i += 8)
        _mm512_storeu_pd(next + i, backup8(&model, cells + i, u + i, pitch, 0xff, &change));
    if (i < n) {
        __mmask8 lanes = (__mmask8)((1u << (n - i)) - 1);
        _mm512_mask_storeu_pd(next + i, lanes, backup8(&model, cells + i, u + i, pitch, lanes, &change));
    }
    total->least = _mm512_reduce_min_pd(change.least);
    total->most = _mm512_reduce_max_pd(change.most);
}
