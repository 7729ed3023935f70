/* Selective scan with lanes over channels: no sum crosses lanes, so the bits are those of one channel alone. Times come
 * in tiles: u, Δ and z of LANES channels × LANES steps are transposed in registers, the softplus and the gate run on
 * vectors, and 16 (8, 4) states stay in registers for all steps of a tile, while y is kept in L1. exp(Δ A) is 2^(Δ A′)
 * with A′ = A log₂ e, by the shortest polynomial that is good to 2 ulp. 13 vector operations for LANES updates: bounded
 * by arithmetic; memory is read and written once. */
#include "lanes.h"
#include "mamba_isa.h"

enum { AHEAD = 2 /* tiles */ };

struct tile {
    lanes u[LANES], delta[LANES], gate[LANES], y[LANES]; /* [step] of all channels */
};

/* Rows come line by line from 4 × LANES places at once, more than hardware follows: each step of a tile asks for a line
 * of each array of a channel, two tiles ahead, into L2 (rows of a power of two lie in the same set of L1). */
struct ahead {
    const float *rows[4]; /* of the first channel */
    int64_t pitch, count; /* channels; 0 behind the end */
};

static inline void fetch_line(const struct ahead *ahead, int64_t channel)
{
    if (channel < ahead->count)
        for (int i = 0; i < 4; i++)
            __builtin_prefetch(ahead->rows[i] + channel * ahead->pitch, 0, 2);
}

/* Rows `row[channel] + at` of `steps` ≤ LANES elements to vectors by step. */
static inline void gather(const float *rows, int64_t pitch, int64_t count, int64_t steps, lanes to[LANES])
{
    for (int i = 0; i < LANES; i++) {
        const float *row = rows + (i < count ? i : count - 1) * pitch; /* lanes behind the last repeat it */
        if (steps == LANES)
            to[i] = lanes_load(row);
        else {
            float part[LANES] = {0};
            memcpy(part, row, (size_t)steps * sizeof *row);
            to[i] = lanes_load(part);
        }
    }
    lanes_transpose(to);
}

static inline void scatter(lanes from[LANES], int64_t count, int64_t steps, float *rows, int64_t pitch)
{
    lanes_transpose(from);
    for (int64_t i = 0; i < count; i++)
        memcpy(rows + i * pitch, &from[i], (size_t)steps * sizeof(float));
}

/* `states` of one group for the steps of a tile; `a` and `x` are [state] of all channels. */
static inline __attribute__((always_inline)) void advance(int states, const float *a, const float *bc, int64_t padded,
                                                          int64_t steps, const struct ahead *ahead, struct tile *tile,
                                                          float *x)
{
    lanes held[16];
#pragma GCC unroll 16
    for (int n = 0; n < states; n++)
        held[n] = lanes_load(x + n * LANES);
    for (int64_t t = 0; t < steps; t++, bc += 2 * padded) {
        fetch_line(ahead, t);
        lanes delta = tile->delta[t], driven = delta * tile->u[t], y = tile->y[t];
#pragma GCC unroll 16
        for (int n = 0; n < states; n++) {
            lanes decay = lanes_exp2_decay(delta * lanes_load(a + n * LANES));
            held[n] = lanes_fma(held[n], decay, driven * bc[n]);
            y = lanes_fma(lanes_all(bc[padded + n]), held[n], y);
        }
        tile->y[t] = y;
    }
#pragma GCC unroll 16
    for (int n = 0; n < states; n++)
        lanes_store(x + n * LANES, held[n]);
}

static inline void prepare(const struct sable_mamba *m, int64_t offset, int64_t count, int64_t steps, lanes d,
                           lanes bias, struct tile *tile)
{
    gather(m->u + offset, m->length, count, steps, tile->u);
    gather(m->delta + offset, m->length, count, steps, tile->delta);
    for (int t = 0; t < LANES; t++) {
        tile->delta[t] = lanes_softplus(tile->delta[t] + bias);
        tile->y[t] = d * tile->u[t];
    }
    if (m->z) {
        gather(m->z + offset, m->length, count, steps, tile->gate);
        for (int t = 0; t < LANES; t++)
            tile->gate[t] = tile->gate[t] * lanes_sigmoid(tile->gate[t]);
    }
}

int64_t SABLE_ISA_NAME(sable_mamba_width)(void)
{
    return LANES;
}

/* `work` holds A′ and x of the unit, [2, padded N, LANES]. */
void SABLE_ISA_NAME(sable_mamba_unit)(const struct sable_mamba *m, const float *bc, int64_t sequence, int64_t channel,
                                      int64_t count, int64_t begin, int64_t end, float *state, float *y, float *work)
{
    const int64_t padded = mamba_padded(m->states), row = sequence * m->channels + channel;
    float *a = work, *x = work + padded * LANES, d[LANES], bias[LANES];
    memset(work, 0, (size_t)(2 * padded * LANES) * sizeof *work);
    for (int64_t i = 0; i < LANES; i++) {
        int64_t own = i < count ? i : count - 1;
        d[i] = m->d[channel + own];
        bias[i] = m->bias[channel + own];
        for (int64_t n = 0; n < m->states; n++) {
            a[n * LANES + i] = m->a[(channel + own) * m->states + n] * 0x1.715476p+0F;
            x[n * LANES + i] = state[(row + own) * m->states + n];
        }
    }
    for (int64_t t = begin; t < end; t += LANES) {
        struct tile tile;
        int64_t steps = end - t < LANES ? end - t : LANES, n = 0;
        prepare(m, row * m->length + t, count, steps, lanes_load(d), lanes_load(bias), &tile);
        const float *now = bc + t * 2 * padded;
        const int64_t then = row * m->length + t + AHEAD * LANES;
        struct ahead ahead = {{m->u + then, m->delta + then, m->z ? m->z + then : m->u + then, y + then},
                              m->length,
                              t + (AHEAD + 1) * LANES <= end ? count : 0};
        for (; n + 16 <= padded; n += 16)
            advance(16, a + n * LANES, now + n, padded, steps, &ahead, &tile, x + n * LANES);
        for (; n + 8 <= padded; n += 8)
            advance(8, a + n * LANES, now + n, padded, steps, &ahead, &tile, x + n * LANES);
        for (; n < padded; n += 4)
            advance(4, a + n * LANES, now + n, padded, steps, &ahead, &tile, x + n * LANES);
        if (m->z)
            for (int i = 0; i < LANES; i++)
                tile.y[i] *= tile.gate[i];
        scatter(tile.y, count, steps, y + row * m->length + t, m->length);
    }
    for (int64_t i = 0; i < count; i++)
        for (int64_t n = 0; n < m->states; n++)
            state[(row + i) * m->states + n] = x[n * LANES + i];
}
