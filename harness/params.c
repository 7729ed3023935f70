/* Parameters: from text to a workload's params struct, checked, and back. */
#include "registry.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LIST_SIZE = 600 };

bool sable_parse_integer(const char *text, int64_t *value)
{
    char *end;
    errno = 0;
    long long parsed = strtoll(text, &end, 10);
    if (errno || end == text || *end)
        return false;
    *value = parsed;
    return true;
}

bool sable_parse_real(const char *text, double *value)
{
    char *end;
    errno = 0;
    double parsed = strtod(text, &end);
    if (errno == ERANGE || end == text || *end || isnan(parsed))
        return false;
    *value = parsed;
    return true;
}

static void append(char *list, const char *text)
{
    size_t used = strlen(list);
    snprintf(list + used, LIST_SIZE - used, "%s%s", used ? ", " : "", text);
}

static int set_choice(const struct sable_param *param, const char *text, int *value, struct sable_error *error)
{
    char list[LIST_SIZE] = "";
    for (int i = 0; param->choices[i]; i++) {
        if (strcmp(param->choices[i], text) == 0) {
            *value = i;
            return SABLE_OK;
        }
        append(list, param->choices[i]);
    }
    return sable_fail(error, SABLE_BAD_INPUT, "%s=%.80s: must be one of %s", param->name, text, list);
}

static int set_point(const struct sable_param *param, const char *text, struct sable_point *value,
                     struct sable_error *error)
{
    char first[64];
    const char *comma = strchr(text, ',');
    struct sable_point point;
    bool good = comma && comma - text < (long)sizeof first;
    if (good) {
        snprintf(first, sizeof first, "%.*s", (int)(comma - text), text);
        good = sable_parse_real(first, &point.x) && sable_parse_real(comma + 1, &point.y);
    }
    if (!good)
        return sable_fail(error, SABLE_BAD_INPUT, "%s=%.80s: must be two numbers with a comma between", param->name,
                          text);
    if (!(point.x >= param->min && point.x <= param->max && point.y >= param->min_y && point.y <= param->max_y))
        return sable_fail(error, SABLE_BAD_INPUT, "%s=%.80s: must be in [%g, %g],[%g, %g]", param->name, text,
                          param->min, param->max, param->min_y, param->max_y);
    *value = point;
    return SABLE_OK;
}

static int set_value(const struct sable_param *param, void *params, const char *text, struct sable_error *error)
{
    void *field = (char *)params + param->offset;
    switch (param->type) {
    case SABLE_INT: {
        int64_t value;
        if (!sable_parse_integer(text, &value))
            return sable_fail(error, SABLE_BAD_INPUT, "%s=%.80s: must be an integer", param->name, text);
        if (!((double)value >= param->min && (double)value <= param->max))
            return sable_fail(error, SABLE_BAD_INPUT, "%s=%.80s: must be in [%.0f, %.0f]", param->name, text,
                              param->min, param->max);
        *(int64_t *)field = value;
        return SABLE_OK;
    }
    case SABLE_REAL: {
        double value;
        if (!sable_parse_real(text, &value))
            return sable_fail(error, SABLE_BAD_INPUT, "%s=%.80s: must be a number", param->name, text);
        if (!(value >= param->min && value <= param->max))
            return sable_fail(error, SABLE_BAD_INPUT, "%s=%.80s: must be in [%g, %g]", param->name, text, param->min,
                              param->max);
        *(double *)field = value;
        return SABLE_OK;
    }
    case SABLE_CHOICE:
        return set_choice(param, text, field, error);
    case SABLE_TEXT:
        if (strlen(text) >= SABLE_TEXT_SIZE)
            return sable_fail(error, SABLE_BAD_INPUT, "%s: longer than %d characters", param->name,
                              SABLE_TEXT_SIZE - 1);
        snprintf(field, SABLE_TEXT_SIZE, "%s", text);
        return SABLE_OK;
    case SABLE_POINT:
        return set_point(param, text, field, error);
    }
    return sable_fail(error, SABLE_BUG, "parameter %s has no type", param->name);
}

static const struct sable_param *find(const struct sable_workload *workload, const char *name, size_t length)
{
    for (const struct sable_param *param = workload->params; param->name; param++)
        if (strlen(param->name) == length && strncmp(param->name, name, length) == 0)
            return param;
    return NULL;
}

bool sable_params_know(const struct sable_workload *workload, const char *name, size_t length)
{
    return find(workload, name, length) != NULL;
}

int sable_params_set(const struct sable_workload *workload, void *params, const char *setting,
                     struct sable_error *error)
{
    const char *equals = strchr(setting, '=');
    if (!equals)
        return sable_fail(error, SABLE_BAD_INPUT, "'%.80s': a parameter is set as NAME=VALUE", setting);
    const struct sable_param *param = find(workload, setting, (size_t)(equals - setting));
    if (param)
        return set_value(param, params, equals + 1, error);
    char list[LIST_SIZE] = "";
    for (param = workload->params; param->name; param++)
        append(list, param->name);
    return sable_fail(error, SABLE_BAD_INPUT, "%s has no parameter '%.*s': one of %s", workload->name,
                      (int)(equals - setting > 80 ? 80 : equals - setting), setting, list[0] ? list : "(none)");
}

int sable_params_default(const struct sable_workload *workload, void *params, struct sable_error *error)
{
    for (const struct sable_param *param = workload->params; param->name; param++)
        if (set_value(param, params, param->fallback, error))
            return error->code;
    return SABLE_OK;
}

int sable_params_class(const struct sable_workload *workload, void *params, const char *class_name,
                       struct sable_error *error)
{
    char list[LIST_SIZE] = "";
    const struct sable_class *class = workload->classes;
    while (class->name && strcmp(class->name, class_name) != 0)
        append(list, (class ++)->name);
    if (!class->name)
        return sable_fail(error, SABLE_BAD_INPUT, "%s has no class '%.20s': one of %s", workload->name, class_name,
                          list);
    const char *at = class->settings;
    while (*at) {
        char setting[SABLE_TEXT_SIZE];
        size_t length = strcspn(at, " ");
        snprintf(setting, sizeof setting, "%.*s", (int)length, at);
        if (sable_params_set(workload, params, setting, error))
            return error->code;
        at += length;
        at += strspn(at, " ");
    }
    return SABLE_OK;
}

/* One parameter times p^exponent. A relative error e of a rounded value is one of about e / |exponent| in the work. */
static int grow_value(const struct sable_workload *workload, const struct sable_param *param, double exponent,
                      int64_t processors, void *params, struct sable_error *error)
{
    void *field = (char *)params + param->offset;
    double now = param->type == SABLE_INT ? (double)*(int64_t *)field : *(double *)field;
    double wanted = now * pow((double)processors, exponent), grown = param->type == SABLE_INT ? round(wanted) : wanted;
    if (!(grown >= param->min && grown <= param->max))
        return sable_fail(error, SABLE_BAD_INPUT, "%s: %s=%g times %lld^%g leaves its range [%g, %g]", workload->name,
                          param->name, now, (long long)processors, exponent, param->min, param->max);
    if (!(fabs(grown - wanted) <= 0.1 * fabs(exponent) * fabs(wanted)))
        return sable_fail(error, SABLE_BAD_INPUT, "%s can't grow %lld times: %s=%g would be %.3g, which is no integer",
                          workload->name, (long long)processors, param->name, now, wanted);
    if (param->type == SABLE_INT)
        *(int64_t *)field = (int64_t)grown;
    else
        *(double *)field = grown;
    return SABLE_OK;
}

int sable_params_grow(const struct sable_workload *workload, void *params, int64_t processors,
                      struct sable_error *error)
{
    if (!workload->weak)
        return sable_fail(error, SABLE_BAD_INPUT, "%s declares no weak scaling", workload->name);
    for (const struct sable_growth *growth = workload->weak; growth->parameter; growth++) {
        const struct sable_param *param = find(workload, growth->parameter, strlen(growth->parameter));
        if (!param || (param->type != SABLE_INT && param->type != SABLE_REAL))
            return sable_fail(error, SABLE_BUG, "%s: weak scaling names '%s', which is no number", workload->name,
                              growth->parameter);
        if (grow_value(workload, param, growth->exponent, processors, params, error))
            return error->code;
    }
    return SABLE_OK;
}

void sable_params_settings(const struct sable_workload *workload, const void *params, struct sable_setting *settings)
{
    for (int i = 0; workload->params[i].name; i++) {
        const struct sable_param *param = &workload->params[i];
        const void *field = (const char *)params + param->offset;
        struct sable_setting *setting = &settings[i];
        *setting = (struct sable_setting){.name = param->name, .unit = param->unit, .type = param->type};
        switch (param->type) {
        case SABLE_INT:
            setting->integer = *(const int64_t *)field;
            snprintf(setting->text, sizeof setting->text, "%lld", (long long)setting->integer);
            break;
        case SABLE_REAL:
            setting->real = *(const double *)field;
            snprintf(setting->text, sizeof setting->text, "%.17g", setting->real);
            break;
        case SABLE_CHOICE:
            setting->integer = *(const int *)field;
            snprintf(setting->text, sizeof setting->text, "%s", param->choices[setting->integer]);
            break;
        case SABLE_TEXT:
            snprintf(setting->text, sizeof setting->text, "%s", (const char *)field);
            break;
        case SABLE_POINT:
            setting->point = *(const struct sable_point *)field;
            snprintf(setting->text, sizeof setting->text, "%.17g,%.17g", setting->point.x, setting->point.y);
            break;
        }
    }
}
