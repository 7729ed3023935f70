/* Verification and outputs of ssm/s4 and ssm/s4d. Channels are recomputed in float64, all of them or every k-th, and
 * every y must lie within what roundings of its way can do (docs/ssm_s4.md). */
#include <math.h>
#include <string.h>

#include "sable_array.h"
#include "ssm_filter.h"

static const double check_all_up_to = 0x1p26; /* state updates of all ranks; beyond it, that many are checked */
static const double u24 = 0x1p-24;

struct found {
    double y, state, kernel, energy, checked, unfinished; /* the first four over their bounds: most */
};

/* What one thread works with: [length] or [size] each. */
struct space {
    double *y, *bound, *k, *tail, *x, *error;
    float *room; /* of a transform */
    double of_k, of_off, forward, backward;
};

static double norm(int64_t n, const double *x)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += x[i] * x[i];
    return sqrt(sum);
}

static void most(double *worst, double value)
{
    *worst = value <= *worst ? *worst : isnan(value) ? (double)INFINITY : value;
}

static bool space(const struct filter *f, struct space *s)
{
    const int64_t length = f->params.length, size = f->fft.size > 0 ? f->fft.size : 1;
    s->y = sable_array(3 * length + size + 3 * f->pairs, 1, sizeof(double));
    s->bound = s->y ? s->y + length : NULL;
    s->k = s->y ? s->bound + length : NULL;
    s->tail = s->y ? s->k + length : NULL;
    s->x = s->y ? s->tail + size : NULL;
    s->error = s->y ? s->x + 2 * f->pairs : NULL;
    return s->y != NULL;
}

/* The kernel of channel h (of the table) against its powers; the norms that bounds of a convolution need. */
static void examine_kernel(const struct filter *f, int64_t h, struct space *s, struct found *found)
{
    const int64_t length = f->params.length;
    s->of_k = s->of_off = 0;
    if (f->mode != FILTER_CONVOLUTION || f->variant == FILTER_BARE)
        return;
    f->model->impulse(f, h, length, s->k);
    s->of_k = norm(length, s->k);
    const double off = f->variant == FILTER_REFERENCE ? u24 * s->of_k : f->model->kernel_error(f, h, s->of_k);
    s->of_off = off * sqrt((double)length);
    for (int64_t t = 0; t < length; t++)
        most(&found->kernel, fabs((double)f->kernel[sable_kernel_index(length, h, t)] - s->k[t]) / off);
    if (f->variant == FILTER_SABLE) {
        double energy, transformed;
        sable_convolution_energy(&f->fft, SABLE_KERNEL_BLOCK, length, 0, f->kernel + sable_kernel_index(length, h, 0),
                                 s->room, &energy, &transformed);
        most(&found->energy, energy > 0 ? fabs(transformed / energy - 1) / (2 * s->backward * u24) : 0);
    }
}

/* Bounds of y, and the float64 y itself. */
static void expect(const struct filter *f, int64_t h, const float *u, int64_t pitch, struct space *s)
{
    const int64_t length = f->params.length;
    const double skip = (double)f->skip[h];
    const float nothing = 0;
    double of_u = 0;
    memset(s->x, 0, (size_t)(2 * f->pairs) * sizeof *s->x);
    f->model->row(f, h, length, u, pitch, skip, s->x, s->y);
    if (f->variant == FILTER_REFERENCE)
        for (int64_t t = 0; t < length; t++)
            s->bound[t] = u24 * fabs(s->y[t]) + 0x1p-149;
    else if (f->mode == FILTER_CONVOLUTION) {
        for (int64_t t = 0; t < length; t++)
            of_u += (double)u[t * pitch] * (double)u[t * pitch];
        of_u = sqrt(of_u);
        if (f->variant == FILTER_BARE)
            for (int64_t t = 0; t < length; t++) {
                s->y[t] = (double)u[t * pitch];
                s->bound[t] = u24 * 2 * (s->backward + 3) * of_u + 0x1p-140;
            }
        else {
            f->model->row(f, h, f->fft.size, &nothing, 0, 0, s->x, s->tail); /* the sequence goes on in silence */
            const double all = hypot(norm(length, s->y) + fabs(skip) * of_u, norm(f->fft.size, s->tail));
            const double off = u24 * (s->forward * s->of_k * of_u + s->backward * all) + s->of_off * of_u;
            for (int64_t t = 0; t < length; t++)
                s->bound[t] = 1.1 * off + 2 * u24 * (fabs(s->y[t]) + fabs(skip * (double)u[t * pitch])) + 0x1p-140;
        }
    } else
        f->model->follow(f, h, length, u, pitch, skip, s->bound, s->error);
}

/* Whether this rank holds the last states: all do, unless ranks share chunks of time. */
static bool holds_last(const struct filter *f)
{
    return !(f->over_time && f->by_chunks) || (f->steps > 0 && f->step + f->steps == f->params.length);
}

/* The last state of a sequence, [pairs, 2, table_columns], where this rank holds it. */
static const float *last_of(const struct filter *f, int64_t sequence)
{
    return f->state + ((sequence + 1) * f->chunks - 1) * 2 * f->pairs * f->table_columns;
}

/* Ranks that share chunks verify by channels: all get the last states, [batch, pairs, 2, table_columns], in `*last`
 * (NULL where each has its own; freed by the caller). Collective. */
static int share_last(const struct filter *f, struct sable_context *context, float **last, struct sable_error *error)
{
    const int64_t each = 2 * f->pairs * f->table_columns;
    int own = holds_last(f) ? context->layout.rank : -1, root;
    *last = NULL;
    if (!f->over_time || !f->by_chunks || f->mode == FILTER_CONVOLUTION || f->variant == FILTER_REFERENCE)
        return SABLE_OK;
    *last = sable_array(f->params.batch, each, sizeof(float));
    if (!*last)
        sable_fail(error, SABLE_ENVIRONMENT, "%s: out of memory for the last states", f->model->name);
    if (sable_agree(context->comm, error) ||
        sable_check_mpi(MPI_Allreduce(&own, &root, 1, MPI_INT, MPI_MAX, context->comm), "MPI_Allreduce", error))
        return error->code;
    for (int64_t b = 0; b < f->params.batch && !error->code; b++) {
        if (own == root)
            memcpy(*last + b * each, last_of(f, b), (size_t)each * sizeof **last);
        sable_check_mpi(MPI_Bcast(*last + b * each, (int)each, MPI_FLOAT, root, context->comm), "MPI_Bcast", error);
    }
    return error->code;
}

/* The last state, where steps leave one, against float64. */
static void examine_state(const struct filter *f, const float *last, int64_t sequence, int64_t h, const struct space *s,
                          struct found *found)
{
    if (f->mode == FILTER_CONVOLUTION || f->variant == FILTER_REFERENCE)
        return;
    const int64_t each = 2 * f->pairs * f->table_columns;
    const float *state = (last ? last + sequence * each : last_of(f, sequence)) + h;
    for (int64_t p = 0; p < f->pairs; p++)
        most(&found->state, hypot((double)state[2 * p * f->table_columns] - s->x[2 * p],
                                  (double)state[(2 * p + 1) * f->table_columns] - s->x[2 * p + 1]) /
                                (s->error[p] + 0x1p-140));
}

static int examine(struct filter *f, struct sable_context *context, const float *u, const float *y, const float *last,
                   struct found *all, struct sable_error *error)
{
    const struct filter_params *p = &f->params;
    const int64_t length = p->length, columns = f->part.columns, at = f->part.column - f->table_column;
    const double updates = (double)p->batch * (double)p->channels * (double)length * (double)f->pairs;
    const int64_t every = (int64_t)fmax(1, ceil(updates / check_all_up_to));
    int failed = 0;
    double worst[4] = {0}, checked = 0, unfinished = 0;
#pragma omp parallel reduction(max : worst[:4]) reduction(+ : checked, unfinished) reduction(| : failed)
    {
        struct space s = {0};
        struct found found = {0};
        const int64_t points = f->fft.size > 0 ? f->fft.size : 1;
        failed |= !space(f, &s) || !(s.room = sable_array(32, points, sizeof(float)));
        sable_convolution_error(2 * points, &s.forward, &s.backward);
#pragma omp for schedule(dynamic)
        for (int64_t h = 0; h < columns; h++) {
            for (int64_t i = h; i < f->part.rows * length * columns; i += columns)
                unfinished += !isfinite(y[i]);
            if (failed || h % every != 0)
                continue;
            examine_kernel(f, at + h, &s, &found);
            for (int64_t b = 0; b < f->part.rows; b++) {
                const int64_t from = b * length * columns + h;
                expect(f, at + h, u + from, columns, &s);
                for (int64_t t = 0; t < length; t++)
                    most(&found.y, fabs((double)y[from + t * columns] - s.y[t]) / s.bound[t]);
                examine_state(f, last, b, at + h, &s, &found);
                checked += 1;
            }
        }
        worst[0] = found.y, worst[1] = found.state, worst[2] = found.kernel, worst[3] = found.energy;
        sable_array_free(s.y);
        sable_array_free(s.room);
    }
    *all = (struct found){worst[0], worst[1], worst[2], worst[3], checked, unfinished};
    if (failed)
        sable_fail(error, SABLE_ENVIRONMENT, "%s: out of memory while verifying", f->model->name);
    return sable_agree(context->comm, error);
}

int filter_verify(void *state, struct sable_context *context, struct sable_checks *checks, struct sable_error *error)
{
    struct filter *f = state;
    const struct filter_params *p = &f->params;
    struct found own;
    double sums[2], all[2], worst[4];
    filter_settle(f);
    if (f->over_time &&
        (filter_turn(context, p->batch, p->length, p->chunk, 1, p->channels, f->u, f->u_turned, false, error) ||
         filter_turn(context, p->batch, p->length, p->chunk, 1, p->channels, f->y, f->y_turned, false, error)))
        return error->code;
    const int fault = f->fault;
    f->fault = 0; /* tables as they should be */
    f->model->discretise(f);
    f->fault = fault;
    float *last;
    if (!share_last(f, context, &last, error))
        examine(f, context, f->over_time ? f->u_turned : f->u, f->over_time ? f->y_turned : f->y, last, &own, error);
    sable_array_free(last);
    if (error->code)
        return error->code;
    sums[0] = own.checked, sums[1] = own.unfinished;
    if (sable_check_mpi(MPI_Allreduce(sums, all, 2, MPI_DOUBLE, MPI_SUM, context->comm), "MPI_Allreduce", error) ||
        sable_check_mpi(MPI_Allreduce(&own, worst, 4, MPI_DOUBLE, MPI_MAX, context->comm), "MPI_Allreduce", error))
        return error->code;
    sable_check(checks, "values that are not finite", all[1], 0, 0);
    sable_check_at_most(checks, "error of y over its derived bound", worst[0], 1);
    if (f->mode == FILTER_CONVOLUTION && f->variant != FILTER_BARE)
        sable_check_at_most(checks, "error of the kernel against its powers, over its bound", worst[2], 1);
    if (f->mode == FILTER_CONVOLUTION && f->variant == FILTER_SABLE)
        sable_check_at_most(checks, "Parseval: energy lost by the transform over its bound", worst[3], 1);
    if (f->mode != FILTER_CONVOLUTION && f->variant == FILTER_SABLE)
        sable_check_at_most(checks, "error of the last state over its bound", worst[1], 1);
    sable_check_at_most(checks, "no row was recomputed", all[0] > 0 ? 0 : 1, 0);
    return SABLE_OK;
}

/* ---- Outputs ---- */

static int put_y(struct filter *f, struct sable_sink *sink, struct sable_error *error)
{
    const struct filter_params *p = &f->params;
    struct sable_array y = {
        .name = "y",
        .unit = "",
        .help = "filtered input",
        .keep = SABLE_KEEP_FULL,
        .type = SABLE_F32,
        .dims = 3,
        .global = {p->batch, p->length, p->channels},
        .offset = {f->over_time ? 0 : f->part.row, f->step, f->over_time ? 0 : f->part.column},
        .count = {f->over_time ? p->batch : f->part.rows, f->steps, f->over_time ? p->channels : f->part.columns},
        .labels = {"sequence", "step", "channel"},
        .data = f->y};
    return sable_put(sink, &y, error);
}

/* x after the last step, by the ranks that have it. */
static int put_state(struct filter *f, struct sable_sink *sink, struct sable_error *error)
{
    const struct filter_params *p = &f->params;
    const bool chunks = f->over_time && f->by_chunks;
    const int64_t rows = !holds_last(f) ? 0 : chunks ? p->batch : f->part.rows, columns = f->table_columns;
    float *pairs = sable_array(rows * columns, 2 * f->pairs, sizeof *pairs);
    if (!pairs)
        return sable_fail(error, SABLE_ENVIRONMENT, "%s: out of memory for the state", f->model->name);
    for (int64_t b = 0; b < rows; b++)
        for (int64_t h = 0; h < columns; h++)
            for (int64_t n = 0; n < f->pairs; n++) {
                const int64_t row = b * columns + h;
                const float *at = last_of(f, b) + 2 * n * columns + h;
                double x[2], z[2];
                x[0] = f->variant == FILTER_REFERENCE ? f->final[(row * f->pairs + n) * 2] : (double)at[0];
                x[1] = f->variant == FILTER_REFERENCE ? f->final[(row * f->pairs + n) * 2 + 1] : (double)at[columns];
                f->model->last(f, h, n, x, z);
                pairs[(row * f->pairs + n) * 2] = (float)z[0];
                pairs[(row * f->pairs + n) * 2 + 1] = (float)z[1];
            }
    struct sable_array state = {.name = "state",
                                .unit = "",
                                .help = "x after the last step",
                                .keep = SABLE_KEEP_SUMMARY,
                                .type = SABLE_C64,
                                .dims = 3,
                                .global = {p->batch, p->channels, f->pairs},
                                .offset = {chunks ? 0 : f->part.row, f->table_column, 0},
                                .count = {rows, columns, f->pairs},
                                .labels = {"sequence", "channel", "state"},
                                .data = pairs};
    sable_put(sink, &state, error);
    sable_array_free(pairs);
    return error->code;
}

/* [channels, length], real, or complex if the file gave all N states; from the ranks that have the first sequences. */
static int put_kernel(struct filter *f, struct sable_sink *sink, struct sable_error *error)
{
    const struct filter_params *p = &f->params;
    const int64_t length = p->length, columns = f->part.row == 0 ? f->part.columns : 0;
    const int64_t parts = f->model->complex_kernel && f->model->complex_kernel(f, NULL) ? 2 : 1;
    float *k = sable_array(columns * length, parts, sizeof *k);
    if (!k)
        return sable_fail(error, SABLE_ENVIRONMENT, "%s: out of memory for the kernel", f->model->name);
    for (int64_t part = 0; part < parts; part++) {
        if (part == 1 && f->part.rows > 0 && !f->model->complex_kernel(f, f->kernel)) {
            sable_array_free(k);
            return sable_fail(error, SABLE_ENVIRONMENT, "%s: out of memory for the kernel", f->model->name);
        }
        for (int64_t h = 0; h < columns; h++)
            for (int64_t t = 0; t < length; t++)
                k[(h * length + t) * parts + part] = f->kernel[sable_kernel_index(length, h, t)];
    }
    struct sable_array kernel = {.name = "kernel",
                                 .unit = "",
                                 .help = "response to an impulse, without d",
                                 .keep = SABLE_KEEP_FULL,
                                 .type = parts == 2 ? SABLE_C64 : SABLE_F32,
                                 .dims = 2,
                                 .global = {p->channels, length},
                                 .offset = {f->part.column, 0},
                                 .count = {columns, length},
                                 .labels = {"channel", "step"},
                                 .data = k};
    sable_put(sink, &kernel, error);
    sable_array_free(k);
    return error->code;
}

int filter_output(void *state, struct sable_context *context, struct sable_sink *sink, struct sable_error *error)
{
    (void)context;
    struct filter *f = state;
    filter_settle(f);
    if (put_y(f, sink, error))
        return error->code;
    if (f->variant == FILTER_REFERENCE || f->mode != FILTER_CONVOLUTION)
        if (put_state(f, sink, error))
            return error->code;
    if (f->mode == FILTER_CONVOLUTION && f->variant != FILTER_BARE)
        return put_kernel(f, sink, error);
    return SABLE_OK;
}
