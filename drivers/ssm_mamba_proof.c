/* ssm/mamba: verification and outputs. */
#include <math.h>
#include <string.h>

#include "sable_array.h"
#include "ssm_mamba.h"

static const double check_all_up_to = 0x1p30; /* updates of all ranks; beyond it, that many are checked */

/* Largest error of a row over its bound; NaN if anything is. */
static double error_of_row(const struct mamba_state *s, int64_t row, double *room)
{
    const struct sable_mamba *m = &s->model;
    double *y = room, *bound = y + m->length, *x = bound + m->length, *error = x + m->states, most = 0;
    double *carry = s->carry + 2 * row * m->states;
    memset(x, 0, (size_t)(2 * m->states) * sizeof *x);
    if (s->part.over_time)
        memcpy(x, carry, (size_t)(2 * m->states) * sizeof *x);
    sable_mamba_reference(m, row / m->channels, row % m->channels, 0, m->length, x, y, error, bound);
    if (s->part.over_time)
        memcpy(carry, x, (size_t)(2 * m->states) * sizeof *x);
    for (int64_t t = 0; t < m->length; t++) {
        double off = fabs((double)s->y[row * m->length + t] - y[t]) / bound[t];
        if (isnan(off))
            return NAN;
        most = fmax(most, off);
    }
    for (int64_t n = 0; n < m->states; n++) {
        double off = fabs((double)s->state[row * m->states + n] - x[n]) / (1.1 * error[n] + 0x1p-149);
        if (isnan(off))
            return NAN;
        most = fmax(most, off);
    }
    return most;
}

/* Rows are recomputed in float64 with their rounding errors followed: all of them, or every k-th so that 2^30 updates
 * are; of the others every y is seen to be finite. */
int mamba_verify(void *state, struct sable_context *context, struct sable_checks *checks, struct sable_error *error)
{
    const struct mamba_state *s = state;
    const struct mamba_params *p = &s->params;
    const double row_updates = (double)p->states * (double)p->length, rows_all = (double)p->batch * (double)p->channels;
    const int64_t every = (int64_t)fmax(1, ceil(rows_all * row_updates / check_all_up_to));
    const int64_t rows = s->part.cut.rows * s->part.cut.columns, length = s->part.steps;
    double most = 0, checked = 0, unfinished = 0;
    int failed = 0;
    /* Ranks that share time go on in turn from what the rank before has recomputed. */
    if (s->part.over_time) {
        memset(s->carry, 0, (size_t)(2 * rows * p->states) * sizeof *s->carry);
        if (mamba_from_before(context, s->carry, 2 * rows * p->states, MPI_DOUBLE, error))
            return error->code;
    }
#pragma omp parallel reduction(max : most) reduction(+ : checked, unfinished) reduction(| : failed)
    {
        double *room = sable_array(2 * (length + p->states), 1, sizeof(double));
        failed |= !room;
#pragma omp for schedule(dynamic)
        for (int64_t row = 0; row < rows; row++) {
            for (int64_t t = 0; t < length; t++)
                unfinished += !isfinite(s->y[row * length + t]);
            if (!room || row % every != 0)
                continue;
            double off = error_of_row(s, row, room);
            unfinished += isnan(off);
            most = off > most ? off : most;
            checked += context->layout.rank == 0 || !s->part.over_time;
        }
        sable_array_free(room);
    }
    if (s->part.over_time)
        mamba_to_behind(context, s->carry, 2 * rows * p->states, MPI_DOUBLE, error);
    if (failed)
        sable_fail(error, SABLE_ENVIRONMENT, "ssm/mamba: out of memory while verifying");
    if (sable_agree(context->comm, error))
        return error->code;
    double sums[2] = {checked, unfinished}, all[2], worst;
    if (sable_check_mpi(MPI_Allreduce(sums, all, 2, MPI_DOUBLE, MPI_SUM, context->comm), "MPI_Allreduce", error) ||
        sable_check_mpi(MPI_Allreduce(&most, &worst, 1, MPI_DOUBLE, MPI_MAX, context->comm), "MPI_Allreduce", error))
        return error->code;
    sable_check(checks, "values that are not finite", all[1], 0, 0);
    sable_check_at_most(checks, "error of y and state over its derived bound", worst, 1);
    sable_check_at_most(checks, "rows that are not recomputed", rows_all - all[0], rows_all * (1 - 1 / (double)every));
    return SABLE_OK;
}

int mamba_output(void *state, struct sable_context *context, struct sable_sink *sink, struct sable_error *error)
{
    (void)context;
    const struct mamba_state *s = state;
    const struct mamba_params *p = &s->params;
    const struct ssm_part *q = &s->part.cut;
    const bool last = s->part.step + s->part.steps == p->length && (s->part.steps > 0 || !s->part.over_time);
    struct sable_array y = {.name = "y",
                            .unit = "",
                            .help = "output",
                            .keep = SABLE_KEEP_FULL,
                            .type = SABLE_F32,
                            .dims = 3,
                            .global = {p->batch, p->channels, p->length},
                            .offset = {q->row, q->column, s->part.step},
                            .count = {q->rows, q->columns, s->part.steps},
                            .labels = {"sequence", "channel", "step"},
                            .data = s->y};
    struct sable_array x = y;
    x.name = "state", x.help = "state after the last step", x.keep = SABLE_KEEP_SUMMARY, x.data = s->state;
    x.offset[2] = 0;
    x.count[0] = last ? q->rows : 0; /* of the rank of the last step */
    x.global[2] = x.count[2] = p->states;
    x.labels[2] = "state";
    return sable_put(sink, &y, error) ? error->code : sable_put(sink, &x, error);
}
