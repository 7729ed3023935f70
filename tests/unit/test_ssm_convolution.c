/* Convolution by right-angle transforms, against the sums they stand for. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "convolution_isa.h"
#include "sable_array.h"
#include "sable_convolution.h"
#include "sable_random.h"

static float draw(uint32_t purpose, int64_t i)
{
    struct sable_random_block drawn = sable_random(7, purpose, (uint64_t)i, 0);
    return (float)(2 * sable_random_unit(drawn.word[0], drawn.word[1]) - 1);
}

static float *drawn(uint32_t purpose, int64_t n)
{
    float *x = sable_array(n, 1, sizeof *x);
    assert_non_null(x);
    for (int64_t i = 0; i < n; i++)
        x[i] = draw(purpose, i);
    return x;
}

static void convolution_is_the_causal_sum(void **state)
{
    (void)state;
    static const int64_t lengths[] = {1, 2, 3, 4, 5, 8, 13, 16, 31, 64, 100, 257, 1000};
    for (size_t l = 0; l < sizeof lengths / sizeof *lengths; l++)
        for (int64_t channels = 1; channels <= 19; channels += 6) {
            const int64_t length = lengths[l], sequences = 2, n = length * channels;
            struct sable_fft fft;
            double forward, backward;
            assert_true(sable_fft_plan(sable_fft_size(length), &fft));
            float *u = drawn(1, sequences * n), *k = drawn(2, sable_kernel_floats(channels, length)),
                  *d = drawn(3, channels), *y = drawn(4, sequences * n);
            float *spectrum = sable_array(sable_spectrum_floats(fft.size, channels), 1, sizeof(float));
            float *room = sable_array(sable_convolution_room(fft.size, 64), 1, sizeof(float));
            assert_true(spectrum && room);
            sable_spectrum(&fft, channels, length, k, spectrum);
            sable_convolve(&fft, sequences, channels, length, u, spectrum, d, y, room);
            sable_convolution_error(fft.size, &forward, &backward);
            for (int64_t b = 0; b < sequences; b++)
                for (int64_t h = 0; h < channels; h++) {
                    double uu = 0, kk = 0, yy = 0, worst = 0;
                    for (int64_t t = 0; t < 2 * length; t++) {
                        double sum = 0;
                        for (int64_t s = t < length ? 0 : t - length + 1; s <= t && s < length; s++)
                            sum +=
                                (double)k[sable_kernel_index(length, h, s)] * (double)u[b * n + (t - s) * channels + h];
                        yy += sum * sum;
                        if (t < length) {
                            const double x = (double)u[b * n + t * channels + h],
                                         kt = (double)k[sable_kernel_index(length, h, t)];
                            uu += x * x;
                            kk += kt * kt;
                            sum += (double)d[h] * x;
                            worst = fmax(worst, fabs((double)y[b * n + t * channels + h] - sum));
                        }
                    }
                    assert_true(worst <= 0x1p-24 * (forward * sqrt(kk * uu) + backward * sqrt(yy) + 2 * sqrt(uu)));
                    assert_true(worst < 1e-5 * (1 + sqrt(kk * uu)));
                }
            sable_fft_free(&fft);
            float *all[] = {u, k, d, y, spectrum, room};
            for (size_t i = 0; i < 6; i++)
                sable_array_free(all[i]);
        }
}

static void values_are_those_of_the_polynomial_at_the_nodes(void **state)
{
    (void)state;
    for (int64_t size = 4; size <= 512; size *= 2) {
        struct sable_fft fft;
        const int64_t width = SABLE_ISA_PICK(sable_fft_width)();
        assert_true(sable_fft_plan(size, &fft));
        float *x = drawn(1, 2 * size), *z = sable_array(2 * size, width, sizeof(float)), *back = drawn(2, 2 * size);
        assert_non_null(z);
        SABLE_ISA_PICK(sable_fft_forward)(&fft, 1, 1, size, x, z);
        for (int64_t i = 0; i < size; i++) {
            double re = 0, im = 0, angle = 6.283185307179586476925 * sable_fft_node(&fft, i);
            for (int64_t t = 0; t < size; t++) {
                re += (double)x[t] * cos(angle * (double)t);
                im += (double)x[t] * sin(angle * (double)t);
            }
            assert_true(hypot((double)z[2 * i * width] - re, (double)z[(2 * i + 1) * width] - im) <
                        1e-6 * sqrt((double)size) * log2((double)size));
        }
        SABLE_ISA_PICK(sable_fft_backward)(&fft, 1, 1, 2 * size, z, back);
        for (int64_t t = 0; t < 2 * size; t++)
            assert_true(fabs((double)back[t] / (double)size - (t < size ? (double)x[t] : 0)) < 3e-6);
        sable_fft_free(&fft);
        sable_array_free(x), sable_array_free(z), sable_array_free(back);
    }
}

static void energy_is_kept_by_the_transform(void **state)
{
    (void)state;
    struct sable_fft fft;
    double energy, transformed, forward, backward;
    assert_true(sable_fft_plan(1024, &fft));
    float *x = drawn(1, 1000 * 3), *room = sable_array(sable_convolution_room(1024, 1), 1, sizeof(float));
    assert_non_null(room);
    sable_convolution_energy(&fft, 3, 1000, 2, x, room, &energy, &transformed);
    sable_convolution_error(1024, &forward, &backward);
    assert_true(energy > 100 && fabs(transformed / energy - 1) <= 2 * backward * 0x1p-24);
    sable_fft_free(&fft);
    sable_array_free(x), sable_array_free(room);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(convolution_is_the_causal_sum),
        cmocka_unit_test(values_are_those_of_the_polynomial_at_the_nodes),
        cmocka_unit_test(energy_is_kept_by_the_transform),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
