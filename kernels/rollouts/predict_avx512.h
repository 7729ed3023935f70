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
    digit[2] = _mm512_srai_epi64(q, 32);
    digit[3] = _mm512_and_si512(first, low_half);
    digit[4] = _mm512_add_epi64(_mm512_srli_epi64(first, 32), _mm512_and_si512(cross, low_half));
    digit[5] = _mm512_add_epi64(_mm512_srli_epi64(cross, 32), _mm512_and_si512(last, low_half));
    digit[6] = _mm512_srli_epi64(last, 32);
    digit[7] = _mm512_setzero_si512();
}

/* Eight steps, or the last `count` of an episode: returns Σ q (2 s + 1) of visits that count, a part in each lane. */
static inline __m512i count_eight(struct predictor *p, const uint32_t *path, const double *value, int64_t count)
{
    const __mmask8 some = (__mmask8)((1U << count) - 1);
    const __m512i step = _mm512_cvtepu32_epi64(_mm256_maskz_loadu_epi32(some, path));
    const __mmask8 visit = _mm512_test_epi64_mask(step, _mm512_set1_epi64(COUNTS));
    const __m512i scaled =
        _mm512_castpd_si512(_mm512_mul_pd(_mm512_maskz_loadu_pd(some, value), _mm512_set1_pd(1 / SABLE_QUANTUM)));
    /* A visit that doesn't count adds zeros: no branch, which a random walk would make a guess. */
    const __m512i q = _mm512_maskz_cvtpd_epi64(visit, _mm512_castsi512_pd(scaled));
    const __m512i outcome = _mm512_and_si512(step, _mm512_set1_epi64(COUNTS - 1));
    const __m512i state = _mm512_srl_epi64(outcome, _mm_cvtsi32_si128(p->rows->bits + 1));
    _Alignas(64) int64_t at[EIGHT];
    __m512i digit[EIGHT];
    split(q, _mm512_maskz_set1_epi64(visit, 1), digit);
    transpose(digit);
    _mm512_store_si512(at, _mm512_slli_epi64(state, VALUE_TALLIES / 2)); /* tallies before the state's */
    for (int64_t i = 0; i < count; i++) {
        struct sable_digits *tally = p->tally + at[i] + TALLY_VISITS;
        _mm512_store_si512(tally, _mm512_add_epi64(_mm512_load_si512(tally), digit[i]));
    }
    const __m512i odd = _mm512_add_epi64(_mm512_add_epi64(state, state), _mm512_set1_epi64(1));
    return _mm512_mullo_epi64(q, odd);
}
_Static_assert(VALUE_TALLIES == 2, "a shift by 1 multiplies by the tallies of a state");

void SABLE_ISA_NAME(rollouts_count_path_lanes)(struct predictor *p, int64_t length, struct sable_rollouts_chunk *chunk)
{
    const struct sable_rollouts_rows *rows = p->rows;
    const double gamma = p->rows->gamma;
    const int64_t start = state_of(p, p->path[0]);
    __m512i sum = _mm512_setzero_si512();
    double value = 0;
    if (p->visits == SABLE_VISITS_START) {
        SABLE_ISA_NAME(rollouts_count_path)(p, length, chunk);
        return;
    }
    p->serial++;
    mark_visits(p, length);
    for (int64_t t = length - 1; t >= 0; t--) {
        uint32_t outcome = p->path[t] & ~COUNTS;
        value = fma(gamma, value, sable_rollouts_reward(rows, outcome));
        p->value[t] = value;
    }
    for (int64_t t = 0; t < length; t += EIGHT) {
        int64_t left = length - t;
        sum = _mm512_add_epi64(sum, count_eight(p, p->path + t, p->value + t, left < EIGHT ? left : EIGHT));
    }
    sable_digits_add(&p->tally[start * VALUE_TALLIES + TALLY_STARTS], sable_exact_quantise(value));
    chunk->sum += (uint64_t)_mm512_reduce_add_epi64(sum);
    chunk->steps += length;
}
