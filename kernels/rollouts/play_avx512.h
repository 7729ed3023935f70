/* One thread's part of a share in AVX-512 intrinsics, included by play.isa.c at level v4.
 *
 * Lanes come in groups of 16, two groups at a time: their words are drawn, four steps taken, and where an episode has
 * ended, all in vectors: what it came to is compressed behind others' into a list, which is counted later, and the next
 * episodes of the chunk are expanded into the lanes. Nothing is written lane by lane and read as a vector. Rewards are
 * looked up by 64-bit indices: totals are kept of even lanes and of odd ones. */
#include "rows_avx512.h"

#include <string.h>

enum { GROUPS = 4, LISTED = 512, MOST_ENDING = GROUPS * VECTOR };
#define ALWAYS_INLINE static inline __attribute__((always_inline)) /* a version for each constant argument */
enum { EVEN = 0x5555, ODD = 0xaaaa };

/* Sixteen lanes. */
struct group {
    __m512i low, high, block, state, chunk;
    __m512d total[2], discount[2]; /* of even and of odd lanes */
    uint32_t playing;              /* lanes that have an episode, a bit each */
};

/* Episodes that have ended: what they came to; chunk, length and whether they were cut. */
struct list {
    _Alignas(64) double total[LISTED];
    _Alignas(64) uint64_t about[LISTED];
    int64_t count;
};
#define ABOUT_CUT (UINT64_C(1) << 31)

static void count_list(struct list *list, struct tallies *tallies, struct sable_rollouts_chunk *chunk)
{
    for (int64_t i = 0; i < list->count; i++) {
        const uint64_t about = list->about[i];
        const uint32_t length = (uint32_t)(about & (ABOUT_CUT - 1));
        sable_walk_count(list->total[i], length, about & ABOUT_CUT, tallies, &chunk[about >> 32]);
    }
    list->count = 0;
}

/* Lists the episodes of lanes `ended`; length: their steps, | ABOUT_CUT. */
static inline void list_episodes(const struct group *g, uint32_t ended, __m512i length, struct list *list)
{
    const __m512i even = _mm512_mask_blend_epi32(ODD, length, _mm512_slli_epi64(g->chunk, 32));
    const __m512i odd = _mm512_mask_blend_epi32(ODD, _mm512_srli_epi64(length, 32), g->chunk);
    const __m512i about[2] = {even, odd};
    for (int h = 0; h < 2; h++) {
        const __mmask8 some = (__mmask8)_pext_u32(ended, h ? ODD : EVEN);
        _mm512_storeu_pd(list->total + list->count, _mm512_maskz_compress_pd(some, g->total[h]));
        _mm512_storeu_si512(list->about + list->count, _mm512_maskz_compress_epi64(some, about[h]));
        list->count += __builtin_popcount(some);
    }
}

/* The next `count` episodes of the chunk in hand begin in lanes `mask`, as many. */
static inline void deal_some(struct dealer *dealer, struct group *g, uint32_t mask, int64_t count)
{
    const __m512i iota = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    const __mmask16 m = (__mmask16)mask;
    const uint64_t id = (uint64_t)dealer->drawn; /* chunks begin at multiples of their length: no carry */
    g->state = _mm512_mask_expand_epi32(g->state, m, _mm512_loadu_si512(dealer->start + id % SABLE_CHUNK));
    g->low = _mm512_mask_expand_epi32(g->low, m, _mm512_add_epi32(iota, _mm512_set1_epi32((int)(uint32_t)id)));
    g->high = _mm512_mask_set1_epi32(g->high, m, (int)(uint32_t)(id >> 32));
    g->chunk = _mm512_mask_set1_epi32(g->chunk, m, (int)dealer->chunk);
    g->block = _mm512_mask_set1_epi32(g->block, m, 0);
    for (int h = 0; h < 2; h++) {
        const __mmask8 some = (__mmask8)_pext_u32(mask, h ? ODD : EVEN);
        g->total[h] = _mm512_mask_mov_pd(g->total[h], some, _mm512_setzero_pd());
        g->discount[h] = _mm512_mask_mov_pd(g->discount[h], some, _mm512_set1_pd(1));
    }
    dealer->drawn += count;
    dealer->left -= count;
}

/* Deals to lanes `mask`; those for which there is nothing left are put to rest. */
static inline void deal(struct dealer *dealer, struct group *g, uint32_t mask)
{
    while (mask) {
        if (dealer->left == 0 && !sable_walk_take(dealer)) {
            g->state = _mm512_mask_set1_epi32(g->state, (__mmask16)mask, (int)dealer->walk->resting);
            g->playing &= ~mask;
            return;
        }
        int64_t count = __builtin_popcount(mask);
        uint32_t some = mask;
        if (count > dealer->left) {
            count = dealer->left;
            some = _pdep_u32((UINT32_C(1) << count) - 1, mask);
        }
        deal_some(dealer, g, some, count);
        mask &= ~some;
    }
}

static inline uint32_t begin(struct dealer *dealer, struct group *group)
{
    uint32_t playing = 0;
    memset(group, 0, GROUPS * sizeof *group);
    dealer->chunk = -1;
    dealer->left = 0;
    for (int g = 0; g < GROUPS; g++) {
        group[g].playing = (1U << VECTOR) - 1;
        deal(dealer, &group[g], group[g].playing);
        playing |= group[g].playing;
    }
    return playing;
}

/* total += γ^t r of even and odd lanes. */
static inline void collect(struct group *g, __m512d even, __m512d odd, __m512d gamma)
{
    g->total[0] = _mm512_fmadd_pd(g->discount[0], even, g->total[0]);
    g->total[1] = _mm512_fmadd_pd(g->discount[1], odd, g->total[1]);
    g->discount[0] = _mm512_mul_pd(g->discount[0], gamma);
    g->discount[1] = _mm512_mul_pd(g->discount[1], gamma);
}

static inline void draw_pair(const struct philox_keys *keys, const struct group *g, __m512i words[PAIR][STEPS])
{
    const __m512i *const counter[PAIR][3] = {{&g[0].low, &g[0].high, &g[0].block},
                                             {&g[1].low, &g[1].high, &g[1].block}};
    philox_pair(keys, SABLE_ROLLOUTS_STEP, counter, words);
}

/* ---- Grid ---- */

/* How rewards are found: of grids, among eight in a register; of rows, there, in a table, or by outcome. */
enum game { GRID, GRID_IN_REGISTERS, LARGE_GRID, ROWS_OF_FEW_REWARDS, ROWS, ROWS_OF_MANY_REWARDS };

struct grid_constants {
    const uint32_t *row;
    const uint8_t *into;
    __m512i table[2]; /* the rows of up to 32 cells */
    __m512i policy, turn_left, turn_right, step, delta;
    __m512d reward, gamma;
};

ALWAYS_INLINE struct grid_constants grid_constants(const struct sable_rollouts_grid *grid, enum game game)
{
    const int width = (int)grid->width, stride = (int)grid->stride;
    const __m512i slots = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    const __m512i policy =
        _mm512_and_si512(_mm512_srlv_epi32(_mm512_set1_epi32((int)grid->policy), slots), _mm512_set1_epi32(3));
    struct grid_constants k = {
        .row = grid->row,
        .into = grid->into,
        /* Directions; of rows, the shift that brings a direction's byte to the bottom. */
        .policy = game == LARGE_GRID ? policy : _mm512_slli_epi32(policy, 3),
        .turn_left = _mm512_set1_epi32((int)grid->turn_left),
        .turn_right = _mm512_set1_epi32((int)grid->turn_right),
        /* By the four low bits of an arrival: direction, whether it moves, whether over an edge. */
        .delta =
            _mm512_setr_epi32(0, 0, 0, 0, -stride, 1, stride, -1, 0, 0, 0, 0, -stride, 1 - width, stride, width - 1),
        .step = _mm512_setr_epi32(-stride, 1, stride, -1, -stride, 1, stride, -1, -stride, 1, stride, -1, -stride, 1,
                                  stride, -1), /* by direction, modulo 4 */
        .reward = _mm512_loadu_pd(grid->reward),
        .gamma = _mm512_set1_pd(grid->gamma),
    };
    if (game == GRID_IN_REGISTERS) {
        uint32_t cells = (uint32_t)(grid->height * grid->width);
        __mmask32 exist = (__mmask32)(UINT64_C(0xffffffff) >> (32 - cells));
        k.table[0] = _mm512_maskz_loadu_epi32((__mmask16)exist, grid->row);
        k.table[1] = _mm512_maskz_loadu_epi32((__mmask16)(exist >> 16), grid->row + 16);
    }
    return k;
}

/* The policy's action in units of `one`, turned by a slip; to be taken modulo four. */
ALWAYS_INLINE __m512i direction(const struct grid_constants *k, __m512i u, int one)
{
    const __m512i fraction = _mm512_and_si512(u, _mm512_set1_epi32(0xfffffff));
    const __m512i action = _mm512_permutexvar_epi32(_mm512_srli_epi32(u, 28), k->policy);
    const __mmask16 left = _mm512_cmplt_epu32_mask(fraction, k->turn_left);
    const __mmask16 right = _mm512_cmplt_epu32_mask(fraction, k->turn_right); /* of which the left turn back twice */
    const __m512i turned = _mm512_mask_add_epi32(action, right, action, _mm512_set1_epi32(one));
    return _mm512_mask_sub_epi32(turned, left, turned, _mm512_set1_epi32(2 * one));
}

/* Moves and pays as the arrivals say, whose byte is the lowest of each lane. */
ALWAYS_INLINE void arrive(const struct grid_constants *k, struct group *g, __m512i arrival)
{
    g->state = _mm512_add_epi32(g->state, _mm512_permutexvar_epi32(arrival, k->delta));
    /* permutexvar_pd reads the three lowest bits of each index. */
    __m512i even = _mm512_srli_epi64(arrival, SABLE_ARRIVAL_PAYS);
    __m512i odd = _mm512_srli_epi64(arrival, 32 + SABLE_ARRIVAL_PAYS);
    collect(g, _mm512_permutexvar_pd(even, k->reward), _mm512_permutexvar_pd(odd, k->reward), k->gamma);
}

/* Returns the arrivals. */
ALWAYS_INLINE __m512i grid_step(const struct grid_constants *k, struct group *g, __m512i u, bool in_registers)
{
    const __m512i row =
        in_registers ? _mm512_permutex2var_epi32(k->table[0], g->state, k->table[1]) : gather_words(g->state, k->row);
    const __m512i arrival = _mm512_rorv_epi32(row, direction(k, u, 8)); /* counts modulo 32 */
    arrive(k, g, arrival);
    return arrival;
}

/* Looks at the place ahead, of lanes `over` at none. */
ALWAYS_INLINE __m512i large_grid_step(const struct grid_constants *k, struct group *g, __m512i u, __mmask16 over)
{
    const __m512i d = direction(k, u, 1);
    __m512i into = gather_bytes(_mm512_add_epi32(g->state, _mm512_permutexvar_epi32(d, k->step)), k->into);
    into = _mm512_mask_mov_epi32(into, over, _mm512_set1_epi32(SABLE_ARRIVAL_REWARD | SABLE_ARRIVAL_ENDS));
    const __m512i arrival = _mm512_ternarylogic_epi32(_mm512_set1_epi32(SABLE_ARRIVAL_DIRECTION), d, into, 0xca);
    arrive(k, g, arrival);
    return arrival;
}

/* Counts the episodes that ended in a block and deals the next; returns whether any lane has one still. */
static inline bool turn_over(struct dealer *dealer, struct group *group, const uint32_t *ended, const __m512i *length,
                             struct list *list, struct tallies *tallies, struct sable_rollouts_chunk *chunk)
{
    uint32_t playing = 0;
#pragma GCC unroll 4
    for (int g = 0; g < GROUPS; g++)
        list_episodes(&group[g], ended[g], length[g], list);
    int64_t count[GROUPS], wanted = 0;
    for (int g = 0; g < GROUPS; g++)
        wanted += count[g] = __builtin_popcount(ended[g]);
    if (wanted <= dealer->left) { /* no branches: which groups have ended episodes can't be predicted */
#pragma GCC unroll 4
        for (int g = 0; g < GROUPS; g++)
            deal_some(dealer, &group[g], ended[g], count[g]);
    } else {
        for (int g = 0; g < GROUPS; g++)
            deal(dealer, &group[g], ended[g]);
    }
    if (list->count > LISTED - MOST_ENDING - VECTOR)
        count_list(list, tallies, chunk);
    for (int g = 0; g < GROUPS; g++)
        playing |= group[g].playing;
    return playing;
}

/* ---- Rows ---- */

/* Returns the new states. */
ALWAYS_INLINE __m512i rows_step(const struct rows_constants *k, struct group *g, __m512i u, enum game game)
{
    const struct taken taken = rows_take(k, g->state, u);
    const __m512i which = game == ROWS_OF_MANY_REWARDS ? taken.outcome : taken.reward;
    const __m512i even = _mm512_and_si512(which, _mm512_set1_epi64(UINT32_MAX)), odd = _mm512_srli_epi64(which, 32);
    g->state = taken.next;
    if (game == ROWS_OF_FEW_REWARDS)
        collect(g, _mm512_permutexvar_pd(even, k->few), _mm512_permutexvar_pd(odd, k->few), k->gamma);
    else
        collect(g, _mm512_mask_i64gather_pd(_mm512_castsi512_pd(fresh_zero()), 0xff, even, k->reward, 8),
                _mm512_mask_i64gather_pd(_mm512_castsi512_pd(fresh_zero()), 0xff, odd, k->reward, 8), k->gamma);
    return taken.next;
}

/* ---- Either ---- */

struct constants {
    struct grid_constants grid;
    struct rows_constants rows;
    __m512i last; /* number of the horizon's block */
};

ALWAYS_INLINE struct constants constants(const struct walk *walk, enum game game)
{
    struct constants k;
    if (game <= LARGE_GRID)
        k.grid = grid_constants(walk->grid, game);
    else
        k.rows = rows_constants(walk->rows);
    const uint32_t horizon = walk->grid ? walk->grid->horizon : walk->rows->horizon;
    k.last = _mm512_set1_epi32((int)((horizon - 1) / STEPS));
    return k;
}

/* Of the marks that a step leaves, arrivals or states: which lanes have ended, by now. */
ALWAYS_INLINE __mmask16 over(const struct constants *k, __m512i mark, enum game game)
{
    return game <= LARGE_GRID ? _mm512_test_epi32_mask(mark, _mm512_set1_epi32(SABLE_ARRIVAL_ENDS))
                              : _mm512_cmpeq_epi32_mask(mark, k->rows.end);
}

/* Steps of the lanes that have ended in the block that was counted last, | ABOUT_CUT: an end shows in its own mark and
 * all that follow it. */
ALWAYS_INLINE __m512i length_of(const struct constants *k, const struct group *g, const __m512i mark[STEPS],
                                enum game game)
{
    const __m512i one = _mm512_set1_epi32(1);
    __m512i length = _mm512_add_epi32(_mm512_slli_epi32(g->block, 2), one);
    for (int j = 0; j < STEPS; j++)
        length = _mm512_mask_sub_epi32(length, over(k, mark[j], game), length, one);
    const __mmask16 cut = (__mmask16)~over(k, mark[STEPS - 1], game);
    return _mm512_mask_add_epi32(length, cut, length, _mm512_set1_epi32((int)(uint32_t)(ABOUT_CUT - 1)));
}

/* Returns the lanes' marks; `ended`: those that have ended in this block. */
ALWAYS_INLINE __m512i step(const struct constants *k, struct group *g, __m512i u, __mmask16 ended, enum game game)
{
    if (game == LARGE_GRID)
        return large_grid_step(&k->grid, g, u, ended);
    if (game < LARGE_GRID)
        return grid_step(&k->grid, g, u, game == GRID_IN_REGISTERS);
    return rows_step(&k->rows, g, u, game);
}

ALWAYS_INLINE void play(struct dealer *dealer, struct tallies *tallies, struct sable_rollouts_chunk *chunk,
                        enum game game)
{
    const struct constants k = constants(dealer->walk, game);
    const struct philox_keys keys = philox_keys(dealer->share->seed);
    struct group group[GROUPS];
    struct list list = {.count = 0};
    bool playing = begin(dealer, group);
    while (playing) {
        __m512i words[GROUPS][STEPS], mark[GROUPS][STEPS];
        uint32_t ended[GROUPS], any = 0;
        for (int g = 0; g < GROUPS; g += PAIR)
            draw_pair(&keys, group + g, words + g);
#pragma GCC unroll 4
        for (int j = 0; j < STEPS; j++)
#pragma GCC unroll 4
            for (int g = 0; g < GROUPS; g++)
                mark[g][j] = step(&k, &group[g], words[g][j], j ? over(&k, mark[g][j - 1], game) : 0, game);
#pragma GCC unroll 4
        for (int g = 0; g < GROUPS; g++) {
            ended[g] = over(&k, mark[g][STEPS - 1], game);
            ended[g] |= _mm512_cmpge_epu32_mask(group[g].block, k.last);
            any |= ended[g] &= group[g].playing;
            group[g].block = _mm512_add_epi32(group[g].block, _mm512_set1_epi32(1));
        }
        if (any) {
            __m512i length[GROUPS];
            for (int g = 0; g < GROUPS; g++)
                length[g] = length_of(&k, &group[g], mark[g], game);
            playing = turn_over(dealer, group, ended, length, &list, tallies, chunk);
        }
    }
    count_list(&list, tallies, chunk);
}

void SABLE_ISA_NAME(rollouts_play_grid)(struct dealer *dealer, struct tallies *tallies,
                                        struct sable_rollouts_chunk *chunk)
{
    if (dealer->walk->grid->height * dealer->walk->grid->width <= 32)
        play(dealer, tallies, chunk, GRID_IN_REGISTERS);
    else if (dealer->walk->grid->into)
        play(dealer, tallies, chunk, LARGE_GRID);
    else
        play(dealer, tallies, chunk, GRID);
}

void SABLE_ISA_NAME(rollouts_play_rows)(struct dealer *dealer, struct tallies *tallies,
                                        struct sable_rollouts_chunk *chunk)
{
    const struct sable_rollouts_rows *rows = dealer->walk->rows;
    if (rows->by_outcome)
        play(dealer, tallies, chunk, ROWS_OF_MANY_REWARDS);
    else if (rows->rewards <= 8)
        play(dealer, tallies, chunk, ROWS_OF_FEW_REWARDS);
    else
        play(dealer, tallies, chunk, ROWS);
}
