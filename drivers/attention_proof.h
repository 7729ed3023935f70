/* Verifying rows of attention: what attention_proof.c shares with attention_varlen_proof.c. */
#ifndef ATTENTION_PROOF_H
#define ATTENTION_PROOF_H

#include "attention_rank.h"

struct attention_proof_head { /* keys of one head, fetched anew */
    int64_t index;
    float *k, *v;
    double longest;  /* max |k| */
    double *largest; /* [dim_v] max |v| */
};

/* Pairs × dims up to which all rows are recomputed. */
extern const double ATTENTION_WHOLE_UP_TO;

/* Fills in longest and largest, over shape->keys keys. */
void attention_measure_head(const struct sable_attention_shape *shape, struct attention_proof_head *head);
/* Row r of the shape's queries against the textbook; raises the two errors, each over its bound. Room: logit
 * [shape->keys], row [dim_v]. */
void attention_prove_row(const struct sable_attention_shape *shape, const struct attention_proof_head *head, int64_t r,
                         const float *q, const float *out, float lse, double *logit, double *row, double *out_error,
                         double *sum_error);

#endif
