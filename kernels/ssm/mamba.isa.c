/* Selective scan with lanes over channels: no sum crosses lanes, so the bits are those of one channel alone. Times come
 * in tiles: u, Δ and z of LANES channels × LANES steps are transposed in registers, the softplus and the gate run on
 * vectors, and 16 (8, 4) states stay in registers for all steps of a tile, while y is kept in L1. exp(Δ A) is 2^(Δ A′)
 * with A′ = A log₂ e, by the shortest polynomial that is good to 2 ulp. 12 (below AVX-512 13 or more) vector operations
 * for LANES updates: bounded by arithmetic while data are in caches; memory is read and written once. */
#include "lanes_math.h"
#include "mamba_isa.h"

enum { AHEAD = 2 /* tiles */ };
#if defined(__AVX512F__)
enum { ABREAST = 4 /* exponentials, as registers allow */ };
#else
enum { ABREAST = 2 };
#endif

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
    if (count == LANES && steps == LANES) {
        lanes_load_columns(rows, pitch, to);
        return;
    }
    for (int i = 0; i < LANES; i++)
        to[i] = lanes_load_row(rows + (i < count ? i : count - 1) * pitch, steps); /* behind the last: the last */
    lanes_transpose(to);
}

static inline void scatter(lanes from[LANES], int64_t count, int64_t steps, float *rows, int64_t pitch)
{
    lanes_transpose(from);
    if (steps == LANES)
        for (int64_t i = 0; i < count; i++)
            lanes_store(rows + i * pitch, from[i]);
    else
        for (int64_t i = 0; i < count; i++)
            lanes_store_some(rows + i * pitch, from[i], steps);
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
#pragma GCC unroll 8
        for (int n = 0; n < states; n += ABREAST) {
            lanes decay[ABREAST];
#pragma GCC unroll 4
            for (int i = 0; i < ABREAST; i++)
                decay[i] = delta * lanes_load(a + (n + i) * LANES);
            lanes_exp2_decays(ABREAST, decay, decay);
#pragma GCC unroll 4
            for (int i = 0; i < ABREAST; i++)
                held[n + i] = lanes_fma(held[n + i], decay[i], driven * bc[n + i]);
#pragma GCC unroll 4
            for (int i = 0; i < ABREAST; i++)
                y = lanes_fma(lanes_all(bc[padded + n + i]), held[n + i], y);
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
    for (int t = 0; t < LANES; t += ABREAST) {
        lanes raw[ABREAST];
#pragma GCC unroll 4
        for (int i = 0; i < ABREAST; i++)
            raw[i] = tile->delta[t + i] + bias;
        lanes_softpluses(ABREAST, raw, tile->delta + t);
#pragma GCC unroll 4
        for (int i = 0; i < ABREAST; i++)
            tile->y[t + i] = d * tile->u[t + i];
    }
    if (m->z) {
        gather(m->z + offset, m->length, count, steps, tile->gate);
        for (int t = 0; t < LANES; t += ABREAST) {
            lanes sigmoid[ABREAST];
            lanes_sigmoids(ABREAST, tile->gate + t, sigmoid);
#pragma GCC unroll 4
            for (int i = 0; i < ABREAST; i++)
                tile->gate[t + i] *= sigmoid[i];
        }
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
