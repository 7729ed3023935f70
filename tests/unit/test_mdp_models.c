/* Rows of the generated decision processes: mazes, pendulum, epidemic. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>

#include "sable_epidemic.h"
#include "sable_maze.h"
#include "sable_pendulum.h"

enum { MOST = 512 };

/* In range, ascending without repetitions, positive, and summing to 1. Returns the sum of p·column. */
static double check_row(int64_t length, int64_t most, int64_t states, const int64_t *column, const double *probability)
{
    double sum = 0, mean = 0;
    assert_true(length >= 1 && length <= most);
    for (int64_t j = 0; j < length; j++) {
        assert_true(column[j] >= 0 && column[j] < states);
        assert_true(j == 0 || column[j] > column[j - 1]);
        assert_true(probability[j] >= 0);
        sum += probability[j];
        mean += probability[j] * (double)column[j];
    }
    assert_true(fabs(sum - 1) < 1e-14);
    return mean;
}

/* ---- Maze ---- */

static void maze_rows_move_as_meant_or_sideways(void **state)
{
    (void)state;
    for (int kind = SABLE_MAZE_SCATTERED; kind <= SABLE_MAZE_TREE; kind++) {
        const struct sable_maze maze = {5, 23, 31, (enum sable_maze_kind)kind, 0.3, 0.2};
        for (int64_t s = 0; s < 23 * 31; s++)
            for (int64_t a = 0; a < SABLE_MAZE_ACTIONS; a++) {
                int64_t column[SABLE_MAZE_MOST_SUCCESSORS];
                double probability[SABLE_MAZE_MOST_SUCCESSORS], cost;
                int64_t n = sable_maze_row(&maze, s, a, &cost, column, probability);
                check_row(n, SABLE_MAZE_MOST_SUCCESSORS, 23 * 31, column, probability);
                bool wall = sable_maze_is_wall(&maze, s / 31, s % 31);
                assert_true(cost == (wall || s == 23 * 31 - 1 ? 0 : 1));
                for (int64_t j = 0; j < n; j++)
                    assert_true(column[j] == s || !sable_maze_is_wall(&maze, column[j] / 31, column[j] % 31));
                if (a == 0 || cost == 0)
                    assert_true(n == 1 && column[0] == s);
            }
    }
}

/* An open field of 3 × 3: each action from the middle, as in the golden case maze_24. */
static void maze_actions_are_stay_up_right_down_left(void **state)
{
    (void)state;
    const struct sable_maze maze = {1, 3, 3, SABLE_MAZE_SCATTERED, 0, 0.2};
    const int64_t ahead[SABLE_MAZE_ACTIONS] = {4, 1, 5, 7, 3}, behind[SABLE_MAZE_ACTIONS] = {-1, 7, 3, 1, 5};
    for (int64_t a = 1; a < SABLE_MAZE_ACTIONS; a++) {
        int64_t column[3];
        double probability[3], cost;
        assert_int_equal(sable_maze_row(&maze, 4, a, &cost, column, probability), 3);
        for (int j = 0; j < 3; j++) {
            assert_true(column[j] != behind[a]);
            assert_true(probability[j] == (column[j] == ahead[a] ? 0.8 : 0.1));
        }
    }
}

/* Whoever moves on towards the goal by the only passage there needs exactly as many steps as rows and columns. */
static void in_a_tree_every_open_cell_has_one_step_towards_the_goal(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed < 20; seed++) {
        const struct sable_maze maze = {seed, 22, 31, SABLE_MAZE_TREE, 0, 0};
        int64_t open = 0, vertical = 0;
        for (int64_t r = 0; r < 22; r++)
            for (int64_t c = 0; c < 31; c++) {
                if (sable_maze_is_wall(&maze, r, c) || (r == 21 && c == 30))
                    continue;
                bool down = r < 21 && !sable_maze_is_wall(&maze, r + 1, c);
                bool right = c < 30 && !sable_maze_is_wall(&maze, r, c + 1);
                assert_true(down != right);
                open++, vertical += down;
            }
        assert_true(open > 300 && vertical > open / 4 && vertical < 3 * open / 4);
    }
}

static void scattered_walls_have_their_share(void **state)
{
    (void)state;
    const struct sable_maze maze = {3, 300, 400, SABLE_MAZE_SCATTERED, 0.25, 0};
    int64_t walls = 0;
    for (int64_t r = 0; r < 300; r++)
        for (int64_t c = 0; c < 400; c++)
            walls += sable_maze_is_wall(&maze, r, c);
    assert_true(fabs((double)walls - 30000) < 5 * sqrt(120000 * 0.25 * 0.75));
    assert_false(sable_maze_is_wall(&(struct sable_maze){3, 300, 400, SABLE_MAZE_SCATTERED, 1, 0}, 299, 399));
}

/* ---- Pendulum ---- */

static const struct sable_pendulum pendulum = {37, 29, 7, 10, 3, 0.05};

/* Interpolation keeps the mean: the chain moves as Euler's step does, where nothing is clipped or wraps around. */
static void a_step_of_the_pendulum_is_eulers_in_the_mean(void **state)
{
    (void)state;
    const double pi = acos(-1), step = 2 * pi / 37;
    for (int64_t s = 0; s < 37 * 29; s++)
        for (int64_t a = 0; a < 7; a++) {
            int64_t column[4];
            double probability[4], cost, angle = 0, speed = 0;
            int64_t n = sable_pendulum_row(&pendulum, s, a, &cost, column, probability);
            check_row(n, 4, 37 * 29, column, probability);
            assert_true(cost >= 0 && cost <= sable_pendulum_most_cost(&pendulum));
            for (int64_t j = 0; j < n; j++) {
                angle += probability[j] * step * (double)(column[j] / 29);
                speed += probability[j] * ((double)(column[j] % 29) / 14 - 1) * 10;
            }
            double from = step * (double)(s / 29), velocity = ((double)(s % 29) / 14 - 1) * 10;
            double to = from + 0.05 * velocity;
            if (to > 0 && to < 2 * pi - step)
                assert_true(fabs(angle - to) < 1e-12);
            double faster = velocity + 0.05 * ((double)(a - 3) - 9.81 * sin(from));
            assert_true(fabs(speed - fmin(fmax(faster, -10), 10)) < 1e-12);
        }
}

static void standing_still_without_torque_costs_nothing(void **state)
{
    (void)state;
    const struct sable_pendulum even = {36, 29, 7, 10, 3, 0.05};
    int64_t column[4], upright = 18 * 29 + 14;
    double probability[4], cost;
    int64_t n = sable_pendulum_row(&even, upright, 3, &cost, column, probability);
    double stays = 0;
    for (int64_t j = 0; j < n; j++)
        stays += column[j] == upright ? probability[j] : 0;
    assert_true(fabs(cost) < 1e-14 && fabs(stays - 1) < 1e-14);
}

/* ---- Epidemic ---- */

static double binomial(int64_t n, int64_t k, double q)
{
    return exp(lgamma((double)n + 1) - lgamma((double)k + 1) - lgamma((double)(n - k) + 1) + (double)k * log(q) +
               (double)(n - k) * log1p(-q));
}

static void whole_rows_of_an_epidemic_are_binomial(void **state)
{
    (void)state;
    const struct sable_epidemic epidemic = {200, 1000, 20};
    int64_t column[MOST];
    double probability[MOST], cost;
    for (int64_t s = 0; s <= 200; s++)
        for (int64_t a = 0; a < SABLE_EPIDEMIC_ACTIONS; a++) {
            int64_t n = sable_epidemic_row(&epidemic, s, a, &cost, column, probability);
            double q = sable_epidemic_risk(&epidemic, s, a), mean = check_row(n, 201, 201, column, probability);
            assert_true(fabs(cost) <= sable_epidemic_most_cost());
            assert_true(fabs(mean - (200 - (double)s * q)) < 1e-10);
            for (int64_t j = 0; j < n && n > 1; j++) {
                double expected = binomial(s, 200 - column[j], q);
                assert_true(fabs(probability[j] - expected) <= 1e-11 * expected + 1e-300);
            }
        }
}

static void a_window_keeps_the_most_probable_successors(void **state)
{
    (void)state;
    const struct sable_epidemic whole = {200, 1000, 20}, part = {200, 40, 20};
    int64_t column[MOST], kept[MOST];
    double all[MOST], some[MOST], cost;
    for (int64_t s = 0; s <= 200; s += 7)
        for (int64_t a = 0; a < SABLE_EPIDEMIC_ACTIONS; a++) {
            int64_t n = sable_epidemic_row(&whole, s, a, &cost, column, all);
            int64_t m = sable_epidemic_row(&part, s, a, &cost, kept, some);
            check_row(m, 40, 201, kept, some);
            double most_lost = 0, lost = 1;
            for (int64_t j = 0; j < n; j++) {
                bool inside = column[j] >= kept[0] && column[j] <= kept[m - 1];
                most_lost = inside ? most_lost : fmax(most_lost, all[j]);
                lost -= inside ? all[j] : 0;
            }
            /* 40 around the mode reach 2.8 standard deviations of at most √50, and what is lost lies in the tails. */
            assert_true(most_lost < 2e-3 && lost < 1e-2);
            assert_true(m == (n < 40 ? n : 40));
        }
}

static void nobody_infected_is_the_end(void **state)
{
    (void)state;
    const struct sable_epidemic epidemic = {5000, 100, 20};
    int64_t column[100];
    double probability[100], cost;
    assert_int_equal(sable_epidemic_row(&epidemic, 5000, 0, &cost, column, probability), 1);
    assert_true(column[0] == 5000 && probability[0] == 1 && cost == 0);
    /* All infected: all recover. */
    assert_int_equal(sable_epidemic_row(&epidemic, 0, 3, &cost, column, probability), 1);
    assert_true(column[0] == 5000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(maze_rows_move_as_meant_or_sideways),
        cmocka_unit_test(maze_actions_are_stay_up_right_down_left),
        cmocka_unit_test(in_a_tree_every_open_cell_has_one_step_towards_the_goal),
        cmocka_unit_test(scattered_walls_have_their_share),
        cmocka_unit_test(a_step_of_the_pendulum_is_eulers_in_the_mean),
        cmocka_unit_test(standing_still_without_torque_costs_nothing),
        cmocka_unit_test(whole_rows_of_an_epidemic_are_binomial),
        cmocka_unit_test(a_window_keeps_the_most_probable_successors),
        cmocka_unit_test(nobody_infected_is_the_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
