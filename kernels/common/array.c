#define _GNU_SOURCE /* madvise, MADV_HUGEPAGE */
#include "sable_array.h"

#include <stdlib.h>
#include <sys/mman.h>

enum { HUGE_PAGE = 2 << 20, HUGE_FROM = 4 << 20 };

bool sable_multiply(int64_t a, int64_t b, int64_t *product)
{
    return a >= 0 && b >= 0 && !__builtin_mul_overflow(a, b, product);
}

void *sable_array(int64_t rows, int64_t columns, size_t element_size)
{
    int64_t elements, bytes;
    if (!sable_multiply(rows, columns, &elements) || element_size > INT64_MAX ||
        !sable_multiply(elements, (int64_t)element_size, &bytes) || bytes > INT64_MAX - HUGE_PAGE)
        return NULL;
    if (bytes == 0)
        bytes = 1;
    size_t alignment = bytes >= HUGE_FROM ? HUGE_PAGE : SABLE_ALIGNMENT;
    size_t rounded = ((size_t)bytes + alignment - 1) / alignment * alignment;
    void *block = aligned_alloc(alignment, rounded);
#ifdef MADV_HUGEPAGE
    if (block && alignment == HUGE_PAGE)
        (void)madvise(block, rounded, MADV_HUGEPAGE); /* advice only: small pages work, too */
#endif
    return block;
}

void sable_array_free(void *array)
{
    free(array);
}
