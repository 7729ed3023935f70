/* A set of states that grows by batches: append to `item`, room made before; tidied, it ascends without repetitions. */
#ifndef VALUE_ITERATION_MDP_SET_H
#define VALUE_ITERATION_MDP_SET_H

#include <stdbool.h>
#include <stdint.h>

struct mdp_set {
    int64_t *item; /* owned by the caller: free() */
    int64_t count, room;
};

void mdp_set_tidy(struct mdp_set *set);
/* Room for `more`; tidies first, and grows only if that doesn't free half. False: out of memory. */
bool mdp_set_room(struct mdp_set *set, int64_t more);
/* Where an ascending list holds a state; `count` or the place of a larger one if it doesn't. */
int64_t mdp_set_find(const int64_t *item, int64_t count, int64_t state);

#endif
