/* Passes of radix 8 and 4 over vectors of channels. A product by a spectrum goes down the tree of blocks and up again:
 * a block that fits L1 is transformed, multiplied and taken back before the next one is touched, so L2 and beyond see
 * each level above only once down and once up. */
#include "convolution_isa.h"
#include "lanes.h"

enum { NEAR = 32768 /* bytes of a block that stays in L1 */ };
enum { AHEAD = 12 /* rows: each is a line of its own, and no hardware looks so far */ };
enum { DOWN = 1, UP = 2, BOTH = 3 };
static const float root_half = 0x1.6a09e6p-1F;

int64_t SABLE_ISA_NAME(sable_fft_width)(void)
{
    return LANES;
}

/* y_m = Σ_k x_k i^{km}; with re and im swapped the inverse. */
static inline void fourier4(lanes *re, lanes *im, int step)
{
    lanes ar = re[0] + re[2 * step], ai = im[0] + im[2 * step], br = re[0] - re[2 * step], bi = im[0] - im[2 * step];
    lanes cr = re[step] + re[3 * step], ci = im[step] + im[3 * step];
    lanes dr = re[step] - re[3 * step], di = im[step] - im[3 * step];
    re[0] = ar + cr, im[0] = ai + ci;
    re[step] = br - di, im[step] = bi + dr;
    re[2 * step] = ar - cr, im[2 * step] = ai - ci;
    re[3 * step] = br + di, im[3 * step] = bi - dr;
}

/* y_m = Σ_k x_k e^{2πikm/8}: halves, the odd ones turned by eighths, then fours. */
static inline void fourier8(lanes re[8], lanes im[8])
{
    lanes even_re[4], even_im[4], odd_re[4], odd_im[4];
    for (int k = 0; k < 4; k++) {
        even_re[k] = re[k] + re[k + 4], even_im[k] = im[k] + im[k + 4];
        odd_re[k] = re[k] - re[k + 4], odd_im[k] = im[k] - im[k + 4];
    }
    lanes x = odd_re[1], y = odd_im[1], half = lanes_all(root_half);
    odd_re[1] = (x - y) * half, odd_im[1] = (x + y) * half;
    x = odd_re[2], odd_re[2] = -odd_im[2], odd_im[2] = x;
    x = odd_re[3], y = odd_im[3];
    odd_re[3] = -(x + y) * half, odd_im[3] = (x - y) * half;
    fourier4(even_re, even_im, 1);
    fourier4(odd_re, odd_im, 1);
    for (int m = 0; m < 4; m++) {
        re[2 * m] = even_re[m], im[2 * m] = even_im[m];
        re[2 * m + 1] = odd_re[m], im[2 * m + 1] = odd_im[m];
    }
}

static inline void fourier(int radix, lanes *re, lanes *im)
{
    if (radix == 8)
        fourier8(re, im);
    else
        fourier4(re, im, 1);
}

/* One block of radix × step points. */
static inline void pass_down(int radix, int64_t step, const float *turn, lanes *z)
{
    for (int64_t j = 0; j < step; j++, z += 2) {
        lanes re[8], im[8];
        re[0] = z[0], im[0] = z[1];
#pragma GCC unroll 8
        for (int k = 1; k < radix; k++) {
            const lanes x = z[2 * k * step], y = z[2 * k * step + 1];
            lanes_complex_multiply(x, y, lanes_all(turn[2 * k - 2]), lanes_all(turn[2 * k - 1]), &re[k], &im[k]);
        }
        fourier(radix, re, im);
#pragma GCC unroll 8
        for (int m = 0; m < radix; m++)
            z[2 * m * step] = re[m], z[2 * m * step + 1] = im[m];
    }
}

static inline void pass_up(int radix, int64_t step, const float *turn, lanes *z)
{
    for (int64_t j = 0; j < step; j++, z += 2) {
        lanes re[8], im[8];
#pragma GCC unroll 8
        for (int m = 0; m < radix; m++)
            re[m] = z[2 * m * step], im[m] = z[2 * m * step + 1];
        fourier(radix, im, re);
        z[0] = re[0], z[1] = im[0];
#pragma GCC unroll 8
        for (int k = 1; k < radix; k++)
            lanes_complex_multiply(re[k], im[k], lanes_all(turn[2 * k - 2]), -lanes_all(turn[2 * k - 1]),
                                   &z[2 * k * step], &z[2 * k * step + 1]);
    }
}

static void level_down(const struct sable_fft *fft, int level, int64_t block, int64_t blocks, int64_t n, lanes *z)
{
    const int radix = fft->radix[level], each = 2 * (radix - 1);
    const float *turn = fft->turn + fft->first[level] + block * each;
    for (int64_t b = 0; b < blocks; b++, turn += each, z += 2 * n) {
        if (radix == 8)
            pass_down(8, n / 8, turn, z);
        else
            pass_down(4, n / 4, turn, z);
    }
}

static void level_up(const struct sable_fft *fft, int level, int64_t block, int64_t blocks, int64_t n, lanes *z)
{
    const int radix = fft->radix[level], each = 2 * (radix - 1);
    const float *turn = fft->turn + fft->first[level] + block * each;
    for (int64_t b = 0; b < blocks; b++, turn += each, z += 2 * n) {
        if (radix == 8)
            pass_up(8, n / 8, turn, z);
        else
            pass_up(4, n / 4, turn, z);
    }
}

static inline void multiply(int64_t n, lanes *z, const lanes *by)
{
    for (int64_t i = 0; i < 2 * n; i += 2)
        lanes_complex_multiply(z[i], z[i + 1], by[i], by[i + 1], &z[i], &z[i + 1]);
}

/* A block of n points at `level`, which is small: level by level. */
static void walk_near(const struct sable_fft *fft, int ways, int level, int64_t block, int64_t n, lanes *z,
                      const lanes *by)
{
    int64_t blocks = 1, span = n, first = block;
    for (int l = level; l < fft->levels; l++) {
        if (ways & DOWN)
            level_down(fft, l, first, blocks, span, z);
        first *= fft->radix[l], blocks *= fft->radix[l], span /= fft->radix[l];
    }
    if (by)
        multiply(n, z, by);
    for (int l = fft->levels - 1; l >= level && (ways & UP); l--) {
        first /= fft->radix[l], blocks /= fft->radix[l], span *= fft->radix[l];
        level_up(fft, l, first, blocks, span, z);
    }
}

static void walk(const struct sable_fft *fft, int ways, int level, int64_t block, int64_t n, lanes *z, const lanes *by)
{
    if (level >= fft->levels || 2 * n * (int64_t)sizeof(lanes) <= NEAR) {
        walk_near(fft, ways, level, block, n, z, by);
        return;
    }
    const int radix = fft->radix[level];
    const int64_t step = n / radix;
    if (ways & DOWN)
        level_down(fft, level, block, 1, n, z);
    for (int m = 0; m < radix; m++)
        walk(fft, ways, level + 1, block * radix + m, step, z + 2 * m * step, by ? by + 2 * m * step : NULL);
    if (ways & UP)
        level_up(fft, level, block, 1, n, z);
}

/* The first level: rows are real, and those from `length` on are zero. */
static inline void read_root(int radix, const struct sable_fft *fft, int64_t pitch, int64_t count, int64_t length,
                             const float *x, lanes *z)
{
    const int64_t step = fft->size / radix;
    const float *turn = fft->turn;
    for (int64_t j = 0; j < step; j++) {
        lanes re[8], im[8];
        for (int k = 0; k < radix; k++) {
            const int64_t t = j + k * step;
            if (t + AHEAD < length)
                __builtin_prefetch(x + (t + AHEAD) * pitch);
            const lanes row = t < length ? lanes_load_row(x + t * pitch, count) : lanes_all(0);
            re[k] = k > 0 ? row * turn[2 * k - 2] : row;
            im[k] = k > 0 ? row * turn[2 * k - 1] : lanes_all(0);
        }
        fourier(radix, re, im);
        for (int m = 0; m < radix; m++)
            z[2 * (j + m * step)] = re[m], z[2 * (j + m * step) + 1] = im[m];
    }
}

/* The last one: row j + k·step is the real part of value k turned back, row M + … the imaginary one. */
static inline void write_root(int radix, const struct sable_fft *fft, int64_t pitch, int64_t count, int64_t length,
                              const lanes *z, const float *u, lanes skip, float *y)
{
    const int64_t step = fft->size / radix;
    const float *turn = fft->turn;
    for (int64_t j = 0; j < step; j++) {
        lanes re[8], im[8];
        for (int m = 0; m < radix; m++)
            re[m] = z[2 * (j + m * step)], im[m] = z[2 * (j + m * step) + 1];
        fourier(radix, im, re);
        for (int k = 0; k < radix; k++) {
            const int64_t t = j + k * step;
            const lanes c = lanes_all(k > 0 ? turn[2 * k - 2] : 1), s = lanes_all(k > 0 ? turn[2 * k - 1] : 0);
            if (t + AHEAD < length) {
                __builtin_prefetch(y + (t + AHEAD) * pitch, 1);
                if (u)
                    __builtin_prefetch(u + (t + AHEAD) * pitch);
            }
            if (t < length) {
                lanes low = k > 0 ? lanes_fma(im[k], s, re[k] * c) : re[k];
                lanes_store_row(y + t * pitch, u ? lanes_fma(skip, lanes_load_row(u + t * pitch, count), low) : low,
                                count);
            }
            if (fft->size + t < length)
                lanes_store_row(y + (fft->size + t) * pitch, k > 0 ? lanes_fma(-re[k], s, im[k] * c) : im[k], count);
        }
    }
}

static void read_first(const struct sable_fft *fft, int64_t pitch, int64_t count, int64_t length, const float *x,
                       lanes *z)
{
    if (fft->radix[0] == 8)
        read_root(8, fft, pitch, count, length, x, z);
    else
        read_root(4, fft, pitch, count, length, x, z);
}

static void write_last(const struct sable_fft *fft, int64_t pitch, int64_t count, int64_t length, const lanes *z,
                       const float *u, lanes skip, float *y)
{
    if (fft->radix[0] == 8)
        write_root(8, fft, pitch, count, length, z, u, skip, y);
    else
        write_root(4, fft, pitch, count, length, z, u, skip, y);
}

static void branches(const struct sable_fft *fft, int ways, lanes *z, const lanes *by)
{
    const int64_t step = fft->size / fft->radix[0];
    for (int m = 0; m < fft->radix[0]; m++)
        walk(fft, ways, 1, m, step, z + 2 * m * step, by ? by + 2 * m * step : NULL);
}

void SABLE_ISA_NAME(sable_fft_forward)(const struct sable_fft *fft, int64_t pitch, int64_t count, int64_t length,
                                       const float *x, float *z)
{
    read_first(fft, pitch, count, length, x, (lanes *)(void *)z);
    branches(fft, DOWN, (lanes *)(void *)z, NULL);
}

void SABLE_ISA_NAME(sable_fft_backward)(const struct sable_fft *fft, int64_t pitch, int64_t count, int64_t length,
                                        float *z, float *x)
{
    branches(fft, UP, (lanes *)(void *)z, NULL);
    write_last(fft, pitch, count, length, (const lanes *)(const void *)z, NULL, lanes_all(0), x);
}

void SABLE_ISA_NAME(sable_fft_filter)(const struct sable_fft *fft, int64_t pitch, int64_t count, int64_t length,
                                      const float *u, const float *spectrum, const float *skip, float *y, float *z)
{
    const lanes d = skip ? lanes_load_row(skip, count) : lanes_all(0);
    read_first(fft, pitch, count, length, u, (lanes *)(void *)z);
    branches(fft, BOTH, (lanes *)(void *)z, (const lanes *)(const void *)spectrum);
    write_last(fft, pitch, count, length, (const lanes *)(const void *)z, skip ? u : NULL, d, y);
}
