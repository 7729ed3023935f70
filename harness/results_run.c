/* One run in the results file: its group, which problem it was, how it went, its times. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "registry.h"
#include "results_file.h"

enum { SETTINGS_SIZE = 16384 };

static void join_settings(const struct sable_run *run, char *text, size_t size)
{
    text[0] = '\0';
    for (int s = 0; s < run->settings; s++) {
        size_t used = strlen(text);
        snprintf(text + used, size - used, "%s%s=%s", s ? "\n" : "", run->setting[s].name, run->setting[s].text);
    }
}

/* Name of the k-th run (1, 2, …) of a variant. */
static void name_run(const struct sable_run *run, int k, char name[SABLE_GROUP_SIZE])
{
    char suffix[16] = "";
    if (k > 1)
        snprintf(suffix, sizeof suffix, ".%d", k);
    snprintf(name, SABLE_GROUP_SIZE, "/runs/%s/%s%s", run->name, run->variant, suffix);
}

/* ---- Is it stored? ---- */

static bool same_run(hid_t group, const struct sable_run *run)
{
    char expected[SETTINGS_SIZE], found[SETTINGS_SIZE], class_name[16];
    int64_t seed, ranks, threads, complete;
    join_settings(run, expected, sizeof expected);
    return sable_hdf5_get_integer(group, "complete", &complete) && complete == 1 &&
           sable_hdf5_get_text(group, "class", class_name, sizeof class_name) &&
           strcmp(class_name, run->class_name) == 0 && sable_hdf5_get_text(group, "parameters", found, sizeof found) &&
           strcmp(found, expected) == 0 && sable_hdf5_get_integer(group, "seed", &seed) &&
           (uint64_t)seed == run->seed && sable_hdf5_get_integer(group, "ranks", &ranks) && ranks == run->ranks &&
           sable_hdf5_get_integer(group, "threads", &threads) && threads == run->threads;
}

bool sable_results_has(struct sable_results *results, const struct sable_run *run)
{
    char name[SABLE_GROUP_SIZE];
    for (int k = 1;; k++) {
        name_run(run, k, name);
        if (!sable_hdf5_has(results->file, name))
            return false;
        hid_t group = H5Gopen2(results->file, name, H5P_DEFAULT);
        bool same = group >= 0 && same_run(group, run);
        if (group >= 0)
            H5Gclose(group);
        if (same)
            return true;
    }
}

/* ---- Writing ---- */

int sable_results_begin(struct sable_results *results, const struct sable_run *run, struct sable_error *error)
{
    double bytes = (double)run->reps * run->ranks * (1 + run->phases) * sizeof(double) +
                   (double)run->ranks * sizeof(struct sable_counters);
    if (sable_results_room(results, bytes, error))
        return error->code;
    for (int k = 1;; k++) {
        name_run(run, k, results->group);
        if (!sable_hdf5_has(results->file, results->group))
            break;
    }
    hid_t links = H5Pcreate(H5P_LINK_CREATE);
    if (links >= 0 && H5Pset_create_intermediate_group(links, 1) >= 0)
        results->run = H5Gcreate2(results->file, results->group, links, H5P_DEFAULT, H5P_DEFAULT);
    if (links >= 0)
        H5Pclose(links);
    hid_t outputs =
        results->run < 0 ? H5I_INVALID_HID : H5Gcreate2(results->run, "outputs", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    if (outputs < 0 || H5Gclose(outputs) < 0 || sable_hdf5_put_integer(results->run, "complete", 0) < 0)
        return sable_hdf5_fail(error, SABLE_ENVIRONMENT, "could not write %s into %s", run->name, results->partial),
               sable_results_lose(results, error);
    return SABLE_OK;
}

static herr_t put_setting(hid_t group, const struct sable_setting *setting)
{
    switch (setting->type) {
    case SABLE_INT:
        return sable_hdf5_put_integer(group, setting->name, setting->integer);
    case SABLE_REAL:
        return sable_hdf5_put_real(group, setting->name, setting->real);
    case SABLE_POINT:
        return sable_hdf5_put_reals(group, setting->name, (double[]){setting->point.x, setting->point.y}, 2);
    default:
        return sable_hdf5_put_text(group, setting->name, setting->text);
    }
}

static herr_t put_identity(hid_t group, const struct sable_run *run)
{
    char parameters[SETTINGS_SIZE];
    herr_t written = 0;
    for (int s = 0; s < run->settings && written >= 0; s++)
        written = put_setting(group, &run->setting[s]);
    join_settings(run, parameters, sizeof parameters);
    return written < 0 || sable_hdf5_put_text(group, "parameters", parameters) < 0 ||
                   sable_hdf5_put_text(group, "class", run->class_name) < 0 ||
                   sable_hdf5_put_integer(group, "seed", (int64_t)run->seed) < 0 ||
                   sable_hdf5_put_integer(group, "ranks", run->ranks) < 0 ||
                   sable_hdf5_put_integer(group, "threads", run->threads) < 0 ||
                   sable_hdf5_put_integer(group, "growth", run->growth) < 0 ||
                   sable_hdf5_put_text(group, "strategy", run->strategy) < 0 ||
                   sable_hdf5_put_text(group, "input", run->input) < 0 ||
                   sable_hdf5_put_integer(group, "order", run->order) < 0
               ? -1
               : 0;
}

static herr_t put_outcome(hid_t group, const struct sable_run *run)
{
    char digest[20] = "";
    if (run->has_digest)
        snprintf(digest, sizeof digest, "%016" PRIx64, run->digest);
    const struct {
        const char *name;
        double value;
    } reals[] = {{"fom", run->fom},
                 {"fom_ci_low", run->fom_low},
                 {"fom_ci_high", run->fom_high},
                 {"ceiling_value", run->ceiling_value},
                 {"share_of_ceiling", run->share},
                 {"ratio", run->ratio},
                 {"ratio_ci_low", run->ratio_low},
                 {"ratio_ci_high", run->ratio_high}};
    const struct {
        const char *name, *text;
    } texts[] = {{"fom_name", run->fom_name},
                 {"fom_unit", run->fom_unit},
                 {"ceiling", run->ceiling},
                 {"ratio_to", run->ratio_to},
                 {"verified", sable_verdict_name(run->verified)},
                 {"verdict", sable_verdict_name(run->verdict)},
                 {"digest", digest},
                 {"warnings", run->warnings}};
    herr_t written = sable_hdf5_put_integer(group, "layout_invariant", run->layout_invariant);
    if (written >= 0)
        written = sable_hdf5_put_integer(group, "peer", run->peer);
    for (size_t i = 0; i < sizeof reals / sizeof *reals && written >= 0; i++)
        written = sable_hdf5_put_real(group, reals[i].name, reals[i].value);
    for (size_t i = 0; i < sizeof texts / sizeof *texts && written >= 0; i++)
        written = sable_hdf5_put_text(group, texts[i].name, texts[i].text);
    char names[sizeof run->note] = "";
    for (int i = 0; i < run->notes && written >= 0; i++) {
        size_t used = strlen(names);
        snprintf(names + used, sizeof names - used, "%s\n", run->note[i].name);
        written = sable_hdf5_put_text(group, run->note[i].name, run->note[i].text);
    }
    return written >= 0 && run->notes > 0 ? sable_hdf5_put_text(group, "notes", names) : written;
}

static herr_t put_times(hid_t group, const struct sable_run *run)
{
    hsize_t shape[3] = {(hsize_t)run->reps, (hsize_t)run->ranks, (hsize_t)run->phases};
    hid_t seconds = sable_hdf5_dataset(group, "seconds", H5T_NATIVE_DOUBLE, 2, shape, run->seconds);
    hid_t cube = sable_hdf5_dataset(group, "phases", H5T_NATIVE_DOUBLE, 3, shape, run->phase_seconds);
    herr_t written = seconds < 0 || cube < 0 || sable_hdf5_put_text(seconds, "unit", "s") < 0 ||
                             sable_hdf5_put_text(seconds, "dimensions", "repetition, rank") < 0 ||
                             sable_hdf5_put_text(seconds, "clock", "CLOCK_MONOTONIC of each rank") < 0 ||
                             sable_hdf5_put_integer(seconds, "warmups", run->warmups) < 0 ||
                             sable_hdf5_put_text(seconds, "stopped", run->stopped) < 0 ||
                             sable_hdf5_put_text(cube, "unit", "s") < 0 ||
                             sable_hdf5_put_texts(cube, "phases", run->workload->phases, run->phases) < 0 ||
                             sable_hdf5_put_text(cube, "dimensions", "repetition, rank, phase") < 0
                         ? -1
                         : 0;
    if (seconds >= 0)
        H5Dclose(seconds);
    if (cube >= 0)
        H5Dclose(cube);
    return written;
}

int sable_results_end(struct sable_results *results, const struct sable_run *run, struct sable_error *error)
{
    if (results->lost.code)
        return sable_fail(error, (enum sable_exit)results->lost.code, "%s", results->lost.text);
    hid_t group = results->run;
    if (put_identity(group, run) < 0 || put_outcome(group, run) < 0 || put_times(group, run) < 0 ||
        sable_results_put_table(group, "counters", sable_results_counters_type(), run->ranks, run->counters) < 0 ||
        sable_results_put_table(group, "checks", sable_results_checks_type(), run->checks, run->check) < 0 ||
        sable_hdf5_put_integer(group, "complete", 1) < 0)
        return sable_hdf5_fail(error, SABLE_ENVIRONMENT, "could not write %s into %s", run->name, results->partial),
               sable_results_lose(results, error);
    H5Gclose(group);
    results->run = H5I_INVALID_HID;
    if (sable_results_flush(results, error))
        return error->code;
    results->complete++;
    return SABLE_OK;
}

void sable_results_drop_run(struct sable_results *results)
{
    if (results->run < 0)
        return;
    H5Gclose(results->run);
    results->run = H5I_INVALID_HID;
    if (!results->lost.code)
        H5Ldelete(results->file, results->group, H5P_DEFAULT);
}
