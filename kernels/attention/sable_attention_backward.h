/* Gradients of exact softmax attention on one rank, over its OpenMP threads; the weights are computed again from q, k
 * and the log-sum-exp of the forward pass, so no S × S matrix is kept (Dao et al., FlashAttention, 2022, algorithm 4).
 *
 *   p[r][c] = exp(scale·q[r]·k[c] − lse[r]),  δ[r] = dout[r]·out[r],  s[r][c] = p[r][c] (dout[r]·v[c] − δ[r])
 *   dq[r] = scale Σ_c s[r][c] k[c],  dk[c] = scale Σ_r s[r][c] q[r],  dv[c] = Σ_r p[r][c] dout[r]
 *
 * over the pairs that the mask leaves (sable_attention.h); r runs over the queries of all heads that read key head of
 * c. A query that sees no key has dq = 0 and adds nothing; a pair that the mask hides changes no bit, whatever it
 * holds.
 *
 * The same bits for any number of threads, any split of keys at multiples of `leaf` in ascending order, at every SIMD
 * level. */
#ifndef SABLE_ATTENTION_BACKWARD_H
#define SABLE_ATTENTION_BACKWARD_H

#include "sable_attention.h"

#ifdef __cplusplus
extern "C" {
#endif

struct sable_attention_backward;

/* Room for `kv_heads` key heads (of the B·Hk) with all query heads that read them, and `keys` keys of each at a time.
 * NULL if memory is short. */
struct sable_attention_backward *sable_attention_backward_create(const struct sable_attention_shape *shape,
                                                                 int64_t kv_heads, int64_t keys, int threads);
void sable_attention_backward_free(struct sable_attention_backward *backward);
/* The bytes that sable_attention_backward_create() allocates. */
double sable_attention_backward_memory(const struct sable_attention_shape *shape, int64_t kv_heads, int64_t keys,
                                       int threads);

/* G = H/Hk query heads for each of `kv_heads` (at most those of create) key heads: q, dq [kv_heads·G][Sq][dim];
 * dout, out [kv_heads·G][Sq][dim_v]; lse [kv_heads·G][Sq]. `keys`: a range of keys, first a multiple of the leaf.
 * q, k, v and dout are float, or uint16_t if shape.bf16, with the bits of the same values as floats; all else is float.
 * dk [kv_heads][keys.count][dim] and dv, the same with dim_v, are written; dq gains what these keys contribute: start
 * with 0 and give ranges in ascending order. */
void sable_attention_backward(struct sable_attention_backward *backward, int64_t kv_heads, const void *q,
                              const void *dout, const float *out, const float *lse,
                              const struct sable_attention_keys *keys, float *dq, float *dk, float *dv);

/* Makes a wrong answer, for tests of verification: this leaf gives dk = dv = 0 and adds nothing to dq; −1: none. */
void sable_attention_backward_leave_out(struct sable_attention_backward *backward, int64_t leaf);

/* The textbook in double precision, of one query row: adds to dk [seen][dim] and dv [seen][dim_v], writes dq [dim].
 * weight: room for `seen` values, o: room for dim_v values. */
void sable_attention_backward_row_reference(const struct sable_attention_shape *shape, const float *q,
                                            const float *dout, int64_t seen, const float *k, const float *v,
                                            double *weight, double *o, double *dq, double *dk, double *dv);

#ifdef __cplusplus
}
#endif
#endif
