/* The texts that options have for values, for options.c only: each call takes one and puts what it says into `value` or
 * the options, or fails with SABLE_BAD_INPUT and a line that names the option, the text and what it may be. `option` is
 * the long name without dashes. Texts are kept, not copied. */
#ifndef SABLE_OPTION_VALUES_H
#define SABLE_OPTION_VALUES_H

#include "options.h"

/* `choices` ends with NULL; *value is the index. */
int sable_option_choice(const char *option, const char *text, const char *const *choices, int *value,
                        struct sable_error *error);
int sable_option_integer(const char *option, const char *text, int64_t low, int64_t high, int64_t *value,
                         struct sable_error *error);
/* Any text but an empty one. */
int sable_option_name(const char *option, const char *text, const char **value, struct sable_error *error);
/* Appends to list[*count], which holds at most `most` of `what`. */
int sable_option_add(const char *what, const char **list, int *count, int most, const char *text,
                     struct sable_error *error);

int sable_option_variants(struct sable_options *options, const char *list, struct sable_error *error);
int sable_option_ranks(struct sable_options *options, const char *list, struct sable_error *error);
int sable_option_reps(struct sable_options *options, const char *text, struct sable_error *error);
int sable_option_time(struct sable_options *options, const char *text, struct sable_error *error);
int sable_option_memory(struct sable_options *options, const char *text, struct sable_error *error);
int sable_option_threshold(struct sable_options *options, const char *text, struct sable_error *error);
int sable_option_seed(struct sable_options *options, const char *text, struct sable_error *error);

#endif
