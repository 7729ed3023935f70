/* S4 in float64: LegS as diagonal plus low rank, and its kernel by Cauchy sums against powers; single precision within
 * its bounds, which a wrong pole exceeds. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "input.h"
#include "sable_array.h"
#include "sable_convolution_fftw.h"
#include "sable_legs_dplr.h"
#include "sable_s4.h"

enum { ORDER = 16, PAIRS = ORDER / 2, SIZE = 256 };

struct problem {
    double lambda[ORDER], p[ORDER], b[ORDER], c[ORDER], dt, table[PAIRS * SABLE_S4_TABLES * 2], truncated[ORDER];
    struct sable_s4 model;
};

static void begin(struct problem *a, double dt)
{
    assert_true(sable_legs_dplr(ORDER, a->lambda, a->p, a->b));
    for (int i = 0; i < ORDER; i++)
        a->c[i] = sin(3 * i + 1);
    a->dt = dt;
    a->model = (struct sable_s4){1, PAIRS, a->lambda, a->p, a->b, a->c, &a->dt};
    sable_s4_discretise(&a->model, a->table);
    sable_s4_truncate(1, PAIRS, SIZE, a->table, a->truncated);
}

static void the_eigenvalues_of_legs_are_the_golden_ones(void **state)
{
    (void)state;
    struct sable_error error = {0};
    struct sable_input *input;
    double golden[16], lambda[8], p[8], b[8], golden_p[16];
    const int64_t from[] = {0}, count[] = {8};
    assert_int_equal(sable_input_open(SABLE_TEST_CASES "/ssm/s4_dplr.h5", &input, &error), 0);
    assert_int_equal(sable_input_read(input, "lambda_", SABLE_C128, 1, from, count, golden, &error), 0);
    assert_int_equal(sable_input_read(input, "p", SABLE_C128, 1, from, count, golden_p, &error), 0);
    sable_input_close(input);
    assert_true(sable_legs_dplr(8, lambda, p, b));
    for (int n = 0; n < 4; n++) { /* the file's are in the order of imaginary parts; phases are free, moduli are not */
        assert_true(fabs(lambda[2 * n] - golden[8 + 2 * n]) < 1e-12);
        assert_true(fabs(lambda[2 * n + 1] - golden[8 + 2 * n + 1]) < 1e-12);
        assert_true(fabs(hypot(p[2 * n], p[2 * n + 1]) - hypot(golden_p[8 + 2 * n], golden_p[8 + 2 * n + 1])) < 1e-12);
        assert_true(fabs(b[2 * n] - sqrt(2) * p[2 * n]) < 1e-12); /* LegS: b = √2 p */
    }
}

/* k_l = e^{−iπl/M}/M Σ_j K(e^{iπ(2j+1)/M}) e^{−2πijl/M}. */
static void cauchy_sums_are_powers_in_float64_for_steps_from_1e_minus_6_to_10(void **state)
{
    (void)state;
    static double z[2 * SIZE], k[SIZE], x[ORDER];
    for (double dt = 1e-6; dt < 11; dt *= 10) {
        struct problem a;
        begin(&a, dt);
        double largest = 0, off = 0;
        for (int j = 0; j < SIZE; j++)
            (void)sable_s4_generating(&a.model, 0, a.truncated, (2 * j + 1) / (2.0 * SIZE), z + 2 * j);
        assert_true(sable_fftw_double(SIZE, z));
        memset(x, 0, sizeof x);
        sable_s4_reference(1, PAIRS, 0, SIZE, a.table, NULL, 0, 0, x, k);
        for (int l = 0; l < SIZE; l++) {
            const double angle = -3.14159265358979323846 * l / SIZE;
            const double re = (z[2 * l] * cos(angle) - z[2 * l + 1] * sin(angle)) / SIZE;
            const double im = (z[2 * l] * sin(angle) + z[2 * l + 1] * cos(angle)) / SIZE;
            largest = fmax(largest, fabs(k[l]));
            off = fmax(off, hypot(re - k[l], im));
        }
        assert_true(off < 1e-10 * largest);
    }
}

static void a_kernel_of_single_precision_keeps_its_bound(void **state)
{
    (void)state;
    static double k[SIZE], x[ORDER];
    for (double dt = 1e-6; dt < 11; dt *= 10) {
        struct problem a;
        struct sable_fft half;
        double bound = 0, norm = 0, value[2], forward, backward, off = 0, wrong = 0;
        begin(&a, dt);
        assert_true(sable_fft_plan(SIZE / 2, &half));
        float *nodes = sable_array(SABLE_S4_NODE, SIZE / 2, sizeof *nodes);
        static float factors[PAIRS * SABLE_S4_CAUCHY * SABLE_KERNEL_BLOCK];
        float *kernel = sable_array(sable_kernel_floats(1, SIZE), 1, sizeof *kernel);
        float *room = sable_array(sable_convolution_room(SIZE / 2, 64), 1, sizeof *room);
        assert_true(nodes && kernel && room);
        sable_s4_nodes(&half, nodes);
        sable_s4_cauchy_factors(&a.model, a.truncated, factors);
        sable_s4_kernel(1, PAIRS, SIZE, &half, nodes, factors, kernel, room);
        memset(x, 0, sizeof x);
        sable_s4_reference(1, PAIRS, 0, SIZE, a.table, NULL, 0, 0, x, k);
        for (int64_t i = 0; i < half.size; i++)
            bound += sable_s4_generating(&a.model, 0, a.truncated, sable_fft_node(&half, i), value);
        for (int l = 0; l < SIZE; l++)
            norm += k[l] * k[l];
        sable_convolution_error(half.size, &forward, &backward);
        bound = bound / (double)half.size + 0x1p-24 * 1.1 * (backward + 1) * sqrt(norm);
        for (int l = 0; l < SIZE; l++)
            off = fmax(off, fabs((double)kernel[sable_kernel_index(SIZE, 0, l)] - k[l]));
        factors[0] = factors[SABLE_S4_CAUCHY * SABLE_KERNEL_BLOCK];
        sable_s4_kernel(1, PAIRS, SIZE, &half, nodes, factors, kernel, room);
        for (int l = 0; l < SIZE; l++)
            wrong = fmax(wrong, fabs((double)kernel[sable_kernel_index(SIZE, 0, l)] - k[l]));
        assert_true(off <= bound);
        assert_true(wrong > bound || dt < 5e-4); /* over 256 shorter steps poles hardly matter */
        sable_fft_free(&half);
        sable_array_free(nodes), sable_array_free(kernel), sable_array_free(room);
    }
}

static void dense_steps_and_those_of_low_rank_agree(void **state)
{
    (void)state;
    struct problem a;
    begin(&a, 0.05);
    static float u[SIZE], by_rank[SIZE], dense[SIZE], x[ORDER],
        factors[PAIRS * SABLE_S4_TABLES * 2 * SABLE_KERNEL_BLOCK];
    static double expected[SIZE], bound[SIZE], space[ORDER];
    const float skip = 0.5F;
    float *matrix = sable_array(sable_s4_matrix_floats(1, PAIRS), 1, sizeof *matrix);
    float *room = sable_array(sable_s4_steps_room(PAIRS, 64), 1, sizeof *room);
    assert_true(matrix && room);
    for (int t = 0; t < SIZE; t++)
        u[t] = (float)cos(0.3 * t);
    sable_s4_factors(1, PAIRS, a.table, factors);
    sable_s4_matrix(1, PAIRS, a.table, matrix);
    sable_s4_steps(1, PAIRS, 1, SIZE, factors, NULL, u, &skip, x, by_rank, room);
    memset(x, 0, sizeof x);
    sable_s4_steps(1, PAIRS, 1, SIZE, factors, matrix, u, &skip, x, dense, room);
    sable_s4_reference(1, PAIRS, 0, SIZE, a.table, u, 1, 0.5, space, expected);
    sable_s4_follow(1, PAIRS, 0, SIZE, a.table, u, 1, 0.5, space, bound);
    for (int t = 0; t < SIZE; t++) {
        assert_true(fabs((double)by_rank[t] - expected[t]) <= bound[t]);
        assert_true(fabs((double)dense[t] - expected[t]) <= bound[t]);
        assert_true(bound[t] < 0.01);
    }
    sable_array_free(matrix), sable_array_free(room);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_eigenvalues_of_legs_are_the_golden_ones),
        cmocka_unit_test(cauchy_sums_are_powers_in_float64_for_steps_from_1e_minus_6_to_10),
        cmocka_unit_test(a_kernel_of_single_precision_keeps_its_bound),
        cmocka_unit_test(dense_steps_and_those_of_low_rank_agree),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
