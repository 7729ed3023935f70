#include "ssm_s4_input.h"

#include <math.h>

#include "complex_parts.h"
#include "input.h"
#include "sable_array.h"

static const char *const names[] = {"lambda_", "p", "b", "c"};
enum { LAMBDA, LOW, IN, OUT, ARRAYS };
static const double same = 1e-6; /* relative: files may be of single precision */

/* [states] or [channels, states]. */
static int shape_of(struct sable_input *input, const char *name, int64_t shape[2], int *dims, struct sable_error *error)
{
    struct sable_error other = {0};
    *dims = 2;
    if (sable_input_shape(input, name, 2, shape, &other) == 0)
        return SABLE_OK;
    *dims = 1;
    return sable_input_shape(input, name, 1, shape + 1, error);
}

static bool given(struct sable_context *context, const char *name)
{
    return context->input && sable_input_has(context->input, name);
}

/* All N of them if one lies below the real axis, else one of each pair: the first channel tells. */
static int count_states(struct filter_params *p, struct sable_input *input, int dims, int64_t states,
                        struct sable_error *error)
{
    const int64_t offset[] = {0, 0}, count[] = {1, states};
    bool below = false;
    double *lambda = sable_array(states, 2, sizeof *lambda);
    if (!lambda)
        return sable_fail(error, SABLE_ENVIRONMENT, "ssm/s4: out of memory for %lld states", (long long)states);
    if (sable_input_read(input, names[LAMBDA], SABLE_C128, dims, offset, dims == 2 ? count : count + 1, lambda,
                         error) == 0)
        for (int64_t n = 0; n < states; n++)
            below = below || lambda[2 * n + 1] < 0;
    sable_array_free(lambda);
    p->states = below ? states : 2 * states;
    return error->code;
}

int s4_sizes(struct filter_params *p, struct sable_context *context, struct sable_error *error)
{
    int64_t shape[3];
    int dims = 0, count = 0;
    for (int i = 0; i < ARRAYS; i++)
        count += given(context, names[i]);
    if (count == 0)
        return SABLE_OK;
    if (count < ARRAYS)
        return sable_fail(error, SABLE_BAD_INPUT, "%s: a model needs all of lambda_, p, b and c, or none",
                          sable_input_path(context->input));
    if (shape_of(context->input, names[LAMBDA], shape, &dims, error))
        return error->code;
    if (!given(context, "u"))
        p->channels = dims == 2 ? shape[0] : 1;
    const int64_t of_state[] = {p->channels, shape[1]};
    for (int i = 0; i < ARRAYS; i++)
        if (ssm_expect(context, names[i], dims, dims == 2 ? of_state : of_state + 1, error))
            return error->code;
    if (shape[1] > 1024)
        return sable_fail(error, SABLE_BAD_INPUT, "%s: 'lambda_' has %lld states, more than 1024",
                          sable_input_path(context->input), (long long)shape[1]);
    return count_states(p, context->input, dims, shape[1], error);
}

/* ---- From all N states of one channel to pairs ---- */

static double complex of(const double *const *table, int which, int64_t columns, int64_t n, int64_t h)
{
    return complex_of(table[which][2 * n * columns + h], table[which][(2 * n + 1) * columns + h]);
}

static void put(double *table, int64_t columns, int64_t n, int64_t h, double complex z)
{
    table[2 * n * columns + h] = creal(z);
    table[(2 * n + 1) * columns + h] = cimag(z);
}

static bool near(double complex x, double complex y, double size)
{
    return cabs(x - y) <= same * size;
}

/* The state that is n's conjugate, and the phase that its p and b have more; −1: none. */
static int64_t partner(const double *const *all, int64_t columns, int64_t states, int64_t n, int64_t h,
                       double complex *phase)
{
    const double complex lambda = of(all, LAMBDA, columns, n, h), low = of(all, LOW, columns, n, h);
    const double complex in = of(all, IN, columns, n, h), lead = cabs(low) > 0 ? low : in;
    for (int64_t m = 0; m < states; m++) {
        const double complex follow = of(all, cabs(low) > 0 ? LOW : IN, columns, m, h);
        if (!near(of(all, LAMBDA, columns, m, h), conj(lambda), cabs(lambda)))
            continue;
        *phase = cabs(lead) > 0 ? follow / conj(lead) : 1;
        if (fabs(cabs(*phase) - 1) <= same && near(of(all, LOW, columns, m, h), *phase * conj(low), cabs(low)) &&
            near(of(all, IN, columns, m, h), *phase * conj(in), cabs(in)))
            return m;
    }
    return -1;
}

static int pair_up(struct filter *f, const double *const *all, int64_t states, int64_t h, const char *path,
                   struct sable_error *error)
{
    const int64_t columns = f->table_columns;
    int64_t p = 0;
    for (int64_t n = 0; n < states; n++) {
        double complex phase = 1;
        if (!(cimag(of(all, LAMBDA, columns, n, h)) > 0))
            continue;
        const int64_t m = partner(all, columns, states, n, h, &phase);
        if (m < 0 || p >= f->pairs)
            return sable_fail(error, SABLE_BAD_INPUT,
                              "%s: state %lld of channel %lld has no conjugate (lambda_, p and b of a real system come "
                              "in pairs)",
                              path, (long long)n, (long long)(f->table_column + h));
        const double complex c = of(all, OUT, columns, n, h), other = conj(of(all, OUT, columns, m, h) * conj(phase));
        put(f->a, columns, p, h, of(all, LAMBDA, columns, n, h));
        put(f->p, columns, p, h, of(all, LOW, columns, n, h));
        put(f->b, columns, p, h, of(all, IN, columns, n, h));
        put(f->c, columns, p, h, (c + other) / 2);
        put(f->c_imaginary, columns, p, h, complex_of(0, 0.5) * (c - other));
        p++;
    }
    if (p < f->pairs)
        return sable_fail(error, SABLE_BAD_INPUT, "%s: channel %lld has %lld pairs of conjugate states instead of %lld",
                          path, (long long)(f->table_column + h), (long long)p, (long long)f->pairs);
    return SABLE_OK;
}

/* ---- Reading ---- */

static int read_pairs(struct filter *f, struct sable_context *context, int dims, int64_t states,
                      struct sable_error *error)
{
    const int64_t columns = f->table_columns;
    double *all = sable_array(ARRAYS, 2 * states * columns, sizeof *all);
    if (!all)
        return sable_fail(error, SABLE_ENVIRONMENT, "ssm/s4: out of memory for %lld channels", (long long)columns);
    const double *tables[ARRAYS];
    for (int i = 0; i < ARRAYS && !error->code; i++) {
        tables[i] = all + i * 2 * states * columns;
        filter_read(f, context, names[i], dims, states, all + i * 2 * states * columns, error);
    }
    for (int64_t h = 0; h < columns && !error->code; h++)
        pair_up(f, tables, states, h, sable_input_path(context->input), error);
    sable_array_free(all);
    f->complex_given = true;
    return error->code;
}

int s4_read(struct filter *f, struct sable_context *context, struct sable_error *error)
{
    int64_t shape[2];
    int dims;
    double *tables[ARRAYS] = {f->a, f->p, f->b, f->c};
    if (filter_read_dt(f, context, true, error) || !given(context, names[LAMBDA]))
        return error->code;
    if (shape_of(context->input, names[LAMBDA], shape, &dims, error))
        return error->code;
    if (shape[1] == f->params.states)
        read_pairs(f, context, dims, shape[1], error);
    else
        for (int i = 0; i < ARRAYS && !error->code; i++)
            filter_read(f, context, names[i], dims, f->pairs, tables[i], error);
    for (int64_t i = 0; i < 2 * f->pairs * f->table_columns && !error->code; i++)
        if (i / f->table_columns % 2 == 0 && !(f->a[i] <= 0))
            return sable_fail(error, SABLE_BAD_INPUT,
                              "%s: 'lambda_' holds a pole of real part %g, but it must be at most 0",
                              sable_input_path(context->input), f->a[i]);
    return error->code;
}
