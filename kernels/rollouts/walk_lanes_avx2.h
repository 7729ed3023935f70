/* Draws and grids of walk_lanes.isa.c in AVX2 intrinsics, included by it at level v3: compilers turn the plain loops
 * into scalar code, for want of a 32 × 32 → 64 bit product and of a look-up with unsigned indices. */
#include <immintrin.h>

enum { VECTOR = 8, VECTORS = LANES / VECTOR };

/* Four counters a register, one 32-bit word in the low half of each 64-bit lane; the high halves hold rubbish. */
struct counters {
    __m256i c0, c1, c2, c3;
};

static inline void philox_round(struct counters *c, __m256i key0, __m256i key1)
{
    __m256i p0 = _mm256_mul_epu32(c->c0, _mm256_set1_epi64x(philox_multiplier[0]));
    __m256i p1 = _mm256_mul_epu32(c->c2, _mm256_set1_epi64x(philox_multiplier[1]));
    c->c0 = _mm256_xor_si256(_mm256_xor_si256(_mm256_srli_epi64(p1, 32), c->c1), key0);
    c->c2 = _mm256_xor_si256(_mm256_xor_si256(_mm256_srli_epi64(p0, 32), c->c3), key1);
    c->c1 = p1;
    c->c3 = p0;
}

static inline __m256i load(const uint32_t *from)
{
    return _mm256_loadu_si256((const __m256i *)from);
}

static inline void store(uint32_t *to, __m256i value)
{
    _mm256_storeu_si256((__m256i *)to, value);
}

/* Low halves of `odd` between those of `even`. */
static inline __m256i interleave(__m256i even, __m256i odd)
{
    return _mm256_blend_epi32(even, _mm256_slli_epi64(odd, 32), 0xaa);
}

void SABLE_ISA_NAME(rollouts_draw_lanes)(uint64_t seed, uint32_t purpose, const uint32_t *low, const uint32_t *high,
                                         const uint32_t *block, uint32_t *words)
{
    for (int v = 0; v < VECTORS; v++) {
        uint32_t key0 = (uint32_t)seed, key1 = (uint32_t)(seed >> 32);
        __m256i c0 = load(low + VECTOR * v), c1 = load(high + VECTOR * v), c2 = load(block + VECTOR * v);
        __m256i c3 = _mm256_set1_epi64x(purpose);
        struct counters even = {c0, c1, c2, c3};
        struct counters odd = {_mm256_srli_epi64(c0, 32), _mm256_srli_epi64(c1, 32), _mm256_srli_epi64(c2, 32), c3};
        for (int round = 0; round < PHILOX_ROUNDS; round++, key0 += philox_weyl[0], key1 += philox_weyl[1]) {
            philox_round(&even, _mm256_set1_epi64x(key0), _mm256_set1_epi64x(key1));
            philox_round(&odd, _mm256_set1_epi64x(key0), _mm256_set1_epi64x(key1));
        }
        store(words + 0 * LANES + VECTOR * v, interleave(even.c0, odd.c0));
        store(words + 1 * LANES + VECTOR * v, interleave(even.c1, odd.c1));
        store(words + 2 * LANES + VECTOR * v, interleave(even.c2, odd.c2));
        store(words + 3 * LANES + VECTOR * v, interleave(even.c3, odd.c3));
    }
}

/* Eight lanes in registers. */
struct walkers {
    __m256i state, length;
    __m256d total[2], discount[2];
};

/* Returns the arrivals: their byte is the lowest of each lane. */
static inline __m256i grid_step(const struct sable_rollouts_grid *grid, struct walkers *w, __m256i u, bool wraps)
{
    const int width = (int)grid->width, stride = (int)grid->stride;
    const __m256i nothing = _mm256_set1_epi32(SABLE_ARRIVAL_REWARD);
    /* Moves by d and SABLE_ARRIVAL_MOVES: the three low bits of an arrival. */
    const __m256i delta = _mm256_setr_epi32(0, 0, 0, 0, -stride, 1, stride, -1);
    __m256i row = _mm256_i32gather_epi32((const int *)grid->row, w->state, 4);
    /* Fractions and thresholds are below 2³¹: signed comparisons will do. A comparison's truth is −1. */
    __m256i fraction = _mm256_and_si256(u, _mm256_set1_epi32(0xfffffff));
    __m256i left = _mm256_cmpgt_epi32(_mm256_set1_epi32((int)grid->turn_left), fraction);
    __m256i right = _mm256_cmpgt_epi32(_mm256_set1_epi32((int)grid->turn_right), fraction);
    __m256i slot = _mm256_slli_epi32(_mm256_srli_epi32(u, 28), 1);
    __m256i d = _mm256_srlv_epi32(_mm256_set1_epi32((int)grid->policy), slot);
    d = _mm256_add_epi32(_mm256_sub_epi32(d, right), _mm256_add_epi32(left, left));
    d = _mm256_and_si256(d, _mm256_set1_epi32(3));
    __m256i arrival = _mm256_srlv_epi32(row, _mm256_slli_epi32(d, 3));
    __m256i step = _mm256_permutevar8x32_epi32(delta, arrival);
    if (wraps) { /* eastward, d = 1, back by the width; westward, d = 3, on by it */
        __m256i over = _mm256_srai_epi32(_mm256_slli_epi32(arrival, 28), 31); /* SABLE_ARRIVAL_WRAPS as a mask */
        __m256i round = _mm256_mullo_epi32(_mm256_sub_epi32(d, _mm256_set1_epi32(2)), _mm256_set1_epi32(width));
        step = _mm256_add_epi32(step, _mm256_and_si256(over, round));
    }
    w->state = _mm256_add_epi32(w->state, step);
    __m256i paid = _mm256_and_si256(arrival, nothing);
    __m256i over = _mm256_cmpeq_epi32(paid, nothing);
    w->length = _mm256_add_epi32(w->length, _mm256_add_epi32(over, _mm256_set1_epi32(1)));
    paid = _mm256_srli_epi32(paid, SABLE_ARRIVAL_PAYS);
    for (int h = 0; h < 2; h++) {
        __m128i index = h ? _mm256_extracti128_si256(paid, 1) : _mm256_castsi256_si128(paid);
        w->total[h] = _mm256_fmadd_pd(w->discount[h], _mm256_i32gather_pd(grid->reward, index, 8), w->total[h]);
        w->discount[h] = _mm256_mul_pd(w->discount[h], _mm256_set1_pd(grid->gamma));
    }
    return arrival;
}

static inline uint32_t advance_grid(const struct sable_rollouts_grid *grid, struct walk_lanes *lanes,
                                    const uint32_t *words, bool wraps)
{
    const __m256i last = _mm256_set1_epi32((int)(grid->horizon / STEPS) - 1);
    uint32_t ended = 0;
    for (int v = 0; v < VECTORS; v++) {
        double *total = lanes->total + VECTOR * v, *discount = lanes->discount + VECTOR * v;
        struct walkers w = {load(lanes->state + VECTOR * v),
                            load(lanes->length + VECTOR * v),
                            {_mm256_load_pd(total), _mm256_load_pd(total + 4)},
                            {_mm256_load_pd(discount), _mm256_load_pd(discount + 4)}};
        __m256i arrival = last;
        for (int j = 0; j < STEPS; j++)
            arrival = grid_step(grid, &w, load(words + j * LANES + VECTOR * v), wraps);
        __m256i block = load(lanes->block + VECTOR * v);
        __m256i cut = _mm256_cmpeq_epi32(_mm256_max_epi32(block, last), block);
        __m256i end = _mm256_slli_epi32(arrival, 24); /* SABLE_ARRIVAL_ENDS becomes the sign */
        ended |= (uint32_t)_mm256_movemask_ps(_mm256_castsi256_ps(_mm256_or_si256(cut, end))) << (VECTOR * v);
        store(lanes->block + VECTOR * v, _mm256_add_epi32(block, _mm256_set1_epi32(1)));
        store(lanes->state + VECTOR * v, w.state);
        store(lanes->length + VECTOR * v, w.length);
        _mm256_store_pd(total, w.total[0]), _mm256_store_pd(total + 4, w.total[1]);
        _mm256_store_pd(discount, w.discount[0]), _mm256_store_pd(discount + 4, w.discount[1]);
    }
    return ended;
}

uint32_t SABLE_ISA_NAME(rollouts_advance_grid)(const struct sable_rollouts_grid *grid, struct walk_lanes *lanes,
                                               const uint32_t *words)
{
    return grid->wraps ? advance_grid(grid, lanes, words, true) : advance_grid(grid, lanes, words, false);
}
