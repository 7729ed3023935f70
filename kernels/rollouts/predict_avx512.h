/* Counting an episode's returns in AVX-512 intrinsics, included by predict_path.isa.c at level v4: the recursion of the
 * return goes step by step, of which eight are then quantised and squared at once; turned about, each visit's digits
 * are one vector, and one addition to its state's tally. */
#include <immintrin.h>

enum { EIGHT = 8 };

/* Rows become columns. */
static inline void transpose(__m512i row[EIGHT])
{
    __m512i pair[EIGHT], quad[EIGHT];
    for (int i = 0; i < EIGHT; i += 2) {
        pair[i] = _mm512_unpacklo_epi64(row[i], row[i + 1]);
        pair[i + 1] = _mm512_unpackhi_epi64(row[i], row[i + 1]);
    }
    /* pair[2 i + j], 128-bit part p: rows 2 i, 2 i + 1 of column 2 p + j */
    for (int j = 0; j < 2; j++) {
        quad[j] = _mm512_shuffle_i64x2(pair[j], pair[2 + j], 0x88);         /* columns j, 4 + j of rows 0 … 3 */
        quad[2 + j] = _mm512_shuffle_i64x2(pair[j], pair[2 + j], 0xdd);     /* columns 2 + j, 6 + j */
        quad[4 + j] = _mm512_shuffle_i64x2(pair[4 + j], pair[6 + j], 0x88); /* of rows 4 … 7 */
        quad[6 + j] = _mm512_shuffle_i64x2(pair[4 + j], pair[6 + j], 0xdd);
    }
    for (int j = 0; j < 2; j++) {
        row[j] = _mm512_shuffle_i64x2(quad[j], quad[4 + j], 0x88);
        row[4 + j] = _mm512_shuffle_i64x2(quad[j], quad[4 + j], 0xdd);
        row[2 + j] = _mm512_shuffle_i64x2(quad[2 + j], quad[6 + j], 0x88);
        row[6 + j] = _mm512_shuffle_i64x2(quad[2 + j], quad[6 + j], 0xdd);
    }
}

/* The digits of values q, those of struct sable_digits in its order; digit[0] is what they count. */
static inline void split(__m512i q, __m512i count, __m512i digit[EIGHT])
{
    const __m512i low_half = _mm512_set1_epi64(UINT32_MAX);
    const __m512i size = _mm512_abs_epi64(q), high = _mm512_srli_epi64(size, 32);
    const __m512i first = _mm512_mul_epu32(size, size), last = _mm512_mul_epu32(high, high);
    const __m512i cross = _mm512_slli_epi64(_mm512_mul_epu32(size, high), 1);
    digit[0] = count;
    digit[1] = _mm512_and_si512(q, low_half);
    digit[2] = _mm512_and_si512(first, low_half);
    digit[3] = _mm512_add_epi64(_mm512_srli_epi64(first, 32), _mm512_and_si512(cross, low_half));
    digit[4] = _mm512_srai_epi64(q, 32);
    digit[5] = _mm512_add_epi64(_mm512_srli_epi64(cross, 32), _mm512_and_si512(last, low_half));
    digit[6] = _mm512_srli_epi64(last, 32);
    digit[7] = _mm512_setzero_si512();
}

/* Adds values of any size: their tallies begin at[i] behind the first. */
static void add_eight(struct sable_digits *tally, const int64_t at[EIGHT], __m512i q, __m512i count)
{
    __m512i digit[EIGHT];
    split(q, count, digit);
    transpose(digit);
    for (int i = 0; i < EIGHT; i++)
        _mm512_store_si512(tally + at[i], _mm512_add_epi64(_mm512_load_si512(tally + at[i]), digit[i]));
}

static inline void add_half(struct sable_digits *tally, __m256i digits)
{
    __m256i *half = (__m256i *)(void *)tally;
    _mm256_store_si256(half, _mm256_add_epi64(_mm256_load_si256(half), digits));
}

/* The same of values below 2³² in size: four digits each, two values a vector. */
static inline void add_eight_small(struct sable_digits *tally, const int64_t at[EIGHT], __m512i q, __m512i count)
{
    const __m512i size = _mm512_abs_epi64(q), square = _mm512_mul_epu32(size, size);
    const __m512i low = _mm512_and_si512(square, _mm512_set1_epi64(UINT32_MAX)), high = _mm512_srli_epi64(square, 32);
    /* 128-bit part p of a pair: value 2 p, or 2 p + 1 */
    const __m512i even[2] = {_mm512_unpacklo_epi64(count, q), _mm512_unpacklo_epi64(low, high)};
    const __m512i odd[2] = {_mm512_unpackhi_epi64(count, q), _mm512_unpackhi_epi64(low, high)};
    const __m512i first = _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11),
                  last = _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15);
    const __m512i values[4] = {_mm512_permutex2var_epi64(even[0], first, even[1]),
                               _mm512_permutex2var_epi64(odd[0], first, odd[1]), /* 0 2, 1 3 */
                               _mm512_permutex2var_epi64(even[0], last, even[1]),
                               _mm512_permutex2var_epi64(odd[0], last, odd[1])}; /* 4 6, 5 7 */
    for (int k = 0; k < 4; k++) {
        const int i = k / 2 * 4 + k % 2;
        add_half(tally + at[i], _mm512_castsi512_si256(values[k]));
        add_half(tally + at[i + 2], _mm512_extracti64x4_epi64(values[k], 1));
    }
}

/* The same bits as mark_visits() makes, in visits[t / 8] instead of the path: what is written word by word can't be
 * read as a vector for some time. */
static inline void mark_eights(struct predictor *p, int64_t length, uint8_t *restrict visits)
{
    const uint32_t serial = next_serial(p), every = p->visits == SABLE_VISITS_EVERY;
    const int shift = p->rows->bits + 1;
    uint32_t *restrict seen = p->seen;
    const uint32_t *restrict path = p->path;
    for (int64_t first = 0; first < length; first += EIGHT) {
        const int64_t count = length - first < EIGHT ? length - first : EIGHT;
        uint32_t bits = 0;
        for (int64_t i = 0; i < count; i++) {
            const uint32_t state = path[first + i] >> shift;
            bits |= (every | (seen[state] != serial)) << i;
            seen[state] = serial;
        }
        visits[first / EIGHT] = (uint8_t)bits;
    }
}

/* Eight steps, of which visits count: returns Σ q (2 s + 1) of them, a part in each lane. */
static inline __m512i count_eight(struct predictor *p, const uint32_t *path, __m512d value, __mmask8 visit)
{
    const __m512i outcome = _mm512_maskz_cvtepu32_epi64(visit, _mm256_loadu_si256((const __m256i *)(const void *)path));
    const __m512d scaled = _mm512_mul_pd(value, _mm512_set1_pd(1 / SABLE_QUANTUM));
    /* A visit that doesn't count adds zeros to state 0: no branch, which a random walk would make a guess. */
    const __m512i q = _mm512_maskz_cvtpd_epi64(visit, scaled), ones = _mm512_maskz_set1_epi64(visit, 1);
    const __m512i state = _mm512_srl_epi64(outcome, _mm_cvtsi32_si128(p->rows->bits + 1));
    const __m512i twice = _mm512_add_epi64(state, state); /* VALUE_TALLIES of a state, of which visits are the first */
    _Alignas(64) int64_t at[EIGHT];
    _mm512_store_si512(at, twice);
    if (_mm512_cmpgt_epu64_mask(_mm512_abs_epi64(q), _mm512_set1_epi64(UINT32_MAX)))
        add_eight(p->tally, at, q, ones);
    else
        add_eight_small(p->tally, at, q, ones);
    return _mm512_mullo_epi64(q, _mm512_add_epi64(twice, _mm512_set1_epi64(1)));
}
_Static_assert(VALUE_TALLIES == 2 && TALLY_VISITS == 0, "a state's visits are at twice its number");

void SABLE_ISA_NAME(rollouts_count_path_lanes)(struct predictor *p, int64_t length, struct sable_rollouts_chunk *chunk)
{
    const struct sable_rollouts_rows rows = *p->rows;
    const uint32_t *path = p->path;
    const int64_t start = state_of(p, path[0]), whole = length / EIGHT * EIGHT;
    uint8_t visits[SABLE_MAX_PREDICTED / EIGHT + 1];
    __m512i sum = _mm512_setzero_si512();
    double value = 0, returns[EIGHT] = {0};
    if (p->visits == SABLE_VISITS_START) {
        SABLE_ISA_NAME(rollouts_count_path)(p, length, chunk);
        return;
    }
    mark_eights(p, length, visits);
    for (int64_t t = length - 1; t >= whole; t--) {
        value = fma(rows.gamma, value, sable_rollouts_reward(&rows, path[t]));
        returns[t - whole] = value;
    }
    if (whole < length)
        sum = count_eight(p, path + whole, _mm512_loadu_pd(returns), visits[whole / EIGHT]);
    /* Backwards in eights: while one is counted, the next one's returns are on their way. */
    for (int64_t first = whole - EIGHT; first >= 0; first -= EIGHT) {
        double g[EIGHT];
#pragma GCC unroll 8
        for (int i = EIGHT - 1; i >= 0; i--)
            g[i] = value = fma(rows.gamma, value, sable_rollouts_reward(&rows, path[first + i]));
        const __m512d together = _mm512_setr_pd(g[0], g[1], g[2], g[3], g[4], g[5], g[6], g[7]);
        sum = _mm512_add_epi64(sum, count_eight(p, path + first, together, visits[first / EIGHT]));
    }
    sable_digits_add(&p->tally[start * VALUE_TALLIES + TALLY_STARTS], sable_exact_quantise(value));
    chunk->sum += (uint64_t)_mm512_reduce_add_epi64(sum);
    chunk->steps += length;
}
