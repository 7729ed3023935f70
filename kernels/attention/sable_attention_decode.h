/* Attention of one query a head to a long cache of keys and values, on one rank: out and lse as in sable_attention.h
 * with queries = 1, every key seen. The cache is read once, which bounds it: query heads that read one key head go
 * together.
 *
 * Leaves of `leaf` keys give partial results, nodes, that an aligned binary tree joins: the same bits for any number of
 * threads, any split of the keys at multiples of `leaf` over ranks, and at every SIMD level. Not those of
 * sable_attention(), which adds up in another order. Source: Dao et al., Flash-Decoding (2023); Shyam et al., Tree
 * Attention (2024). */
#ifndef SABLE_ATTENTION_DECODE_H
#define SABLE_ATTENTION_DECODE_H

#include "sable_attention.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What a rank holds: key heads [kv_head, kv_head + kv_heads) of the B·Hk, of each these keys. keys.first is a multiple
 * of the leaf; so is the end, or it is Sk. */
struct sable_attention_decode_part {
    int64_t kv_head, kv_heads;
    struct sable_attention_rows keys;
};

struct sable_attention_decode;

/* NULL if memory is short or a size overflows. */
struct sable_attention_decode *sable_attention_decode_create(const struct sable_attention_shape *shape,
                                                             const struct sable_attention_decode_part *part,
                                                             int threads);
void sable_attention_decode_free(struct sable_attention_decode *decode);
/* The bytes that create allocates. */
double sable_attention_decode_memory(const struct sable_attention_shape *shape,
                                     const struct sable_attention_decode_part *part, int threads);

/* The nodes of the part's keys: q [kv_heads·H/Hk][dim], k [kv_heads][keys][dim], v the same with dim_v; float, or
 * uint16_t if shape.bf16, whose rows are widened in registers as they are read. */
void sable_attention_decode_add(struct sable_attention_decode *decode, const void *q, const void *k, const void *v);

/* Floats of the nodes of these keys, whoever holds them. */
int64_t sable_attention_decode_floats(const struct sable_attention_shape *shape, int64_t kv_heads,
                                      struct sable_attention_rows keys);
/* The nodes held, in one array; and what another rank packed, of `keys` that begin where those held end, to be joined.
 */
void sable_attention_decode_pack(const struct sable_attention_decode *decode, float *to);
void sable_attention_decode_join(struct sable_attention_decode *decode, struct sable_attention_rows keys,
                                 const float *from);

/* out [kv_heads·H/Hk][dim_v] and lse [kv_heads·H/Hk] of all keys. */
void sable_attention_decode_finish(struct sable_attention_decode *decode, float *out, float *lse);

/* Make wrong answers, for tests of verification: leave out this leaf; join nodes without rescaling. */
void sable_attention_decode_leave_out(struct sable_attention_decode *decode, int64_t leaf);
void sable_attention_decode_forget_maxima(struct sable_attention_decode *decode);

#ifdef __cplusplus
}
#endif
#endif
