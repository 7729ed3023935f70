/* See value_iteration_mdp_set.h. */
#include "value_iteration_mdp_set.h"

#include <stdlib.h>

static int by_value(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

void mdp_set_tidy(struct mdp_set *set)
{
    if (set->count == 0)
        return;
    qsort(set->item, (size_t)set->count, sizeof *set->item, by_value);
    int64_t kept = 1;
    for (int64_t i = 1; i < set->count; i++)
        if (set->item[i] != set->item[kept - 1])
            set->item[kept++] = set->item[i];
    set->count = kept;
}

bool mdp_set_room(struct mdp_set *set, int64_t more)
{
    if (set->count + more <= set->room)
        return true;
    mdp_set_tidy(set);
    if (set->count + more <= set->room && set->count <= set->room / 2)
        return true;
    int64_t room = 2 * (set->count + more) + 1024;
    int64_t *larger = realloc(set->item, (size_t)room * sizeof *larger);
    if (!larger)
        return false;
    set->item = larger;
    set->room = room;
    return true;
}

int64_t mdp_set_find(const int64_t *item, int64_t count, int64_t state)
{
    int64_t low = 0, high = count;
    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        if (item[middle] < state)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}
