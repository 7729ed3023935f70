/* The sweep's inner loop in AVX-512 intrinsics, included by gridworld_sweep.isa.c at level v4: 26 vector operations for
 * 8 cells, where compilers need three times as many for the same loop in C. What a cell's byte says is tested for 64
 * cells at once; the tests lie in memory, whence a mask of eight is one load. Bit for bit the same as the loop in C. */
#include <immintrin.h>
#include <math.h>

enum { AHEAD = 256 }; /* cells: rows come from memory while others are computed; the row below is the only new one */

struct lanes_change {
    __m512d least, most;
};

/* What is to be known of 64 cells: bit c is cell c's. */
struct tests {
    uint64_t forbidden, target, free, north_open, east_open, south_open, west_open;
};

static inline struct tests test64(const uint8_t *cells, __mmask64 lanes)
{
    const __m512i cell = _mm512_maskz_loadu_epi8(lanes, cells);
    return (struct tests){
        .forbidden = _mm512_test_epi8_mask(cell, _mm512_set1_epi8((char)SABLE_IS_FORBIDDEN)),
        .target = _mm512_test_epi8_mask(cell, _mm512_set1_epi8((char)SABLE_IS_TARGET)),
        .free = _mm512_mask_testn_epi8_mask(lanes, cell, _mm512_set1_epi8((char)SABLE_IS_FIXED)),
        .north_open = _mm512_mask_testn_epi8_mask(lanes, cell, _mm512_set1_epi8((char)SABLE_BLOCKED_NORTH)),
        .east_open = _mm512_mask_testn_epi8_mask(lanes, cell, _mm512_set1_epi8((char)SABLE_BLOCKED_EAST)),
        .south_open = _mm512_mask_testn_epi8_mask(lanes, cell, _mm512_set1_epi8((char)SABLE_BLOCKED_SOUTH)),
        .west_open = _mm512_mask_testn_epi8_mask(lanes, cell, _mm512_set1_epi8((char)SABLE_BLOCKED_WEST)),
    };
}

/* The bits of cells 8j to 8j + 7. */
static inline __mmask8 eight(const uint64_t *tests, int j)
{
    return _load_mask8((__mmask8 *)tests + j);
}

/* Cells 8j to 8j + 7 of the tested ones, at u; of them `lanes` exist. Returns U′; tightens *change. */
static inline __m512d backup8(const struct gridworld_constants *model, const struct tests *tests, int j,
                              const double *u, int64_t pitch, __mmask8 lanes, struct lanes_change *change)
{
    const __m512d stay = _mm512_maskz_loadu_pd(lanes, u);
    __mmask8 free = eight(&tests->free, j);
    __m512d reward =
        _mm512_mask_mov_pd(_mm512_set1_pd(model->other), eight(&tests->target, j), _mm512_set1_pd(model->target));
    reward = _mm512_mask_mov_pd(reward, eight(&tests->forbidden, j), _mm512_set1_pd(model->forbidden));
    __m512d bump = _mm512_add_pd(stay, _mm512_sub_pd(_mm512_set1_pd(model->boundary), reward));
    __m512d north = _mm512_mask_loadu_pd(bump, eight(&tests->north_open, j), u - pitch);
    __m512d east = _mm512_mask_loadu_pd(bump, eight(&tests->east_open, j), u + 1);
    __m512d west = _mm512_mask_loadu_pd(bump, eight(&tests->west_open, j), u - 1);
    __m512d south = _mm512_mask_loadu_pd(bump, eight(&tests->south_open, j), u + pitch);

    const __m512d intended = _mm512_set1_pd(model->intended), sideways = _mm512_set1_pd(model->sideways);
    __m512d vertical = _mm512_add_pd(_mm512_mul_pd(intended, _mm512_max_pd(north, south)),
                                     _mm512_mul_pd(sideways, _mm512_add_pd(east, west)));
    __m512d horizontal = _mm512_add_pd(_mm512_mul_pd(intended, _mm512_max_pd(east, west)),
                                       _mm512_mul_pd(sideways, _mm512_add_pd(north, south)));
    __m512d best = _mm512_max_pd(_mm512_max_pd(stay, vertical), horizontal);
    __m512d next = _mm512_mask_add_pd(stay, free, reward, _mm512_mul_pd(_mm512_set1_pd(model->gamma), best));
    __m512d difference = _mm512_sub_pd(next, stay);
    change->least = _mm512_mask_min_pd(change->least, free, difference, change->least);
    change->most = _mm512_mask_max_pd(change->most, free, difference, change->most);
    return next;
}

static inline void sweep_row_avx512(const struct gridworld_constants *given, const uint8_t *restrict cells,
                                    const double *restrict u, int64_t pitch, int64_t n, bool stream,
                                    double *restrict next, struct sable_gridworld_change *total)
{
    const struct gridworld_constants model = *given;
    struct lanes_change change = {_mm512_set1_pd(total->least), _mm512_set1_pd(total->most)};
    int64_t i = 0;
    for (; i + 64 <= n; i += 64) {
        for (int j = 0; j < 8; j++)
            _mm_prefetch((const char *)(u + pitch + i + 8 * j + AHEAD), _MM_HINT_T0);
        _mm_prefetch((const char *)(cells + i + 2 * AHEAD), _MM_HINT_T0);
        const struct tests tests = test64(cells + i, ~UINT64_C(0));
        if (stream)
            for (int j = 0; j < 8; j++)
                _mm512_stream_pd(next + i + 8 * j, backup8(&model, &tests, j, u + i + 8 * j, pitch, 0xff, &change));
        else
            for (int j = 0; j < 8; j++)
                _mm512_storeu_pd(next + i + 8 * j, backup8(&model, &tests, j, u + i + 8 * j, pitch, 0xff, &change));
    }
    const uint64_t left = (UINT64_C(1) << (n - i)) - 1;
    const struct tests tests = test64(cells + i, left);
    for (int j = 0; i + 8 * j < n; j++) {
        const __mmask8 lanes = (__mmask8)(left >> 8 * j);
        const int64_t s = i + 8 * j;
        const __m512d updated = backup8(&model, &tests, j, u + s, pitch, lanes, &change);
        if (stream && lanes == 0xff)
            _mm512_stream_pd(next + s, updated);
        else
            _mm512_mask_storeu_pd(next + s, lanes, updated);
    }
    total->least = _mm512_reduce_min_pd(change.least);
    total->most = _mm512_reduce_max_pd(change.most);
}
