/* Products of rows by weights: within the rounding of a chain of multiply-adds, the same bits at every level. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>
#include <math.h>
#include <string.h>

#include "sable_array.h"
#include "sable_attention.h"
#include "sable_isa.h"
#include "sable_product.h"

enum { PITCH_MORE = 3 }; /* elements between rows that belong to nobody */

static int leave_level(void **state)
{
    (void)state;
    unsetenv("SABLE_ISA");
    return 0;
}

/* Two groups of the same weights, each with its own result. */
static float *multiply(int threads, int64_t rows, int64_t depth, int64_t width, const float *x, const float *w)
{
    const int64_t pitch = width + PITCH_MORE, packed = sable_product_packed(depth, width);
    float *both = sable_array(packed, 2, sizeof *both), *y = sable_array(rows * pitch, 2, sizeof *y);
    for (int64_t i = 0; i < 2 * rows * pitch; i++)
        y[i] = 77;
    for (int g = 0; g < 2; g++)
        sable_product_pack(depth, width, w, both + g * packed);
    const struct sable_product product = {rows, width, 2, x, depth, both, y, pitch, rows * pitch, false, false};
    sable_products(threads, depth, 1, &product);
    sable_array_free(both);
    return y;
}

static void one_shape(int64_t rows, int64_t depth, int64_t width)
{
    const int64_t pitch = width + PITCH_MORE;
    float *x = sable_array(rows, depth, sizeof *x), *w = sable_array(depth, width, sizeof *w), *first = NULL;
    double *exact = sable_array(width, 1, sizeof *exact);
    sable_attention_draw(3, 1, 0, rows * depth, x);
    sable_attention_draw(3, 2, 0, depth * width, w);
    for (int level = 0; level <= (int)sable_isa_best(); level++)
        for (int threads = 1; threads <= 3; threads += 2) {
            setenv("SABLE_ISA", sable_isa_name((enum sable_isa)level), 1);
            float *y = multiply(threads, rows, depth, width, x, w);
            assert_memory_equal(y, y + rows * pitch, (size_t)(rows * pitch) * sizeof *y);
            if (first)
                assert_memory_equal(y, first, (size_t)(rows * pitch) * sizeof *y);
            for (int64_t r = 0; r < rows && !first; r++) {
                sable_product_row_reference(depth, width, x + r * depth, w, exact);
                for (int64_t c = 0; c < width; c++) /* |x w| ≤ 4, a rounding of each partial sum */
                    assert_true(fabs((double)y[r * pitch + c] - exact[c]) <=
                                0x1p-24 * (double)depth * 4 * (double)depth);
                for (int64_t c = width; c < pitch; c++)
                    assert_true(y[r * pitch + c] == 77);
            }
            if (first)
                sable_array_free(y);
            else
                first = y;
        }
    sable_array_free(first);
    sable_array_free(x);
    sable_array_free(w);
    sable_array_free(exact);
}

static void products_are_right_and_the_same_at_every_level(void **state)
{
    (void)state;
    const int64_t shape[][3] = {{1, 1, 1}, {5, 3, 17}, {7, 129, 64}, {100, 40, 72}, {13, 257, 130}};
    for (size_t i = 0; i < sizeof shape / sizeof *shape; i++)
        one_shape(shape[i][0], shape[i][1], shape[i][2]);
}

/* A chain in order: 1 + 2⁻²⁴ + 2⁻²⁴ stays 1 after each step, another bracketing gives more. */
static void sums_are_one_chain_in_order(void **state)
{
    (void)state;
    enum { DEPTH = 300 };
    float x[DEPTH], w[DEPTH];
    for (int i = 0; i < DEPTH; i++)
        x[i] = i ? 0x1p-24F : 1, w[i] = 1;
    float *y = multiply(1, 1, DEPTH, 1, x, w);
    assert_true(y[0] == 1);
    sable_array_free(y);
}

/* x, w or both as bfloat16: the bits of the same values as floats. */
static void bf16_has_the_bits_of_the_same_values_as_floats(void **state)
{
    enum { ROWS = 101, DEPTH = 301, WIDTH = 131, PITCH = DEPTH + 1 };
    (void)state;
    float *x = sable_array(ROWS, DEPTH, sizeof *x), *w = sable_array(DEPTH, WIDTH, sizeof *w);
    float *y = sable_array(ROWS, WIDTH, sizeof *y), *first = NULL;
    uint16_t *half_x = sable_array(ROWS, PITCH, sizeof *half_x);
    uint16_t *half_w = sable_array(sable_product_packed(DEPTH, WIDTH), 1, sizeof *half_w);
    float *packed = sable_array(sable_product_packed(DEPTH, WIDTH), 1, sizeof *packed);
    sable_attention_draw(3, 1, 0, ROWS * DEPTH, x);
    sable_attention_draw(3, 2, 0, DEPTH * WIDTH, w);
    sable_attention_to_bf16(ROWS, DEPTH, x, half_x);
    sable_product_pack_bf16(DEPTH, WIDTH, w, half_w);
    for (int64_t i = 0; i < ROWS * DEPTH; i++)
        x[i] = sable_attention_from_bf16(half_x[i / DEPTH * PITCH + i % DEPTH]);
    for (int64_t i = 0; i < DEPTH * WIDTH; i++) {
        uint16_t one[2];
        sable_attention_to_bf16(1, 1, w + i, one);
        w[i] = sable_attention_from_bf16(one[0]);
    }
    sable_product_pack(DEPTH, WIDTH, w, packed);
    for (int level = 0; level <= (int)sable_isa_best(); level++)
        for (int kind = 0; kind < 4; kind++) {
            const bool of_x = kind % 2, of_w = kind / 2;
            setenv("SABLE_ISA", sable_isa_name((enum sable_isa)level), 1);
            const struct sable_product product = {ROWS,
                                                  WIDTH,
                                                  1,
                                                  of_x ? (void *)half_x : x,
                                                  of_x ? PITCH : DEPTH,
                                                  of_w ? (void *)half_w : packed,
                                                  y,
                                                  WIDTH,
                                                  0,
                                                  of_x,
                                                  of_w};
            memset(y, 0, ROWS * WIDTH * sizeof *y);
            sable_products(1 + kind % 3, DEPTH, 1, &product);
            if (first)
                assert_memory_equal(y, first, ROWS * WIDTH * sizeof *y);
            if (!first) {
                first = y;
                y = sable_array(ROWS, WIDTH, sizeof *y);
            }
        }
    unsetenv("SABLE_ISA");
    void *const arrays[] = {x, w, y, first, half_x, half_w, packed};
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++)
        sable_array_free(arrays[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(products_are_right_and_the_same_at_every_level, leave_level),
        cmocka_unit_test(sums_are_one_chain_in_order),
        cmocka_unit_test(bf16_has_the_bits_of_the_same_values_as_floats),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
