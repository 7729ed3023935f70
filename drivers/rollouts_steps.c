/* rollouts/steps: how many steps of an environment a machine plays: raw stepping of a gridworld under a policy, with
 * returns. It measures integer arithmetic (Philox), small look-ups and, on large maps, the caches. Mathematics, draws,
 * work model, parallel scheme: docs/rollouts.md. */
#include <stdlib.h>

#include "rollouts_steps.h"
#include "sable_array.h"

enum { MAP_DRAWN, MAP_SEA };
enum { ENV_GRID, ENV_ALIAS };

#define PARAM(field) offsetof(struct steps_params, field)
static const char *const maps[] = {"drawn", "sea", NULL};
static const char *const environments[] = {"grid", "alias", NULL};
static const char *const policies[] = {"eastward", "uniform", NULL};
static const struct sable_param parameters[] = {
    {"n", SABLE_INT, PARAM(n), "cells", 1, 46338, 0, 0, NULL, "64",
     "rows and columns of the map; of the sea chart at most so many rows"},
    {"episodes", SABLE_INT, PARAM(episodes), "", ROLLOUTS_LEAST_EPISODES, 1e15, 0, 0, NULL, "1000000",
     "episodes of a repetition"},
    {"horizon", SABLE_INT, PARAM(horizon), "steps", 4, 1048576, 0, 0, NULL, "256",
     "an episode is cut after so many: a multiple of 4"},
    {"map", SABLE_CHOICE, PARAM(map), "", 0, 0, 0, 0, maps, "drawn",
     "cells drawn by their shares, or the sea chart round the Earth: land blocks, Rotterdam is the goal"},
    {"env", SABLE_CHOICE, PARAM(env), "", 0, 0, 0, 0, environments, "grid",
     "storage of the map: 4 bytes a cell and 1 more if it is large, or the alias rows of any model, 64 bytes a cell"},
    {"policy", SABLE_CHOICE, PARAM(policy), "", 0, 0, 0, 0, policies, "eastward",
     "north, east, south, west in 3, 7, 4, 2 of 16 cases, or all alike"},
    {"gamma", SABLE_REAL, PARAM(gamma), "", 0, 1, 0, 0, NULL, "0.99", "discount"},
    {"slip", SABLE_REAL, PARAM(slip), "", 0, 1, 0, 0, NULL, "0.2", "chance that a move goes to one of its two sides"},
    {"obstacles", SABLE_REAL, PARAM(share.obstacles), "", 0, 1, 0, 0, NULL, "0.1",
     "share of cells that can't be entered"},
    {"forbidden", SABLE_REAL, PARAM(share.forbidden), "", 0, 1, 0, 0, NULL, "0.1", "share of cells with a penalty"},
    {"goals", SABLE_REAL, PARAM(share.goals), "", 0, 1, 0, 0, NULL, "0.01", "share of cells that end it with r_target"},
    {"holes", SABLE_REAL, PARAM(share.holes), "", 0, 1, 0, 0, NULL, "0.01", "share of cells that end it with r_hole"},
    {"targets", SABLE_REAL, PARAM(share.targets), "", 0, 1, 0, 0, NULL, "0.001",
     "share of cells paying r_target again and again"},
    {"r_boundary", SABLE_REAL, PARAM(rewards.boundary), "", -1000, 1000, 0, 0, NULL, "-1",
     "reward for running into something"},
    {"r_forbidden", SABLE_REAL, PARAM(rewards.forbidden), "", -1000, 1000, 0, 0, NULL, "-1",
     "reward for entering a forbidden cell"},
    {"r_target", SABLE_REAL, PARAM(rewards.target), "", -1000, 1000, 0, 0, NULL, "1",
     "reward for entering a target or goal"},
    {"r_hole", SABLE_REAL, PARAM(rewards.hole), "", -1000, 1000, 0, 0, NULL, "-1", "reward for falling into a hole"},
    {"r_other", SABLE_REAL, PARAM(rewards.other), "", -1000, 1000, 0, 0, NULL, "0", "reward for any other step"},
    ROLLOUTS_SHARING_PARAMETER(PARAM(sharing)),
    {0},
};

static const struct sable_class classes[] = {
    {"T", "n=13 episodes=7001 horizon=64"}, {"S", "n=64 episodes=1000000"},
    {"A", "n=1000 episodes=10000000"},      {"B", "n=1000 episodes=100000000"},
    {"C", "n=2000 episodes=1000000000"},    {"D", "n=2000 episodes=10000000000"},
    {"E", "n=4000 episodes=100000000000"},  {0}};
static const struct sable_growth weak[] = {{"episodes", 1}, {0}};
enum { PHASE_PLAY, PHASE_WAIT, PHASE_REDUCE };
static const char *const phases[] = {[PHASE_PLAY] = "play", [PHASE_WAIT] = "wait", [PHASE_REDUCE] = "reduce", NULL};
static const struct sable_fault faults[] = {ROLLOUTS_FAULTS, {0}};
static const struct sable_field outputs[] = {
    {"return_mean", "[1]", "mean return of an episode"},
    {"return_error", "[1]", "its standard error"},
    {"steps", "[1]", "of all episodes"},
    {"cut", "[1]", "episodes that the horizon ended"},
    {"lengths", "[32]", "episodes with a length in [2^b, 2^(b+1))"},
    {"sums", "[2, 11]", "exact: count, sum and squares of returns and of lengths in units of 2^-24, as 32-bit limbs"},
    ROLLOUTS_COUNTER_FIELD,
    {0},
};

static int check(const void *params, struct sable_layout layout, struct sable_error *error)
{
    (void)layout;
    const struct steps_params *p = params;
    double share = p->share.obstacles + p->share.forbidden + p->share.goals + p->share.holes + p->share.targets;
    if (!(share <= 1))
        return sable_fail(
            error, SABLE_BAD_INPUT,
            "obstacles + forbidden + goals + holes + targets = %g: the shares of cells add up to at most 1", share);
    if (p->map == MAP_SEA && (p->n < 2 || p->n > ROLLOUTS_SEA_ROWS))
        return sable_fail(error, SABLE_BAD_INPUT, "n=%lld: the sea chart has 2 to %d rows here", (long long)p->n,
                          ROLLOUTS_SEA_ROWS);
    if (p->horizon % 4 != 0)
        return sable_fail(error, SABLE_BAD_INPUT, "horizon=%lld is not a multiple of 4", (long long)p->horizon);
    if (p->env == ENV_ALIAS && p->n > 8191)
        return sable_fail(error, SABLE_BAD_INPUT, "n=%lld: env=alias holds at most 8191 x 8191 cells", (long long)p->n);
    return SABLE_OK;
}

/* Operations on lanes of 32 bits for a step, once words are drawn: of a grid two for the fraction and the slot, five
 * for the direction, three for the arrival and the move, four for the reward; of rows six for the entry and its side,
 * seven for what it says, four for the reward. */
enum { GRID_OPERATIONS = 14, LARGE_GRID_OPERATIONS = 18, ROWS_OPERATIONS = 17 };

static struct rollouts_map shape(const struct steps_params *p)
{
    struct rollouts_map map = {.height = p->n, .width = p->n, .rewards = p->rewards, .restart = -1};
    if (p->map == MAP_SEA)
        rollouts_map_sea_shape(&map, p->n);
    return map;
}

static void work(const void *params, struct sable_layout layout, const void *state, struct sable_work *work)
{
    const struct steps_params *p = params;
    const struct steps_state *s = state;
    const struct rollouts_map map = shape(p);
    const double cells = (double)map.height * (double)map.width;
    const double steps = s ? (double)rollouts_chunks_steps(&s->chunks) : 0;
    const bool large = sable_rollouts_grid_is_large(map.height, map.width);
    *work = (struct sable_work){
        .items = steps,
        .flops_fp64 = 3 * steps, /* fma(γ^t, r, G), γ^t·γ */
        .operations_int32 = ((double)ROLLOUTS_WORD_OPERATIONS + (p->env == ENV_ALIAS ? ROWS_OPERATIONS
                                                                 : large             ? LARGE_GRID_OPERATIONS
                                                                                     : GRID_OPERATIONS)) *
                            steps,
        .random_accesses = p->env == ENV_GRID && cells <= 32 ? 0 : steps,
        .working_set = cells * (p->env == ENV_ALIAS ? 64
                                : large             ? 1
                                                    : 4),
        .bytes_network = layout.ranks > 1 ? sizeof(struct sable_rollouts_totals) : 0,
        .messages = layout.ranks > 1 ? 1 : 0,
        /* kinds, rows, starts; alias rows and their starts; verification's eight fields; chunks */
        .memory = (double)sizeof *s + cells * (10 + (p->env == ENV_ALIAS ? 96 + 2 * 32 : 0) + 64) +
                  rollouts_chunks_memory(layout, p->sharing, p->episodes),
    };
}

static void free_state(void *state)
{
    struct steps_state *s = state;
    rollouts_chunks_free(&s->chunks);
    sable_array_free(s->map.kind);
    sable_rollouts_grid_free(&s->grid);
    sable_rollouts_rows_free(&s->rows);
    free(s);
}

/* ---- The model as probabilities: for alias rows, and for what must come out ---- */

enum { DIRECTIONS = ROLLOUTS_DIRECTIONS };

/* Chance of going in each direction, slips included. */
static void directions(const struct steps_params *p, double chance[DIRECTIONS])
{
    static const double slots[2][DIRECTIONS] = {{3, 7, 4, 2}, {4, 4, 4, 4}};
    for (int d = 0; d < DIRECTIONS; d++) {
        const double *policy = slots[p->policy];
        double sides = policy[(d + 1) % DIRECTIONS] + policy[(d + 3) % DIRECTIONS];
        chance[d] = ((1 - p->slip) * policy[d] + p->slip / 2 * sides) / SABLE_POLICY_SLOTS;
    }
}

int64_t steps_outcomes(const void *model, int64_t state, struct sable_rollouts_outcome *outcome)
{
    const struct steps_state *s = model;
    double chance[DIRECTIONS];
    if (rollouts_map_is_over(s->map.kind[state]))
        return 0;
    directions(&s->params, chance);
    for (int d = 0; d < DIRECTIONS; d++) {
        outcome[d] = rollouts_map_move(&s->map, state, d);
        outcome[d].probability = chance[d];
    }
    return DIRECTIONS;
}

int64_t steps_cells(const struct steps_state *s)
{
    return s->map.height * s->map.width;
}

/* ---- Setup and run ---- */

static bool make_rows(struct steps_state *s)
{
    int64_t cells = steps_cells(s);
    double *start = sable_array(cells, 1, sizeof *start);
    if (!start)
        return false;
    for (int64_t c = 0; c < cells; c++)
        start[c] = 0;
    for (int64_t k = 0; k < s->grid.starts; k++)
        start[sable_rollouts_cell(&s->grid, s->grid.start[k])] = 1;
    bool made = sable_rollouts_rows_make(s, steps_outcomes, cells, DIRECTIONS, s->params.gamma,
                                         (uint32_t)s->params.horizon, start, &s->rows);
    sable_array_free(start);
    return made;
}

static int make_map(struct steps_state *s, uint64_t seed, struct sable_error *error)
{
    const struct steps_params *p = &s->params;
    s->map = shape(p);
    s->map.kind = sable_array(s->map.height, s->map.width, 1);
    if (!s->map.kind)
        return sable_fail(error, SABLE_ENVIRONMENT, "rollouts/steps: out of memory for a map of %lld x %lld cells",
                          (long long)s->map.height, (long long)s->map.width);
    if (p->map == MAP_SEA)
        return rollouts_map_sea(&s->map, error);
    rollouts_map_draw(&s->map, seed, &p->share);
    return SABLE_OK;
}

static bool make_grid(struct steps_state *s)
{
    const struct steps_params *p = &s->params;
    const struct sable_rollouts_grid_rules rules = {
        .slip = p->slip,
        .gamma = p->gamma,
        .boundary = p->rewards.boundary,
        .forbidden = p->rewards.forbidden,
        .target = p->rewards.target,
        .hole = p->rewards.hole,
        .other = p->rewards.other,
        .policy = p->policy == 0 ? sable_rollouts_policy(3, 7, 4, 2) : sable_rollouts_policy(4, 4, 4, 4),
        .horizon = (uint32_t)p->horizon,
        .wraps = s->map.wraps,
    };
    return sable_rollouts_grid_make(s->map.kind, s->map.height, s->map.width, &rules, &s->grid);
}

static int setup(const void *params, struct sable_context *context, void **state, struct sable_error *error)
{
    struct steps_state *s = calloc(1, sizeof *s);
    if (!s)
        return sable_fail(error, SABLE_ENVIRONMENT, "rollouts/steps: out of memory");
    *state = s;
    s->params = *(const struct steps_params *)params;
    if (rollouts_chunks_make(&s->chunks, context, s->params.sharing, s->params.episodes, error))
        return error->code;
    if (make_map(s, context->seed, error))
        return error->code;
    if (!make_grid(s))
        return sable_fail(error, SABLE_ENVIRONMENT, "rollouts/steps: out of memory for a grid of %lld cells",
                          (long long)steps_cells(s));
    if (s->grid.starts == 0)
        return sable_fail(error, SABLE_BAD_INPUT,
                          "the map has no cell to start from: lower obstacles, goals or holes, or raise n");
    if (s->params.env == ENV_ALIAS && !make_rows(s))
        return sable_fail(error, SABLE_ENVIRONMENT, "rollouts/steps: out of memory for alias rows of %lld cells",
                          (long long)steps_cells(s));
    return SABLE_OK;
}

static int reset(void *state, struct sable_context *context, struct sable_error *error)
{
    (void)context;
    struct steps_state *s = state;
    s->totals = (struct sable_rollouts_totals){0};
    return rollouts_chunks_reset(&s->chunks, error);
}

struct method {
    sable_rollouts_play_on_grid *grid;
    sable_rollouts_play_on_rows *rows;
};
static const struct method textbook = {sable_rollouts_reference_grid, sable_rollouts_reference_rows};
static const struct method fast = {sable_rollouts_play_grid, sable_rollouts_play_rows};

static void play(const struct steps_state *s, const struct method *method, const struct sable_rollouts_share *share,
                 bool biased, struct sable_rollouts_totals *totals, struct sable_rollouts_chunk *chunk)
{
    struct sable_rollouts_grid grid = s->grid;
    struct sable_rollouts_rows rows = s->rows;
    if (biased) {
        grid.turn_right += 1u << 24;
        rows.gamma *= 1 - 1.0 / 16;
    }
    if (s->params.env == ENV_GRID)
        method->grid(&grid, share, totals, chunk);
    else
        method->rows(&rows, share, totals, chunk);
}

static int run(struct steps_state *s, struct sable_context *context, const struct method *method,
               struct sable_error *error)
{
    struct sable_rollouts_share share = rollouts_sharing_play(&s->chunks.sharing, context, &s->chunks.share);
    play(s, method, &share, context->fault == ROLLOUTS_BIASED_MODEL, &s->totals, s->chunks.chunk);
    if (context->fault == ROLLOUTS_FLIP_BIT && context->layout.rank == 0)
        s->totals.returns.sum[0] ^= 1 << 20;
    rollouts_sharing_check(&s->chunks.sharing, error);
    sable_phase(context, PHASE_WAIT);
    if (sable_agree(context->comm, error))
        return error->code;
    sable_phase(context, PHASE_REDUCE);
    if (rollouts_sum(context, (int64_t *)&s->totals, SABLE_TOTALS_WORDS, error))
        return error->code;
    sable_rollouts_totals_carry(&s->totals);
    return SABLE_OK;
}

static int run_reference(void *state, struct sable_context *context, struct sable_error *error)
{
    return run(state, context, &textbook, error);
}

static int run_sable(void *state, struct sable_context *context, struct sable_error *error)
{
    return run(state, context, &fast, error);
}

bool steps_replay(void *state, const struct sable_rollouts_share *one, struct sable_rollouts_chunk *chunk)
{
    struct sable_rollouts_totals totals = {0};
    play(state, &textbook, one, false, &totals, chunk);
    return true;
}

static const struct sable_variant variants[] = {
    {"reference", "episode after episode, one thread a rank", run_reference},
    {"sable", "32 episodes in SIMD lanes, refilled as they end, all threads; the same bits", run_sable},
    {0},
};

const struct sable_workload sable_rollouts_steps = {
    .name = "rollouts/steps",
    .summary = "environment steps under a policy, with exact sums of returns",
    .source = "Sutton & Barto, Reinforcement Learning (2018), ch. 5; Salmon et al., SC11",
    .fom = {"steps", "Gstep/s", 1e9},
    .params_size = sizeof(struct steps_params),
    .params = parameters,
    .classes = classes,
    .weak = weak,
    .variants = variants,
    .phases = phases,
    .faults = faults,
    .outputs = outputs,
    .layout_invariant = true,
    .check = check,
    .work = work,
    .setup = setup,
    .reset = reset,
    .verify = steps_verify,
    .output = steps_output,
    .free = free_state,
};
