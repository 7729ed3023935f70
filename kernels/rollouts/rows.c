/* Environments as tables: the compact rows of grids, and the alias rows of any finite chain. See sable_rollouts.h. */
#include "sable_rollouts.h"

#include <math.h>
#include <string.h>

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
        return PAID_BOUNDARY << SABLE_ARRIVAL_PAYS;
    case SABLE_CELL_FORBIDDEN:
        return PAID_FORBIDDEN << SABLE_ARRIVAL_PAYS | SABLE_ARRIVAL_MOVES;
    case SABLE_CELL_TARGET:
        return PAID_TARGET << SABLE_ARRIVAL_PAYS | SABLE_ARRIVAL_MOVES;
    case SABLE_CELL_GOAL:
        return PAID_TARGET << SABLE_ARRIVAL_PAYS | SABLE_ARRIVAL_MOVES | SABLE_ARRIVAL_ENDS;
    case SABLE_CELL_HOLE:
        return PAID_HOLE << SABLE_ARRIVAL_PAYS | SABLE_ARRIVAL_MOVES | SABLE_ARRIVAL_ENDS;
    default:
        return PAID_OTHER << SABLE_ARRIVAL_PAYS | SABLE_ARRIVAL_MOVES;
    }
}

static uint32_t row_of(const uint8_t *kind, int64_t height, int64_t width, bool wraps, int64_t r, int64_t c)
{
    static const int down[DIRECTIONS] = {-1, 0, 1, 0}, right[DIRECTIONS] = {0, 1, 0, -1};
    const uint32_t ended = PAID_NOTHING << SABLE_ARRIVAL_PAYS | SABLE_ARRIVAL_ENDS, directions = 0x03020100;
    uint8_t own = kind[r * width + c];
    if (own == SABLE_CELL_GOAL || own == SABLE_CELL_HOLE || own == SABLE_CELL_OBSTACLE)
        return ended * 0x01010101u | directions;
    uint32_t row = directions;
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

/* What a move into cell (r, c) means, which may be one beyond an edge. */
static uint8_t into(const uint8_t *kind, int64_t height, int64_t width, bool wraps, int64_t r, int64_t c)
{
    const bool over = wraps && (c < 0 || c == width);
    const int64_t column = over ? (c + width) % width : c;
    const bool inside = r >= 0 && r < height && column >= 0 && column < width;
    const uint32_t now = arrival(inside ? kind[r * width + column] : (uint8_t)SABLE_CELL_OBSTACLE);
    return (uint8_t)(now | (over && now & SABLE_ARRIVAL_MOVES ? SABLE_ARRIVAL_WRAPS : 0));
}

static void fill_tables(const uint8_t *kind, struct sable_rollouts_grid *grid)
{
    const int64_t border = grid->into ? 1 : 0, height = grid->height, width = grid->width;
#pragma omp parallel for schedule(static)
    for (int64_t r = -border; r < height + border; r++)
        for (int64_t c = -border; c < width + border; c++) {
            const int64_t place = grid->origin + r * grid->stride + c;
            const bool inside = r >= 0 && r < height && c >= 0 && c < width;
            if (grid->into)
                grid->into[place] = into(kind, height, width, grid->wraps, r, c);
            grid->row[place] = inside ? row_of(kind, height, width, grid->wraps, r, c) : 0;
        }
    for (int64_t r = 0; r < height; r++)
        for (int64_t place = grid->origin + r * grid->stride, c = 0; c < width; c++, place++)
            if (!sable_rollouts_after_end(grid->row[place]))
                grid->start[grid->starts++] = (uint32_t)place;
}

bool sable_rollouts_grid_make(const uint8_t *kind, int64_t height, int64_t width,
                              const struct sable_rollouts_grid_rules *rules, struct sable_rollouts_grid *grid)
{
    const bool large = sable_rollouts_grid_is_large(height, width);
    const int64_t stride = width + (large ? 2 : 0), rows = height + (large ? 2 : 0);
    *grid = (struct sable_rollouts_grid){
        .height = height,
        .width = width,
        .stride = stride,
        .origin = large ? stride + 1 : 0,
        .wraps = rules->wraps,
        .row = sable_array(rows, stride, sizeof *grid->row),
        .into = large ? sable_array(rows + 1, stride, 1) : NULL, /* look-ups read the three bytes behind, too */
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
    if (!grid->row || !grid->start || (large && !grid->into))
        return false;
    fill_tables(kind, grid);
    return true;
}

void sable_rollouts_grid_free(struct sable_rollouts_grid *grid)
{
    sable_array_free(grid->row);
    sable_array_free(grid->into);
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

/* The different rewards of a model: their numbers are found by hashing their bits. */
struct rewards {
    double *value;  /* [SABLE_ROLLOUTS_MAX_REWARDS] */
    int32_t *place; /* [REWARD_SLOTS] 1 + a value's number, or 0 */
    int64_t count;
};
enum { REWARD_SLOT_BITS = 17, REWARD_SLOTS = 1 << REWARD_SLOT_BITS };

/* The number of a reward; it is added if it is new and there is room. −1: there is none. */
static int64_t reward_number(struct rewards *rewards, double reward, bool add)
{
    uint64_t bits;
    memcpy(&bits, &reward, sizeof bits);
    uint64_t slot = bits * UINT64_C(0x9e3779b97f4a7c15) >> (64 - REWARD_SLOT_BITS);
    for (;; slot = (slot + 1) % REWARD_SLOTS) {
        int32_t *place = &rewards->place[slot];
        if (*place != 0 && memcmp(&rewards->value[*place - 1], &reward, sizeof reward) == 0)
            return *place - 1;
        if (*place == 0 && (!add || rewards->count == SABLE_ROLLOUTS_MAX_REWARDS))
            return -1;
        if (*place == 0) {
            rewards->value[rewards->count] = reward;
            *place = (int32_t)++rewards->count;
            return rewards->count - 1;
        }
    }
}

/* Finds all rewards of a model; count −1: they are too many. False if memory is short. */
static bool find_rewards(const void *model, sable_rollouts_outcomes *outcomes, int64_t states, int64_t most_outcomes,
                         struct rewards *rewards)
{
    struct sable_rollouts_outcome *outcome = sable_array(most_outcomes, 1, sizeof *outcome);
    *rewards = (struct rewards){.value = sable_array(SABLE_ROLLOUTS_MAX_REWARDS, 1, sizeof *rewards->value),
                                .place = sable_array(REWARD_SLOTS, 1, sizeof *rewards->place)};
    bool good = outcome && rewards->value && rewards->place;
    if (good) {
        memset(rewards->place, 0, REWARD_SLOTS * sizeof *rewards->place);
        reward_number(rewards, 0, true); /* the end's */
    }
    for (int64_t s = 0; s < states && good && rewards->count >= 0; s++)
        for (int64_t k = outcomes(model, s, outcome) - 1; k >= 0 && rewards->count >= 0; k--)
            if (reward_number(rewards, outcome[k].reward, true) < 0)
                rewards->count = -1;
    sable_array_free(outcome);
    return good;
}

static void free_rewards(struct rewards *rewards)
{
    sable_array_free(rewards->value);
    sable_array_free(rewards->place);
}

/* Where a row's rewards go: numbers of the table, or the table by outcome; neither for starts. */
struct paying {
    struct rewards *rewards;
    double *by_outcome; /* of the row's first outcome */
};

static void set_side(struct sable_rollouts_entry *row, int32_t column, int side,
                     const struct sable_rollouts_outcome *outcome, const struct paying *paying)
{
    row[column].next[side] = outcome->next < 0 ? SABLE_ROW_END : (uint32_t)outcome->next;
    if (paying->by_outcome)
        paying->by_outcome[2 * column + side] = outcome->reward;
    else if (paying->rewards)
        row[column].reward[side] = (uint16_t)reward_number(paying->rewards, outcome->reward, false);
}

static uint32_t threshold_of(double weight)
{
    double scaled = rint(weight * 0x1p32);
    return scaled < 0x1p32 ? (uint32_t)scaled : UINT32_MAX;
}

/* One row of 2^bits columns; columns beyond the outcomes weigh nothing. */
static void make_row(const struct sable_rollouts_outcome *outcome, int64_t count, int bits, struct worklist *work,
                     const struct paying *paying, struct sable_rollouts_entry *entry)
{
    int32_t columns = 1 << bits, smalls = 0, larges = 0;
    double total = 0;
    for (int64_t k = 0; k < count; k++)
        total += outcome[k].probability;
    for (int32_t k = 0; k < columns; k++) {
        const struct sable_rollouts_outcome *own = &outcome[k < count ? k : 0];
        work->weight[k] = k < count ? own->probability / total * columns : 0;
        entry[k] = (struct sable_rollouts_entry){.threshold = UINT32_MAX};
        set_side(entry, k, 0, own, paying);
        set_side(entry, k, 1, own, paying);
        if (work->weight[k] < 1)
            work->small[smalls++] = k;
        else
            work->large[larges++] = k;
    }
    while (smalls > 0 && larges > 0) {
        int32_t small = work->small[--smalls], large = work->large[larges - 1];
        entry[small].threshold = threshold_of(work->weight[small]);
        set_side(entry, small, 1, &outcome[large], paying);
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
                        set_side(entry, small, side, &outcome[k], paying);
    }
}

/* Rows 0 … states − 1 by `outcomes`, then `ends` rows of the end. */
static bool make_rows(const void *model, sable_rollouts_outcomes *outcomes, int64_t states, int64_t ends,
                      int64_t most_outcomes, int bits, const struct paying *paying, struct sable_rollouts_entry *entry)
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
            struct paying own = {paying->rewards, paying->by_outcome ? paying->by_outcome + (2 * s << bits) : NULL};
            make_row(count ? outcome : &stay, count ? count : 1, bits, &work, &own, entry + (s << bits));
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
    struct rewards rewards;
    bool good = find_rewards(model, outcomes, states, most_outcomes, &rewards) && rows->entry && rows->start;
    if (good) {
        rows->by_outcome = rewards.count < 0;
        rows->rewards = rows->by_outcome ? rows->states << (rows->bits + 1) : rewards.count;
        rows->reward = sable_array(rows->rewards, 1, sizeof *rows->reward);
        good = rows->reward != NULL;
    }
    if (good && !rows->by_outcome)
        memcpy(rows->reward, rewards.value, (size_t)rows->rewards * sizeof *rows->reward);
    const struct paying paying = {&rewards, rows->by_outcome ? rows->reward : NULL}, nothing = {NULL, NULL};
    good = good && make_rows(model, outcomes, states, 1, most_outcomes, rows->bits, &paying, rows->entry) &&
           make_rows(&starts, start_outcomes, 1, 0, states, rows->start_bits, &nothing, rows->start);
    free_rewards(&rewards);
    return good;
}

void sable_rollouts_rows_free(struct sable_rollouts_rows *rows)
{
    sable_array_free(rows->entry);
    sable_array_free(rows->start);
    sable_array_free(rows->reward);
    *rows = (struct sable_rollouts_rows){0};
}
