/* ssm/hippo between its files: the state of a rank, and what checks it and gives it out. */
#ifndef SSM_HIPPO_H
#define SSM_HIPPO_H

#include "sable_hippo.h"
#include "sable_window.h"
#include "ssm_part.h"

enum hippo_measure { HIPPO_LEGS, HIPPO_LEGT, HIPPO_LAGT, HIPPO_FOUT };
enum { HIPPO_POINTS = 64 /* of the reconstruction */ };

struct hippo_params {
    int64_t order, channels, length, window;
    int measure, rule;
};

struct hippo_state {
    struct hippo_params params; /* of the whole problem; sizes are the input's, if it has any */
    struct ssm_part part;       /* columns are channels */
    bool dense;                 /* float64 by dense matrices: `exact`; else float32: `c` */
    struct sable_blas *blas;    /* float32 by OpenBLAS, and `c` is [order, own channels]; else NULL */
    float *signal;              /* [length, own channels] */
    float *c, *factors;         /* [groups, order, group] */
    double *exact;              /* [own channels, order] */
    double *a, *b, *e, *w;      /* [order, order] and [order]; e and w: of a step */
    float *next, *gain, *spare; /* of a step in float32, and as c: of the time-invariant measures */
    double norm, growth;        /* of e, and of its powers at most */
    double *room;               /* [order] and quadrature nodes and weights */
    double *coefficients;       /* [order, own channels]: the result */
    double *history;            /* [HIPPO_POINTS, own channels] reconstruction */
    double *off;                /* [own channels] its error */
};

static inline enum sable_window_measure hippo_window_of(const struct hippo_params *p)
{
    return (enum sable_window_measure)(p->measure - HIPPO_LEGT);
}

int hippo_verify(void *state, struct sable_context *context, struct sable_checks *checks, struct sable_error *error);
int hippo_output(void *state, struct sable_context *context, struct sable_sink *sink, struct sable_error *error);

#endif
