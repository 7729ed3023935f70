/* sable-simulate SECONDS THREADS WORKLOAD [OPTIONS of sable run]: one repetition of one workload on the ranks of
 * smpirun, with the driver's own communication, and SECONDS for a unit of computing (stand_in.h) on a rank's THREADS.
 * Writes one line of JSON: simulated seconds, those of each phase, and what was sent. Nothing is verified or stored:
 * there is no answer.
 *
 * Ranks are threads of control within one process and share its globals (smpirun --cfg=smpi/privatization:no), so large
 * arrays are folded into one (nobody computes with them), and all else is on a rank's stack. */
#include <jansson.h>
#include <math.h>
#include <mpi.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "measure.h"
#include "options.h"
#include "plan.h"
#include "registry.h"
#include "sable_array.h"
#include "stand_in.h"

#include <smpi/smpi.h> /* after sable's headers: it gives clocks and sleeps the simulated time */

enum { FOLD_FROM = 1 << 16 };

static double seconds_of_unit; /* the same on every rank */

void simulate_units(double units)
{
    smpi_execute(units * seconds_of_unit);
}

/* ---- Stand-ins of the harness ---- */

STAND_IN(sable_array);
STAND_IN(sable_array_free);
STAND_IN(sable_phase);
STAND_IN(sable_agree);
extern __typeof__(sable_agree) __real_sable_agree;
extern __typeof__(sable_array) __real_sable_array;

/* A large array is the same memory on all ranks, and is never freed: one block for each size, which SimGrid knows to be
 * shared and does not copy. */
static void *fold(int64_t bytes)
{
    enum { SIZES = 64 };
    static struct {
        int64_t bytes;
        void *block;
    } folded[SIZES];
    int i = 0;
    while (i < SIZES && folded[i].block && folded[i].bytes != bytes)
        i++;
    if (i == SIZES)
        return smpi_shared_malloc((size_t)bytes, __FILE__, __LINE__);
    if (!folded[i].block) {
        folded[i].bytes = bytes;
        folded[i].block = smpi_shared_malloc((size_t)bytes, __FILE__, __LINE__);
    }
    return folded[i].block;
}

void *__wrap_sable_array(int64_t rows, int64_t columns, size_t element_size)
{
    int64_t elements, bytes;
    if (!sable_multiply(rows, columns, &elements) || !sable_multiply(elements, (int64_t)element_size, &bytes))
        return NULL;
    return bytes < FOLD_FROM ? __real_sable_array(rows, columns, element_size) : fold(bytes);
}

void __wrap_sable_array_free(void *array)
{
    (void)array;
}

/* Before the repetition is timed, agreement only costs the simulator messages. */
static bool timed;

int __wrap_sable_agree(MPI_Comm comm, struct sable_error *error)
{
    if (timed || !error->code)
        return timed ? __real_sable_agree(comm, error) : SABLE_OK;
    fprintf(stderr, "sable-simulate: %s\n", error->text);
    MPI_Abort(comm, error->code);
    return error->code;
}

struct sable_clock {
    int phase;
    double since, seconds[SABLE_MAX_PHASES];
};

void __wrap_sable_phase(struct sable_context *context, int phase)
{
    struct sable_clock *clock = context->clock;
    double now = MPI_Wtime();
    clock->seconds[clock->phase] += now - clock->since;
    clock->since = now;
    clock->phase = phase;
}

/* ---- One repetition ---- */

static int simulate(const struct sable_plan_item *item, struct sable_context *context, double *seconds,
                    struct sable_error *error)
{
    const struct sable_workload *workload = item->workload;
    void *state = NULL;
    workload->setup(item->params, context, &state, error);
    if (sable_agree(context->comm, error))
        return error->code;
    MPI_Barrier(context->comm);
    timed = true;
    double start = context->clock->since = MPI_Wtime();
    item->variant[0]->run(state, context, error);
    __wrap_sable_phase(context, 0);
    *seconds = context->clock->since - start;
    return sable_agree(context->comm, error);
}

/* Sums and maxima over the ranks, told by rank 0. */
static void tell(const struct sable_plan_item *item, const struct sable_context *context, double seconds)
{
    const char *const *names = item->workload->phases;
    int phases = sable_phase_count(item->workload);
    double longest, most[SABLE_MAX_PHASES], mean[SABLE_MAX_PHASES], sent[2], all[2];
    sent[0] = (double)context->bytes_sent, sent[1] = (double)context->messages;
    MPI_Reduce(&seconds, &longest, 1, MPI_DOUBLE, MPI_MAX, 0, context->comm);
    MPI_Reduce(context->clock->seconds, most, phases, MPI_DOUBLE, MPI_MAX, 0, context->comm);
    MPI_Reduce(context->clock->seconds, mean, phases, MPI_DOUBLE, MPI_SUM, 0, context->comm);
    MPI_Reduce(sent, all, 2, MPI_DOUBLE, MPI_MAX, 0, context->comm);
    if (context->layout.rank > 0)
        return;
    json_t *parts = json_object();
    for (int p = 0; p < phases; p++)
        json_object_set_new(parts, names[p],
                            json_pack("{sf sf}", "max", most[p], "mean", mean[p] / context->layout.ranks));
    json_t *told = json_pack("{ss si sf so sf sf}", "workload", item->workload->name, "ranks", context->layout.ranks,
                             "seconds", longest, "phases", parts, "bytes_sent", all[0], "messages", all[1]);
    json_dumpf(told, stdout, JSON_COMPACT);
    fputc('\n', stdout);
    fflush(stdout);
    json_decref(told);
}

static int run(int argc, char **argv, struct sable_error *error)
{
    struct sable_options options;
    struct sable_plan plan = {0};
    struct sable_clock clock = {0};
    struct sable_context context = {.comm = MPI_COMM_WORLD, .clock = &clock};
    double seconds = 0;
    int64_t threads;
    if (argc < 4 || !sable_parse_real(argv[1], &seconds_of_unit) || !(seconds_of_unit >= 0) ||
        !sable_parse_integer(argv[2], &threads) || threads < 1 || threads > SIMULATE_MOST_THREADS)
        return sable_fail(error, SABLE_BAD_INPUT,
                          "usage: sable-simulate SECONDS THREADS WORKLOAD [OPTIONS of sable run]");
    context.layout.threads = (int)threads;
    char *words[argc];
    words[0] = "run";
    for (int i = 3; i < argc; i++)
        words[i - 2] = argv[i];
    MPI_Comm_rank(context.comm, &context.layout.rank);
    MPI_Comm_size(context.comm, &context.layout.ranks);
    if (context.layout.ranks > SIMULATE_MOST_RANKS)
        return sable_fail(error, SABLE_BAD_INPUT, "%d ranks: at most %d are simulated", context.layout.ranks,
                          SIMULATE_MOST_RANKS);
    if (sable_options_parse(argc - 2, words, &options, error) ||
        sable_plan_make(&options, context.comm, context.layout.threads, INFINITY, &plan, error))
        return error->code;
    if (plan.count != 1 || plan.item[0].variants != 1)
        return sable_fail(error, SABLE_BAD_INPUT, "one workload and one variant are simulated at a time");
    context.seed = options.seed;
    context.variant = plan.item[0].variant[0]->name;
    if (!simulate(&plan.item[0], &context, &seconds, error))
        tell(&plan.item[0], &context, seconds);
    return error->code;
}

int main(int argc, char **argv)
{
    struct sable_error error = {0};
    int rank;
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    if (run(argc, argv, &error) && rank == 0)
        fprintf(stderr, "sable-simulate: %s\n", error.text);
    MPI_Finalize();
    return error.code;
}
