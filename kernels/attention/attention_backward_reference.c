/* The gradient of attention as calculus gives it, row by row in double precision: the oracle. */
#include <math.h>

#include "sable_attention_backward.h"

void sable_attention_backward_row_reference(const struct sable_attention_shape *shape, const float *q,
                                            const float *dout, int64_t seen, const float *k, const float *v,
                                            double *weight, double *o, double *dq, double *dk, double *dv)
{
    double lse, delta = 0;
    int64_t dim = shape->dim, dim_v = shape->dim_v;
    sable_attention_row_reference(shape, q, seen, k, v, weight, o, &lse);
    for (int64_t d = 0; d < dim; d++)
        dq[d] = 0;
    if (lse == -INFINITY)
        return;
    for (int64_t d = 0; d < dim_v; d++)
        delta += (double)dout[d] * o[d];
    for (int64_t c = 0; c < seen; c++) {
        double p = exp(weight[c] - lse), dp = 0;
        for (int64_t d = 0; d < dim_v; d++) {
            dp += (double)dout[d] * (double)v[c * dim_v + d];
            dv[c * dim_v + d] += p * (double)dout[d];
        }
        double ds = shape->scale * p * (dp - delta);
        for (int64_t d = 0; d < dim; d++) {
            dq[d] += ds * (double)k[c * dim + d];
            dk[c * dim + d] += ds * (double)q[d];
        }
    }
}
