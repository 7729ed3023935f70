/* Verification and outputs of scans of outer products. */
#include <math.h>
#include <string.h>

#include "sable_array.h"
#include "ssm_outer.h"

enum { BLOCK = 256 /* steps that are verified at a time */ };
static const double check_all_up_to = 0x1p29; /* updates of all ranks; beyond it, that many are checked */

/* Largest error of a row over its bound, NaN if anything is; from and to its part of `carry`, in `room`
 * [BLOCK, 2, P] and [3, steps]. */
static double error_of_row(struct outer_state *s, int64_t row, double *room)
{
    const struct sable_outer *m = &s->scan;
    const int64_t size = m->keys * m->values, P = m->values, b = row / m->heads, h = row % m->heads;
    double *state = s->carry + row * (3 * size + 1), *o = room, *bound = o + BLOCK * P, *decay = bound + BLOCK * P,
           most = 0;
    const struct sable_outer_evidence e = {.form = (enum sable_outer_form)s->params.form,
                                           .chunk = s->params.chunk,
                                           .first = s->part.step,
                                           .size = state + size,
                                           .error = state + 2 * size,
                                           .lost = state + 3 * size,
                                           .bound = bound};
    const struct sable_outer_exact exact = {decay, decay + m->length, decay + 2 * m->length};
    if (s->model->exact)
        s->model->exact(s, row, decay, decay + m->length, decay + 2 * m->length);
    for (int64_t begin = 0; begin < m->length; begin += BLOCK) {
        int64_t end = begin + BLOCK < m->length ? begin + BLOCK : m->length;
        sable_outer_reference(m, row, begin, end, s->model->exact ? &exact : NULL, state, o, &e);
        for (int64_t t = begin; t < end; t++)
            for (int64_t p = 0; p < P; p++) {
                double found = (double)s->o[((b * m->length + t) * m->heads + h) * P + p];
                double off = fabs(found - o[(t - begin) * P + p]) / bound[(t - begin) * P + p];
                if (isnan(off))
                    return NAN;
                most = fmax(most, off);
            }
    }
    for (int64_t i = 0; i < size && s->params.form != SABLE_OUTER_PARALLEL; i++) {
        double off = fabs((double)s->state[row * size + i] - state[i]) / sable_outer_state_bound(m, &e, i, state[i]);
        if (isnan(off))
            return NAN;
        most = fmax(most, off);
    }
    return most;
}

static double unfinished(const struct outer_state *s)
{
    const struct sable_outer *m = &s->scan;
    double bad = 0;
#pragma omp parallel for schedule(static) reduction(+ : bad)
    for (int64_t i = 0; i < m->sequences * m->heads * m->length * m->values; i++)
        bad += !isfinite(s->o[i]);
    return bad;
}

/* Of each `every`-th row in [first, last): the worst error; how many are recomputed, how many hold a NaN. */
static bool examine(struct outer_state *s, int64_t first, int64_t last, int64_t every, double *most, double sums[2])
{
    const struct sable_outer *m = &s->scan;
    double worst = *most, rows = 0, bad = 0;
    bool failed = false;
#pragma omp parallel reduction(max : worst) reduction(+ : rows, bad) reduction(| : failed)
    {
        double *room = sable_array(2 * BLOCK * m->values + 3 * m->length, 1, sizeof(double));
        failed |= !room;
#pragma omp for schedule(dynamic)
        for (int64_t row = first; row < last; row += every) {
            if (!room)
                continue;
            double off = error_of_row(s, row, room);
            bad += isnan(off);
            worst = off > worst ? off : worst;
            rows += 1;
        }
        sable_array_free(room);
    }
    *most = worst, sums[0] += rows, sums[1] += bad;
    return !failed;
}

/* Rows are recomputed in float64 with their rounding errors followed: all of them, or every k-th. Ranks that share time
 * hand on float64 carries, some rows after another. */
int outer_verify(void *state, struct sable_context *context, struct sable_checks *checks, struct sable_error *error)
{
    struct outer_state *s = state;
    const struct outer_params *p = &s->params;
    const int64_t rows = s->scan.sequences * s->scan.heads, of_carry = 3 * p->keys * p->values + 1;
    const double all_rows = (double)p->batch * (double)p->heads, of_row = (double)p->keys * (double)p->values;
    const int64_t every = (int64_t)fmax(1, ceil(all_rows * of_row * (double)p->length / check_all_up_to));
    const int64_t at_once = outer_rows_at_once(s, context, every);
    double sums[2] = {0, unfinished(s)}, most = 0, all[2], worst;
    const uint64_t sent = context->bytes_sent, messages = context->messages;
    bool done = true;
    memset(s->carry, 0, (size_t)(rows * of_carry) * sizeof *s->carry);
    for (int64_t first = 0; first < rows; first += at_once) {
        const int64_t last = first + at_once < rows ? first + at_once : rows;
        if (outer_receive(s, context, first, last, every, s->carry, of_carry, error))
            return error->code;
        done &= examine(s, first, last, every, &most, sums);
        if (outer_send(s, context, first, last, every, s->carry, of_carry, error))
            return error->code;
    }
    context->bytes_sent = sent, context->messages = messages;
    if (!done)
        sable_fail(error, SABLE_ENVIRONMENT, "ssm: out of memory while verifying");
    if (sable_agree(context->comm, error))
        return error->code;
    if (sable_check_mpi(MPI_Allreduce(sums, all, 2, MPI_DOUBLE, MPI_SUM, context->comm), "MPI_Allreduce", error) ||
        sable_check_mpi(MPI_Allreduce(&most, &worst, 1, MPI_DOUBLE, MPI_MAX, context->comm), "MPI_Allreduce", error))
        return error->code;
    const double copies = s->part.over_time ? (double)context->layout.ranks : 1;
    sable_check(checks, "values that are not finite", all[1], 0, 0);
    sable_check_at_most(checks, "error of outputs and states over its derived bound", worst, 1);
    sable_check_at_most(checks, "rows that are not recomputed", all_rows * copies - all[0],
                        all_rows * copies * (1 - 1 / (double)every));
    return SABLE_OK;
}

int outer_output(void *state, struct sable_context *context, struct sable_sink *sink, struct sable_error *error)
{
    (void)context;
    const struct outer_state *s = state;
    const struct outer_params *p = &s->params;
    const struct outer_part *q = &s->part;
    const struct sable_array y = {.name = "y",
                                  .unit = "",
                                  .help = "outputs",
                                  .keep = SABLE_KEEP_FULL,
                                  .type = SABLE_F32,
                                  .dims = 4,
                                  .global = {p->batch, p->length, p->heads, p->values},
                                  .offset = {q->part.row, q->step, q->part.column, 0},
                                  .count = {q->part.rows, q->steps, q->part.columns, p->values},
                                  .labels = {"sequence", "step", "head", "value"},
                                  .data = s->o};
    bool last = q->step + q->steps == p->length && q->steps > 0;
    const struct sable_array x = {.name = "state",
                                  .unit = "",
                                  .help = "states after the last step",
                                  .keep = SABLE_KEEP_SUMMARY,
                                  .type = SABLE_F32,
                                  .dims = 4,
                                  .global = {p->batch, p->heads, p->keys, p->values},
                                  .offset = {q->part.row, q->part.column, 0, 0},
                                  .count = {last ? q->part.rows : 0, q->part.columns, p->keys, p->values},
                                  .labels = {"sequence", "head", "key", "value"},
                                  .data = s->state};
    if (sable_put(sink, &y, error))
        return error->code;
    return p->form == SABLE_OUTER_PARALLEL ? SABLE_OK : sable_put(sink, &x, error);
}
