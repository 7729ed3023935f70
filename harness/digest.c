#include "digest.h"

#include <string.h>
#include <xxhash.h>

size_t sable_number_size(enum sable_number type)
{
    static const size_t sizes[] = {[SABLE_F64] = 8, [SABLE_F32] = 4, [SABLE_I64] = 8, [SABLE_I32] = 4,  [SABLE_I16] = 2,
                                   [SABLE_I8] = 1,  [SABLE_U8] = 1,  [SABLE_C64] = 8, [SABLE_C128] = 16};
    return sizes[type];
}

/* Elements in memory between neighbours of each dimension. */
void sable_array_strides(const struct sable_array *array, int64_t stride[SABLE_MAX_DIMS])
{
    bool contiguous = true;
    int64_t product = 1;
    for (int d = 0; d < array->dims; d++)
        contiguous = contiguous && array->stride[d] == 0;
    for (int d = array->dims - 1; d >= 0; d--) {
        stride[d] = contiguous ? product : array->stride[d];
        product *= array->count[d];
    }
}

/* One row: the innermost dimension, whose global indices follow one another. */
static uint64_t digest_row(const char *data, int64_t count, int64_t stride, size_t size, uint64_t first, uint64_t seed)
{
    uint64_t sum = 0;
    for (int64_t i = 0; i < count; i++) {
        struct {
            uint64_t index;
            unsigned char value[16];
        } placed = {first + (uint64_t)i, {0}};
        memcpy(placed.value, data + (size_t)(i * stride) * size, size);
        sum += XXH3_64bits_withSeed(&placed, size > 8 ? 24 : 16, seed);
    }
    return sum;
}

uint64_t sable_digest_block(const struct sable_array *array)
{
    int inner = array->dims - 1;
    int64_t rows = 1, stride[SABLE_MAX_DIMS];
    size_t size = sable_number_size(array->type);
    uint64_t seed = XXH3_64bits(array->name, strlen(array->name)) + (uint64_t)array->type, sum = 0;
    sable_array_strides(array, stride);
    for (int d = 0; d < inner; d++)
        rows *= array->count[d];
    if (array->count[inner] == 0)
        return 0;
#pragma omp parallel for reduction(+ : sum) schedule(static)
    for (int64_t row = 0; row < rows; row++) {
        uint64_t global = 0, weight = (uint64_t)array->global[inner];
        int64_t local = 0, rest = row;
        for (int d = inner - 1; d >= 0; d--) {
            int64_t index = rest % array->count[d];
            rest /= array->count[d];
            global += (uint64_t)(array->offset[d] + index) * weight;
            local += index * stride[d];
            weight *= (uint64_t)array->global[d];
        }
        sum += digest_row((const char *)array->data + (size_t)local * size, array->count[inner], stride[inner], size,
                          global + (uint64_t)array->offset[inner], seed);
    }
    return sum;
}

int sable_digest_combine(MPI_Comm comm, uint64_t part, uint64_t *digest, struct sable_error *error)
{
    return sable_check_mpi(MPI_Allreduce(&part, digest, 1, MPI_UINT64_T, MPI_SUM, comm), "MPI_Allreduce", error);
}
