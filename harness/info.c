#include "info.h"

#include <stdio.h>
#include <string.h>

#include "build_info.h"
#include "json.h"
#include "machine.h"

static void print_facts(const struct sable_machine *machine)
{
    printf("%-24s %s (%s)\n", "sable", SABLE_VERSION, SABLE_GIT_REVISION);
    for (int i = 0; i < machine->facts; i++)
        printf("%-24s %s\n", machine->fact[i].name, machine->fact[i].text);
    printf("%-24s %.1f GiB for each rank\n", "memory_available", machine->memory_available / 0x1p30);
}

enum { LINE_SIZE = 480, LINE_END = 40 };

/* Writes the processors of the threads [first, end), "0 | 1 | 2-3 (2 threads)", and how many found no room. */
static void list_processors(const struct sable_binding *b, int64_t first, int64_t end, char line[LINE_SIZE])
{
    size_t length = 0, size = LINE_SIZE - LINE_END;
    for (int64_t t = first, same; t < end; t = same) {
        for (same = t + 1; same < end && strcmp(b[same].cpuset, b[t].cpuset) == 0;)
            same++;
        char threads[40] = "";
        if (same > t + 1)
            snprintf(threads, sizeof threads, " (%lld threads)", (long long)(same - t));
        int added = snprintf(line + length, size - length, "%s%s%s", t > first ? " | " : "", b[t].cpuset, threads);
        if (length + (size_t)added >= size) {
            snprintf(line + length, LINE_SIZE - length, " | ... %lld more threads", (long long)(end - t));
            return;
        }
        length += (size_t)added;
    }
}

static void print_bindings(const struct sable_machine *machine)
{
    enum { MOST_LINES = 64 };
    const struct sable_binding *b = machine->binding;
    int lines = 0;
    printf("\n%8s  %-20s  %s\n", "rank", "host", "processors of each thread");
    for (int64_t i = 0, end; i < machine->bindings; i = end) {
        if (lines++ == MOST_LINES) {
            printf("%8s  and ranks %d to %d: --json shows all\n", "...", b[i].rank, b[machine->bindings - 1].rank);
            return;
        }
        for (end = i; end < machine->bindings && b[end].rank == b[i].rank;)
            end++;
        char line[LINE_SIZE];
        list_processors(b, i, end, line);
        printf("%8d  %-20s  %s\n", b[i].rank, b[i].host, line);
    }
}

static json_t *describe_json(const struct sable_machine *machine, int ranks, int threads)
{
    json_t *facts = json_object(), *bindings = json_array();
    for (int i = 0; i < machine->facts; i++)
        json_object_set_new(facts, machine->fact[i].name, json_string(machine->fact[i].text));
    for (int64_t i = 0; i < machine->bindings; i++) {
        const struct sable_binding *b = &machine->binding[i];
        json_array_append_new(bindings, json_pack("{si si ss ss}", "rank", b->rank, "thread", b->thread, "host",
                                                  b->host, "cpuset", b->cpuset));
    }
    return json_pack("{ss ss si si si sf so so ss ss}", "sable_version", SABLE_VERSION, "git_revision",
                     SABLE_GIT_REVISION, "ranks", ranks, "threads", threads, "hosts", machine->hosts,
                     "memory_available", machine->memory_available, "machine", facts, "binding", bindings, "guard",
                     machine->guard, "notice", machine->notice);
}

int sable_info(MPI_Comm comm, int threads, bool json, struct sable_error *error)
{
    struct sable_machine machine;
    int rank, ranks;
    MPI_Comm_rank(comm, &rank);
    MPI_Comm_size(comm, &ranks);
    sable_bind_threads(comm, threads);
    if (sable_machine_describe(comm, threads, &machine, error))
        return error->code;
    if (rank == 0 && json)
        sable_json_write(stdout, describe_json(&machine, ranks, threads), "what is known of the launch", error);
    else if (rank == 0) {
        print_facts(&machine);
        printf("%-24s %d x %d\n", "ranks x threads", ranks, threads);
        print_bindings(&machine);
        if (machine.guard[0])
            printf("\nnot trusted: %s\n", machine.guard);
        if (machine.notice[0])
            printf("\nnotice: %s\n", machine.notice);
    }
    sable_machine_free(&machine);
    return error->code;
}
