/* The generator against Random123's published known answers, read from tests/cases/rollouts/random123_kat.json: what
 * the library gives for every vector, and for Philox4x32-10 what sable_random() and the lanes of every SIMD level give.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <Random123/threefry.h>

#include "sable_isa.h"
#include "sable_random.h"
#include "sable_rollouts.h"

struct vector {
    char generator[32];
    int rounds;
    uint32_t counter[4], key[4], drawn[4];
};

/* The numbers of the list behind `"name":`, after *at; at most 4. */
static int read_list(const char **at, const char *name, uint32_t *word)
{
    char quoted[32];
    int count = 0;
    snprintf(quoted, sizeof quoted, "\"%s\":", name);
    const char *p = strstr(*at, quoted);
    assert_non_null(p);
    for (p = strchr(p, '['); count < 4 && *p != ']'; count++) {
        char *end;
        unsigned long long value = strtoull(p + 1, &end, 10);
        assert_true(end > p + 1 && value <= UINT32_MAX);
        word[count] = (uint32_t)value;
        p = end + strspn(end, " \n\r\t");
        assert_true(*p == ',' || *p == ']');
    }
    assert_true(*p == ']');
    *at = p;
    return count;
}

static bool read_vector(const char **at, struct vector *v)
{
    const char *p = strstr(*at, "\"gen\":");
    *v = (struct vector){.rounds = 0};
    if (!p)
        return false;
    assert_int_equal(sscanf(p, "\"gen\": \"%31[a-z0-9]\"", v->generator), 1);
    p = strstr(p, "\"rounds\":");
    assert_non_null(p);
    assert_int_equal(sscanf(p, "\"rounds\": %d", &v->rounds), 1);
    assert_int_equal(read_list(&p, "ctr", v->counter), 4);
    assert_int_equal(read_list(&p, "key", v->key), v->generator[0] == 'p' ? 2 : 4);
    assert_int_equal(read_list(&p, "out", v->drawn), 4);
    *at = p;
    return true;
}

static void check_library(const struct vector *v)
{
    uint32_t drawn[4];
    if (strcmp(v->generator, "philox4x32") == 0) {
        philox4x32_ctr_t counter;
        philox4x32_key_t key = {{v->key[0], v->key[1]}};
        memcpy(counter.v, v->counter, sizeof counter.v);
        counter = philox4x32_R((unsigned)v->rounds, counter, key);
        memcpy(drawn, counter.v, sizeof drawn);
    } else {
        assert_string_equal(v->generator, "threefry4x32");
        threefry4x32_ctr_t counter;
        threefry4x32_key_t key;
        memcpy(counter.v, v->counter, sizeof counter.v);
        memcpy(key.v, v->key, sizeof key.v);
        counter = threefry4x32_R((unsigned)v->rounds, counter, key);
        memcpy(drawn, counter.v, sizeof drawn);
    }
    assert_memory_equal(drawn, v->drawn, sizeof drawn);
}

static void check_draws(const struct vector *v)
{
    static const char *const levels[] = {"base", "v2", "v3", "v4"};
    const uint64_t seed = (uint64_t)v->key[1] << 32 | v->key[0];
    struct sable_random_block one =
        sable_random(seed, v->counter[3], (uint64_t)v->counter[1] << 32 | v->counter[0], v->counter[2]);
    assert_memory_equal(one.word, v->drawn, sizeof v->drawn);
    for (int level = 0; level <= (int)sable_isa_best(); level++) {
        uint32_t low[SABLE_DRAW_LANES], high[SABLE_DRAW_LANES], block[SABLE_DRAW_LANES], words[4 * SABLE_DRAW_LANES];
        for (int l = 0; l < SABLE_DRAW_LANES; l++)
            low[l] = v->counter[0], high[l] = v->counter[1], block[l] = v->counter[2];
        setenv("SABLE_ISA", levels[level], 1);
        sable_rollouts_draw(seed, v->counter[3], low, high, block, words);
        for (int i = 0; i < 4 * SABLE_DRAW_LANES; i++)
            assert_int_equal(words[i], v->drawn[i / SABLE_DRAW_LANES]);
    }
    unsetenv("SABLE_ISA");
}

static void draws_are_the_published_known_answers(void **state)
{
    (void)state;
    static char text[8192];
    FILE *file = fopen(SABLE_TEST_CASES "/rollouts/random123_kat.json", "r");
    assert_non_null(file);
    size_t size = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    assert_true(size > 0 && size < sizeof text - 1);
    const char *at = text;
    struct vector v;
    int vectors = 0, ours = 0;
    for (; read_vector(&at, &v); vectors++) {
        check_library(&v);
        if (strcmp(v.generator, "philox4x32") == 0 && v.rounds == 10) {
            check_draws(&v);
            ours++;
        }
    }
    assert_int_equal(vectors, 9);
    assert_int_equal(ours, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(draws_are_the_published_known_answers)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
