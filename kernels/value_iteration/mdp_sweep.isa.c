/* Bellman sweeps with eight states in SIMD lanes: compiled once per instruction set.
 *
 *   q_l = r_l + γ Σ_j p[j][l] · v[column[j][l]],   next_l = max_a q_l        l = 0 … 7
 *
 * All operations are vertical: one gather and one fused multiply-add per eight transitions, one maximum per action. The
 * model is streamed once (12 bytes a transition); the speed is bound by the larger of that stream and the gathers of v.
 * A lane is one chain of additions, so width doesn't touch the bits. */
#include "mdp_lanes.h"

#include <math.h>
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

#ifdef __AVX512F__
/* Σ_j p·v of one chunk by hardware gathers, which compilers split into scalar loads for some processors: a third faster
 * on Zen 4. The stream is asked for 2 KiB ahead, as gathers fill the queue that the hardware prefetcher would see. */
static inline void expectations(const struct sable_mdp *model, int64_t chunk, const double *restrict v,
                                double *restrict sum)
{
    enum { AHEAD = 256 }; /* transitions */
    __m512d total = _mm512_setzero_pd();
    for (int64_t k = model->start[chunk]; k < model->start[chunk + 1]; k += LANES) {
        _mm_prefetch((const char *)(model->probability + k + AHEAD), _MM_HINT_T0);
        _mm_prefetch((const char *)(model->column + k + AHEAD), _MM_HINT_T0);
        __m256i column = _mm256_loadu_si256((const __m256i *)(const void *)(model->column + k));
        total = _mm512_fmadd_pd(_mm512_loadu_pd(model->probability + k), _mm512_i32gather_pd(column, v, 8), total);
    }
    _mm512_storeu_pd(sum, total);
}
#elif defined(__AVX2__) && defined(__FMA__)
static inline __m256d gather(const double *v, const int32_t *column)
{
    const __m128d low = _mm_loadh_pd(_mm_load_sd(v + column[0]), v + column[1]);
    const __m128d high = _mm_loadh_pd(_mm_load_sd(v + column[2]), v + column[3]);
    return _mm256_insertf128_pd(_mm256_castpd128_pd256(low), high, 1);
}

/* The same by loads, which are faster than the gathers of processors of this level. */
static inline void expectations(const struct sable_mdp *model, int64_t chunk, const double *restrict v,
                                double *restrict sum)
{
    enum { AHEAD = 256 }; /* transitions */
    __m256d low = _mm256_setzero_pd(), high = _mm256_setzero_pd();
    for (int64_t k = model->start[chunk]; k < model->start[chunk + 1]; k += LANES) {
        _mm_prefetch((const char *)(model->probability + k + AHEAD), _MM_HINT_T0);
        _mm_prefetch((const char *)(model->column + k + AHEAD), _MM_HINT_T0);
        low = _mm256_fmadd_pd(_mm256_loadu_pd(model->probability + k), gather(v, model->column + k), low);
        high = _mm256_fmadd_pd(_mm256_loadu_pd(model->probability + k + 4), gather(v, model->column + k + 4), high);
    }
    _mm256_storeu_pd(sum, low);
    _mm256_storeu_pd(sum + 4, high);
}
#else
static inline void expectations(const struct sable_mdp *model, int64_t chunk, const double *restrict v,
                                double *restrict sum)
{
    for (int l = 0; l < LANES; l++)
        sum[l] = 0;
    for (int64_t k = model->start[chunk]; k < model->start[chunk + 1]; k += LANES) {
        const double *restrict p = model->probability + k;
        const int32_t *restrict column = model->column + k;
#pragma omp simd
        for (int l = 0; l < LANES; l++)
            sum[l] = fma(p[l], v[column[l]], sum[l]);
    }
}
#endif

/* q[l] of one chunk. */
static inline void action_values(const struct sable_mdp *model, double gamma, int64_t chunk, const double *restrict v,
                                 double *restrict q)
{
    double sum[LANES];
    expectations(model, chunk, v, sum);
    const double *restrict r = model->reward + LANES * chunk;
    for (int l = 0; l < LANES; l++)
        q[l] = fma(gamma, sum[l], r[l]);
}

void SABLE_ISA_NAME(mdp_sweep_blocks)(const struct sable_mdp *model, double gamma, const int32_t *list, int64_t count,
                                      const double *v, double *next, struct sable_mdp_change *change)
{
    struct extent extent;
    extent_begin(&extent);
    for (int64_t i = 0; i < count; i++) {
        int64_t b = list[i];
        double best[LANES], q[LANES];
        action_values(model, gamma, b * model->actions, v, best);
        for (int64_t a = 1; a < model->actions; a++) {
            action_values(model, gamma, b * model->actions + a, v, q);
            for (int l = 0; l < LANES; l++)
                best[l] = q[l] > best[l] ? q[l] : best[l];
        }
        for (int l = 0; l < LANES; l++)
            next[LANES * b + l] = best[l];
        extent_add(&extent, v + LANES * b, best);
    }
    extent_end(&extent, change);
}

void SABLE_ISA_NAME(mdp_greedy_blocks)(const struct sable_mdp *model, double gamma, const int32_t *list, int64_t count,
                                       const double *v, double *next, int32_t *greedy, struct sable_mdp_change *change)
{
    struct extent extent;
    extent_begin(&extent);
    for (int64_t i = 0; i < count; i++) {
        int64_t b = list[i];
        double best[LANES], q[LANES];
        int64_t action[LANES] = {0}; /* as wide as q, so that one comparison masks both */
        action_values(model, gamma, b * model->actions, v, best);
        for (int64_t a = 1; a < model->actions; a++) {
            action_values(model, gamma, b * model->actions + a, v, q);
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
