/* Private to the family: samples, and blocks of mean.isa.c. */
#ifndef SABLE_MEAN_ISA_H
#define SABLE_MEAN_ISA_H

#include "sable_isa.h"
#include "sable_mean.h"

/* Sample `index` of the stream. */
int32_t sable_mean_sample(uint64_t seed, int64_t index);

SABLE_ISA_DECLARE(struct sable_mean, mean_block,
                  (uint64_t seed, int64_t drawn_at, int64_t count, enum sable_mean_method method));

#endif
