/* Moving a distributed tensor [heads][rows][width] from one partition to another. */
#ifndef ATTENTION_SHARE_H
#define ATTENTION_SHARE_H

#include "attention_rank.h"

/* Elements, without the width, that rank `from` has and rank `to` wants. */
int64_t attention_common(const struct sable_attention_part *from, const struct sable_attention_part *to);

/* Collective: one all-to-all. from, to: the parts of all ranks; source and target are this rank's, parcel[0] and
 * parcel[1] room for what is sent and what arrives. What a rank sends to others is counted. */
int attention_move(struct sable_context *context, int64_t width, const struct sable_attention_part *from,
                   const struct sable_attention_part *to, const float *source, float *target, float *const parcel[2],
                   struct sable_error *error);

/* Collective. The result as contiguous rows of all heads: attention_shard_of(). Arrays are the caller's to free. */
int attention_gather_result(const struct attention_rank *a, struct sable_context *context, float **out, float **lse,
                            struct sable_error *error);

#endif
