/* One rank's part of a gridworld, and its solution together with the other ranks: Jacobi value iteration on
 * two-dimensional blocks, several sweeps between two exchanges of a deep halo. The workload itself is in
 * value_iteration_gridworld.c. */
#ifndef GRIDWORLD_RANK_H
#define GRIDWORLD_RANK_H

#include "driver.h"
#include "grid_halo.h"
#include "sable_gridworld.h"

enum gridworld_phase { PHASE_COMPUTE, PHASE_HALO, PHASE_REDUCE };
enum gridworld_fault { FAULT_STALE_HALO = 1, FAULT_SKIP_BLOCK, FAULT_WRONG_GAMMA, FAULT_FLIP_BIT, FAULT_NAN };

struct gridworld_params {
    int64_t n, columns, check, depth, max_sweeps;
    double slip, gamma, tol;
    int stop;   /* enum sable_gridworld_stop */
    int start;  /* enum gridworld_start: V before the first sweep */
    int stores; /* enum gridworld_stores */
    struct sable_gridworld_densities share;
    double boundary, forbidden, target, hole, other;
};

enum gridworld_start { START_ZERO, START_LOW, START_HIGH };
enum gridworld_stores { STORES_AUTO, STORES_REGULAR, STORES_STREAMING };

struct gridworld_rank {
    struct gridworld_params params;
    struct sable_gridworld_model model;
    bool reference; /* textbook sweeps over V; else fast ones over arrival values */
    bool stream;
    struct sable_block part;
    struct sable_gridworld_block block;
    int64_t states;   /* of this rank: cells but for obstacles */
    int depth;        /* of the halo: most sweeps in one pass */
    uint8_t *cells;   /* arrays with halo; the pointers are to cell (0, 0) */
    double *value[2]; /* U (reference: V) before and after a sweep, in turns */
    int8_t *policy;
    struct sable_halo *halo;
    /* The result of the last run. */
    const double *v;       /* one of `value` */
    int64_t sweeps;        /* backups of every state, the policy's included */
    int64_t passes;        /* over the block, the policy's not included */
    int64_t looks;         /* sweeps whose change was looked for */
    double bound;          /* ‖v − V*‖∞ ≤ bound */
    double *change;        /* [changes × 2] least and most of each sweep whose change was heard of; on rank 0 */
    int64_t changes, room; /* of `change` */
};

/* The model of these parameters, with `gamma` and `slip` of the input file, if it has them. */
struct sable_gridworld_model gridworld_model(const struct gridworld_params *params);

/* Sweeps in one pass over a block, and so the depth of its halo. */
int gridworld_depth(const struct gridworld_params *params, const struct sable_block *block);

/* Bytes of a rank that holds `block`. */
double gridworld_memory(const struct sable_block *block, int depth);

/* Collective. Cells drawn or read from context->input, arrays allocated. `rank` is freed by gridworld_free() in any
 * case. */
int gridworld_make(const struct gridworld_params *params, struct sable_context *context, bool reference,
                   struct gridworld_rank *rank, struct sable_error *error);
void gridworld_free(struct gridworld_rank *rank);

/* V = 0, or the least or largest value that the rewards allow, where there is something to decide. */
void gridworld_start(struct gridworld_rank *rank);

/* Collective. Sweeps from the start until the bound is at most `tol`, then v and its policy. */
int gridworld_solve(struct gridworld_rank *rank, struct sable_context *context, struct sable_error *error);

/* Collective. Fills the halo of the result v. */
int gridworld_exchange_result(struct gridworld_rank *rank, struct sable_context *context, struct sable_error *error);

#endif
