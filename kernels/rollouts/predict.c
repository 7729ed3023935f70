/* Monte Carlo prediction. Going back from an episode's end,
 *
 *   G ← r_t + γ G,   values[s_t] += G   if this is a visit that counts   (Sutton & Barto 2018, §5.1)
 *
 * Lanes play (walk_lanes.isa.c) and leave a trace each: which outcome they took in each step. When an episode ends, its
 * trace is read forwards, to mark first visits, and backwards, for the returns. A return is added to its
 * state's tally as an integer: exact, in any order. Bound by these scattered updates, of one cache line a visit. Each
 * thread has tallies of its own; they are added up in the end, each state by one thread. */
#include "predict.h"

#include <string.h>
#include <omp.h>

#include "sable_array.h"
#include "sable_random.h"

/* What every thread's predictor is made after. */
struct prediction {
    const struct sable_rollouts_rows *rows;
    const struct sable_rollouts_share *share;
    enum sable_rollouts_visits visits;
    const struct sable_rollouts_ratios *ratios; /* NULL: on-policy, of the chain's own states */
    int64_t states;
    int tallies;
};

static struct prediction off_policy(const struct sable_rollouts_rows *rows, const struct sable_rollouts_share *share,
                                    const struct sable_rollouts_ratios *ratios, enum sable_rollouts_visits visits)
{
    return (struct prediction){rows, share, visits, ratios, (rows->states - 1) / ratios->actions, WEIGHT_TALLIES};
}

/* Words of a lane's trace: some can be read, and a block written, beyond the horizon. An odd number of cache lines,
 * lest all lanes stand in the same sets. */
static int64_t stride_of(int64_t horizon)
{
    enum { LINE = 16, MORE = 8 };
    return ((horizon + STEPS + MORE) / LINE + 1) / 2 * 2 * LINE + LINE;
}

static bool predictor_make(const struct prediction *prediction, int64_t lanes, count_path_function *count_path,
                           struct predictor *p)
{
    const int64_t states = prediction->states, stride = stride_of(prediction->rows->horizon);
    *p = (struct predictor){.rows = prediction->rows,
                            .count_path = count_path,
                            .visits = prediction->visits,
                            .ratios = prediction->ratios,
                            .states = states,
                            .tallies = prediction->tallies,
                            .tally = sable_array(states, prediction->tallies, sizeof *p->tally),
                            .seen = sable_array(states, 1, sizeof *p->seen),
                            .trace = {sable_array(lanes, stride, sizeof *p->path), stride}};
    p->path = p->trace.outcome;
    if (!p->tally || !p->seen || !p->trace.outcome)
        return false;
    memset(p->tally, 0, (size_t)(states * prediction->tallies) * sizeof *p->tally);
    memset(p->seen, 0, (size_t)states * sizeof *p->seen);
    return true;
}

static void predictor_free(struct predictor *p)
{
    sable_array_free(p->tally);
    sable_array_free(p->seen);
    sable_array_free(p->trace.outcome);
}

double sable_rollouts_predict_memory(int64_t states, int64_t horizon, int threads)
{
    return threads * ((double)(states + 1) * (WEIGHT_TALLIES * sizeof(struct sable_digits) + sizeof(uint32_t)) +
                      (double)stride_of(horizon) * LANES * sizeof(uint32_t));
}

/* moments[states × tallies] += the predictor's tallies of one state. */
static void flush_state(const struct predictor *p, int64_t state, struct sable_exact_moments *moments)
{
    for (int64_t k = state * p->tallies; p->tally && k < (state + 1) * p->tallies; k++)
        sable_digits_flush(&p->tally[k], &moments[k]);
}

/* Before digits could overflow by an episode more. Threads take turns. */
static void flush_in_time(struct predictor *p, struct sable_exact_moments *moments)
{
    p->unflushed += p->rows->horizon + 1;
    if (p->unflushed <= SABLE_DIGITS_MOST)
        return;
#pragma omp critical(sable_rollouts_moments)
    for (int64_t s = 0; s < p->states; s++)
        flush_state(p, s, moments);
    p->unflushed = p->rows->horizon + 1;
}

/* The lane's episode has ended. */
static void count_lane(struct predictor *p, const struct walk_lanes *lanes, int lane,
                       struct sable_rollouts_chunk *chunk)
{
    int64_t horizon = p->rows->horizon, length = lanes->length[lane] < horizon ? lanes->length[lane] : horizon;
    p->path = p->trace.outcome + lane * p->trace.stride;
    p->lost.cut += lanes->state[lane] != (uint32_t)(p->rows->states - 1) || lanes->length[lane] > horizon;
    p->count_path(p, length, chunk);
}

/* Threads keep what their lanes come to by themselves until a chunk is over: neighbours in `chunk` share cache lines.
 */
static void predict_lanes(struct dealer *dealer, struct predictor *p, struct sable_exact_moments *moments,
                          struct sable_rollouts_chunk *chunk)
{
    advance_rows_function *advance = SABLE_ISA_PICK(rollouts_advance_rows);
    struct walk_lanes lanes;
    struct sable_rollouts_chunk part[LANES] = {{0, 0}};
    _Alignas(64) uint32_t words[4 * LANES];
    uint32_t playing = sable_walk_begin(dealer, &lanes);
    while (playing) {
        dealer->walk->draw(dealer->share->seed, SABLE_ROLLOUTS_STEP, lanes.low, lanes.high, lanes.block, words);
        for (uint32_t ended = advance(p->rows, &lanes, words, &p->trace) & playing; ended; ended &= ended - 1) {
            int l = __builtin_ctz(ended);
            flush_in_time(p, moments);
            count_lane(p, &lanes, l, &part[l]);
            const int64_t played = dealer->chunk_of_lane[l];
            const bool more = sable_walk_deal(dealer, &lanes, l);
            if (!more)
                playing &= ~(UINT32_C(1) << l);
            if (!more || dealer->chunk_of_lane[l] != played) {
                chunk[played].sum += part[l].sum;
                chunk[played].steps += part[l].steps;
                part[l] = (struct sable_rollouts_chunk){0, 0};
            }
        }
    }
}

static bool predict(const struct prediction *prediction, struct sable_exact_moments *moments,
                    struct sable_rollouts_lost *lost, struct sable_rollouts_chunk *chunk)
{
    const struct sable_rollouts_rows *rows = prediction->rows;
    const struct walk walk = {
        .rows = rows, .draw = SABLE_ISA_PICK(rollouts_draw_lanes), .resting = (uint32_t)(rows->states - 1)};
    count_path_function *count_path =
        prediction->ratios ? SABLE_ISA_PICK(rollouts_count_weighted) : SABLE_ISA_PICK(rollouts_count_path_lanes);
    const int threads = omp_get_max_threads();
    const struct predictor **all = sable_array(threads, 1, sizeof(struct predictor *));
    int64_t taken = 0, cut = 0, saturated = 0;
    bool good = all != NULL;
    if (!good)
        return false;
    memset(chunk, 0, (size_t)prediction->share->count * sizeof *chunk);
#pragma omp parallel num_threads(threads) reduction(&& : good) reduction(+ : cut, saturated)
    {
        struct predictor own; /* of the thread's stack: no other writes to its cache lines */
        struct dealer dealer = {.walk = &walk, .share = prediction->share, .taken = &taken};
        good = predictor_make(prediction, LANES, count_path, &own);
        all[omp_get_thread_num()] = &own;
        if (good)
            predict_lanes(&dealer, &own, moments, chunk);
        cut += own.lost.cut;
        saturated += own.lost.saturated;
#pragma omp barrier
#pragma omp for schedule(static)
        for (int64_t s = 0; s < prediction->states; s++)
            for (int k = 0; k < omp_get_num_threads(); k++)
                flush_state(all[k], s, moments);
        predictor_free(&own);
    }
    sable_array_free(all);
    lost->cut += cut;
    lost->saturated += saturated;
    return good;
}

_Static_assert(SABLE_VALUES_WORDS == (int)VALUE_TALLIES * (int)SABLE_EXACT_WORDS, "values are tallies' moments");
_Static_assert(SABLE_WEIGHTED_WORDS == (int)WEIGHT_TALLIES * (int)SABLE_EXACT_WORDS, "weights are tallies' moments");

bool sable_rollouts_predict(const struct sable_rollouts_rows *rows, const struct sable_rollouts_share *share,
                            enum sable_rollouts_visits visits, struct sable_rollouts_values *values, int64_t *cut,
                            struct sable_rollouts_chunk *chunk)
{
    const struct prediction prediction = {rows, share, visits, NULL, rows->states - 1, VALUE_TALLIES};
    struct sable_rollouts_lost lost = {0};
    bool good = predict(&prediction, (struct sable_exact_moments *)values, &lost, chunk);
    *cut += lost.cut;
    return good;
}

bool sable_rollouts_weigh(const struct sable_rollouts_rows *rows, const struct sable_rollouts_share *share,
                          const struct sable_rollouts_ratios *ratios, enum sable_rollouts_visits visits,
                          struct sable_rollouts_weighted *weighted, struct sable_rollouts_lost *lost,
                          struct sable_rollouts_chunk *chunk)
{
    const struct prediction prediction = off_policy(rows, share, ratios, visits);
    return predict(&prediction, (struct sable_exact_moments *)weighted, lost, chunk);
}

/* ---- The textbook's ---- */

/* Plays one episode; its outcomes go to path. Returns its length. */
static int64_t play_path(struct predictor *p, const struct walk *walk, uint64_t seed, int64_t id)
{
    const struct sable_rollouts_rows *rows = p->rows;
    struct sable_random_block drawn = sable_random(seed, SABLE_ROLLOUTS_START, (uint64_t)id, 0);
    uint64_t state = sable_walk_start(walk, drawn.word[0], drawn.word[1]);
    for (int64_t t = 0; t < rows->horizon; t++) {
        uint64_t word = sable_random(seed, SABLE_ROLLOUTS_STEP, (uint64_t)id, (uint32_t)(t / STEPS)).word[t % STEPS];
        uint64_t index = (state << rows->bits) + (word << rows->bits >> 32);
        uint32_t side = (uint32_t)(word << rows->bits) >= rows->entry[index].threshold;
        p->path[t] = (uint32_t)(2 * index + side);
        state = rows->entry[index].next[side];
        if (state & SABLE_ROW_END)
            return t + 1;
    }
    p->lost.cut++;
    return rows->horizon;
}

static bool reference(const struct prediction *prediction, struct sable_exact_moments *moments,
                      struct sable_rollouts_lost *lost, struct sable_rollouts_chunk *chunk)
{
    const struct sable_rollouts_share *share = prediction->share;
    const struct walk walk = {.rows = prediction->rows};
    struct predictor p;
    count_path_function *count_path =
        prediction->ratios ? SABLE_ISA_PICK(rollouts_count_weighted) : SABLE_ISA_PICK(rollouts_count_path);
    bool good = predictor_make(prediction, 1, count_path, &p);
    int64_t taken = 0;
    memset(chunk, 0, (size_t)share->count * sizeof *chunk);
    for (int64_t i = good ? sable_walk_next(share, &taken) : -1; i >= 0; i = sable_walk_next(share, &taken)) {
        int64_t first = (share->first + i * share->stride) * SABLE_CHUNK;
        int64_t count = share->episodes - first < SABLE_CHUNK ? share->episodes - first : SABLE_CHUNK;
        for (int64_t k = 0; k < count; k++) {
            flush_in_time(&p, moments);
            p.count_path(&p, play_path(&p, &walk, share->seed, share->repeat_counters ? k : first + k), &chunk[i]);
        }
    }
    for (int64_t s = 0; s < prediction->states && good; s++)
        flush_state(&p, s, moments);
    lost->cut += p.lost.cut;
    lost->saturated += p.lost.saturated;
    predictor_free(&p);
    return good;
}

bool sable_rollouts_reference_predict(const struct sable_rollouts_rows *rows, const struct sable_rollouts_share *share,
                                      enum sable_rollouts_visits visits, struct sable_rollouts_values *values,
                                      int64_t *cut, struct sable_rollouts_chunk *chunk)
{
    const struct prediction prediction = {rows, share, visits, NULL, rows->states - 1, VALUE_TALLIES};
    struct sable_rollouts_lost lost = {0};
    bool good = reference(&prediction, (struct sable_exact_moments *)values, &lost, chunk);
    *cut += lost.cut;
    return good;
}

bool sable_rollouts_reference_weigh(const struct sable_rollouts_rows *rows, const struct sable_rollouts_share *share,
                                    const struct sable_rollouts_ratios *ratios, enum sable_rollouts_visits visits,
                                    struct sable_rollouts_weighted *weighted, struct sable_rollouts_lost *lost,
                                    struct sable_rollouts_chunk *chunk)
{
    const struct prediction prediction = off_policy(rows, share, ratios, visits);
    return reference(&prediction, (struct sable_exact_moments *)weighted, lost, chunk);
}
