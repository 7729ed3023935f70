/* ssm/hippo: coefficients against float64, what the history looks like by them, and how far that is from the signal. */
#include <math.h>
#include <string.h>

#include "sable_array.h"
#include "ssm_hippo.h"

enum { CHANNELS = 32 /* at a time */ };
static const double check_all_up_to = 0x1p30; /* updates of all ranks; beyond it, that many are checked */

/* ---- Verification ---- */

/* The projection of the piecewise constant signal in closed form: c_n = Σ_k f_k ∫ over step k of √(2n+1) P_n. */
static void project(const struct hippo_state *s, int64_t channel, double *c, double *room)
{
    const int64_t order = s->params.order, length = s->params.length, own = s->part.columns;
    double *p = room, *before = p + order, *after = before + order;
    memset(c, 0, (size_t)order * sizeof *c);
    memset(before, 0, (size_t)order * sizeof *before);
    for (int64_t k = 0; k < length; k++) {
        sable_legendre(order, ((double)k + 1) / (double)length, p, after);
        for (int64_t n = 0; n < order; n++) {
            c[n] += (double)s->signal[k * own + channel] * (after[n] - before[n]);
            before[n] = after[n];
        }
    }
}

/* 2-norm of a channel's error over what it may be; NaN if a coefficient is. For zoh float64 must meet the closed form
 * to 1e-12 of the signal's largest value and what the roundings of so many steps, each of norm ≤ 1, add up to. */
static double error_of(const struct hippo_state *s, int64_t channel, double *room)
{
    const struct hippo_params *p = &s->params;
    const int64_t order = p->order, own = s->part.columns;
    double *c = room, bound = 0, sum = 0, largest = 0;
    const double roundings = s->blas ? (double)order + 2 : sable_window_roundings(order);
    memset(c, 0, (size_t)order * sizeof *c);
    if (p->measure != HIPPO_LEGS)
        for (int64_t t = 0; t < p->length; t++)
            sable_window_follow(order, s->e, s->w, s->norm, s->growth, roundings, (double)s->signal[t * own + channel],
                                c, &bound, room + order);
    else if (p->rule == SABLE_LEGS_ZOH) {
        project(s, channel, c, room + order);
        for (int64_t t = 0; t < p->length; t++)
            largest = fmax(largest, fabs((double)s->signal[t * own + channel]));
        bound = largest * (1e-12 + (double)p->length * (double)order * 0x1p-53);
    } else
        sable_legs_follow((enum sable_legs_rule)p->rule, s->blas != NULL, order, 0, p->length, s->signal + channel, own,
                          c, &bound, room + order);
    for (int64_t n = 0; n < order; n++) {
        double off = s->coefficients[n * own + channel] - c[n];
        sum += off * off;
    }
    return sqrt(sum) / bound;
}

int hippo_verify(void *state, struct sable_context *context, struct sable_checks *checks, struct sable_error *error)
{
    struct hippo_state *s = state;
    const struct hippo_params *p = &s->params;
    const int64_t order = p->order, own = s->part.columns;
    const double updates =
        (double)order * (double)p->length * (double)p->channels * (p->measure == HIPPO_LEGS ? 1 : (double)order);
    const int64_t every = (int64_t)fmax(1, ceil(updates / check_all_up_to));
    double most = 0, checked = 0, unfinished = 0;
    int failed = 0;
#pragma omp parallel reduction(max : most) reduction(+ : checked, unfinished) reduction(| : failed)
    {
        double *room = sable_array(4, order, sizeof(double));
        failed |= !room;
#pragma omp for schedule(dynamic)
        for (int64_t i = 0; i < own; i++) {
            for (int64_t n = 0; n < order; n++)
                unfinished += !isfinite(s->coefficients[n * own + i]);
            if (!room || i % every != 0)
                continue;
            double off = error_of(s, i, room);
            unfinished += isnan(off);
            most = off > most ? off : most;
            checked += 1;
        }
        sable_array_free(room);
    }
    if (failed)
        sable_fail(error, SABLE_ENVIRONMENT, "ssm/hippo: out of memory while verifying");
    if (sable_agree(context->comm, error))
        return error->code;
    double sums[2] = {checked, unfinished}, all[2], worst;
    if (sable_check_mpi(MPI_Allreduce(sums, all, 2, MPI_DOUBLE, MPI_SUM, context->comm), "MPI_Allreduce", error) ||
        sable_check_mpi(MPI_Allreduce(&most, &worst, 1, MPI_DOUBLE, MPI_MAX, context->comm), "MPI_Allreduce", error))
        return error->code;
    const double channels = (double)p->channels;
    sable_check(checks, "coefficients that are not finite", all[1], 0, 0);
    sable_check_at_most(checks, "error of a channel over its derived bound", worst, 1);
    sable_check_at_most(checks, "channels that are not recomputed", channels - all[0],
                        channels * (1 - 1 / (double)every));
    return SABLE_OK;
}

/* ---- Output ---- */

/* The measure's functions at age `x`: 0 is now, 1 the start of the history or the last window. */
static void basis_at(const struct hippo_state *s, double x, double *basis)
{
    double unused[1024]; /* the largest order */
    if (s->params.measure == HIPPO_LEGS)
        sable_legendre(s->params.order, 1 - x, basis, unused);
    else
        sable_window_basis(hippo_window_of(&s->params), s->params.order, x, basis);
}

static void reconstruct(struct hippo_state *s)
{
    const int64_t order = s->params.order, own = s->part.columns;
#pragma omp parallel for schedule(static)
    for (int64_t x = 0; x < HIPPO_POINTS; x++) {
        double basis[1024]; /* the largest order */
        basis_at(s, 1 - ((double)x + 0.5) / HIPPO_POINTS, basis);
        for (int64_t i = 0; i < own; i++) {
            double sum = 0;
            for (int64_t n = 0; n < order; n++)
                sum += s->coefficients[n * own + i] * basis[n];
            s->history[x * own + i] = sum;
        }
    }
}

/* Against the signal, constant within a step, at the middles of the steps of the history or the last window (or of each
 * k-th beyond 2^30 products of all channels). A signal of zeros is off by what it is off by, not divided. */
static void measure_error(struct hippo_state *s)
{
    const struct hippo_params *p = &s->params;
    const int64_t order = p->order, own = s->part.columns, length = p->length;
    const int64_t steps = p->measure == HIPPO_LEGS || p->window > length ? length : p->window;
    const int64_t span = p->measure == HIPPO_LEGS ? length : p->window;
    const double products = (double)order * (double)steps * (double)p->channels;
    const int64_t every = (int64_t)fmax(1, ceil(products / check_all_up_to));
#pragma omp parallel for schedule(static)
    for (int64_t first = 0; first < own; first += CHANNELS) {
        const int64_t count = own - first < CHANNELS ? own - first : CHANNELS;
        double basis[1024], off[CHANNELS] = {0}, size[CHANNELS] = {0}; /* the largest order */
        for (int64_t age = 0; age < steps; age += every) {
            double sum[CHANNELS] = {0};
            basis_at(s, ((double)age + 0.5) / (double)span, basis);
            for (int64_t n = 0; n < order; n++)
                for (int64_t i = 0; i < count; i++)
                    sum[i] += s->coefficients[n * own + first + i] * basis[n];
            for (int64_t i = 0; i < count; i++) {
                const double f = (double)s->signal[(length - 1 - age) * own + first + i];
                off[i] += (sum[i] - f) * (sum[i] - f);
                size[i] += f * f;
            }
        }
        for (int64_t i = 0; i < count; i++)
            s->off[first + i] = sqrt(size[i] > 0 ? off[i] / size[i] : off[i] / (double)((steps + every - 1) / every));
    }
}

int hippo_output(void *state, struct sable_context *context, struct sable_sink *sink, struct sable_error *error)
{
    (void)context;
    struct hippo_state *s = state;
    const struct hippo_params *p = &s->params;
    reconstruct(s);
    measure_error(s);
    struct sable_array c = {.name = "coefficients",
                            .unit = "",
                            .help = "of the measure's functions",
                            .keep = SABLE_KEEP_SUMMARY,
                            .type = SABLE_F64,
                            .dims = 2,
                            .global = {p->order, p->channels},
                            .offset = {0, s->part.column},
                            .count = {p->order, s->part.columns},
                            .labels = {"degree", "channel"},
                            .data = s->coefficients};
    struct sable_array history = c;
    history.name = "reconstruction", history.help = "of the history or the last window", history.data = s->history;
    history.global[0] = history.count[0] = HIPPO_POINTS;
    history.labels[0] = "part";
    struct sable_array off = c;
    off.name = "reconstruction_error", off.help = "root mean square error over that of the signal", off.data = s->off;
    off.dims = 1, off.global[0] = p->channels, off.offset[0] = s->part.column, off.count[0] = s->part.columns;
    off.labels[0] = "channel";
    if (sable_put(sink, &c, error) || sable_put(sink, &history, error))
        return error->code;
    return sable_put(sink, &off, error);
}
