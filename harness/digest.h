/* A digest of distributed arrays that is the same for any partition: the sum modulo 2^64 of one xxHash per element,
 * seeded with the array's name and the element's global row-major index. Equal digests mean equal bits at equal places.
 */
#ifndef SABLE_DIGEST_H
#define SABLE_DIGEST_H

#include "driver.h"

size_t sable_number_size(enum sable_number type);

/* Elements in memory between neighbours of each dimension: array->stride, or those of a contiguous block. */
void sable_array_strides(const struct sable_array *array, int64_t stride[SABLE_MAX_DIMS]);

/* This rank's part. The digest of the whole is the sum over ranks. −0 and +0, and different NaNs, differ. */
uint64_t sable_digest_block(const struct sable_array *array);

/* Collective: the sum of all ranks' parts, on every rank. */
int sable_digest_combine(MPI_Comm comm, uint64_t part, uint64_t *digest, struct sable_error *error);

#endif
