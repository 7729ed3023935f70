#include "rollouts_environment.h"

#include <string.h>

#include "input.h"
#include "rollouts_map.h"
#include "sable_array.h"

const char *const rollouts_environment_names[] = {"gridworld",   "random_walk", "sea",       "book", "frozenlake4",
                                                  "frozenlake8", "cliff",       "blackjack", NULL};

/* ---- Models of maps: a move goes ahead or to its sides ---- */

enum { SLIPS = 3 }; /* ahead, to the left, to the right */
enum { CLIFF_ROWS = 4, CLIFF_COLUMNS = 12, CLIFF_START = 36 };

/* A map and what can be done on it. */
struct ground {
    struct rollouts_map map;
    int64_t actions;
    double slip;
};

static int map_model(const struct ground *ground, struct rollouts_model *m, struct sable_error *error)
{
    const struct rollouts_map *map = &ground->map;
    const double chance[SLIPS] = {1 - ground->slip, ground->slip / 2, ground->slip / 2};
    static const int turn[SLIPS] = {0, ROLLOUTS_DIRECTIONS - 1, 1};
    m->states = map->height * map->width;
    m->actions = ground->actions;
    m->transitions = m->states * m->actions * SLIPS;
    if (rollouts_model_allocate(m, error))
        return error->code;
    int64_t k = 0;
    for (int64_t s = 0; s < m->states; s++) {
        m->ended[s] = rollouts_map_is_over(map->kind[s]);
        m->start[s] = !m->ended[s] && (map->restart < 0 || s == map->restart);
        for (int a = 0; a < (int)m->actions; a++) {
            const bool stays = a == ROLLOUTS_STAY;
            m->indptr[s * m->actions + a] = k;
            m->policy[s * m->actions + a] = 1 / (double)m->actions;
            for (int o = 0; o < SLIPS && (o == 0 || (ground->slip > 0 && !stays)); o++, k++) {
                const int direction = stays ? a : (a + turn[o]) % ROLLOUTS_DIRECTIONS;
                const struct sable_rollouts_outcome move = rollouts_map_move(map, s, direction);
                m->next[k] = move.next;
                m->reward[k] = move.reward;
                m->chance[k] = stays ? 1 : chance[o];
            }
        }
    }
    m->indptr[m->states * m->actions] = m->transitions = k;
    return rollouts_model_finish(m, error);
}

/* One letter a cell. */
static void letters_map(struct rollouts_map *map, const char *cells)
{
    for (int64_t s = 0; s < map->height * map->width; s++)
        map->kind[s] = cells[s] == 'H'   ? (uint8_t)SABLE_CELL_HOLE
                       : cells[s] == 'G' ? (uint8_t)SABLE_CELL_GOAL
                       : cells[s] == 'X' ? (uint8_t)SABLE_CELL_FORBIDDEN
                       : cells[s] == 'T' ? (uint8_t)SABLE_CELL_TARGET
                       : cells[s] == 'C' ? (uint8_t)ROLLOUTS_CLIFF
                                         : (uint8_t)SABLE_CELL_FREE;
}

/* ---- Which map ---- */

static const char lake4[] = "FFFFFHFHFFFHHFFG";
static const char lake8[] = "FFFFFFFFFFFFFFFFFFFHFFFFFFFFFHFFFFFHFFFFFHHFFFHFFHFFHFHFFFFHFFFG";
static const char book[] = "FFFFFFXXFFFFXFFFXTXFFXFFF";
static const char cliff[] = "FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFCCCCCCCCCCG";

static void ground_shape(const struct rollouts_environment *e, struct ground *ground)
{
    struct rollouts_map *map = &ground->map;
    *ground = (struct ground){
        .map = {.height = e->n, .width = e->n, .restart = -1}, .actions = ROLLOUTS_DIRECTIONS, .slip = e->slip};
    if (e->env == ENV_SEA)
        rollouts_map_sea_shape(map, e->n);
    else if (e->env == ENV_BOOK)
        map->height = map->width = 5, ground->actions = ROLLOUTS_DIRECTIONS + 1, ground->slip = 0;
    else if (e->env == ENV_FROZENLAKE4 || e->env == ENV_FROZENLAKE8)
        map->height = map->width = e->env == ENV_FROZENLAKE4 ? 4 : 8, ground->slip = 2.0 / 3, map->restart = 0;
    else if (e->env == ENV_CLIFF)
        map->height = CLIFF_ROWS, map->width = CLIFF_COLUMNS, ground->slip = 0, map->restart = CLIFF_START;
}

static int make_map(const struct rollouts_environment *e, struct sable_context *context, struct rollouts_model *m,
                    struct sable_error *error)
{
    static const struct sable_gridworld_densities share = {0.1, 0.1, 0.01, 0.01, 0};
    struct ground ground;
    struct rollouts_map *map = &ground.map;
    ground_shape(e, &ground);
    map->kind = sable_array(map->height, map->width, 1);
    if (!map->kind)
        return sable_fail(error, SABLE_ENVIRONMENT, "out of memory for a map of %lld x %lld cells",
                          (long long)map->height, (long long)map->width);
    map->rewards = (struct sable_gridworld_model){.boundary = -1, .forbidden = -1, .target = 1, .hole = -1};
    switch (e->env) {
    case ENV_SEA:
        rollouts_map_sea(map, error);
        break;
    case ENV_BOOK:
        letters_map(map, book);
        break;
    case ENV_FROZENLAKE4:
    case ENV_FROZENLAKE8:
        letters_map(map, e->env == ENV_FROZENLAKE4 ? lake4 : lake8);
        map->rewards = (struct sable_gridworld_model){.target = 1};
        break;
    case ENV_CLIFF:
        letters_map(map, cliff);
        map->rewards = (struct sable_gridworld_model){.boundary = -1, .other = -1, .target = -1, .hole = -100};
        break;
    default:
        rollouts_map_draw(map, context->seed, &share);
    }
    if (!error->code)
        map_model(&ground, m, error);
    sable_array_free(map->kind);
    return error->code;
}

/* ---- A walk in a line, fair, that ends beyond both ends and pays 1 at the right one (S & B, example 6.2) ---- */

static int make_walk(int64_t states, struct rollouts_model *m, struct sable_error *error)
{
    m->states = states, m->actions = 1, m->transitions = 2 * states;
    if (rollouts_model_allocate(m, error))
        return error->code;
    for (int64_t s = 0; s < states; s++) {
        m->indptr[s] = 2 * s;
        m->chance[2 * s] = m->chance[2 * s + 1] = 0.5;
        m->next[2 * s] = s - 1;
        m->next[2 * s + 1] = s + 1 < states ? s + 1 : -1;
        m->reward[2 * s] = 0;
        m->reward[2 * s + 1] = s + 1 == states;
        m->policy[s] = m->start[s] = 1;
    }
    m->indptr[states] = 2 * states;
    return rollouts_model_finish(m, error);
}

/* ---- Blackjack (S & B, example 5.1): infinite deck, the dealer stands on 17, naturals are no more than 21 ---- */

enum { CARDS = 10, LEAST_SUM = 12, BLACKJACK = 21, DEALER_STANDS = 17, RESULTS = 6, STICK = 0, HIT = 1 };
enum { BLACKJACK_STATES = (BLACKJACK - LEAST_SUM + 1) * CARDS * 2 };

static double card_chance(int card)
{
    return (card == CARDS ? 4 : 1) / 13.0;
}

static int64_t hand_state(int sum, int dealer, bool usable)
{
    return ((int64_t)(sum - LEAST_SUM) * CARDS + dealer - 1) * 2 + usable;
}

/* A card more: an ace counts 11 while that is no bust. */
static int draw_card(int sum, int card, bool *usable)
{
    bool eleven = card == 1 && sum + 11 <= BLACKJACK;
    sum += eleven ? 11 : card;
    *usable = *usable || eleven;
    if (sum > BLACKJACK && *usable) {
        sum -= 10;
        *usable = false;
    }
    return sum;
}

/* result[0 … 4]: chance that a dealer with this hand ends with 17 … 21; [5]: that he busts. */
static void dealer_ends(int sum, bool usable, double chance, double result[RESULTS])
{
    if (sum >= DEALER_STANDS) {
        result[sum > BLACKJACK ? RESULTS - 1 : sum - DEALER_STANDS] += chance;
        return;
    }
    for (int card = 1; card <= CARDS; card++) {
        bool soft = usable;
        int more = draw_card(sum, card, &soft);
        dealer_ends(more, soft, chance * card_chance(card), result);
    }
}

/* The first hand of 12 or more: below it everybody draws. */
static void deal_hand(int sum, bool usable, double chance, double *start)
{
    for (int card = 1; card <= CARDS; card++) {
        bool soft = usable;
        int more = draw_card(sum, card, &soft);
        double now = chance * card_chance(card);
        if (more < LEAST_SUM)
            deal_hand(more, soft, now, start);
        else
            for (int dealer = 1; dealer <= CARDS; dealer++)
                start[hand_state(more, dealer, soft)] += now * card_chance(dealer);
    }
}

static void put_outcome(struct rollouts_model *m, int64_t *k, int64_t next, double chance, double reward)
{
    if (chance <= 0)
        return;
    m->next[*k] = next;
    m->chance[*k] = chance;
    m->reward[(*k)++] = reward;
}

static void put_hand(struct rollouts_model *m, int sum, int dealer, bool usable, int64_t *k)
{
    double result[RESULTS] = {0}, pays[3] = {0}; /* −1, 0, 1 */
    int64_t row = hand_state(sum, dealer, usable) * 2;
    dealer_ends(dealer == 1 ? 11 : dealer, dealer == 1, 1, result);
    for (int i = 0; i < RESULTS; i++) {
        int total = i == RESULTS - 1 ? 0 : DEALER_STANDS + i;
        pays[sum > total ? 2 : sum == total ? 1 : 0] += result[i];
    }
    m->indptr[row + STICK] = *k;
    for (int i = 0; i < 3; i++)
        put_outcome(m, k, -1, pays[i], i - 1);
    m->indptr[row + HIT] = *k;
    for (int card = 1; card <= CARDS; card++) {
        bool soft = usable;
        int more = draw_card(sum, card, &soft);
        put_outcome(m, k, more > BLACKJACK ? -1 : hand_state(more, dealer, soft), card_chance(card),
                    more > BLACKJACK ? -1 : 0);
    }
    m->policy[row + (sum >= 20 ? STICK : HIT)] = 1;
}

static int make_blackjack(struct rollouts_model *m, struct sable_error *error)
{
    int64_t k = 0;
    m->states = BLACKJACK_STATES, m->actions = 2, m->transitions = BLACKJACK_STATES * (3 + CARDS);
    if (rollouts_model_allocate(m, error))
        return error->code;
    memset(m->policy, 0, (size_t)(m->states * m->actions) * sizeof *m->policy);
    memset(m->start, 0, (size_t)m->states * sizeof *m->start);
    deal_hand(0, false, 1, m->start);
    for (int sum = LEAST_SUM; sum <= BLACKJACK; sum++)
        for (int dealer = 1; dealer <= CARDS; dealer++)
            for (int usable = 0; usable < 2; usable++)
                put_hand(m, sum, dealer, usable, &k);
    m->indptr[m->states * m->actions] = m->transitions = k;
    return rollouts_model_finish(m, error);
}

/* ---- All of them ---- */

struct rollouts_environment_size rollouts_environment_size(const struct rollouts_environment *e)
{
    if (e->env == ENV_RANDOM_WALK)
        return (struct rollouts_environment_size){e->n, 1, 2 * e->n, 2};
    if (e->env == ENV_BLACKJACK)
        return (struct rollouts_environment_size){BLACKJACK_STATES, 2, BLACKJACK_STATES * (3 + CARDS), CARDS};
    struct ground ground;
    ground_shape(e, &ground);
    int64_t states = ground.map.height * ground.map.width, outcomes = ground.slip > 0 ? SLIPS : 1;
    return (struct rollouts_environment_size){states, ground.actions, states * ground.actions * outcomes, outcomes};
}

int rollouts_environment_check(const struct rollouts_environment *e, struct sable_error *error)
{
    if (e->env == ENV_GRIDWORLD && e->n > 4096)
        return sable_fail(error, SABLE_BAD_INPUT, "n=%lld: a gridworld has at most 4096 x 4096 cells here",
                          (long long)e->n);
    if (e->env == ENV_SEA && (e->n < 2 || e->n > ROLLOUTS_SEA_ROWS))
        return sable_fail(error, SABLE_BAD_INPUT, "n=%lld: the sea chart has 2 to %d rows here", (long long)e->n,
                          ROLLOUTS_SEA_ROWS);
    return SABLE_OK;
}

int rollouts_environment_make(const struct rollouts_environment *e, struct sable_context *context,
                              struct rollouts_model *m, struct sable_error *error)
{
    if (context->input)
        return rollouts_model_read(context->input, e->gamma, e->horizon, m, error);
    *m = (struct rollouts_model){.gamma = e->gamma, .horizon = e->horizon};
    strncpy(m->name, rollouts_environment_names[e->env], sizeof m->name - 1);
    if (e->env == ENV_RANDOM_WALK)
        return make_walk(e->n, m, error);
    if (e->env == ENV_BLACKJACK)
        return make_blackjack(m, error);
    return make_map(e, context, m, error);
}
