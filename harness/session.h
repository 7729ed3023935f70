/* What `sable run` and `sable ceilings` have in common: the launch, its results file, and the way out. All calls are
 * collective over MPI_COMM_WORLD. */
#ifndef SABLE_SESSION_H
#define SABLE_SESSION_H

#include "plan.h"
#include "progress.h"
#include "results.h"

/* --ranks: the first `ranks` of the launch; without it the only set is all of them. */
struct sable_rank_set {
    int ranks;
    MPI_Comm comm; /* MPI_COMM_NULL on the ranks outside */
    struct sable_machine machine;
    struct sable_plan plan;
};

/* One launch of `sable run` or `sable ceilings`: what it was asked, what it found, what it has done so far. */
struct sable_session {
    const struct sable_options *options;
    int threads, rank, ranks;       /* in MPI_COMM_WORLD */
    struct sable_machine machine;   /* of all ranks */
    struct sable_ceilings ceilings; /* of all rank sets */
    struct sable_results *results;  /* rank 0 */
    bool stored;
    char path[1024];
    struct sable_input *input;
    struct sable_progress progress;
    int64_t order;
    int kept; /* runs found complete in the file that is resumed */
    int runs, capacity;
    struct sable_run *run; /* [runs] all that were measured; arrays on rank 0 */
    int sets;
    struct sable_rank_set *set; /* [sets]; the runs point into their plans */
};

/* To be closed in any case; NULL with an error. `options` must live as long. */
struct sable_session *sable_session_open(const struct sable_options *options, int threads, struct sable_error *error);
/* Frees all; a results file that is still open keeps what had finished as .partial. */
void sable_session_close(struct sable_session *session);

/* Opens --output, or continues --resume, or makes up a name in results/. */
int sable_session_open_results(struct sable_session *session, const char *command_line, struct sable_error *error);
/* Adds `latest` to the session's ceilings and, where results are stored, writes them and the machine. */
int sable_session_store_machine(struct sable_session *session, const struct sable_ceilings *latest,
                                struct sable_error *error);
/* The results file gets its final name. */
int sable_session_finish_results(struct sable_session *session, struct sable_error *error);

#endif
