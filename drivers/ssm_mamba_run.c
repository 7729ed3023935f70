/* ssm/mamba: a rank's run, over channels or as a wavefront over time. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "sable_array.h"
#include "ssm_mamba.h"

enum { FAULT_LOST_CARRY = 1, FAULT_SHIFT, FAULT_SKIP_BLOCK, FAULT_FLIP_BIT, FAULT_NAN };
enum { PIECES = 64 /* at least, if there are as many groups of channels: what a rank passes on at a time */ };

int64_t mamba_pieces(int64_t groups, int threads)
{
    const int64_t each = groups / PIECES > threads ? groups / PIECES : threads;
    return (groups + each - 1) / each;
}

int mamba_from_before(struct sable_context *context, void *data, int64_t count, MPI_Datatype type,
                      struct sable_error *error)
{
    if (context->layout.rank == 0)
        return SABLE_OK;
    return sable_check_mpi(
        MPI_Recv(data, (int)count, type, context->layout.rank - 1, 0, context->comm, MPI_STATUS_IGNORE), "MPI_Recv",
        error);
}

int mamba_to_behind(struct sable_context *context, const void *data, int64_t count, MPI_Datatype type,
                    struct sable_error *error)
{
    if (context->layout.rank + 1 == context->layout.ranks)
        return SABLE_OK;
    return sable_check_mpi(MPI_Send(data, (int)count, type, context->layout.rank + 1, 0, context->comm), "MPI_Send",
                           error);
}

/* With `carry`, states go from and to it in float64; else from and to `state`. */
static int by_formula(struct mamba_state *s, int64_t begin, int64_t end, struct sable_error *error)
{
    const struct sable_mamba *m = &s->model;
    int failed = 0;
#pragma omp parallel for schedule(static) reduction(| : failed)
    for (int64_t row = 0; row < m->sequences * m->channels; row++) {
        double *y = sable_array(end - begin + m->states, 1, sizeof(double)), *x = y ? y + (end - begin) : NULL;
        double *carry = s->carry + 2 * row * m->states;
        if (!y) {
            failed = 1;
            continue;
        }
        for (int64_t n = 0; n < m->states; n++)
            x[n] = s->part.over_time ? carry[n] : (double)s->state[row * m->states + n];
        sable_mamba_reference(m, row / m->channels, row % m->channels, begin, end, x, y, NULL, NULL);
        for (int64_t t = begin; t < end; t++)
            s->y[row * m->length + t] = (float)y[t - begin];
        for (int64_t n = 0; n < m->states; n++)
            s->state[row * m->states + n] = (float)x[n];
        if (s->part.over_time)
            memcpy(carry, x, (size_t)m->states * sizeof *x);
        sable_array_free(y);
    }
    return failed ? sable_fail(error, SABLE_ENVIRONMENT, "ssm/mamba: out of memory for a row") : SABLE_OK;
}

/* What `lost_carry` leaves of the states of `rows` rows. */
static void lose(struct mamba_state *s, int64_t first_row, int64_t rows)
{
    for (int64_t i = first_row * s->params.states; i < (first_row + rows) * s->params.states; i++)
        s->state[i] = 1;
    for (int64_t i = 2 * first_row * s->params.states; i < 2 * (first_row + rows) * s->params.states; i++)
        if (s->part.over_time)
            s->carry[i] = 1;
}

static int reference(struct mamba_state *s, struct sable_context *context, struct sable_error *error)
{
    const int64_t rows = s->model.sequences * s->model.channels, length = s->part.steps;
    const int64_t count = 2 * rows * s->params.states, half = length / 2;
    const bool lost = context->fault == FAULT_LOST_CARRY;
    if (s->part.over_time && mamba_from_before(context, s->carry, count, MPI_DOUBLE, error))
        return error->code;
    if (by_formula(s, 0, lost ? half : length, error))
        return error->code;
    if (lost) {
        lose(s, 0, rows);
        if (by_formula(s, half, length, error))
            return error->code;
    }
    if (!s->part.over_time)
        return SABLE_OK;
    if (context->layout.rank + 1 < context->layout.ranks)
        sable_count_sent(context, (size_t)count * sizeof(double));
    return mamba_to_behind(context, s->carry, count, MPI_DOUBLE, error);
}

/* All steps of this rank for groups of channels [first, last). */
static void scan_piece(struct mamba_state *s, const struct sable_context *context, int64_t first, int64_t last)
{
    const int64_t length = s->part.steps, half = length / 2;
    const bool lost = context->fault == FAULT_LOST_CARRY;
    const int64_t row = sable_mamba_first_row(&s->model, first), end = sable_mamba_first_row(&s->model, last);
    sable_mamba_scan_groups(&s->model, first, last, 0, lost ? half : length, s->state, s->y, s->scratch);
    if (lost) {
        lose(s, row, end - row);
        sable_mamba_scan_groups(&s->model, first, last, half, length, s->state, s->y, s->scratch);
    }
}

/* Ranks share time: a wavefront. Of each piece of the channels the states come from the rank before, go through this
 * rank's steps, and on, while other pieces are on their way: the bits of one rank, and no second scan. */
static int wavefront(struct mamba_state *s, struct sable_context *context, struct sable_error *error)
{
    const struct sable_mamba *m = &s->model;
    const int rank = context->layout.rank, ranks = context->layout.ranks;
    const int64_t groups = sable_mamba_groups(m), pieces = mamba_pieces(groups, context->layout.threads);
    MPI_Request *requests = malloc((size_t)(2 * pieces) * sizeof(MPI_Request)), *sends = requests + pieces;
    if (!requests)
        return sable_fail(error, SABLE_ENVIRONMENT, "ssm/mamba: out of memory for %lld messages", (long long)pieces);
    for (int64_t i = 0; i < 2 * pieces; i++)
        requests[i] = MPI_REQUEST_NULL;
    for (int64_t i = 0; i < pieces && rank > 0 && !error->code; i++) {
        const int64_t row = sable_mamba_first_row(m, ssm_first(groups, pieces, i));
        const int64_t rows = sable_mamba_first_row(m, ssm_first(groups, pieces, i + 1)) - row;
        sable_check_mpi(MPI_Irecv(s->state + row * m->states, (int)(rows * m->states), MPI_FLOAT, rank - 1, (int)i,
                                  context->comm, &requests[i]),
                        "MPI_Irecv", error);
    }
    for (int64_t i = 0; i < pieces && !error->code; i++) {
        const int64_t first = ssm_first(groups, pieces, i), last = ssm_first(groups, pieces, i + 1);
        const int64_t row = sable_mamba_first_row(m, first), rows = sable_mamba_first_row(m, last) - row;
        sable_phase(context, MAMBA_PHASE_WAIT);
        if (sable_check_mpi(MPI_Wait(&requests[i], MPI_STATUS_IGNORE), "MPI_Wait", error))
            break;
        sable_phase(context, MAMBA_PHASE_SCAN);
        scan_piece(s, context, first, last);
        if (rank + 1 == ranks)
            continue;
        sable_count_sent(context, (size_t)(rows * m->states) * sizeof(float));
        sable_check_mpi(MPI_Isend(s->state + row * m->states, (int)(rows * m->states), MPI_FLOAT, rank + 1, (int)i,
                                  context->comm, &sends[i]),
                        "MPI_Isend", error);
    }
    if (!error->code) {
        sable_phase(context, MAMBA_PHASE_WAIT);
        sable_check_mpi(MPI_Waitall((int)pieces, sends, MPI_STATUSES_IGNORE), "MPI_Waitall", error);
    }
    free(requests);
    return error->code;
}

/* Spoils the first row of a rank that has one: it is always among those verified. */
static void spoil(struct mamba_state *s, int fault)
{
    const int64_t length = s->part.steps;
    float *y = s->y;
    uint32_t bits;
    if (s->part.cut.rows == 0 || length == 0)
        return;
    if (fault == FAULT_SHIFT)
        memmove(y + 1, y, (size_t)(length - 1) * sizeof *y), y[0] = y[0] + 1;
    if (fault == FAULT_SKIP_BLOCK)
        for (int64_t t = length - length / 4 - 1; t < length; t++)
            y[t] = 0;
    if (fault == FAULT_NAN)
        y[length / 2] = NAN;
    if (fault == FAULT_FLIP_BIT) {
        memcpy(&bits, &y[length / 2], sizeof bits);
        bits ^= 1U << 30;
        memcpy(&y[length / 2], &bits, sizeof bits);
    }
}

int mamba_run(void *state, struct sable_context *context, struct sable_error *error)
{
    struct mamba_state *s = state;
    if (s->reference)
        reference(s, context, error);
    else if (s->part.cut.rows > 0) {
        sable_mamba_prepare(&s->model, 0, s->part.steps, s->scratch);
        if (s->part.over_time)
            wavefront(s, context, error);
        else
            scan_piece(s, context, 0, sable_mamba_groups(&s->model));
    }
    if (!error->code)
        spoil(s, context->fault);
    return error->code;
}
