#include "rollouts_model.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "input.h"
#include "sable_array.h"

static const double sum_tolerance = 1e-9; /* of probabilities that add up to 1 */
/* Returns below it are quantised within an int64_t, their squares within 126 bits. */
static const double most_return = 0x1p37;

/* ---- Any model ---- */

int rollouts_model_allocate(struct rollouts_model *m, struct sable_error *error)
{
    int64_t rows;
    bool fits = sable_multiply(m->states, m->actions, &rows) && rows < INT64_MAX;
    m->indptr = fits ? sable_array(rows + 1, 1, sizeof *m->indptr) : NULL;
    m->next = sable_array(m->transitions, 1, sizeof *m->next);
    m->chance = sable_array(m->transitions, 1, sizeof *m->chance);
    m->reward = sable_array(m->transitions, 1, sizeof *m->reward);
    m->policy = sable_array(m->states, m->actions, sizeof *m->policy);
    m->start = sable_array(m->states, 1, sizeof *m->start);
    m->ended = sable_array(m->states, 1, 1);
    if (!m->indptr || !m->next || !m->chance || !m->reward || !m->policy || !m->start || !m->ended)
        return sable_fail(error, SABLE_ENVIRONMENT, "out of memory for a model of %lld states and %lld transitions",
                          (long long)m->states, (long long)m->transitions);
    memset(m->ended, 0, (size_t)m->states);
    return SABLE_OK;
}

void rollouts_model_free(struct rollouts_model *m)
{
    sable_array_free(m->indptr);
    sable_array_free(m->next);
    sable_array_free(m->chance);
    sable_array_free(m->reward);
    sable_array_free(m->policy);
    sable_array_free(m->start);
    sable_array_free(m->ended);
    sable_array_free(m->row);
    sable_array_free(m->outcome);
    memset(m, 0, sizeof *m);
}

int64_t rollouts_model_outcomes(const void *model, int64_t state, struct sable_rollouts_outcome *outcome)
{
    const struct rollouts_model *m = model;
    int64_t count = m->row[state + 1] - m->row[state];
    memcpy(outcome, m->outcome + m->row[state], (size_t)count * sizeof *outcome);
    return count;
}

/* Adds an outcome to a state's, or its probability to an equal one. */
static void add_outcome(struct sable_rollouts_outcome *list, int64_t *count, double probability, int64_t next,
                        double reward)
{
    for (int64_t i = 0; i < *count; i++)
        if (list[i].next == next && list[i].reward == reward) {
            list[i].probability += probability;
            return;
        }
    list[(*count)++] = (struct sable_rollouts_outcome){probability, reward, next};
}

static void make_chain(struct rollouts_model *m)
{
    m->row[0] = 0;
    m->most_outcomes = 1;
    for (int64_t s = 0; s < m->states; s++) {
        int64_t count = 0;
        for (int64_t row = s * m->actions; row < (s + 1) * m->actions && !m->ended[s]; row++)
            for (int64_t k = m->indptr[row]; k < m->indptr[row + 1] && m->policy[row] > 0; k++)
                if (m->chance[k] > 0)
                    add_outcome(m->outcome + m->row[s], &count, m->policy[row] * m->chance[k], m->next[k],
                                m->reward[k]);
        m->row[s + 1] = m->row[s] + count;
        m->most_outcomes = count > m->most_outcomes ? count : m->most_outcomes;
    }
}

int rollouts_model_finish(struct rollouts_model *m, struct sable_error *error)
{
    double most = 0;
    m->row = sable_array(m->states + 1, 1, sizeof *m->row);
    m->outcome = sable_array(m->transitions, 1, sizeof *m->outcome);
    if (!m->row || !m->outcome)
        return sable_fail(error, SABLE_ENVIRONMENT, "out of memory for the chain of %s", m->name);
    make_chain(m);
    for (int64_t k = 0; k < m->row[m->states]; k++)
        most = fmax(most, fabs(m->outcome[k].reward));
    double steps = m->gamma < 1 ? fmin((double)m->horizon, 1 / (1 - m->gamma)) : (double)m->horizon;
    if (!(most * steps < most_return))
        return sable_fail(error, SABLE_BAD_INPUT, "%s: rewards up to %g over %g steps: returns must stay below %g",
                          m->name, most, steps, most_return);
    int bits = sable_rollouts_row_bits(m->most_outcomes);
    if (m->states + 1 > SABLE_ROLLOUTS_MAX_ENTRIES >> bits)
        return sable_fail(error, SABLE_BAD_INPUT, "%s: %lld states of up to %lld outcomes: at most 2^28 in all",
                          m->name, (long long)m->states, (long long)m->most_outcomes);
    return SABLE_OK;
}

struct sable_rollouts_process rollouts_model_process(const struct rollouts_model *m)
{
    return (struct sable_rollouts_process){m->states, m->actions, m->indptr, m->next,   m->chance,
                                           m->reward, m->ended,   m->gamma,  m->horizon};
}

/* ---- From a file ---- */

static int read_whole(struct sable_input *input, const char *name, enum sable_number type, int dims,
                      const int64_t *expected, void *data, struct sable_error *error)
{
    int64_t shape[2], zero[2] = {0};
    if (sable_input_shape(input, name, dims, shape, error))
        return error->code;
    for (int d = 0; d < dims; d++)
        if (shape[d] != expected[d])
            return sable_fail(error, SABLE_BAD_INPUT, "%s: dimension %d of %s is %lld instead of %lld",
                              sable_input_path(input), d, name, (long long)shape[d], (long long)expected[d]);
    return sable_input_read(input, name, type, dims, zero, shape, data, error);
}

static int read_sizes(struct sable_input *input, struct rollouts_model *m, struct sable_error *error)
{
    const char *path = sable_input_path(input), *by = sable_input_has(input, "rewards") ? "rewards" : "policy";
    char format[32] = "";
    double value;
    int64_t shape[2], rows, end;
    bool found;
    if (sable_input_text(input, "/", "format", format, sizeof format, &found, error))
        return error->code;
    if (strcmp(format, "sable-mdp") != 0)
        return sable_fail(error, SABLE_BAD_INPUT, "%s: attribute 'format' is not \"sable-mdp\"", path);
    if (sable_input_real(input, "/", "gamma", &value, &found, error))
        return error->code;
    m->gamma = found ? value : m->gamma;
    if (!(m->gamma >= 0 && m->gamma <= 1))
        return sable_fail(error, SABLE_BAD_INPUT, "%s: gamma = %g is not in [0, 1]", path, m->gamma);
    if (sable_input_real(input, "/", "horizon", &value, &found, error))
        return error->code;
    if (found && !(value >= 1 && value <= SABLE_MAX_PREDICTED && value == floor(value)))
        return sable_fail(error, SABLE_BAD_INPUT, "%s: horizon = %g is no whole number from 1 to %d", path, value,
                          SABLE_MAX_PREDICTED);
    m->horizon = found ? (int64_t)value : m->horizon;
    if (sable_input_shape(input, by, 2, shape, error) || sable_input_shape(input, "indptr", 1, &rows, error) ||
        sable_input_shape(input, "indices", 1, &end, error))
        return error->code;
    m->states = shape[0], m->actions = shape[1], m->transitions = end;
    if (m->states > SABLE_ROLLOUTS_MAX_ENTRIES || m->actions > SABLE_ROLLOUTS_MAX_ENTRIES ||
        rows != m->states * m->actions + 1)
        return sable_fail(error, SABLE_BAD_INPUT, "%s: indptr has %lld values for %lld states of %lld actions", path,
                          (long long)rows, (long long)m->states, (long long)m->actions);
    return SABLE_OK;
}

/* Spreads rewards [states × actions] over transitions; −∞ marks an unavailable action. */
static int read_rewards(struct sable_input *input, struct rollouts_model *m, struct sable_error *error)
{
    const int64_t pairs[2] = {m->states, m->actions};
    if (sable_input_has(input, "transition_rewards"))
        return read_whole(input, "transition_rewards", SABLE_F64, 1, &m->transitions, m->reward, error);
    double *reward = sable_array(m->states, m->actions, sizeof *reward);
    if (!reward)
        return sable_fail(error, SABLE_ENVIRONMENT, "out of memory for the rewards");
    if (!read_whole(input, "rewards", SABLE_F64, 2, pairs, reward, error))
        for (int64_t row = 0; row < m->states * m->actions; row++)
            for (int64_t k = m->indptr[row]; k < m->indptr[row + 1]; k++)
                m->reward[k] = reward[row];
    sable_array_free(reward);
    return error->code;
}

static int read_ends(struct sable_input *input, struct rollouts_model *m, struct sable_error *error)
{
    if (sable_input_has(input, "terminal") && read_whole(input, "terminal", SABLE_U8, 1, &m->states, m->ended, error))
        return error->code;
    for (int64_t k = 0; k < m->transitions; k++) {
        if (m->next[k] < 0 || m->next[k] >= m->states)
            return sable_fail(error, SABLE_BAD_INPUT, "%s: indices[%lld] = %lld is no state below %lld", m->name,
                              (long long)k, (long long)m->next[k], (long long)m->states);
        if (m->ended[m->next[k]])
            m->next[k] = -1;
    }
    if (!sable_input_has(input, "transition_terminal"))
        return SABLE_OK;
    uint8_t *last = sable_array(m->transitions, 1, 1);
    if (!last)
        return sable_fail(error, SABLE_ENVIRONMENT, "out of memory for transition_terminal");
    if (!read_whole(input, "transition_terminal", SABLE_U8, 1, &m->transitions, last, error))
        for (int64_t k = 0; k < m->transitions; k++)
            m->next[k] = last[k] ? -1 : m->next[k];
    sable_array_free(last);
    return error->code;
}

/* Takes the transitions of unavailable actions out. */
static void drop_unavailable(struct rollouts_model *m)
{
    int64_t kept = 0, first = 0;
    for (int64_t row = 0; row < m->states * m->actions; row++) {
        int64_t end = m->indptr[row + 1];
        m->indptr[row] = kept;
        bool available = first < end && m->reward[first] != -INFINITY;
        for (int64_t k = first; k < end && available; k++, kept++) {
            m->next[kept] = m->next[k];
            m->chance[kept] = m->chance[k];
            m->reward[kept] = m->reward[k];
        }
        first = end;
    }
    m->indptr[m->states * m->actions] = m->transitions = kept;
}

/* Sum of a distribution; NaN if one is negative or not finite. */
static double sum_of(const double *value, int64_t count)
{
    double sum = 0;
    for (int64_t i = 0; i < count; i++)
        sum += value[i] >= 0 && value[i] <= INFINITY ? value[i] : NAN;
    return sum;
}

static int check_indptr(const struct rollouts_model *m, struct sable_error *error)
{
    int64_t rows = m->states * m->actions;
    if (m->indptr[0] != 0 || m->indptr[rows] != m->transitions)
        return sable_fail(error, SABLE_BAD_INPUT, "%s: indptr runs from %lld to %lld instead of 0 to %lld", m->name,
                          (long long)m->indptr[0], (long long)m->indptr[rows], (long long)m->transitions);
    for (int64_t row = 0; row < rows; row++)
        if (m->indptr[row + 1] < m->indptr[row])
            return sable_fail(error, SABLE_BAD_INPUT, "%s: indptr descends at row %lld", m->name, (long long)row);
    return SABLE_OK;
}

/* State by state; the first bad row is named. */
static int check_rows(const struct rollouts_model *m, struct sable_error *error)
{
    for (int64_t s = 0; s < m->states; s++) {
        const double *policy = m->policy + s * m->actions;
        if (m->ended[s])
            continue;
        if (!(fabs(sum_of(policy, m->actions) - 1) <= sum_tolerance))
            return sable_fail(error, SABLE_BAD_INPUT, "%s: policy of state %lld adds up to %.12g", m->name,
                              (long long)s, sum_of(policy, m->actions));
        for (int64_t row = s * m->actions; row < (s + 1) * m->actions; row++) {
            int64_t first = m->indptr[row], count = m->indptr[row + 1] - first;
            if ((m->policy[row] > 0 || count > 0) && !(fabs(sum_of(m->chance + first, count) - 1) <= sum_tolerance))
                return sable_fail(error, SABLE_BAD_INPUT, "%s: probs of state %lld, action %lld add up to %.12g",
                                  m->name, (long long)s, (long long)(row % m->actions),
                                  sum_of(m->chance + first, count));
            for (int64_t k = first; k < first + count; k++)
                if (!isfinite(m->reward[k]))
                    return sable_fail(error, SABLE_BAD_INPUT, "%s: reward of state %lld, action %lld is %g", m->name,
                                      (long long)s, (long long)(row % m->actions), m->reward[k]);
        }
    }
    return SABLE_OK;
}

/* Absent: all states that are not ended start alike; a policy takes all available actions alike. */
static int read_choices(struct sable_input *input, struct rollouts_model *m, struct sable_error *error)
{
    const int64_t pairs[2] = {m->states, m->actions};
    drop_unavailable(m);
    if (sable_input_has(input, "policy")) {
        if (read_whole(input, "policy", SABLE_F64, 2, pairs, m->policy, error))
            return error->code;
    } else {
        const struct sable_rollouts_process process = rollouts_model_process(m);
        for (int64_t s = 0; s < m->states; s++)
            sable_rollouts_soft_policy(&process, s, -1, 1, m->policy + s * m->actions);
    }
    for (int64_t s = 0; s < m->states; s++)
        m->start[s] = !m->ended[s];
    if (sable_input_has(input, "start") && read_whole(input, "start", SABLE_F64, 1, &m->states, m->start, error))
        return error->code;
    for (int64_t s = 0; s < m->states; s++)
        if (!(m->start[s] >= 0) || (m->start[s] > 0 && m->ended[s]))
            return sable_fail(error, SABLE_BAD_INPUT, "%s: start[%lld] = %g, of a state that %s", m->name, (long long)s,
                              m->start[s], m->ended[s] ? "is terminal" : "must have a chance");
    double sum = sum_of(m->start, m->states);
    if (!(sum > 0 && sum < INFINITY) || (sable_input_has(input, "start") && !(fabs(sum - 1) <= sum_tolerance)))
        return sable_fail(error, SABLE_BAD_INPUT, "%s: start adds up to %.12g", m->name, sum);
    return SABLE_OK;
}

int rollouts_model_read(struct sable_input *input, double gamma, int64_t horizon, struct rollouts_model *m,
                        struct sable_error *error)
{
    *m = (struct rollouts_model){.gamma = gamma, .horizon = horizon};
    snprintf(m->name, sizeof m->name, "%.*s", (int)sizeof m->name - 1, sable_input_path(input));
    if (read_sizes(input, m, error) || rollouts_model_allocate(m, error))
        return error->code;
    int64_t rows = m->states * m->actions + 1;
    if (read_whole(input, "indptr", SABLE_I64, 1, &rows, m->indptr, error) || check_indptr(m, error) ||
        read_whole(input, "indices", SABLE_I64, 1, &m->transitions, m->next, error) ||
        read_whole(input, "probs", SABLE_F64, 1, &m->transitions, m->chance, error) || read_rewards(input, m, error) ||
        read_ends(input, m, error) || read_choices(input, m, error) || check_rows(m, error))
        return error->code;
    return rollouts_model_finish(m, error);
}
