/* Sliced ELLPACK storage of a Markov decision process, and its sweeps over the threads of a rank. */
#include "sable_mdp.h"

#include <math.h>
#include <string.h>
#include <omp.h>

#include "mdp_lanes.h"
#include "sable_array.h"

enum { LANES = SABLE_MDP_LANES };

/* ---- Storage ---- */

bool sable_mdp_begin(struct sable_mdp *model, int64_t states, int64_t actions)
{
    int64_t chunks;
    *model = (struct sable_mdp){.states = states, .actions = actions, .blocks = sable_mdp_blocks(states)};
    if (!sable_multiply(model->blocks, actions, &chunks) || chunks == INT64_MAX)
        return false;
    model->start = sable_array(chunks + 1, 1, sizeof *model->start);
    model->reward = sable_array(chunks, LANES, sizeof *model->reward);
    if (!model->start || !model->reward)
        return false;
#pragma omp parallel for schedule(static)
    for (int64_t chunk = 0; chunk <= chunks; chunk++)
        model->start[chunk] = 0;
    return true;
}

void sable_mdp_widen(struct sable_mdp *model, int64_t state, int64_t action, int64_t length)
{
    int64_t *width = &model->start[state / LANES * model->actions + action + 1]; /* becomes an end in allocate */
    if (LANES * length > *width)
        *width = LANES * length;
}

/* Widths become places. */
static bool allocate_columns(struct sable_mdp *model, int64_t *transitions)
{
    int64_t chunks = model->blocks * model->actions;
    for (int64_t chunk = 0; chunk < chunks; chunk++)
        if (__builtin_add_overflow(model->start[chunk], model->start[chunk + 1], &model->start[chunk + 1]))
            return false;
    *transitions = model->start[chunks];
    model->column = sable_array(*transitions, 1, sizeof *model->column);
    return model->column;
}

bool sable_mdp_allocate(struct sable_mdp *model)
{
    int64_t transitions;
    if (!allocate_columns(model, &transitions))
        return false;
    model->probability = sable_array(transitions, 1, sizeof *model->probability);
    return model->probability;
}

bool sable_mdp_allocate_codes(struct sable_mdp *model, const struct sable_mdp_values *values)
{
    int64_t transitions;
    if (!allocate_columns(model, &transitions))
        return false;
    model->code = sable_array(transitions, 1, sizeof *model->code);
    model->values = sable_array(SABLE_MDP_CODES, 1, sizeof *model->values);
    if (!model->code || !model->values)
        return false;
    for (int i = 0; i < SABLE_MDP_CODES; i++)
        model->values[i] = i < values->count ? values->item[i] : INFINITY; /* ascending */
    return true;
}

/* ---- Different probabilities ---- */

/* Where `x` is, or belongs. */
static int place_of(const double *item, int count, double x)
{
    int low = 0, high = count;
    while (low < high) {
        int middle = (low + high) / 2;
        if (item[middle] < x)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

void sable_mdp_values_add(struct sable_mdp_values *values, int64_t length, const double *probability)
{
    for (int64_t j = 0; j < length && values->count >= 0; j++) {
        int place = place_of(values->item, values->count, probability[j]);
        if (place < values->count && values->item[place] == probability[j])
            continue;
        if (values->count == SABLE_MDP_CODES) {
            values->count = -1;
            return;
        }
        memmove(values->item + place + 1, values->item + place, (size_t)(values->count - place) * sizeof(double));
        values->item[place] = probability[j];
        values->count++;
    }
}

void sable_mdp_values_join(struct sable_mdp_values *values, const struct sable_mdp_values *more)
{
    if (more->count < 0)
        values->count = -1;
    else
        sable_mdp_values_add(values, more->count, more->item);
}

static double probability_at(const struct sable_mdp *model, int64_t at)
{
    return model->code ? model->values[model->code[at]] : model->probability[at];
}

static void put_probability(struct sable_mdp *model, int64_t at, double probability)
{
    if (model->code)
        model->code[at] = (uint8_t)place_of(model->values, SABLE_MDP_CODES, probability);
    else
        model->probability[at] = probability;
}

/* One lane of one chunk; a row's rest is filled with its own last column, which is in cache already. */
static void put_lane(struct sable_mdp *model, int64_t chunk, int64_t lane, double reward, int64_t length,
                     const int32_t *column, const double *probability)
{
    int64_t start = model->start[chunk] + lane, width = (model->start[chunk + 1] - model->start[chunk]) / LANES;
    int32_t spare = length > 0 ? column[length - 1] : 0;
    model->reward[LANES * chunk + lane] = reward;
    for (int64_t j = 0; j < width; j++) {
        model->column[start + LANES * j] = j < length ? column[j] : spare;
        put_probability(model, start + LANES * j, j < length ? probability[j] : 0);
    }
}

void sable_mdp_put(struct sable_mdp *model, int64_t state, int64_t action, double reward, int64_t length,
                   const int32_t *column, const double *probability)
{
    int64_t chunk = state / LANES * model->actions + action;
    int64_t last = state == model->states - 1 ? LANES - 1 : state % LANES;
    for (int64_t lane = state % LANES; lane <= last; lane++)
        put_lane(model, chunk, lane, reward, length, column, probability);
}

void sable_mdp_free(struct sable_mdp *model)
{
    sable_array_free(model->start);
    sable_array_free(model->column);
    sable_array_free(model->probability);
    sable_array_free(model->code);
    sable_array_free(model->values);
    sable_array_free(model->reward);
    *model = (struct sable_mdp){0};
}

bool sable_mdp_rows_allocate(const struct sable_mdp *model, struct sable_mdp *rows)
{
    if (!sable_mdp_begin(rows, model->states, 1))
        return false;
    for (int64_t b = 0; b < model->blocks; b++)
        for (int64_t a = 0; a < model->actions; a++) {
            const int64_t *start = &model->start[b * model->actions + a];
            sable_mdp_widen(rows, LANES * b, 0, (start[1] - start[0]) / LANES);
        }
    return sable_mdp_allocate(rows);
}

/* ---- Sweeps ---- */

static void widen(struct sable_mdp_change *change, const struct sable_mdp_change *part)
{
    change->low = part->low < change->low ? part->low : change->low;
    change->high = part->high > change->high ? part->high : change->high;
    change->magnitude = part->magnitude > change->magnitude ? part->magnitude : change->magnitude;
    change->finite = change->finite && part->finite;
}

/* This thread's part of `count` items: [*first, *end). */
static void thread_range(int64_t count, int64_t *first, int64_t *end)
{
    int64_t threads = omp_get_num_threads(), thread = omp_get_thread_num();
    int64_t each = count / threads, more = count % threads;
    *first = thread * each + (thread < more ? thread : more);
    *end = *first + each + (thread < more);
}

void sable_mdp_sweep(const struct sable_mdp *model, double gamma, const int32_t *list, int64_t count, const double *v,
                     double *next, struct sable_mdp_change *change)
{
#pragma omp parallel
    {
        struct sable_mdp_change part = SABLE_MDP_UNCHANGED;
        int64_t first, end;
        thread_range(count, &first, &end);
        SABLE_ISA_PICK(mdp_sweep_blocks)(model, gamma, list + first, end - first, v, next, &part);
#pragma omp critical(sable_mdp_change)
        widen(change, &part);
    }
}

bool sable_mdp_gathers_pay(const struct sable_mdp *model, const double *v, double *next)
{
    enum { TRIED = 1024, ROUNDS = 4 };
    int32_t list[TRIED];
    const int64_t count = model->blocks < TRIED ? model->blocks : TRIED;
    double least[2] = {INFINITY, INFINITY}; /* seconds by loads, by gathers */
    if (sable_isa() != SABLE_ISA_V4)
        return false;
    for (int64_t b = 0; b < count; b++)
        list[b] = (int32_t)b;
    for (int round = 0; round < ROUNDS; round++)
        for (int gathers = 0; gathers < 2; gathers++) {
            struct sable_mdp tried = *model; /* the same storage */
            struct sable_mdp_change change = SABLE_MDP_UNCHANGED;
            tried.gathers = gathers;
            const double start = omp_get_wtime();
            SABLE_ISA_PICK(mdp_sweep_blocks)(&tried, 1, list, count, v, next, &change);
            least[gathers] = fmin(least[gathers], omp_get_wtime() - start);
        }
    return least[1] < least[0];
}

/* Copies the rows of a block's actions; lanes take theirs from different chunks. */
static void copy_rows(const struct sable_mdp *model, int64_t block, const int32_t *policy, struct sable_mdp *rows)
{
    int64_t width = (rows->start[block + 1] - rows->start[block]) / LANES;
    for (int64_t l = 0; l < LANES; l++) {
        int64_t chunk = block * model->actions + policy[l];
        int64_t from = model->start[chunk] + l, to = rows->start[block] + l;
        int64_t length = (model->start[chunk + 1] - model->start[chunk]) / LANES;
        rows->reward[LANES * block + l] = model->reward[LANES * chunk + l];
        for (int64_t j = 0; j < width; j++) {
            rows->column[to + LANES * j] = j < length ? model->column[from + LANES * j] : 0;
            rows->probability[to + LANES * j] = j < length ? probability_at(model, from + LANES * j) : 0;
        }
    }
}

/* Takes over the greedy actions of one block; returns how many states changed theirs. */
static int64_t adopt(const struct sable_mdp *model, int64_t block, const int32_t *greedy, int32_t *policy,
                     struct sable_mdp *rows)
{
    int32_t *current = policy + LANES * block;
    if (memcmp(current, greedy, LANES * sizeof *greedy) == 0)
        return 0;
    int64_t changed = 0;
    for (int64_t l = 0; l < LANES; l++) {
        changed += LANES * block + l < model->states && current[l] != greedy[l];
        current[l] = greedy[l];
    }
    if (rows)
        copy_rows(model, block, current, rows);
    return changed;
}

int64_t sable_mdp_improve(const struct sable_mdp *model, double gamma, const int32_t *list, int64_t count,
                          const double *v, double *next, int32_t *policy, struct sable_mdp *rows,
                          struct sable_mdp_change *change)
{
    enum { BATCH = 64 }; /* blocks whose greedy actions wait on the stack, their transitions still in cache */
    int64_t changed = 0;
#pragma omp parallel reduction(+ : changed)
    {
        struct sable_mdp_change part = SABLE_MDP_UNCHANGED;
        int32_t greedy[BATCH * LANES];
        int64_t first, end;
        thread_range(count, &first, &end);
        for (int64_t i = first; i < end; i += BATCH) {
            int64_t batch = end - i < BATCH ? end - i : BATCH;
            SABLE_ISA_PICK(mdp_greedy_blocks)(model, gamma, list + i, batch, v, next, greedy, &part);
            for (int64_t k = 0; k < batch; k++)
                changed += adopt(model, list[i + k], greedy + LANES * k, policy, rows);
        }
#pragma omp critical(sable_mdp_change)
        widen(change, &part);
    }
    return changed;
}
