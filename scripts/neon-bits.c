/* One line a kernel: its name and a hash of the bits that it computes from drawn inputs. scripts/neon-bits compares the
 * lines of two processors. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sable_array.h"
#include "sable_attention.h"
#include "sable_attention_backward.h"
#include "sable_garnet.h"
#include "sable_hippo.h"
#include "sable_mamba.h"
#include "sable_mdp.h"
#include "sable_mean.h"
#include "sable_product.h"
#include "sable_scan.h"
#include "sable_vmath.h"

enum { THREADS = 2 };

/* FNV-1a over floats; every NaN is the same one. */
static void tell(const char *name, int64_t n, const float *x)
{
    uint64_t hash = 0xcbf29ce484222325U;
    for (int64_t i = 0; i < n; i++) {
        uint32_t word = 0x7fc00000U;
        if (!isnan(x[i]))
            memcpy(&word, &x[i], sizeof word);
        hash = (hash ^ word) * 0x100000001b3U;
    }
    printf("%-20s %016" PRIx64 "\n", name, hash);
}

static float *drawn(uint32_t purpose, int64_t n, float scale)
{
    float *x = sable_array(n, 1, sizeof *x);
    sable_attention_draw(11, purpose, 0, n, x);
    for (int64_t i = 0; i < n; i++)
        x[i] *= scale;
    return x;
}

static float *zeros(int64_t n)
{
    float *x = sable_array(n, 1, sizeof *x);
    memset(x, 0, (size_t)n * sizeof *x);
    return x;
}

static void elementary_functions(void)
{
    static const char *const name[] = {"exp", "exp2", "expm1", "log1p", "softplus", "sigmoid", "sin", "cos"};
    enum { STEP = 8209, N = (int)(((int64_t)1 << 32) / STEP) };
    float *x = zeros(N), *y = zeros(N);
    for (int64_t i = 0; i < N; i++) {
        uint32_t word = (uint32_t)(i * STEP);
        memcpy(&x[i], &word, sizeof word);
    }
    for (int f = 0; f < SABLE_VMATH_FUNCTIONS; f++) {
        sable_vmath((enum sable_vmath_function)f, N, x, y);
        tell(name[f], N, y);
    }
}

static void attention(void)
{
    const struct sable_attention_shape s = {1, 2, 1, 150, 170, 20, 24, 32, true, 0.25};
    const struct sable_attention_part part = {0, s.heads, {{0, s.queries}, {s.queries, 0}}};
    const int64_t rows = s.heads * s.queries;
    float *q = drawn(1, rows * s.dim, 1), *k = drawn(2, s.keys * s.dim, 1), *v = drawn(3, s.keys * s.dim_v, 1);
    float *dout = drawn(4, rows * s.dim_v, 1), *out = zeros(rows * s.dim_v), *lse = zeros(rows);
    float *dq = zeros(rows * s.dim), *dk = zeros(s.keys * s.dim), *dv = zeros(s.keys * s.dim_v);
    const struct sable_attention_keys keys = {0, s.keys, k, v, s.keys};
    sable_attention(sable_attention_create(&s, &part, THREADS, 0, NULL), q, 1, &keys, out, lse);
    tell("attention", rows * s.dim_v, out);
    tell("log-sum-exp", rows, lse);
    sable_attention_backward(sable_attention_backward_create(&s, 1, s.keys, THREADS), 1, q, dout, out, lse, &keys, dq,
                             dk, dv);
    tell("dq", rows * s.dim, dq);
    tell("dk", s.keys * s.dim, dk);
    tell("dv", s.keys * s.dim_v, dv);
}

static void product(void)
{
    enum { ROWS = 101, DEPTH = 300, WIDTH = 75 };
    float *w = drawn(5, DEPTH * WIDTH, 1), *packed = zeros(sable_product_packed(DEPTH, WIDTH)),
          *y = zeros(ROWS * WIDTH);
    sable_product_pack(DEPTH, WIDTH, w, packed);
    const struct sable_product p = {ROWS, WIDTH, 1,    drawn(6, ROWS * DEPTH, 1), DEPTH, packed, y, WIDTH,
                                    0,    false, false};
    sable_products(THREADS, DEPTH, 1, &p);
    tell("product", ROWS * WIDTH, y);
}

static void scans(void)
{
    enum { STATES = 37, LENGTH = 200, CHANNELS = 9, ORDER = 12 };
    float *x = zeros(2 * STATES * LENGTH);
    sable_scan(STATES, LENGTH, drawn(7, 2 * STATES, 0.3F), drawn(8, 2 * STATES * LENGTH, 1), zeros(2 * STATES), x,
               false);
    tell("scan", 2 * STATES * LENGTH, x);

    float *a = drawn(9, CHANNELS * ORDER, 1), *y = zeros(CHANNELS * LENGTH);
    for (int i = 0; i < CHANNELS * ORDER; i++)
        a[i] = -fabsf(a[i]);
    const struct sable_mamba mamba = {.sequences = 1,
                                      .channels = CHANNELS,
                                      .states = ORDER,
                                      .length = LENGTH,
                                      .u = drawn(10, CHANNELS * LENGTH, 1),
                                      .delta = drawn(11, CHANNELS * LENGTH, 1),
                                      .z = drawn(12, CHANNELS * LENGTH, 1),
                                      .a = a,
                                      .b = drawn(13, ORDER * LENGTH, 1),
                                      .c = drawn(14, ORDER * LENGTH, 1),
                                      .d = drawn(15, CHANNELS, 1),
                                      .bias = drawn(16, CHANNELS, 1)};
    sable_mamba_scan(&mamba, 0, LENGTH, zeros(CHANNELS * ORDER), y, zeros(sable_mamba_scratch(&mamba)));
    tell("mamba", CHANNELS * LENGTH, y);

    const int64_t size = sable_legs_groups(CHANNELS) * ORDER * SABLE_LEGS_GROUP;
    float *c = zeros(size);
    sable_legs_scan(SABLE_LEGS_BILINEAR, ORDER, CHANNELS, 0, LENGTH, drawn(17, LENGTH * CHANNELS, 1), c,
                    zeros(SABLE_LEGS_STEPS * ORDER * 4));
    tell("legs", size, c);
}

static void means(void)
{
    struct sable_mean mean = sable_mean_block()(3, 0, 4001, SABLE_MEAN_INCREMENTAL);
    const float told[] = {(float)mean.mean, (float)(mean.mean - (double)(float)mean.mean), (float)mean.squares,
                          (float)(mean.squares - (double)(float)mean.squares)};
    tell("mean", 4, told);
}

/* Both halves of each value, which floats alone would round. */
static void sweeps(void)
{
    enum {
        STATES = 203,
        ACTIONS = 3,
        BRANCHING = 5,
        SWEEPS = 30,
        BLOCKS = (STATES + SABLE_MDP_LANES - 1) / SABLE_MDP_LANES
    };
    const struct sable_garnet garnet = {.seed = 9, .states = STATES, .actions = ACTIONS, .branching = BRANCHING};
    struct sable_mdp model;
    int64_t successor[BRANCHING];
    int32_t column[BRANCHING], list[BLOCKS];
    double probability[BRANCHING], reward, v[2][BLOCKS * SABLE_MDP_LANES] = {{0}};
    if (!sable_mdp_begin(&model, STATES, ACTIONS))
        exit(EXIT_FAILURE);
    for (int64_t row = 0; row < STATES * ACTIONS; row++)
        sable_mdp_widen(&model, row / ACTIONS, row % ACTIONS, BRANCHING);
    if (!sable_mdp_allocate(&model))
        exit(EXIT_FAILURE);
    for (int64_t row = 0; row < STATES * ACTIONS; row++) {
        sable_garnet_row(&garnet, row / ACTIONS, row % ACTIONS, &reward, successor, probability);
        for (int j = 0; j < BRANCHING; j++)
            column[j] = (int32_t)successor[j];
        sable_mdp_put(&model, row / ACTIONS, row % ACTIONS, reward, BRANCHING, column, probability);
    }
    for (int32_t b = 0; b < BLOCKS; b++)
        list[b] = b;
    for (int t = 0; t < SWEEPS; t++) {
        struct sable_mdp_change change = SABLE_MDP_UNCHANGED;
        sable_mdp_sweep(&model, 0.9, list, BLOCKS, v[t % 2], v[(t + 1) % 2], &change);
    }
    float told[2 * STATES];
    for (int i = 0; i < STATES; i++) {
        told[2 * i] = (float)v[SWEEPS % 2][i];
        told[2 * i + 1] = (float)(v[SWEEPS % 2][i] - (double)told[2 * i]);
    }
    tell("stored_sweeps", 2 * (int64_t)STATES, told);
    sable_mdp_free(&model);
}

int main(void)
{
    elementary_functions();
    attention();
    product();
    scans();
    means();
    sweeps();
    return ferror(stdout) ? EXIT_FAILURE : EXIT_SUCCESS;
}
