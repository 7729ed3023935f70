/* What the ssm workloads share: how ranks split sequences × channels, and drawn or read arrays. */
#ifndef SSM_PART_H
#define SSM_PART_H

#include "driver.h"

enum ssm_strategy { SSM_AUTO, SSM_CHANNELS, SSM_BATCH };
extern const char *const ssm_strategies[]; /* choices of the parameter `strategy`, NULL-terminated */

/* This rank's rectangle of [rows, columns]. */
struct ssm_part {
    int64_t row, rows, column, columns;
};

/* Ranks in a grid: `channels` cuts columns only, `batch` rows only, `auto` rows by the largest number of ranks that
 * divides all ranks and is at most `rows`, and columns by the rest. Ranks may hold nothing. */
struct ssm_part ssm_split(int64_t rows, int64_t columns, enum ssm_strategy strategy, struct sable_layout layout);

/* First of the items of part `i` of `parts`, for 0 ≤ i ≤ parts. */
int64_t ssm_first(int64_t items, int64_t parts, int64_t i);

/* Which array of a generated problem is drawn, and from where: purposes of sable_random(). */
enum ssm_purpose {
    SSM_U = 300,
    SSM_DELTA,
    SSM_Z,
    SSM_A,
    SSM_B,
    SSM_C,
    SSM_D,
    SSM_BIAS,
    SSM_Q = 340,
    SSM_K,
    SSM_V,
    SSM_DECAY,
    SSM_BONUS
};

/* Uniform on [low, high): element `index` of the array `purpose`. */
double ssm_draw(uint64_t seed, enum ssm_purpose purpose, int64_t index, double low, double high);

/* Fills the block [offset, offset + count) of a `dims`-dimensional array of `shape`: read from the input file, if there
 * is one that has `name`, else drawn from [low, high). A number that is not finite is refused. */
int ssm_fill(struct sable_context *context, const char *name, enum ssm_purpose purpose, double low, double high,
             int dims, const int64_t *shape, const int64_t *offset, const int64_t *count, float *data,
             struct sable_error *error);

/* Refuses an array `name` of the input with a number above 0. */
int ssm_at_most_0(struct sable_context *context, const char *name, int64_t count, const float *data,
                  struct sable_error *error);

/* Refuses a dataset, if there, whose shape is not `shape`. */
int ssm_expect(struct sable_context *context, const char *name, int dims, const int64_t *shape,
               struct sable_error *error);

#endif
