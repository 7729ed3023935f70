#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "input.h"
#include "sable_array.h"
#include "ssm_scan.h"

struct scan_part scan_split(const struct scan_params *p, bool over_time, struct sable_layout layout)
{
    struct scan_part part = {.columns = p->channels, .steps = p->length};
    if (!over_time) {
        part.column = ssm_first(p->channels, layout.ranks, layout.rank);
        part.columns = ssm_first(p->channels, layout.ranks, layout.rank + 1) - part.column;
        return part;
    }
    const int64_t chunks = p->length / p->chunk + (p->length % p->chunk > 0);
    part.chunk = ssm_first(chunks, layout.ranks, layout.rank);
    part.chunks = ssm_first(chunks, layout.ranks, layout.rank + 1) - part.chunk;
    part.step = part.chunk * p->chunk < p->length ? part.chunk * p->chunk : p->length;
    int64_t end = (part.chunk + part.chunks) * p->chunk;
    part.steps = (end < p->length ? end : p->length) - part.step;
    return part;
}

int scan_sizes(struct scan_params *p, struct sable_context *context, struct sable_error *error)
{
    int64_t shape[3];
    if (!context->input)
        return SABLE_OK;
    if (sable_input_shape(context->input, "b", 3, shape, error))
        return error->code;
    p->length = shape[0], p->channels = shape[1], p->states = shape[2];
    if (p->states > 65536)
        return sable_fail(error, SABLE_BAD_INPUT, "%s: 'b' has %lld states, more than 65536",
                          sable_input_path(context->input), (long long)p->states);
    const int64_t of_a[] = {p->channels, p->states};
    return ssm_expect(context, "a", 2, of_a, error) || ssm_expect(context, "x0", 2, of_a, error) ? error->code
                                                                                                 : SABLE_OK;
}

void scan_free(void *state)
{
    struct scan_state *s = state;
    scan_exchange_free(s->exchange);
    void *arrays[] = {s->a, s->x0, s->state, s->before, s->b, s->x, s->ends, s->carry, s->seam, s->evidence, s->pairs};
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++)
        sable_array_free(arrays[i]);
    free(s);
}

/* Rows of pairs (r, i) to rows of parts. */
static void separate(int64_t rows, int64_t row, const float *pairs, float *parts)
{
#pragma omp parallel for schedule(static)
    for (int64_t t = 0; t < rows; t++)
        for (int64_t m = 0; m < row; m++) {
            parts[2 * t * row + m] = pairs[2 * (t * row + m)];
            parts[2 * t * row + row + m] = pairs[2 * (t * row + m) + 1];
        }
}

static void pair(int64_t rows, int64_t row, const float *parts, float *pairs)
{
#pragma omp parallel for schedule(static)
    for (int64_t t = 0; t < rows; t++)
        for (int64_t m = 0; m < row; m++) {
            pairs[2 * (t * row + m)] = parts[2 * t * row + m];
            pairs[2 * (t * row + m) + 1] = parts[2 * t * row + row + m];
        }
}

/* Reads a complex block of this rank into `parts`, by way of `pairs`. */
static int read_pairs(struct scan_state *s, struct sable_context *context, const char *name, bool in_time, float *parts,
                      struct sable_error *error)
{
    const int64_t offset[] = {s->part.step, s->part.column, 0};
    const int64_t count[] = {s->part.steps, s->part.columns, s->params.states};
    const int64_t rows = in_time ? s->part.steps : 1;
    if (rows * s->row == 0)
        return SABLE_OK;
    if (sable_input_read(context->input, name, SABLE_C64, in_time ? 3 : 2, offset + !in_time, count + !in_time,
                         s->pairs, error))
        return error->code;
    for (int64_t i = 0; i < 2 * rows * s->row; i++)
        if (!isfinite(s->pairs[i]))
            return sable_fail(error, SABLE_BAD_INPUT, "%s: '%s' holds a number that is not finite in single precision",
                              sable_input_path(context->input), name);
    separate(rows, s->row, s->pairs, parts);
    return SABLE_OK;
}

/* Decay times from 10 to 10⁴ steps, evenly in their logarithm; all angles. */
static void draw_a(struct scan_state *s, uint64_t seed)
{
    for (int64_t m = 0; m < s->row; m++) {
        int64_t index = s->part.column * s->params.states + m;
        double time = exp(ssm_draw(seed, SSM_A, 2 * index, log(10), log(1e4))), size = exp(-1 / time);
        double angle = ssm_draw(seed, SSM_A, 2 * index + 1, 0, 3.14159265358979323846);
        s->a[m] = (float)(size * cos(angle));
        s->a[s->row + m] = (float)(size * sin(angle));
    }
}

static void draw_b(struct scan_state *s, uint64_t seed)
{
    const int64_t all = s->params.channels * s->params.states, first = s->part.column * s->params.states;
#pragma omp parallel for schedule(static)
    for (int64_t t = 0; t < s->part.steps; t++)
        for (int64_t m = 0; m < s->row; m++)
            for (int part = 0; part < 2; part++)
                s->b[(2 * t + part) * s->row + m] =
                    (float)ssm_draw(seed, SSM_B, 2 * ((s->part.step + t) * all + first + m) + part, -1, 1);
}

static int values(struct scan_state *s, struct sable_context *context, struct sable_error *error)
{
    memset(s->x0, 0, (size_t)(2 * s->row) * sizeof *s->x0);
    memset(s->ends, 0, (size_t)(2 * s->row * s->part.chunks) * sizeof *s->ends);
    if (!context->input) {
        draw_a(s, context->seed);
        draw_b(s, context->seed);
        return SABLE_OK;
    }
    if (read_pairs(s, context, "b", true, s->b, error))
        return error->code;
    if (!sable_input_has(context->input, "a"))
        draw_a(s, context->seed);
    else if (read_pairs(s, context, "a", false, s->a, error))
        return error->code;
    if (sable_input_has(context->input, "x0") && read_pairs(s, context, "x0", false, s->x0, error))
        return error->code;
    for (int64_t m = 0; m < s->row; m++)
        if (!(hypot((double)s->a[m], (double)s->a[s->row + m]) <= 1 + 1e-6))
            return sable_fail(error, SABLE_BAD_INPUT, "%s: 'a' holds %g%+gi, of more than 1 in size",
                              sable_input_path(context->input), (double)s->a[m], (double)s->a[s->row + m]);
    return SABLE_OK;
}

int scan_fill(struct scan_state *s, struct sable_context *context, struct sable_error *error)
{
    s->row = s->part.columns * s->params.states;
    s->a = sable_array(2, s->row, sizeof(float));
    s->x0 = sable_array(2, s->row, sizeof(float));
    s->state = sable_array(2, s->row, sizeof(float));
    s->before = sable_array(2, s->row, sizeof(float));
    s->b = sable_array(2 * s->part.steps, s->row, sizeof(float));
    s->x = sable_array(2 * s->part.steps, s->row, sizeof(float));
    s->ends = sable_array(2 * s->part.chunks, s->row, sizeof(float));
    s->carry = sable_array(2, s->row, sizeof(double));
    s->seam = sable_array(1, s->row, sizeof(double));
    s->evidence = sable_array(1, s->row, sizeof *s->evidence);
    s->pairs = sable_array(2 * (s->part.steps > 0 ? s->part.steps : 1), s->row, sizeof(float));
    if (!s->a || !s->x0 || !s->state || !s->before || !s->b || !s->x || !s->ends || !s->carry || !s->seam ||
        !s->evidence || !s->pairs)
        return sable_fail(error, SABLE_ENVIRONMENT, "ssm/scan: out of memory for %lld steps of %lld states",
                          (long long)s->part.steps, (long long)s->row);
    if (s->over_time && !s->reference && !(s->exchange = scan_exchange_plan(s, context->layout)))
        return sable_fail(error, SABLE_ENVIRONMENT, "ssm/scan: out of memory for the carries of %lld states",
                          (long long)s->row);
    return values(s, context, error);
}

/* ---- Verification over ranks ---- */

/* Rank r + 1 gets what rank r has; ranks without steps come last and need nothing. */
static int to_next(struct sable_context *context, const void *own, void *last, int bytes, struct sable_error *error)
{
    const int rank = context->layout.rank, ranks = context->layout.ranks;
    int next = rank + 1 < ranks ? rank + 1 : MPI_PROC_NULL, before = rank > 0 ? rank - 1 : MPI_PROC_NULL;
    return sable_check_mpi(
        MPI_Sendrecv(own, bytes, MPI_BYTE, next, 1, last, bytes, MPI_BYTE, before, 1, context->comm, MPI_STATUS_IGNORE),
        "MPI_Sendrecv", error);
}

int scan_before(struct scan_state *s, struct sable_context *context, struct sable_error *error)
{
    const size_t bytes = (size_t)(2 * s->row) * sizeof(float);
    memcpy(s->before, s->x0, bytes);
    const float *last = s->part.steps > 0 ? s->x + 2 * s->row * (s->part.steps - 1) : s->x0;
    return s->over_time ? to_next(context, last, s->before, (int)bytes, error) : SABLE_OK;
}

int scan_seams(struct scan_state *s, struct sable_context *context, struct sable_error *error)
{
    double *own = s->carry; /* free by now */
    for (int64_t m = 0; m < s->row; m++) {
        s->seam[m] = 0;
        own[m] = s->evidence[m].seam;
        /* The reference hands on float64: `before` is that, rounded. */
        if (s->reference)
            own[m] = 0;
    }
    return s->over_time ? to_next(context, own, s->seam, (int)((size_t)s->row * sizeof(double)), error) : SABLE_OK;
}

/* ---- Output ---- */

int scan_output(void *state, struct sable_context *context, struct sable_sink *sink, struct sable_error *error)
{
    struct scan_state *s = state;
    const struct scan_params *p = &s->params;
    const struct scan_part *q = &s->part;
    const bool native = p->carries == SCAN_NATIVE && s->over_time && !s->reference;
    pair(q->steps, s->row, s->x, s->pairs);
    struct sable_array x = {.name = "x",
                            .unit = "",
                            .help = "states",
                            .no_digest = native,
                            .keep = SABLE_KEEP_FULL,
                            .type = SABLE_C64,
                            .dims = 3,
                            .global = {p->length, p->channels, p->states},
                            .offset = {q->step, q->column, 0},
                            .count = {q->steps, q->columns, p->states},
                            .labels = {"step", "channel", "state"},
                            .data = s->pairs};
    if (sable_put(sink, &x, error))
        return error->code;
    bool last = q->step + q->steps == p->length && q->steps > 0;
    pair(1, s->row, s->state, s->pairs);
    struct sable_array end = {.name = "state",
                              .unit = "",
                              .help = "x after the last step",
                              .no_digest = native,
                              .keep = SABLE_KEEP_SUMMARY,
                              .type = SABLE_C64,
                              .dims = 2,
                              .global = {p->channels, p->states},
                              .offset = {q->column, 0},
                              .count = {last ? q->columns : 0, p->states},
                              .labels = {"channel", "state"},
                              .data = s->pairs};
    (void)context;
    return sable_put(sink, &end, error);
}
