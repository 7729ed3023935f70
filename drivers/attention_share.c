#include "attention_share.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "sable_array.h"

static struct sable_attention_rows overlap(struct sable_attention_rows a, struct sable_attention_rows b)
{
    int64_t first = a.first > b.first ? a.first : b.first;
    int64_t end_a = a.first + a.count, end_b = b.first + b.count, end = end_a < end_b ? end_a : end_b;
    return (struct sable_attention_rows){first, end > first ? end - first : 0};
}

static struct sable_attention_rows heads_of(const struct sable_attention_part *part)
{
    return (struct sable_attention_rows){part->head, part->heads};
}

int64_t attention_common(const struct sable_attention_part *from, const struct sable_attention_part *to)
{
    int64_t rows = 0;
    for (int i = 0; i < 2; i++)
        for (int j = 0; j < 2; j++)
            rows += overlap(from->rows[i], to->rows[j]).count;
    return rows * overlap(heads_of(from), heads_of(to)).count;
}

/* Copies what `from` and `to` share between the parcel and the array of `mine` (one of the two), in an order that both
 * sides know. */
static void copy_common(const struct sable_attention_part *from, const struct sable_attention_part *to, int64_t width,
                        const struct sable_attention_part *mine, float *array, float *parcel, bool pack)
{
    struct sable_attention_rows heads = overlap(heads_of(from), heads_of(to));
    int64_t all = attention_rows_count(mine);
    for (int64_t h = heads.first; h < heads.first + heads.count; h++)
        for (int i = 0; i < 2; i++)
            for (int j = 0; j < 2; j++) {
                struct sable_attention_rows rows = overlap(from->rows[i], to->rows[j]);
                int segment = mine == from ? i : j;
                int64_t local = rows.first - mine->rows[segment].first + (segment ? mine->rows[0].count : 0);
                if (rows.count == 0)
                    continue;
                float *place = array + ((h - mine->head) * all + local) * width;
                size_t bytes = (size_t)(rows.count * width) * sizeof *place;
                memcpy(pack ? parcel : place, pack ? place : parcel, bytes);
                parcel += rows.count * width;
            }
}

struct counts {
    int *sent, *sent_at, *got, *got_at;
};

static int fill_counts(const struct sable_layout *layout, const struct sable_attention_part *from,
                       const struct sable_attention_part *to, struct counts *c, struct sable_error *error)
{
    int64_t sent = 0, got = 0;
    for (int r = 0; r < layout->ranks; r++) {
        int64_t out = attention_common(&from[layout->rank], &to[r]), in = attention_common(&from[r], &to[layout->rank]);
        if (sent + out > INT_MAX || got + in > INT_MAX)
            return sable_fail(error, SABLE_BAD_INPUT,
                              "attention: a rank exchanges more rows than MPI counts: more ranks");
        c->sent[r] = (int)out, c->sent_at[r] = (int)sent;
        c->got[r] = (int)in, c->got_at[r] = (int)got;
        sent += out, got += in;
    }
    return SABLE_OK;
}

int attention_move(struct sable_context *context, int64_t width, const struct sable_attention_part *from,
                   const struct sable_attention_part *to, const float *source, float *target, float *const parcel[2],
                   struct sable_error *error)
{
    const struct sable_layout *layout = &context->layout;
    int ranks = layout->ranks, me = layout->rank;
    int *room = malloc(4 * (size_t)ranks * sizeof *room);
    struct counts c = {room, room + ranks, room + 2 * ranks, room + 3 * ranks};
    if (!room)
        sable_fail(error, SABLE_ENVIRONMENT, "attention: out of memory for an exchange");
    else
        fill_counts(layout, from, to, &c, error);
    MPI_Datatype row = MPI_DATATYPE_NULL;
    if (sable_agree(context->comm, error) ||
        sable_check_mpi(MPI_Type_contiguous((int)width, MPI_FLOAT, &row), "MPI_Type_contiguous", error) ||
        sable_check_mpi(MPI_Type_commit(&row), "MPI_Type_commit", error))
        goto done;
    for (int r = 0; r < ranks; r++) {
        copy_common(&from[me], &to[r], width, &from[me], (float *)source, parcel[0] + c.sent_at[r] * width, true);
        if (r != me)
            sable_count_sent(context, (size_t)c.sent[r] * (size_t)width * sizeof(float));
    }
    if (sable_check_mpi(
            MPI_Alltoallv(parcel[0], c.sent, c.sent_at, row, parcel[1], c.got, c.got_at, row, context->comm),
            "MPI_Alltoallv", error))
        goto done;
    for (int r = 0; r < ranks; r++)
        copy_common(&from[r], &to[me], width, &to[me], target, parcel[1] + c.got_at[r] * width, false);
done:
    if (row != MPI_DATATYPE_NULL)
        MPI_Type_free(&row);
    free(room);
    return error->code;
}

int attention_gather_result(const struct attention_rank *a, struct sable_context *context, float **out, float **lse,
                            struct sable_error *error)
{
    int ranks = context->layout.ranks, me = context->layout.rank;
    const struct sable_attention_shape *s = &a->shape;
    struct sable_attention_part *parts = malloc(2 * (size_t)ranks * sizeof *parts),
                                *shards = parts ? parts + ranks : NULL;
    for (int r = 0; r < ranks && parts; r++) {
        shards[r] = attention_shard_of(s, r, ranks);
        parts[r] = a->strategy == STRATEGY_ULYSSES ? shards[r] : attention_part_of(s, a->strategy, r, ranks);
    }
    int64_t mine = parts ? parts[me].heads * attention_rows_count(&parts[me]) : 0;
    int64_t wanted = parts ? shards[me].heads * attention_rows_count(&shards[me]) : 0;
    float *held_out, *held_lse,
        *parcel[2] = {sable_array(mine, s->dim_v, sizeof(float)), sable_array(wanted, s->dim_v, sizeof(float))};
    *out = sable_array(wanted, s->dim_v, sizeof **out), *lse = sable_array(wanted, 1, sizeof **lse);
    attention_result(a, &held_out, &held_lse);
    if (!parts || !parcel[0] || !parcel[1] || !*out || !*lse)
        sable_fail(error, SABLE_ENVIRONMENT, "attention: out of memory for the outputs");
    if (!sable_agree(context->comm, error) &&
        !attention_move(context, s->dim_v, parts, shards, held_out, *out, parcel, error))
        attention_move(context, 1, parts, shards, held_lse, *lse, parcel, error);
    sable_array_free(parcel[0]);
    sable_array_free(parcel[1]);
    free(parts);
    return error->code;
}
