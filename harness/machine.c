#include "machine.h"

#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "binding.h"
#include "cgroup.h"
#include "host.h"
#include "provenance.h"
#include "variety.h"

/* ---- Hosts: one leader speaks for each ---- */

static void merge_varieties(void *from, void *into, int *count, MPI_Datatype *type)
{
    (void)type;
    for (int i = 0; i < *count; i++)
        sable_variety_merge((const struct sable_variety *)from + i, (struct sable_variety *)into + i);
}

static int reduce_varieties(MPI_Comm leaders, struct sable_variety own[], struct sable_variety all[],
                            struct sable_error *error)
{
    MPI_Datatype type;
    MPI_Op operation;
    if (sable_check_mpi(MPI_Type_contiguous(sizeof *own, MPI_BYTE, &type), "MPI_Type_contiguous", error))
        return error->code;
    MPI_Type_commit(&type);
    if (!sable_check_mpi(MPI_Op_create(merge_varieties, 1, &operation), "MPI_Op_create", error)) {
        sable_check_mpi(MPI_Reduce(own, all, SABLE_HOST_FACTS, type, operation, 0, leaders), "MPI_Reduce", error);
        MPI_Op_free(&operation);
    }
    MPI_Type_free(&type);
    return error->code;
}

/* "node1, node2, …" */
static int add_host_names(MPI_Comm leaders, const char *own, struct sable_machine *machine, struct sable_error *error)
{
    int rank, hosts;
    MPI_Comm_rank(leaders, &rank);
    MPI_Comm_size(leaders, &hosts);
    char(*names)[SABLE_HOST_SIZE] = malloc(rank == 0 ? (size_t)hosts * sizeof *names : sizeof *names);
    if (!names)
        sable_fail(error, SABLE_ENVIRONMENT, "out of memory for the names of %d hosts", hosts);
    if (!sable_agree(leaders, error) &&
        !sable_check_mpi(MPI_Gather(own, SABLE_HOST_SIZE, MPI_CHAR, names, SABLE_HOST_SIZE, MPI_CHAR, 0, leaders),
                         "MPI_Gather", error) &&
        rank == 0) {
        char text[sizeof machine->fact->text];
        size_t length = 0;
        for (int h = 0; h < hosts && length < sizeof text; h++)
            length += (size_t)snprintf(text + length, sizeof text - length, "%s%s", h ? ", " : "", names[h]);
        if (length >= sizeof text)
            memcpy(text + sizeof text - sizeof "...", "...", sizeof "...");
        sable_add_fact(machine, "hosts", "%d", hosts);
        sable_add_fact(machine, "host_names", "%s", text);
    }
    free(names);
    return error->code;
}

static int describe_hosts(MPI_Comm leaders, hwloc_topology_t topology, const char *host, struct sable_machine *machine,
                          struct sable_error *error)
{
    char text[SABLE_HOST_FACTS][SABLE_HOST_TEXT_SIZE];
    struct sable_variety own[SABLE_HOST_FACTS], all[SABLE_HOST_FACTS] = {0};
    int rank;
    MPI_Comm_rank(leaders, &rank);
    if (add_host_names(leaders, host, machine, error))
        return error->code;
    sable_host_describe(topology, text);
    for (int f = 0; f < SABLE_HOST_FACTS; f++)
        own[f] = sable_variety_of(text[f]);
    if (reduce_varieties(leaders, own, all, error))
        return error->code;
    for (int f = 0; f < SABLE_HOST_FACTS && rank == 0; f++) {
        char values[sizeof machine->fact->text];
        sable_variety_write(&all[f], sizeof values, values);
        sable_add_fact(machine, sable_host_fact_name[f], "%s", values);
    }
    return SABLE_OK;
}

/* ---- Bindings ---- */

static void query_thread(struct sable_binding *binding)
{
    struct sable_mask mask = sable_mask_of_thread();
    hwloc_cpuset_t set = hwloc_bitmap_alloc();
    if (set) {
        hwloc_bitmap_from_ulongs(set, SABLE_MASK_WORDS, mask.word);
        sable_cpuset_format(set, binding->cpuset);
    }
    hwloc_bitmap_free(set);
}

static struct sable_binding *query_team(MPI_Comm comm, int threads)
{
    struct sable_binding *own = calloc((size_t)threads, sizeof *own);
    int rank;
    MPI_Comm_rank(comm, &rank);
    if (!own)
        return NULL;
#pragma omp parallel num_threads(threads)
    {
        struct sable_binding *binding = &own[omp_get_thread_num()];
        binding->rank = rank;
        binding->thread = omp_get_thread_num();
        gethostname(binding->host, sizeof binding->host - 1);
        query_thread(binding);
    }
    return own;
}

/* The threads of all ranks on rank 0 of `comm`, in the order of ranks; NULL elsewhere. */
static struct sable_binding *gather_bindings(MPI_Comm comm, const struct sable_binding *own, int threads,
                                             struct sable_error *error)
{
    struct sable_binding *all = NULL;
    MPI_Datatype type;
    int rank, ranks;
    MPI_Comm_rank(comm, &rank);
    MPI_Comm_size(comm, &ranks);
    if (rank == 0 && !(all = calloc((size_t)ranks * (size_t)threads, sizeof *all)))
        sable_fail(error, SABLE_ENVIRONMENT, "out of memory for the binding of %d ranks x %d threads", ranks, threads);
    if (sable_agree(comm, error))
        goto done;
    if (sable_check_mpi(MPI_Type_contiguous(sizeof *own, MPI_BYTE, &type), "MPI_Type_contiguous", error))
        goto done;
    MPI_Type_commit(&type);
    sable_check_mpi(MPI_Gather(own, threads, type, all, threads, type, 0, comm), "MPI_Gather", error);
    MPI_Type_free(&type);
done:
    if (error->code) {
        free(all);
        all = NULL;
    }
    return all;
}

/* What one host's leader found becomes known to all: the text of the first host that has any, and how many others. */
static int announce(MPI_Comm comm, char reason[SABLE_REASON_SIZE], struct sable_error *error)
{
    int rank, ranks, first, mine = reason[0] != '\0', hosts;
    MPI_Comm_rank(comm, &rank);
    MPI_Comm_size(comm, &ranks);
    int candidate = mine ? rank : ranks;
    if (sable_check_mpi(MPI_Allreduce(&candidate, &first, 1, MPI_INT, MPI_MIN, comm), "MPI_Allreduce", error) ||
        sable_check_mpi(MPI_Allreduce(&mine, &hosts, 1, MPI_INT, MPI_SUM, comm), "MPI_Allreduce", error) ||
        first == ranks ||
        sable_check_mpi(MPI_Bcast(reason, SABLE_REASON_SIZE, MPI_CHAR, first, comm), "MPI_Bcast", error))
        return error->code;
    size_t length = strlen(reason);
    if (hosts > 1)
        snprintf(reason + length, SABLE_REASON_SIZE - length, " (and alike on %d more host%s)", hosts - 1,
                 hosts > 2 ? "s" : "");
    return SABLE_OK;
}

static void notice_huge_pages(struct sable_machine *machine)
{
    char line[64];
    size_t length = strlen(machine->notice);
    if (sable_read_line("/sys/kernel/mm/transparent_hugepage/enabled", line, sizeof line) && strstr(line, "[never]"))
        snprintf(machine->notice + length, SABLE_REASON_SIZE - length, "%stransparent huge pages are off",
                 length ? "; " : "");
}

/* ---- All of it ---- */

struct hosts {
    MPI_Comm host, leaders; /* ranks of this host; the first rank of each host, or MPI_COMM_NULL */
    int rank, ranks;        /* in `host` */
};

static int find_hosts(MPI_Comm comm, struct hosts *hosts, struct sable_error *error)
{
    int rank;
    MPI_Comm_rank(comm, &rank);
    if (sable_check_mpi(MPI_Comm_split_type(comm, MPI_COMM_TYPE_SHARED, rank, MPI_INFO_NULL, &hosts->host),
                        "MPI_Comm_split_type", error))
        return error->code;
    MPI_Comm_rank(hosts->host, &hosts->rank);
    MPI_Comm_size(hosts->host, &hosts->ranks);
    return sable_check_mpi(MPI_Comm_split(comm, hosts->rank == 0 ? 0 : MPI_UNDEFINED, rank, &hosts->leaders),
                           "MPI_Comm_split", error);
}

/* What one host's leader finds; only it reads the topology. */
static int lead_host(const struct hosts *hosts, const struct sable_binding *local, int threads,
                     struct sable_machine *machine, struct sable_error *error)
{
    char advice[SABLE_ADVICE_SIZE];
    hwloc_topology_t topology = sable_topology_load();
    if (!topology)
        sable_fail(error, SABLE_ENVIRONMENT, "hwloc can't read the topology of %s", local->host);
    if (sable_agree(hosts->leaders, error))
        goto done;
    sable_binding_advice(threads, advice);
    sable_binding_judge(topology, local, (int64_t)hosts->ranks * threads, sable_cgroup_own().cpus, advice,
                        machine->guard, machine->notice);
    notice_huge_pages(machine);
    describe_hosts(hosts->leaders, topology, local->host, machine, error);
done:
    if (topology)
        hwloc_topology_destroy(topology);
    return error->code;
}

/* What every rank learns. */
static int share_findings(MPI_Comm comm, const struct hosts *hosts, struct sable_machine *machine,
                          struct sable_error *error)
{
    double share = sable_host_memory_share(hosts->ranks);
    int leader = hosts->rank == 0;
    if (announce(comm, machine->guard, error) || announce(comm, machine->notice, error) ||
        sable_check_mpi(MPI_Allreduce(&share, &machine->memory_available, 1, MPI_DOUBLE, MPI_MIN, comm),
                        "MPI_Allreduce", error))
        return error->code;
    return sable_check_mpi(MPI_Allreduce(&leader, &machine->hosts, 1, MPI_INT, MPI_SUM, comm), "MPI_Allreduce", error);
}

static int describe(MPI_Comm comm, const struct hosts *hosts, int threads, struct sable_machine *machine,
                    struct sable_error *error)
{
    int rank, ranks;
    MPI_Comm_rank(comm, &rank);
    MPI_Comm_size(comm, &ranks);
    struct sable_binding *own = query_team(comm, threads), *local = NULL;
    if (!own)
        sable_fail(error, SABLE_ENVIRONMENT, "out of memory for the binding of %d threads", threads);
    if (sable_agree(comm, error))
        goto done;
    machine->binding = gather_bindings(comm, own, threads, error);
    machine->bindings = machine->binding ? (int64_t)ranks * threads : 0;
    if (sable_agree(comm, error))
        goto done;
    local = gather_bindings(hosts->host, own, threads, error);
    if (sable_agree(comm, error))
        goto done;
    if (hosts->rank == 0)
        lead_host(hosts, local, threads, machine, error);
    if (rank == 0) {
        sable_describe_software(machine);
        sable_describe_environment(machine);
    }
    if (!sable_agree(comm, error))
        share_findings(comm, hosts, machine, error);
done:
    free(own);
    free(local);
    return error->code;
}

int sable_machine_describe(MPI_Comm comm, int threads, struct sable_machine *machine, struct sable_error *error)
{
    struct hosts hosts = {MPI_COMM_NULL, MPI_COMM_NULL, 0, 1};
    *machine = (struct sable_machine){0};
    find_hosts(comm, &hosts, error);
    if (!sable_agree(comm, error))
        describe(comm, &hosts, threads, machine, error);
    if (error->code)
        sable_machine_free(machine);
    if (hosts.leaders != MPI_COMM_NULL)
        MPI_Comm_free(&hosts.leaders);
    if (hosts.host != MPI_COMM_NULL)
        MPI_Comm_free(&hosts.host);
    return error->code;
}

void sable_machine_free(struct sable_machine *machine)
{
    free(machine->binding);
    machine->binding = NULL;
    machine->bindings = 0;
}
