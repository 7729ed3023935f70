/* Scans of outer products: a matrix of states per head that decays and takes a product of a key and a value each step.
 * The common core of Mamba-2's SSD (Dao & Gu, "Transformers are SSMs", ICML 2024, eq. 2 with A_t a multiple of I;
 * listing 1), RetNet's retention (Sun et al., "Retentive Network", 2023: eq. 5 parallel, 6 recurrent, 7 chunkwise) and
 * RWKV-6 (Peng et al., "Eagle and Finch: RWKV with Matrix-Valued States and Dynamic Recurrence", 2024, Finch's time
 * mixing):
 *
 *   S_t = diag(w_t) S_{t−1} + k_t (a_t v_t)ᵀ      w_t = exp(g_t)
 *   o_t = S_tᵀ q_t + d v_t                        without a bonus: one decay for all keys (Mamba-2, RetNet)
 *   o_t = (S_{t−1} + diag(u) k_t v_tᵀ)ᵀ q_t       with a bonus u: a decay for each key (RWKV-6)
 *
 * Dimensions: B = sequences, L = length, H = heads, G = groups of heads that share q and k, N = keys, P = values. */
#ifndef SABLE_OUTER_H
#define SABLE_OUTER_H

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* All arrays are the caller's, row-major. */
struct sable_outer {
    int64_t sequences, heads, groups, keys, values, length;
    int64_t group_heads, group_offset; /* head h uses group (h + group_offset) / group_heads */
    const float *q, *k;                /* [B, L, G, N] */
    const float *v;                    /* [B, L, H, P] */
    const float *weight;               /* a: [B, L, H], or NULL for 1 */
    const float *decay;                /* g ≤ 0: [B, L, H], or [B, L, H, N] with a bonus */
    const float *bonus;                /* u: [H, N], or NULL */
    const float *skip;                 /* d: [H], or NULL for 0 */
};

enum sable_outer_form {
    SABLE_OUTER_RECURRENT, /* step by step, a tile of S in registers */
    SABLE_OUTER_CHUNKED,   /* chunks of time as matrix products, S from chunk to chunk */
    SABLE_OUTER_PARALLEL   /* all of time as one chunk: quadratic, no S at all */
};

/* Steps of a chunk at most. */
enum { SABLE_OUTER_CHUNK = 256 };

/* All steps over the OpenMP threads, from and to `state` [B, H, N, P] (PARALLEL: from 0), into o [B, L, H, P]. `chunk`
 * steps make a chunk (RECURRENT and PARALLEL: a block that says nothing about bits). The same bits for any threads and
 * SIMD level. False: out of memory. */
bool sable_outer_scan(const struct sable_outer *model, enum sable_outer_form form, int64_t chunk, float *state,
                      float *o);

/* A rectangle of rows: heads [head, head + heads) of each of the sequences [sequence, sequence + sequences). */
struct sable_outer_block {
    int64_t sequence, sequences, head, heads;
};

/* What blocks of one scan need: rooms of the threads and, where they `share` it and heads have q and k and one decay in
 * common, what these give for each chunk, so that a block of few heads need not make it anew. */
struct sable_outer_room;
/* For as many threads as OpenMP would take now; NULL: out of memory. Freed by sable_outer_room_free(); NULL is fine. */
struct sable_outer_room *sable_outer_room(const struct sable_outer *model, int64_t chunk, bool share);
void sable_outer_room_free(struct sable_outer_room *room);
/* Before a scan's first block, if blocks share. False: out of memory. */
bool sable_outer_share(const struct sable_outer *model, struct sable_outer_room *room);

/* sable_outer_scan() of a part of the rows; `state` and `o` are still those of all. */
bool sable_outer_scan_block(const struct sable_outer *model, struct sable_outer_room *room,
                            const struct sable_outer_block *block, enum sable_outer_form form, float *state, float *o);

/* The chunked form of a block in three parts, with the bits of the whole, for time that is shared: first the outputs as
 * far as they come from their own chunk, and what each chunk adds, `add` [B, H, chunks, N, P]; then S ← diag(w) S + add
 * through all chunks, from and to `state`, with what each begins with left in `add`; then the rest of the outputs. */
bool sable_outer_local(const struct sable_outer *model, struct sable_outer_room *room,
                       const struct sable_outer_block *block, float *add, float *o);
void sable_outer_chain(const struct sable_outer *model, const struct sable_outer_room *room,
                       const struct sable_outer_block *block, float *add, float *state);
bool sable_outer_carried(const struct sable_outer *model, struct sable_outer_room *room,
                         const struct sable_outer_block *block, const float *seeds, float *o);

/* Decays and weights of one row in float64 where the float ones are rounded, and how far those may lie from them. */
struct sable_outer_exact {
    const double *decay, *weight; /* [L]; NULL: the model's own */
    const double *error;          /* [L] relative, of both; NULL: 0 */
};

/* Rounding of the fast forms, followed by the reference: |S|, its error, and the bound of o. */
struct sable_outer_evidence {
    enum sable_outer_form form;
    int64_t chunk, first; /* chunks begin where first + t is a multiple */
    double *size, *error; /* [N, P], carried like the state */
    double *lost;         /* [1], carried: the sum over steps of the largest |k a v| */
    double *bound;        /* [end − begin, P] */
};

/* Steps begin ≤ t < end of one row (sequence × head) in float64 by the formula, from and to `state` [N, P], into o
 * [end − begin, P]. `exact` and `evidence` may be NULL; with the latter a bound of |sable_outer_scan()'s o − o| comes
 * along (docs/ssm_mamba2.md). */
void sable_outer_reference(const struct sable_outer *model, int64_t row, int64_t begin, int64_t end,
                           const struct sable_outer_exact *exact, double *state, double *o,
                           const struct sable_outer_evidence *evidence);
/* How far element i of the state that the fast form leaves may lie from `state`, the reference's. */
double sable_outer_state_bound(const struct sable_outer *model, const struct sable_outer_evidence *evidence, int64_t i,
                               double state);

#ifdef __cplusplus
}
#endif
#endif
