/* c′ = Ā c + B̄ f for a group of channels: four rows of Ā at once over two vectors of channels hide the multiply-adds'
 * latency and reuse each load of c four times; c stays in L1. */
#include "lanes.h"
#include "sable_hippo.h"
#include "sable_window.h"
#include "window_isa.h"

enum { VECTORS = SABLE_LEGS_GROUP / LANES, ROWS = 4, PAIR = VECTORS < 2 ? VECTORS : 2 };

void SABLE_ISA_NAME(sable_window_group)(int64_t order, const float *next, const float *gain, const float *f,
                                        const float *c, float *into)
{
    int64_t n = 0;
    for (; n + ROWS <= order; n += ROWS)
        for (int v = 0; v < VECTORS; v += PAIR) {
            lanes sum[ROWS][PAIR];
            for (int r = 0; r < ROWS; r++)
                for (int j = 0; j < PAIR; j++)
                    sum[r][j] = lanes_all(gain[n + r]) * lanes_load(f + (v + j) * LANES);
            for (int64_t first = 0; first < order; first += SABLE_WINDOW_BLOCK) {
                const int64_t end = order - first < SABLE_WINDOW_BLOCK ? order : first + SABLE_WINDOW_BLOCK;
                lanes part[ROWS][PAIR] = {{{0}}};
                for (int64_t k = first; k < end; k++)
                    for (int r = 0; r < ROWS; r++) {
                        lanes factor = lanes_all(next[(n + r) * order + k]);
                        for (int j = 0; j < PAIR; j++)
                            part[r][j] =
                                lanes_fma(factor, lanes_load(c + k * SABLE_LEGS_GROUP + (v + j) * LANES), part[r][j]);
                    }
                for (int r = 0; r < ROWS; r++)
                    for (int j = 0; j < PAIR; j++)
                        sum[r][j] += part[r][j];
            }
            for (int r = 0; r < ROWS; r++)
                for (int j = 0; j < PAIR; j++)
                    lanes_store(into + (n + r) * SABLE_LEGS_GROUP + (v + j) * LANES, sum[r][j]);
        }
    for (; n < order; n++)
        for (int v = 0; v < VECTORS; v++) {
            lanes sum = lanes_all(gain[n]) * lanes_load(f + v * LANES);
            for (int64_t first = 0; first < order; first += SABLE_WINDOW_BLOCK) {
                const int64_t end = order - first < SABLE_WINDOW_BLOCK ? order : first + SABLE_WINDOW_BLOCK;
                lanes part = {0};
                for (int64_t k = first; k < end; k++)
                    part = lanes_fma(lanes_all(next[n * order + k]), lanes_load(c + k * SABLE_LEGS_GROUP + v * LANES),
                                     part);
                sum += part;
            }
            lanes_store(into + n * SABLE_LEGS_GROUP + v * LANES, sum);
        }
}
