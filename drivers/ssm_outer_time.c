/* Scans of outer products whose time is shared by ranks. States go from rank to rank, a piece of the rows at a time, in
 * the order of one rank: S ← decay·S + add in single precision, chunk by chunk, so all layouts have its bits. (An
 * all-to-all of what chunks add, as ssm/scan has it, would move a matrix for every chunk instead of one for every
 * rank.)
 *
 * A piece whose state has come is computed at once, with its state in a cache. A rank that still waits for the first
 * one takes the last pieces meanwhile, as far as they need no state (outputs from their own chunk, what each chunk
 * adds): of these only the chain S ← decay·S + add is left when their state comes, and the rest of the outputs, for
 * which nobody waits. Two parts cost more than one, so that is for what would else be idle. */
#include <math.h>
#include <stdlib.h>

#include "ssm_outer.h"

/* ---- Pieces ---- */

enum { UNIT = 8 /* heads that a thread takes at once at most */, MOST = 1024 };

/* Ranks wait less for pieces of few heads; those of many cost less a head, as heads share what lies in caches. */
static int64_t heads_of_piece(const struct outer_params *p, struct sable_layout layout)
{
    int64_t best = 1;
    double least = INFINITY;
    const double waits = layout.ranks > 1 ? 0.75 + 0.02 * layout.ranks : 0; /* pieces */
    const double shared = p->form == SABLE_OUTER_CHUNKED ? 0.4 : 0; /* of a head's time, once for all of a unit */
    for (int64_t unit = 1; unit <= UNIT; unit *= 2) {
        const int64_t heads = unit * layout.threads < p->heads ? unit * layout.threads : p->heads;
        const double pieces = (double)p->batch * ceil((double)p->heads / (double)heads);
        const double work = 1 + shared / (double)unit, ends = 1 + waits / pieces;
        if (work * ends < least)
            least = work * ends, best = heads;
    }
    return best;
}

struct outer_pieces outer_pieces(const struct outer_params *p, struct sable_layout layout)
{
    int64_t heads = heads_of_piece(p, layout), of_sequence = (p->heads + heads - 1) / heads;
    if (of_sequence > MOST / p->batch) { /* fewer pieces, and as many units in each */
        of_sequence = MOST / p->batch > 1 ? MOST / p->batch : 1;
        heads = (p->heads + of_sequence - 1) / of_sequence;
        of_sequence = (p->heads + heads - 1) / heads;
    }
    struct outer_pieces pieces = {.sequences = (p->batch + MOST - 1) / MOST, .heads = heads};
    pieces.count = (p->batch + pieces.sequences - 1) / pieces.sequences * of_sequence;
    return pieces;
}

static struct sable_outer_block block_of(const struct sable_outer *m, const struct outer_pieces *pieces, int64_t i)
{
    const int64_t of_sequence = (m->heads + pieces->heads - 1) / pieces->heads;
    struct sable_outer_block b = {.sequence = i / of_sequence * pieces->sequences,
                                  .head = i % of_sequence * pieces->heads};
    b.sequences = m->sequences - b.sequence < pieces->sequences ? m->sequences - b.sequence : pieces->sequences;
    b.heads = m->heads - b.head < pieces->heads ? m->heads - b.head : pieces->heads;
    return b;
}

/* ---- A run ---- */

struct wave {
    struct outer_state *outer;
    struct sable_context *context;
    struct outer_pieces pieces;
    MPI_Request *receive, *send; /* [pieces] */
    /* Pieces [0, next) have been passed on; those from `ahead` on have their first part, and before `finished` all. */
    int64_t next, ahead, finished;
    bool failed;
};

/* The states of a piece: one run of memory. */
static float *states_of(const struct wave *w, int64_t i, int *floats)
{
    const struct sable_outer *m = &w->outer->scan;
    const struct sable_outer_block b = block_of(m, &w->pieces, i);
    const int64_t size = m->keys * m->values;
    *floats = (int)(((b.sequences - 1) * m->heads + b.heads) * size);
    return w->outer->state + (b.sequence * m->heads + b.head) * size;
}

static int begin(struct wave *w, struct sable_error *error)
{
    const int rank = w->context->layout.rank;
    for (int64_t i = 0; i < w->pieces.count; i++)
        w->receive[i] = w->send[i] = MPI_REQUEST_NULL;
    for (int64_t i = 0; i < w->pieces.count && rank > 0 && !error->code; i++) {
        int floats;
        float *states = states_of(w, i, &floats);
        sable_check_mpi(MPI_Irecv(states, floats, MPI_FLOAT, rank - 1, (int)i, w->context->comm, &w->receive[i]),
                        "MPI_Irecv", error);
    }
    return error->code;
}

static int pass_on(struct wave *w, int64_t i, struct sable_error *error)
{
    const struct sable_layout layout = w->context->layout;
    int floats;
    float *states = states_of(w, i, &floats);
    if (layout.rank + 1 == layout.ranks)
        return SABLE_OK;
    sable_phase(w->context, OUTER_COMMUNICATE);
    sable_count_sent(w->context, (size_t)floats * sizeof *states);
    return sable_check_mpi(MPI_Isend(states, floats, MPI_FLOAT, layout.rank + 1, (int)i, w->context->comm, &w->send[i]),
                           "MPI_Isend", error);
}

/* The next piece, whose state is there. */
static int advance(struct wave *w, struct sable_error *error)
{
    struct outer_state *s = w->outer;
    const struct sable_outer_block b = block_of(&s->scan, &w->pieces, w->next);
    sable_phase(w->context, OUTER_COMPUTE);
    if (w->next < w->ahead)
        w->failed |=
            !sable_outer_scan_block(&s->scan, s->room, &b, (enum sable_outer_form)s->params.form, s->state, s->o);
    else
        sable_outer_chain(&s->scan, s->room, &b, s->add, s->state);
    if (w->next < w->ahead)
        w->finished = w->next + 1;
    return pass_on(w, w->next++, error);
}

/* What needs no state: before the first has come the first part of the last piece that has none of it, later the last
 * part of a piece that was passed on. False, if there is nothing of the kind. */
static bool work_ahead(struct wave *w)
{
    struct outer_state *s = w->outer;
    const bool first = s->params.form == SABLE_OUTER_CHUNKED && w->next == 0 && w->ahead > 0;
    if (!first && w->finished == w->next)
        return false;
    sable_phase(w->context, OUTER_COMPUTE);
    const struct sable_outer_block b = block_of(&s->scan, &w->pieces, first ? --w->ahead : w->finished++);
    if (first)
        w->failed |= !sable_outer_local(&s->scan, s->room, &b, s->add, s->o);
    else
        w->failed |= !sable_outer_carried(&s->scan, s->room, &b, s->add, s->o);
    return true;
}

static int each_piece(struct wave *w, struct sable_error *error)
{
    while (w->next < w->pieces.count && !error->code) {
        int there = 0;
        sable_phase(w->context, OUTER_COMMUNICATE);
        if (sable_check_mpi(MPI_Test(&w->receive[w->next], &there, MPI_STATUS_IGNORE), "MPI_Test", error))
            break;
        if (!there && work_ahead(w))
            continue;
        sable_phase(w->context, OUTER_WAIT);
        if (!there && sable_check_mpi(MPI_Wait(&w->receive[w->next], MPI_STATUS_IGNORE), "MPI_Wait", error))
            break;
        advance(w, error);
    }
    while (!error->code && work_ahead(w))
        continue;
    return error->code;
}

int outer_over_time(struct outer_state *s, struct sable_context *context, struct sable_error *error)
{
    struct wave w = {.outer = s, .context = context, .pieces = outer_pieces(&s->params, context->layout)};
    w.ahead = w.pieces.count;
    w.receive = malloc((size_t)(2 * w.pieces.count) * sizeof *w.receive);
    w.send = w.receive + w.pieces.count;
    if (!w.receive)
        return sable_fail(error, SABLE_ENVIRONMENT, "ssm: out of memory for %lld messages", (long long)w.pieces.count);
    if (begin(&w, error) == SABLE_OK) {
        sable_phase(context, OUTER_COMPUTE);
        w.failed = s->params.form == SABLE_OUTER_CHUNKED && !sable_outer_share(&s->scan, s->room);
        each_piece(&w, error);
    }
    if (!error->code) {
        sable_phase(context, OUTER_WAIT);
        sable_check_mpi(MPI_Waitall((int)w.pieces.count, w.send, MPI_STATUSES_IGNORE), "MPI_Waitall", error);
    }
    free(w.receive);
    return w.failed && !error->code ? sable_fail(error, SABLE_ENVIRONMENT, "ssm: out of memory for a chunk")
                                    : error->code;
}

/* ---- In float64, row by row ---- */

int64_t outer_rows_at_once(const struct outer_state *s, struct sable_context *context, int64_t every)
{
    return s->part.over_time ? every * context->layout.threads : s->scan.sequences * s->scan.heads;
}

int outer_receive(const struct outer_state *s, struct sable_context *context, int64_t first, int64_t last,
                  int64_t every, double *data, int64_t numbers, struct sable_error *error)
{
    if (!s->part.over_time || context->layout.rank == 0)
        return SABLE_OK;
    for (int64_t row = first; row < last && !error->code; row += every)
        sable_check_mpi(MPI_Recv(data + row * numbers, (int)numbers, MPI_DOUBLE, context->layout.rank - 1, 0,
                                 context->comm, MPI_STATUS_IGNORE),
                        "MPI_Recv", error);
    return error->code;
}

int outer_send(const struct outer_state *s, struct sable_context *context, int64_t first, int64_t last, int64_t every,
               const double *data, int64_t numbers, struct sable_error *error)
{
    if (!s->part.over_time || context->layout.rank + 1 == context->layout.ranks)
        return SABLE_OK;
    for (int64_t row = first; row < last && !error->code; row += every) {
        sable_count_sent(context, (size_t)numbers * sizeof *data);
        sable_check_mpi(
            MPI_Send(data + row * numbers, (int)numbers, MPI_DOUBLE, context->layout.rank + 1, 0, context->comm),
            "MPI_Send", error);
    }
    return error->code;
}
