/* Value iteration on a gridworld: what one rank computes. The whole story: docs/value_iteration.md.
 *
 * The agent stands on a cell of a grid and chooses stay, north, east, south or west. A move goes where it was meant to
 * with probability 1 − slip, else to one of its two sides, slip/2 each; `stay` stays. It is paid for the cell where it
 * arrives, and a move against an obstacle or the border leaves it where it is, for `boundary`. Goals and holes end it.
 *
 *   V*(s) = max_a Σ_d P(d|a) x_d(s),      x_d(s) = r(s′) + γ V*(s′), or r_boundary + γ V*(s) if s′ = s + d is blocked
 *
 * Legend: h = height, w = width of the rank's block, d = depth of its halo; every array holds (h + 2d) × pitch elements
 * and is passed by the address of cell (0, 0): cell (r, c), −d ≤ r < h + d and −d ≤ c < w + d, is at [r·pitch + c].
 *
 * Sources: S. Zhao, Mathematical Foundations of Reinforcement Learning (2025), ch. 1–4 (grid and rewards); S. Russell &
 * P. Norvig, Artificial Intelligence, §17.1 (slip to the sides); M. Puterman, Markov Decision Processes (1994), §6.6.
 */
#ifndef SABLE_GRIDWORLD_H
#define SABLE_GRIDWORLD_H

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Kinds of cells, as an input file codes them. */
enum sable_gridworld_kind {
    SABLE_CELL_FREE,
    SABLE_CELL_OBSTACLE,
    SABLE_CELL_FORBIDDEN, /* may be entered, for r_forbidden */
    SABLE_CELL_GOAL,      /* ends the episode; r_target on arrival */
    SABLE_CELL_HOLE,      /* ends the episode; r_hole on arrival */
    SABLE_CELL_TARGET,    /* r_target on each arrival (staying arrives, too); the episode goes on */
    SABLE_CELL_KINDS
};

/* Is there something to decide? */
static inline bool sable_gridworld_decides(uint8_t kind)
{
    return !((kind == SABLE_CELL_OBSTACLE) | (kind == SABLE_CELL_GOAL) | (kind == SABLE_CELL_HOLE));
}

enum sable_gridworld_action {
    SABLE_NO_ACTION = -1, /* on obstacles, goals and holes */
    SABLE_ACTION_STAY,
    SABLE_ACTION_NORTH,
    SABLE_ACTION_EAST,
    SABLE_ACTION_SOUTH,
    SABLE_ACTION_WEST,
    SABLE_ACTIONS
};

enum { SABLE_GRIDWORLD_DEPTH = 8 /* deepest halo, and most sweeps in one pass over the block */ };

struct sable_gridworld_model {
    double gamma;                                    /* discount, 0 ≤ γ < 1 */
    double slip;                                     /* 0 … 1 */
    double boundary, forbidden, target, hole, other; /* rewards */
};

/* Share of each kind in a drawn grid; the rest is free. */
struct sable_gridworld_densities {
    double obstacles, forbidden, goals, holes, targets;
};

struct sable_gridworld_block {
    int64_t height, width;
    int64_t pitch;        /* a multiple of 8, so that each row of doubles starts on a cache line */
    const uint8_t *cells; /* enum sable_gridworld_kind; obstacles beyond the border of the grid */
    bool ends;            /* may there be goals or holes? */
};

/* On which sides of a block do other blocks go on? There its halo is valid, elsewhere the grid ends. */
struct sable_gridworld_sides {
    bool north, east, south, west;
};

/* Half-open ranges of rows and columns of a block. */
struct sable_gridworld_range {
    int64_t row, row_end, column, column_end;
};

/* Least and largest change of any cell but obstacles in a sweep, 0 for goals and holes; least > most if there is none.
 */
struct sable_gridworld_change {
    double least, most;
};

/* Pitch for blocks of `width` cells, and how many elements lie before cell (0, 0) of an array, with halos of `depth`.
 */
int64_t sable_gridworld_pitch(int64_t width, int depth);
int64_t sable_gridworld_origin(int64_t pitch, int depth);

/* The kind of the cell with global row-major index `index`: a pure function (docs/determinism.md). */
enum sable_gridworld_kind sable_gridworld_draw(uint64_t seed, const struct sable_gridworld_densities *densities,
                                               uint64_t index);

/* Reward for arriving in a cell of this kind. */
double sable_gridworld_reward(const struct sable_gridworld_model *model, enum sable_gridworld_kind kind);

/* ---- reference: the formula as written; arrays hold V (0 on obstacles, goals, holes) ---- */

/* One Jacobi sweep over the block: next = T v. Reads v's halo. Changes are those of r(s) + γ V(s). */
struct sable_gridworld_change sable_gridworld_reference_sweep(const struct sable_gridworld_model *model,
                                                              const struct sable_gridworld_block *block,
                                                              const double *v, double *next);
/* next = T v + shift where there is something to decide, and an action that attains T v (the first in their order). */
void sable_gridworld_reference_policy(const struct sable_gridworld_model *model,
                                      const struct sable_gridworld_block *block, const double *v, double shift,
                                      double *next, int8_t *policy);

/* ---- sable: arrays hold the arrival values U(s) = r(s) + γ V(s), so that a sweep needs no neighbour's kind, and NaN
 * on obstacles, so that it needs no map of walls ---- */

/* U of V = `value` wherever there is something to decide; halo of `depth` included. OpenMP threads touch first the rows
 * that they will sweep. */
void sable_gridworld_start(const struct sable_gridworld_model *model, const struct sable_gridworld_block *block,
                           int depth, double value, double *u);

/* One Jacobi sweep over a range, by all threads: next = r + γ T(u). `stream`: past the caches (for blocks larger than
 * they are); then range.column must be a multiple of 8. Bit for bit the reference's values. */
struct sable_gridworld_change sable_gridworld_sweep(const struct sable_gridworld_model *model,
                                                    const struct sable_gridworld_block *block, const double *u,
                                                    struct sable_gridworld_range range, bool stream, double *next);

/* `count` ≤ SABLE_GRIDWORLD_DEPTH Jacobi sweeps of the whole block in one pass over it (temporal blocking), by all
 * threads; on the sides where others go on, u[0]'s halo is read to a depth of `count` and recomputed. u[0] and u[1]
 * change in turns: the newest values are in u[count mod 2]. Returns the change of the last sweep. Bit for bit `count`
 * times sable_gridworld_sweep(). */
struct sable_gridworld_change sable_gridworld_sweeps(const struct sable_gridworld_model *model,
                                                     const struct sable_gridworld_block *block,
                                                     struct sable_gridworld_sides sides, int count, double *const u[2]);

/* v = T(u) + shift and its policy, over the whole block. Bit for bit the reference's. */
void sable_gridworld_policy(const struct sable_gridworld_model *model, const struct sable_gridworld_block *block,
                            const double *u, double shift, double *v, int8_t *policy);

/* ---- How good is the result ---- */

enum sable_gridworld_stop { SABLE_STOP_SPAN, SABLE_STOP_RESIDUAL };

struct sable_gridworld_bound {
    double shift; /* to be added to T(u) */
    double bound; /* then ‖V − V*‖∞ ≤ bound, every rounding included */
};

/* For a sweep with changes `change` (over the whole grid), `later` more sweeps after it, and the policy's. */
struct sable_gridworld_bound sable_gridworld_certify(const struct sable_gridworld_model *model,
                                                     enum sable_gridworld_stop stop,
                                                     struct sable_gridworld_change change, int64_t later);
/* The bound that remains when nothing changes any more: no `tol` below it can be certified in fp64. */
double sable_gridworld_floor(const struct sable_gridworld_model *model);

/* What an independent check of (v, policy) finds; each is ≤ 0 but for rounding, +∞ if a NaN was met. */
struct sable_gridworld_evidence {
    double below; /* max over s of (v − b) − T(v − b): ≤ 0 proves v − b ≤ V* */
    double above; /* max over s of T(v + b) − (v + b): ≤ 0 proves V* ≤ v + b */
    double loss;  /* max over s of max_a q(s,a) − q(s,π(s)), q from v */
    double fixed; /* max |v| on obstacles, goals and holes, and +∞ for an impossible action */
};

/* By all threads, without any code of the sweeps; v's halo must be filled. */
struct sable_gridworld_evidence sable_gridworld_examine(const struct sable_gridworld_model *model,
                                                        const struct sable_gridworld_block *block, const double *v,
                                                        const int8_t *policy, double bound);
/* Largest rounding error of the first three. */
double sable_gridworld_examine_rounding(const struct sable_gridworld_model *model);

#ifdef __cplusplus
}
#endif
#endif
