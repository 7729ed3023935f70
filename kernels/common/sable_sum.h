/* Sums whose bits don't depend on who adds: over fixed blocks of 4096 elements, each with 32 lanes and a fixed lane
 * tree, combined in a binary tree whose shape depends on block indices alone. Threads and ranks may each take any
 * contiguous range of blocks.
 *
 *   block  : lane[i mod 32] += x[i], i ascending; then the lanes are halved 32 → 16 → … → 1
 *   blocks : node(level, j) = node(level−1, 2j) + node(level−1, 2j+1); a missing right child leaves the left as it is
 */
#ifndef SABLE_SUM_H
#define SABLE_SUM_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { SABLE_SUM_BLOCK = 4096, SABLE_SUM_LANES = 32, SABLE_SUM_MAX_NODES = 128 };

/* Number of blocks of n elements. */
static inline int64_t sable_sum_blocks(int64_t n)
{
    return (n + SABLE_SUM_BLOCK - 1) / SABLE_SUM_BLOCK;
}

/* Sum of x[i], or of x[i]·y[i] (fused), over one block of n ≤ 4096 elements that starts at a multiple of 4096. */
double sable_sum_block(const double *x, int64_t n);
double sable_dot_block(const double *x, const double *y, int64_t n);

/* A set of aligned subtrees over a contiguous range of blocks: at most two per level, so O(log) values stand for any
 * range. This is what a thread or rank sends. */
struct sable_sum_nodes {
    int64_t first, end; /* the range of blocks [first, end) */
    int32_t count;
    int32_t level[SABLE_SUM_MAX_NODES]; /* of each subtree, in order of blocks: 2^level blocks */
    double sum[SABLE_SUM_MAX_NODES];
};

/* Nodes of the range [first, first + count) of block sums. */
void sable_sum_range(const double *block_sums, int64_t first, int64_t count, struct sable_sum_nodes *nodes);
/* Appends `right`, which must begin where `left` ends (or be empty), to `left`. */
void sable_sum_join(struct sable_sum_nodes *left, const struct sable_sum_nodes *right);
/* The total of nodes that start at block 0; 0 if empty. */
double sable_sum_total(const struct sable_sum_nodes *nodes);

/* All of it on one rank, over the OpenMP threads: Σ x[i] and Σ x[i]·y[i]. `scratch` holds sable_sum_blocks(n) values.
 */
double sable_sum(const double *x, int64_t n, double *scratch);
double sable_dot(const double *x, const double *y, int64_t n, double *scratch);

#ifdef __cplusplus
}
#endif
#endif
