#include "machine.h"

#include <ctype.h>
#include <math.h>
#include <omp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <hdf5.h>

#include "binding.h"
#include "build_info.h"
#include "cgroup.h"
#include "host.h"
#include "sable_array.h"
#include "sable_isa.h"

extern char **environ;

__attribute__((format(printf, 3, 4))) static void add_fact(struct sable_machine *machine, const char *name,
                                                           const char *format, ...)
{
    if (machine->facts >= (int)(sizeof machine->fact / sizeof *machine->fact))
        return;
    struct sable_fact *fact = &machine->fact[machine->facts++];
    va_list arguments;
    va_start(arguments, format);
    snprintf(fact->name, sizeof fact->name, "%s", name);
    vsnprintf(fact->text, sizeof fact->text, format, arguments);
    va_end(arguments);
    fact->text[strcspn(fact->text, "\r\n")] = '\0';
}

/* ---- Hosts: one leader speaks for each ---- */

/* The different values of a fact over all hosts. */
struct variety {
    int32_t kinds, others; /* hosts whose value found no room */
    struct {
        int32_t hosts;
        char text[SABLE_HOST_TEXT_SIZE];
    } kind[6];
};

static void merge(const struct variety *from, struct variety *into)
{
    const int room = sizeof into->kind / sizeof *into->kind;
    into->others += from->others;
    for (int i = 0; i < from->kinds; i++) {
        int k = 0;
        while (k < into->kinds && strcmp(into->kind[k].text, from->kind[i].text))
            k++;
        if (k < into->kinds)
            into->kind[k].hosts += from->kind[i].hosts;
        else if (k < room)
            into->kind[into->kinds++] = from->kind[i];
        else
            into->others += from->kind[i].hosts;
    }
}

static void merge_operation(void *from, void *into, int *count, MPI_Datatype *type)
{
    (void)type;
    for (int i = 0; i < *count; i++)
        merge((const struct variety *)from + i, (struct variety *)into + i);
}

static int reduce_varieties(MPI_Comm leaders, struct variety own[], struct variety all[], struct sable_error *error)
{
    MPI_Datatype type;
    MPI_Op operation;
    if (sable_check_mpi(MPI_Type_contiguous(sizeof *own, MPI_BYTE, &type), "MPI_Type_contiguous", error))
        return error->code;
    MPI_Type_commit(&type);
    if (!sable_check_mpi(MPI_Op_create(merge_operation, 1, &operation), "MPI_Op_create", error)) {
        sable_check_mpi(MPI_Reduce(own, all, SABLE_HOST_FACTS, type, operation, 0, leaders), "MPI_Reduce", error);
        MPI_Op_free(&operation);
    }
    MPI_Type_free(&type);
    return error->code;
}

static void add_variety(struct sable_machine *machine, const char *name, const struct variety *variety)
{
    char text[sizeof machine->fact->text];
    size_t length = 0;
    if (variety->kinds == 1) {
        add_fact(machine, name, "%s", variety->kind[0].text);
        return;
    }
    for (int k = 0; k < variety->kinds && length < sizeof text; k++)
        length += (size_t)snprintf(text + length, sizeof text - length, "%s%s (on %d hosts)", k ? "; " : "",
                                   variety->kind[k].text, variety->kind[k].hosts);
    if (variety->others > 0 && length < sizeof text)
        snprintf(text + length, sizeof text - length, "; others (on %d hosts)", variety->others);
    add_fact(machine, name, "%s", text);
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
        add_fact(machine, "hosts", "%d", hosts);
        add_fact(machine, "host_names", "%s", text);
    }
    free(names);
    return error->code;
}

static int describe_hosts(MPI_Comm leaders, hwloc_topology_t topology, const char *host, struct sable_machine *machine,
                          struct sable_error *error)
{
    char text[SABLE_HOST_FACTS][SABLE_HOST_TEXT_SIZE];
    struct variety own[SABLE_HOST_FACTS] = {0}, all[SABLE_HOST_FACTS] = {0};
    int rank;
    MPI_Comm_rank(leaders, &rank);
    if (add_host_names(leaders, host, machine, error))
        return error->code;
    sable_host_describe(topology, text);
    for (int f = 0; f < SABLE_HOST_FACTS; f++) {
        own[f].kinds = own[f].kind[0].hosts = 1;
        memcpy(own[f].kind[0].text, text[f], sizeof text[f]);
    }
    if (reduce_varieties(leaders, own, all, error))
        return error->code;
    for (int f = 0; f < SABLE_HOST_FACTS && rank == 0; f++)
        add_variety(machine, sable_host_fact_name[f], &all[f]);
    return SABLE_OK;
}

/* ---- Software and environment: rank 0's ---- */

static void describe_software(struct sable_machine *machine)
{
    char library[MPI_MAX_LIBRARY_VERSION_STRING];
    int length, version, subversion, level;
    unsigned major = 0, minor = 0, release = 0, hwloc = hwloc_get_api_version();
    MPI_Get_library_version(library, &length);
    MPI_Get_version(&version, &subversion);
    MPI_Query_thread(&level);
    H5get_libversion(&major, &minor, &release);
    add_fact(machine, "mpi_library", "%s", library);
    add_fact(machine, "mpi_standard", "%d.%d", version, subversion);
    add_fact(machine, "mpi_thread_level", "%s",
             level == MPI_THREAD_MULTIPLE     ? "MPI_THREAD_MULTIPLE"
             : level == MPI_THREAD_SERIALIZED ? "MPI_THREAD_SERIALIZED"
             : level == MPI_THREAD_FUNNELED   ? "MPI_THREAD_FUNNELED"
                                              : "MPI_THREAD_SINGLE");
    add_fact(machine, "compiler", "%s", SABLE_COMPILER);
    add_fact(machine, "flags", "%s", SABLE_FLAGS);
    add_fact(machine, "openmp", "%d", _OPENMP);
    add_fact(machine, "hdf5", "%u.%u.%u (built with %d.%d.%d)", major, minor, release, H5_VERS_MAJOR, H5_VERS_MINOR,
             H5_VERS_RELEASE);
    add_fact(machine, "hwloc", "%u.%u.%u", hwloc >> 16, hwloc >> 8 & 255, hwloc & 255);
    add_fact(machine, "simd", "%s", sable_isa_name(sable_isa()));
    add_fact(machine, "simd_best", "%s", sable_isa_name(sable_isa_best()));
}

/* Launchers pass keys and their own addresses in the environment: not to be published. */
static bool is_private(const char *name, size_t length)
{
    static const char *const words[] = {"KEY",  "TOKEN",     "SECRET", "PASS", "JWT", "CRED",
                                        "ORTE", "TRANSPORT", "PMIX",   "_ESS", "URI", "COOKIE"};
    for (size_t w = 0; w < sizeof words / sizeof *words; w++) {
        size_t word = strlen(words[w]);
        for (size_t i = 0; i + word <= length; i++) {
            size_t same = 0;
            while (same < word && toupper((unsigned char)name[i + same]) == words[w][same])
                same++;
            if (same == word)
                return true;
        }
    }
    return false;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Variables that change what OpenMP, MPI and Slurm do, the most telling first: what finds no room is left out. */
static void describe_environment(struct sable_machine *machine)
{
    static const char *const prefixes[] = {"SABLE_",    "OMP_",   "GOMP_", "KMP_", "OMPI_MCA_", "MPICH_",
                                           "MPIR_CVAR", "I_MPI_", "UCX_",  "FI_",  "SLURM_"};
    size_t count = 0;
    while (environ && environ[count])
        count++;
    char **sorted = malloc((count + 1) * sizeof *sorted);
    if (!sorted)
        return;
    for (size_t i = 0; i < count; i++)
        sorted[i] = environ[i];
    qsort(sorted, count, sizeof *sorted, by_text);
    for (size_t p = 0; p < sizeof prefixes / sizeof *prefixes; p++)
        for (size_t i = 0; i < count; i++) {
            size_t length = strcspn(sorted[i], "=");
            char name[sizeof machine->fact->name];
            if (strncmp(sorted[i], prefixes[p], strlen(prefixes[p])) || length >= sizeof name ||
                sorted[i][length] != '=' || is_private(sorted[i], length))
                continue;
            memcpy(name, sorted[i], length);
            name[length] = '\0';
            add_fact(machine, name, "%s", sorted[i] + length + 1);
        }
    free(sorted);
}

/* ---- Bindings ---- */

static struct sable_binding *query_team(MPI_Comm comm, hwloc_topology_t topology, int threads)
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
        sable_binding_query(topology, binding);
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
        snprintf(reason + length, SABLE_REASON_SIZE - length, " (and alike on %d more hosts)", hosts - 1);
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

static int describe(MPI_Comm comm, const struct hosts *hosts, hwloc_topology_t topology, int threads,
                    struct sable_machine *machine, struct sable_error *error)
{
    int rank, ranks;
    MPI_Comm_rank(comm, &rank);
    MPI_Comm_size(comm, &ranks);
    struct sable_binding *own = query_team(comm, topology, threads), *local = NULL;
    if (!own)
        sable_fail(error, SABLE_ENVIRONMENT, "out of memory for the binding of %d threads", threads);
    if (sable_agree(comm, error))
        goto done;
    machine->binding = gather_bindings(comm, own, threads, error);
    machine->bindings = machine->binding ? (int64_t)ranks * threads : 0;
    if (sable_agree(comm, error))
        goto done;
    local = gather_bindings(hosts->host, own, threads, error);
    if (hosts->rank == 0 && local) {
        char advice[SABLE_CPUSET_SIZE];
        sable_binding_advice(threads, advice);
        sable_binding_judge(topology, local, (int64_t)hosts->ranks * threads, sable_cgroup_cpus(), advice,
                            machine->guard, machine->notice);
        notice_huge_pages(machine);
        describe_hosts(hosts->leaders, topology, own->host, machine, error);
    }
    if (rank == 0) {
        describe_software(machine);
        describe_environment(machine);
    }
    double share = sable_host_memory_share(hosts->ranks);
    int leader = hosts->rank == 0;
    if (sable_agree(comm, error) || announce(comm, machine->guard, error) || announce(comm, machine->notice, error))
        goto done;
    sable_check_mpi(MPI_Allreduce(&share, &machine->memory_available, 1, MPI_DOUBLE, MPI_MIN, comm), "MPI_Allreduce",
                    error);
    sable_check_mpi(MPI_Allreduce(&leader, &machine->hosts, 1, MPI_INT, MPI_SUM, comm), "MPI_Allreduce", error);
done:
    free(own);
    free(local);
    return error->code;
}

int sable_machine_describe(MPI_Comm comm, int threads, struct sable_machine *machine, struct sable_error *error)
{
    struct hosts hosts = {MPI_COMM_NULL, MPI_COMM_NULL, 0, 1};
    hwloc_topology_t topology = NULL;
    *machine = (struct sable_machine){0};
    if (hwloc_topology_init(&topology) || hwloc_topology_load(topology))
        sable_fail(error, SABLE_ENVIRONMENT, "hwloc can't read this host's topology");
    if (!sable_agree(comm, error) && !find_hosts(comm, &hosts, error))
        describe(comm, &hosts, topology, threads, machine, error);
    if (error->code)
        sable_machine_free(machine);
    if (hosts.leaders != MPI_COMM_NULL)
        MPI_Comm_free(&hosts.leaders);
    if (hosts.host != MPI_COMM_NULL)
        MPI_Comm_free(&hosts.host);
    if (topology)
        hwloc_topology_destroy(topology);
    return error->code;
}

void sable_machine_free(struct sable_machine *machine)
{
    free(machine->binding);
    machine->binding = NULL;
    machine->bindings = 0;
}
