/* Facts of the software: how this binary was built, its libraries, and the environment that steers them. */
#ifndef SABLE_PROVENANCE_H
#define SABLE_PROVENANCE_H

#include "machine.h"

/* Appends a fact, one line cut to size; beyond the room for facts it is dropped. */
void sable_add_fact(struct sable_machine *machine, const char *name, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

void sable_describe_software(struct sable_machine *machine);

/* Variables that change what OpenMP, MPI and Slurm do, the most telling first, without secrets; how many found no room
 * is said in a last fact. */
void sable_describe_environment(struct sable_machine *machine);

#endif
