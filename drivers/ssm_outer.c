#include "ssm_outer.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "input.h"
#include "sable_array.h"

enum { FAULT_LOST_CARRY = 1, FAULT_SHIFT, FAULT_WRONG_CHUNK, FAULT_SKIP_BLOCK, FAULT_FLIP_BIT, FAULT_NAN };
const char *const outer_strategies[] = {"auto", "channels", "batch", "sequence", NULL};
const char *const outer_phases[] = {
    [OUTER_COMPUTE] = "compute", [OUTER_COMMUNICATE] = "communicate", [OUTER_WAIT] = "wait", NULL};
const struct sable_fault outer_faults[] = {
    {"lost_carry", "forget the states half way"},
    {"shift", "give the outputs one step late"},
    {"wrong_chunk", "give the outputs of one chunk twice"},
    {"skip_block", "leave out the last steps"},
    {"flip_bit", "flip a bit of one output"},
    {"nan", "make one output NaN"},
    {0},
};

/* ---- Sizes and work ---- */

static int64_t groups_of(const struct outer_params *p)
{
    return p->groups > 0 ? p->groups : p->heads;
}

static bool shares_time(const struct outer_params *p, struct sable_layout layout)
{
    if (p->strategy != OUTER_AUTO)
        return p->strategy == OUTER_SEQUENCE;
    return p->form == SABLE_OUTER_CHUNKED && (double)p->batch * (double)p->heads < layout.ranks;
}

struct outer_part outer_split(const struct outer_params *p, struct sable_layout layout)
{
    struct outer_part q = {.over_time = shares_time(p, layout), .steps = p->length};
    const int64_t of_group = p->heads / groups_of(p), chunks = p->length / p->chunk + (p->length % p->chunk > 0);
    q.part = (struct ssm_part){.rows = p->batch, .columns = p->heads};
    q.chunks = chunks;
    if (q.over_time) {
        int64_t first = ssm_first(chunks, layout.ranks, layout.rank);
        int64_t end = ssm_first(chunks, layout.ranks, layout.rank + 1);
        q.chunks = end - first;
        q.step = first * p->chunk < p->length ? first * p->chunk : p->length;
        q.steps = (end * p->chunk < p->length ? end * p->chunk : p->length) - q.step;
    } else
        q.part = ssm_split(p->batch, p->heads, (enum ssm_strategy)p->strategy, layout);
    q.group = q.part.column / of_group;
    q.groups = q.part.columns > 0 ? (q.part.column + q.part.columns - 1) / of_group - q.group + 1 : 0;
    return q;
}

int outer_check(const void *params, struct sable_layout layout, struct sable_error *error)
{
    const struct outer_params *p = params;
    int64_t row, all, states;
    if (p->heads % groups_of(p) != 0)
        return sable_fail(error, SABLE_BAD_INPUT, "heads=%lld is no multiple of groups=%lld", (long long)p->heads,
                          (long long)groups_of(p));
    if (p->form == SABLE_OUTER_PARALLEL && p->strategy == OUTER_SEQUENCE)
        return sable_fail(error, SABLE_BAD_INPUT, "form=parallel has no states to carry: take another strategy");
    if (!sable_multiply(p->batch, p->heads, &row) || !sable_multiply(row, p->keys + p->values, &all) ||
        !sable_multiply(all, p->length, &all) || !sable_multiply(row * p->keys, p->values, &states) ||
        all > INT64_MAX / 64 || states > INT64_MAX / 64)
        return sable_fail(
            error, SABLE_BAD_INPUT,
            "batch × heads × length × (keys + values) = %lld × %lld × %lld × %lld is more than 64 bits hold",
            (long long)p->batch, (long long)p->heads, (long long)p->length, (long long)(p->keys + p->values));
    const struct outer_pieces pieces = outer_pieces(p, layout);
    if (shares_time(p, layout) &&
        (double)pieces.sequences * (double)pieces.heads * (double)(p->keys * p->values) > INT_MAX)
        return sable_fail(error, SABLE_BAD_INPUT,
                          "%lld × %lld rows of %lld × %lld states are too much to carry: take strategy=batch",
                          (long long)p->batch, (long long)p->heads, (long long)p->keys, (long long)p->values);
    return SABLE_OK;
}

void outer_work(const void *params, struct sable_layout layout, const void *state, struct sable_work *work)
{
    const struct outer_state *s = state;
    const struct outer_params *p = s ? &s->params : params;
    const bool by_key = p->decays == OUTER_DECAY_BY_KEY, reference = s && s->reference;
    const struct outer_part q = outer_split(p, layout);
    const double N = (double)p->keys, P = (double)p->values, rows = (double)q.part.rows * (double)q.part.columns;
    const double steps = rows * (double)q.steps, shared = (double)groups_of(p) / (double)p->heads;
    const double group_steps = (double)q.part.rows * (double)q.groups * (double)q.steps;
    const double chunk = p->form == SABLE_OUTER_PARALLEL ? (double)p->length : (double)p->chunk;
    const double within = chunk * P + chunk * N * (by_key ? 1 : shared); /* half of all pairs, 2 flops each */
    const double flops[] = {[SABLE_OUTER_RECURRENT] = 5 * N * P,
                            [SABLE_OUTER_CHUNKED] = 4 * N * P + within,
                            [SABLE_OUTER_PARALLEL] = within};
    const double floats = steps * (2 * P + (by_key ? N : 2)) + 2 * group_steps * N;
    const bool ahead = p->form == SABLE_OUTER_CHUNKED && (q.over_time || rows < layout.threads);
    const double adds = ahead ? rows * (double)q.chunks * N * P : 0;
    const double made = q.over_time && !by_key ? group_steps * ((double)p->chunk + 16 + N) : 0; /* scores, keys */
    const bool sends = q.over_time && layout.rank + 1 < layout.ranks;
    *work = (struct sable_work){
        .items = steps * N * P,
        .flops_fp32 = flops[p->form] * steps,
        .bytes = 4 * floats,
        .pattern = SABLE_READ,
        .working_set = 4 * floats,
        .bytes_network = sends ? (reference ? 8 : 4) * rows * N * P : 0,
        .messages = !sends      ? 0
                    : reference ? rows
                                : (double)outer_pieces(p, layout).count,
        .memory = 4 * (floats + steps + adds + rows * N * P + made) + 8 * rows * (3 * N * P + 1) +
                  4 * (double)layout.threads *
                      ((double)p->chunk * (2 * (double)p->chunk + 10 * N + 3 * P) + 16 * (N + 16) * (P + 16)),
    };
}

/* ---- Setup ---- */

void outer_free(void *state)
{
    struct outer_state *s = state;
    void *arrays[] = {s->q,   s->k, s->v,    s->weight, s->decay, s->bonus, s->skip,
                      s->raw, s->a, s->bias, s->state,  s->o,     s->add,   s->carry};
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++)
        sable_array_free(arrays[i]);
    sable_outer_room_free(s->room);
    free(s);
}

/* Everything but the values. */
static int allocate(struct outer_state *s, struct sable_context *context, struct sable_error *error)
{
    const struct outer_params *p = &s->params;
    struct outer_part *q = &s->part;
    *q = outer_split(p, context->layout);
    const int64_t heads = q->part.columns, rows = q->part.rows * heads, steps = rows * q->steps;
    const int64_t keys = q->part.rows * q->groups * q->steps, size = p->keys * p->values;
    s->q = sable_array(keys, p->keys, sizeof(float));
    s->k = sable_array(keys, p->keys, sizeof(float));
    s->v = sable_array(steps, p->values, sizeof(float));
    s->weight = sable_array(s->model->weighted ? steps : 0, 1, sizeof(float));
    s->raw = sable_array(s->model->weighted ? steps : 0, 1, sizeof(float));
    s->decay = sable_array(steps, s->by_key ? p->keys : 1, sizeof(float));
    s->bonus = sable_array(heads, s->by_key ? p->keys : 0, sizeof(float));
    s->skip = sable_array(heads, 1, sizeof(float));
    s->a = sable_array(heads, 1, sizeof(float));
    s->bias = sable_array(heads, 1, sizeof(float));
    s->state = sable_array(rows, size, sizeof(float));
    s->o = sable_array(steps, p->values, sizeof(float));
    const bool ahead = q->over_time && context->layout.rank > 0 && p->form == SABLE_OUTER_CHUNKED && !s->reference;
    s->add = sable_array(ahead ? rows * q->chunks : 0, size, sizeof(float));
    s->carry = sable_array(rows, 3 * size + 1, sizeof(double));
    if (!s->q || !s->k || !s->v || !s->weight || !s->raw || !s->decay || !s->bonus || !s->skip || !s->a || !s->bias ||
        !s->state || !s->o || !s->add || !s->carry)
        return sable_fail(error, SABLE_ENVIRONMENT, "%s: out of memory for %lld heads of %lld steps", s->model->name,
                          (long long)rows, (long long)q->steps);
    s->scan = (struct sable_outer){
        .sequences = q->part.rows,
        .heads = heads,
        .groups = q->groups,
        .keys = p->keys,
        .values = p->values,
        .length = q->steps,
        .group_heads = p->heads / groups_of(p),
        .group_offset = q->part.column - q->group * (p->heads / groups_of(p)),
        .q = s->q,
        .k = s->k,
        .v = s->v,
        .weight = s->model->weighted ? s->weight : NULL,
        .decay = s->decay,
        .bonus = s->by_key ? s->bonus : NULL,
        .skip = s->model->skips ? s->skip : NULL,
    };
    if (q->over_time && !s->reference) {
        s->room = sable_outer_room(&s->scan, p->chunk, p->form == SABLE_OUTER_CHUNKED);
        if (!s->room)
            return sable_fail(error, SABLE_ENVIRONMENT, "%s: out of memory for chunks of %lld steps", s->model->name,
                              (long long)p->chunk);
    }
    return SABLE_OK;
}

int outer_setup(const struct outer_model *model, const void *params, struct sable_context *context, void **state,
                struct sable_error *error)
{
    struct outer_state *s = calloc(1, sizeof *s);
    if (!s)
        return sable_fail(error, SABLE_ENVIRONMENT, "%s: out of memory", model->name);
    *state = s;
    s->model = model;
    s->params = *(const struct outer_params *)params;
    s->reference = context->variant[0] == 'r';
    struct outer_params *p = &s->params;
    if (context->input && model->sizes(p, context->input, error))
        return error->code;
    if (p->keys > 1024 || p->values > 1024)
        return sable_fail(error, SABLE_BAD_INPUT, "%s: heads of %lld × %lld states are more than 1024 × 1024",
                          sable_input_path(context->input), (long long)p->keys, (long long)p->values);
    p->groups = groups_of(p);
    s->by_key = p->decays == OUTER_DECAY_BY_KEY;
    if (outer_check(p, context->layout, error) || allocate(s, context, error))
        return error->code;
    return model->fill(s, context, error);
}

int outer_fill(struct outer_state *s, struct sable_context *context, const char *name, enum ssm_purpose purpose,
               double low, double high, bool of_groups, int64_t width, float *data, struct sable_error *error)
{
    const struct outer_params *p = &s->params;
    const struct outer_part *q = &s->part;
    const int64_t shape[] = {p->batch, p->length, of_groups ? p->groups : p->heads, width};
    const int64_t offset[] = {q->part.row, q->step, of_groups ? q->group : q->part.column, 0};
    const int64_t count[] = {q->part.rows, q->steps, of_groups ? q->groups : q->part.columns, width};
    return ssm_fill(context, name, purpose, low, high, width > 0 ? 4 : 3, shape, offset, count, data, error);
}

int outer_fill_heads(struct outer_state *s, struct sable_context *context, const char *name, enum ssm_purpose purpose,
                     double low, double high, int64_t width, float *data, struct sable_error *error)
{
    const int64_t shape[] = {s->params.heads, width}, offset[] = {s->part.part.column, 0};
    const int64_t count[] = {s->part.part.columns, width};
    return ssm_fill(context, name, purpose, low, high, width > 0 ? 2 : 1, shape, offset, count, data, error);
}

int outer_reset(void *state, struct sable_context *context, struct sable_error *error)
{
    (void)context, (void)error;
    struct outer_state *s = state;
    const struct sable_outer *m = &s->scan;
    const int64_t rows = m->sequences * m->heads;
    memset(s->state, 0, (size_t)(rows * m->keys * m->values) * sizeof *s->state);
    memset(s->carry, 0, (size_t)(rows * (3 * m->keys * m->values + 1)) * sizeof *s->carry);
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < rows * m->length * m->values; i++)
        s->o[i] = NAN; /* what is not written is seen */
    return SABLE_OK;
}

/* ---- Run ---- */

/* Rows [first, last) in float64. */
static bool formula_of(struct outer_state *s, bool faulty, int64_t first, int64_t last)
{
    const struct sable_outer *m = &s->scan;
    const int64_t size = m->keys * m->values, P = m->values;
    bool failed = false;
#pragma omp parallel for schedule(dynamic) reduction(| : failed)
    for (int64_t row = first; row < last; row++) {
        double *o = sable_array(P + 3, m->length + 1, sizeof(double)), *decay = o ? o + P * m->length : NULL;
        failed |= !o;
        if (!o)
            continue;
        struct sable_outer_exact exact = {decay, decay + m->length, NULL};
        if (s->model->exact && !faulty) /* faults are in the float decays */
            s->model->exact(s, row, decay, decay + m->length, decay + 2 * m->length);
        sable_outer_reference(m, row, 0, m->length, s->model->exact && !faulty ? &exact : NULL, s->carry + row * size,
                              o, NULL);
        float *out = s->o + (row / m->heads * m->length * m->heads + row % m->heads) * P;
        for (int64_t t = 0; t < m->length; t++)
            for (int64_t p = 0; p < P; p++)
                out[t * m->heads * P + p] = (float)o[t * P + p];
        for (int64_t i = 0; i < size; i++)
            s->state[row * size + i] = (float)s->carry[row * size + i];
        sable_array_free(o);
    }
    return !failed;
}

static int by_formula(struct outer_state *s, struct sable_context *context, struct sable_error *error)
{
    const int64_t rows = s->scan.sequences * s->scan.heads, size = s->scan.keys * s->scan.values;
    const int64_t at_once = outer_rows_at_once(s, context, 1);
    bool done = true;
    for (int64_t first = 0; first < rows && !error->code; first += at_once) {
        const int64_t last = first + at_once < rows ? first + at_once : rows;
        sable_phase(context, OUTER_WAIT);
        if (outer_receive(s, context, first, last, 1, s->carry, size, error))
            break;
        sable_phase(context, OUTER_COMPUTE);
        done &= formula_of(s, context->fault == FAULT_LOST_CARRY, first, last);
        sable_phase(context, OUTER_COMMUNICATE);
        outer_send(s, context, first, last, 1, s->carry, size, error);
    }
    return done || error->code ? error->code : sable_fail(error, SABLE_ENVIRONMENT, "ssm: out of memory for a row");
}

static int scan(struct outer_state *s, struct sable_context *context, struct sable_error *error)
{
    if (s->reference)
        return by_formula(s, context, error);
    if (s->part.over_time)
        return outer_over_time(s, context, error);
    if (!sable_outer_scan(&s->scan, (enum sable_outer_form)s->params.form, s->params.chunk, s->state, s->o))
        sable_fail(error, SABLE_ENVIRONMENT, "ssm: out of memory for a chunk");
    return error->code;
}

/* Spoils the first row of a rank that has one: it is always among those verified. */
static void spoil(struct outer_state *s, int fault)
{
    const struct sable_outer *m = &s->scan;
    const int64_t row = m->heads * m->values, chunk = s->params.chunk < m->length ? s->params.chunk : m->length / 2;
    float *o = s->o;
    uint32_t bits;
    if (m->sequences * m->heads * m->length == 0)
        return;
    if (fault == FAULT_SHIFT)
        memmove(o + row, o, (size_t)(row * (m->length - 1)) * sizeof *o), o[0] += 1;
    if (fault == FAULT_WRONG_CHUNK) {
        int64_t steps = m->length - chunk < chunk ? m->length - chunk : chunk;
        memcpy(o + chunk * row, o, (size_t)(steps * row) * sizeof *o);
        o[0] += m->length == 1;
    }
    if (fault == FAULT_SKIP_BLOCK)
        for (int64_t t = m->length - m->length / 4 - 1; t < m->length; t++)
            memset(o + t * row, 0, (size_t)row * sizeof *o);
    if (fault == FAULT_NAN)
        o[row * (m->length / 2)] = NAN;
    if (fault == FAULT_FLIP_BIT) {
        memcpy(&bits, &o[row * (m->length / 2)], sizeof bits);
        bits ^= 1U << 30;
        memcpy(&o[row * (m->length / 2)], &bits, sizeof bits);
    }
}

/* With `forget`, the decay of the middle step of all heads leaves nothing: a state that is lost in the middle. */
static void decay_in_the_middle(struct outer_state *s, bool forget, float *kept)
{
    const struct sable_outer *m = &s->scan;
    const int64_t width = m->heads * (s->by_key ? m->keys : 1);
    for (int64_t b = 0; b < m->sequences; b++)
        for (int64_t i = 0; i < width && m->length > 0; i++) {
            float *decay = &s->decay[(b * m->length + m->length / 2) * width + i];
            if (forget)
                kept[b * width + i] = *decay, *decay = -1000;
            else
                *decay = kept[b * width + i];
        }
}

int outer_run(void *state, struct sable_context *context, struct sable_error *error)
{
    struct outer_state *s = state;
    const int64_t width = s->scan.heads * (s->by_key ? s->scan.keys : 1);
    float *kept = NULL;
    if (s->model->prepare)
        s->model->prepare(s);
    if (context->fault == FAULT_LOST_CARRY) {
        kept = sable_array(s->scan.sequences, width, sizeof *kept);
        if (!kept)
            return sable_fail(error, SABLE_ENVIRONMENT, "ssm: out of memory for a fault");
        decay_in_the_middle(s, true, kept);
    }
    scan(s, context, error);
    if (kept)
        decay_in_the_middle(s, false, kept);
    sable_array_free(kept);
    spoil(s, context->fault);
    return error->code;
}
