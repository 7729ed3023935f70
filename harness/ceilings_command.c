/* `sable ceilings`. */
#include "json.h"
#include "report.h"
#include "run.h"
#include "session.h"

static void report(const struct sable_session *s, struct sable_error *error)
{
    if (s->options->json) {
        sable_json_write(stdout, sable_report_ceilings_json(&s->ceilings), "the ceilings", error);
        return;
    }
    sable_report_ceilings(stdout, &s->ceilings);
    if (s->machine.guard[0])
        printf("not trusted: %s\n", s->machine.guard);
}

int sable_ceilings_command(const struct sable_options *options, int threads, const char *command_line,
                           struct sable_error *error)
{
    struct sable_session *s = sable_session_open(options, threads, error);
    if (!s)
        return error->code;
    struct sable_ceilings measured = {0};
    sable_bind_threads(MPI_COMM_WORLD, threads);
    if (sable_machine_describe(MPI_COMM_WORLD, threads, &s->machine, error) ||
        (options->output && sable_session_open_results(s, command_line, error)) ||
        sable_ceilings_measure(MPI_COMM_WORLD, threads, SABLE_CEILINGS_FULL, &measured, error) ||
        sable_ceilings_hdf5(MPI_COMM_WORLD, options->output ? options->output : "./ceilings.h5", &measured, error) ||
        sable_session_store_machine(s, &measured, error) || sable_session_finish_results(s, error))
        goto done;
    if (s->rank == 0)
        report(s, error);
    sable_agree(MPI_COMM_WORLD, error);
done:
    sable_session_close(s);
    return error->code;
}
