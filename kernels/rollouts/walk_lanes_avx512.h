/* The lanes of walk_lanes.isa.c in AVX-512 intrinsics, included by it at level v4. */
#include <immintrin.h>

enum { VECTOR = 16, VECTORS = LANES / VECTOR };

/* Eight counters a register, one 32-bit word in the low half of each 64-bit lane. The high halves hold rubbish, which
 * the multiplication doesn't read: a round is two products, two shifts and two three-way xors. */
struct counters {
    __m512i c0, c1, c2, c3;
};

static inline void philox_round(struct counters *c, __m512i key0, __m512i key1)
{
    enum { XOR3 = 0x96 };
    __m512i p0 = _mm512_mul_epu32(c->c0, _mm512_set1_epi64(multiplier[0]));
    __m512i p1 = _mm512_mul_epu32(c->c2, _mm512_set1_epi64(multiplier[1]));
    c->c0 = _mm512_ternarylogic_epi64(_mm512_srli_epi64(p1, 32), c->c1, key0, XOR3);
    c->c2 = _mm512_ternarylogic_epi64(_mm512_srli_epi64(p0, 32), c->c3, key1, XOR3);
    c->c1 = p1;
    c->c3 = p0;
}

/* Low halves of `odd` between those of `even`. */
static inline __m512i interleave(__m512i even, __m512i odd)
{
    return _mm512_mask_shuffle_epi32(even, 0xaaaa, odd, (_MM_PERM_ENUM)0xa0);
}

void SABLE_ISA_NAME(rollouts_draw_lanes)(uint64_t seed, uint32_t purpose, const uint32_t *low, const uint32_t *high,
                                         const uint32_t *block, uint32_t *words)
{
    struct counters c[2 * VECTORS]; /* even and odd lanes of each vector */
    for (int v = 0; v < VECTORS; v++) {
        __m512i c0 = _mm512_loadu_si512(low + VECTOR * v), c1 = _mm512_loadu_si512(high + VECTOR * v);
        __m512i c2 = _mm512_loadu_si512(block + VECTOR * v), c3 = _mm512_set1_epi64(purpose);
        c[2 * v] = (struct counters){c0, c1, c2, c3};
        c[2 * v + 1] =
            (struct counters){_mm512_srli_epi64(c0, 32), _mm512_srli_epi64(c1, 32), _mm512_srli_epi64(c2, 32), c3};
    }
    uint32_t key0 = (uint32_t)seed, key1 = (uint32_t)(seed >> 32);
#pragma GCC unroll 10
    for (int round = 0; round < ROUNDS; round++, key0 += weyl[0], key1 += weyl[1])
        for (int k = 0; k < 2 * VECTORS; k++)
            philox_round(&c[k], _mm512_set1_epi64(key0), _mm512_set1_epi64(key1));
    for (int v = 0; v < VECTORS; v++) {
        const struct counters *even = &c[2 * v], *odd = &c[2 * v + 1];
        _mm512_storeu_si512(words + 0 * LANES + VECTOR * v, interleave(even->c0, odd->c0));
        _mm512_storeu_si512(words + 1 * LANES + VECTOR * v, interleave(even->c1, odd->c1));
        _mm512_storeu_si512(words + 2 * LANES + VECTOR * v, interleave(even->c2, odd->c2));
        _mm512_storeu_si512(words + 3 * LANES + VECTOR * v, interleave(even->c3, odd->c3));
    }
}

/* Sixteen lanes in registers. */
struct walkers {
    __m512i state, length;
    __m512d total[2], discount[2];
};

static inline struct walkers load_walkers(const struct walk_lanes *lanes, int v)
{
    return (struct walkers){
        _mm512_load_si512(lanes->state + VECTOR * v),
        _mm512_load_si512(lanes->length + VECTOR * v),
        {_mm512_load_pd(lanes->total + VECTOR * v), _mm512_load_pd(lanes->total + VECTOR * v + 8)},
        {_mm512_load_pd(lanes->discount + VECTOR * v), _mm512_load_pd(lanes->discount + VECTOR * v + 8)}};
}

/* Stores them, counts the block, and tells which have played `horizon` steps. */
static inline uint32_t store_walkers(struct walk_lanes *lanes, int v, const struct walkers *w, uint32_t horizon)
{
    __m512i block = _mm512_add_epi32(_mm512_load_si512(lanes->block + VECTOR * v), _mm512_set1_epi32(1));
    _mm512_store_si512(lanes->block + VECTOR * v, block);
    _mm512_store_si512(lanes->state + VECTOR * v, w->state);
    _mm512_store_si512(lanes->length + VECTOR * v, w->length);
    for (int h = 0; h < 2; h++) {
        _mm512_store_pd(lanes->total + VECTOR * v + 8 * h, w->total[h]);
        _mm512_store_pd(lanes->discount + VECTOR * v + 8 * h, w->discount[h]);
    }
    return _mm512_cmpge_epu32_mask(_mm512_slli_epi32(block, 2), _mm512_set1_epi32((int)horizon));
}

static inline void collect(struct walkers *w, __m512d low, __m512d high, __m512d gamma)
{
    w->total[0] = _mm512_fmadd_pd(w->discount[0], low, w->total[0]);
    w->total[1] = _mm512_fmadd_pd(w->discount[1], high, w->total[1]);
    w->discount[0] = _mm512_mul_pd(w->discount[0], gamma);
    w->discount[1] = _mm512_mul_pd(w->discount[1], gamma);
}

/* ---- Grid ---- */

struct grid_constants {
    const uint32_t *row;
    __m512i table[2]; /* the rows of up to 32 cells */
    __m512i policy, turn_left, turn_right, delta;
    __m512d reward, gamma;
};

static inline struct grid_constants grid_constants(const struct sable_rollouts_grid *grid, bool in_registers,
                                                   bool wraps)
{
    const int width = (int)grid->width;
    struct grid_constants k = {
        .row = grid->row,
        .policy = _mm512_and_si512(
            _mm512_srlv_epi32(_mm512_set1_epi32((int)grid->policy),
                              _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30)),
            _mm512_set1_epi32(3)),
        .turn_left = _mm512_set1_epi32((int)grid->turn_left),
        .turn_right = _mm512_set1_epi32((int)grid->turn_right),
        .delta =
            wraps ? _mm512_setr_epi32(-width, 1, width, -1, -width, 1 - width, width, width - 1, 0, 0, 0, 0, 0, 0, 0, 0)
                  : _mm512_set4_epi32(-1, width, 1, -width),
        .reward = _mm512_loadu_pd(grid->reward),
        .gamma = _mm512_set1_pd(grid->gamma),
    };
    if (in_registers) {
        uint32_t cells = (uint32_t)(grid->height * grid->width);
        __mmask32 exist = (__mmask32)(UINT64_C(0xffffffff) >> (32 - cells));
        k.table[0] = _mm512_maskz_loadu_epi32((__mmask16)exist, grid->row);
        k.table[1] = _mm512_maskz_loadu_epi32((__mmask16)(exist >> 16), grid->row + 16);
    }
    return k;
}

/* Returns the arrivals: their byte is the lowest of each lane. */
static inline __m512i grid_step(const struct grid_constants *k, struct walkers *w, __m512i u, bool in_registers,
                                bool wraps)
{
    const __m512i one = _mm512_set1_epi32(1);
    __m512i row = in_registers ? _mm512_permutex2var_epi32(k->table[0], w->state, k->table[1])
                               : _mm512_i32gather_epi32(w->state, k->row, 4);
    __m512i fraction = _mm512_and_si512(u, _mm512_set1_epi32(0xfffffff));
    __m512i d = _mm512_permutexvar_epi32(_mm512_srli_epi32(u, 28), k->policy);
    __mmask16 left = _mm512_cmplt_epu32_mask(fraction, k->turn_left);
    __mmask16 right = _mm512_cmplt_epu32_mask(fraction, k->turn_right); /* of which the left ones turn back twice */
    d = _mm512_mask_add_epi32(d, right, d, one);
    d = _mm512_mask_sub_epi32(d, left, d, _mm512_set1_epi32(2));
    __m512i arrival = _mm512_rorv_epi32(row, _mm512_slli_epi32(d, 3)); /* counts modulo 32: d modulo 4 */
    __mmask16 moves = _mm512_test_epi32_mask(arrival, _mm512_set1_epi32(SABLE_ARRIVAL_MOVES));
    __mmask16 playing = _mm512_testn_epi32_mask(arrival, _mm512_set1_epi32(SABLE_ARRIVAL_AFTER_END));
    if (wraps) { /* the index of a move: d's two bits, and SABLE_ARRIVAL_WRAPS above them */
        enum { SELECT = 0xca };
        d = _mm512_ternarylogic_epi32(_mm512_set1_epi32(3), d, _mm512_srli_epi32(arrival, 4), SELECT);
    }
    w->state = _mm512_mask_add_epi32(w->state, moves, w->state, _mm512_permutexvar_epi32(d, k->delta));
    w->length = _mm512_mask_add_epi32(w->length, playing, w->length, one);
    /* permutexvar_pd reads the three lowest bits of each index: SABLE_ARRIVAL_REWARD. */
    __m512i low = _mm512_cvtepu32_epi64(_mm512_castsi512_si256(arrival));
    __m512i high = _mm512_cvtepu32_epi64(_mm512_extracti64x4_epi64(arrival, 1));
    collect(w, _mm512_permutexvar_pd(low, k->reward), _mm512_permutexvar_pd(high, k->reward), k->gamma);
    return arrival;
}

static inline uint32_t advance_grid(const struct sable_rollouts_grid *grid, struct walk_lanes *lanes,
                                    const uint32_t *words, bool in_registers, bool wraps)
{
    const struct grid_constants k = grid_constants(grid, in_registers, wraps);
    struct walkers w[VECTORS];
    __m512i arrival[VECTORS];
    uint32_t ended = 0;
    for (int v = 0; v < VECTORS; v++)
        w[v] = load_walkers(lanes, v);
    for (int j = 0; j < STEPS; j++)
        for (int v = 0; v < VECTORS; v++)
            arrival[v] = grid_step(&k, &w[v], _mm512_loadu_si512(words + j * LANES + VECTOR * v), in_registers, wraps);
    for (int v = 0; v < VECTORS; v++) {
        uint32_t some = store_walkers(lanes, v, &w[v], grid->horizon);
        some |= _mm512_test_epi32_mask(arrival[v], _mm512_set1_epi32(SABLE_ARRIVAL_ENDS));
        ended |= some << (VECTOR * v);
    }
    return ended;
}

uint32_t SABLE_ISA_NAME(rollouts_advance_grid)(const struct sable_rollouts_grid *grid, struct walk_lanes *lanes,
                                               const uint32_t *words)
{
    if (grid->wraps)
        return advance_grid(grid, lanes, words, false, true);
    return grid->height * grid->width <= 32 ? advance_grid(grid, lanes, words, true, false)
                                            : advance_grid(grid, lanes, words, false, false);
}

/* ---- Rows ---- */

struct rows_constants {
    const struct sable_rollouts_entry *entry;
    __m128i bits, rest;
    __m512i end;
    __m512d gamma;
};

/* Returns the outcomes taken, entry·2 + side. Indices of gathers count 8 bytes: four to an entry. */
static inline __m512i rows_step(const struct rows_constants *k, struct walkers *w, __m512i u)
{
    const char *base = (const char *)k->entry;
    /* A shift by 32 (bits = 0) gives 0. */
    __m512i index = _mm512_or_si512(_mm512_sll_epi32(w->state, k->bits), _mm512_srl_epi32(u, k->rest));
    __m512i place = _mm512_slli_epi32(index, 2);
    __m512i threshold = _mm512_i32gather_epi32(place, base, 8);
    __mmask16 second = _mm512_cmpge_epu32_mask(_mm512_sll_epi32(u, k->bits), threshold);
    __m512i outcome = _mm512_add_epi32(index, index);
    outcome = _mm512_mask_add_epi32(outcome, second, outcome, _mm512_set1_epi32(1));
    /* `next` lies 8 + 4·side bytes behind the entry: gathered as 4-byte words, 8·entry + 2 + side of them. The index
     * may pass 2³¹ there, so both sides are one 8-byte word, of which a shift takes the half. */
    __m256i place_low = _mm512_castsi512_si256(place), place_high = _mm512_extracti64x4_epi64(place, 1);
    __m512i next_low = _mm512_i32gather_epi64(place_low, base + 8, 8);
    __m512i next_high = _mm512_i32gather_epi64(place_high, base + 8, 8);
    next_low = _mm512_mask_srli_epi64(next_low, (__mmask8)second, next_low, 32);
    next_high = _mm512_mask_srli_epi64(next_high, (__mmask8)(second >> 8), next_high, 32);
    __m512i next = _mm512_inserti64x4(_mm512_castsi256_si512(_mm512_cvtepi64_epi32(next_low)),
                                      _mm512_cvtepi64_epi32(next_high), 1);
    place = _mm512_mask_add_epi32(place, second, place, _mm512_set1_epi32(1));
    __m512d reward_low = _mm512_i32gather_pd(_mm512_castsi512_si256(place), base + 16, 8);
    __m512d reward_high = _mm512_i32gather_pd(_mm512_extracti64x4_epi64(place, 1), base + 16, 8);
    __mmask16 playing = _mm512_cmpneq_epi32_mask(w->state, k->end);
    w->length = _mm512_mask_add_epi32(w->length, playing, w->length, _mm512_set1_epi32(1));
    w->state = _mm512_min_epu32(next, k->end); /* SABLE_ROW_END is above every state */
    collect(w, reward_low, reward_high, k->gamma);
    return outcome;
}

uint32_t SABLE_ISA_NAME(rollouts_advance_rows)(const struct sable_rollouts_rows *rows, struct walk_lanes *lanes,
                                               const uint32_t *words, uint32_t *trace)
{
    const struct rows_constants k = {rows->entry, _mm_cvtsi32_si128(rows->bits), _mm_cvtsi32_si128(32 - rows->bits),
                                     _mm512_set1_epi32((int)(rows->states - 1)), _mm512_set1_pd(rows->gamma)};
    struct walkers w[VECTORS];
    uint32_t ended = 0;
    for (int v = 0; v < VECTORS; v++)
        w[v] = load_walkers(lanes, v);
    for (int j = 0; j < STEPS; j++)
        for (int v = 0; v < VECTORS; v++) {
            __m512i outcome = rows_step(&k, &w[v], _mm512_loadu_si512(words + j * LANES + VECTOR * v));
            if (trace)
                _mm512_storeu_si512(trace + j * LANES + VECTOR * v, outcome);
        }
    for (int v = 0; v < VECTORS; v++) {
        uint32_t some = store_walkers(lanes, v, &w[v], rows->horizon);
        some |= _mm512_cmpeq_epi32_mask(w[v].state, k.end);
        ended |= some << (VECTOR * v);
    }
    return ended;
}
