/* What `sable compare` tells: lines for people and scripts, or JSON. */
#include <math.h>
#include <string.h>

#include "compare_pairs.h"
#include "json.h"

static const char *change_name(enum sable_change change)
{
    static const char *const names[] = {"faster", "same", "slower", "undecided"};
    return names[change];
}

static const char *likeness_name(const struct sable_options *o, const struct sable_pair *pair)
{
    static const char *const names[] = {"same", "within", "DIFFERENT", "unknown"};
    return o->outputs == SABLE_OUTPUTS_IGNORE ? "ignored" : names[pair->likeness];
}

/* ---- Where they ran ---- */

static const char *fact_of(const struct sable_results_contents *file, const char *name)
{
    for (int f = 0; f < file->machine.facts; f++)
        if (strcmp(file->machine.fact[f].name, name) == 0)
            return file->machine.fact[f].text;
    return NULL;
}

static void tell_difference(FILE *stream, json_t *list, const char *name, const char *base, const char *updated)
{
    if (base && updated && strcmp(base, updated) == 0)
        return;
    if (list)
        json_array_append_new(list, json_pack("{ss ss? ss?}", "name", name, "base", base, "new", updated));
    else
        fprintf(stream, "  %-18s %s -> %s\n", name, base ? base : "(absent)", updated ? updated : "(absent)");
}

/* To `list`, or if that is NULL as lines. */
static void tell_provenance(FILE *stream, json_t *list, const struct sable_comparison *c)
{
    tell_difference(stream, list, "sable_version", c->base.sable_version, c->updated.sable_version);
    tell_difference(stream, list, "git_revision", c->base.git_revision, c->updated.git_revision);
    for (int f = 0; f < c->base.machine.facts; f++) {
        const struct sable_fact *fact = &c->base.machine.fact[f];
        tell_difference(stream, list, fact->name, fact->text, fact_of(&c->updated, fact->name));
    }
    for (int f = 0; f < c->updated.machine.facts; f++) {
        const struct sable_fact *fact = &c->updated.machine.fact[f];
        if (!fact_of(&c->base, fact->name))
            tell_difference(stream, list, fact->name, NULL, fact->text);
    }
}

static const struct sable_ceiling *ceiling_like(const struct sable_ceilings *list, const struct sable_ceiling *wanted)
{
    for (int i = 0; i < list->count; i++)
        if (strcmp(list->list[i].name, wanted->name) == 0 && list->list[i].ranks == wanted->ranks &&
            list->list[i].threads == wanted->threads)
            return &list->list[i];
    return NULL;
}

/* Ceilings that are off by more than the threshold, their intervals apart: the machine has changed, not the program. */
static void tell_ceilings(FILE *stream, json_t *list, const struct sable_options *o, const struct sable_comparison *c)
{
    for (int i = 0; i < c->base.ceilings.count; i++) {
        const struct sable_ceiling *a = &c->base.ceilings.list[i], *b = ceiling_like(&c->updated.ceilings, a);
        if (!b || !(a->value > 0) || !(b->value > 0) || (b->low <= a->high && a->low <= b->high) ||
            fabs(log(b->value / a->value)) <= log1p(o->threshold))
            continue;
        if (list)
            json_array_append_new(list, json_pack("{ss ss si si sf sf}", "name", a->name, "unit", a->unit, "ranks",
                                                  a->ranks, "threads", a->threads, "base", a->value, "new", b->value));
        else
            fprintf(stream, "  ceiling %-22s %.4g -> %.4g %s (%+.1f %%), %dx%d\n", a->name, a->value, b->value, a->unit,
                    100 * (b->value / a->value - 1), a->ranks, a->threads);
    }
}

/* ---- Lines ---- */

static void print_outputs(FILE *stream, const struct sable_options *o, const struct sable_pair *pair)
{
    for (int p = 0; p < pair->outputs.count; p++) {
        const struct sable_output_pair *output = &pair->outputs.pair[p];
        if (*output->why)
            fprintf(stream, "  %s: output %s: %s\n", pair->base->name, output->name, output->why);
        else if (output->difference > 0)
            fprintf(stream, "  %s: output %s differs by up to %.3g (tolerance %.3g)\n", pair->base->name, output->name,
                    output->difference, output->tolerance);
    }
    if (pair->likeness == SABLE_DIFFERENT && o->outputs == SABLE_OUTPUTS_EXACT)
        fprintf(stream, "  %s %s: digest %016llx -> %016llx; if that is meant: --outputs tolerance\n", pair->base->name,
                pair->base->variant, (unsigned long long)pair->base->digest, (unsigned long long)pair->updated->digest);
    if (pair->likeness == SABLE_NOT_COMPARABLE && o->outputs != SABLE_OUTPUTS_IGNORE)
        fprintf(stream, "  %s %s: no digest that holds for both layouts\n", pair->base->name, pair->base->variant);
}

static void print_pair(FILE *stream, const struct sable_options *o, const struct sable_pair *pair)
{
    const struct sable_run *a = pair->base, *b = pair->updated;
    char layout[48], other[24] = "", interval[48] = "none";
    if (a->ranks != b->ranks || a->threads != b->threads)
        snprintf(other, sizeof other, "->%dx%d", b->ranks, b->threads);
    snprintf(layout, sizeof layout, "%dx%d%s", a->ranks, a->threads, other);
    if (pair->ratio.exists)
        snprintf(interval, sizeof interval, "%.4f..%.4f", pair->ratio.low, pair->ratio.high);
    fprintf(stream, "%-26s %-10s %-10s %-10.4g %-10.4g %-8.4f %-16s %-10s %s\n", a->name, a->variant, layout,
            pair->time[0], pair->time[1], pair->ratio.mid, interval, change_name(pair->change), likeness_name(o, pair));
}

static void print_notes(FILE *stream, const struct sable_options *o, const struct sable_pair *pair)
{
    const struct sable_run *a = pair->base, *b = pair->updated;
    if (strcmp(a->strategy, b->strategy) != 0)
        fprintf(stream, "  %s: strategy %s -> %s\n", a->name, a->strategy, b->strategy);
    if (a->verified == SABLE_FAIL || b->verified == SABLE_FAIL)
        fprintf(stream, "  %s %s: the answer of %s is WRONG\n", a->name, a->variant,
                b->verified == SABLE_FAIL ? "the new run" : "the base");
    if (a->verdict == SABLE_UNTRUSTED || b->verdict == SABLE_UNTRUSTED)
        fprintf(stream, "  %s %s: the time of %s is UNTRUSTED\n", a->name, a->variant,
                a->verdict != b->verdict ? (a->verdict == SABLE_UNTRUSTED ? "the base" : "the new run") : "both");
    if (!pair->ratio.exists)
        fprintf(stream, "  %s %s: too few repetitions for an interval (%lld and %lld)\n", a->name, a->variant,
                (long long)a->reps, (long long)b->reps);
    print_outputs(stream, o, pair);
}

void sable_comparison_print(FILE *stream, const struct sable_options *o, const struct sable_comparison *c)
{
    fprintf(stream, "base %s, %s\nnew  %s, %s\n", c->path[0], c->base.created, c->path[1], c->updated.created);
    if (o->whats > 2)
        fprintf(stream, "and %d more pairs of launches; times and surroundings are those of the first\n",
                o->whats / 2 - 1);
    else
        fprintf(stream, "one pair of launches: how much launches differ is not in the intervals (docs/compare.md)\n");
    tell_provenance(stream, NULL, c);
    tell_ceilings(stream, NULL, o, c);
    fprintf(stream, "\n%-26s %-10s %-10s %-10s %-10s %-8s %-16s %-10s %s\n", "workload", "variant", "layout",
            "base [s]", "new [s]", "ratio", "95 % interval", "verdict", "outputs");
    for (int p = 0; p < c->pairs; p++)
        print_pair(stream, o, &c->pair[p]);
    for (int p = 0; p < c->pairs; p++)
        print_notes(stream, o, &c->pair[p]);
    if (c->alone[0] || c->alone[1])
        fprintf(stream, "  without a partner: %d run%s of the base, %d of the new file\n", c->alone[0],
                c->alone[0] == 1 ? "" : "s", c->alone[1]);
    fputc('\n', stream);
    for (int p = 0; p < c->pairs; p++) {
        const struct sable_pair *pair = &c->pair[p];
        fprintf(stream, "COMPARE %s %s %dx%d %.4f %.4f %.4f %s %s\n", pair->base->name, pair->base->variant,
                pair->base->ranks, pair->base->threads, pair->ratio.mid, pair->ratio.low, pair->ratio.high,
                change_name(pair->change), likeness_name(o, pair));
    }
}

/* ---- JSON ---- */

static json_t *number(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

static json_t *json_of_pair(const struct sable_options *o, const struct sable_pair *pair)
{
    json_t *outputs = json_array();
    for (int p = 0; p < pair->outputs.count; p++) {
        const struct sable_output_pair *output = &pair->outputs.pair[p];
        json_array_append_new(outputs, json_pack("{ss so so sb ss}", "name", output->name, "difference",
                                                 number(output->difference), "tolerance", number(output->tolerance),
                                                 "within", output->within, "why", output->why));
    }
    const struct sable_run *a = pair->base, *b = pair->updated;
    bool exists = pair->ratio.exists;
    return json_pack("{ss ss si si si si si so so so so so ss ss ss ss ss so}", "workload", a->name, "variant",
                     a->variant, "ranks", a->ranks, "threads", a->threads, "new_ranks", b->ranks, "new_threads",
                     b->threads, "launches", pair->launches, "base_seconds", number(pair->time[0]), "new_seconds",
                     number(pair->time[1]), "ratio", number(pair->ratio.mid), "ratio_ci_low",
                     number(exists ? pair->ratio.low : NAN), "ratio_ci_high", number(exists ? pair->ratio.high : NAN),
                     "verdict", change_name(pair->change), "outputs", likeness_name(o, pair), "base_verdict",
                     sable_verdict_name(a->verdict), "new_verdict", sable_verdict_name(b->verdict), "class",
                     a->class_name, "arrays", outputs);
}

int sable_comparison_json(FILE *stream, const struct sable_options *o, const struct sable_comparison *c, int code,
                          struct sable_error *error)
{
    json_t *provenance = json_array(), *ceilings = json_array(), *pairs = json_array();
    tell_provenance(NULL, provenance, c);
    tell_ceilings(NULL, ceilings, o, c);
    for (int p = 0; p < c->pairs; p++)
        json_array_append_new(pairs, json_of_pair(o, &c->pair[p]));
    json_t *root = json_pack("{ss ss sf si so so so si si}", "base", c->path[0], "new", c->path[1], "threshold",
                             o->threshold, "status", code, "provenance", provenance, "ceilings", ceilings, "runs",
                             pairs, "base_alone", c->alone[0], "new_alone", c->alone[1]);
    return sable_json_write(stream, root, "the comparison", error);
}
