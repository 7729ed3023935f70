/* Attention of sequences of any lengths, packed one after another without padding, as FlashAttention's varlen interface
 * has them: each row of q attends to the keys of its own sequence alone, by the formula and with the bits that
 * sable_attention() has for that sequence. A sequence may have no queries (nothing is computed), or no keys (out = 0,
 * lse = −inf), and a causal mask is aligned at the bottom right of each sequence (sable_attention.h). */
#ifndef SABLE_ATTENTION_PACKED_H
#define SABLE_ATTENTION_PACKED_H

#include "sable_attention.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Rows [query, query + queries) of q, out and lse, and [key, key + keys) of k and v. */
struct sable_attention_sequence {
    int64_t query, queries, key, keys;
};

struct sable_attention_packed;

/* Room for heads [head, head + heads) of these sequences, which are copied. Of the shape, batch is 1, and queries and
 * keys are the rows that the arrays hold of a head, of all sequences. NULL if memory is short. */
struct sable_attention_packed *sable_attention_packed_create(const struct sable_attention_shape *shape, int64_t head,
                                                             int64_t heads, int threads, int64_t sequences,
                                                             const struct sable_attention_sequence *sequence);
void sable_attention_packed_free(struct sable_attention_packed *packed);
/* The bytes that sable_attention_packed_create() allocates; most_keys: of a sequence. */
double sable_attention_packed_memory(const struct sable_attention_shape *shape, int threads, int64_t sequences,
                                     int64_t most_keys);

/* q [heads][queries][dim], k [key heads that these read][keys][dim], v and out the same with dim_v, lse
 * [heads][queries]. Rows of q of no sequence are left alone in out and lse. */
void sable_attention_packed(struct sable_attention_packed *packed, const void *q, const void *k, const void *v,
                            float *out, float *lse);

/* The faults of sable_attention.h, of each sequence. */
void sable_attention_packed_leave_out(struct sable_attention_packed *packed, int64_t leaf);
void sable_attention_packed_raise_maximum(struct sable_attention_packed *packed);

#ifdef __cplusplus
}
#endif
#endif
