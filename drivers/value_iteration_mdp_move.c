/* Rows of a file, read by ranges, go to the ranks that own their states by a partition.
 *
 * A state travels as its rows, action by action: length, reward, then columns and probabilities. All are words of 64
 * bits, numbers and doubles alike, so that there is one message between two ranks. States of a rank arrive ascending,
 * as the ranges of their former ranks ascend. */
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "sable_array.h"
#include "value_iteration_mdp_input.h"

static int64_t word_of(double x)
{
    int64_t word;
    memcpy(&word, &x, sizeof word);
    return word;
}

static double real_of(int64_t word)
{
    double x;
    memcpy(&x, &word, sizeof x);
    return x;
}

static int64_t *pack_state(const struct mdp_file *file, int64_t place, int64_t *to)
{
    for (int64_t row = place * file->actions; row < (place + 1) * file->actions; row++) {
        *to++ = file->start[row + 1] - file->start[row];
        *to++ = word_of(file->reward[row]);
        for (int64_t k = file->start[row]; k < file->start[row + 1]; k++) {
            *to++ = file->column[k];
            *to++ = word_of(file->probability[k]);
        }
    }
    return to;
}

/* All states of this rank's range in the order of their new ranks; give[r] words for each. */
static int pack(const struct mdp_file *file, const struct mdp_partition *p, int64_t **words, int *give,
                struct sable_error *error)
{
    const int64_t rows = file->part.count * file->actions;
    *words = malloc((2 * (size_t)(rows + file->start[rows]) + 1) * sizeof **words);
    if (!*words)
        return sable_fail(error, SABLE_ENVIRONMENT, "out of memory to move %lld rows", (long long)rows);
    int64_t *to = *words, next = 0;
    for (int r = 0; r < p->ranks; r++) {
        const int64_t *from = to;
        for (int i = 0; i < p->left[r]; i++)
            to = pack_state(file, p->order[next++], to);
        if (to - from > INT_MAX)
            return sable_fail(error, SABLE_BAD_INPUT,
                              "rows of more words than MPI counts go to rank %d: use more ranks", r);
        give[r] = (int)(to - from);
    }
    return SABLE_OK;
}

/* Takes the place of the rows that were read; frees them. */
static int unpack(const int64_t *words, int64_t count, const struct mdp_partition *p, struct mdp_file *file,
                  struct sable_error *error)
{
    const int64_t states = mdp_partition_own(p).count, rows = states * file->actions, entries = count / 2 - rows;
    struct mdp_file moved = *file;
    moved.part = (struct mdp_part){-1, states};
    moved.owned = p->original;
    moved.start = sable_array(rows + 1, 1, sizeof *moved.start);
    moved.reward = sable_array(rows, 1, sizeof *moved.reward);
    moved.column = sable_array(entries, 1, sizeof *moved.column);
    moved.probability = sable_array(entries, 1, sizeof *moved.probability);
    if (!moved.start || !moved.reward || !moved.column || !moved.probability) {
        mdp_file_free(&moved);
        return sable_fail(error, SABLE_ENVIRONMENT, "out of memory for %lld rows", (long long)rows);
    }
    int64_t at = 0;
    for (int64_t row = 0; row < rows; row++) {
        const int64_t length = *words++;
        moved.start[row] = at;
        moved.reward[row] = real_of(*words++);
        for (int64_t j = 0; j < length; j++, at++) {
            moved.column[at] = *words++;
            moved.probability[at] = real_of(*words++);
        }
    }
    moved.start[rows] = at;
    mdp_file_free(file);
    *file = moved;
    return SABLE_OK;
}

int mdp_file_move(void *stored, const struct mdp_partition *p, MPI_Comm comm, struct sable_error *error)
{
    struct mdp_file *file = stored;
    int64_t *words = NULL, *came = NULL, count = 0;
    int *give = calloc(2 * (size_t)p->ranks, sizeof *give), *take = give ? give + p->ranks : NULL;
    if (!give)
        sable_fail(error, SABLE_ENVIRONMENT, "out of memory to move rows");
    else
        pack(file, p, &words, give, error);
    if (!sable_agree(comm, error) && !mdp_exchange(comm, p->ranks, words, give, &came, take, error)) {
        for (int r = 0; r < p->ranks; r++)
            count += take[r];
        unpack(came, count, p, file, error);
    }
    free(words);
    free(came);
    free(give);
    sable_agree(comm, error);
    return error->code;
}
