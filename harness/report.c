#include "report.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "stats.h"

/* Median seconds of a repetition (of its slowest rank) and its 95 % interval. */
static struct sable_interval time_of(const struct sable_run *run)
{
    struct sable_interval none = {NAN, NAN, NAN, 0};
    double *slowest = run->seconds && run->reps > 0 ? malloc((size_t)run->reps * sizeof *slowest) : NULL;
    if (!slowest)
        return none;
    for (int64_t rep = 0; rep < run->reps; rep++) {
        slowest[rep] = run->seconds[rep * run->ranks];
        for (int r = 1; r < run->ranks; r++)
            slowest[rep] = fmax(slowest[rep], run->seconds[rep * run->ranks + r]);
    }
    struct sable_interval interval = sable_median_interval(slowest, (size_t)run->reps);
    free(slowest);
    return interval;
}

void sable_report_fom(FILE *stream, const struct sable_run *run)
{
    fprintf(stream, "FOM %s %s %.4g %s %.1f %% of %s %s\n", run->name, run->variant, run->fom, run->fom_unit,
            *run->ceiling ? 100 * run->share : NAN, *run->ceiling ? run->ceiling : "none",
            sable_verdict_name(run->verdict));
}

/* ---- The table: cells padded by what is seen, since "×" and "±" take more than one byte ---- */

enum { CELL_SIZE = 96, COLUMNS = 9 };

static const char *const headings[COLUMNS] = {"workload", "variant",       "class",           "layout",          "reps",
                                              "time [s]", "95 % interval", "figure of merit", "share of ceiling"};

static int seen(const char *text)
{
    int columns = 0;
    for (; *text; text++)
        columns += ((unsigned char)*text & 0xC0) != 0x80;
    return columns;
}

static void fill_row(const struct sable_run *run, char cell[COLUMNS][CELL_SIZE])
{
    struct sable_interval time = time_of(run);
    snprintf(cell[0], CELL_SIZE, "%s", run->name);
    snprintf(cell[1], CELL_SIZE, "%s", run->variant);
    snprintf(cell[2], CELL_SIZE, "%s", run->class_name);
    snprintf(cell[3], CELL_SIZE, "%d×%d", run->ranks, run->threads);
    snprintf(cell[4], CELL_SIZE, "%" PRId64, run->reps);
    snprintf(cell[5], CELL_SIZE, "%.4g", time.mid);
    if (time.exists)
        snprintf(cell[6], CELL_SIZE, "± %.1f %%", 50 * (time.high - time.low) / time.mid);
    else
        snprintf(cell[6], CELL_SIZE, "none below %d", SABLE_STATS_MIN_SAMPLES);
    snprintf(cell[7], CELL_SIZE, "%.4g %s", run->fom, run->fom_unit);
    if (*run->ceiling)
        snprintf(cell[8], CELL_SIZE, "%.1f %% of %s", 100 * run->share, run->ceiling);
    else
        snprintf(cell[8], CELL_SIZE, "–");
}

static void print_rows(FILE *stream, const struct sable_run *runs, int count)
{
    char cell[COLUMNS][CELL_SIZE];
    int width[COLUMNS];
    for (int c = 0; c < COLUMNS; c++)
        width[c] = seen(headings[c]);
    for (int r = 0; r < count; r++) {
        fill_row(&runs[r], cell);
        for (int c = 0; c < COLUMNS; c++)
            width[c] = seen(cell[c]) > width[c] ? seen(cell[c]) : width[c];
    }
    for (int c = 0; c < COLUMNS; c++)
        fprintf(stream, "%s%*s", headings[c], width[c] - seen(headings[c]) + 2, "");
    fputs("verdict\n", stream);
    for (int r = 0; r < count; r++) {
        fill_row(&runs[r], cell);
        for (int c = 0; c < COLUMNS; c++)
            fprintf(stream, "%s%*s", cell[c], width[c] - seen(cell[c]) + 2, "");
        fprintf(stream, "%s\n", sable_verdict_name(runs[r].verdict));
    }
}

/* Differences below this are not called one, however narrow the interval: code placement alone makes as much. */
static const double least_difference = 0.01;

static void print_ratio(FILE *stream, const struct sable_run *run)
{
    if (!isfinite(run->ratio_low)) {
        fprintf(stream, "%s: %s ran at %.3g times the speed of %s: too few repetitions for an interval\n", run->name,
                run->variant, run->ratio, run->ratio_to);
        return;
    }
    const char *meaning = run->ratio_low > 1 && run->ratio >= 1 + least_difference    ? "faster"
                          : run->ratio_high < 1 && run->ratio <= 1 - least_difference ? "slower"
                                                                                      : "no difference shown";
    fprintf(stream, "%s: %s runs at %.3g times the speed of %s (95 %%: %.3g to %.3g): %s\n", run->name, run->variant,
            run->ratio, run->ratio_to, run->ratio_low, run->ratio_high, meaning);
}

static void print_remarks(FILE *stream, const struct sable_run *run)
{
    for (int c = 0; c < run->checks; c++) {
        const struct sable_check_result *check = &run->check[c];
        if (!check->pass)
            fprintf(stream, "%s %s: check %s failed: %.17g, expected %.17g within %.3g\n", run->name, run->variant,
                    check->name, check->value, check->expected, check->tolerance);
    }
    for (int i = 0; i < run->notes; i++)
        fprintf(stream, "%s %s: %s: %s\n", run->name, run->variant, run->note[i].name, run->note[i].text);
    for (const char *line = run->warnings; *line;) {
        int length = (int)strcspn(line, "\n");
        fprintf(stream, "%s %s: %.*s\n", run->name, run->variant, length, line);
        line += length + (line[length] == '\n');
    }
}

/* ---- Phases ---- */

static const double phase_quantile[] = {0.5, 0.9, 0.99, 1};
enum { QUANTILES = sizeof phase_quantile / sizeof *phase_quantile };

/* Quantiles over repetitions × ranks of one phase's seconds, and its share of all time. */
static void summarise_phase(const struct sable_run *run, int phase, double quantile[QUANTILES], double *share)
{
    size_t samples = (size_t)(run->reps * run->ranks);
    double *own = malloc((samples + 1) * sizeof *own), all = 0, sum = 0;
    for (int q = 0; q < QUANTILES; q++)
        quantile[q] = NAN;
    for (size_t i = 0; own && i < samples; i++) {
        own[i] = run->phase_seconds[i * (size_t)run->phases + (size_t)phase];
        sum += own[i];
        for (int p = 0; p < run->phases; p++)
            all += run->phase_seconds[i * (size_t)run->phases + (size_t)p];
    }
    for (int q = 0; own && samples > 0 && q < QUANTILES; q++)
        quantile[q] = sable_quantile(own, samples, phase_quantile[q]);
    *share = sum / all;
    free(own);
}

void sable_report_phases(FILE *stream, const struct sable_run *runs, int count)
{
    fprintf(stream, "%-26s %-10s %-12s %7s %10s %10s %10s %10s  (seconds, over repetitions x ranks)\n", "workload",
            "variant", "phase", "share", "P50", "P90", "P99", "max");
    for (int r = 0; r < count; r++)
        for (int phase = 0; runs[r].phase_seconds && phase < runs[r].phases; phase++) {
            double quantile[QUANTILES], share;
            summarise_phase(&runs[r], phase, quantile, &share);
            fprintf(stream, "%-26s %-10s %-12s %5.1f %% %10.3g %10.3g %10.3g %10.3g\n", runs[r].name, runs[r].variant,
                    runs[r].phase_name[phase], 100 * share, quantile[0], quantile[1], quantile[2], quantile[3]);
        }
}

void sable_report_table(FILE *stream, const struct sable_run *runs, int count)
{
    print_rows(stream, runs, count);
    for (int r = 0; r < count; r++)
        if (isfinite(runs[r].ratio))
            print_ratio(stream, &runs[r]);
    for (int r = 0; r < count; r++)
        print_remarks(stream, &runs[r]);
}

/* ---- JSON; NaN has no form there and becomes null ---- */

static json_t *number(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

static json_t *json_of_setting(const struct sable_setting *setting)
{
    switch (setting->type) {
    case SABLE_INT:
        return json_integer(setting->integer);
    case SABLE_REAL:
        return number(setting->real);
    case SABLE_POINT:
        return json_pack("[oo]", number(setting->point.x), number(setting->point.y));
    default:
        return json_string(setting->text);
    }
}

static json_t *json_of_checks(const struct sable_run *run)
{
    json_t *checks = json_array();
    for (int c = 0; c < run->checks; c++) {
        const struct sable_check_result *check = &run->check[c];
        json_array_append_new(checks, json_pack("{ss so so so sb}", "name", check->name, "value", number(check->value),
                                                "expected", number(check->expected), "tolerance",
                                                number(check->tolerance), "pass", check->pass));
    }
    return checks;
}

static json_t *json_of_phases(const struct sable_run *run)
{
    json_t *phases = json_array();
    for (int phase = 0; run->phase_seconds && phase < run->phases; phase++) {
        double quantile[QUANTILES], share;
        summarise_phase(run, phase, quantile, &share);
        json_array_append_new(phases, json_pack("{ss so so so so so}", "name", run->phase_name[phase], "share",
                                                number(share), "p50", number(quantile[0]), "p90", number(quantile[1]),
                                                "p99", number(quantile[2]), "max", number(quantile[3])));
    }
    return phases;
}

static json_t *json_of_run(const struct sable_run *run)
{
    struct sable_interval time = time_of(run);
    char digest[20] = "";
    if (run->has_digest)
        snprintf(digest, sizeof digest, "%016" PRIx64, run->digest);
    json_t *parameters = json_object();
    for (int s = 0; s < run->settings; s++)
        json_object_set_new(parameters, run->setting[s].name, json_of_setting(&run->setting[s]));
    json_t *json =
        json_pack("{ss ss ss so sI si si sI sI ss so so so}", "workload", run->name, "variant", run->variant, "class",
                  run->class_name, "parameters", parameters, "seed", (json_int_t)run->seed, "ranks", run->ranks,
                  "threads", run->threads, "growth", (json_int_t)run->growth, "reps", (json_int_t)run->reps, "stopped",
                  run->stopped, "seconds", number(time.mid), "seconds_ci_low", number(time.exists ? time.low : NAN),
                  "seconds_ci_high", number(time.exists ? time.high : NAN));
    json_t *rest = json_pack(
        "{ss ss so so so ss so so ss so so so ss ss ss so ss}", "fom_name", run->fom_name, "fom_unit", run->fom_unit,
        "fom", number(run->fom), "fom_ci_low", number(run->fom_low), "fom_ci_high", number(run->fom_high), "ceiling",
        run->ceiling, "ceiling_value", number(run->ceiling_value), "share_of_ceiling", number(run->share), "ratio_to",
        run->ratio_to, "ratio", number(run->ratio), "ratio_ci_low", number(run->ratio_low), "ratio_ci_high",
        number(run->ratio_high), "verified", sable_verdict_name(run->verified), "verdict",
        sable_verdict_name(run->verdict), "digest", digest, "checks", json_of_checks(run), "warnings", run->warnings);
    json_object_update_new(json, rest);
    json_object_set_new(json, "phases", json_of_phases(run));
    json_t *notes = json_object();
    for (int i = 0; i < run->notes; i++)
        json_object_set_new(notes, run->note[i].name, json_string(run->note[i].text));
    json_object_set_new(json, "notes", notes);
    return json;
}

json_t *sable_report_json(const struct sable_run *runs, int count)
{
    json_t *list = json_array();
    for (int r = 0; r < count; r++)
        json_array_append_new(list, json_of_run(&runs[r]));
    return list;
}

/* ---- Ceilings ---- */

void sable_report_ceilings(FILE *stream, const struct sable_ceilings *ceilings)
{
    fprintf(stream, "%-22s %12s %-12s %-16s %s\n", "ceiling", "value", "unit", "95 % interval",
            "ranks x threads, nodes");
    for (int i = 0; i < ceilings->count; i++) {
        const struct sable_ceiling *ceiling = &ceilings->list[i];
        char interval[48];
        snprintf(interval, sizeof interval, "%.4g..%.4g", ceiling->low, ceiling->high);
        fprintf(stream, "%-22s %12.4g %-12s %-16s %dx%d, %d\n", ceiling->name, ceiling->value, ceiling->unit, interval,
                ceiling->ranks, ceiling->threads, ceiling->nodes);
    }
}

json_t *sable_report_ceilings_json(const struct sable_ceilings *ceilings)
{
    json_t *list = json_array();
    for (int i = 0; i < ceilings->count; i++) {
        const struct sable_ceiling *ceiling = &ceilings->list[i];
        json_array_append_new(list, json_pack("{ss so ss so so si si si}", "name", ceiling->name, "value",
                                              number(ceiling->value), "unit", ceiling->unit, "low",
                                              number(ceiling->low), "high", number(ceiling->high), "ranks",
                                              ceiling->ranks, "threads", ceiling->threads, "nodes", ceiling->nodes));
    }
    return list;
}
