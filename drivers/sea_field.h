/* The hours of value_iteration/sea over all ranks: one block with its halo, swept in tiles. A sweep leaves out the
 * tiles whose surroundings didn't change in the last one, which changes no bit: equal inputs give equal outputs. */
#ifndef SABLE_SEA_FIELD_H
#define SABLE_SEA_FIELD_H

#include "driver.h"
#include "grid_halo.h"
#include "sable_sea.h"

enum { SABLE_SEA_PHASE_SWEEP, SABLE_SEA_PHASE_HALO, SABLE_SEA_PHASE_AGREE, SABLE_SEA_PHASE_CERTIFY };

struct sable_sea_tiles {
    int64_t rows, columns, pitch;   /* tiles of the block; pitch of the flags, which have a ring for the halo */
    bool *changed, *changed_before; /* [(rows + 2) × pitch] in this sweep and in the last */
    int64_t *sea;                   /* [rows × columns] cells of sea */
    int64_t *list;                  /* room for all tiles: those to sweep */
};

struct sable_sea_field {
    struct sable_block block;
    struct sable_halo *halo;
    struct sable_sea_row *row; /* [height] the moves */
    uint8_t *cell;             /* [height × width] the chart: SABLE_CHART_… */
    int64_t pitch;
    double *store[2];   /* [(height + 2) × pitch] */
    double *now, *next; /* cell (0, 0) of the hours, and of those a sweep writes */
    struct sable_sea_tiles tiles;
    double updates; /* of cells of sea, by this rank */
};

/* How a variant sweeps. */
struct sable_sea_method {
    sable_sea_sweep_function *sweep;
    int threads;
    bool all_tiles;
};

/* Part of a tile, or a tile. */
struct sable_sea_cells {
    int64_t row, column, height, width; /* in the block */
};

/* Room for a block; `row` and `cell` are the caller's to fill in. Not collective. Freed by sable_sea_field_free(), also
 * after an error. */
int sable_sea_field_create(MPI_Comm comm, const struct sable_block *block, struct sable_sea_field *field,
                           struct sable_error *error);
void sable_sea_field_free(struct sable_sea_field *field);
double sable_sea_field_memory(const struct sable_block *block);

/* Once `cell` is filled in: land NaN, sea +inf, the cell at (row, column) of the grid 0. */
void sable_sea_field_reset(struct sable_sea_field *field, int64_t port_row, int64_t port_column);

/* The tile with most sea, −1 if there is none. */
int64_t sable_sea_fullest_tile(const struct sable_sea_field *field);

/* Before the first sweep with another drift: every tile is to be swept. */
void sable_sea_field_touch(struct sable_sea_field *field);

struct sable_sea_disorder { /* for --inject-fault */
    bool stale_halo;
    int64_t skipped_tile; /* −1: none */
};

/* Collective: one sweep, the halo exchanged beside the interior. *change: this rank's, as sable_sea_sweep_function. */
int sable_sea_field_sweep(struct sable_sea_field *field, struct sable_context *context,
                          const struct sable_sea_method *method, double drift,
                          const struct sable_sea_disorder *disorder, double *change, struct sable_error *error);

/* Collective: brings the halo of `now` up to date. */
int sable_sea_field_exchange(struct sable_sea_field *field, struct sable_context *context, struct sable_error *error);

#endif
