/* Bellman sweeps with eight states in SIMD lanes: compiled once per instruction set.
 *
 *   q_l = r_l + γ Σ_j p[j][l] · v[column[j][l]],   next_l = max_a q_l        l = 0 … 7
 *
 * All operations are vertical: one gather and one fused multiply-add per eight transitions, one maximum per action. The
 * model is streamed once (12 bytes a transition, 5 if probabilities are coded); the speed is bound by the larger of
 * that stream and the gathers of v, or by their sum where both wait for the same few lines that a core can have under
 * way. A lane is one chain of additions, so width doesn't touch the bits. */
#include "lanes64.h"
#include "mdp_lanes.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

/* ---- Eight doubles in as few vectors as there are ---- */

enum { LANES = SABLE_MDP_LANES, PARTS = LANES / LANES64 };

struct eight {
    lanes64 part[PARTS];
};

static inline struct eight eight_all(double x)
{
    struct eight all;
    for (int i = 0; i < PARTS; i++)
        all.part[i] = lanes64_all(x);
    return all;
}

static inline struct eight eight_load(const double *from)
{
    struct eight x;
    for (int i = 0; i < PARTS; i++)
        x.part[i] = lanes64_load(from + LANES64 * i);
    return x;
}

static inline void eight_store(double *to, struct eight x)
{
    for (int i = 0; i < PARTS; i++)
        lanes64_store(to + LANES64 * i, x.part[i]);
}

/* ---- Values from scattered places ---- */

#ifdef __AVX2__
static inline __m256d four(const double *a, const double *b, const double *c, const double *d)
{
    const __m128d low = _mm_loadh_pd(_mm_load_sd(a), b), high = _mm_loadh_pd(_mm_load_sd(c), d);
    return _mm256_insertf128_pd(_mm256_castpd128_pd256(low), high, 1);
}

/* Two columns a load. */
static inline __m256d four_at(const double *restrict v, const int32_t *column)
{
    uint64_t low, high;
    memcpy(&low, column, sizeof low);
    memcpy(&high, column + 2, sizeof high);
    return four(v + (uint32_t)low, v + (low >> 32), v + (uint32_t)high, v + (high >> 32));
}
#endif

/* v[column[0 … 7]]. `gathers`: by the instruction, where the level has a good one; else by eight loads. */
static inline struct eight eight_at(const double *restrict v, const int32_t *column, bool gathers)
{
    struct eight x;
#if defined(__AVX512F__)
    if (gathers)
        x.part[0] = _mm512_i32gather_pd(_mm256_loadu_si256((const __m256i *)(const void *)column), v, 8);
    else
        x.part[0] = _mm512_insertf64x4(_mm512_castpd256_pd512(four_at(v, column)), four_at(v, column + 4), 1);
#elif defined(__AVX2__)
    (void)gathers;
    x.part[0] = four_at(v, column);
    x.part[1] = four_at(v, column + 4);
#else
    (void)gathers;
    for (int i = 0; i < PARTS; i++)
        x.part[i] = (lanes64){v[column[LANES64 * i]], v[column[LANES64 * i + 1]]};
#endif
    return x;
}

/* Probabilities of eight transitions; coded ones are looked up in 2 KiB that stay in the first-level cache. */
static inline struct eight probabilities(const struct sable_mdp *model, int64_t k, bool coded, bool gathers)
{
    if (!coded)
        return eight_load(model->probability + k);
    int32_t number[LANES];
    for (int l = 0; l < LANES; l++)
        number[l] = model->code[k + l];
    return eight_at(model->values, number, gathers);
}

/* The streams are asked for so many transitions or chunks ahead, as gathers fill the queue that the hardware prefetcher
 * would see. */
enum { AHEAD = 256, CHUNKS_AHEAD = 4 };

static inline void prefetch(const struct sable_mdp *model, int64_t k, bool coded)
{
    __builtin_prefetch(model->column + k + AHEAD);
    if (coded)
        __builtin_prefetch(model->code + k + AHEAD);
    else
        __builtin_prefetch(model->probability + k + AHEAD);
}

/* ---- Sweeps ---- */

/* q of one chunk. */
static inline struct eight action_values(const struct sable_mdp *model, double gamma, int64_t chunk, bool coded,
                                         bool gathers, const double *restrict v)
{
    struct eight sum = eight_all(0), q = eight_load(model->reward + LANES * chunk);
    __builtin_prefetch(model->reward + LANES * (chunk + CHUNKS_AHEAD));
    for (int64_t k = model->start[chunk]; k < model->start[chunk + 1]; k += LANES) {
        prefetch(model, k, coded);
        const struct eight p = probabilities(model, k, coded, gathers), x = eight_at(v, model->column + k, gathers);
        for (int i = 0; i < PARTS; i++)
            sum.part[i] = lanes64_fma(p.part[i], x.part[i], sum.part[i]);
    }
    for (int i = 0; i < PARTS; i++)
        q.part[i] = lanes64_fma(lanes64_all(gamma), sum.part[i], q.part[i]);
    return q;
}

/* The extent of a sweep, lane by lane. `poison` stays 0 as long as all values are finite: x·0 is NaN otherwise. */
struct extent {
    struct eight low, high, magnitude, poison;
};

static inline void extent_add(struct extent *extent, const double *old, struct eight new)
{
    const struct eight before = eight_load(old);
    for (int i = 0; i < PARTS; i++) {
        const lanes64 d = new.part[i] - before.part[i], size = (lanes64)((int_lanes64) new.part[i] & INT64_MAX);
        extent->low.part[i] = lanes64_min(d, extent->low.part[i]);
        extent->high.part[i] = lanes64_max(d, extent->high.part[i]);
        extent->magnitude.part[i] = lanes64_max(size, extent->magnitude.part[i]);
        extent->poison.part[i] += new.part[i] * 0;
    }
}

static void extent_end(const struct extent *extent, struct sable_mdp_change *change)
{
    double low[LANES], high[LANES], magnitude[LANES], poison[LANES];
    eight_store(low, extent->low);
    eight_store(high, extent->high);
    eight_store(magnitude, extent->magnitude);
    eight_store(poison, extent->poison);
    for (int l = 0; l < LANES; l++) {
        change->low = low[l] < change->low ? low[l] : change->low;
        change->high = high[l] > change->high ? high[l] : change->high;
        change->magnitude = magnitude[l] > change->magnitude ? magnitude[l] : change->magnitude;
        change->finite = change->finite && poison[l] == 0;
    }
}

/* `greedy`: [8·count] the best actions, or NULL. */
__attribute__((always_inline)) static inline void sweep(const struct sable_mdp *model, double gamma, bool coded,
                                                        bool gathers, const int32_t *list, int64_t count,
                                                        const double *v, double *next, int32_t *greedy,
                                                        struct sable_mdp_change *change)
{
    struct extent extent = {eight_all(INFINITY), eight_all(-INFINITY), eight_all(0), eight_all(0)};
    for (int64_t i = 0; i < count; i++) {
        const int64_t b = list[i];
        struct eight best = action_values(model, gamma, b * model->actions, coded, gathers, v), action = eight_all(0);
        for (int64_t a = 1; a < model->actions; a++) {
            const struct eight q = action_values(model, gamma, b * model->actions + a, coded, gathers, v);
            for (int j = 0; j < PARTS; j++) {
                if (greedy)
                    action.part[j] = lanes64_select(q.part[j] > best.part[j], lanes64_all((double)a), action.part[j]);
                best.part[j] = lanes64_max(q.part[j], best.part[j]);
            }
        }
        eight_store(next + LANES * b, best);
        if (greedy) {
            double number[LANES];
            eight_store(number, action);
            for (int l = 0; l < LANES; l++)
                greedy[LANES * i + l] = (int32_t)number[l];
        }
        extent_add(&extent, v + LANES * b, best);
    }
    extent_end(&extent, change);
}

#define EACH_STORAGE(...)                                                                                              \
    do {                                                                                                               \
        if (model->code && model->gathers)                                                                             \
            sweep(model, gamma, true, true, __VA_ARGS__);                                                              \
        else if (model->code)                                                                                          \
            sweep(model, gamma, true, false, __VA_ARGS__);                                                             \
        else if (model->gathers)                                                                                       \
            sweep(model, gamma, false, true, __VA_ARGS__);                                                             \
        else                                                                                                           \
            sweep(model, gamma, false, false, __VA_ARGS__);                                                            \
    } while (0)

void SABLE_ISA_NAME(mdp_sweep_blocks)(const struct sable_mdp *model, double gamma, const int32_t *list, int64_t count,
                                      const double *v, double *next, struct sable_mdp_change *change)
{
    EACH_STORAGE(list, count, v, next, NULL, change);
}

void SABLE_ISA_NAME(mdp_greedy_blocks)(const struct sable_mdp *model, double gamma, const int32_t *list, int64_t count,
                                       const double *v, double *next, int32_t *greedy, struct sable_mdp_change *change)
{
    EACH_STORAGE(list, count, v, next, greedy, change);
}
