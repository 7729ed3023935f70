#include "option_values.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "registry.h"

int sable_option_choice(const char *option, const char *text, const char *const *choices, int *value,
                        struct sable_error *error)
{
    char list[200] = "";
    for (int i = 0; choices[i]; i++) {
        if (strcmp(text, choices[i]) == 0) {
            *value = i;
            return SABLE_OK;
        }
        size_t used = strlen(list);
        snprintf(list + used, sizeof list - used, "%s%s", i ? ", " : "", choices[i]);
    }
    return sable_fail(error, SABLE_BAD_INPUT, "--%s=%.80s: must be one of %s", option, text, list);
}

int sable_option_integer(const char *option, const char *text, int64_t low, int64_t high, int64_t *value,
                         struct sable_error *error)
{
    if (!sable_parse_integer(text, value) || *value < low || *value > high)
        return sable_fail(error, SABLE_BAD_INPUT, "--%s=%.80s: must be an integer from %lld to %lld", option, text,
                          (long long)low, (long long)high);
    return SABLE_OK;
}

/* The next part of a comma-separated list, copied; NULL at its end. */
static char *next_part(const char **list, struct sable_error *error)
{
    if (!*list)
        return NULL;
    size_t length = strcspn(*list, ",");
    char *part = malloc(length + 1);
    if (!part) {
        sable_fail(error, SABLE_ENVIRONMENT, "out of memory");
        return NULL;
    }
    memcpy(part, *list, length);
    part[length] = '\0';
    *list = (*list)[length] ? *list + length + 1 : NULL;
    return part;
}

int sable_option_variants(struct sable_options *o, const char *list, struct sable_error *error)
{
    const char *part;
    o->variants = 0;
    while ((part = next_part(&list, error))) {
        if (o->variants == SABLE_MAX_VARIANTS)
            return sable_fail(error, SABLE_BAD_INPUT, "--variant: more than %d variants", SABLE_MAX_VARIANTS);
        for (int i = 0; i < o->variants; i++)
            if (strcmp(o->variant[i], part) == 0)
                return sable_fail(error, SABLE_BAD_INPUT, "--variant: %.80s is named twice", part);
        o->variant[o->variants++] = part;
    }
    return error->code;
}

int sable_option_ranks(struct sable_options *o, const char *list, struct sable_error *error)
{
    char *part;
    int64_t n;
    while ((part = next_part(&list, error))) {
        if (o->rank_sets == SABLE_MAX_RANK_SETS)
            return sable_fail(error, SABLE_BAD_INPUT, "--ranks: more than %d numbers", SABLE_MAX_RANK_SETS);
        int failed = sable_option_integer("ranks", part, 1, INT_MAX, &n, error);
        free(part);
        if (failed)
            return error->code;
        o->rank_set[o->rank_sets++] = (int)n;
    }
    return error->code;
}

int sable_option_reps(struct sable_options *o, const char *text, struct sable_error *error)
{
    if (strcmp(text, "auto") == 0) {
        o->effort.reps = 0;
        return SABLE_OK;
    }
    if (!sable_parse_integer(text, &o->effort.reps) || o->effort.reps < 1 || o->effort.reps > SABLE_MAX_REPS)
        return sable_fail(error, SABLE_BAD_INPUT, "--reps=%.80s: must be auto or an integer from 1 to %d", text,
                          SABLE_MAX_REPS);
    return SABLE_OK;
}

int sable_option_time(struct sable_options *o, const char *text, struct sable_error *error)
{
    double *seconds = &o->effort.max_time;
    if (!sable_parse_real(text, seconds) || !(*seconds > 0) || !(*seconds <= 1e9))
        return sable_fail(error, SABLE_BAD_INPUT, "--max-time=%.80s: must be a number of seconds above 0, up to 1e9",
                          text);
    o->effort.max_time_asked = true;
    return SABLE_OK;
}

int sable_option_memory(struct sable_options *o, const char *text, struct sable_error *error)
{
    char number[32] = "";
    size_t length = strlen(text);
    double percent;
    if (length > 0 && text[length - 1] == '%' && length <= sizeof number)
        memcpy(number, text, length - 1);
    if (!sable_parse_real(number, &percent) || !(percent > 0) || !(percent <= 100))
        return sable_fail(error, SABLE_BAD_INPUT, "--memory=%.80s: must be a percentage above 0%%, up to 100%%", text);
    o->memory = percent / 100;
    return SABLE_OK;
}

int sable_option_threshold(struct sable_options *o, const char *text, struct sable_error *error)
{
    char number[32] = "";
    double percent;
    snprintf(number, sizeof number, "%.*s", (int)strcspn(text, "%"), text);
    const char *rest = text + strcspn(text, "%");
    if ((*rest && strcmp(rest, "%") != 0) || !sable_parse_real(number, &percent) || !(percent >= 0) ||
        !(percent <= 1000))
        return sable_fail(error, SABLE_BAD_INPUT, "--threshold=%.80s: must be a percentage from 0 to 1000", text);
    o->threshold = percent / 100;
    return SABLE_OK;
}

int sable_option_seed(struct sable_options *o, const char *text, struct sable_error *error)
{
    int64_t seed = 0;
    if (sable_option_integer("seed", text, 0, INT64_MAX, &seed, error))
        return error->code;
    o->seed = (uint64_t)seed;
    return SABLE_OK;
}

int sable_option_add(const char *what, const char **list, int *count, int most, const char *text,
                     struct sable_error *error)
{
    if (*count == most)
        return sable_fail(error, SABLE_BAD_INPUT, "more than %d %s", most, what);
    list[(*count)++] = text;
    return SABLE_OK;
}

int sable_option_name(const char *option, const char *text, const char **value, struct sable_error *error)
{
    if (!*text)
        return sable_fail(error, SABLE_BAD_INPUT, "--%s: the name is empty", option);
    *value = text;
    return SABLE_OK;
}
