/* The different values that a fact has over all hosts, each with its number of hosts: merged up a tree of ranks, so
 * that no rank ever holds a value for every host. */
#ifndef SABLE_VARIETY_H
#define SABLE_VARIETY_H

#include <stddef.h>
#include <stdint.h>

#include "host.h"

enum { SABLE_VARIETY_KINDS = 6 };

struct sable_variety {
    int32_t kinds, others; /* others: hosts whose value found no room */
    struct {
        int32_t hosts;
        char text[SABLE_HOST_TEXT_SIZE];
    } kind[SABLE_VARIETY_KINDS]; /* in the order of text */
};

/* The value of one host. */
struct sable_variety sable_variety_of(const char *text);
/* Commutative; associative too while all values find room. */
void sable_variety_merge(const struct sable_variety *from, struct sable_variety *into);
/* "VALUE" if all hosts agree, else "VALUE (2 hosts); OTHER (1 host)". */
void sable_variety_write(const struct sable_variety *variety, size_t size, char text[]);

#endif
