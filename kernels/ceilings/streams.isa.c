/* One thread's part of each stream: n a multiple of 4 vectors, everything aligned to 64 bytes. */
#include "ceilings_isa.h"
#include "ceilings_lanes.h"
#include "sable_latencies.h"

enum { LANES = LANE_BYTES / sizeof(double), UNROLL = 4 };

/* Keeps the compiler from taking a copying loop for memcpy, which chooses its own stores. */
#define KEEP_THE_LOOP() __asm__ volatile("" ::: "memory")

uint64_t SABLE_ISA_NAME(sable_read_words)(int64_t n, const double *x)
{
    words sum[UNROLL] = {0};
    for (int64_t i = 0; i < n; i += UNROLL * LANES)
#pragma GCC unroll 4
        for (int j = 0; j < UNROLL; j++)
            sum[j] += *(const words *)(x + i + j * LANES);
    sum[0] += sum[1] + sum[2] + sum[3];
    uint64_t total = 0;
    for (int lane = 0; lane < (int)LANES; lane++)
        total += sum[0][lane];
    return total;
}

static inline lanes64 load(const double *from)
{
    return *(const lanes64 *)from;
}

void SABLE_ISA_NAME(sable_copy_regular)(int64_t n, const double *restrict x, double *restrict y)
{
    for (int64_t i = 0; i < n; i += UNROLL * LANES) {
#pragma GCC unroll 4
        for (int j = 0; j < UNROLL; j++)
            *(lanes64 *)(y + i + j * LANES) = load(x + i + j * LANES);
        KEEP_THE_LOOP();
    }
}

void SABLE_ISA_NAME(sable_copy_streaming)(int64_t n, const double *restrict x, double *restrict y)
{
    for (int64_t i = 0; i < n; i += UNROLL * LANES)
#pragma GCC unroll 4
        for (int j = 0; j < UNROLL; j++)
            store_streaming(y + i + j * LANES, load(x + i + j * LANES));
    finish_streaming();
}

void SABLE_ISA_NAME(sable_triad_regular)(int64_t n, double s, const double *restrict x, const double *restrict z,
                                         double *restrict y)
{
    for (int64_t i = 0; i < n; i += UNROLL * LANES)
#pragma GCC unroll 4
        for (int j = 0; j < UNROLL; j++)
            *(lanes64 *)(y + i + j * LANES) = load(x + i + j * LANES) + s * load(z + i + j * LANES);
}

void SABLE_ISA_NAME(sable_triad_streaming)(int64_t n, double s, const double *restrict x, const double *restrict z,
                                           double *restrict y)
{
    for (int64_t i = 0; i < n; i += UNROLL * LANES)
#pragma GCC unroll 4
        for (int j = 0; j < UNROLL; j++)
            store_streaming(y + i + j * LANES, load(x + i + j * LANES) + s * load(z + i + j * LANES));
    finish_streaming();
}

uint64_t SABLE_ISA_NAME(sable_gather_words)(uint32_t first, int64_t count, uint32_t mask, const uint64_t *table)
{
    uint64_t sum = 0;
    for (int64_t i = 0; i < count; i++)
        sum += table[sable_gather_index(first + (uint32_t)i) & mask];
    return sum;
}
