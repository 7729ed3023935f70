/* Mamba's selective scan (Gu & Dao, "Mamba: Linear-Time Sequence Modeling with Selective State Spaces", 2023: eq. 2
 * with the Δ, B and C of § 3.2, algorithm 2; eq. 4 gives exp(Δ A) by zero-order hold, and B by Euler's rule, Δ B, as
 * its code has it): for each sequence of a batch, channel and state
 *
 *   Δ_t = softplus(delta_t + bias)                 x_t = exp(Δ_t A) x_{t−1} + Δ_t B_t u_t
 *   y_t = (Σ_n C_{t,n} x_{t,n} + D u_t) · silu(z_t)                      (without z: no gate)
 *
 * Dimensions: S = sequences, H = channels, N = states of a channel, L = length. Arrays are row-major. */
#ifndef SABLE_MAMBA_H
#define SABLE_MAMBA_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* All arrays are the caller's. */
struct sable_mamba {
    int64_t sequences, channels, states, length;
    const float *u, *delta; /* [S, H, L] */
    const float *z;         /* [S, H, L], or NULL */
    const float *a;         /* [H, N], ≤ 0 */
    const float *b, *c;     /* [S, N, L] */
    const float *d, *bias;  /* [H] */
};

/* Floats of `scratch`; negative if the product overflows. */
int64_t sable_mamba_scratch(const struct sable_mamba *model);

/* Steps begin ≤ t < end over the OpenMP threads, from and to `state` [S, H, N]; writes y [S, H, L] at these steps. The
 * same bits for any number of threads, SIMD level, and cut of the steps. */
void sable_mamba_scan(const struct sable_mamba *model, int64_t begin, int64_t end, float *state, float *y,
                      float *scratch);

/* The same in two steps, for ranks that share time: what all channels need of these steps, then any groups of
 * SABLE_MAMBA_GROUP channels, first ≤ group < last of sequences × ⌈channels / 16⌉. */
enum { SABLE_MAMBA_GROUP = 16 };
static inline int64_t sable_mamba_groups(const struct sable_mamba *model)
{
    return model->sequences * ((model->channels + SABLE_MAMBA_GROUP - 1) / SABLE_MAMBA_GROUP);
}
/* The first row (sequence × channels + channel) of a group; that of group sable_mamba_groups() is behind the last. */
int64_t sable_mamba_first_row(const struct sable_mamba *model, int64_t group);
void sable_mamba_prepare(const struct sable_mamba *model, int64_t begin, int64_t end, float *scratch);
void sable_mamba_scan_groups(const struct sable_mamba *model, int64_t first, int64_t last, int64_t begin, int64_t end,
                             float *state, float *y, float *scratch);

/* The formula in float64 for one sequence and channel. `bound` [end − begin], unless NULL, receives how far
 * sable_mamba_scan()'s y may lie from the exact value: rounding errors followed to first order, and 10 % for the rest;
 * `error` [N], the same of the state, is needed with it and carried on. */
void sable_mamba_reference(const struct sable_mamba *model, int64_t sequence, int64_t channel, int64_t begin,
                           int64_t end, double *state, double *y, double *error, double *bound);

#ifdef __cplusplus
}
#endif
#endif
