/* The driver contract: what a benchmark tells the harness. A driver is one file in drivers/ that ends in one
 * `const struct sable_workload` per workload, listed in drivers/drivers.def. The harness owns the command line, the
 * repetition loop, the clock, the statistics, the ceilings and the results file; a driver owns the partition, the
 * communication, the work model and the verification. drivers/null.c is the smallest complete example. */
#ifndef SABLE_DRIVER_H
#define SABLE_DRIVER_H

#include <mpi.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"

/* ---- Parameters: an offset table into the workload's own params struct ---- */

enum sable_type {
    SABLE_INT,    /* int64_t */
    SABLE_REAL,   /* double */
    SABLE_CHOICE, /* int: index into `choices` */
    SABLE_TEXT,   /* char[SABLE_TEXT_SIZE] */
    SABLE_POINT   /* struct sable_point: "x,y" */
};

enum { SABLE_TEXT_SIZE = 256 };

struct sable_point {
    double x, y;
};

struct sable_param {
    const char *name;
    enum sable_type type;
    size_t offset;              /* offsetof(struct my_params, name) */
    const char *unit;           /* "" if it has none */
    double min, max;            /* inclusive range of an INT or REAL, or of a POINT's x */
    double min_y, max_y;        /* range of a POINT's y */
    const char *const *choices; /* of a CHOICE, NULL-terminated */
    const char *fallback;       /* the default, as a user would type it */
    const char *help;
};

/* A class is a command line: "n=4096 gamma=0.95". T is for tests (a few milliseconds, sizes that no layout divides), S
 * takes seconds on two cores, A to E grow to clusters. They ascend in memory; the list ends with a NULL name. */
struct sable_class {
    const char *name;
    const char *settings;
};

/* How a problem grows in weak scaling: on p processors (ranks × threads) the parameter is its value times p^exponent,
 * so that p times the work is shared by p. An n × n grid has {"n", 0.5}; 0 ("as many as") stays 0. Integers are
 * rounded, and a growth that rounding spoils by more than a tenth is refused. */
struct sable_growth {
    const char *parameter; /* an INT or REAL of the workload */
    double exponent;
};

/* ---- What runs where ---- */

struct sable_layout {
    int rank, ranks, threads; /* threads: OpenMP threads of each rank */
};

struct sable_input; /* input.h */
struct sable_clock; /* measure.c */

/* A fact that a driver finds out in a launch: a peer's library, a condition that the measured time depends on. */
struct sable_note {
    char name[32], text[224];
};
enum { SABLE_MAX_NOTES = 8 };

/* What one rank knows while a workload runs. Owned by the harness. */
struct sable_context {
    MPI_Comm comm; /* the workload's own ranks; errors return */
    struct sable_layout layout;
    uint64_t seed;
    struct sable_input *input; /* --input, or NULL */
    const char *variant;
    int fault; /* --inject-fault: 1 + index into the workload's `faults`; 0 is none */
    /* Counted by the driver during `run` with sable_count_sent(); zeroed by the harness before each repetition. */
    uint64_t bytes_sent, messages;
    struct sable_clock *clock;
    int notes;
    struct sable_note note[SABLE_MAX_NOTES]; /* by sable_note_that() */
};

/* During `run`: from here on time belongs to phase `phase` (an index into the workload's `phases`). A repetition starts
 * in phase 0; a rank's phases add up to its time. */
void sable_phase(struct sable_context *context, int phase);

/* From `setup`, or `run`'s first call: a fact of this run. Rank 0's is printed below the table and stored as the run's
 * attribute `name`, which no other attribute may have; the same name again replaces it. */
void sable_note_that(struct sable_context *context, const char *name, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static inline void sable_count_sent(struct sable_context *context, size_t bytes)
{
    context->bytes_sent += bytes;
    context->messages += 1;
}

/* ---- The work model of one rank and one repetition ---- */

enum sable_pattern { SABLE_READ, SABLE_COPY, SABLE_TRIAD }; /* which stream the memory traffic looks like */

/* From this the harness derives the figure of merit (items of all ranks / seconds of the slowest) and the share of each
 * ceiling: the least time that each resource needs, the longest of which is the workload's ceiling. */
struct sable_work {
    double items; /* states, steps, tokens … as `fom` names them */
    double flops_fp64, flops_fp32, flops_bf16;
    double operations_fp64; /* lane operations where little can be fused: +, ×, max, select, each counts one; a loop of
                               max and plus is bounded by these long before its flops reach the FMA peak */
    double operations_int32; /* lane operations on 32-bit integers; one on 64 bits counts two */
    double bytes;            /* moved between the cores and the level that holds the working set;
                                counts every load and store that the algorithm can't avoid, no
                                write-allocate reads */
    enum sable_pattern pattern;
    double working_set;             /* bytes of this rank that `bytes` go over; chooses the level */
    double random_accesses;         /* independent gathers of 8 bytes … */
    double random_set;              /* … out of this many bytes; 0: out of the working set */
    double exponentials;            /* fp32 exp evaluations */
    double bytes_network, messages; /* sent by this rank */
    double memory;                  /* bytes this rank holds at its peak, MPI and program text excluded */
};

struct sable_fom {
    const char *name; /* "state updates" */
    const char *unit; /* "Gupdate/s" */
    double scale;     /* items/s of one unit: 1e9 */
};

/* ---- Verification and outputs ---- */

struct sable_checks; /* verdict.h */

/* Records |value − expected| ≤ tolerance; a NaN anywhere fails. Every rank must pass the same, globally reduced value.
 */
void sable_check(struct sable_checks *checks, const char *name, double value, double expected, double tolerance);
/* Records value ≤ limit; NaN fails. */
void sable_check_at_most(struct sable_checks *checks, const char *name, double value, double limit);

/* Complex numbers are pairs (real, imaginary) in memory, and compounds of r and i in files, as h5py has them. */
enum sable_number {
    SABLE_F64,
    SABLE_F32,
    SABLE_I64,
    SABLE_I32,
    SABLE_I16,
    SABLE_I8,
    SABLE_U8,
    SABLE_C64, /* two floats */
    SABLE_C128 /* two doubles */
};
enum sable_keep { SABLE_KEEP_NONE, SABLE_KEEP_SUMMARY, SABLE_KEEP_FULL };
enum { SABLE_MAX_DIMS = 5 };

/* A distributed array, of which this rank holds one rectangular block. */
struct sable_array {
    const char *name, *unit, *help;
    enum sable_keep keep; /* stored from this --keep level on: SUMMARY or FULL */
    double tolerance;     /* by how much two right answers may differ in an element (docs/compare.md): 0 not at all,
                             or, with no_digest, as much as they like */
    bool no_digest;       /* leave out of the digest: not a result (coordinates) or not layout-invariant */
    enum sable_number type;
    int dims;
    int64_t global[SABLE_MAX_DIMS];     /* shape of the whole array */
    int64_t offset[SABLE_MAX_DIMS];     /* this rank's block: first index … */
    int64_t count[SABLE_MAX_DIMS];      /* … and extent; 0 where the rank holds nothing */
    int64_t stride[SABLE_MAX_DIMS];     /* elements between neighbours in memory; all 0: the block is contiguous */
    const char *labels[SABLE_MAX_DIMS]; /* meaning of each dimension; one that names an earlier 1-D array of this
                                           workload has that array attached as its scale (lat, lon) */
    const void *data;                   /* first element of the block; owned by the caller */
};

struct sable_sink; /* output.h */

/* Collective. Adds the array to the digest and, if kept, writes it to the results file. */
int sable_put(struct sable_sink *sink, const struct sable_array *array, struct sable_error *error);
/* Collective. The same for a few numbers that rank 0 holds whole: `offset` and `count` are filled in, `unit` may be
 * NULL, and they are stored from --keep summary on. */
int sable_put_whole(struct sable_sink *sink, const struct sable_array *array, struct sable_error *error);

/* ---- A workload ---- */

struct sable_variant {
    const char *name; /* `reference` is first, `sable` the default */
    const char *summary;
    /* The only timed call, collective over context->comm. */
    int (*run)(void *state, struct sable_context *context, struct sable_error *error);
    bool peer; /* another project's code, for comparison: its bits are its own */
};

struct sable_field { /* an input or output array, for --help */
    const char *name, *shape, *help;
};

struct sable_fault {
    const char *name, *help;
};

/* Functions return 0 or an exit status with `error` filled in (error.h). `setup`, `run`, `verify` and `output` are
 * collective; a failure may be one rank's alone, the harness agrees on it afterwards, so they must not leave other
 * ranks waiting (call sable_agree before a communication that needs all). */
struct sable_workload {
    const char *name;    /* family/workload */
    const char *summary; /* one line */
    const char *source;  /* paper or book */
    struct sable_fom fom;
    size_t params_size;
    const struct sable_param *params;     /* ends with a NULL name, as the lists below */
    const struct sable_class *classes;    /* T, S, A … E */
    const struct sable_growth *weak;      /* what --weak multiplies; NULL: no weak scaling is declared */
    const struct sable_variant *variants; /* reference first */
    const char *const *phases;            /* columns of the timing cube, e.g. compute, communicate, wait */
    const struct sable_fault *faults;     /* known to --inject-fault; may be NULL */
    const struct sable_field *inputs;     /* may be NULL */
    const struct sable_field *outputs;
    bool layout_invariant; /* the digest is the same for any ranks × threads */
    bool other_inputs;     /* --input may be of another format than HDF5: setup reads it by sable_input_path() */
    bool test_only;        /* not part of `run all` (drivers/null.c) */

    /* Cross-parameter rules, before anything is allocated; may be NULL. Not collective. */
    int (*check)(const void *params, struct sable_layout layout, struct sable_error *error);
    /* The work model. With state == NULL the prediction for --dry-run and the memory guard: `memory` must be right,
     * data-dependent counts (sweeps) may be 0. With a state: what the last run did. Not collective. */
    void (*work)(const void *params, struct sable_layout layout, const void *state, struct sable_work *work);
    /* Puts the shape that --input gives into `params` (a copy), from which `work` then predicts; NULL: a file changes
     * nothing of the prediction. Not collective. */
    int (*adopt)(void *params, struct sable_input *input, struct sable_error *error);
    int (*setup)(const void *params, struct sable_context *context, void **state, struct sable_error *error);
    int (*reset)(void *state, struct sable_context *context, struct sable_error *error); /* untimed, before each run */
    int (*verify)(void *state, struct sable_context *context, struct sable_checks *checks, struct sable_error *error);
    int (*output)(void *state, struct sable_context *context, struct sable_sink *sink, struct sable_error *error);
    void (*free)(void *state);
};

#endif
