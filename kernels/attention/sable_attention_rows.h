/* Attention by blocks of rows: all logits of a block by a matrix product of another library, their softmax here, the
 * values by another product. What one builds who has a matrix product and no attention: peers of sable_attention(). */
#ifndef SABLE_ATTENTION_ROWS_H
#define SABLE_ATTENTION_ROWS_H

#include "sable_attention_packed.h"

#ifdef __cplusplus
extern "C" {
#endif

enum sable_row_library { SABLE_ROWS_OPENBLAS, SABLE_ROWS_ONEDNN, SABLE_ROWS_LIBXSMM };

struct sable_attention_rows_peer;

/* Loads the library, to run in its callers' threads, for these sequences, which are copied; the shape is that of
 * sable_attention_packed_create(). No sequences: every head of every batch is one of shape->queries and shape->keys
 * rows. NULL if the library is not to be had (or was not built in), or memory is short. Not thread-safe. Freed by
 * sable_attention_rows_close(), which does nothing with NULL. */
struct sable_attention_rows_peer *sable_attention_rows_open(enum sable_row_library library,
                                                            const struct sable_attention_shape *shape, int threads,
                                                            int64_t sequences,
                                                            const struct sable_attention_sequence *sequence);
void sable_attention_rows_close(struct sable_attention_rows_peer *peer);
/* The library's name, version and the kernels it chose, for the record. Owned by the peer. */
const char *sable_attention_rows_library(const struct sable_attention_rows_peer *peer);
/* Bytes that the computation needs beside its arrays, without what the library takes; most_keys: of a sequence. */
double sable_attention_rows_memory(int threads, int64_t sequences, int64_t most_keys);

/* As sable_attention() with one range of all keys, or sable_attention_packed(), for heads [head, head + heads), finite
 * inputs only. Each thread computes blocks of rows. The bits are the library's. False if a product failed.
 *
 * Faults, for tests of verification: `skip` first keys are left out where a row sees more; the weights of the first
 * `doubled` keys enter twice, as if a maximum had been raised without rescaling. */
bool sable_attention_by_rows(struct sable_attention_rows_peer *peer, int64_t head, int64_t heads, double scale,
                             const float *q, const float *k, const float *v, int64_t skip, int64_t doubled, float *out,
                             float *lse);

#ifdef __cplusplus
}
#endif
#endif
