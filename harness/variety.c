#include "variety.h"

#include <stdio.h>
#include <string.h>

struct sable_variety sable_variety_of(const char *text)
{
    struct sable_variety one = {.kinds = 1, .kind[0].hosts = 1};
    snprintf(one.kind[0].text, SABLE_HOST_TEXT_SIZE, "%s", text);
    return one;
}

/* Insertion into a sorted list. */
static void add(struct sable_variety *into, const char *text, int32_t hosts)
{
    int at = 0, order = 1;
    while (at < into->kinds && (order = strcmp(into->kind[at].text, text)) < 0)
        at++;
    if (at < into->kinds && order == 0) {
        into->kind[at].hosts += hosts;
        return;
    }
    if (into->kinds == SABLE_VARIETY_KINDS) {
        into->others += hosts;
        return;
    }
    memmove(&into->kind[at + 1], &into->kind[at], (size_t)(into->kinds - at) * sizeof *into->kind);
    snprintf(into->kind[at].text, SABLE_HOST_TEXT_SIZE, "%s", text);
    into->kind[at].hosts = hosts;
    into->kinds++;
}

void sable_variety_merge(const struct sable_variety *from, struct sable_variety *into)
{
    for (int k = 0; k < from->kinds; k++)
        add(into, from->kind[k].text, from->kind[k].hosts);
    into->others += from->others;
}

static const char *plural(int32_t hosts)
{
    return hosts == 1 ? "" : "s";
}

void sable_variety_write(const struct sable_variety *variety, size_t size, char text[])
{
    size_t length = 0;
    if (variety->kinds == 1 && variety->others == 0) {
        snprintf(text, size, "%s", variety->kind[0].text);
        return;
    }
    text[0] = '\0';
    for (int k = 0; k < variety->kinds && length < size; k++)
        length += (size_t)snprintf(text + length, size - length, "%s%s (%d host%s)", k ? "; " : "",
                                   variety->kind[k].text, variety->kind[k].hosts, plural(variety->kind[k].hosts));
    if (variety->others > 0 && length < size)
        snprintf(text + length, size - length, "; others (%d host%s)", variety->others, plural(variety->others));
}
