/* ssm/scan over time: every chunk is scanned from 0 for its end, ends go through two all-to-alls to seeds, every chunk
 * is scanned from its seed. Between the all-to-alls each rank chains all chunks for its slice of the states, in float64
 * and in the order of time: the bits of one serial chain.
 *
 * The exchange is not overlapped with the scans. Groups of states, of which one is scanned while the carries of another
 * are on their way, would do that; but a group's rows are short pieces of memory far apart, and scanning them costs
 * more than the exchange takes (docs/ssm.md). */
#include <stdlib.h>
#include <string.h>

#include "sable_array.h"
#include "ssm_scan.h"

struct scan_exchange {
    int64_t first, width; /* this rank's slice of the states */
    int64_t all;          /* chunks of all ranks */
    /* In floats: counts to and from each rank, and where they begin. */
    int *to, *to_at, *from, *from_at;
    float *packed, *slice, *factors; /* [chunks, 2, slice] by rank; [all chunks, 2, slice]; a of the slice */
    double *carry;
};

static int64_t share(int64_t items, int ranks, int rank)
{
    return ssm_first(items, ranks, rank + 1) - ssm_first(items, ranks, rank);
}

double scan_bytes_sent(const struct scan_params *p, struct sable_layout layout)
{
    const int64_t states = p->channels * p->states, all = p->length / p->chunk + (p->length % p->chunk > 0);
    const double width = (double)share(states, layout.ranks, layout.rank);
    const double chunks = (double)share(all, layout.ranks, layout.rank);
    /* Ends of its chunks for the slices of others, and seeds of its slice for the chunks of others. */
    return 8 * (chunks * ((double)states - width) + ((double)all - chunks) * width);
}

/* ---- The exchange ---- */

struct scan_exchange *scan_exchange_plan(const struct scan_state *s, struct sable_layout layout)
{
    const int ranks = layout.ranks;
    const int64_t length = s->params.length, chunk = s->params.chunk;
    struct scan_exchange *e = calloc(1, sizeof *e);
    if (!e)
        return NULL;
    e->all = length / chunk + (length % chunk > 0);
    e->first = ssm_first(s->row, ranks, layout.rank);
    e->width = share(s->row, ranks, layout.rank);
    e->to = calloc((size_t)ranks * 4, sizeof *e->to);
    e->packed = sable_array(2 * s->part.chunks, s->row, sizeof(float));
    e->slice = sable_array(2 * e->all, e->width, sizeof(float));
    e->factors = sable_array(2, e->width, sizeof(float));
    e->carry = sable_array(2, e->width, sizeof(double));
    if (!e->to || !e->packed || !e->slice || !e->factors || !e->carry) {
        scan_exchange_free(e);
        return NULL;
    }
    e->to_at = e->to + ranks, e->from = e->to_at + ranks, e->from_at = e->from + ranks;
    for (int r = 0; r < ranks; r++) {
        e->to[r] = (int)(2 * s->part.chunks * share(s->row, ranks, r));
        e->to_at[r] = (int)(2 * s->part.chunks * ssm_first(s->row, ranks, r));
        e->from[r] = (int)(2 * share(e->all, ranks, r) * e->width);
        e->from_at[r] = (int)(2 * ssm_first(e->all, ranks, r) * e->width);
    }
    return e;
}

void scan_exchange_free(struct scan_exchange *e)
{
    if (!e)
        return;
    free(e->to);
    sable_array_free(e->packed);
    sable_array_free(e->slice);
    sable_array_free(e->factors);
    sable_array_free(e->carry);
    free(e);
}

/* Between `ends` [chunks, 2, M] and the slices of all ranks one after another, each [chunks, 2, slice]. */
static void pack(const struct scan_state *s, int ranks, bool back)
{
    const struct scan_exchange *e = s->exchange;
    for (int r = 0; r < ranks; r++) {
        const int64_t first = ssm_first(s->row, ranks, r), width = share(s->row, ranks, r);
        for (int64_t i = 0; i < 2 * s->part.chunks; i++) {
            float *packed = e->packed + e->to_at[r] + i * width, *own = s->ends + i * s->row + first;
            memcpy(back ? own : packed, back ? packed : own, (size_t)width * sizeof(float));
        }
    }
}

/* Ends to the ranks of their slices, or seeds back. */
static int all_to_all(const struct scan_exchange *e, bool back, struct sable_context *context,
                      struct sable_error *error)
{
    const int *out = back ? e->from : e->to, *out_at = back ? e->from_at : e->to_at;
    const int *in = back ? e->to : e->from, *in_at = back ? e->to_at : e->from_at;
    for (int r = 0; r < context->layout.ranks; r++)
        if (r != context->layout.rank)
            sable_count_sent(context, (size_t)out[r] * sizeof(float));
    sable_phase(context, SCAN_PHASE_WAIT);
    sable_check_mpi(MPI_Alltoallv(back ? e->slice : e->packed, out, out_at, MPI_FLOAT, back ? e->packed : e->slice, in,
                                  in_at, MPI_FLOAT, context->comm),
                    "MPI_Alltoallv", error);
    sable_phase(context, SCAN_PHASE_CARRY);
    return error->code;
}

/* `ends` holds what each chunk ends with from 0; it is replaced by the seeds. */
static int exchange(struct scan_state *s, struct sable_context *context, struct sable_error *error)
{
    struct scan_exchange *e = s->exchange;
    pack(s, context->layout.ranks, false);
    if (all_to_all(e, false, context, error))
        return error->code;
    for (int part = 0; part < 2; part++)
        for (int64_t m = 0; m < e->width; m++) {
            e->factors[part * e->width + m] = s->a[part * s->row + e->first + m];
            e->carry[part * e->width + m] = (double)s->x0[part * s->row + e->first + m];
        }
    sable_scan_carry(e->width, e->all, s->params.chunk, e->factors, e->slice, e->carry);
    if (all_to_all(e, true, context, error))
        return error->code;
    pack(s, context->layout.ranks, true);
    return SABLE_OK;
}

/* ---- A run ---- */

int scan_over_time(struct scan_state *s, bool forget, struct sable_context *context, struct sable_error *error)
{
    const int64_t row = 2 * s->row, steps = s->part.steps, chunks = s->part.chunks, chunk = s->params.chunk;
    const bool stream = scan_streams(s);
    if (context->layout.ranks == 1 && !forget) {
        for (int64_t i = 0; i < row; i++)
            s->carry[i] = (double)s->x0[i];
        sable_scan_through(s->row, steps, chunk, s->a, s->b, s->carry, s->ends, s->x, stream);
        memcpy(s->state, s->ends + row * (chunks - 1), (size_t)row * sizeof *s->state);
        return SABLE_OK;
    }
    sable_scan_ends(s->row, steps, chunk, s->a, s->b, s->ends);
    sable_phase(context, SCAN_PHASE_CARRY);
    if (exchange(s, context, error))
        return error->code;
    if (forget && chunks > 0)
        memset(s->ends + row, 0, (size_t)(row * (chunks - 1)) * sizeof *s->ends);
    sable_phase(context, SCAN_PHASE_RESCAN);
    sable_scan_chunks(s->row, steps, chunk, s->a, s->b, s->ends, s->x, stream);
    if (chunks > 0)
        memcpy(s->state, s->ends + row * (chunks - 1), (size_t)row * sizeof *s->state);
    return SABLE_OK;
}
