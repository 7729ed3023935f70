/* Bounds and bits of the vector functions. Every 4099th float (a prime, so all exponents and both signs are met) at
 * every SIMD level; `test_vmath all` tries all 2^32. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "sable_isa.h"
#include "sable_vmath.h"

enum { BATCH = 4096 };
static int64_t step = 4099;

static double exact(enum sable_vmath_function function, double x)
{
    switch (function) {
    case SABLE_VEXP:
        return exp(x);
    case SABLE_VEXP2:
        return exp2(x);
    case SABLE_VEXPM1:
        return expm1(x);
    case SABLE_VLOG1P:
        return log1p(x);
    case SABLE_VSOFTPLUS:
        return fmax(x, 0) + log1p(exp(-fabs(x)));
    case SABLE_VSIGMOID:
        return x < 0 ? exp(x) / (1 + exp(x)) : 1 / (1 + exp(-x));
    case SABLE_VSIN:
        return sin(x);
    case SABLE_VCOS:
        return cos(x);
    default:
        return NAN;
    }
}

static int outside(enum sable_vmath_function function, float x)
{
    return isnan(x) || ((function == SABLE_VSIN || function == SABLE_VCOS) && !(fabsf(x) <= 8192)) ||
           (function == SABLE_VLOG1P && x < -1);
}

/* |found − expected| in units in the last place of the expected float. */
static double distance(float found, double expected)
{
    if (isinf(found) || fabs(expected) > (double)3.4028235e38F)
        return (fabs(expected) >= 0x1.fffffep127 && fabsf(found) >= 0x1.fffffcp127F && (found > 0) == (expected > 0))
                   ? 0
                   : INFINITY;
    int exponent;
    frexp(expected, &exponent);
    double ulp = ldexp(1, exponent - 24 > -149 ? exponent - 24 : -149);
    return fabs(found - expected) / ulp;
}

/* The largest error, in ulp; INFINITY where NaN does not meet NaN. */
static double worst(enum sable_vmath_function function)
{
    double most = 0;
    const int64_t all = ((int64_t)1 << 32) / step + (((int64_t)1 << 32) % step > 0);
#pragma omp parallel for schedule(dynamic) reduction(max : most)
    for (int64_t first = 0; first < all; first += BATCH) {
        float x[BATCH], y[BATCH];
        const int n = all - first < BATCH ? (int)(all - first) : BATCH;
        for (int i = 0; i < n; i++) {
            const uint32_t word = (uint32_t)((first + i) * step);
            memcpy(&x[i], &word, sizeof word);
        }
        sable_vmath(function, n, x, y);
        for (int i = 0; i < n; i++) {
            const bool out = outside(function, x[i]);
            const double error =
                out ? (isnan(y[i]) ? 0 : (double)INFINITY) : distance(y[i], exact(function, (double)x[i]));
            if (!(error < 4))
                print_error("function %d at %a: %a\n", (int)function, (double)x[i], (double)y[i]);
            most = error <= most ? most : isnan(error) ? (double)INFINITY : error;
        }
    }
    return most;
}

static void every_function_keeps_its_bound(void **state)
{
    (void)state;
    static const double bound[SABLE_VMATH_FUNCTIONS] = {1.06, 2.1, 2, 2, 3, 3, 2, 2};
    int broken = 0;
    for (int f = 0; f < SABLE_VMATH_FUNCTIONS; f++) {
        double found = worst((enum sable_vmath_function)f);
        print_message("function %d: %.3f ulp\n", f, found);
        broken += !(found <= bound[f]);
    }
    assert_int_equal(broken, 0);
}

static void every_level_gives_the_same_bits(void **state)
{
    (void)state;
    enum sable_isa best = sable_isa_best();
    static float x[BATCH], y[SABLE_ISA_COUNT][BATCH];
    for (int f = 0; f < SABLE_VMATH_FUNCTIONS; f++)
        for (int64_t bits = 0; bits < (int64_t)1 << 32;) {
            int n = 0;
            for (; n < BATCH && bits < (int64_t)1 << 32; n++, bits += 37 * step) {
                uint32_t word = (uint32_t)bits;
                memcpy(&x[n], &word, sizeof word);
            }
            n -= n > 5 ? 3 : 0; /* a length that no width divides */
            for (int level = 0; level <= (int)best; level++) {
                setenv("SABLE_ISA", sable_isa_name((enum sable_isa)level), 1);
                sable_vmath((enum sable_vmath_function)f, n, x, y[level]);
                for (int i = 0; i < n; i++)
                    if (!isnan(y[0][i]) || !isnan(y[level][i]))
                        assert_memory_equal(&y[0][i], &y[level][i], sizeof(float));
            }
            unsetenv("SABLE_ISA");
        }
}

static void signed_zeros_and_infinities_are_kept(void **state)
{
    (void)state;
    const float x[] = {-0.0F, INFINITY, -INFINITY, -1};
    float y[4];
    sable_vmath(SABLE_VEXPM1, 4, x, y);
    assert_true(signbit(y[0]) && y[0] == 0 && y[1] == INFINITY && y[2] == -1);
    sable_vmath(SABLE_VLOG1P, 4, x, y);
    assert_true(signbit(y[0]) && y[0] == 0 && y[1] == INFINITY && isnan(y[2]) && y[3] == -INFINITY);
    sable_vmath(SABLE_VSIN, 4, x, y);
    assert_true(signbit(y[0]) && y[0] == 0 && isnan(y[1]));
    sable_vmath(SABLE_VSOFTPLUS, 4, x, y);
    assert_true(y[1] == INFINITY && y[2] == 0);
    sable_vmath(SABLE_VSIGMOID, 4, x, y);
    assert_true(y[0] == 0.5F && y[1] == 1 && y[2] == 0);
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "all") == 0)
        step = 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_function_keeps_its_bound),
        cmocka_unit_test(every_level_gives_the_same_bits),
        cmocka_unit_test(signed_zeros_and_infinities_are_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
