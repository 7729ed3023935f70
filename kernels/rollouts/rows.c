/* Environments as tables: the compact rows of grids, and the alias rows of any finite chain. See sable_rollouts.h. */
#include "sable_rollouts.h"

#include <math.h>

#include "sable_array.h"
#include "sable_gridworld.h"

/* ---- Grids ---- */

enum reward { PAID_OTHER, PAID_FORBIDDEN, PAID_TARGET, PAID_HOLE, PAID_BOUNDARY, PAID_NOTHING = 7 };
enum { DIRECTIONS = 4 };

/* What entering a cell of a kind means. */
static uint32_t arrival(uint8_t kind)
{
    switch (kind) {
    case SABLE_CELL_OBSTACLE:
        return PAID_BOUNDARY;
    case SABLE_CELL_FORBIDDEN:
        return PAID_FORBIDDEN | SABLE_ARRIVAL_MOVES;
    case SABLE_CELL_TARGET:
        return PAID_TARGET | SABLE_ARRIVAL_MOVES;
    case SABLE_CELL_GOAL:
        return PAID_TARGET | SABLE_ARRIVAL_MOVES | SABLE_ARRIVAL_ENDS;
    case SABLE_CELL_HOLE:
        return PAID_HOLE | SABLE_ARRIVAL_MOVES | SABLE_ARRIVAL_ENDS;
    default:
        return PAID_OTHER | SABLE_ARRIVAL_MOVES;
    }
}

static uint32_t row_of(const uint8_t *kind, int64_t height, int64_t width, bool wraps, int64_t r, int64_t c)
{
    static const int down[DIRECTIONS] = {-1, 0, 1, 0}, right[DIRECTIONS] = {0, 1, 0, -1};
    const uint32_t ended = PAID_NOTHING | SABLE_ARRIVAL_ENDS | SABLE_ARRIVAL_AFTER_END;
    uint8_t own = kind[r * width + c];
    if (own == SABLE_CELL_GOAL || own == SABLE_CELL_HOLE || own == SABLE_CELL_OBSTACLE)
        return ended * 0x01010101u;
    uint32_t row = 0;
    for (int d = 0; d < DIRECTIONS; d++) {
        int64_t i = r + down[d], j = c + right[d];
        bool over = wraps && (j < 0 || j >= width);
        j = over ? width - 1 - c : j;
        bool inside = i >= 0 && i < height && j >= 0 && j < width;
        uint32_t now = arrival(inside ? kind[i * width + j] : (uint8_t)SABLE_CELL_OBSTACLE);
        now |= over && (now & SABLE_ARRIVAL_MOVES) ? SABLE_ARRIVAL_WRAPS : 0;
        row |= now << (8 * d);
    }
    return row;
}

uint32_t sable_rollouts_policy(int north, int east, int south, int west)
{
    const int slots[DIRECTIONS] = {north, east, south, west};
    uint32_t policy = 0;
    int slot = 0;
    for (uint32_t d = 0; d < DIRECTIONS; d++)
        for (int k = 0; k < slots[d]; k++, slot++)
            policy |= d << (2 * slot);
    return policy;
}

bool sable_rollouts_grid_make(const uint8_t *kind, int64_t height, int64_t width,
                              const struct sable_rollouts_grid_rules *rules, struct sable_rollouts_grid *grid)
{
    *grid = (struct sable_rollouts_grid){
        .height = height,
        .width = width,
        .wraps = rules->wraps,
        .row = sable_array(height, width, sizeof *grid->row),
        .reward = {[PAID_OTHER] = rules->other,
                   [PAID_FORBIDDEN] = rules->forbidden,
                   [PAID_TARGET] = rules->target,
                   [PAID_HOLE] = rules->hole,
                   [PAID_BOUNDARY] = rules->boundary},
        .gamma = rules->gamma,
        .policy = rules->policy,
        .turn_left = (uint32_t)lrint(rules->slip / 2 * 0x1p28),
        .turn_right = (uint32_t)lrint(rules->slip * 0x1p28),
        .horizon = rules->horizon,
        .start = sable_array(height, width, sizeof *grid->start),
    };
    if (!grid->row || !grid->start)
        return false;
#pragma omp parallel for schedule(static)
    for (int64_t r = 0; r < height; r++)
        for (int64_t c = 0; c < width; c++)
            grid->row[r * width + c] = row_of(kind, height, width, rules->wraps, r, c);
    for (int64_t s = 0; s < height * width; s++)
        if (!(grid->row[s] & SABLE_ARRIVAL_AFTER_END))
            grid->start[grid->starts++] = (uint32_t)s;
    return true;
}

void sable_rollouts_grid_free(struct sable_rollouts_grid *grid)
{
    sable_array_free(grid->row);
    sable_array_free(grid->start);
    *grid = (struct sable_rollouts_grid){0};
}

/* ---- Alias rows ---- */

int sable_rollouts_row_bits(int64_t most_outcomes)
{
    int bits = 0;
    while (bits < 31 && (INT64_C(1) << bits) < most_outcomes)
        bits++;
    return bits;
}

/* Vose's worklists: columns whose weight is below and not below the average. */
struct worklist {
    double *weight; /* in units of a column */
    int32_t *small, *large;
};

static void set_side(struct sable_rollouts_entry *entry, int side, const struct sable_rollouts_outcome *outcome)
{
    entry->next[side] = outcome->next < 0 ? SABLE_ROW_END : (uint32_t)outcome->next;
    entry->reward[side] = outcome->reward;
}

static uint32_t threshold_of(double weight)
{
    double scaled = rint(weight * 0x1p32);
    return scaled < 0x1p32 ? (uint32_t)scaled : UINT32_MAX;
}

/* One row of 2^bits columns; columns beyond the outcomes weigh nothing. */
static void make_row(const struct sable_rollouts_outcome *outcome, int64_t count, int bits, struct worklist *work,
                     struct sable_rollouts_entry *entry)
{
    int32_t columns = 1 << bits, smalls = 0, larges = 0;
    double total = 0;
    for (int64_t k = 0; k < count; k++)
        total += outcome[k].probability;
    for (int32_t k = 0; k < columns; k++) {
        const struct sable_rollouts_outcome *own = &outcome[k < count ? k : 0];
        work->weight[k] = k < count ? own->probability / total * columns : 0;
        entry[k] = (struct sable_rollouts_entry){.threshold = UINT32_MAX};
        set_side(&entry[k], 0, own);
        set_side(&entry[k], 1, own);
        if (work->weight[k] < 1)
            work->small[smalls++] = k;
        else
            work->large[larges++] = k;
    }
    while (smalls > 0 && larges > 0) {
        int32_t small = work->small[--smalls], large = work->large[larges - 1];
        entry[small].threshold = threshold_of(work->weight[small]);
        set_side(&entry[small], 1, &outcome[large]);
        work->weight[large] -= 1 - work->weight[small];
        if (work->weight[large] < 1) {
            larges--;
            work->small[smalls++] = large;
        }
    }
    /* Left over by rounding: their weight is 1 but for that, unless they weigh nothing at all. */
    while (smalls > 0) {
        int32_t small = work->small[--smalls];
        if (small >= count || outcome[small].probability == 0)
            for (int side = 0; side < 2; side++)
                for (int64_t k = 0; k < count; k++)
                    if (outcome[k].probability > 0)
                        set_side(&entry[small], side, &outcome[k]);
    }
}

/* Rows 0 … states − 1 by `outcomes`, then `ends` rows of the end. */
static bool make_rows(const void *model, sable_rollouts_outcomes *outcomes, int64_t states, int64_t ends,
                      int64_t most_outcomes, int bits, struct sable_rollouts_entry *entry)
{
    bool good = true;
#pragma omp parallel reduction(&& : good)
    {
        const struct sable_rollouts_outcome stay = {1, 0, -1};
        struct sable_rollouts_outcome *outcome = sable_array(most_outcomes, 1, sizeof *outcome);
        struct worklist work = {sable_array(1, 1 << bits, sizeof(double)), sable_array(1, 1 << bits, sizeof(int32_t)),
                                sable_array(1, 1 << bits, sizeof(int32_t))};
        good = outcome && work.weight && work.small && work.large;
#pragma omp for schedule(static)
        for (int64_t s = 0; s < states + ends; s++) {
            if (!good)
                continue;
            int64_t count = s < states ? outcomes(model, s, outcome) : 0;
            make_row(count ? outcome : &stay, count ? count : 1, bits, &work, entry + (s << bits));
        }
        sable_array_free(outcome);
        sable_array_free(work.weight);
        sable_array_free(work.small);
        sable_array_free(work.large);
    }
    return good;
}

struct starts {
    const double *weight;
    int64_t states;
};

static int64_t start_outcomes(const void *model, int64_t state, struct sable_rollouts_outcome *outcome)
{
    const struct starts *starts = model;
    int64_t count = 0;
    (void)state;
    for (int64_t s = 0; s < starts->states; s++)
        if (starts->weight[s] > 0)
            outcome[count++] = (struct sable_rollouts_outcome){starts->weight[s], 0, s};
    return count;
}

bool sable_rollouts_rows_make(const void *model, sable_rollouts_outcomes *outcomes, int64_t states,
                              int64_t most_outcomes, double gamma, uint32_t horizon, const double *start,
                              struct sable_rollouts_rows *rows)
{
    const struct starts starts = {start, states};
    *rows = (struct sable_rollouts_rows){
        .states = states + 1, .bits = sable_rollouts_row_bits(most_outcomes), .gamma = gamma, .horizon = horizon};
    rows->start_bits = sable_rollouts_row_bits(states);
    if (rows->states > SABLE_ROLLOUTS_MAX_ENTRIES >> rows->bits || rows->start_bits > 28)
        return false;
    rows->entry = sable_array(rows->states << rows->bits, 1, sizeof *rows->entry);
    rows->start = sable_array(INT64_C(1) << rows->start_bits, 1, sizeof *rows->start);
    return rows->entry && rows->start &&
           make_rows(model, outcomes, states, 1, most_outcomes, rows->bits, rows->entry) &&
           make_rows(&starts, start_outcomes, 1, 0, states, rows->start_bits, rows->start);
}

void sable_rollouts_rows_free(struct sable_rollouts_rows *rows)
{
    sable_array_free(rows->entry);
    sable_array_free(rows->start);
    *rows = (struct sable_rollouts_rows){0};
}
