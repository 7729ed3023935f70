/* The update that every product of attention is: a few rows × a strip of vectors of accumulators, which are registers.
 * For *.isa.c sources only. */
#ifndef ATTENTION_UPDATE_H
#define ATTENTION_UPDATE_H

#include "attention_lanes.h"

/* a[r][k] = a[r·row_step + k·step], broadcast; b[k][lane] = b[k·pitch + lane]. */
struct factors {
    int64_t terms;
    const float *a;
    int64_t row_step, step;
    const float *b;
    int64_t pitch;
};

/* sum[r][i] += Σ_k a[r][k] b[k][i], one term after the other, of vectors [first, vectors). The numbers of rows and
 * vectors are constants where this is inlined. */
static inline __attribute__((always_inline)) void update(int rows, int first, int vectors, struct factors x,
                                                         lanes sum[ROWS][STRIP])
{
    UNROLL_TWICE
    for (int64_t k = x.terms; k > 0; k--, x.a += x.step, x.b += x.pitch) {
        lanes b[STRIP];
        UNROLL
        for (int i = first; i < vectors; i++)
            b[i] = load(x.b + i * LANES);
        UNROLL
        for (int r = 0; r < rows; r++) {
            const lanes a = splat(x.a[r * x.row_step]);
            UNROLL
            for (int i = first; i < vectors; i++)
                sum[r][i] = fused(b[i], a, sum[r][i]);
        }
    }
}

#endif
