/* The results file (DESIGN §3, §8; docs/results-format.md). Written by rank 0 to `PATH.partial`, flushed after every
 * workload, at the end closed, fsynced, reopened, checked and renamed to PATH: whatever happens to the process, what
 * had finished can be read. */
#ifndef SABLE_RESULTS_H
#define SABLE_RESULTS_H

#include "ceilings.h"
#include "driver.h"
#include "machine.h"

struct sable_results; /* on rank 0; NULL elsewhere and where nothing is stored */

struct sable_setting { /* a parameter as run */
    const char *name, *unit;
    enum sable_type type;
    int64_t integer;
    double real;
    struct sable_point point;
    char text[SABLE_TEXT_SIZE]; /* as a user would type it, for every type */
};

struct sable_counters { /* one row per rank; the last repetition's work, and the disturbance over all of them */
    int32_t rank;
    double items, flops_fp64, operations_fp64, operations_int32, flops_fp32, flops_bf16, bytes_memory, random_accesses;
    double bytes_sent, messages; /* as counted during the run */
    double bytes_network_model, messages_model, memory_model;
    int64_t peak_rss, involuntary_switches;
    double steal_seconds, clock_ghz_low, clock_ghz_high;
};

struct sable_check_result {
    char name[64];
    double value, expected, tolerance;
    int pass;
};

enum sable_verdict { SABLE_PASS, SABLE_FAIL, SABLE_SKIPPED, SABLE_UNTRUSTED };
const char *sable_verdict_name(enum sable_verdict verdict);

enum { SABLE_MAX_PHASES = 16, SABLE_PHASE_NAME_SIZE = 24 };

/* All that is known about one variant of one workload after it ran; arrays are valid on rank 0. */
struct sable_run {
    const struct sable_workload *workload; /* NULL for a run read back from a file */
    char name[64], variant[32], class_name[16];
    int settings;
    struct sable_setting *setting;
    char group[200]; /* where it lies in its file, for a run read back */
    uint64_t seed;
    int ranks, threads, warmups;
    int64_t growth;    /* --weak: how many times the class's problem it is; 1 otherwise */
    char strategy[32]; /* the parameter `strategy`, or "" */
    char input[1024];  /* --input as typed, or "" */
    char stopped[32];  /* why the repetitions ended: "interval", "max-time", "asked" */
    int64_t reps;
    int phases;
    char phase_name[SABLE_MAX_PHASES][SABLE_PHASE_NAME_SIZE];
    double *seconds;                 /* [reps × ranks] */
    double *phase_seconds;           /* [reps × ranks × phases] */
    struct sable_counters *counters; /* [ranks] */
    int checks;
    struct sable_check_result *check;
    double fom, fom_low, fom_high;
    char fom_name[48], fom_unit[24];
    char ceiling[32];                    /* name of the binding ceiling; "" if none was measured */
    double ceiling_value, share;         /* in fom units, and fom / ceiling_value; NaN if none */
    double ratio, ratio_low, ratio_high; /* speed against the first variant of this launch; NaN if alone or first */
    char ratio_to[32];
    enum sable_verdict verified; /* PASS, FAIL, SKIPPED */
    enum sable_verdict verdict;  /* also UNTRUSTED */
    uint64_t digest;
    bool has_digest, layout_invariant, peer; /* layout_invariant: of the variant, so not of a peer */
    char warnings[2000];                     /* lines */
    int notes;
    struct sable_note note[SABLE_MAX_NOTES]; /* of rank 0 */
    int64_t order;                           /* place in the launch */
};

/* Before anything is computed: is the folder there and writable, is PATH or PATH.partial taken (unless `force`)?
 * Creates PATH.partial. On rank 0 only. */
int sable_results_create(const char *path, bool force, const char *command_line, struct sable_results **results,
                         struct sable_error *error);

/* Continues FILE (finished or .partial): its complete runs are copied to a new PATH.partial. */
int sable_results_resume(const char *file, const char *path, bool force, const char *command_line,
                         struct sable_results **results, struct sable_error *error);
/* Is this very run (name, variant, class, settings, seed, ranks, threads) stored complete? */
bool sable_results_has(struct sable_results *results, const struct sable_run *run);

int sable_results_machine(struct sable_results *results, const struct sable_machine *machine,
                          const struct sable_ceilings *ceilings, struct sable_error *error);

/* A run is opened before its outputs arrive and becomes complete (attribute `complete` = 1, flushed to disk) at its
 * end; one that failed in between is removed. */
int sable_results_begin(struct sable_results *results, const struct sable_run *run, struct sable_error *error);
int sable_results_end(struct sable_results *results, const struct sable_run *run, struct sable_error *error);

/* Collective over `comm`; `results` is NULL on all ranks but 0. Moves the array in bounded pieces to rank 0, which
 * writes it under outputs/ of the open run. Arrays beyond 64 MiB go to a file of their own beside it (external link),
 * which is read back and checked against `digest`. */
int sable_results_array(struct sable_results *results, MPI_Comm comm, const struct sable_array *array,
                        struct sable_error *error);

/* Closes, fsyncs, reopens, checks, renames. Frees `results` in any case. */
int sable_results_finish(struct sable_results *results, struct sable_error *error);
/* Keeps the .partial file (flushed) and frees: for errors on the way out. */
void sable_results_abandon(struct sable_results *results);

/* A results file, finished or partial, read back. */
struct sable_results_contents {
    char sable_version[32], git_revision[64], created[40], command_line[1000];
    bool complete;
    struct sable_machine machine; /* facts, guard and notice; no bindings */
    struct sable_ceilings ceilings;
    int runs, incomplete;
    struct sable_run *run; /* [runs] those complete, in the order they ran; `workload` is NULL */
};

/* Any damage or surprise is SABLE_BAD_INPUT with one line. No MPI. To be freed also after a failure. */
int sable_results_read(const char *path, struct sable_results_contents *contents, struct sable_error *error);
void sable_results_contents_free(struct sable_results_contents *contents);

/* `sable show`: any results file, finished or partial; never calls MPI. */
int sable_show(const char *path, bool json, struct sable_error *error);

#endif
