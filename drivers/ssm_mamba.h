/* ssm/mamba between its files: the state of a rank; running, checking and giving out. */
#ifndef SSM_MAMBA_H
#define SSM_MAMBA_H

#include "sable_mamba.h"
#include "ssm_part.h"

struct mamba_params {
    int64_t batch, channels, states, length;
    int gate, strategy;
};

enum { MAMBA_SEQUENCE = SSM_BATCH + 1 /* of strategy */ };
enum { MAMBA_PHASE_SCAN, MAMBA_PHASE_WAIT };

/* Channels of sequences, or steps of all. */
struct mamba_part {
    struct ssm_part cut; /* rows are sequences */
    bool over_time;
    int64_t step, steps;
};

struct mamba_state {
    struct mamba_params params; /* of the whole problem; sizes are the input's, if it has any */
    struct mamba_part part;
    struct sable_mamba model; /* of this rank */
    float *array[8];          /* u, delta, z, a, b, c, d, bias: what `model` points to */
    float *state, *y, *scratch;
    double *carry; /* [rows, 2, N] where ranks share time: states in float64, and their errors */
    bool reference;
};

struct mamba_part mamba_split(const struct mamba_params *params, struct sable_layout layout);

/* Into how many pieces a rank's groups of channels are cut where ranks share time: each keeps all threads busy. */
int64_t mamba_pieces(int64_t groups, int threads);

int mamba_run(void *state, struct sable_context *context, struct sable_error *error);
int mamba_verify(void *state, struct sable_context *context, struct sable_checks *checks, struct sable_error *error);
int mamba_output(void *state, struct sable_context *context, struct sable_sink *sink, struct sable_error *error);

/* The rank before's array for this rank, and this rank's for the rank behind: one piece, ranks in turn. */
int mamba_from_before(struct sable_context *context, void *data, int64_t count, MPI_Datatype type,
                      struct sable_error *error);
int mamba_to_behind(struct sable_context *context, const void *data, int64_t count, MPI_Datatype type,
                    struct sable_error *error);

#endif
