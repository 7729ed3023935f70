/* Packed sequences against each sequence alone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "sable_array.h"
#include "sable_attention_packed.h"
#include "sable_isa.h"

enum { HEADS = 4, KV_HEADS = 2, DIM = 10, DIM_V = 7, SEQUENCES = 6, QUERIES = 269, KEYS = 341 };

static const struct sable_attention_sequence sequences[SEQUENCES] = {
    {0, 70, 0, 131}, {70, 0, 131, 5}, {70, 5, 136, 0}, {75, 1, 136, 64}, {76, 130, 200, 100}, {206, 63, 300, 41}};

static float *drawn(int64_t n, uint32_t purpose)
{
    float *x = sable_array(n, 1, sizeof *x);
    sable_attention_draw(7, purpose, 0, n, x);
    return x;
}

/* Where [rows][width] of head `head` of a sequence begin in [heads][all][width]. */
static int64_t place(int64_t head, int64_t all, int64_t row, int64_t width)
{
    return (head * all + row) * width;
}

static void alone_gives(const struct sable_attention_shape *shape, const struct sable_attention_sequence *own,
                        int64_t head, const float *q, const float *k, const float *v, const float *out,
                        const float *lse)
{
    struct sable_attention_shape s = *shape;
    s.queries = own->queries, s.keys = own->keys;
    const struct sable_attention_part part = {head, 1, {{0, s.queries}, {s.queries, 0}}};
    struct sable_attention *a = sable_attention_create(&s, &part, 1, 0, NULL);
    float *o = sable_array(s.queries, DIM_V, sizeof *o), *l = sable_array(s.queries, 1, sizeof *l);
    const int64_t kv = head / (HEADS / KV_HEADS), row = own->query;
    const struct sable_attention_keys keys = {0, s.keys, k + place(kv, KEYS, own->key, DIM),
                                              v + place(kv, KEYS, own->key, DIM_V), s.keys};
    sable_attention(a, q + place(head, QUERIES, row, DIM), 1, &keys, o, l);
    assert_memory_equal(o, out + place(head, QUERIES, row, DIM_V), (size_t)(s.queries * DIM_V) * sizeof *o);
    assert_memory_equal(l, lse + place(head, QUERIES, row, 1), (size_t)s.queries * sizeof *l);
    sable_attention_free(a);
    sable_array_free(o);
    sable_array_free(l);
}

static void each_sequence_has_the_bits_of_itself_alone_at_every_simd_level(void **state)
{
    (void)state;
    static const char *const levels[] = {"base", "v2", "v3", "v4"};
    float *q = drawn(HEADS * QUERIES * DIM, 1), *k = drawn(KV_HEADS * KEYS * DIM, 2),
          *v = drawn(KV_HEADS * KEYS * DIM_V, 3);
    float *out = sable_array(HEADS * QUERIES, DIM_V, sizeof *out), *lse = sable_array(HEADS, QUERIES, sizeof *lse);
    for (int causal = 0; causal < 2; causal++)
        for (int level = 0; level <= (int)sable_isa_best(); level++) {
            const struct sable_attention_shape s = {1, HEADS, KV_HEADS, QUERIES, KEYS, DIM, DIM_V, 32, causal, 0.4};
            setenv("SABLE_ISA", levels[level], 1);
            struct sable_attention_packed *p =
                sable_attention_packed_create(&s, 0, HEADS, 1 + level % 3, SEQUENCES, sequences);
            sable_attention_packed(p, q, k, v, out, lse);
            sable_attention_packed_free(p);
            for (int64_t h = 0; h < HEADS; h++)
                for (int i = 0; i < SEQUENCES; i++)
                    if (sequences[i].queries > 0)
                        alone_gives(&s, &sequences[i], h, q, k, v, out, lse);
        }
    unsetenv("SABLE_ISA");
    sable_array_free(q);
    sable_array_free(k);
    sable_array_free(v);
    sable_array_free(out);
    sable_array_free(lse);
}

static void heads_in_the_middle_read_their_own_keys(void **state)
{
    (void)state;
    const struct sable_attention_shape s = {1, HEADS, KV_HEADS, QUERIES, KEYS, DIM, DIM_V, 32, true, 0.4};
    float *q = drawn(HEADS * QUERIES * DIM, 1), *k = drawn(KV_HEADS * KEYS * DIM, 2),
          *v = drawn(KV_HEADS * KEYS * DIM_V, 3);
    float *out = sable_array(HEADS * QUERIES, DIM_V, sizeof *out), *lse = sable_array(HEADS, QUERIES, sizeof *lse);
    struct sable_attention_packed *p = sable_attention_packed_create(&s, 2, 2, 2, SEQUENCES, sequences);
    sable_attention_packed(p, q + place(2, QUERIES, 0, DIM), k + place(1, KEYS, 0, DIM), v + place(1, KEYS, 0, DIM_V),
                           out + place(2, QUERIES, 0, DIM_V), lse + place(2, QUERIES, 0, 1));
    sable_attention_packed_free(p);
    for (int64_t h = 2; h < HEADS; h++)
        alone_gives(&s, &sequences[4], h, q, k, v, out, lse);
    sable_array_free(q);
    sable_array_free(k);
    sable_array_free(v);
    sable_array_free(out);
    sable_array_free(lse);
}

static void nothing_to_do_is_fine(void **state)
{
    (void)state;
    const struct sable_attention_shape s = {1, HEADS, KV_HEADS, 0, 0, DIM, DIM_V, 32, true, 0.4};
    struct sable_attention_packed *p = sable_attention_packed_create(&s, 0, HEADS, 2, 0, NULL);
    assert_non_null(p);
    sable_attention_packed(p, NULL, NULL, NULL, NULL, NULL);
    sable_attention_packed_free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_sequence_has_the_bits_of_itself_alone_at_every_simd_level),
        cmocka_unit_test(heads_in_the_middle_read_their_own_keys),
        cmocka_unit_test(nothing_to_do_is_fine),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
