/* One block of queries against all its keys, for whoever hands out blocks in another order than sable_attention()
 * does; private to kernels/attention. */
#ifndef ATTENTION_TASK_H
#define ATTENTION_TASK_H

#include "attention_block.h"
#include "sable_attention_packed.h"

/* For qsort() of structures that begin with a struct sable_attention_sequence: the most keys first. */
int sable_attention_longest_first(const void *left, const void *right);

/* From one of the attention's threads, in a parallel region. `attention` was created without arrivals, for at least as
 * many keys; its fault, if any, replaces block->skipped. out [rows][dim_v], lse [rows]. */
void sable_attention_one_block(struct sable_attention *attention, const struct attention_block *block, float *out,
                               float *lse);

/* Row `row` of q, k or v of the shape, of dim channels. */
const void *sable_attention_row(const struct sable_attention_shape *shape, int64_t dim, const void *array, int64_t row);

#endif
