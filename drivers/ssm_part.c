#include "ssm_part.h"

#include <math.h>

#include "input.h"
#include "sable_random.h"

const char *const ssm_strategies[] = {"auto", "channels", "batch", NULL};

int64_t ssm_first(int64_t items, int64_t parts, int64_t i)
{
    int64_t more = items % parts;
    return items / parts * i + (i < more ? i : more);
}

struct ssm_part ssm_split(int64_t rows, int64_t columns, enum ssm_strategy strategy, struct sable_layout layout)
{
    int down = strategy == SSM_BATCH ? layout.ranks : 1;
    if (strategy == SSM_AUTO)
        for (int d = 1; d <= layout.ranks && d <= rows; d++)
            if (layout.ranks % d == 0)
                down = d;
    int across = layout.ranks / down, i = layout.rank / across, j = layout.rank % across;
    struct ssm_part part = {.row = ssm_first(rows, down, i), .column = ssm_first(columns, across, j)};
    part.rows = ssm_first(rows, down, i + 1) - part.row;
    part.columns = ssm_first(columns, across, j + 1) - part.column;
    if (part.rows == 0 || part.columns == 0)
        part.rows = part.columns = 0;
    return part;
}

double ssm_draw(uint64_t seed, enum ssm_purpose purpose, int64_t index, double low, double high)
{
    struct sable_random_block drawn = sable_random(seed, purpose, (uint64_t)index, 0);
    return low + (high - low) * sable_random_unit(drawn.word[0], drawn.word[1]);
}

int ssm_expect(struct sable_context *context, const char *name, int dims, const int64_t *shape,
               struct sable_error *error)
{
    int64_t found[SABLE_MAX_DIMS];
    if (!context->input || !sable_input_has(context->input, name))
        return SABLE_OK;
    if (sable_input_shape(context->input, name, dims, found, error))
        return error->code;
    for (int d = 0; d < dims; d++)
        if (found[d] != shape[d])
            return sable_fail(error, SABLE_BAD_INPUT, "%s: dimension %d of '%s' is %lld instead of %lld",
                              sable_input_path(context->input), d, name, (long long)found[d], (long long)shape[d]);
    return SABLE_OK;
}

int ssm_fill(struct sable_context *context, const char *name, enum ssm_purpose purpose, double low, double high,
             int dims, const int64_t *shape, const int64_t *offset, const int64_t *count, float *data,
             struct sable_error *error)
{
    int64_t all = 1, inner = count[dims - 1], bad = -1;
    for (int d = 0; d < dims; d++)
        all *= count[d];
    if (all == 0)
        return SABLE_OK;
    if (context->input && sable_input_has(context->input, name)) {
        if (ssm_expect(context, name, dims, shape, error) ||
            sable_input_read(context->input, name, SABLE_F32, dims, offset, count, data, error))
            return error->code;
        for (int64_t i = 0; i < all && bad < 0; i++)
            if (!isfinite(data[i]))
                bad = i;
        if (bad >= 0)
            return sable_fail(error, SABLE_BAD_INPUT, "%s: '%s' holds a number that is not finite in single precision",
                              sable_input_path(context->input), name);
        return SABLE_OK;
    }
#pragma omp parallel for schedule(static)
    for (int64_t row = 0; row < all / inner; row++) {
        int64_t global = 0, rest = row, weight = shape[dims - 1];
        for (int d = dims - 2; d >= 0; d--) {
            global += (offset[d] + rest % count[d]) * weight;
            rest /= count[d];
            weight *= shape[d];
        }
        for (int64_t i = 0; i < inner; i++)
            data[row * inner + i] = (float)ssm_draw(context->seed, purpose, global + offset[dims - 1] + i, low, high);
    }
    return SABLE_OK;
}

int ssm_at_most_0(struct sable_context *context, const char *name, int64_t count, const float *data,
                  struct sable_error *error)
{
    for (int64_t i = 0; i < count; i++)
        if (!(data[i] <= 0))
            return sable_fail(error, SABLE_BAD_INPUT, "%s: '%s' holds %g, but must be at most 0",
                              sable_input_path(context->input), name, (double)data[i]);
    return SABLE_OK;
}
