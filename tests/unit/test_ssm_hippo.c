/* HiPPO-LegS: matrices against the golden ones, and the three ways to take a step against one another. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "input.h"
#include "sable_hippo.h"
#include "sable_window.h"

enum { MOST = 64 };

static void the_matrices_are_the_golden_ones(void **state)
{
    (void)state;
    static double a[MOST * MOST], b[MOST], golden_a[MOST * MOST], golden_b[MOST];
    struct sable_error error = {0};
    struct sable_input *input;
    assert_int_equal(sable_input_open(SABLE_TEST_CASES "/ssm/hippo_matrices.h5", &input, &error), 0);
    static const char *const measures[] = {"legt", "lagt", "fout", "legs"}; /* three as the enum has them */
    for (int64_t i = 0, order = 4; i < 16; i++, order = i % 4 ? (order == 16 ? 64 : order * 2) : 4) {
        const char *measure = measures[i / 4];
        char name[32];
        const int64_t from[] = {0, 0}, shape[] = {order, order};
        snprintf(name, sizeof name, "%s_%d_A", measure, (int)order);
        assert_int_equal(sable_input_read(input, name, SABLE_F64, 2, from, shape, golden_a, &error), 0);
        snprintf(name, sizeof name, "%s_%d_B", measure, (int)order);
        assert_int_equal(sable_input_read(input, name, SABLE_F64, 1, from, shape, golden_b, &error), 0);
        if (i / 4 == 3)
            sable_legs_matrices(order, a, b);
        else
            sable_window_matrices((enum sable_window_measure)(i / 4), order, a, b);
        for (int64_t j = 0; j < order * order; j++)
            assert_true(fabs(a[j] - golden_a[j]) <= 4 * 0x1p-53 * fabs(golden_a[j]));
        for (int64_t j = 0; j < order; j++)
            assert_true(fabs(b[j] - golden_b[j]) <= 4 * 0x1p-53 * fabs(golden_b[j]));
    }
    sable_input_close(input);
}

/* Prefix sums, dense matrices, and single precision within its own bound, which a wrong coefficient exceeds. */
static void prefix_sums_dense_steps_and_the_scan_agree(void **state)
{
    (void)state;
    enum { ORDER = 20, STEPS = 150 };
    static double a[ORDER * ORDER], b[ORDER], w[ORDER], dense[ORDER], follow[ORDER], room[ORDER];
    static float signal[STEPS], c[ORDER * SABLE_LEGS_GROUP], factors[SABLE_LEGS_STEPS * ORDER * 2];
    sable_legs_matrices(ORDER, a, b);
    for (int t = 0; t < STEPS; t++)
        signal[t] = (float)sin(0.1 * t * t) + 0.5F;
    for (int rule = SABLE_LEGS_BILINEAR; rule <= SABLE_LEGS_BACKWARD; rule++) {
        double bound = 0, off = 0;
        memset(dense, 0, sizeof dense), memset(follow, 0, sizeof follow), memset(c, 0, sizeof c);
        for (int64_t t = 1; t <= STEPS; t++)
            sable_legs_dense_step((enum sable_legs_rule)rule, ORDER, t, a, b, (double)signal[t - 1], dense, NULL, w);
        sable_legs_follow((enum sable_legs_rule)rule, false, ORDER, 0, STEPS, signal, 1, follow, &bound, room);
        sable_legs_scan((enum sable_legs_rule)rule, ORDER, 1, 0, 37, signal, c, factors); /* cut anywhere */
        sable_legs_scan((enum sable_legs_rule)rule, ORDER, 1, 37, STEPS, signal, c, factors);
        for (int n = 0; n < ORDER; n++) {
            assert_true(fabs(dense[n] - follow[n]) < 1e-13);
            double difference = (double)c[n * SABLE_LEGS_GROUP] / sqrt(2.0 * n + 1) - follow[n];
            off += difference * difference;
        }
        assert_true(sqrt(off) <= bound && bound < 1e-3);
    }
}

static void quadrature_nodes_integrate_polynomials_exactly(void **state)
{
    (void)state;
    double node[MOST], weight[MOST];
    for (int64_t order = 1; order <= MOST; order++) {
        sable_legendre_nodes(order, node, weight);
        double sum = 0;
        for (int64_t i = 0; i < order; i++)
            sum += weight[i] * pow(node[i], 2 * (double)order - 1);
        assert_true(fabs(sum * 2 * (double)order - 1) < 1e-12);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_matrices_are_the_golden_ones),
        cmocka_unit_test(prefix_sums_dense_steps_and_the_scan_agree),
        cmocka_unit_test(quadrature_nodes_integrate_polynomials_exactly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
