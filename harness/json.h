/* JSON on a stream, as every command with --json ends. */
#ifndef SABLE_JSON_H
#define SABLE_JSON_H

#include <jansson.h>
#include <stdio.h>

#include "error.h"

/* Writes `root`, indented and with a newline, and frees it. A NULL root (memory was short, or a text was not UTF-8) and
 * a stream that takes nothing are SABLE_ENVIRONMENT: "could not write `what` as JSON". */
int sable_json_write(FILE *stream, json_t *root, const char *what, struct sable_error *error);

#endif
