#include "sable_sum.h"

#include <math.h>

static double sum_lanes(double lane[SABLE_SUM_LANES])
{
    for (int width = SABLE_SUM_LANES / 2; width > 0; width /= 2)
        for (int i = 0; i < width; i++)
            lane[i] += lane[i + width];
    return lane[0];
}

double sable_sum_block(const double *restrict x, int64_t n)
{
    double lane[SABLE_SUM_LANES] = {0};
    int64_t whole = n - n % SABLE_SUM_LANES;
    for (int64_t i = 0; i < whole; i += SABLE_SUM_LANES)
        for (int j = 0; j < SABLE_SUM_LANES; j++)
            lane[j] += x[i + j];
    for (int64_t i = whole; i < n; i++)
        lane[i - whole] += x[i];
    return sum_lanes(lane);
}

double sable_dot_block(const double *restrict x, const double *restrict y, int64_t n)
{
    double lane[SABLE_SUM_LANES] = {0};
    int64_t whole = n - n % SABLE_SUM_LANES;
    for (int64_t i = 0; i < whole; i += SABLE_SUM_LANES)
        for (int j = 0; j < SABLE_SUM_LANES; j++)
            lane[j] = fma(x[i + j], y[i + j], lane[j]);
    for (int64_t i = whole; i < n; i++)
        lane[i - whole] = fma(x[i], y[i], lane[i - whole]);
    return sum_lanes(lane);
}

/* Appends one subtree at block `nodes->end`, merging as long as the last two are siblings: equal levels, the left one
 * aligned to twice its size. */
static void append(struct sable_sum_nodes *nodes, int32_t level, double sum)
{
    nodes->level[nodes->count] = level;
    nodes->sum[nodes->count] = sum;
    nodes->count++;
    nodes->end += (int64_t)1 << level;
    while (nodes->count >= 2) {
        int32_t last = nodes->count - 1;
        int32_t at = nodes->level[last];
        int64_t left_start = nodes->end - ((int64_t)2 << at);
        if (nodes->level[last - 1] != at || left_start % ((int64_t)2 << at) != 0)
            break;
        nodes->sum[last - 1] += nodes->sum[last];
        nodes->level[last - 1]++;
        nodes->count--;
    }
}

void sable_sum_range(const double *block_sums, int64_t first, int64_t count, struct sable_sum_nodes *nodes)
{
    nodes->first = nodes->end = first;
    nodes->count = 0;
    for (int64_t i = 0; i < count; i++)
        append(nodes, 0, block_sums[i]);
}

void sable_sum_join(struct sable_sum_nodes *left, const struct sable_sum_nodes *right)
{
    if (left->first == left->end) {
        *left = *right;
        return;
    }
    for (int32_t i = 0; i < right->count; i++)
        append(left, right->level[i], right->sum[i]);
}

double sable_sum_total(const struct sable_sum_nodes *nodes)
{
    if (nodes->count == 0)
        return 0;
    double total = nodes->sum[nodes->count - 1];
    for (int32_t i = nodes->count - 2; i >= 0; i--)
        total = nodes->sum[i] + total;
    return total;
}

static double total_of_blocks(const double *block_sums, int64_t blocks)
{
    struct sable_sum_nodes nodes;
    sable_sum_range(block_sums, 0, blocks, &nodes);
    return sable_sum_total(&nodes);
}

double sable_sum(const double *x, int64_t n, double *scratch)
{
    int64_t blocks = sable_sum_blocks(n);
#pragma omp parallel for schedule(static)
    for (int64_t b = 0; b < blocks; b++) {
        int64_t start = b * SABLE_SUM_BLOCK, left = n - start;
        scratch[b] = sable_sum_block(x + start, left < SABLE_SUM_BLOCK ? left : SABLE_SUM_BLOCK);
    }
    return total_of_blocks(scratch, blocks);
}

double sable_dot(const double *x, const double *y, int64_t n, double *scratch)
{
    int64_t blocks = sable_sum_blocks(n);
#pragma omp parallel for schedule(static)
    for (int64_t b = 0; b < blocks; b++) {
        int64_t start = b * SABLE_SUM_BLOCK, left = n - start;
        scratch[b] = sable_dot_block(x + start, y + start, left < SABLE_SUM_BLOCK ? left : SABLE_SUM_BLOCK);
    }
    return total_of_blocks(scratch, blocks);
}
