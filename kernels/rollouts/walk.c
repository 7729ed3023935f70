/* Playing a share of episodes: by the textbook, and in SIMD lanes by all threads. See sable_rollouts.h.
 *
 * A thread keeps its lanes full: when an episode ends, its lane takes the next one of the chunk in hand, and when the
 * chunk is empty, the thread takes another from the rank's share. Lanes therefore idle at the end of the whole run
 * only.
 */
#include "walk.h"

#include <math.h>
#include <string.h>
#include <omp.h>

#include "sable_random.h"

/* ---- Dealing ---- */

uint32_t sable_walk_start(const struct walk *walk, uint32_t high, uint32_t low)
{
    if (walk->grid) {
        uint64_t word = (uint64_t)high << 32 | low;
        return walk->grid->start[(uint64_t)((sable_uint128)word * (uint64_t)walk->grid->starts >> 64)];
    }
    const struct sable_rollouts_rows *rows = walk->rows;
    const struct sable_rollouts_entry *entry = rows->start + ((uint64_t)high << rows->start_bits >> 32);
    return entry->next[(high << rows->start_bits) >= entry->threshold];
}

/* The first episode of chunk `index` of a share, as it is drawn for, and how many the chunk has. */
static int64_t first_drawn(const struct sable_rollouts_share *share, int64_t index, int64_t *count)
{
    int64_t first = (share->first + index * share->stride) * SABLE_CHUNK;
    *count = share->episodes - first < SABLE_CHUNK ? share->episodes - first : SABLE_CHUNK;
    return share->repeat_counters ? 0 : first;
}

static void draw_starts(struct dealer *dealer)
{
    static const uint32_t block[LANES] = {0};
    uint32_t low[LANES], high[LANES], words[4 * LANES];
    for (int64_t from = 0; from < dealer->left; from += LANES) {
        for (int l = 0; l < LANES; l++) {
            uint64_t id = (uint64_t)(dealer->drawn + from + l);
            low[l] = (uint32_t)id, high[l] = (uint32_t)(id >> 32);
        }
        dealer->walk->draw(dealer->share->seed, SABLE_ROLLOUTS_START, low, high, block, words);
        for (int l = 0; l < LANES; l++)
            dealer->start[from + l] = sable_walk_start(dealer->walk, words[l], words[LANES + l]);
    }
}

int64_t sable_walk_next(const struct sable_rollouts_share *share, int64_t *taken)
{
    int64_t index;
    if (share->take)
        return share->take(share->taker);
#pragma omp atomic capture
    index = (*taken)++;
    return index < share->count ? index : -1;
}

bool sable_walk_take(struct dealer *dealer)
{
    const int64_t index = sable_walk_next(dealer->share, dealer->taken);
    if (index < 0)
        return false;
    dealer->chunk = index;
    dealer->drawn = first_drawn(dealer->share, index, &dealer->left);
    draw_starts(dealer);
    return true;
}

bool sable_walk_deal(struct dealer *dealer, struct walk_lanes *lanes, int lane)
{
    if (dealer->left == 0 && !sable_walk_take(dealer)) {
        lanes->state[lane] = dealer->walk->resting;
        lanes->block[lane] = 0;
        return false;
    }
    lanes->low[lane] = (uint32_t)dealer->drawn;
    lanes->high[lane] = (uint32_t)((uint64_t)dealer->drawn >> 32);
    lanes->state[lane] = dealer->start[dealer->drawn % SABLE_CHUNK]; /* chunks begin at multiples of their length */
    lanes->block[lane] = lanes->length[lane] = 0;
    lanes->total[lane] = 0;
    lanes->discount[lane] = 1;
    dealer->chunk_of_lane[lane] = dealer->chunk;
    dealer->drawn++;
    dealer->left--;
    return true;
}

uint32_t sable_walk_begin(struct dealer *dealer, struct walk_lanes *lanes)
{
    uint32_t playing = 0;
    memset(lanes, 0, sizeof *lanes);
    dealer->chunk = -1;
    dealer->left = 0;
    for (int l = 0; l < LANES; l++)
        playing |= (uint32_t)sable_walk_deal(dealer, lanes, l) << l;
    return playing;
}

/* ---- What episodes contribute ---- */

static void add_tallies(const struct tallies *tallies, struct sable_rollouts_totals *totals)
{
    sable_tally_flush(&tallies->returns, &totals->returns);
    sable_tally_flush(&tallies->lengths, &totals->lengths);
    totals->steps += (int64_t)(tallies->lengths.sum >> 24);
    totals->cut += tallies->cut;
    for (int b = 0; b < SABLE_LENGTH_BINS; b++)
        totals->histogram[b] += tallies->histogram[b];
}

void sable_rollouts_totals_carry(struct sable_rollouts_totals *totals)
{
    sable_exact_carry(totals->returns.sum, SABLE_EXACT_SUM);
    sable_exact_carry(totals->returns.squares, SABLE_EXACT_SQUARES);
    sable_exact_carry(totals->lengths.sum, SABLE_EXACT_SUM);
    sable_exact_carry(totals->lengths.squares, SABLE_EXACT_SQUARES);
}

/* ---- In lanes ---- */

static void play(const struct walk *walk, const struct sable_rollouts_share *share,
                 struct sable_rollouts_totals *totals, struct sable_rollouts_chunk *chunk)
{
    int64_t taken = 0;
    memset(chunk, 0, (size_t)share->count * sizeof *chunk);
#pragma omp parallel
    {
        struct dealer dealer = {.walk = walk, .share = share, .taken = &taken};
        struct tallies tallies = {0};
        if (walk->grid)
            SABLE_ISA_PICK(rollouts_play_grid)(&dealer, &tallies, chunk);
        else
            SABLE_ISA_PICK(rollouts_play_rows)(&dealer, &tallies, chunk);
#pragma omp critical(sable_rollouts_totals)
        add_tallies(&tallies, totals);
    }
}

void sable_rollouts_play_grid(const struct sable_rollouts_grid *grid, const struct sable_rollouts_share *share,
                              struct sable_rollouts_totals *totals, struct sable_rollouts_chunk *chunk)
{
    const struct walk walk = {.grid = grid, .draw = SABLE_ISA_PICK(rollouts_draw_lanes), .resting = grid->start[0]};
    play(&walk, share, totals, chunk);
}

void sable_rollouts_play_rows(const struct sable_rollouts_rows *rows, const struct sable_rollouts_share *share,
                              struct sable_rollouts_totals *totals, struct sable_rollouts_chunk *chunk)
{
    const struct walk walk = {
        .rows = rows, .draw = SABLE_ISA_PICK(rollouts_draw_lanes), .resting = (uint32_t)(rows->states - 1)};
    play(&walk, share, totals, chunk);
}

void sable_rollouts_draw(uint64_t seed, uint32_t purpose, const uint32_t *low, const uint32_t *high,
                         const uint32_t *block, uint32_t *words)
{
    SABLE_ISA_PICK(rollouts_draw_lanes)(seed, purpose, low, high, block, words);
}

/* ---- The textbook's episode ---- */

static uint32_t first_state(const struct walk *walk, uint64_t seed, int64_t id)
{
    struct sable_random_block drawn = sable_random(seed, SABLE_ROLLOUTS_START, (uint64_t)id, 0);
    return sable_walk_start(walk, drawn.word[0], drawn.word[1]);
}

static uint32_t step_word(uint64_t seed, int64_t id, uint32_t t)
{
    return sable_random(seed, SABLE_ROLLOUTS_STEP, (uint64_t)id, t / STEPS).word[t % STEPS];
}

/* The agent moves on the grid by (row, column), as one would tell it. */
static double grid_episode(const struct sable_rollouts_grid *grid, uint32_t state, uint64_t seed, int64_t id,
                           uint32_t *length, bool *cut)
{
    enum { NORTH, EAST, SOUTH, WEST, DIRECTIONS };
    static const int down[DIRECTIONS] = {-1, 0, 1, 0}, right[DIRECTIONS] = {0, 1, 0, -1};
    const int64_t cell = sable_rollouts_cell(grid, state);
    int64_t r = cell / grid->width, c = cell % grid->width;
    double total = 0, discount = 1;
    *cut = true;
    for (*length = 0; *cut && *length < grid->horizon; ++*length) {
        uint32_t word = step_word(seed, id, *length), fraction = word & 0xfffffff;
        int action = grid->policy >> 2 * (word >> 28) & 3, direction = action;
        if (fraction < grid->turn_left)
            direction = (action + DIRECTIONS - 1) % DIRECTIONS;
        else if (fraction < grid->turn_right)
            direction = (action + 1) % DIRECTIONS;
        uint32_t arrival = grid->row[grid->origin + r * grid->stride + c] >> (8 * direction) & 0xff;
        if (arrival & SABLE_ARRIVAL_MOVES) {
            r += down[direction];
            c += right[direction];
            c = c < 0 ? grid->width - 1 : c == grid->width ? 0 : c; /* only where the map wraps */
        }
        total = fma(discount, grid->reward[(arrival & SABLE_ARRIVAL_REWARD) >> SABLE_ARRIVAL_PAYS], total);
        discount *= grid->gamma;
        *cut = !(arrival & SABLE_ARRIVAL_ENDS);
    }
    return total;
}

static double rows_episode(const struct sable_rollouts_rows *rows, uint32_t state, uint64_t seed, int64_t id,
                           uint32_t *length, bool *cut)
{
    double total = 0, discount = 1;
    *cut = true;
    for (*length = 0; *cut && *length < rows->horizon; ++*length) {
        uint64_t word = (uint64_t)step_word(seed, id, *length) << rows->bits;
        const struct sable_rollouts_entry *entry = &rows->entry[((uint64_t)state << rows->bits) + (word >> 32)];
        int side = (uint32_t)word >= entry->threshold;
        total =
            fma(discount, sable_rollouts_reward(rows, (uint32_t)(2 * (entry - rows->entry)) + (uint32_t)side), total);
        discount *= rows->gamma;
        *cut = !(entry->next[side] & SABLE_ROW_END);
        state = entry->next[side];
    }
    return total;
}

static void play_reference(const struct walk *walk, const struct sable_rollouts_share *share,
                           struct sable_rollouts_totals *totals, struct sable_rollouts_chunk *chunk)
{
    struct tallies tallies = {0};
    int64_t taken = 0;
    memset(chunk, 0, (size_t)share->count * sizeof *chunk);
    for (int64_t i = sable_walk_next(share, &taken); i >= 0; i = sable_walk_next(share, &taken)) {
        int64_t count, first = first_drawn(share, i, &count);
        for (int64_t id = first; id < first + count; id++) {
            uint32_t length, state = first_state(walk, share->seed, id);
            bool cut;
            double total = walk->grid ? grid_episode(walk->grid, state, share->seed, id, &length, &cut)
                                      : rows_episode(walk->rows, state, share->seed, id, &length, &cut);
            sable_walk_count(total, length, cut, &tallies, &chunk[i]);
        }
    }
    add_tallies(&tallies, totals);
}

void sable_rollouts_reference_grid(const struct sable_rollouts_grid *grid, const struct sable_rollouts_share *share,
                                   struct sable_rollouts_totals *totals, struct sable_rollouts_chunk *chunk)
{
    play_reference(&(struct walk){.grid = grid}, share, totals, chunk);
}

void sable_rollouts_reference_rows(const struct sable_rollouts_rows *rows, const struct sable_rollouts_share *share,
                                   struct sable_rollouts_totals *totals, struct sable_rollouts_chunk *chunk)
{
    play_reference(&(struct walk){.rows = rows}, share, totals, chunk);
}
