/* `sable compare`: which runs of two files belong together, what their times, answers and surroundings say. The text
 * and JSON of it: compare_report.c. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compare_pairs.h"
#include "report.h"

/* ---- Which runs belong together ---- */

static const char *setting_of(const struct sable_run *run, const char *name)
{
    for (int s = 0; s < run->settings; s++)
        if (strcmp(run->setting[s].name, name) == 0)
            return run->setting[s].text;
    return NULL;
}

/* The first thing by which two runs of one workload are different problems; false if they are the same. How ranks share
 * the work is no part of the problem. */
static bool differ(const struct sable_run *a, const struct sable_run *b, char *text, size_t size)
{
    for (int s = 0; s < a->settings; s++) {
        const char *name = a->setting[s].name, *other = setting_of(b, name);
        if (strcmp(name, "strategy") != 0 && (!other || strcmp(other, a->setting[s].text) != 0)) {
            snprintf(text, size, "%s=%.80s against %s%.80s", name, a->setting[s].text, other ? "" : "no ",
                     other ? other : name);
            return true;
        }
    }
    for (int s = 0; s < b->settings; s++)
        if (!setting_of(a, b->setting[s].name)) {
            snprintf(text, size, "%s=%.80s in one only", b->setting[s].name, b->setting[s].text);
            return true;
        }
    if (a->seed != b->seed)
        snprintf(text, size, "seed=%llu against %llu", (unsigned long long)a->seed, (unsigned long long)b->seed);
    else if (strcmp(a->input, b->input) != 0)
        snprintf(text, size, "input '%.80s' against '%.80s'", a->input, b->input);
    else
        return false;
    return true;
}

static bool same_kind(const struct sable_run *a, const struct sable_run *b)
{
    return strcmp(a->name, b->name) == 0 && strcmp(a->variant, b->variant) == 0;
}

static bool same_layout(const struct sable_run *a, const struct sable_run *b)
{
    return a->ranks == b->ranks && a->threads == b->threads && strcmp(a->strategy, b->strategy) == 0;
}

/* How many runs of the file are this problem on any layout? */
static int count_problem(const struct sable_results_contents *file, const struct sable_run *run)
{
    char text[SABLE_WHY_SIZE];
    int count = 0;
    for (int r = 0; r < file->runs; r++)
        count += same_kind(&file->run[r], run) && !differ(&file->run[r], run, text, sizeof text);
    return count;
}

/* The new run that belongs to a base run: the first one not yet taken of the same problem and layout; where both files
 * hold the problem once, on whatever layout. −1 if there is none. */
static int partner(const struct sable_comparison *c, const struct sable_run *base)
{
    char text[SABLE_WHY_SIZE];
    int other = -1;
    for (int r = 0; r < c->updated.runs; r++) {
        const struct sable_run *run = &c->updated.run[r];
        if (c->taken[r] || !same_kind(base, run) || differ(base, run, text, sizeof text))
            continue;
        if (same_layout(base, run))
            return r;
        other = r;
    }
    return other >= 0 && count_problem(&c->base, base) == 1 && count_problem(&c->updated, base) == 1 ? other : -1;
}

/* A base run without a partner: refused if the new file holds the workload and variant as other problems only. */
static int check_alone(const struct sable_comparison *c, const struct sable_run *base, struct sable_error *error)
{
    char text[SABLE_WHY_SIZE] = "", first[SABLE_WHY_SIZE] = "";
    for (int r = 0; r < c->updated.runs; r++) {
        if (!same_kind(base, &c->updated.run[r]))
            continue;
        if (!differ(base, &c->updated.run[r], text, sizeof text))
            return SABLE_OK;
        if (!*first)
            snprintf(first, sizeof first, "%s", text);
    }
    return *first ? sable_fail(error, SABLE_BAD_INPUT, "different problems can't be compared: %s %s has %s", base->name,
                               base->variant, first)
                  : SABLE_OK;
}

/* ---- One pair ---- */

/* Seconds of each repetition's slowest rank; owned by the caller. */
static double *slowest(const struct sable_run *run)
{
    double *seconds = malloc(((size_t)run->reps + 1) * sizeof *seconds);
    for (int64_t i = 0; seconds && i < run->reps; i++) {
        const double *row = run->seconds + i * run->ranks;
        seconds[i] = row[0];
        for (int rank = 1; rank < run->ranks; rank++)
            seconds[i] = row[rank] > seconds[i] || isnan(row[rank]) ? row[rank] : seconds[i];
    }
    return seconds;
}

/* A change counts from 1 + threshold on, or below 1/(1 + threshold). */
static enum sable_change judge_ratio(struct sable_interval ratio, double threshold)
{
    double limit = 1 + threshold;
    if (!ratio.exists)
        return SABLE_UNDECIDED;
    if (ratio.low > limit)
        return SABLE_SLOWER;
    if (ratio.high < 1 / limit)
        return SABLE_FASTER;
    return ratio.low >= 1 / limit && ratio.high <= limit ? SABLE_UNCHANGED : SABLE_UNDECIDED;
}

static enum sable_likeness judge_outputs(const struct sable_options *o, const struct sable_pair *pair)
{
    const struct sable_run *a = pair->base, *b = pair->updated;
    if (!a->has_digest || !b->has_digest)
        return SABLE_NOT_COMPARABLE;
    if (a->digest == b->digest)
        return SABLE_SAME;
    if (o->outputs == SABLE_OUTPUTS_TOLERANCE) {
        bool within = pair->outputs.count > 0;
        for (int p = 0; p < pair->outputs.count; p++)
            within = within && pair->outputs.pair[p].within;
        return within ? SABLE_WITHIN : SABLE_DIFFERENT;
    }
    return (a->layout_invariant && b->layout_invariant) || same_layout(a, b) ? SABLE_DIFFERENT : SABLE_NOT_COMPARABLE;
}

static int compare_pair(const struct sable_options *o, const char *const path[2], struct sable_pair *pair,
                        struct sable_error *error)
{
    const struct sable_run *a = pair->base, *b = pair->updated;
    double *base = slowest(a), *updated = slowest(b);
    if (!base || !updated)
        sable_fail(error, SABLE_ENVIRONMENT, "out of memory for the times of %s", a->name);
    else {
        pair->time[0] = sable_quantile(base, (size_t)a->reps, 0.5);
        pair->time[1] = sable_quantile(updated, (size_t)b->reps, 0.5);
        pair->ratio = sable_independent_ratio(updated, (size_t)b->reps, base, (size_t)a->reps);
        pair->change = judge_ratio(pair->ratio, o->threshold);
        pair->wrong = b->verified == SABLE_FAIL;
    }
    free(base);
    free(updated);
    if (!error->code && o->outputs != SABLE_OUTPUTS_IGNORE && a->digest != b->digest)
        sable_compare_outputs(path[0], a, path[1], b, &pair->outputs, error);
    pair->likeness = judge_outputs(o, pair);
    return error->code;
}

static int compare_runs(const struct sable_options *o, struct sable_comparison *c, struct sable_error *error)
{
    c->taken = calloc((size_t)c->updated.runs + 1, sizeof *c->taken);
    c->pair = calloc((size_t)c->base.runs + 1, sizeof *c->pair);
    if (!c->taken || !c->pair)
        return sable_fail(error, SABLE_ENVIRONMENT, "out of memory for %d runs", c->base.runs);
    for (int r = 0; r < c->base.runs && !error->code; r++) {
        struct sable_run *base = &c->base.run[r];
        int found = partner(c, base);
        if (found < 0) {
            c->alone[0]++;
            check_alone(c, base, error);
            continue;
        }
        c->taken[found] = true;
        c->pair[c->pairs] = (struct sable_pair){.base = base, .updated = &c->updated.run[found], .launches = 1};
        compare_pair(o, c->path, &c->pair[c->pairs++], error);
    }
    c->alone[1] = c->updated.runs - c->pairs;
    if (!error->code && c->pairs == 0)
        return sable_fail(error, SABLE_BAD_INPUT, "%s and %s have no workload and variant in common", c->path[0],
                          c->path[1]);
    return error->code;
}

static int open_comparison(const struct sable_options *o, int k, struct sable_comparison *c, struct sable_error *error)
{
    c->path[0] = o->what[2 * k];
    c->path[1] = o->what[2 * k + 1];
    return sable_results_read(c->path[0], &c->base, error) || sable_results_read(c->path[1], &c->updated, error)
               ? error->code
               : compare_runs(o, c, error);
}

static void close_comparison(struct sable_comparison *c)
{
    for (int p = 0; p < c->pairs; p++)
        free(c->pair[p].ratios);
    free(c->pair);
    free(c->taken);
    sable_results_contents_free(&c->base);
    sable_results_contents_free(&c->updated);
}

/* ---- Further pairs of launches ---- */

/* The pair of `more` that is the same as one of the first pair of launches; NULL if there is none. */
static const struct sable_pair *counterpart(const struct sable_comparison *more, const struct sable_pair *pair)
{
    char text[SABLE_WHY_SIZE];
    for (int p = 0; p < more->pairs; p++)
        if (same_kind(more->pair[p].base, pair->base) && same_layout(more->pair[p].base, pair->base) &&
            !differ(more->pair[p].base, pair->base, text, sizeof text))
            return &more->pair[p];
    return NULL;
}

/* What a further pair of launches adds: its ratio, and its answers if they are worse. */
static void add_launch(struct sable_comparison *c, const struct sable_comparison *more)
{
    for (int p = 0; p < c->pairs; p++) {
        struct sable_pair *pair = &c->pair[p];
        const struct sable_pair *other = counterpart(more, pair);
        if (!other)
            continue;
        pair->ratios[pair->launches++] = other->ratio.mid;
        pair->ratio.low = fmin(pair->ratio.low, other->ratio.low);
        pair->ratio.high = fmax(pair->ratio.high, other->ratio.high);
        if (other->likeness == SABLE_DIFFERENT || (other->likeness != SABLE_SAME && pair->likeness == SABLE_SAME)) {
            pair->likeness = other->likeness;
            pair->outputs = other->outputs;
        }
        pair->wrong |= other->updated->verified == SABLE_FAIL;
    }
}

/* Launches of one and the same program differ by more than the repetitions within one tell. With six pairs and more the
 * interval is that of the median of their ratios; below, it encloses the intervals of all. */
static void judge_launches(const struct sable_options *o, struct sable_pair *pair)
{
    if (pair->launches < 2)
        return;
    struct sable_interval all = sable_median_interval(pair->ratios, (size_t)pair->launches);
    pair->ratio.mid = all.mid;
    if (all.exists)
        pair->ratio = all;
    pair->change = judge_ratio(pair->ratio, o->threshold);
}

static int compare_launches(const struct sable_options *o, struct sable_comparison *c, struct sable_error *error)
{
    int launches = o->whats / 2;
    if (open_comparison(o, 0, c, error))
        return error->code;
    for (int p = 0; p < c->pairs; p++) {
        if (!(c->pair[p].ratios = calloc((size_t)launches, sizeof(double))))
            return sable_fail(error, SABLE_ENVIRONMENT, "out of memory for %d launches", launches);
        c->pair[p].ratios[0] = c->pair[p].ratio.mid;
    }
    for (int k = 1; k < launches && !error->code; k++) {
        struct sable_comparison more = {0};
        if (!open_comparison(o, k, &more, error))
            add_launch(c, &more);
        close_comparison(&more);
    }
    for (int p = 0; p < c->pairs; p++)
        judge_launches(o, &c->pair[p]);
    return error->code;
}

/* ---- The command ---- */

static int outcome(const struct sable_options *o, const struct sable_comparison *c)
{
    int code = SABLE_OK;
    for (int p = 0; p < c->pairs; p++) {
        const struct sable_pair *pair = &c->pair[p];
        if (pair->wrong || (o->outputs != SABLE_OUTPUTS_IGNORE && pair->likeness == SABLE_DIFFERENT))
            return SABLE_WRONG;
        if (pair->change == SABLE_SLOWER)
            code = SABLE_REGRESSION;
    }
    return code;
}

int sable_compare(FILE *stream, const struct sable_options *options, struct sable_error *error)
{
    struct sable_comparison *c = calloc(1, sizeof *c);
    if (!c)
        return sable_fail(error, SABLE_ENVIRONMENT, "out of memory");
    int code = compare_launches(options, c, error);
    if (!code) {
        code = outcome(options, c);
        if (options->json)
            sable_comparison_json(stream, options, c, code, error);
        else
            sable_comparison_print(stream, options, c);
        code = error->code ? error->code : code;
    }
    close_comparison(c);
    free(c);
    return code;
}
