/* Private to the family: the sweeps of mdp_sweep.isa.c, one thread's share of blocks. */
#ifndef SABLE_MDP_LANES_H
#define SABLE_MDP_LANES_H

#include "sable_isa.h"
#include "sable_mdp.h"

/* next = T v over list[0..count); widens `change`. */
SABLE_ISA_DECLARE(void, mdp_sweep_blocks,
                  (const struct sable_mdp *model, double gamma, const int32_t *list, int64_t count, const double *v,
                   double *next, struct sable_mdp_change *change));

/* The same, and the greedy actions of block list[i] to greedy[8·i]. */
SABLE_ISA_DECLARE(void, mdp_greedy_blocks,
                  (const struct sable_mdp *model, double gamma, const int32_t *list, int64_t count, const double *v,
                   double *next, int32_t *greedy, struct sable_mdp_change *change));

#endif
