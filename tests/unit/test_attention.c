/* Attention: the same bits however queries and keys are split, ordered and computed; right against the textbook. */
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
#include "sable_random.h"

struct problem {
    struct sable_attention_shape shape;
    float *q, *k, *v, *out, *lse;
};

static float *drawn(int64_t n, uint32_t purpose)
{
    float *x = sable_array(n, 1, sizeof *x);
    for (int64_t i = 0; i < n; i++)
        x[i] = (float)(4 * sable_random_unit(sable_random(9, purpose, (uint64_t)i, 0).word[0], 1) - 2);
    return x;
}

static struct problem make(int64_t queries, int64_t keys, int64_t dim, int64_t dim_v, bool causal)
{
    struct problem p = {.shape = {.batch = 2,
                                  .heads = 4,
                                  .kv_heads = 2,
                                  .queries = queries,
                                  .keys = keys,
                                  .dim = dim,
                                  .dim_v = dim_v,
                                  .leaf = 32,
                                  .causal = causal,
                                  .scale = 1 / sqrt((double)dim)}};
    p.q = drawn(8 * queries * dim, 1), p.k = drawn(4 * keys * dim, 2), p.v = drawn(4 * keys * dim_v, 3);
    p.out = sable_array(8 * queries, dim_v, sizeof *p.out), p.lse = sable_array(8, queries, sizeof *p.lse);
    return p;
}

static void unmake(struct problem *p)
{
    sable_array_free(p->q);
    sable_array_free(p->k);
    sable_array_free(p->v);
    sable_array_free(p->out);
    sable_array_free(p->lse);
}

static struct sable_attention_keys some_keys(const struct problem *p, int64_t first, int64_t end)
{
    return (struct sable_attention_keys){.first = first,
                                         .count = end - first,
                                         .k = p->k + first * p->shape.dim,
                                         .v = p->v + first * p->shape.dim_v,
                                         .pitch = p->shape.keys};
}

static void solve(struct problem *p, int threads)
{
    const struct sable_attention_part part = {0, 8, {{0, p->shape.queries}, {p->shape.queries, 0}}};
    struct sable_attention *a = sable_attention_create(&p->shape, &part, threads, 0, NULL);
    struct sable_attention_keys keys = some_keys(p, 0, p->shape.keys);
    sable_attention(a, p->q, 1, &keys, p->out, p->lse);
    sable_attention_free(a);
}

static bool same(const struct problem *a, const struct problem *b)
{
    size_t rows = 8 * (size_t)a->shape.queries;
    return memcmp(a->out, b->out, rows * (size_t)a->shape.dim_v * sizeof(float)) == 0 &&
           memcmp(a->lse, b->lse, rows * sizeof(float)) == 0;
}

static void every_row_agrees_with_the_textbook(void **state)
{
    (void)state;
    static const int64_t sizes[][4] = {
        {1, 1, 1, 1}, {70, 131, 20, 20}, {131, 70, 17, 33}, {64, 64, 64, 64}, {3, 900, 5, 72}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (int causal = 0; causal < 2; causal++) {
            struct problem p = make(sizes[i][0], sizes[i][1], sizes[i][2], sizes[i][3], causal);
            const struct sable_attention_shape *s = &p.shape;
            double *logit = malloc((size_t)s->keys * sizeof *logit), *out = malloc((size_t)s->dim_v * sizeof *out), lse;
            solve(&p, 2);
            for (int64_t h = 0; h < 8; h++)
                for (int64_t r = 0; r < s->queries; r++) {
                    int64_t seen = causal ? r + s->keys - s->queries + 1 : s->keys, kv = sable_attention_kv_head(s, h);
                    int64_t row = h * s->queries + r;
                    sable_attention_row_reference(s, p.q + row * s->dim, seen < 0 ? 0 : seen,
                                                  p.k + kv * s->keys * s->dim, p.v + kv * s->keys * s->dim_v, logit,
                                                  out, &lse);
                    for (int64_t d = 0; d < s->dim_v; d++)
                        assert_true(fabs(out[d] - (double)p.out[row * s->dim_v + d]) < 4e-6);
                    assert_true(lse == (double)p.lse[row] || fabs(lse - (double)p.lse[row]) < 4e-6);
                }
            free(logit);
            free(out);
            unmake(&p);
        }
}

static void bits_do_not_depend_on_threads_or_the_simd_level(void **state)
{
    (void)state;
    static const char *const levels[] = {"base", "v2", "v3", "v4"};
    for (int causal = 0; causal < 2; causal++) {
        struct problem p = make(100, 141, 22, 13, causal), again = make(100, 141, 22, 13, causal);
        solve(&p, 1);
        for (int level = 0; level <= (int)sable_isa_best(); level++) {
            setenv("SABLE_ISA", levels[level], 1);
            solve(&again, 1 + level % 3);
            assert_true(same(&p, &again));
        }
        unsetenv("SABLE_ISA");
        unmake(&p);
        unmake(&again);
    }
}

/* Keys in pieces of whole leaves, in the order of a ring from any place on. */
static void bits_do_not_depend_on_the_order_in_which_keys_arrive(void **state)
{
    (void)state;
    for (int causal = 0; causal < 2; causal++)
        for (int64_t pieces = 1; pieces <= 9; pieces++)
            for (int64_t start = 0; start < pieces; start++) {
                struct problem p = make(130, 300, 8, 8, causal), again = make(130, 300, 8, 8, causal);
                const struct sable_attention_part part = {0, 8, {{0, 64}, {64, 66}}};
                struct sable_attention_keys piece[9];
                for (int64_t i = 0; i < pieces; i++) {
                    int64_t at = (start - i + pieces) % pieces, leaves = 10;
                    int64_t end = (at + 1) * leaves / pieces * 32;
                    piece[i] = some_keys(&again, at * leaves / pieces * 32, end < 300 ? end : 300);
                }
                struct sable_attention *a = sable_attention_create(&again.shape, &part, 2, pieces, piece);
                solve(&p, 1);
                sable_attention_begin(a);
                for (int64_t i = 0; i < pieces; i++)
                    sable_attention_add(a, again.q, &piece[i], NULL, NULL);
                sable_attention_finish(a, again.out, again.lse);
                assert_true(same(&p, &again));
                sable_attention_free(a);
                unmake(&p);
                unmake(&again);
            }
}

static void pairs_are_those_that_the_mask_leaves(void **state)
{
    (void)state;
    for (int64_t queries = 1; queries < 9; queries++)
        for (int64_t keys = 1; keys < 9; keys++) {
            const struct sable_attention_shape s = {.queries = queries, .keys = keys, .causal = true};
            double counted = 0;
            for (int64_t r = 0; r < queries; r++)
                for (int64_t c = 0; c < keys; c++)
                    counted += c <= r + keys - queries;
            assert_true(sable_attention_pairs(&s, (struct sable_attention_rows){0, queries}) == counted);
        }
}

static void room_that_overflows_is_refused(void **state)
{
    (void)state;
    const struct sable_attention_shape s = {1, 1, 1, 64, 64, 8, INT64_MAX / 100, 32, false, 1};
    const struct sable_attention_part part = {0, 1, {{0, 64}, {64, 0}}};
    assert_null(sable_attention_create(&s, &part, 1, 0, NULL));
}

static void bf16_is_rounded_to_nearest_even(void **state)
{
    (void)state;
    static const struct {
        float x;
        uint16_t expected;
    } known[] = {{0, 0},
                 {-0.0F, 0x8000},
                 {1, 0x3f80},
                 {1 + 0x1p-8F, 0x3f80},            /* a tie, to even */
                 {1 + 0x3p-8F, 0x3f82},            /* a tie, to even */
                 {1 + 0x1p-8F + 0x1p-23F, 0x3f81}, /* just above a tie */
                 {-1 - 0x1p-8F - 0x1p-23F, 0xbf81},
                 {0x1.fep127F, 0x7f7f},
                 {0x1.ff0002p127F, 0x7f80}, /* beyond the largest */
                 {INFINITY, 0x7f80},
                 {-INFINITY, 0xff80},
                 {0x1p-133F, 0x0001}, /* the least */
                 {0x1p-134F, 0x0000}, /* a tie, to even */
                 {0x1p-133F * 1.5F, 0x0002}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        uint16_t found[2];
        sable_attention_to_bf16(1, 1, &known[i].x, found);
        assert_int_equal(found[0], known[i].expected);
        assert_int_equal(found[1], 0);
    }
    for (uint32_t bits = 0; bits < 1 << 16; bits++) {
        const float x = sable_attention_from_bf16((uint16_t)bits);
        uint16_t again[2];
        sable_attention_to_bf16(1, 1, &x, again);
        assert_true(x != x ? (again[0] & 0x7fff) > 0x7f80 : again[0] == bits);
    }
}

static void bf16_has_the_bits_of_the_same_values_as_floats(void **state)
{
    (void)state;
    static const char *const levels[] = {"base", "v2", "v3", "v4"};
    for (int64_t dim = 15; dim < 19; dim++) {
        struct problem p = make(100, 241, dim, 33 - dim, dim % 2), half = make(100, 241, dim, 33 - dim, dim % 2);
        const int64_t rows[3] = {800, 964, 964}, width[3] = {dim, dim, 33 - dim};
        float *const plain[3] = {p.q, p.k, p.v};
        uint16_t *stored[3];
        for (int t = 0; t < 3; t++) {
            const int64_t pitch = width[t] + width[t] % 2;
            stored[t] = sable_array(rows[t], pitch, sizeof *stored[t]);
            sable_attention_to_bf16(rows[t], width[t], plain[t], stored[t]);
            for (int64_t i = 0; i < rows[t] * width[t]; i++)
                plain[t][i] = sable_attention_from_bf16(stored[t][i / width[t] * pitch + i % width[t]]);
        }
        solve(&p, 1);
        half.shape.bf16 = true;
        const struct sable_attention_part part = {0, 8, {{0, 100}, {100, 0}}};
        const struct sable_attention_keys keys = {0, 241, stored[1], stored[2], 241};
        for (int level = 0; level <= (int)sable_isa_best(); level++) {
            setenv("SABLE_ISA", levels[level], 1);
            struct sable_attention *a = sable_attention_create(&half.shape, &part, 1 + level % 3, 0, NULL);
            sable_attention(a, stored[0], 1, &keys, half.out, half.lse);
            sable_attention_free(a);
            assert_true(same(&p, &half));
        }
        unsetenv("SABLE_ISA");
        for (int t = 0; t < 3; t++)
            sable_array_free(stored[t]);
        unmake(&p);
        unmake(&half);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_row_agrees_with_the_textbook),
        cmocka_unit_test(bits_do_not_depend_on_threads_or_the_simd_level),
        cmocka_unit_test(bits_do_not_depend_on_the_order_in_which_keys_arrive),
        cmocka_unit_test(pairs_are_those_that_the_mask_leaves),
        cmocka_unit_test(room_that_overflows_is_refused),
        cmocka_unit_test(bf16_is_rounded_to_nearest_even),
        cmocka_unit_test(bf16_has_the_bits_of_the_same_values_as_floats),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
