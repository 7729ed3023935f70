/* S4D on vectors of channels.
 *
 * Kernel: k_{iT+j} = Σ_n Re(g_n q_n^{iT} · q_n^j), for each channel a product of the matrices [rows, 2P] and [2P, T] of
 * powers; tiles of 4 × 4 vectors of channels stay in registers, 32 multiply-adds for 16 loads.
 *
 * Steps: four pairs' factors and states stay in registers for a block of steps whose y is gathered in L1; steps of one
 * pair wait for each other, four pairs hide it. Bounded by arithmetic: 6 operations a pair and step. Several vectors of
 * channels take turns block by block, so that rows of u and y are longer pieces of memory. */
#include <stdbool.h>

#include "lanes.h"
#include "lanes64.h"
#include "s4d_isa.h"
#include "sable_convolution.h"

/* Rows of tables are lines far apart, many of which share a set of L1: those of PACKED pairs are copied together. */
enum { PACKED = 64 };
enum { EVERY = 8 /* steps */ };
enum { STEPS = 64 /* u and y of a block: 8 KiB */, TOGETHER = 4 };

int64_t SABLE_ISA_NAME(sable_s4d_width)(void)
{
    return LANES;
}

/* ---- The kernel ---- */

_Static_assert(LANES == 2 * LANES64, "two vectors of doubles for one of floats");
typedef float half_lanes __attribute__((vector_size(4 * LANES64)));

/* Complex powers of a vector of channels in float64. */
struct powers {
    lanes64 re[2], im[2];
};

static struct powers load_powers(const double *from, int64_t pitch, int64_t count)
{
    struct powers z = {{{0}, {0}}, {{0}, {0}}};
    for (int64_t i = 0; i < count; i++) {
        z.re[i / LANES64][i % LANES64] = from[i];
        z.im[i / LANES64][i % LANES64] = from[pitch + i];
    }
    return z;
}

static inline void times(struct powers *z, const struct powers *by)
{
    for (int h = 0; h < 2; h++) {
        const lanes64 re = z->re[h] * by->re[h] - z->im[h] * by->im[h];
        z->im[h] = z->re[h] * by->im[h] + z->im[h] * by->re[h];
        z->re[h] = re;
    }
}

/* z, z·by, z·by² …: `n` of them for pair p, in tiles [n/TILE, P, TILE, 2]; imaginary parts times `sign`; z becomes
 * z·byⁿ. What has decayed below 2^-60 of the first is 0: that is far below a rounding of the sum, and numbers below
 * 2^-126, of which the products would be full, cost a hundred times as much. */
static void fill(int64_t n, int64_t pairs, int64_t p, float sign, struct powers *z, const struct powers *by, float *to)
{
    lanes64 least[2];
    struct powers now = *z;
    for (int h = 0; h < 2; h++)
        least[h] = 0x1p-120 * (now.re[h] * now.re[h] + now.im[h] * now.im[h]);
    for (int64_t i = 0; i < n; i++) {
        float *re = to + ((i / S4D_TILE * pairs + p) * S4D_TILE + i % S4D_TILE) * 2 * LANES, *im = re + LANES;
        for (int h = 0; h < 2; h++) {
            const int_lanes64 gone = now.re[h] * now.re[h] + now.im[h] * now.im[h] < least[h];
            now.re[h] = lanes64_select(gone, lanes64_all(0), now.re[h]);
            now.im[h] = lanes64_select(gone, lanes64_all(0), now.im[h]);
            const half_lanes r = __builtin_convertvector(now.re[h], half_lanes);
            const half_lanes m = sign * __builtin_convertvector(now.im[h], half_lanes);
            memcpy(re + h * LANES64, &r, sizeof r);
            memcpy(im + h * LANES64, &m, sizeof m);
        }
        times(&now, by);
    }
    *z = now;
}

/* `g` [P, TILE, 2] times `f` [P, TILE, 2]: TILE × TILE elements of the kernel, rows `columns` steps apart, `left` steps
 * of which are wanted. */
static inline void tile(int64_t count, int64_t pairs, int64_t left, int64_t columns, const lanes *g, const lanes *f,
                        float *kernel)
{
    lanes sum[S4D_TILE][S4D_TILE] = {0};
    for (int64_t p = 0; p < pairs; p++, g += 2 * S4D_TILE, f += 2 * S4D_TILE)
#pragma GCC unroll 4
        for (int r = 0; r < S4D_TILE; r++)
#pragma GCC unroll 4
            for (int c = 0; c < S4D_TILE; c++)
                sum[r][c] = lanes_fma(g[2 * r + 1], f[2 * c + 1], lanes_fma(g[2 * r], f[2 * c], sum[r][c]));
    for (int r = 0; r < S4D_TILE; r++)
        for (int c = 0; c < S4D_TILE; c++)
            if (r * columns + c < left)
                lanes_store_row(kernel + (r * columns + c) * SABLE_KERNEL_BLOCK, sum[r][c], count);
}

void SABLE_ISA_NAME(sable_s4d_powers)(int64_t pitch, int64_t count, int64_t pairs, int64_t length, int64_t rows,
                                      int64_t columns, const double *q, const double *gain, float *kernel, float *room)
{
    lanes *inner = (lanes *)(void *)room, *outer = inner + 2 * pairs * columns;
    for (int64_t p = 0; p < pairs; p++) {
        const struct powers one = load_powers(q + 2 * p * pitch, pitch, count);
        struct powers step = load_powers(gain + 2 * p * pitch, pitch, count), far = {{{0}, {0}}, {{0}, {0}}};
        for (int h = 0; h < 2; h++)
            far.re[h] += 1;
        fill(columns, pairs, p, 1, &far, &one, (float *)inner); /* far: q^columns */
        fill(rows, pairs, p, -1, &step, &far, (float *)outer);
    }
    for (int64_t i = 0; i < rows; i += S4D_TILE)
        for (int64_t j = 0; j < columns; j += S4D_TILE)
            tile(count, pairs, length - i * columns - j, columns, outer + i * 2 * pairs, inner + j * 2 * pairs,
                 kernel + (i * columns + j) * SABLE_KERNEL_BLOCK);
}

/* ---- Steps ---- */

/* Rows of u and y are lines far apart, which hardware does not see coming: those of the next STEPS steps are asked for
 * into L2, evenly over all pairs and steps, so that they never hold up loads of tables. */
struct ahead {
    const float *u, *y;                /* the next row; y may be NULL */
    int64_t pitch, rows, each, credit; /* rows left; a row costs `each`, EVERY steps of a pass over pairs earn EVERY */
};

static inline void fetch(struct ahead *ahead)
{
    ahead->credit += EVERY;
    while (ahead->credit >= ahead->each && ahead->rows > 0) {
        ahead->credit -= ahead->each;
        ahead->rows--;
        __builtin_prefetch(ahead->u, 0, 2);
        ahead->u += ahead->pitch;
        if (ahead->y) {
            __builtin_prefetch(ahead->y, 1, 2);
            ahead->y += ahead->pitch;
        }
    }
}

/* `together` pairs over `steps` ≤ STEPS steps. */
static inline void advance(int together, int64_t pitch, int64_t count, int64_t steps, const float *factors,
                           const lanes *u, float *state, lanes *y, struct ahead *ahead)
{
    lanes qr[TOGETHER], qi[TOGETHER], gr[TOGETHER], gi[TOGETHER], re[TOGETHER], im[TOGETHER];
    for (int k = 0; k < together; k++) {
        qr[k] = lanes_load_row(factors + (4 * k) * pitch, count);
        qi[k] = lanes_load_row(factors + (4 * k + 1) * pitch, count);
        gr[k] = lanes_load_row(factors + (4 * k + 2) * pitch, count);
        gi[k] = lanes_load_row(factors + (4 * k + 3) * pitch, count);
        re[k] = lanes_load_row(state + (2 * k) * pitch, count);
        im[k] = lanes_load_row(state + (2 * k + 1) * pitch, count);
    }
    for (int64_t t = 0; t < steps; t++) {
        if (t % EVERY == 0)
            fetch(ahead);
        lanes x = u[t], sum = y ? y[t] : lanes_all(0);
#pragma GCC unroll 4
        for (int k = 0; k < together; k++) {
            lanes old = re[k];
            re[k] = lanes_fma(qr[k], old, lanes_fma(-qi[k], im[k], x));
            im[k] = lanes_fma(qr[k], im[k], qi[k] * old);
            if (y)
                sum = lanes_fma(-gi[k], im[k], lanes_fma(gr[k], re[k], sum));
        }
        if (y)
            y[t] = sum;
    }
    for (int k = 0; k < together; k++) {
        lanes_store_row(state + (2 * k) * pitch, re[k], count);
        lanes_store_row(state + (2 * k + 1) * pitch, im[k], count);
    }
}

/* `rows` of a vector's channels, and back. */
static void pack(int64_t rows, int64_t pitch, int64_t count, const float *from, float *to)
{
    for (int64_t i = 0; i < rows; i++)
        lanes_store(to + i * LANES, lanes_load_row(from + i * pitch, count));
}

static void unpack(int64_t rows, int64_t pitch, int64_t count, const float *from, float *to)
{
    for (int64_t i = 0; i < rows; i++)
        lanes_store_row(to + i * pitch, lanes_load(from + i * LANES), count);
}

/* One vector of channels over one block; rows of tables are `table_pitch` apart. */
static void block(int64_t pitch, int64_t count, int64_t pairs, int64_t steps, int64_t left, int64_t table_pitch,
                  int64_t table_count, const float *factors, const float *u, lanes skip, float *state, float *y)
{
    lanes in[STEPS], out[STEPS];
    const int64_t next = left - STEPS < STEPS ? left - STEPS : STEPS;
    const int64_t passes = pairs / TOGETHER + pairs % TOGETHER;
    struct ahead ahead = {u + STEPS * pitch, y ? y + STEPS * pitch : NULL, pitch, next > 0 ? next : 0, passes, 0};
    int64_t p = 0;
    for (int64_t i = 0; i < steps; i++) {
        in[i] = lanes_load_row(u + i * pitch, count);
        out[i] = skip * in[i];
    }
    for (; p + TOGETHER <= pairs; p += TOGETHER) {
        const float *q = factors + 4 * p * table_pitch;
        float *x = state + 2 * p * table_pitch;
        if (y)
            advance(TOGETHER, table_pitch, table_count, steps, q, in, x, out, &ahead);
        else
            advance(TOGETHER, table_pitch, table_count, steps, q, in, x, NULL, &ahead);
    }
    for (; p < pairs; p++) {
        const float *q = factors + 4 * p * table_pitch;
        float *x = state + 2 * p * table_pitch;
        if (y)
            advance(1, table_pitch, table_count, steps, q, in, x, out, &ahead);
        else
            advance(1, table_pitch, table_count, steps, q, in, x, NULL, &ahead);
    }
    for (int64_t i = 0; i < steps && y; i++)
        lanes_store_row(y + i * pitch, out[i], count);
}

void SABLE_ISA_NAME(sable_s4d_walk)(int64_t pitch, int64_t count, int64_t pairs, int64_t steps, const float *factors,
                                    const float *u, const float *skip, float *state, float *y)
{
    float table[S4D_VECTORS][6 * PACKED * LANES];
    const bool packed = pairs <= PACKED;
    for (int64_t h = 0; h < count && packed; h += LANES) {
        const int64_t some = count - h < LANES ? count - h : LANES;
        pack(4 * pairs, pitch, some, factors + h, table[h / LANES]);
        pack(2 * pairs, pitch, some, state + h, table[h / LANES] + 4 * pairs * LANES);
    }
    for (int64_t t = 0; t < steps; t += STEPS)
        for (int64_t h = 0; h < count; h += LANES) {
            const int64_t some = count - h < LANES ? count - h : LANES, left = steps - t;
            const lanes d = skip && y ? lanes_load_row(skip + h, some) : lanes_all(0);
            const float *q = packed ? table[h / LANES] : factors + h;
            float *x = packed ? table[h / LANES] + 4 * pairs * LANES : state + h;
            block(pitch, some, pairs, left < STEPS ? left : STEPS, left, packed ? LANES : pitch, packed ? LANES : some,
                  q, u + t * pitch + h, d, x, y ? y + t * pitch + h : NULL);
        }
    for (int64_t h = 0; h < count && packed; h += LANES)
        unpack(2 * pairs, pitch, count - h < LANES ? count - h : LANES, table[h / LANES] + 4 * pairs * LANES,
               state + h);
}
