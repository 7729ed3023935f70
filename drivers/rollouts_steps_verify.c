/* rollouts/steps: checks of the exact sums, by a replay and against exact means, and their output. */
#include <math.h>

#include "rollouts_steps.h"

/* ---- Verification ---- */

/* Mean and variance of an episode from a random start, of the moments from each. */
static void mix(const struct sable_rollouts_grid *grid, const double *mean, const double *square, double *expected,
                double *variance)
{
    double sum = 0, squares = 0;
    for (int64_t k = 0; k < grid->starts; k++) {
        const int64_t cell = sable_rollouts_cell(grid, grid->start[k]);
        sum += mean[cell];
        squares += square[cell];
    }
    *expected = sum / (double)grid->starts;
    *variance = squares / (double)grid->starts - *expected * *expected;
}

int steps_verify(void *state, struct sable_context *context, struct sable_checks *checks, struct sable_error *error)
{
    struct steps_state *s = state;
    const struct sable_rollouts_totals *t = &s->totals;
    struct sable_rollouts_expected expected;
    /* Chunks that differ, Σ q and steps of all chunks. */
    int64_t counts[3] = {rollouts_chunks_replay(&s->chunks, steps_replay, s), (int64_t)rollouts_chunks_sum(&s->chunks),
                         rollouts_chunks_steps(&s->chunks)};
    if (!sable_rollouts_expect(s, steps_outcomes, steps_cells(s), ROLLOUTS_DIRECTIONS, s->params.gamma,
                               s->params.horizon, &expected))
        sable_fail(error, SABLE_ENVIRONMENT, "rollouts/steps: out of memory for the exact values");
    double mean = 0, variance = 0, length = 0, length_variance = 0;
    if (!error->code) {
        mix(&s->grid, expected.value, expected.square, &mean, &variance);
        mix(&s->grid, expected.length, expected.length_square, &length, &length_variance);
        sable_rollouts_expected_free(&expected);
    }
    if (sable_agree(context->comm, error) || rollouts_sum(context, counts, 3, error))
        return error->code;
    uint64_t sum = (uint64_t)t->returns.sum[0] + ((uint64_t)t->returns.sum[1] << 32);
    sable_check(checks, "episodes played", (double)t->returns.count, (double)s->params.episodes, 0);
    sable_check(checks, "chunks that differ from a replay", (double)counts[0], 0, 0);
    sable_check(checks, "sum of returns less that of the chunks", (double)(int64_t)(sum - (uint64_t)counts[1]), 0, 0);
    sable_check(checks, "steps less those of the chunks", (double)(t->steps - counts[2]), 0, 0);
    rollouts_check_mean(checks, "z of the mean return", sable_exact_mean(&t->returns), mean, variance,
                        t->returns.count);
    rollouts_check_mean(checks, "z of the mean length", sable_exact_mean(&t->lengths), length, length_variance,
                        t->lengths.count);
    return SABLE_OK;
}

/* ---- Outputs ---- */

int steps_output(void *state, struct sable_context *context, struct sable_sink *sink, struct sable_error *error)
{
    (void)context;
    struct steps_state *s = state;
    s->mean = sable_exact_mean(&s->totals.returns);
    s->error = sqrt(sable_exact_variance(&s->totals.returns) / (double)s->totals.returns.count);
    if (rollouts_put_number(sink, "return_mean", "mean return of an episode", SABLE_F64, &s->mean, error) ||
        rollouts_put_number(sink, "return_error", "standard error of return_mean", SABLE_F64, &s->error, error) ||
        rollouts_put_number(sink, "steps", "steps of all episodes", SABLE_I64, &s->totals.steps, error) ||
        rollouts_put_number(sink, "cut", "episodes that the horizon ended", SABLE_I64, &s->totals.cut, error))
        return error->code;
    const struct sable_array arrays[] = {
        {.name = "lengths",
         .help = "episodes with a length in [2^b, 2^(b+1))",
         .type = SABLE_I64,
         .dims = 1,
         .global = {SABLE_LENGTH_BINS},
         .labels = {"b"},
         .data = s->totals.histogram},
        {.name = "sums",
         .help = "count, limbs of the sum, limbs of the squares; in units of 2^-24",
         .type = SABLE_I64,
         .dims = 2,
         .global = {2, SABLE_EXACT_WORDS},
         .labels = {"return, length", "limb"},
         .data = &s->totals},
    };
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++)
        if (sable_put_whole(sink, &arrays[i], error))
            return error->code;
    return rollouts_put_counter(sink, error);
}
