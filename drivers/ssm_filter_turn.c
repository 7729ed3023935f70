/* Between ranks that share rows (time, chunks) and ranks that share columns (channels). */
#include <stdlib.h>
#include <string.h>

#include "input.h"
#include "sable_array.h"
#include "ssm_filter.h"

struct turn {
    int ranks, rank;
    int64_t rows, unit, inner, columns; /* of the whole */
    int *counts;                        /* [4, ranks]: floats to and from each rank by rows; where they begin */
};

static int64_t first_row(const struct turn *t, int rank)
{
    const int64_t units = (t->rows + t->unit - 1) / t->unit, row = ssm_first(units, t->ranks, rank) * t->unit;
    return row < t->rows ? row : t->rows;
}

static int64_t rows_of(const struct turn *t, int rank)
{
    return first_row(t, rank + 1) - first_row(t, rank);
}

static int64_t columns_of(const struct turn *t, int rank)
{
    return ssm_first(t->columns, t->ranks, rank + 1) - ssm_first(t->columns, t->ranks, rank);
}

/* What rank r gets of my rows: its columns of them, [rows, inner, its columns]. */
static void pack(const struct turn *t, float *plane, float *packed, bool back)
{
    const int64_t lines = rows_of(t, t->rank) * t->inner;
    for (int r = 0; r < t->ranks; r++) {
        const int64_t width = columns_of(t, r), at = ssm_first(t->columns, t->ranks, r);
        float *to = packed + lines * at;
#pragma omp parallel for schedule(static)
        for (int64_t i = 0; i < lines; i++) {
            float *own = plane + i * t->columns + at;
            memcpy(back ? own : to + i * width, back ? to + i * width : own, (size_t)width * sizeof *own);
        }
    }
}

static void count(struct turn *t)
{
    int64_t to_at = 0, from_at = 0;
    for (int r = 0; r < t->ranks; r++) {
        const int64_t to = rows_of(t, t->rank) * t->inner * columns_of(t, r);
        const int64_t from = rows_of(t, r) * t->inner * columns_of(t, t->rank);
        t->counts[r] = (int)to;
        t->counts[t->ranks + r] = (int)to_at;
        t->counts[2 * t->ranks + r] = (int)from;
        t->counts[3 * t->ranks + r] = (int)from_at;
        to_at += to, from_at += from;
    }
}

int filter_turn(struct sable_context *context, int64_t planes, int64_t rows, int64_t unit, int64_t inner,
                int64_t columns, float *by_rows, float *by_columns, bool back, struct sable_error *error)
{
    struct turn t = {context->layout.ranks, context->layout.rank, rows, unit, inner, columns, NULL};
    const int64_t own = rows_of(&t, t.rank) * inner * columns, turned = rows * inner * columns_of(&t, t.rank);
    float *packed = sable_array(own, 1, sizeof *packed);
    t.counts = calloc((size_t)t.ranks * 4, sizeof *t.counts);
    if (!packed || !t.counts)
        sable_fail(error, SABLE_ENVIRONMENT, "out of memory for an exchange of %lld numbers", (long long)own);
    if (sable_agree(context->comm, error))
        goto done;
    count(&t);
    int *to = t.counts, *to_at = to + t.ranks, *from = to_at + t.ranks, *from_at = from + t.ranks;
    for (int64_t p = 0; p < planes && !error->code; p++) {
        float *plane = by_rows + p * own, *column = by_columns + p * turned;
        if (!back)
            pack(&t, plane, packed, false);
        sable_check_mpi(
            back ? MPI_Alltoallv(column, from, from_at, MPI_FLOAT, packed, to, to_at, MPI_FLOAT, context->comm)
                 : MPI_Alltoallv(packed, to, to_at, MPI_FLOAT, column, from, from_at, MPI_FLOAT, context->comm),
            "MPI_Alltoallv", error);
        if (back && !error->code)
            pack(&t, plane, packed, true);
        for (int r = 0; r < t.ranks; r++)
            if (r != t.rank)
                sable_count_sent(context, (size_t)(back ? from[r] : to[r]) * sizeof(float));
    }
done:
    free(t.counts);
    sable_array_free(packed);
    return error->code;
}

/* ---- Input ---- */

int filter_read(struct filter *f, struct sable_context *context, const char *name, int dims, int64_t states,
                double *table, struct sable_error *error)
{
    const int64_t columns = f->table_columns, own = dims == 2 ? columns : columns > 0;
    const int64_t offset[] = {f->table_column, 0}, count[] = {columns, states};
    double *pairs = sable_array(own * states, 2, sizeof *pairs);
    if (!pairs)
        return sable_fail(error, SABLE_ENVIRONMENT, "%s: out of memory for %s", f->model->name, name);
    if (own > 0 && sable_input_read(context->input, name, SABLE_C128, dims, dims == 2 ? offset : offset + 1,
                                    dims == 2 ? count : count + 1, pairs, error) == 0)
        for (int64_t h = 0; h < columns; h++)
            for (int64_t n = 0; n < 2 * states; n++) { /* n: state, part */
                const double value = pairs[(dims == 2 ? h : 0) * 2 * states + n];
                if (!(value - value == 0) && !error->code)
                    sable_fail(error, SABLE_BAD_INPUT, "%s: '%s' holds a number that is not finite",
                               sable_input_path(context->input), name);
                table[n * columns + h] = value;
            }
    sable_array_free(pairs);
    return error->code;
}
