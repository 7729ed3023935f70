/* Exact softmax attention on one rank, over its OpenMP threads.
 *
 *   out[r] = Σ_c p[r][c] v[c],  p[r][c] = exp(scale·q[r]·k[c]) / Σ_c′ exp(scale·q[r]·k[c′]),  lse[r] = ln Σ_c exp(…)
 *
 * over the keys c that query r sees: all, or, if causal, those with c ≤ r + keys − queries (aligned at the bottom
 * right). A query that sees no key, or only logits of −inf, has out = 0 and lse = −inf. A logit of NaN or +inf makes
 * its row NaN. A key that is not seen changes no bit, whatever it holds. Sources: Vaswani et al. 2017; Dao et al.,
 * FlashAttention (2022), FlashAttention-2 (2023); Milakov & Gimelshein, Online normalizer calculation for softmax
 * (2018).
 *
 * The same bits for any number of threads, any split of queries at multiples of SABLE_ATTENTION_BLOCK, any split of
 * keys at multiples of `leaf` and any order of their arrival, at every SIMD level. */
#ifndef SABLE_ATTENTION_H
#define SABLE_ATTENTION_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { SABLE_ATTENTION_BLOCK = 64 };

/* B batches of H query heads and Hk key heads; query head h reads key head h / (H / Hk). */
struct sable_attention_shape {
    int64_t batch, heads, kv_heads; /* B, H, Hk: Hk divides H */
    int64_t queries, keys;          /* Sq, Sk */
    int64_t dim, dim_v;             /* of q and k; of v and out */
    int64_t leaf;                   /* keys that are summed one after another; leaves are joined by a tree */
    bool causal;
    double scale;
    bool
        bf16; /* q, k and v are stored as bfloat16; products and sums are fp32, as for the same values stored as fp32 */
};

/* Elements between neighbouring rows of q, k or v of `dim` channels: as many, but rows of bfloat16 are padded to an
 * even number of them, so that they are whole words of four bytes. */
static inline int64_t sable_attention_pitch(const struct sable_attention_shape *shape, int64_t dim)
{
    return shape->bf16 ? dim + (dim & 1) : dim;
}

/* Keys [first, first + count) of some key heads. first is a multiple of the leaf; so is the end, or it is Sk. */
struct sable_attention_keys {
    int64_t first, count;
    const void *k; /* [key heads of the rank][…][dim], the first key of head 0: float, or uint16_t if shape.bf16 */
    const void *v; /* the same with dim_v */
    int64_t pitch; /* keys between the beginnings of neighbouring heads */
};

/* Queries [first, first + count): first is a multiple of SABLE_ATTENTION_BLOCK; so is the end, or it is Sq. */
struct sable_attention_rows {
    int64_t first, count;
};

/* What a rank computes: query heads [head, head + heads) of the B·H, of each the rows of up to two segments. */
struct sable_attention_part {
    int64_t head, heads;
    struct sable_attention_rows rows[2];
};

struct sable_attention;

/* Key head (of the B·Hk) that query head `head` (of the B·H) reads. */
int64_t sable_attention_kv_head(const struct sable_attention_shape *shape, int64_t head);
/* Pairs of a query of these rows and a key that it sees, of one head. */
double sable_attention_pairs(const struct sable_attention_shape *shape, struct sable_attention_rows rows);

/* Room for the computation. `arrivals`: the ranges of keys in the order in which sable_attention_add() will get them,
 * or 0 if only sable_attention() will be called. NULL if memory is short. */
struct sable_attention *sable_attention_create(const struct sable_attention_shape *shape,
                                               const struct sable_attention_part *part, int threads, int64_t arrivals,
                                               const struct sable_attention_keys *arrival);
void sable_attention_free(struct sable_attention *attention);
/* The bytes that sable_attention_create() allocates. */
double sable_attention_memory(const struct sable_attention_shape *shape, const struct sable_attention_part *part,
                              int threads, int64_t arrivals, const struct sable_attention_keys *arrival);

/* q [heads][rows of both segments][dim], out the same with dim_v, lse [heads][rows]: of the part. Key heads count from
 * the one that the part's first head reads. All in one go, from all keys, given in `ranges` pieces. */
void sable_attention(struct sable_attention *attention, const void *q, int64_t ranges,
                     const struct sable_attention_keys *keys, float *out, float *lse);

/* The same in steps: begin, add each range of keys, finish. `progress` (or NULL) is called now and then by the calling
 * thread. */
void sable_attention_begin(struct sable_attention *attention);
void sable_attention_add(struct sable_attention *attention, const void *q, const struct sable_attention_keys *keys,
                         void (*progress)(void *), void *data);
void sable_attention_finish(struct sable_attention *attention, float *out, float *lse);

/* Make wrong answers, for tests of verification: leave out this leaf (−1: none); raise the maximum of the first keys of
 * each row by one power of two without rescaling their sums, before they are joined with the others. */
void sable_attention_leave_out(struct sable_attention *attention, int64_t leaf);
void sable_attention_raise_maximum(struct sable_attention *attention);

/* Elements [first, first + count) of a tensor, uniform on a grid of 2⁻²² in [−2, 2): exact in fp32, a function of the
 * element's place, the seed and the purpose (docs/determinism.md) alone. */
void sable_attention_draw(uint64_t seed, uint32_t purpose, int64_t first, int64_t count, float *to);

/* bfloat16, the upper half of a float: rounded to nearest, ties to even; NaN stays NaN. Rows of dim elements, `to` with
 * pitch dim rounded up to even, padded by 0. */
void sable_attention_to_bf16(int64_t rows, int64_t dim, const float *from, uint16_t *to);
/* The same value, as a float. */
static inline float sable_attention_from_bf16(uint16_t x)
{
    const uint32_t bits = (uint32_t)x << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* Element `at` of an array of bfloat16 or of floats. */
static inline float sable_attention_value(bool bf16, const void *array, int64_t at)
{
    return bf16 ? sable_attention_from_bf16(((const uint16_t *)array)[at]) : ((const float *)array)[at];
}

/* The textbook in double precision, for one row of logits over `seen` keys: q [dim], k [keys][dim], v [keys][dim_v].
 * `logit` is room for `seen` values. */
void sable_attention_row_reference(const struct sable_attention_shape *shape, const float *q, int64_t seen,
                                   const float *k, const float *v, double *logit, double *out, double *lse);

#ifdef __cplusplus
}
#endif
#endif
