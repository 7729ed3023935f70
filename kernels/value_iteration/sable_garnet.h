/* Garnet problems: random decision processes of a given size and branching (Archibald, McKinnon & Thomas, On the
 * generation of Markov decision processes, J. Oper. Res. Soc. 46, 1995; the name is Bhatnagar et al., 2009). A row is a
 * pure function of seed, state and action (docs/determinism.md), so that any rank makes any row, and none holds all. */
#ifndef SABLE_GARNET_H
#define SABLE_GARNET_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { SABLE_GARNET_MOST_BRANCHES = 512 };

struct sable_garnet {
    uint64_t seed;
    int64_t states, actions;
    int64_t branching; /* successors of a row, all different: 1 … min(512, window) */
    int64_t locality;  /* successors lie within so many states of the state, around the ends; 0: anywhere */
};

/* States that a successor may be: all of them, or the 2·locality + 1 around the state. */
int64_t sable_garnet_window(const struct sable_garnet *garnet);

/* Row (state, action): the reward, uniform on [0, 1), and `branching` successors in ascending order with their
 * probabilities, the gaps between sorted uniform cuts of [0, 1]. Successors are a uniform subset of the window (Floyd's
 * method). column and probability hold `branching` elements, owned by the caller. Returns the length. */
int64_t sable_garnet_row(const struct sable_garnet *garnet, int64_t state, int64_t action, double *reward,
                         int64_t *column, double *probability);

#ifdef __cplusplus
}
#endif
#endif
