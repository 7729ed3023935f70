/* What ssm/s4 and ssm/s4d share: a linear filter of each channel, y = k * u + d u, by a convolution or by steps; how
 * ranks split it, its arrays, its variants, its verification. A model says what the filter is. Mathematics, bounds,
 * parallel scheme: docs/ssm_s4.md. */
#ifndef SSM_FILTER_H
#define SSM_FILTER_H

#include "driver.h"
#include "sable_convolution.h"
#include "sable_convolution_fftw.h"
#include "ssm_part.h"

enum filter_mode { FILTER_AUTO, FILTER_CONVOLUTION, FILTER_RECURRENCE, FILTER_OTHER /* s4d: chunked, s4: dense */ };
enum filter_strategy { FILTER_SEQUENCE = SSM_BATCH + 1 };
enum filter_variant { FILTER_REFERENCE, FILTER_SABLE, FILTER_BARE, FILTER_FFTW };
enum { FILTER_EVERY, FILTER_ONCE };                       /* when the kernel is made */
enum { FILTER_KERNEL, FILTER_APPLY, FILTER_COMMUNICATE }; /* phases */

struct filter_params {
    int64_t batch, channels, states, length, chunk;
    int mode, strategy, kernel, start; /* start: of the states, s4d only */
};

struct filter {
    const struct filter_model *model;
    struct filter_params params; /* of the whole problem; sizes are the input's, if it has any */
    enum filter_variant variant;
    int mode;                   /* never auto */
    bool over_time;             /* ranks share time: `u` and `y` at home are [batch, steps, channels] */
    bool turned;                /* … and are brought to [batch, length, columns] for a run */
    bool by_chunks;             /* ranks or threads share chunks of time */
    int64_t pairs, step, steps; /* own steps, if over_time */
    struct ssm_part part;       /* sequences × channels: of a run, or (by chunks over ranks) of verification alone */
    int64_t table_column, table_columns; /* channels that tables are for */
    float *u, *y, *skip;                 /* at home; skip [table_columns] */
    float *u_turned, *y_turned;          /* [batch, length, columns], if over_time */
    /* The model's: complex tables are [pairs, 2, table_columns]. */
    double *a, *b, *c, *p, *dt, *c_imaginary; /* c_imaginary: of a file that gave all N states */
    double *table, *input, *truncated;
    float *factors, *matrix, *cauchy, *nodes;
    float *state; /* [sequences, chunks, pairs, 2, table_columns] */
    int64_t chunks;
    /* Convolution. */
    struct sable_fft fft, half;
    float *kernel, *spectrum, *room;
    struct sable_fftw *fftw;
    float *rows;                              /* FFTW's: [rows, padded] */
    double *final;                            /* [rows, columns, pairs, 2]: last state of the reference */
    bool kernel_made, settled, complex_given; /* complex_given: the file has all N states */
    int fault;
};

enum {
    FAULT_LOST_CARRY = 1,
    FAULT_WRONG_CHUNK,
    FAULT_SHIFT,
    FAULT_SKIP_BLOCK,
    FAULT_FLIP_BIT,
    FAULT_NAN,
    FAULT_WRONG_POLE
};
extern const struct sable_fault filter_faults[];
extern const char *const filter_phases[];
extern const char *const filter_strategies[];
extern const char *const filter_kernels[];
extern const struct sable_variant filter_variants[];
extern const struct sable_class filter_classes[];
extern const struct sable_growth filter_weak[];

struct filter_model {
    const char *name;
    bool diagonal; /* s4d, whose FILTER_OTHER is chunks */
    /* Sizes from the input file, but those of u. */
    int (*sizes)(struct filter_params *params, struct sable_context *context, struct sable_error *error);
    /* FILTER_AUTO's choice. */
    int (*choose)(const struct filter_params *params);
    double (*memory)(const struct filter_params *params, double columns, int threads); /* bytes of its own arrays */
    /* Parameters of the table columns, read or drawn, and arrays of its own. */
    int (*fill)(struct filter *filter, struct sable_context *context, struct sable_error *error);
    void (*discretise)(struct filter *filter); /* timed: tables and factors of steps or of the kernel */
    void (*kernel)(struct filter *filter);     /* timed: `kernel` from tables */
    void (*steps)(struct filter *filter, int64_t sequences, int64_t length, const float *u, float *state, float *y);
    /* One channel (of the table) in float64: from x [pairs, 2], which becomes the last state. */
    void (*row)(const struct filter *filter, int64_t channel, int64_t length, const float *u, int64_t pitch,
                double skip, double *x, double *y);
    void (*impulse)(const struct filter *filter, int64_t channel, int64_t length, double *k);
    double (*kernel_error)(const struct filter *filter, int64_t channel, double norm); /* of every element of k */
    /* Bounds of y and of the last state [pairs] for steps of single precision. */
    void (*follow)(const struct filter *filter, int64_t channel, int64_t length, const float *u, int64_t pitch,
                   double skip, double *bound, double *state);
    /* The last state as users know it. */
    void (*last)(const struct filter *filter, int64_t channel, int64_t p, const double *x, double *z);
    /* Whether the kernel is complex (NULL: never); with `kernel`, its imaginary parts into that. False: out of memory.
     */
    bool (*complex_kernel)(struct filter *filter, float *kernel);
};

int filter_check(const void *params, struct sable_layout layout, struct sable_error *error);
struct ssm_part filter_split(const struct filter_params *params, bool turned, struct sable_layout layout);
bool filter_over_time(const struct filter_params *params);

/* Setup and the rest of a workload, for drivers with a struct filter_params. */
int filter_setup(const struct filter_model *model, const struct filter_params *params, struct sable_context *context,
                 void **state, struct sable_error *error);
int filter_reset(void *state, struct sable_context *context, struct sable_error *error);
int filter_run(void *state, struct sable_context *context, struct sable_error *error);
int filter_verify(void *state, struct sable_context *context, struct sable_checks *checks, struct sable_error *error);
int filter_output(void *state, struct sable_context *context, struct sable_sink *sink, struct sable_error *error);
void filter_free(void *state);
void filter_work(const struct filter_model *model, const struct filter_params *params, struct sable_layout layout,
                 const struct filter *filter, struct sable_work *work);

/* Reads a complex [channels, states] dataset (dims 2), or [states] for all channels (dims 1), as [states, 2, columns].
 */
int filter_read(struct filter *filter, struct sable_context *context, const char *name, int dims, int64_t states,
                double *table, struct sable_error *error);

/* Steps of the table's channels: drawn, or the file's: [channels] or, with `one`, one for all. */
int filter_read_dt(struct filter *filter, struct sable_context *context, bool one, struct sable_error *error);

/* The bare transforms take u into FFTW's rows before a run, and y out of them after it: filter_settle() does that, and
 * puts in the faults of y, once after each run. */
void filter_bare_begin(struct filter *filter);
void filter_settle(struct filter *filter);

/* ---- Ranks ---- */

/* Collective. [planes, own rows, inner, columns] ↔ [planes, rows, inner, own columns]: rows are dealt in units of
 * `unit`, columns one by one, by ssm_first(). `back`: from the right to the left. */
int filter_turn(struct sable_context *context, int64_t planes, int64_t rows, int64_t unit, int64_t inner,
                int64_t columns, float *by_rows, float *by_columns, bool back, struct sable_error *error);

#endif
