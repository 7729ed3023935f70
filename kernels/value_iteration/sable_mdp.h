/* Finite Markov decision processes with stored transitions: sweeps of the Bellman operator
 *
 *   (T v)(s) = max_a q(s, a),   q(s, a) = r(s, a) + γ Σ_s' P(s' | s, a) v(s')
 *
 * over the states that one rank owns (Puterman 1994, §6.3).
 *
 * Legend: S = states owned (`states`), A = actions, row = s·A + a. Columns index a vector v of `columns` values: the
 * rank's own states first, padded to a multiple of SABLE_MDP_LANES, then whatever the caller keeps behind (halo). An
 * unavailable action has reward −∞ and no transitions. Of equal q the lowest action is the greedy one.
 *
 * Every row is one chain sum ← fma(p, v[column], sum) from 0 in the order of the model, then q = fma(γ, sum, r): both
 * storages, every instruction set and any partition give the same bits. */
#ifndef SABLE_MDP_H
#define SABLE_MDP_H

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { SABLE_MDP_LANES = 8 };

/* What a sweep did: the extent of next − v, the largest |next|, and whether all of it is finite. A sweep widens what is
 * already there; begin with SABLE_MDP_UNCHANGED. */
struct sable_mdp_change {
    double low, high, magnitude;
    bool finite;
};
#define SABLE_MDP_UNCHANGED ((struct sable_mdp_change){.low = INFINITY, .high = -INFINITY, .finite = true})

/* ---- The textbook: compressed sparse rows ---- */

struct sable_mdp_csr {
    int64_t states, actions;
    int64_t *start;      /* [S·A + 1] first transition of a row */
    int32_t *column;     /* [start[S·A]] */
    double *probability; /* [start[S·A]] */
    double *reward;      /* [S·A] */
};

/* next[s] = (T v)(s) for all states; policy[s] = the greedy action if `policy` is given. */
void sable_mdp_reference_sweep(const struct sable_mdp_csr *model, double gamma, const double *v, double *next,
                               int32_t *policy, struct sable_mdp_change *change);
/* next[s] = q(s, policy[s]): one sweep of policy evaluation. */
void sable_mdp_reference_evaluate(const struct sable_mdp_csr *model, double gamma, const int32_t *policy,
                                  const double *v, double *next, struct sable_mdp_change *change);

/* ---- States as SIMD lanes: sliced ELLPACK ----
 * Eight consecutive states form a block (Kreutzer et al., SIAM J. Sci. Comput. 36, 2014: SELL-C-σ with C = 8, σ = 1).
 * Chunk b·A + a holds action a of block b: transition j of lane l lies at start[chunk] + 8·j + l. Chunks are as long as
 * their longest row; shorter ones end in transitions of probability 0. The lanes behind the last state repeat it, so
 * that no sweep needs a mask and no extent sees a state that isn't there. */
struct sable_mdp {
    int64_t states, actions, blocks;
    int64_t *start;      /* [blocks·A + 1] */
    int32_t *column;     /* [start[blocks·A]] */
    double *probability; /* [start[blocks·A]], or NULL: then … */
    uint8_t *code;       /* … [start[blocks·A]], numbers of … */
    double *values;      /* … [SABLE_MDP_CODES] probabilities, as they are: 5 bytes a transition instead of 12 */
    double *reward;      /* [blocks × A × 8] */
    bool gathers;        /* values are read by gather instructions, where the level has them; else by single loads */
};

enum { SABLE_MDP_CODES = 256 };

/* The different probabilities of a model, 0 included for the ends of chunks, ascending; none any more, count < 0, once
 * there are more than SABLE_MDP_CODES. Begin with SABLE_MDP_NO_VALUES. */
struct sable_mdp_values {
    int count;
    double item[SABLE_MDP_CODES];
};
#define SABLE_MDP_NO_VALUES ((struct sable_mdp_values){.count = 1})

void sable_mdp_values_add(struct sable_mdp_values *values, int64_t length, const double *probability);
void sable_mdp_values_join(struct sable_mdp_values *values, const struct sable_mdp_values *more);

static inline int64_t sable_mdp_blocks(int64_t states)
{
    return (states + SABLE_MDP_LANES - 1) / SABLE_MDP_LANES;
}

/* Building: begin, widen every row, allocate, put every row. Threads may widen and put rows of different blocks at the
 * same time. Compressed or not, sweeps give the same bits. begin and allocate return false if memory is short or a size
 * overflows; sable_mdp_free() is always safe after begin. */
bool sable_mdp_begin(struct sable_mdp *model, int64_t states, int64_t actions);
void sable_mdp_widen(struct sable_mdp *model, int64_t state, int64_t action, int64_t length);
bool sable_mdp_allocate(struct sable_mdp *model);
/* The same, compressed: `values` holds every probability that will be put. */
bool sable_mdp_allocate_codes(struct sable_mdp *model, const struct sable_mdp_values *values);
void sable_mdp_put(struct sable_mdp *model, int64_t state, int64_t action, double reward, int64_t length,
                   const int32_t *column, const double *probability);
void sable_mdp_free(struct sable_mdp *model);

/* Room for the rows of one policy: a model of one action, each chunk as long as the longest of its block in `model`. */
bool sable_mdp_rows_allocate(const struct sable_mdp *model, struct sable_mdp *rows);

/* next = T v over the blocks list[0..count). Also evaluates a policy: on its rows T is the linear operator. `v` and
 * `next` hold 8·blocks values and the columns behind; only 8·blocks are written. */
void sable_mdp_sweep(const struct sable_mdp *model, double gamma, const int32_t *list, int64_t count, const double *v,
                     double *next, struct sable_mdp_change *change);

/* The same, and policy[0..8·blocks) = the greedy actions. Where an action of a block differs from what `policy` held,
 * the block's rows are copied to `rows` (unless it is NULL): a sweep of evaluation then reads 1/A of the model. Start
 * with a policy of −1. Returns the number of states of which the action changed, repeated ones not counted. */
int64_t sable_mdp_improve(const struct sable_mdp *model, double gamma, const int32_t *list, int64_t count,
                          const double *v, double *next, int32_t *policy, struct sable_mdp *rows,
                          struct sable_mdp_change *change);

/* Whether sweeps over the first blocks of this model are faster by gather instructions than by loads, which depends on
 * the processor (and its microcode) more than on anything else: a few milliseconds of one thread. false where the level
 * has no gathers. Sweeps from v to next. Bits don't depend on it. */
bool sable_mdp_gathers_pay(const struct sable_mdp *model, const double *v, double *next);

/* ---- How good is the result ---- */

/* What a bound must know of a model, over all ranks. */
struct sable_mdp_facts {
    double row_least, row_most; /* extent of Σ s' P(s' | s, a) over available rows; 0 if an episode can end at once */
    double reward_most;         /* largest |r| of an available action */
    int64_t longest;            /* transitions of the longest row */
};

struct sable_mdp_bound {
    double shift; /* to be added to T v */
    double bound; /* then ‖T v + shift − V*‖∞ ≤ bound, every rounding included; +∞ if a value is not finite. The loss
                     of the policy that is greedy for v is at most 2·bound. */
    bool exhausted; /* the change is of the size of its rounding: more sweeps won't help */
};

/* For a sweep next = T v with this change (over all states). `span`: the middle of MacQueen's and Porteus' bounds; else
 * shift = 0. Needs γ·row_most < 1. */
struct sable_mdp_bound sable_mdp_certify(const struct sable_mdp_facts *facts, double gamma,
                                         struct sable_mdp_change change, bool span);
/* Largest rounding error of one computed (T v)(s), |v| ≤ magnitude. */
double sable_mdp_rounding(const struct sable_mdp_facts *facts, double gamma, double magnitude);

#ifdef __cplusplus
}
#endif
#endif
