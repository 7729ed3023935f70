#include "rollouts_table.h"

#include <string.h>

#include "sable_array.h"

int rollouts_table_make(struct rollouts_table *table, int64_t states, int parts, struct sable_layout layout,
                        struct sable_error *error)
{
    const int64_t each = (states - 1) / layout.ranks + 1, first = each * layout.rank;
    *table = (struct rollouts_table){.states = states, .parts = parts, .ranks = layout.ranks, .each = each};
    table->first = first < states ? first : states;
    table->count = states - table->first < each ? states - table->first : each;
    const int64_t most = INT32_MAX / ((int64_t)parts * SABLE_EXACT_WORDS);
    if (each > most)
        return sable_fail(error, SABLE_BAD_INPUT, "%lld states on %d ranks: at most %lld a rank", (long long)states,
                          layout.ranks, (long long)most);
    table->values = sable_array(each * parts, layout.ranks, sizeof *table->values);
    table->own = layout.ranks == 1 ? table->values : sable_array(each, parts, sizeof *table->own);
    table->column = sable_array(each, 1, sizeof *table->column);
    if (!table->values || !table->own || !table->column)
        return sable_fail(error, SABLE_ENVIRONMENT, "out of memory for the sums of %lld states", (long long)states);
    return SABLE_OK;
}

void rollouts_table_free(struct rollouts_table *table)
{
    if (table->own != table->values)
        sable_array_free(table->own);
    sable_array_free(table->values);
    sable_array_free(table->column);
    *table = (struct rollouts_table){0};
}

double rollouts_table_memory(double states, int parts)
{
    return states * (2.0 * parts * (double)sizeof(struct sable_exact_moments) + sizeof(double));
}

void rollouts_table_clear(struct rollouts_table *table)
{
    memset(table->values, 0, (size_t)(table->each * table->parts * table->ranks) * sizeof *table->values);
}

int rollouts_table_reduce(struct rollouts_table *table, struct sable_context *context, struct sable_error *error)
{
    const int64_t moments = table->each * table->parts;
    if (table->ranks > 1) {
        sable_count_sent(context, (size_t)moments * (size_t)(table->ranks - 1) * sizeof *table->values);
        if (sable_check_mpi(MPI_Reduce_scatter_block(table->values, table->own, (int)moments * SABLE_EXACT_WORDS,
                                                     MPI_INT64_T, MPI_SUM, context->comm),
                            "MPI_Reduce_scatter_block", error))
            return error->code;
    }
    for (int64_t i = 0; i < table->count * table->parts; i++)
        rollouts_carry(&table->own[i]);
    return SABLE_OK;
}

uint64_t rollouts_table_sum(const struct rollouts_table *table, int part)
{
    uint64_t sum = 0;
    for (int64_t i = 0; i < table->count; i++)
        sum += rollouts_low_word(&table->own[i * table->parts + part]) * (uint64_t)(2 * (table->first + i) + 1);
    return sum;
}

int rollouts_table_put(struct rollouts_table *table, struct sable_sink *sink, const struct rollouts_column *column,
                       struct sable_error *error)
{
    for (int64_t i = 0; i < table->count; i++)
        table->column[i] = column->of(&table->own[i * table->parts]);
    const struct sable_array array = {.name = column->name,
                                      .unit = "",
                                      .help = column->help,
                                      .keep = SABLE_KEEP_SUMMARY,
                                      .type = SABLE_F64,
                                      .dims = 1,
                                      .global = {table->states},
                                      .offset = {table->first},
                                      .count = {table->count},
                                      .labels = {"state"},
                                      .data = table->column};
    return sable_put(sink, &array, error);
}
