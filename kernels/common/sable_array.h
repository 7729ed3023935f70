/* Arrays for kernels: aligned to cache lines (large ones to huge pages), sizes checked for overflow. */
#ifndef SABLE_ARRAY_H
#define SABLE_ARRAY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { SABLE_ALIGNMENT = 64 };

/* rows × columns × element_size bytes, not initialised; NULL if the product overflows or memory is short (never for a
 * product of 0). From 4 MiB on the block lies on 2 MiB boundaries and asks for huge pages. Owned by the caller, freed
 * by sable_array_free(). */
void *sable_array(int64_t rows, int64_t columns, size_t element_size);
void sable_array_free(void *array);

/* a × b of non-negative sizes; false on overflow. */
bool sable_multiply(int64_t a, int64_t b, int64_t *product);

#ifdef __cplusplus
}
#endif
#endif
