/* What ssm/mamba2 and ssm/linear_attention share: a rank's part of a scan of outer products (sable_outer.h), how ranks
 * share it, how it is run, verified and given out. Each workload adds its parameters, its inputs and what it makes of
 * them before the scan. */
#ifndef SSM_OUTER_H
#define SSM_OUTER_H

#include "driver.h"
#include "sable_outer.h"
#include "ssm_part.h"

enum outer_strategy { OUTER_AUTO, OUTER_CHANNELS, OUTER_BATCH, OUTER_SEQUENCE };
extern const char *const outer_strategies[];
extern const char *const outer_phases[];
enum { OUTER_COMPUTE, OUTER_COMMUNICATE, OUTER_WAIT };
extern const struct sable_fault outer_faults[];

enum { OUTER_ONE_DECAY, OUTER_DECAY_BY_KEY }; /* of a head and step */

struct outer_params {
    int64_t batch, heads, groups, keys, values, length, chunk; /* groups 0: each head has its own keys */
    int strategy, form;                                        /* enum outer_strategy, enum sable_outer_form */
    int decays;                                                /* OUTER_ONE_DECAY … */
};

struct outer_part {
    struct ssm_part part; /* rows are sequences, columns heads */
    bool over_time;
    int64_t step, steps, chunks; /* of this rank */
    int64_t group, groups;       /* that its heads use */
};

struct outer_state;

/* What a workload adds. */
struct outer_model {
    const char *name;
    bool weighted, skips; /* it has Δ; a skip d */
    /* Sizes from the input file. */
    int (*sizes)(struct outer_params *params, struct sable_input *input, struct sable_error *error);
    /* Reads or draws all arrays. */
    int (*fill)(struct outer_state *outer, struct sable_context *context, struct sable_error *error);
    /* What comes before the scan, timed; may be NULL. */
    void (*prepare)(struct outer_state *outer);
    /* Decays and weights of a row in float64, for the reference: into `decay`, `weight`, `error` [steps]; NULL: as
     * they are. */
    void (*exact)(const struct outer_state *outer, int64_t row, double *decay, double *weight, double *error);
};

struct outer_state {
    const struct outer_model *model;
    struct outer_params params; /* of the whole problem; sizes are the input's, if it has any */
    struct outer_part part;
    struct sable_outer scan;
    bool reference, by_key;
    float *q, *k, *v, *weight, *decay, *bonus, *skip;
    float *raw, *a, *bias;         /* ssm/mamba2: Δ before bias and softplus, A, bias */
    float *state, *o;              /* [B, H, N, P], [B, L, H, P] of this rank */
    float *add;                    /* [B, H, chunks, N, P] behind the first of the ranks that share time */
    struct sable_outer_room *room; /* where ranks share time */
    double *carry; /* [rows, 3 N P + 1]: float64 states, |S| and errors, and what is lost (sable_outer.h) */
};

/* What ranks that share time pass on at a time: `sequences` whole sequences, or `heads` heads of one. */
struct outer_pieces {
    int64_t sequences, heads, count;
};
struct outer_pieces outer_pieces(const struct outer_params *params, struct sable_layout layout);

struct outer_part outer_split(const struct outer_params *params, struct sable_layout layout);
/* Of a workload. */
int outer_check(const void *params, struct sable_layout layout, struct sable_error *error);
void outer_work(const void *params, struct sable_layout layout, const void *state, struct sable_work *work);
int outer_setup(const struct outer_model *model, const void *params, struct sable_context *context, void **state,
                struct sable_error *error);

/* Reads or draws one of the arrays [B, L, heads or groups, width] (or without the last, width 0) of this rank. */
int outer_fill(struct outer_state *outer, struct sable_context *context, const char *name, enum ssm_purpose purpose,
               double low, double high, bool of_groups, int64_t width, float *data, struct sable_error *error);
/* The same for an array [heads] or [heads, width]. */
int outer_fill_heads(struct outer_state *outer, struct sable_context *context, const char *name,
                     enum ssm_purpose purpose, double low, double high, int64_t width, float *data,
                     struct sable_error *error);

int outer_reset(void *state, struct sable_context *context, struct sable_error *error);
int outer_run(void *state, struct sable_context *context, struct sable_error *error);
int outer_verify(void *state, struct sable_context *context, struct sable_checks *checks, struct sable_error *error);
int outer_output(void *state, struct sable_context *context, struct sable_sink *sink, struct sable_error *error);
void outer_free(void *state);

/* ---- Ranks that share time (ssm_outer_time.c) ---- */

/* Collective: this rank's run, between the ranks of the steps before and behind. */
int outer_over_time(struct outer_state *outer, struct sable_context *context, struct sable_error *error);
/* Collective: a state of `bytes` for each `every`-th of the rows [first, last), at those rows of `data`, from the rank
 * of the steps before or to that of the steps behind. Nothing, where ranks do not share time. */
int outer_receive(const struct outer_state *outer, struct sable_context *context, int64_t first, int64_t last,
                  int64_t every, double *data, int64_t numbers, struct sable_error *error);
int outer_send(const struct outer_state *outer, struct sable_context *context, int64_t first, int64_t last,
               int64_t every, const double *data, int64_t numbers, struct sable_error *error);
/* Rows that a rank takes before it passes their states on in float64: all, where ranks do not share time. */
int64_t outer_rows_at_once(const struct outer_state *outer, struct sable_context *context, int64_t every);

#endif
