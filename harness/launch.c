#define _GNU_SOURCE /* sched_getaffinity */
#include "launch.h"

#include <omp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "machine.h"
#include "registry.h"
#include "sable_isa.h"

static const long most_threads = 65536;

/* Set by Open MPI, MPICH and others of its descent, PMIx, and Slurm's srun. */
static const char *const rank_variables[] = {"OMPI_COMM_WORLD_RANK", "PMI_RANK", "PMIX_RANK", NULL};
static const char *const size_variables[] = {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE", NULL};

/* The first of the variables that holds a number; −1 if none does. */
static int64_t from_environment(const char *const *names)
{
    int64_t value;
    for (; *names; names++) {
        const char *text = getenv(*names);
        if (text && sable_parse_integer(text, &value))
            return value;
    }
    return -1;
}

/* Tasks of the srun step that started this process; in a batch script itself, or below mpirun, that says nothing. */
static int64_t srun_tasks(void)
{
    static const char *const tasks[] = {"SLURM_STEP_NUM_TASKS", NULL};
    return getenv("SLURM_LAUNCH_NODE_IPADDR") ? from_environment(tasks) : -1;
}

bool sable_launch_speaks(void)
{
    static const char *const task[] = {"SLURM_PROCID", NULL};
    int64_t rank = from_environment(rank_variables);
    if (rank < 0 && srun_tasks() > 1)
        rank = from_environment(task);
    return rank <= 0;
}

int sable_launch_begin(int *argc, char ***argv, struct sable_error *error)
{
    int provided, size;
    int64_t launched = from_environment(size_variables);
    if (launched < 0)
        launched = srun_tasks();
    if (sable_check_mpi(MPI_Init_thread(argc, argv, MPI_THREAD_FUNNELED, &provided), "MPI_Init_thread", error) ||
        sable_check_mpi(MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler", error) ||
        sable_check_mpi(MPI_Comm_size(MPI_COMM_WORLD, &size), "MPI_Comm_size", error))
        return error->code;
    if (provided < MPI_THREAD_FUNNELED)
        return sable_fail(error, SABLE_ENVIRONMENT,
                          "this MPI lets no threads run beside it: MPI_THREAD_FUNNELED is needed");
    if (size == 1 && launched > 1) {
        char library[MPI_MAX_LIBRARY_VERSION_STRING];
        int length;
        MPI_Get_library_version(library, &length);
        return sable_fail(error, SABLE_ENVIRONMENT,
                          "the launcher started %lld processes that do not know of each other: use the mpirun (or "
                          "srun --mpi=...) that belongs to %.60s",
                          (long long)launched, library);
    }
    return SABLE_OK;
}

void sable_launch_end(void)
{
    int initialized = 0, finalized = 0;
    MPI_Initialized(&initialized);
    MPI_Finalized(&finalized);
    if (initialized && !finalized)
        MPI_Finalize();
}

void sable_launch_let_speak(void)
{
    const struct timespec moment = {5, 0};
    int running = 0, ranks = 1;
    MPI_Initialized(&running);
    if (running)
        MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    if (ranks == 1)
        nanosleep(&moment, NULL);
}

/* Cores that the ranks of this host may use, divided by those ranks if they share them. */
static int share_of_cores(MPI_Comm comm, struct sable_error *error)
{
    cpu_set_t mine, together;
    CPU_ZERO(&mine);
    MPI_Comm host;
    int ranks = 1, own = omp_get_num_procs(), sum = own;
    if (sched_getaffinity(0, sizeof mine, &mine)) /* more processors than a cpu_set_t holds: then nothing is known */
        CPU_ZERO(&mine);
    if (sable_check_mpi(MPI_Comm_split_type(comm, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &host), "MPI_Comm_split_type",
                        error))
        return 1;
    MPI_Comm_size(host, &ranks);
    if (!sable_check_mpi(MPI_Allreduce(&mine, &together, sizeof mine, MPI_BYTE, MPI_BOR, host), "MPI_Allreduce", error))
        sable_check_mpi(MPI_Allreduce(&own, &sum, 1, MPI_INT, MPI_SUM, host), "MPI_Allreduce", error);
    MPI_Comm_free(&host);
    if (error->code || sum <= CPU_COUNT(&together) || CPU_COUNT(&together) == 0)
        return own;
    int share = CPU_COUNT(&together) / ranks;
    return share > 1 ? share : 1;
}

/* OpenMP runtimes ignore a malformed OMP_NUM_THREADS with a warning from every rank, or silently. */
static int check_environment(struct sable_error *error)
{
    if (sable_bind_check(error))
        return error->code;
    const char *list = getenv("OMP_NUM_THREADS");
    for (bool more = list && *list; more;) {
        char *end;
        long n = strtol(list, &end, 10);
        if (end == list || n < 1 || n > most_threads || (*end && *end != ','))
            return sable_fail(error, SABLE_BAD_INPUT,
                              "OMP_NUM_THREADS=%.80s: must be a number of threads from 1 to %ld",
                              getenv("OMP_NUM_THREADS"), most_threads);
        more = *end == ',';
        list = end + 1;
    }
    const char *level = sable_isa_request_failed();
    if (level)
        return sable_fail(error, SABLE_BAD_INPUT, "SABLE_ISA=%.80s: this processor and build have base%s%s%s", level,
                          sable_isa_best() >= SABLE_ISA_V2 ? ", v2" : "",
                          sable_isa_best() >= SABLE_ISA_V3 ? ", v3" : "",
                          sable_isa_best() >= SABLE_ISA_V4 ? ", v4" : "");
    return SABLE_OK;
}

int sable_launch_threads(MPI_Comm comm, int *threads, struct sable_error *error)
{
    check_environment(error);
    if (sable_agree(comm, error))
        return error->code;
    const char *asked = getenv("OMP_NUM_THREADS");
    int wanted = asked && *asked ? omp_get_max_threads() : share_of_cores(comm, error);
    if (sable_agree(comm, error))
        return error->code;
    if (sable_check_mpi(MPI_Allreduce(&wanted, threads, 1, MPI_INT, MPI_MIN, comm), "MPI_Allreduce", error))
        return error->code;
    omp_set_dynamic(0);
    omp_set_num_threads(*threads);
    return SABLE_OK;
}
