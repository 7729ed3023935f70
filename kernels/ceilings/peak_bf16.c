/* The units for bfloat16 dot products lie beyond the levels of sable_isa.h: functions for them carry their own target
 * attributes, and run only after the processor and the operating system were asked. */
#define _GNU_SOURCE /* syscall */
#include "sable_peaks.h"

#if defined(__x86_64__) && defined(__linux__)

#include <cpuid.h>
#include <immintrin.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { BF16_ONE = 0x3f80, BF16_TWO = 0x4000 };

/* ---- AVX512-BF16: each fp32 lane gains the products of two pairs ---- */

enum { VECTORS = 16, VECTOR_LANES = 16, VECTOR_PAIRS = 2 };

__attribute__((target("avx512f,avx512bw,avx512vl,avx512bf16"))) static double gain_avx512(int64_t steps)
{
    __m512bh a = (__m512bh)_mm512_set1_epi16(BF16_ONE), b = (__m512bh)_mm512_set1_epi16(BF16_TWO);
    __m512 x[VECTORS];
    for (int k = 0; k < VECTORS; k++) /* start apart, or the compiler would keep only one */
        x[k] = _mm512_set1_ps((float)k);
    for (int64_t i = 0; i < steps; i++)
#pragma GCC unroll 16
        for (int k = 0; k < VECTORS; k++)
            x[k] = _mm512_dpbf16_ps(x[k], a, b);
    double gain = 0;
    for (int k = 0; k < VECTORS; k++)
        for (int lane = 0; lane < VECTOR_LANES; lane++)
            gain += (double)x[k][lane] - k;
    return gain / (VECTORS * VECTOR_LANES);
}

/* ---- AMX: a tile of 16 × 16 fp32 gains the product of 16 × 32 and 32 × 16 bfloat16 ---- */

enum { TILES = 6, TILE_ROWS = 16, TILE_COLUMNS = 16, TILE_PAIRS = 32, ROW_BYTES = 64 };

struct tile_shapes { /* LDTILECFG's operand */
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
};

__attribute__((target("amx-tile,amx-bf16"))) static double gain_amx(int64_t steps)
{
    struct tile_shapes shapes = {.palette = 1};
    for (int tile = 0; tile < TILES + 2; tile++) {
        shapes.row_bytes[tile] = ROW_BYTES;
        shapes.rows[tile] = TILE_ROWS;
    }
    uint16_t a[TILE_ROWS][TILE_PAIRS], b[TILE_ROWS][TILE_PAIRS];
    for (int row = 0; row < TILE_ROWS; row++)
        for (int pair = 0; pair < TILE_PAIRS; pair++) {
            a[row][pair] = BF16_ONE;
            b[row][pair] = BF16_TWO;
        }
    _tile_loadconfig(&shapes);
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    _tile_zero(4);
    _tile_zero(5);
    _tile_loadd(6, a, ROW_BYTES);
    _tile_loadd(7, b, ROW_BYTES);
    for (int64_t i = 0; i < steps; i++) { /* tile numbers are part of the instruction */
        _tile_dpbf16ps(0, 6, 7);
        _tile_dpbf16ps(1, 6, 7);
        _tile_dpbf16ps(2, 6, 7);
        _tile_dpbf16ps(3, 6, 7);
        _tile_dpbf16ps(4, 6, 7);
        _tile_dpbf16ps(5, 6, 7);
    }
    float sums[TILES][TILE_ROWS][TILE_COLUMNS];
    _tile_stored(0, sums[0], ROW_BYTES);
    _tile_stored(1, sums[1], ROW_BYTES);
    _tile_stored(2, sums[2], ROW_BYTES);
    _tile_stored(3, sums[3], ROW_BYTES);
    _tile_stored(4, sums[4], ROW_BYTES);
    _tile_stored(5, sums[5], ROW_BYTES);
    _tile_release();
    double gain = 0;
    for (int i = 0; i < TILES * TILE_ROWS * TILE_COLUMNS; i++)
        gain += (double)(&sums[0][0][0])[i];
    return gain / (TILES * TILE_ROWS * TILE_COLUMNS);
}

/* Linux saves the 8 KiB of tiles for a process only after it has asked. */
static bool permitted_amx(void)
{
    enum { ARCH_REQ_XCOMP_PERM = 0x1023, XFEATURE_XTILEDATA = 18 };
    return syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0;
}

/* The compilers' __builtin_cpu_supports of this age knows neither unit: leaf 7 of CPUID tells. */
bool sable_bf16_available(enum sable_bf16_unit unit)
{
    unsigned eax, ebx, ecx, edx;
    if (!__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx))
        return false;
    bool tiles = edx >> 24 & 1, tile_bf16 = edx >> 22 & 1;
    if (unit == SABLE_BF16_AMX)
        return tiles && tile_bf16 && permitted_amx();
    /* The builtin also asks whether the operating system saves the vectors. */
    bool vectors =
        __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
    return vectors && __get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx) && (eax >> 5 & 1);
}

double sable_peak_bf16(enum sable_bf16_unit unit, int threads, int64_t steps, double *flops)
{
    static const double products[SABLE_BF16_UNITS] = {[SABLE_BF16_AVX512] = VECTORS * VECTOR_LANES * VECTOR_PAIRS,
                                                      [SABLE_BF16_AMX] = TILES * TILE_ROWS * TILE_COLUMNS * TILE_PAIRS};
    *flops = 0;
    if (!sable_bf16_available(unit))
        return 0;
    double gain = 0;
    int team = 0;
#pragma omp parallel num_threads(threads) reduction(+ : gain, team)
    {
        gain += unit == SABLE_BF16_AMX ? gain_amx(steps) : gain_avx512(steps);
        team += 1;
    }
    *flops = 2 * products[unit] * (double)steps * team;
    return gain / team;
}

#else

bool sable_bf16_available(enum sable_bf16_unit unit)
{
    (void)unit;
    return false;
}

double sable_peak_bf16(enum sable_bf16_unit unit, int threads, int64_t steps, double *flops)
{
    (void)unit, (void)threads, (void)steps;
    *flops = 0;
    return 0;
}

#endif
