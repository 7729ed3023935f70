/* Several sweeps in one pass are as many single sweeps, which are the textbook's: to the bit, for any number of
 * threads, widths around panels, and blocks anywhere in a grid. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <omp.h>
#include <string.h>

#include "sable_array.h"
#include "sable_gridworld.h"

enum { DEPTH = SABLE_GRIDWORLD_DEPTH };

static const struct sable_gridworld_model model = {
    .gamma = 0.9, .slip = 0.3, .boundary = -1, .forbidden = -2, .target = 1, .hole = -3, .other = -0.125};

/* A block of a drawn grid with its halo. */
struct field {
    struct sable_gridworld_block block;
    uint8_t *cells;
    double *value[2];
    int64_t origin;
};

static struct field make_field(int64_t rows, int64_t columns, struct sable_gridworld_range part)
{
    static const struct sable_gridworld_densities share = {0.2, 0.1, 0.02, 0.02, 0.02};
    const int64_t height = part.row_end - part.row, width = part.column_end - part.column;
    const int64_t pitch = sable_gridworld_pitch(width, DEPTH);
    struct field f = {.block = {.height = height, .width = width, .pitch = pitch, .ends = true},
                      .origin = sable_gridworld_origin(pitch, DEPTH)};
    f.cells = sable_array(height + 2 * DEPTH, pitch, 1);
    assert_non_null(f.cells);
    memset(f.cells, SABLE_CELL_OBSTACLE, (size_t)((height + 2 * DEPTH) * pitch));
    f.cells += f.origin;
    f.block.cells = f.cells;
    for (int64_t r = part.row - DEPTH; r < part.row_end + DEPTH; r++)
        for (int64_t c = part.column - DEPTH; c < part.column_end + DEPTH; c++)
            if (r >= 0 && r < rows && c >= 0 && c < columns)
                f.cells[(r - part.row) * pitch + c - part.column] =
                    (uint8_t)sable_gridworld_draw(7, &share, (uint64_t)(r * columns + c));
    for (int i = 0; i < 2; i++) {
        f.value[i] = sable_array(height + 2 * DEPTH, pitch, sizeof(double));
        assert_non_null(f.value[i]);
        f.value[i] += f.origin;
        sable_gridworld_start(&model, &f.block, DEPTH, 2, f.value[i]);
    }
    return f;
}

static void free_field(struct field *f)
{
    sable_array_free(f->cells - f->origin);
    for (int i = 0; i < 2; i++)
        sable_array_free(f->value[i] - f->origin);
}

static bool same(double a, double b)
{
    return memcmp(&a, &b, sizeof a) == 0 || (isnan(a) && isnan(b));
}

/* `count` single sweeps of a whole grid; returns the last one's change. */
static struct sable_gridworld_change sweep_singly(struct field *f, int count)
{
    const struct sable_gridworld_range all = {0, f->block.height, 0, f->block.width};
    struct sable_gridworld_change change = {0, 0};
    for (int t = 0; t < count; t++)
        change = sable_gridworld_sweep(&model, &f->block, f->value[t % 2], all, false, f->value[1 - t % 2]);
    return change;
}

static void compare_pass(int64_t rows, int64_t columns, struct sable_gridworld_range part, int count)
{
    struct field grid = make_field(rows, columns, (struct sable_gridworld_range){0, rows, 0, columns});
    struct field block = make_field(rows, columns, part);
    const struct sable_gridworld_change single = sweep_singly(&grid, count);
    const struct sable_gridworld_sides sides = {part.row > 0, part.column_end < columns,
                                                part.row_end<rows, part.column> 0};
    const struct sable_gridworld_change once = sable_gridworld_sweeps(&model, &block.block, sides, count, block.value);
    for (int64_t r = part.row; r < part.row_end; r++)
        for (int64_t c = part.column; c < part.column_end; c++) {
            double found = block.value[count % 2][(r - part.row) * block.block.pitch + c - part.column];
            assert_true(same(found, grid.value[count % 2][r * grid.block.pitch + c]));
        }
    if (block.block.height == rows && block.block.width == columns)
        assert_true(same(once.least, single.least) && same(once.most, single.most));
    else
        assert_true(once.least >= single.least && once.most <= single.most);
    free_field(&grid);
    free_field(&block);
}

static void a_pass_is_as_many_single_sweeps(void **state)
{
    (void)state;
    const int64_t shape[][2] = {{1, 1}, {1, 9}, {17, 3}, {64, 100}, {130, 257}, {50, 4095}, {40, 4097}, {33, 9000}};
    for (int threads = 1; threads <= 5; threads += 2)
        for (size_t i = 0; i < sizeof shape / sizeof *shape; i++)
            for (int count = 1; count <= DEPTH; count++) {
                omp_set_num_threads(threads);
                compare_pass(shape[i][0], shape[i][1], (struct sable_gridworld_range){0, shape[i][0], 0, shape[i][1]},
                             count);
            }
}

static void a_block_recomputes_its_halo(void **state)
{
    (void)state;
    const int64_t row[] = {0, 20, 130, 150}, column[] = {0, 11, 90, 101};
    omp_set_num_threads(3);
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < 3; j++)
            for (int count = 1; count <= DEPTH; count++)
                compare_pass(150, 101, (struct sable_gridworld_range){row[i], row[i + 1], column[j], column[j + 1]},
                             count);
    compare_pass(60, 10000, (struct sable_gridworld_range){20, 50, 100, 9900}, DEPTH);
}

static void a_single_sweep_is_the_textbooks(void **state)
{
    (void)state;
    const struct sable_gridworld_range all = {0, 37, 0, 83};
    struct field fast = make_field(37, 83, all), textbook = make_field(37, 83, all);
    const int64_t pitch = fast.block.pitch;
    for (int64_t r = -1; r <= 37; r++)
        for (int64_t c = -1; c <= 83; c++)
            textbook.value[0][r * pitch + c] = sable_gridworld_decides(fast.cells[r * pitch + c]) ? 2 : 0;
    for (int t = 0; t < 5; t++) {
        struct sable_gridworld_change found =
            sable_gridworld_sweep(&model, &fast.block, fast.value[t % 2], all, false, fast.value[1 - t % 2]);
        struct sable_gridworld_change right =
            sable_gridworld_reference_sweep(&model, &textbook.block, textbook.value[t % 2], textbook.value[1 - t % 2]);
        assert_true(same(found.least, right.least) && same(found.most, right.most));
        for (int64_t r = 0; r < 37; r++)
            for (int64_t s = r * pitch; s < r * pitch + 83; s++) {
                const uint8_t kind = fast.cells[s];
                const double gamma = sable_gridworld_decides(kind) ? model.gamma : 0;
                const double v = textbook.value[1 - t % 2][s], u = fast.value[1 - t % 2][s];
                if (kind == SABLE_CELL_OBSTACLE)
                    assert_true(isnan(u) && v == 0);
                else
                    assert_true(same(u, fma(gamma, v, sable_gridworld_reward(&model, kind))));
            }
        for (int64_t r = -1; r <= 37; r += 38) /* a sweep leaves the halo; the textbook's is zero */
            memset(&textbook.value[1 - t % 2][r * pitch - 1], 0, 85 * sizeof(double));
    }
    free_field(&fast);
    free_field(&textbook);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_pass_is_as_many_single_sweeps),
        cmocka_unit_test(a_block_recomputes_its_halo),
        cmocka_unit_test(a_single_sweep_is_the_textbooks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
