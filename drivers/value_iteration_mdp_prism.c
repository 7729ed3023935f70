/* Decision processes in PRISM's explicit text (prismmodelchecker.org, manual, appendix "Explicit Model Files").
 *
 * A .tra file begins with "states choices transitions", then has a line "state choice successor probability [action]"
 * for each; of a Markov chain "states transitions" and "state successor probability".
 *
 * A .srew or .rews file begins with "states count", then has lines "state reward", paid in every step from the state.
 *
 * A .trew or .rews file begins with "states choices count" (of a chain "states count"), then has lines like those of
 * .tra with a reward instead of the probability, paid with the transition.
 *
 * Lines beginning with # are comments. Transitions come in ascending order of state and choice, as PRISM writes them;
 * choice c of a state becomes action c, choices that a state lacks are unavailable actions. The text is passed over
 * three times (choices, lengths, rows), line by line: each rank keeps its own rows only. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "registry.h"
#include "sable_array.h"
#include "value_iteration_mdp_input.h"

enum { MOST_WORDS = 6, LINE = 4096 };

struct text {
    FILE *file;
    const char *path;
    long long line;
    char buffer[LINE];
    int words;
    char *word[MOST_WORDS];
};

static int refuse(const struct text *t, const char *what, struct sable_error *error)
{
    return sable_fail(error, SABLE_BAD_INPUT, "%s, line %lld: %s", t->path, t->line, what);
}

static int open_text(const char *path, struct text *t, struct sable_error *error)
{
    *t = (struct text){.file = fopen(path, "r"), .path = path};
    return t->file ? SABLE_OK : sable_fail(error, SABLE_BAD_INPUT, "cannot read %s", path);
}

static void close_text(struct text *t)
{
    if (t->file)
        fclose(t->file);
    t->file = NULL;
}

/* The words of the next line that holds any; false at the end, or with an error. */
static bool next_line(struct text *t, struct sable_error *error)
{
    while (fgets(t->buffer, LINE, t->file)) {
        char *rest;
        t->line++;
        if (!strchr(t->buffer, '\n') && !feof(t->file)) {
            refuse(t, "too long, or not text", error);
            return false;
        }
        t->words = 0;
        for (char *w = strtok_r(t->buffer, " \t\r\n", &rest); w; w = strtok_r(NULL, " \t\r\n", &rest)) {
            if (t->words == MOST_WORDS) {
                refuse(t, "more words than PRISM writes", error);
                return false;
            }
            t->word[t->words++] = w;
        }
        if (t->words > 0 && t->word[0][0] != '#')
            return true;
    }
    if (ferror(t->file))
        refuse(t, "cannot be read", error);
    return false;
}

static int whole(const struct text *t, int word, int64_t below, int64_t *value, struct sable_error *error)
{
    if (!sable_parse_integer(t->word[word], value) || *value < 0 || *value >= below)
        return sable_fail(error, SABLE_BAD_INPUT, "%s, line %lld: '%.40s' is not a number from 0 to %lld", t->path,
                          t->line, t->word[word], (long long)below - 1);
    return SABLE_OK;
}

static int real(const struct text *t, int word, double *value, struct sable_error *error)
{
    if (!sable_parse_real(t->word[word], value) || !isfinite(*value))
        return sable_fail(error, SABLE_BAD_INPUT, "%s, line %lld: '%.40s' is not a finite number", t->path, t->line,
                          t->word[word]);
    return SABLE_OK;
}

/* ---- Transitions ---- */

struct head {
    bool chain; /* no choices */
    int64_t states, choices, transitions;
};

static int read_head(struct text *t, struct head *head, struct sable_error *error)
{
    const int64_t most = INT64_C(1) << 53;
    if (!next_line(t, error))
        return error->code ? error->code : refuse(t, "no text of PRISM, nor a matrix of PETSc, nor HDF5", error);
    if (t->words != 2 && t->words != 3)
        return refuse(t, "should be 'states choices transitions' of PRISM; the file is no matrix of PETSc, nor HDF5",
                      error);
    head->chain = t->words == 2;
    if (whole(t, 0, most, &head->states, error) || whole(t, t->words - 1, most, &head->transitions, error))
        return error->code;
    head->choices = head->states;
    if (!head->chain && whole(t, 1, most, &head->choices, error))
        return error->code;
    return head->states < 1 || head->choices < 1 ? refuse(t, "a model without states or choices", error) : SABLE_OK;
}

struct transition {
    int64_t state, choice, successor;
    double number; /* probability or reward */
};

static int read_transition(struct text *t, const struct head *head, struct transition *x, struct sable_error *error)
{
    const int choice = head->chain ? 0 : 1;
    if (t->words < 3 + choice || t->words > 4 + choice)
        return refuse(
            t, head->chain ? "should be 'state successor number'" : "should be 'state choice successor number'", error);
    x->choice = 0;
    if (whole(t, 0, head->states, &x->state, error) || (choice && whole(t, 1, head->choices, &x->choice, error)) ||
        whole(t, 1 + choice, head->states, &x->successor, error))
        return error->code;
    return real(t, 2 + choice, &x->number, error);
}

/* Calls visit for every transition, in ascending order of (state, choice), and checks how many there are. */
static int visit_all(const char *path, struct head *head,
                     void (*visit)(void *data, const struct transition *transition), void *data,
                     struct sable_error *error)
{
    struct text t;
    struct transition x = {0}, before = {0};
    int64_t count = 0;
    if (!open_text(path, &t, error) && !read_head(&t, head, error)) {
        while (next_line(&t, error) && !read_transition(&t, head, &x, error)) {
            if (x.state < before.state || (x.state == before.state && x.choice < before.choice)) {
                refuse(&t, "states and choices do not ascend", error);
                break;
            }
            before = x;
            count++;
            visit(data, &x);
        }
        if (!error->code && count != head->transitions)
            sable_fail(error, SABLE_BAD_INPUT, "%s: %lld transitions instead of %lld: truncated?", path,
                       (long long)count, (long long)head->transitions);
    }
    close_text(&t);
    return error->code;
}

static void count_choices(void *data, const struct transition *x)
{
    int64_t *actions = data;
    *actions = x->choice >= *actions ? x->choice + 1 : *actions;
}

static bool mine(const struct mdp_file *file, int64_t state)
{
    return state >= file->part.first && state < file->part.first + file->part.count;
}

static int64_t row_of(const struct mdp_file *file, const struct transition *x)
{
    return (x->state - file->part.first) * file->actions + x->choice;
}

static void count_lengths(void *data, const struct transition *x)
{
    struct mdp_file *file = data;
    if (mine(file, x->state))
        file->start[row_of(file, x) + 1]++;
}

static void keep(void *data, const struct transition *x)
{
    struct mdp_file *file = data;
    if (!mine(file, x->state))
        return;
    int64_t at = file->start[row_of(file, x)]++; /* start is that of the next row when all are in */
    file->column[at] = x->successor;
    file->probability[at] = x->number;
}

static int read_rows(const char *path, struct sable_layout layout, struct mdp_file *file, struct sable_error *error)
{
    struct head head;
    int64_t cells;
    file->actions = 0;
    if (visit_all(path, &head, count_choices, &file->actions, error))
        return error->code;
    file->states = head.states;
    file->actions = file->actions > 0 ? file->actions : 1;
    file->part = mdp_part_of(file->states, layout.rank, layout.ranks);
    if (!sable_multiply(file->states, file->actions, &cells))
        return sable_fail(error, SABLE_BAD_INPUT, "%s: states × choices is more than 64 bits count", path);
    const int64_t rows = file->part.count * file->actions;
    file->start = sable_array(rows + 2, 1, sizeof *file->start);
    file->reward = sable_array(rows, 1, sizeof *file->reward);
    if (!file->start || !file->reward)
        return sable_fail(error, SABLE_ENVIRONMENT, "out of memory for %lld rows", (long long)rows);
    memset(file->start, 0, ((size_t)rows + 2) * sizeof *file->start);
    if (visit_all(path, &head, count_lengths, file, error))
        return error->code;
    for (int64_t i = 0; i < rows; i++) {
        file->reward[i] = file->start[i + 1] > 0 ? 0 : -INFINITY;
        file->start[i + 1] += file->start[i];
    }
    file->column = sable_array(file->start[rows], 1, sizeof *file->column);
    file->probability = sable_array(file->start[rows], 1, sizeof *file->probability);
    if (!file->column || !file->probability)
        return sable_fail(error, SABLE_ENVIRONMENT, "out of memory for %lld transitions", (long long)file->start[rows]);
    if (visit_all(path, &head, keep, file, error))
        return error->code;
    memmove(file->start + 1, file->start, (size_t)rows * sizeof *file->start);
    file->start[0] = 0;
    return SABLE_OK;
}

/* ---- Rewards ---- */

static int add_state_reward(struct text *t, struct mdp_file *file, struct sable_error *error)
{
    int64_t state;
    double reward;
    if (t->words != 2)
        return refuse(t, "should be 'state reward'", error);
    if (whole(t, 0, file->states, &state, error) || real(t, 1, &reward, error))
        return error->code;
    for (int64_t a = 0; mine(file, state) && a < file->actions; a++)
        file->reward[(state - file->part.first) * file->actions + a] += reward;
    return SABLE_OK;
}

static int add_transition_reward(struct text *t, const struct head *head, struct mdp_file *file,
                                 struct mdp_extras *extras, struct sable_error *error)
{
    struct transition x;
    if (read_transition(t, head, &x, error))
        return error->code;
    if (x.choice >= file->actions)
        return refuse(t, "a reward of a choice that isn't there", error);
    if (!mine(file, x.state))
        return SABLE_OK;
    const int64_t row = row_of(file, &x);
    for (int64_t k = file->start[row]; k < file->start[row + 1]; k++)
        if (file->column[k] == x.successor) {
            extras->reward[k] += x.number;
            return SABLE_OK;
        }
    return refuse(t, "a reward of a transition that isn't there", error);
}

/* A file of one kind or the other, told by its head: of a chain both have two numbers, then by the name. */
static int read_reward_file(const char *path, bool chain, struct mdp_file *file, struct mdp_extras *extras,
                            struct sable_error *error)
{
    struct text t;
    struct head head = {0};
    int64_t count = 0;
    const size_t length = strlen(path);
    if (!open_text(path, &t, error) && !read_head(&t, &head, error)) {
        const bool by_name = length > 5 && strcmp(path + length - 5, ".trew") == 0;
        const bool of_transitions = !head.chain || (chain && by_name);
        head.chain = of_transitions && chain;
        if (head.states != file->states)
            refuse(&t, "another number of states than that of the transitions", error);
        while (!error->code && next_line(&t, error)) {
            count++;
            if (of_transitions)
                add_transition_reward(&t, &head, file, extras, error);
            else
                add_state_reward(&t, file, error);
        }
        if (!error->code && count != head.transitions)
            sable_fail(error, SABLE_BAD_INPUT, "%s: %lld rewards instead of %lld: truncated?", path, (long long)count,
                       (long long)head.transitions);
    }
    close_text(&t);
    return error->code;
}

/* `name` with another ending; false if there is no such file. */
static bool beside(const char *path, const char *ending, char *name, size_t size)
{
    const char *dot = strrchr(path, '.'), *slash = strrchr(path, '/');
    size_t stem = dot && (!slash || dot > slash) ? (size_t)(dot - path) : strlen(path);
    if (stem + strlen(ending) >= size)
        return false;
    snprintf(name, size, "%.*s%s", (int)stem, path, ending);
    FILE *file = fopen(name, "r");
    if (file)
        fclose(file);
    return file != NULL;
}

int mdp_prism_read(const char *path, const char *rewards, struct sable_layout layout, struct mdp_file *file,
                   struct mdp_extras *extras, struct sable_error *error)
{
    static const char *const endings[] = {".rews", ".srew", ".trew"};
    char name[1200];
    struct text t;
    struct head head = {0};
    bool found = rewards[0] != '\0';
    if (!open_text(path, &t, error))
        read_head(&t, &head, error);
    close_text(&t);
    if (error->code || read_rows(path, layout, file, error))
        return error->code;
    const int64_t transitions = file->start[file->part.count * file->actions];
    extras->reward = sable_array(transitions, 1, sizeof *extras->reward);
    if (!extras->reward)
        return sable_fail(error, SABLE_ENVIRONMENT, "out of memory for rewards");
    memset(extras->reward, 0, (size_t)transitions * sizeof *extras->reward);
    if (found)
        return read_reward_file(rewards, head.chain, file, extras, error);
    for (int i = 0; i < 3; i++)
        if (beside(path, endings[i], name, sizeof name)) {
            found = true;
            if (read_reward_file(name, head.chain, file, extras, error))
                return error->code;
        }
    return found ? SABLE_OK
                 : sable_fail(error, SABLE_BAD_INPUT,
                              "%s: no .rews, .srew or .trew beside it: give the file of rewards by -s rewards=FILE",
                              path);
}
