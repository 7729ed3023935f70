/* Attention as a textbook writes it (Vaswani et al. 2017, eq. 1), row by row in double precision: the oracle. */
#include "sable_attention.h"

#include <math.h>

void sable_attention_row_reference(const struct sable_attention_shape *shape, const float *q, int64_t seen,
                                   const float *k, const float *v, double *logit, double *out, double *lse)
{
    double most = -INFINITY, sum = 0;
    bool undefined = false;
    for (int64_t c = 0; c < seen; c++) {
        double dot = 0;
        for (int64_t d = 0; d < shape->dim; d++)
            dot += (double)q[d] * (double)k[c * shape->dim + d];
        logit[c] = shape->scale * dot;
        undefined = undefined || isnan(logit[c]) || logit[c] == INFINITY;
        most = logit[c] > most ? logit[c] : most;
    }
    for (int64_t d = 0; d < shape->dim_v; d++)
        out[d] = undefined ? NAN : 0;
    *lse = undefined ? NAN : -INFINITY;
    if (undefined || most == -INFINITY)
        return;
    for (int64_t c = 0; c < seen; c++) {
        double p = exp(logit[c] - most);
        sum += p;
        for (int64_t d = 0; d < shape->dim_v; d++)
            out[d] += p * (double)v[c * shape->dim_v + d];
    }
    for (int64_t d = 0; d < shape->dim_v; d++)
        out[d] /= sum;
    *lse = most + log(sum);
}
