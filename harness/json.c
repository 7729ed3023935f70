#include "json.h"

int sable_json_write(FILE *stream, json_t *root, const char *what, struct sable_error *error)
{
    int failed = !root || json_dumpf(root, stream, JSON_INDENT(2)) || fputc('\n', stream) == EOF;
    json_decref(root);
    return failed ? sable_fail(error, SABLE_ENVIRONMENT, "could not write %s as JSON", what) : SABLE_OK;
}
