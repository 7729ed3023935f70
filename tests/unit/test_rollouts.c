/* Monte Carlo rollouts: draws, alias rows, and lanes against the textbook's episode. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <omp.h>

#include "sable_array.h"
#include "sable_gridworld.h"
#include "sable_isa.h"
#include "sable_random.h"
#include "sable_rollouts.h"

static const char *const levels[] = {"base", "v2", "v3", "v4"};

static bool at_level(int level)
{
    setenv("SABLE_ISA", levels[level], 1);
    return level <= (int)sable_isa_best();
}

/* ---- Draws ---- */

static void each_lane_draws_for_its_own_counter(void **state)
{
    (void)state;
    for (int level = 0; level < 4 && at_level(level); level++) {
        uint32_t low[SABLE_DRAW_LANES], high[SABLE_DRAW_LANES], block[SABLE_DRAW_LANES];
        uint32_t words[4 * SABLE_DRAW_LANES];
        for (uint32_t l = 0; l < SABLE_DRAW_LANES; l++)
            low[l] = 0xfffffff0u + l, high[l] = 3 * l, block[l] = 1000 - l;
        sable_rollouts_draw(77, SABLE_ROLLOUTS_STEP, low, high, block, words);
        for (uint32_t l = 0; l < SABLE_DRAW_LANES; l++) {
            struct sable_random_block expected =
                sable_random(77, SABLE_ROLLOUTS_STEP, (uint64_t)high[l] << 32 | low[l], block[l]);
            for (uint32_t j = 0; j < 4; j++)
                assert_int_equal(words[j * SABLE_DRAW_LANES + l], expected.word[j]);
        }
    }
    unsetenv("SABLE_ISA");
}

/* ---- Environments ---- */

enum { HEIGHT = 7, WIDTH = 9, CELLS = HEIGHT * WIDTH };
static const struct sable_rollouts_grid_rules rules = {.slip = 0.3,
                                                       .gamma = 0.97,
                                                       .boundary = -1,
                                                       .forbidden = -2,
                                                       .target = 1.5,
                                                       .hole = -3,
                                                       .other = -0.125,
                                                       .horizon = 48};

static bool make_grid(int64_t height, int64_t width, bool wraps, struct sable_rollouts_grid *grid)
{
    static uint8_t kind[520 * 520];
    const struct sable_gridworld_densities share = {0.1, 0.1, 0.05, 0.05, 0.05};
    struct sable_rollouts_grid_rules own = rules;
    own.policy = sable_rollouts_policy(3, 7, 4, 2);
    own.wraps = wraps;
    for (int64_t c = 0; c < height * width; c++)
        kind[c] = (uint8_t)sable_gridworld_draw(3, &share, (uint64_t)c);
    return sable_rollouts_grid_make(kind, height, width, &own, grid);
}

static int64_t random_walk(const void *model, int64_t state, struct sable_rollouts_outcome *outcome)
{
    int64_t states = *(const int64_t *)model;
    outcome[0] = (struct sable_rollouts_outcome){0.3, -1, state - 1};
    outcome[1] = (struct sable_rollouts_outcome){0.5, state == states - 1, state == states - 1 ? -1 : state + 1};
    outcome[2] = (struct sable_rollouts_outcome){0.2, 0.25, state};
    return 3;
}

static void assert_same_play(const struct sable_rollouts_totals *a, const struct sable_rollouts_chunk *chunk_a,
                             const struct sable_rollouts_totals *b, const struct sable_rollouts_chunk *chunk_b,
                             int64_t chunks)
{
    assert_memory_equal(a, b, sizeof *a);
    assert_memory_equal(chunk_a, chunk_b, (size_t)chunks * sizeof *chunk_a);
}

enum { EPISODES = 3 * SABLE_CHUNK + 77, CHUNKS = 4 };
static const struct sable_rollouts_share all = {
    .seed = 9, .episodes = EPISODES, .first = 0, .stride = 1, .count = CHUNKS};

static void grids_in_lanes_give_the_bits_of_the_textbook(void **state)
{
    (void)state;
    /* Two fit two registers and one; three are large, of seams almost alone; four go round. */
    static const int64_t shape[8][2] = {{HEIGHT, WIDTH}, {4, 8},     {3, 5},     {HEIGHT, WIDTH},
                                        {4, 5},          {520, 520}, {3, 90000}, {90000, 3}};
    for (int k = 0; k < 8; k++) {
        struct sable_rollouts_grid grid;
        struct sable_rollouts_totals expected = {0};
        struct sable_rollouts_chunk expected_chunk[CHUNKS];
        assert_true(make_grid(shape[k][0], shape[k][1], k == 3 || k == 4 || k > 5, &grid));
        assert_true((grid.into != NULL) == (k > 4));
        sable_rollouts_reference_grid(&grid, &all, &expected, expected_chunk);
        assert_int_equal(expected.returns.count, EPISODES);
        assert_true(expected.cut > 0 && expected.cut < EPISODES);
        for (int level = 0; level < 4 && at_level(level); level++)
            for (int threads = 1; threads <= 3; threads++) {
                struct sable_rollouts_totals totals = {0};
                struct sable_rollouts_chunk chunk[CHUNKS];
                omp_set_num_threads(threads);
                sable_rollouts_play_grid(&grid, &all, &totals, chunk);
                assert_same_play(&totals, chunk, &expected, expected_chunk, CHUNKS);
            }
        sable_rollouts_grid_free(&grid);
    }
    unsetenv("SABLE_ISA");
}

/* One row all the way round, always eastward: each step pays what the next cell does, over the seam as elsewhere. */
static void a_wrapped_row_has_no_end(void **state)
{
    (void)state;
    const uint8_t kind[6] = {SABLE_CELL_FREE, SABLE_CELL_FREE, SABLE_CELL_TARGET,
                             SABLE_CELL_FREE, SABLE_CELL_FREE, SABLE_CELL_FORBIDDEN};
    struct sable_rollouts_grid grid;
    struct sable_rollouts_totals totals = {0};
    struct sable_rollouts_chunk chunk[CHUNKS];
    struct sable_rollouts_grid_rules own = rules;
    own.policy = sable_rollouts_policy(0, 16, 0, 0);
    own.slip = 0, own.gamma = 1, own.wraps = true;
    assert_true(sable_rollouts_grid_make(kind, 1, 6, &own, &grid));
    sable_rollouts_play_grid(&grid, &all, &totals, chunk);
    assert_int_equal(totals.cut, EPISODES);
    assert_true(sable_exact_mean(&totals.returns) == rules.horizon / 6.0 * (1.5 - 2 - 4 * 0.125));
    assert_true(sable_exact_variance(&totals.returns) == 0); /* `horizon` is so many whole rounds */
    sable_rollouts_grid_free(&grid);
}

static void rows_in_lanes_give_the_bits_of_the_textbook(void **state)
{
    (void)state;
    int64_t states = 11;
    double start[11] = {0, 0, 1, 0, 0.5, 0, 0, 0, 0, 2, 0};
    struct sable_rollouts_rows rows;
    struct sable_rollouts_totals expected = {0};
    struct sable_rollouts_chunk expected_chunk[CHUNKS];
    assert_true(sable_rollouts_rows_make(&states, random_walk, states, 3, 0.9, 40, start, &rows));
    sable_rollouts_reference_rows(&rows, &all, &expected, expected_chunk);
    assert_true(expected.cut > 0 && expected.cut < EPISODES);
    for (int level = 0; level < 4 && at_level(level); level++) {
        struct sable_rollouts_totals totals = {0};
        struct sable_rollouts_chunk chunk[CHUNKS];
        omp_set_num_threads(1 + level % 2);
        sable_rollouts_play_rows(&rows, &all, &totals, chunk);
        assert_same_play(&totals, chunk, &expected, expected_chunk, CHUNKS);
    }
    unsetenv("SABLE_ISA");
    sable_rollouts_rows_free(&rows);
}

/* A walk in a circle with rewards of its own in every state: 2 · states different ones. */
static int64_t paying_walk(const void *model, int64_t state, struct sable_rollouts_outcome *outcome)
{
    int64_t states = *(const int64_t *)model;
    outcome[0] = (struct sable_rollouts_outcome){0.6, (double)state / 1024, (state + 1) % states};
    outcome[1] = (struct sable_rollouts_outcome){0.4, (double)-state / 1024 - 0.5, state % 7 == 0 ? -1 : state / 2};
    return 2;
}

/* In a register, in a table of numbers, and one for each outcome: rewards of prediction and of play. */
static void any_number_of_rewards_gives_the_bits_of_the_textbook(void **state)
{
    (void)state;
    static const int64_t sizes[3] = {3, 500, 40000};
    for (int k = 0; k < 3; k++) {
        int64_t states = sizes[k], cut = 0, expected_cut = 0;
        double *start = sable_array(states, 1, sizeof *start);
        struct sable_rollouts_values *expected = sable_array(states, 1, sizeof *expected);
        struct sable_rollouts_values *values = sable_array(states, 1, sizeof *values);
        assert_true(start && expected && values);
        for (int64_t s = 0; s < states; s++)
            start[s] = 1;
        struct sable_rollouts_rows rows;
        struct sable_rollouts_totals totals[2] = {{.steps = 0}, {.steps = 0}};
        struct sable_rollouts_chunk chunk[2][CHUNKS];
        assert_true(sable_rollouts_rows_make(&states, paying_walk, states, 2, 0.875, 24, start, &rows));
        assert_true(rows.by_outcome == (k == 2) && (k == 2 || rows.rewards == 2 * states));
        memset(expected, 0, (size_t)states * sizeof *expected);
        sable_rollouts_reference_rows(&rows, &all, &totals[0], chunk[0]);
        for (int level = 0; level < 4 && at_level(level); level++) {
            totals[1] = (struct sable_rollouts_totals){.steps = 0};
            sable_rollouts_play_rows(&rows, &all, &totals[1], chunk[1]);
            assert_same_play(&totals[1], chunk[1], &totals[0], chunk[0], CHUNKS);
        }
        assert_true(
            sable_rollouts_reference_predict(&rows, &all, SABLE_VISITS_FIRST, expected, &expected_cut, chunk[0]));
        for (int level = 0; level < 4 && at_level(level); level++) {
            cut = 0;
            memset(values, 0, (size_t)states * sizeof *values);
            assert_true(sable_rollouts_predict(&rows, &all, SABLE_VISITS_FIRST, values, &cut, chunk[1]));
            assert_memory_equal(values, expected, (size_t)states * sizeof *values);
            assert_memory_equal(chunk[1], chunk[0], sizeof chunk[0]);
            assert_int_equal(cut, expected_cut);
        }
        sable_rollouts_rows_free(&rows);
        sable_array_free(start);
        sable_array_free(expected);
        sable_array_free(values);
    }
    unsetenv("SABLE_ISA");
}

/* Digits of values of all sizes are what one by one addition of moments gives: small ones fill half a line. */
static void digits_are_flushed_to_the_exact_moments(void **state)
{
    (void)state;
    struct sable_digits digits = {0};
    struct sable_exact_moments expected = {0}, found = {0};
    for (int i = 0; i < 200; i++) {
        struct sable_random_block drawn = sable_random(8, 2, (uint64_t)i, 0);
        int64_t value = (int64_t)((uint64_t)drawn.word[0] << 32 | drawn.word[1]) >> (2 + i % 60);
        sable_exact_add_value(&expected, value);
        sable_digits_add(&digits, value);
    }
    sable_digits_flush(&digits, &found);
    assert_memory_equal(&found, &expected, sizeof found);
    sable_digits_flush(&digits, &found); /* nothing is left */
    assert_memory_equal(&found, &expected, sizeof found);
}

static void shares_of_ranks_add_up_to_the_whole(void **state)
{
    (void)state;
    struct sable_rollouts_grid grid;
    struct sable_rollouts_totals whole = {0}, sum = {0};
    struct sable_rollouts_chunk chunk[CHUNKS];
    assert_true(make_grid(HEIGHT, WIDTH, false, &grid));
    sable_rollouts_play_grid(&grid, &all, &whole, chunk);
    for (int rank = 0; rank < 3; rank++) {
        struct sable_rollouts_share share = all;
        struct sable_rollouts_totals part = {0};
        share.first = rank, share.stride = 3, share.count = (CHUNKS - rank + 2) / 3;
        sable_rollouts_play_grid(&grid, &share, &part, chunk);
        for (int i = 0; i < SABLE_TOTALS_WORDS; i++)
            ((int64_t *)&sum)[i] += ((const int64_t *)&part)[i];
    }
    sable_rollouts_totals_carry(&sum);
    assert_memory_equal(&sum, &whole, sizeof sum);
    sable_rollouts_grid_free(&grid);
}

static void predictions_in_lanes_give_the_bits_of_the_textbook(void **state)
{
    (void)state;
    enum { STATES = 11 };
    int64_t states = STATES;
    double start[STATES] = {0, 0, 1, 0, 0.5, 0, 0, 0, 0, 2, 0};
    static const enum sable_rollouts_visits kinds[3] = {SABLE_VISITS_FIRST, SABLE_VISITS_EVERY, SABLE_VISITS_START};
    for (int kind = 0; kind < 3; kind++)
        for (uint32_t horizon = 5; horizon < 60; horizon += 18) { /* 5, 23, 41, 59: not multiples of a block */
            struct sable_rollouts_rows rows;
            struct sable_rollouts_values expected[STATES] = {0};
            struct sable_rollouts_chunk expected_chunk[CHUNKS], chunk[CHUNKS];
            int64_t expected_cut = 0;
            assert_true(sable_rollouts_rows_make(&states, random_walk, states, 3, 0.9, horizon, start, &rows));
            assert_true(
                sable_rollouts_reference_predict(&rows, &all, kinds[kind], expected, &expected_cut, expected_chunk));
            assert_true(expected_cut > 0 && expected_cut < EPISODES);
            for (int level = 0; level < 4 && at_level(level); level++) {
                struct sable_rollouts_values values[STATES] = {0};
                int64_t cut = 0;
                omp_set_num_threads(1 + level % 3);
                assert_true(sable_rollouts_predict(&rows, &all, kinds[kind], values, &cut, chunk));
                assert_memory_equal(values, expected, sizeof values);
                assert_memory_equal(chunk, expected_chunk, sizeof chunk);
                assert_int_equal(cut, expected_cut);
            }
            sable_rollouts_rows_free(&rows);
        }
    unsetenv("SABLE_ISA");
}

/* The chance of each outcome, read back from a row, is the one asked for, to the row's resolution. */
static void alias_rows_hold_the_probabilities_they_were_made_of(void **state)
{
    (void)state;
    int64_t states = 4;
    double start[4] = {0.1, 0, 0.7, 0.2};
    struct sable_rollouts_rows rows;
    assert_true(sable_rollouts_rows_make(&states, random_walk, states, 3, 1, 8, start, &rows));
    double chance[4] = {0};
    for (int k = 0; k < 1 << rows.start_bits; k++) {
        double first = rows.start[k].threshold * 0x1p-32;
        chance[rows.start[k].next[0]] += first / (1 << rows.start_bits);
        chance[rows.start[k].next[1]] += (1 - first) / (1 << rows.start_bits);
    }
    for (int s = 0; s < 4; s++)
        assert_true(fabs(chance[s] - start[s]) <= 0x1p-31);
    double ends = 0;
    for (int k = 0; k < 1 << rows.bits; k++) {
        const struct sable_rollouts_entry *entry = &rows.entry[(3 << rows.bits) + k];
        double first = entry->threshold * 0x1p-32;
        ends += ((entry->next[0] == SABLE_ROW_END) * first + (entry->next[1] == SABLE_ROW_END) * (1 - first)) /
                (1 << rows.bits);
    }
    assert_true(fabs(ends - 0.5) <= 0x1p-31);
    sable_rollouts_rows_free(&rows);
}

/* ---- What must come out ---- */

/* A fair walk over five states that pays 1 at its right end: value k/6, variance v(1 − v), 5, 8, 9, 8, 5 steps. */
static int64_t fair_walk(const void *model, int64_t state, struct sable_rollouts_outcome *outcome)
{
    (void)model;
    outcome[0] = (struct sable_rollouts_outcome){0.5, 0, state - 1}; /* −1: the left end */
    outcome[1] = (struct sable_rollouts_outcome){0.5, state == 4, state == 4 ? -1 : state + 1};
    return 2;
}

static void expected_moments_are_those_known_by_hand(void **state)
{
    (void)state;
    static const double steps[5] = {5, 8, 9, 8, 5};
    struct sable_rollouts_expected e;
    assert_true(sable_rollouts_expect(NULL, fair_walk, 5, 2, 1, 100000, &e));
    for (int s = 0; s < 5; s++) {
        double v = (s + 1) / 6.0;
        assert_true(fabs(e.value[s] - v) < 1e-12 && fabs(e.square[s] - v) < 1e-12);
        assert_true(fabs(e.length[s] - steps[s]) < 1e-10);
    }
    sable_rollouts_expected_free(&e);
    assert_true(sable_rollouts_expect(NULL, fair_walk, 5, 2, 1, 1, &e)); /* one step only */
    assert_true(e.value[4] == 0.5 && e.value[3] == 0 && e.length[2] == 1);
    sable_rollouts_expected_free(&e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_lane_draws_for_its_own_counter),
        cmocka_unit_test(grids_in_lanes_give_the_bits_of_the_textbook),
        cmocka_unit_test(a_wrapped_row_has_no_end),
        cmocka_unit_test(rows_in_lanes_give_the_bits_of_the_textbook),
        cmocka_unit_test(predictions_in_lanes_give_the_bits_of_the_textbook),
        cmocka_unit_test(any_number_of_rewards_gives_the_bits_of_the_textbook),
        cmocka_unit_test(digits_are_flushed_to_the_exact_moments),
        cmocka_unit_test(shares_of_ranks_add_up_to_the_whole),
        cmocka_unit_test(alias_rows_hold_the_probabilities_they_were_made_of),
        cmocka_unit_test(expected_moments_are_those_known_by_hand),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
