/* rollouts/mean: its parameters and state, and what is checked (rollouts_mean_verify.c). */
#ifndef ROLLOUTS_MEAN_H
#define ROLLOUTS_MEAN_H

#include "rollouts_share.h"
#include "sable_mean.h"

struct rollouts_mean_params {
    int64_t samples;
    int method;
    struct sable_mean_rule rule; /* of the approximation */
};
enum { ROLLOUTS_MEAN_INCREMENTAL, ROLLOUTS_MEAN_SUMS, ROLLOUTS_MEAN_APPROXIMATION };

/* Of w, when replicates are summed: the quantum is 2⁻⁴², |w| < 2¹⁹. */
#define ROLLOUTS_MEAN_SCALE 0x1p18
enum { ROLLOUTS_MEAN_BLOCKS = 256 }; /* most blocks of a chunk */

struct rollouts_mean {
    struct rollouts_mean_params params;
    int64_t items;                                /* samples or replicates … */
    int64_t chunk;                                /* … of which a chunk has so many, the last fewer */
    int64_t chunks, first, stride;                /* this rank's: first, first + stride, … */
    struct sable_mean *part;                      /* [chunks] */
    int64_t *whole;                               /* [chunks × 3] for the reduction */
    double *real;                                 /* [chunks × 2] */
    struct sable_exact_moments replicates, noise; /* w and noise of all replicates, times ROLLOUTS_MEAN_SCALE */
    struct sable_mean total;
    double mean, variance;
};

/* What a thread needs for a chunk, and sums up over its chunks. */
struct rollouts_mean_scratch {
    struct sable_mean list[ROLLOUTS_MEAN_BLOCKS];
    struct sable_exact_moments replicates, noise;
};
/* Chunk c as it is drawn for chunk `drawn`: of blocks, or of replicates, whose sum modulo 2⁶⁴ stays in `sum`. */
struct sable_mean rollouts_mean_chunk(const struct rollouts_mean *s, uint64_t seed, int64_t c, int64_t drawn,
                                      sable_mean_block_function *block, struct rollouts_mean_scratch *scratch);
/* Σ (x − mean)² of exact sums. */
double rollouts_mean_squares(const struct sable_mean *m);

int rollouts_mean_verify(void *state, struct sable_context *context, struct sable_checks *checks,
                         struct sable_error *error);

#endif
