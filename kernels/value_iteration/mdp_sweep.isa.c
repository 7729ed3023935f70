/* Bellman sweeps with eight states in SIMD lanes: compiled once per instruction set.
 *
 *   q_l = r_l + γ Σ_j p[j][l] · v[column[j][l]],   next_l = max_a q_l        l = 0 … 7
 *
 * All operations are vertical: one gather and one fused multiply-add per eight transitions, one maximum per action. The
 * model is streamed once (12 bytes a transition, 5 if probabilities are coded); the speed is bound by the larger of
 * that stream and the gathers of v. A lane is one chain of additions, so width doesn't touch the bits. */
#include "mdp_lanes.h"

#include <math.h>
#include <stddef.h>
#ifdef __AVX2__
#include <immintrin.h>
#endif

enum { LANES = SABLE_MDP_LANES };

/* The extent of a sweep, lane by lane. `poison` stays 0 as long as all values are finite: x·0 is NaN otherwise. */
struct extent {
    double low[LANES], high[LANES], magnitude[LANES], poison[LANES];
};

static void extent_begin(struct extent *extent)
{
    for (int l = 0; l < LANES; l++) {
        extent->low[l] = INFINITY;
        extent->high[l] = -INFINITY;
        extent->magnitude[l] = extent->poison[l] = 0;
    }
}

static inline void extent_add(struct extent *restrict extent, const double *restrict old, const double *restrict new)
{
    for (int l = 0; l < LANES; l++) {
        double d = new[l] - old[l], size = fabs(new[l]);
        extent->low[l] = d < extent->low[l] ? d : extent->low[l];
        extent->high[l] = d > extent->high[l] ? d : extent->high[l];
        extent->magnitude[l] = size > extent->magnitude[l] ? size : extent->magnitude[l];
        extent->poison[l] += new[l] * 0;
    }
}

static void extent_end(const struct extent *extent, struct sable_mdp_change *change)
{
    for (int l = 0; l < LANES; l++) {
        change->low = extent->low[l] < change->low ? extent->low[l] : change->low;
        change->high = extent->high[l] > change->high ? extent->high[l] : change->high;
        change->magnitude = extent->magnitude[l] > change->magnitude ? extent->magnitude[l] : change->magnitude;
        change->finite = change->finite && extent->poison[l] == 0;
    }
}

#ifdef __AVX2__
static inline void prefetch(const struct sable_mdp *model, int64_t k, bool coded)
{
    _mm_prefetch((const char *)(model->column + k), _MM_HINT_T0);
    if (coded)
        _mm_prefetch((const char *)(model->code + k), _MM_HINT_T0);
    else
        _mm_prefetch((const char *)(model->probability + k), _MM_HINT_T0);
}
#endif

/* Σ_j p·v of one chunk, lane by lane. `coded`: p is looked up in 2 KiB that stay in the first-level cache. The stream
 * is asked for AHEAD transitions ahead, as gathers fill the queue that the hardware prefetcher would see. */
enum { AHEAD = 256 };

#if defined(__AVX512F__)

/* Hardware gathers, which compilers split into scalar loads for some processors: a third faster on Zen 4. */
static inline void expectations(const struct sable_mdp *model, int64_t chunk, bool coded, const double *restrict v,
                                double *restrict sum)
{
    __m512d total = _mm512_setzero_pd();
    for (int64_t k = model->start[chunk]; k < model->start[chunk + 1]; k += LANES) {
        prefetch(model, k + AHEAD, coded);
        const __m256i column = _mm256_loadu_si256((const __m256i *)(const void *)(model->column + k));
        __m512d p;
        if (coded) {
            const __m128i code = _mm_loadl_epi64((const __m128i *)(const void *)(model->code + k));
            p = _mm512_i32gather_pd(_mm256_cvtepu8_epi32(code), model->values, 8);
        } else
            p = _mm512_loadu_pd(model->probability + k);
        total = _mm512_fmadd_pd(p, _mm512_i32gather_pd(column, v, 8), total);
    }
    _mm512_storeu_pd(sum, total);
}

#elif defined(__AVX2__) && defined(__FMA__)

/* Loads are faster than the gathers of processors of this level. */
static inline __m256d four(const double *a, const double *b, const double *c, const double *d)
{
    const __m128d low = _mm_loadh_pd(_mm_load_sd(a), b), high = _mm_loadh_pd(_mm_load_sd(c), d);
    return _mm256_insertf128_pd(_mm256_castpd128_pd256(low), high, 1);
}

static inline __m256d weighted(const struct sable_mdp *model, int64_t k, bool coded, const double *restrict v,
                               __m256d sum)
{
    const int32_t *column = model->column + k;
    const uint8_t *code = model->code + (coded ? k : 0);
    const double *values = model->values;
    const __m256d p = coded ? four(values + code[0], values + code[1], values + code[2], values + code[3])
                            : _mm256_loadu_pd(model->probability + k);
    return _mm256_fmadd_pd(p, four(v + column[0], v + column[1], v + column[2], v + column[3]), sum);
}

static inline void expectations(const struct sable_mdp *model, int64_t chunk, bool coded, const double *restrict v,
                                double *restrict sum)
{
    __m256d low = _mm256_setzero_pd(), high = _mm256_setzero_pd();
    for (int64_t k = model->start[chunk]; k < model->start[chunk + 1]; k += LANES) {
        prefetch(model, k + AHEAD, coded);
        low = weighted(model, k, coded, v, low);
        high = weighted(model, k + 4, coded, v, high);
    }
    _mm256_storeu_pd(sum, low);
    _mm256_storeu_pd(sum + 4, high);
}

#else

static inline void expectations(const struct sable_mdp *model, int64_t chunk, bool coded, const double *restrict v,
                                double *restrict sum)
{
    for (int l = 0; l < LANES; l++)
        sum[l] = 0;
    for (int64_t k = model->start[chunk]; k < model->start[chunk + 1]; k += LANES) {
        const double *restrict p = coded ? NULL : model->probability + k;
        const uint8_t *restrict code = coded ? model->code + k : NULL;
        const int32_t *restrict column = model->column + k;
#pragma omp simd
        for (int l = 0; l < LANES; l++)
            sum[l] = fma(coded ? model->values[code[l]] : p[l], v[column[l]], sum[l]);
    }
}

#endif

/* q[l] of one chunk. */
static inline void action_values(const struct sable_mdp *model, double gamma, int64_t chunk, bool coded,
                                 const double *restrict v, double *restrict q)
{
    double sum[LANES];
    expectations(model, chunk, coded, v, sum);
    const double *restrict r = model->reward + LANES * chunk;
    for (int l = 0; l < LANES; l++)
        q[l] = fma(gamma, sum[l], r[l]);
}

static inline void sweep_blocks(const struct sable_mdp *model, double gamma, bool coded, const int32_t *list,
                                int64_t count, const double *v, double *next, struct sable_mdp_change *change)
{
    struct extent extent;
    extent_begin(&extent);
    for (int64_t i = 0; i < count; i++) {
        int64_t b = list[i];
        double best[LANES], q[LANES];
        action_values(model, gamma, b * model->actions, coded, v, best);
        for (int64_t a = 1; a < model->actions; a++) {
            action_values(model, gamma, b * model->actions + a, coded, v, q);
            for (int l = 0; l < LANES; l++)
                best[l] = q[l] > best[l] ? q[l] : best[l];
        }
        for (int l = 0; l < LANES; l++)
            next[LANES * b + l] = best[l];
        extent_add(&extent, v + LANES * b, best);
    }
    extent_end(&extent, change);
}

static inline void greedy_blocks(const struct sable_mdp *model, double gamma, bool coded, const int32_t *list,
                                 int64_t count, const double *v, double *next, int32_t *greedy,
                                 struct sable_mdp_change *change)
{
    struct extent extent;
    extent_begin(&extent);
    for (int64_t i = 0; i < count; i++) {
        int64_t b = list[i];
        double best[LANES], q[LANES];
        int64_t action[LANES] = {0}; /* as wide as q, so that one comparison masks both */
        action_values(model, gamma, b * model->actions, coded, v, best);
        for (int64_t a = 1; a < model->actions; a++) {
            action_values(model, gamma, b * model->actions + a, coded, v, q);
            for (int l = 0; l < LANES; l++) {
                action[l] = q[l] > best[l] ? a : action[l];
                best[l] = q[l] > best[l] ? q[l] : best[l];
            }
        }
        for (int l = 0; l < LANES; l++) {
            next[LANES * b + l] = best[l];
            greedy[LANES * i + l] = (int32_t)action[l];
        }
        extent_add(&extent, v + LANES * b, best);
    }
    extent_end(&extent, change);
}

void SABLE_ISA_NAME(mdp_sweep_blocks)(const struct sable_mdp *model, double gamma, const int32_t *list, int64_t count,
                                      const double *v, double *next, struct sable_mdp_change *change)
{
    if (model->code)
        sweep_blocks(model, gamma, true, list, count, v, next, change);
    else
        sweep_blocks(model, gamma, false, list, count, v, next, change);
}

void SABLE_ISA_NAME(mdp_greedy_blocks)(const struct sable_mdp *model, double gamma, const int32_t *list, int64_t count,
                                       const double *v, double *next, int32_t *greedy, struct sable_mdp_change *change)
{
    if (model->code)
        greedy_blocks(model, gamma, true, list, count, v, next, greedy, change);
    else
        greedy_blocks(model, gamma, false, list, count, v, next, greedy, change);
}
