#include "output.h"

#include "digest.h"

int sable_put(struct sable_sink *sink, const struct sable_array *array, struct sable_error *error)
{
    if (!array->no_digest) {
        sink->part += sable_digest_block(array);
        sink->any = true;
    }
    if (!sink->stored || array->keep > sink->keep)
        return SABLE_OK;
    return sable_results_array(sink->results, sink->comm, array, error);
}

int sable_put_whole(struct sable_sink *sink, const struct sable_array *array, struct sable_error *error)
{
    struct sable_array whole = *array;
    int rank;
    MPI_Comm_rank(sink->comm, &rank);
    whole.keep = SABLE_KEEP_SUMMARY;
    whole.unit = whole.unit ? whole.unit : "";
    for (int d = 0; d < whole.dims; d++) {
        whole.offset[d] = 0;
        whole.count[d] = rank == 0 ? whole.global[d] : 0;
    }
    return sable_put(sink, &whole, error);
}
