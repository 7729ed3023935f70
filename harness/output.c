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
