/* Monte Carlo rollouts: many episodes of a finite Markov decision process under a policy, what one rank computes.
 *
 *   s₀ ~ start,   (s_{t+1}, r_t, end) ~ row s_t,   G = Σ_t γ^t r_t
 *
 * An episode is a pure function of (seed, its id): step t draws word t mod 4 of Philox4x32-10 at the counter
 * (episode low, episode high, t div 4, purpose). SIMD lanes hold episodes; a lane whose episode has ended takes the
 * next one, so that who plays which episode, and when, depends on the layout, and nothing else does.
 *
 * What episodes contribute is quantised to 2⁻²⁴ and added as integers: exact, hence the same in any order, by any
 * thread, lane or rank. Mathematics, layouts, bias: docs/rollouts.md. Source: R. Sutton & A. Barto, Reinforcement
 * Learning (2018), ch. 5; J. Salmon et al., SC11 (Philox); A. Walker, ACM TOMS 3 (1977) (alias tables). */
#ifndef SABLE_ROLLOUTS_H
#define SABLE_ROLLOUTS_H

#include <math.h>
#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Purposes of draws: word 3 of the counter. Frozen (docs/determinism.md). */
enum sable_rollouts_purpose {
    SABLE_ROLLOUTS_STEP = 0x726f, /* "ro": subindex = t div 4, word t mod 4 */
    SABLE_ROLLOUTS_START = 0x7273 /* "rs": subindex 0, words 0 (high) and 1 (low): where the episode starts */
};

/* ---- Exact sums ---- */

/* A sum of integers as base-2³² limbs, lowest first: value = Σ limb[i]·2^{32i}. After sable_exact_carry() all but the
 * highest lie in [0, 2³²), so that up to 2³¹ of them can be added limb by limb (MPI_SUM) and carried again. */
enum { SABLE_EXACT_SUM = 4, SABLE_EXACT_SQUARES = 6 };
#define SABLE_QUANTUM 0x1p-24 /* of a return */

/* Σ q, Σ q² and how many, of quantised returns q. */
struct sable_exact_moments {
    int64_t count;
    int64_t sum[SABLE_EXACT_SUM];
    int64_t squares[SABLE_EXACT_SQUARES];
};
enum { SABLE_EXACT_WORDS = sizeof(struct sable_exact_moments) / sizeof(int64_t) };

/* Nearest multiple of the quantum, ties to even; |value| < 2³⁸. */
static inline int64_t sable_exact_quantise(double value)
{
    return llrint(value * (1 / SABLE_QUANTUM));
}
void sable_exact_carry(int64_t *limb, int limbs);
/* total += part; both are carried. */
void sable_exact_add(struct sable_exact_moments *total, const struct sable_exact_moments *part);
void sable_exact_add_value(struct sable_exact_moments *total, int64_t quantised);
/* Of carried moments. The variance is the unbiased one (0 below two values); its numerator is exact, so that values
 * that are all equal have variance 0 exactly. NaN without values. */
double sable_exact_mean(const struct sable_exact_moments *moments);
double sable_exact_variance(const struct sable_exact_moments *moments);
/* Σ of the values' squares, in units of 1; 0 without values. */
double sable_exact_squares(const struct sable_exact_moments *moments);

__extension__ typedef __int128 sable_int128;
__extension__ typedef unsigned __int128 sable_uint128;

/* Running sums of one accumulator that need no carries. */
struct sable_tally {
    int64_t count;
    sable_int128 sum;
    sable_uint128 squares_low, squares_high; /* of the halves of q²: its low 64 bits, and the rest */
};

static inline void sable_tally_add(struct sable_tally *tally, int64_t quantised)
{
    uint64_t size = quantised < 0 ? -(uint64_t)quantised : (uint64_t)quantised;
    sable_uint128 square = (sable_uint128)size * size;
    tally->count++;
    tally->sum += quantised;
    tally->squares_low += (uint64_t)square;
    tally->squares_high += (uint64_t)(square >> 64);
}

/* moments += tally, carried. */
void sable_tally_flush(const struct sable_tally *tally, struct sable_exact_moments *moments);

/* The same in one cache line, for tallies of many states: a vector's worth of digits, to which the digits of a value
 * are added one by one, without a carry. Below 2³³ each, they must be flushed before SABLE_DIGITS_MOST values. Small
 * values, |q| < 2³², have digits in the first half alone. */
struct sable_digits {
    _Alignas(64) int64_t count;
    int64_t sum, squares, squares_32; /* in units of 1, 1, 2³² */
    int64_t sum_32, squares_64, squares_96;
    int64_t none;
};
#define SABLE_DIGITS_MOST (INT64_C(1) << 29)

static inline void sable_digits_add(struct sable_digits *digits, int64_t quantised)
{
    const uint64_t size = quantised < 0 ? -(uint64_t)quantised : (uint64_t)quantised;
    const uint64_t low = size & UINT32_MAX, high = size >> 32; /* high < 2³⁰ */
    const uint64_t first = low * low, cross = 2 * low * high, last = high * high;
    digits->count++;
    digits->sum += quantised & UINT32_MAX;
    digits->sum_32 += quantised >> 32;
    digits->squares += (int64_t)(first & UINT32_MAX);
    digits->squares_32 += (int64_t)((first >> 32) + (cross & UINT32_MAX));
    digits->squares_64 += (int64_t)((cross >> 32) + (last & UINT32_MAX));
    digits->squares_96 += (int64_t)(last >> 32);
}
/* moments += digits, carried; the digits are 0 then. */
void sable_digits_flush(struct sable_digits *digits, struct sable_exact_moments *moments);

/* ---- Environments ---- */

/* A grid of height × width cells under a policy that is the same in all cells: 4 bytes a cell, byte d for a move in
 * direction d (0 north, 1 east, 2 south, 3 west). The draw's four top bits choose one of 16 slots of the policy, which
 * holds the action; its low 28 bits f turn that to the left if f < turn_left, else to the right if f < turn_right.
 * Kinds of cells and rewards: sable_gridworld.h. The four low bits of a byte say where the move leads, so that one
 * look-up in 16 offsets takes it. */
enum {
    SABLE_ARRIVAL_DIRECTION = 3, /* d itself */
    SABLE_ARRIVAL_MOVES = 4,     /* to the neighbour; else the agent stays */
    SABLE_ARRIVAL_WRAPS = 8,     /* and over the eastern or western edge, to the other end of the row */
    SABLE_ARRIVAL_PAYS = 4,      /* the shift of which of reward[8] is paid */
    SABLE_ARRIVAL_REWARD = 7 << SABLE_ARRIVAL_PAYS, /* all of its bits: the episode had ended before, not a step */
    SABLE_ARRIVAL_ENDS = 128                        /* the episode ends with this move, or had ended before */
};
static inline bool sable_rollouts_after_end(uint32_t arrival)
{
    return (arrival & SABLE_ARRIVAL_REWARD) == SABLE_ARRIVAL_REWARD;
}
struct sable_rollouts_grid {
    int64_t height, width;
    int64_t stride, origin; /* cell (r, c) is at place origin + r·stride + c */
    bool wraps;             /* the westernmost column is east of the easternmost; width ≥ 3 */
    uint32_t *row;          /* [places] */
    /* [places] Large grids have a border of one cell, and for level v4 a second table, a quarter the size: what a move
     * into a place means, without its direction. Else NULL. */
    uint8_t *into;
    double reward[8];
    double gamma;
    uint32_t policy;                /* slot k: bits 2k and 2k + 1 */
    uint32_t turn_left, turn_right; /* ≤ 2²⁸ */
    uint32_t horizon;               /* steps, a multiple of 4; then an episode is cut */
    uint32_t *start;                /* [starts] places where episodes start, each equally likely */
    int64_t starts;
};
/* Are the rows larger than second-level caches? From a megabyte on the second table pays. */
static inline bool sable_rollouts_grid_is_large(int64_t height, int64_t width)
{
    return height > (1 << 18) / width;
}
/* The cell at a place, r·width + c. */
static inline int64_t sable_rollouts_cell(const struct sable_rollouts_grid *grid, uint32_t place)
{
    const int64_t r = (place - grid->origin) / grid->stride;
    return r * grid->width + (place - grid->origin) % grid->stride;
}

/* A finite chain under a policy with alias rows: 2^bits entries a state. The draw's top bits choose the entry, the rest
 * (shifted up) is compared with its threshold and chooses one of its two outcomes. */
#define SABLE_ROW_END (UINT32_C(1) << 31) /* in `next`: the episode ends with this step */
struct sable_rollouts_entry {
    uint32_t threshold; /* outcome 0 if the fraction is below */
    uint32_t next[2];   /* state; | SABLE_ROW_END */
    uint16_t reward[2]; /* which of the table's; unused if it is by outcome */
};
struct sable_rollouts_rows {
    int64_t states; /* < 2³¹; the last one, states − 1, is where ended episodes stay */
    int bits;
    struct sable_rollouts_entry *entry; /* [states << bits] */
    /* All different rewards; or, if they are more than 2¹⁶, one for each outcome: entry·2 + side. */
    double *reward;
    int64_t rewards;
    bool by_outcome;
    double gamma;
    uint32_t horizon;
    struct sable_rollouts_entry *start; /* [1 << start_bits], rewards unused */
    int start_bits;
};
enum { SABLE_ROLLOUTS_MAX_ENTRIES = 1 << 28, SABLE_ROLLOUTS_MAX_REWARDS = 1 << 16 };

/* The reward of outcome = entry·2 + side. */
static inline double sable_rollouts_reward(const struct sable_rollouts_rows *rows, uint32_t outcome)
{
    return rows->reward[rows->by_outcome ? outcome : rows->entry[outcome >> 1].reward[outcome & 1]];
}

/* What a cell's kind means (enum sable_gridworld_kind), with the rewards of value_iteration's gridworld. */
struct sable_rollouts_grid_rules {
    double slip, gamma, boundary, forbidden, target, hole, other;
    uint32_t policy, horizon;
    bool wraps;
};
enum { SABLE_POLICY_SLOTS = 16 };
/* The policy that goes north, east, south, west in so many of the 16 slots. */
uint32_t sable_rollouts_policy(int north, int east, int south, int west);
/* The rows of a grid of kinds [height·width], all of whose cells but obstacles, goals and holes are starts. `grid` is
 * freed by sable_rollouts_grid_free() in any case. False if memory is short. */
bool sable_rollouts_grid_make(const uint8_t *kind, int64_t height, int64_t width,
                              const struct sable_rollouts_grid_rules *rules, struct sable_rollouts_grid *grid);
void sable_rollouts_grid_free(struct sable_rollouts_grid *grid);

/* A weighted outcome of a state. */
struct sable_rollouts_outcome {
    double probability, reward;
    int64_t next; /* −1: the episode ends */
};
/* Outcomes of a state, at most `room` (never more are needed: the caller knows the model); returns how many. */
typedef int64_t sable_rollouts_outcomes(const void *model, int64_t state, struct sable_rollouts_outcome *outcome);

/* Alias rows (Walker; Vose's construction, deterministic) of the outcomes of states 0 … states − 1, and a start table
 * of the weights start[states]. One more state is added: the end. Probabilities are rounded to 2^−(32 − bits) of an
 * entry, 2⁻³² in all. `rows` is freed by sable_rollouts_rows_free() in any case. False if memory is short or there are
 * more than SABLE_ROLLOUTS_MAX_ENTRIES. */
bool sable_rollouts_rows_make(const void *model, sable_rollouts_outcomes *outcomes, int64_t states,
                              int64_t most_outcomes, double gamma, uint32_t horizon, const double *start,
                              struct sable_rollouts_rows *rows);
void sable_rollouts_rows_free(struct sable_rollouts_rows *rows);
/* Bits of a row that holds `most_outcomes`. */
int sable_rollouts_row_bits(int64_t most_outcomes);

/* ---- Playing episodes ---- */

enum { SABLE_CHUNK = 1024, SABLE_LENGTH_BINS = 32 }; /* episodes dealt out together; bin b: lengths in [2^b, 2^{b+1}) */

/* The chunks first, first + stride, …: `count` of them; chunk c holds episodes [c·SABLE_CHUNK, (c+1)·SABLE_CHUNK) below
 * `episodes`. */
struct sable_rollouts_share {
    uint64_t seed;
    int64_t episodes, first, stride, count;
    bool repeat_counters; /* a fault for tests: all chunks draw as chunk 0 does */
    /* Where chunks come from if they are not all to be played: the index of the next one, −1 at the end. Called by any
     * thread. NULL: indices 0 … count − 1. */
    int64_t (*take)(void *taker);
    void *taker;
};

/* What a share of episodes came to; all of it is exact. */
struct sable_rollouts_totals {
    struct sable_exact_moments returns, lengths; /* a length is quantised as a return is */
    int64_t steps, cut;                          /* how many steps, and how many episodes were cut at the horizon */
    int64_t histogram[SABLE_LENGTH_BINS];        /* of lengths */
};
enum { SABLE_TOTALS_WORDS = sizeof(struct sable_rollouts_totals) / sizeof(int64_t) };

/* Carries after a sum over ranks, limb by limb. */
void sable_rollouts_totals_carry(struct sable_rollouts_totals *totals);

/* For each chunk of a share, in its order: Σ q modulo 2⁶⁴ and the steps, to be compared with a replay. */
struct sable_rollouts_chunk {
    uint64_t sum;
    int64_t steps;
};

/* totals += what the share's episodes gave; chunk[count]. By all threads. Bit for bit the same at every SIMD level. */
typedef void sable_rollouts_play_on_grid(const struct sable_rollouts_grid *grid,
                                         const struct sable_rollouts_share *share, struct sable_rollouts_totals *totals,
                                         struct sable_rollouts_chunk *chunk);
typedef void sable_rollouts_play_on_rows(const struct sable_rollouts_rows *rows,
                                         const struct sable_rollouts_share *share, struct sable_rollouts_totals *totals,
                                         struct sable_rollouts_chunk *chunk);
sable_rollouts_play_on_grid sable_rollouts_play_grid;
sable_rollouts_play_on_rows sable_rollouts_play_rows;
/* The same by the textbook: episode after episode, one thread. */
sable_rollouts_play_on_grid sable_rollouts_reference_grid;
sable_rollouts_play_on_rows sable_rollouts_reference_rows;

/* ---- Prediction: the value of every state ---- */

/* Of one state: the returns that followed its visits (the first of each episode, or every one), and those of the
 * episodes that started there, which are i.i.d. also where episodes are cut. */
struct sable_rollouts_values {
    struct sable_exact_moments visits, starts;
};
enum { SABLE_VALUES_WORDS = sizeof(struct sable_rollouts_values) / sizeof(int64_t), SABLE_MAX_PREDICTED = 65536 };

/* Which visits of a state count; with START none but that of the episode's start, in `starts`. */
enum sable_rollouts_visits { SABLE_VISITS_FIRST, SABLE_VISITS_EVERY, SABLE_VISITS_START };

/* values[states − 1] += what the share's episodes gave (Sutton & Barto, §5.1); chunk[count]: Σ q (2 s + 1) over counted
 * visits modulo 2⁶⁴, and the steps. rows->horizon ≤ SABLE_MAX_PREDICTED. `cut` counts the episodes that the horizon
 * ended. False if memory is short. `predict` is by all threads, in lanes; both give the same bits. */
typedef bool sable_rollouts_predictor(const struct sable_rollouts_rows *rows, const struct sable_rollouts_share *share,
                                      enum sable_rollouts_visits visits, struct sable_rollouts_values *values,
                                      int64_t *cut, struct sable_rollouts_chunk *chunk);
sable_rollouts_predictor sable_rollouts_predict;
sable_rollouts_predictor sable_rollouts_reference_predict;
/* Bytes that `predict` needs for itself. */
double sable_rollouts_predict_memory(int64_t states, int64_t horizon, int threads);

/* ---- Control: pairs of a state and an action as the states of a chain ----
 *
 * Under a policy π, x = (s, a) ↦ (s′, a′) with P(s′ | s, a) π(a′ | s′) is a finite chain of S·A states, pair s·A + a,
 * whose value is q^π: what plays and predicts chains estimates q, one draw a step for the move and the next action. */
struct sable_rollouts_process {
    int64_t states, actions;
    const int64_t *indptr; /* [states·actions + 1]; an unavailable action has no transitions */
    const int64_t *next;   /* [transitions]; −1: the episode ends */
    const double *chance, *reward;
    const uint8_t *ended; /* [states] nothing starts or happens there */
    double gamma;
    int64_t horizon;
};
struct sable_rollouts_pairs {
    const struct sable_rollouts_process *process;
    const double *policy; /* [states × actions] */
};
sable_rollouts_outcomes sable_rollouts_pair_outcomes; /* of a struct sable_rollouts_pairs */
/* The most outcomes of a pair under any policy that takes up to `width` actions of a state. */
int64_t sable_rollouts_pair_width(const struct sable_rollouts_process *process, int64_t width);
static inline bool sable_rollouts_available(const struct sable_rollouts_process *process, int64_t pair)
{
    return !process->ended[pair / process->actions] && process->indptr[pair + 1] > process->indptr[pair];
}
/* policy[actions] of a state: ε spread over its available actions, the rest on `action`; all alike if action < 0. */
void sable_rollouts_soft_policy(const struct sable_rollouts_process *process, int64_t state, int64_t action,
                                double epsilon, double *policy);
/* The best available action of known estimates q[actions] (NaN: unknown), of equal ones the first; −1: none. */
int64_t sable_rollouts_best_action(const struct sable_rollouts_process *process, int64_t state, const double *q);
/* value[states]: what no ε-soft policy can surpass in `horizon` steps, by backward induction (Puterman 1994, §4.5),
 *
 *   v(s) ← (1 − ε) max_a q(s, a) + ε mean_a q(s, a),   q(s, a) = Σ p (r + γ v(s′)).
 *
 * False if memory is short. */
bool sable_rollouts_optimum(const struct sable_rollouts_process *process, double epsilon, double *value);

/* ---- Off-policy prediction: importance sampling (Sutton & Barto, §5.5) ----
 *
 * Episodes of the pairs' chain under a behaviour b; a visit of s at time t has the return G and the weight
 * W = Π_{k ≥ t} ratio(s_k, a_k), ratio = π/b. */
struct sable_rollouts_ratios {
    const double *ratio; /* [pairs] */
    int64_t actions;
};
/* Of one state: W·G, W, and W·G + W, whose squares give Σ W² G = (Σ(WG + W)² − Σ(WG)² − ΣW²)/2. */
struct sable_rollouts_weighted {
    struct sable_exact_moments product, weight, both;
};
enum { SABLE_WEIGHTED_WORDS = sizeof(struct sable_rollouts_weighted) / sizeof(int64_t) };
#define SABLE_MOST_WEIGHT 0x1p36 /* of |W| and |W G|: beyond they are taken for it, and counted as saturated */
struct sable_rollouts_lost {
    int64_t cut, saturated;
};
/* weighted[states] += …; otherwise as predictors; visits: FIRST or START. */
typedef bool sable_rollouts_off_policy(const struct sable_rollouts_rows *rows, const struct sable_rollouts_share *share,
                                       const struct sable_rollouts_ratios *ratios, enum sable_rollouts_visits visits,
                                       struct sable_rollouts_weighted *weighted, struct sable_rollouts_lost *lost,
                                       struct sable_rollouts_chunk *chunk);
sable_rollouts_off_policy sable_rollouts_weigh;
sable_rollouts_off_policy sable_rollouts_reference_weigh;
/* What must come out of an episode that starts in s: v = E[W G], and E[W²], E[W² G], E[W² G²], by the recursion with
 * W = ratio·W′, G = r + γ G′. All [states]; `behaviour` [states × actions]. False if memory is short. */
struct sable_rollouts_weights_expected {
    double *value, *weight_square, *cross, *product_square;
};
bool sable_rollouts_expect_weights(const struct sable_rollouts_process *process, const double *behaviour,
                                   const double *ratio, struct sable_rollouts_weights_expected *expected);
void sable_rollouts_weights_expected_free(struct sable_rollouts_weights_expected *expected);

/* A bulk draw of Philox4x32-10 in lanes: words[4][SABLE_DRAW_LANES] of the
 * counters (low[l], high[l], block[l], purpose). */
enum { SABLE_DRAW_LANES = 32 };
void sable_rollouts_draw(uint64_t seed, uint32_t purpose, const uint32_t *low, const uint32_t *high,
                         const uint32_t *block, uint32_t *words);

/* ---- What must come out ---- */

/* Per state: mean and second moment of the return and of the length of an episode that starts there, cut after
 * `horizon` steps: the exact backward recursion
 *
 *   v ← Σ p (r + γ v′),   w ← Σ p (r² + 2 r γ v′ + γ² w′)    (Sobel, J. Appl. Prob. 19, 1982)
 *
 * `horizon` times, or until nothing changes any more. */
struct sable_rollouts_expected {
    double *value, *square, *length, *length_square; /* [states] */
};
bool sable_rollouts_expect(const void *model, sable_rollouts_outcomes *outcomes, int64_t states, int64_t most_outcomes,
                           double gamma, int64_t horizon, struct sable_rollouts_expected *expected);
void sable_rollouts_expected_free(struct sable_rollouts_expected *expected);

#ifdef __cplusplus
}
#endif
#endif
