/* The result of attention/varlen as rows of all heads, where ranks computed whole sequences: an all-to-all after the
 * run, untimed. */
#include "attention_varlen.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "sable_array.h"

struct exchange {
    int *sent, *sent_at, *got, *got_at; /* [ranks], in rows */
    int *owner;                         /* [sequences] */
    float *parcel[2];
};

/* Rows of the sequence in share `rank` of all rows. */
static int64_t common(const struct varlen_rank *a, int64_t sequence, int rank, int ranks)
{
    const struct sable_attention_rows share = attention_cut(a->batch.queries, 1, rank, ranks);
    const struct sable_attention_sequence *s = &a->batch.sequence[sequence];
    const int64_t first = s->query > share.first ? s->query : share.first;
    const int64_t end = s->query + s->queries, stop = share.first + share.count;
    return (end < stop ? end : stop) > first ? (end < stop ? end : stop) - first : 0;
}

static void fill_counts(const struct varlen_rank *a, const struct sable_layout *layout, struct exchange *e)
{
    int sent = 0, got = 0;
    for (int r = 0; r < layout->ranks; r++)
        e->sent[r] = e->got[r] = 0;
    for (int64_t i = 0; i < a->batch.sequences; i++) {
        e->got[e->owner[i]] += (int)common(a, i, layout->rank, layout->ranks);
        for (int r = 0; r < layout->ranks && e->owner[i] == layout->rank; r++)
            e->sent[r] += (int)common(a, i, r, layout->ranks);
    }
    for (int r = 0; r < layout->ranks; r++) {
        e->sent_at[r] = sent, e->got_at[r] = got;
        sent += e->sent[r], got += e->got[r];
    }
}

/* Rows of all heads from the rank's [heads][rows][width], in ascending order: that is the order of the shares, too. */
static void pack(const struct varlen_rank *a, int64_t width, const float *from, float *parcel)
{
    for (int64_t r = 0; r < a->part.queries; r++)
        for (int64_t h = 0; h < a->part.heads; h++, parcel += width)
            memcpy(parcel, from + (h * a->part.queries + r) * width, (size_t)width * sizeof *parcel);
}

/* Each rank's rows arrive in ascending order. `got_at` is used up. */
static void unpack(const struct varlen_rank *a, const struct sable_layout *layout, int64_t width, struct exchange *e,
                   float *to)
{
    const int64_t row = a->shape.heads * width;
    for (int64_t i = 0; i < a->batch.sequences; i++) {
        const int64_t rows = common(a, i, layout->rank, layout->ranks);
        memcpy(to, e->parcel[1] + e->got_at[e->owner[i]] * row, (size_t)(rows * row) * sizeof *to);
        to += rows * row;
        e->got_at[e->owner[i]] += (int)rows;
    }
}

static int move(const struct varlen_rank *a, struct sable_context *context, int64_t width, const float *from, float *to,
                struct exchange *e, struct sable_error *error)
{
    MPI_Datatype row = MPI_DATATYPE_NULL;
    fill_counts(a, &context->layout, e);
    pack(a, width, from, e->parcel[0]);
    if (!sable_check_mpi(MPI_Type_contiguous((int)(a->shape.heads * width), MPI_FLOAT, &row), "MPI_Type_contiguous",
                         error) &&
        !sable_check_mpi(MPI_Type_commit(&row), "MPI_Type_commit", error) &&
        !sable_check_mpi(
            MPI_Alltoallv(e->parcel[0], e->sent, e->sent_at, row, e->parcel[1], e->got, e->got_at, row, context->comm),
            "MPI_Alltoallv", error))
        unpack(a, &context->layout, width, e, to);
    if (row != MPI_DATATYPE_NULL)
        MPI_Type_free(&row);
    return error->code;
}

int varlen_gather_rows(const struct varlen_rank *a, struct sable_context *context, float **out, float **lse,
                       struct sable_error *error)
{
    const int ranks = context->layout.ranks;
    const int64_t width = a->shape.heads * a->shape.dim_v;
    const int64_t rows = attention_cut(a->batch.queries, 1, context->layout.rank, ranks).count;
    int *room = sable_array(4 * (int64_t)ranks + a->batch.sequences, 1, sizeof *room);
    struct exchange e = {room,
                         room + ranks,
                         room + 2 * ranks,
                         room + 3 * ranks,
                         room + 4 * ranks,
                         {sable_array(a->part.queries, width, sizeof(float)), sable_array(rows, width, sizeof(float))}};
    *out = sable_array(rows, width, sizeof **out), *lse = sable_array(rows, a->shape.heads, sizeof **lse);
    if (!room || !e.parcel[0] || !e.parcel[1] || !*out || !*lse || !varlen_share(&a->shape, &a->batch, ranks, e.owner))
        sable_fail(error, SABLE_ENVIRONMENT, "attention/varlen: out of memory for the outputs");
    else if (a->batch.queries > INT_MAX || width > INT_MAX)
        sable_fail(error, SABLE_BAD_INPUT, "attention/varlen: %lld packed rows are more than MPI counts: use heads",
                   (long long)a->batch.queries);
    if (!sable_agree(context->comm, error) && !move(a, context, a->shape.dim_v, a->out, *out, &e, error))
        move(a, context, 1, a->lse, *lse, &e, error);
    sable_array_free(room);
    sable_array_free(e.parcel[0]);
    sable_array_free(e.parcel[1]);
    return error->code;
}
