/* The sable-mdp format (README of data/): each rank reads the rows of its own states only. Terminal states and
 * transitions that end the episode lose their successors, rewards of transitions become expected ones, rows of
 * unavailable actions become empty. */
#include "value_iteration_mdp_input.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "sable_array.h"
#include "value_iteration_mdp_set.h"

static const double sum_slack = 1e-9; /* how far a row of a file may be from summing to 1 */

void mdp_file_free(struct mdp_file *file)
{
    sable_array_free(file->start);
    sable_array_free(file->column);
    sable_array_free(file->probability);
    sable_array_free(file->reward);
}

/* ---- Attributes and shapes ---- */

static int read_header(struct sable_input *input, struct mdp_source *source, struct sable_error *error)
{
    const char *path = sable_input_path(input);
    char text[64] = "";
    bool found;
    if (sable_input_text(input, "/", "format", text, sizeof text, &found, error))
        return error->code;
    if (!found || strcmp(text, "sable-mdp") != 0)
        return sable_fail(error, SABLE_BAD_INPUT, "%s: attribute 'format' is not \"sable-mdp\"", path);
    if (sable_input_real(input, "/", "gamma", &source->gamma, &found, error))
        return error->code;
    if (!found || !(source->gamma >= 0 && source->gamma < 1))
        return sable_fail(error, SABLE_BAD_INPUT, "%s: value iteration needs an attribute 'gamma' in [0, 1)", path);
    if (sable_input_text(input, "/", "sense", text, sizeof text, &found, error))
        return error->code;
    if (found && strcmp(text, "max") != 0 && strcmp(text, "min") != 0)
        return sable_fail(error, SABLE_BAD_INPUT, "%s: attribute 'sense' is neither \"max\" nor \"min\"", path);
    source->minimise = found && strcmp(text, "min") == 0;
    return SABLE_OK;
}

int mdp_file_sizes(struct sable_input *input, struct mdp_file *file, int64_t *transitions, struct sable_error *error)
{
    const char *path = sable_input_path(input);
    int64_t rows, shape[2], probabilities;
    bool found;
    if (sable_input_shape(input, "indptr", 1, &rows, error) ||
        sable_input_shape(input, "indices", 1, transitions, error) ||
        sable_input_shape(input, "probs", 1, &probabilities, error))
        return error->code;
    if (probabilities != *transitions)
        return sable_fail(error, SABLE_BAD_INPUT, "%s: %lld probs for %lld indices", path, (long long)probabilities,
                          (long long)*transitions);
    if (sable_input_has(input, "rewards")) {
        if (sable_input_shape(input, "rewards", 2, shape, error))
            return error->code;
    } else { /* rewards of transitions alone: the number of actions is an attribute */
        double actions = 0;
        if (sable_input_real(input, "/", "actions", &actions, &found, error))
            return error->code;
        if (!sable_input_has(input, "transition_rewards") || !found || !(actions >= 1 && actions <= 1e9))
            return sable_fail(error, SABLE_BAD_INPUT,
                              "%s: needs 'rewards', or 'transition_rewards' and an attribute 'actions'", path);
        shape[1] = (int64_t)actions;
        shape[0] = (rows - 1) / shape[1];
    }
    int64_t expected;
    file->states = shape[0], file->actions = shape[1];
    if (!sable_multiply(shape[0], shape[1], &expected) || shape[0] < 1 || expected != rows - 1)
        return sable_fail(error, SABLE_BAD_INPUT, "%s: indptr has %lld elements for %lld states of %lld actions", path,
                          (long long)rows, (long long)shape[0], (long long)shape[1]);
    return SABLE_OK;
}

/* ---- Rows ---- */

static int read_start(struct sable_input *input, struct mdp_file *file, int64_t transitions, int64_t *first,
                      struct sable_error *error)
{
    const int64_t offset = file->part.first * file->actions, rows = file->part.count * file->actions, count = rows + 1;
    file->start = sable_array(count, 1, sizeof *file->start);
    if (!file->start)
        return sable_fail(error, SABLE_ENVIRONMENT, "out of memory for %lld rows", (long long)rows);
    if (sable_input_read(input, "indptr", SABLE_I64, 1, &offset, &count, file->start, error))
        return error->code;
    bool ends = file->part.first + file->part.count == file->states;
    if ((file->part.first == 0 && file->start[0] != 0) || (ends && file->start[rows] != transitions))
        return sable_fail(error, SABLE_BAD_INPUT, "%s: indptr does not run from 0 to %lld", sable_input_path(input),
                          (long long)transitions);
    *first = file->start[0];
    for (int64_t i = 0; i <= rows; i++) {
        if (file->start[i] < 0 || file->start[i] > transitions || (i > 0 && file->start[i] < file->start[i - 1]))
            return sable_fail(error, SABLE_BAD_INPUT, "%s: indptr[%lld] = %lld goes back or out of range",
                              sable_input_path(input), (long long)(offset + i), (long long)file->start[i]);
    }
    for (int64_t i = rows; i >= 0; i--)
        file->start[i] -= *first;
    return SABLE_OK;
}

static void *read_extra(struct sable_input *input, const char *name, enum sable_number type, int64_t offset,
                        int64_t count, struct sable_error *error)
{
    if (!sable_input_has(input, name))
        return NULL;
    void *data = sable_array(count, 1, type == SABLE_U8 ? 1 : 8);
    if (!data)
        sable_fail(error, SABLE_ENVIRONMENT, "out of memory for '%s'", name);
    else
        sable_input_read(input, name, type, 1, &offset, &count, data, error);
    return data;
}

static int read_transitions(struct sable_input *input, struct mdp_file *file, int64_t first, struct mdp_extras *extras,
                            struct sable_error *error)
{
    const int64_t rows = file->part.count * file->actions, count = file->start[rows];
    const int64_t offset[2] = {file->part.first, 0}, shape[2] = {file->part.count, file->actions};
    file->column = sable_array(count, 1, sizeof *file->column);
    file->probability = sable_array(count, 1, sizeof *file->probability);
    file->reward = sable_array(rows, 1, sizeof *file->reward);
    if (!file->column || !file->probability || !file->reward)
        return sable_fail(error, SABLE_ENVIRONMENT, "out of memory for %lld transitions", (long long)count);
    if (sable_input_read(input, "indices", SABLE_I64, 1, &first, &count, file->column, error) ||
        sable_input_read(input, "probs", SABLE_F64, 1, &first, &count, file->probability, error))
        return error->code;
    if (!sable_input_has(input, "rewards"))
        for (int64_t i = 0; i < rows; i++)
            file->reward[i] = file->start[i + 1] > file->start[i] ? 0 : -INFINITY;
    else if (sable_input_read(input, "rewards", SABLE_F64, 2, offset, shape, file->reward, error))
        return error->code;
    extras->reward = read_extra(input, "transition_rewards", SABLE_F64, first, count, error);
    extras->ends = read_extra(input, "transition_terminal", SABLE_U8, first, count, error);
    extras->terminal = read_extra(input, "terminal", SABLE_U8, file->part.first, file->part.count, error);
    return error->code;
}

/* Checks row i; its reward becomes the expected one. */
static int check_row(const char *path, struct mdp_file *file, const struct mdp_extras *extras, int64_t i,
                     struct sable_error *error)
{
    const long long state = (long long)(file->part.first + i / file->actions), action = (long long)(i % file->actions);
    double sum = 0, expected = 0;
    if (!(file->reward[i] < INFINITY))
        return sable_fail(error, SABLE_BAD_INPUT, "%s: the reward of state %lld, action %lld is not a finite number",
                          path, state, action);
    for (int64_t k = file->start[i]; k < file->start[i + 1]; k++) {
        if (file->column[k] < 0 || file->column[k] >= file->states)
            return sable_fail(error, SABLE_BAD_INPUT, "%s: state %lld, action %lld leads to state %lld of %lld", path,
                              state, action, (long long)file->column[k], (long long)file->states);
        if (!(file->probability[k] >= 0 && file->probability[k] <= 1 + sum_slack))
            return sable_fail(error, SABLE_BAD_INPUT, "%s: a probability of state %lld, action %lld is %g", path, state,
                              action, file->probability[k]);
        if (extras->reward && !isfinite(extras->reward[k]))
            return sable_fail(error, SABLE_BAD_INPUT, "%s: a reward of state %lld, action %lld is %g", path, state,
                              action, extras->reward[k]);
        sum += file->probability[k];
        expected += extras->reward ? file->probability[k] * extras->reward[k] : 0;
    }
    bool available = file->reward[i] > -INFINITY;
    bool terminal = extras->terminal && extras->terminal[i / file->actions];
    if (available && !terminal && !(fabs(sum - 1) <= sum_slack))
        return sable_fail(error, SABLE_BAD_INPUT, "%s: the row of state %lld, action %lld sums to %.17g, not 1", path,
                          state, action, sum);
    file->reward[i] += expected;
    return SABLE_OK;
}

/* Leaves out transitions that end the episode, rows of unavailable actions, and all of terminal states. */
static void compress(struct mdp_file *file, const struct mdp_extras *extras)
{
    int64_t kept = 0, from = 0;
    for (int64_t i = 0; i < file->part.count * file->actions; i++) {
        const bool terminal = extras->terminal && extras->terminal[i / file->actions];
        const int64_t end = file->start[i + 1];
        if (terminal)
            file->reward[i] = 0;
        file->start[i] = kept;
        for (int64_t k = from; k < end; k++) {
            if (terminal || !(file->reward[i] > -INFINITY) || (extras->ends && extras->ends[k]))
                continue;
            file->column[kept] = file->column[k];
            file->probability[kept++] = file->probability[k];
        }
        from = end;
    }
    file->start[file->part.count * file->actions] = kept;
}

static int check_rows(const char *path, struct mdp_file *file, const struct mdp_extras *extras,
                      struct sable_error *error)
{
    for (int64_t s = 0; s < file->part.count; s++) {
        bool can_act = false;
        for (int64_t a = 0; a < file->actions; a++) {
            if (check_row(path, file, extras, s * file->actions + a, error))
                return error->code;
            can_act = can_act || file->reward[s * file->actions + a] > -INFINITY;
        }
        if (!can_act && !(extras->terminal && extras->terminal[s]))
            return sable_fail(error, SABLE_BAD_INPUT, "%s: state %lld has no available action and is not terminal",
                              path, (long long)(file->part.first + s));
    }
    compress(file, extras);
    return SABLE_OK;
}

static int64_t row_of(const void *self, int64_t state, int64_t action, double *reward, int64_t *column,
                      double *probability)
{
    const struct mdp_file *file = self;
    const int64_t place = file->owned ? mdp_set_find(file->owned, file->part.count, state) : state - file->part.first;
    const int64_t row = place * file->actions + action, length = file->start[row + 1] - file->start[row];
    *reward = file->reward[row];
    memcpy(column, file->column + file->start[row], (size_t)length * sizeof *column);
    memcpy(probability, file->probability + file->start[row], (size_t)length * sizeof *probability);
    return length;
}

/* Collective. The end of reading: whatever happened on this rank, all agree, and know the longest row. */
static int finish(struct sable_context *context, struct mdp_file *file, struct mdp_extras *extras,
                  struct mdp_source *source, struct sable_error *error)
{
    int64_t longest = 0;
    sable_array_free(extras->reward);
    sable_array_free(extras->ends);
    sable_array_free(extras->terminal);
    if (sable_agree(context->comm, error))
        return error->code;
    for (int64_t i = 0; i < file->part.count * file->actions; i++)
        if (file->start[i + 1] - file->start[i] > longest)
            longest = file->start[i + 1] - file->start[i];
    source->states = file->states;
    source->actions = file->actions;
    return sable_check_mpi(MPI_Allreduce(&longest, &source->longest, 1, MPI_INT64_T, MPI_MAX, context->comm),
                           "MPI_Allreduce", error);
}

int mdp_file_read(struct sable_input *input, struct sable_context *context, struct mdp_file *file,
                  struct mdp_source *source, struct sable_error *error)
{
    struct mdp_extras extras = {0};
    int64_t transitions = 0, first = 0;
    *file = (struct mdp_file){0};
    *source = (struct mdp_source){.self = file, .row = row_of, .move = mdp_file_move, .stored = file};
    if (!read_header(input, source, error) && !mdp_file_sizes(input, file, &transitions, error)) {
        file->part = mdp_part_of(file->states, context->layout.rank, context->layout.ranks);
        if (!read_start(input, file, transitions, &first, error) &&
            !read_transitions(input, file, first, &extras, error))
            check_rows(sable_input_path(input), file, &extras, error);
    }
    return finish(context, file, &extras, source, error);
}

int mdp_file_read_other(const char *path, const struct mdp_foreign *foreign, struct sable_context *context,
                        struct mdp_file *file, struct mdp_source *source, struct sable_error *error)
{
    struct mdp_extras extras = {0};
    *file = (struct mdp_file){0};
    *source = (struct mdp_source){.self = file,
                                  .row = row_of,
                                  .move = mdp_file_move,
                                  .stored = file,
                                  .gamma = foreign->gamma,
                                  .minimise = foreign->minimise};
    int failed = mdp_is_petsc(path) ? mdp_petsc_read(path, foreign->rewards, context->layout, file, error)
                                    : mdp_prism_read(path, foreign->rewards, context->layout, file, &extras, error);
    if (!failed)
        check_rows(path, file, &extras, error);
    return finish(context, file, &extras, source, error);
}
