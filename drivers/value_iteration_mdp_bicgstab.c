/* Policy evaluation by BiCGStab (van der Vorst, SIAM J. Sci. Stat. Comput. 13, 1992), preconditioned from the right:
 * two products and two reductions a step over five vectors, where GMRES keeps a vector for each product. */
#include <math.h>
#include <string.h>

#include "value_iteration_mdp.h"

/* p = r + β (p − ω v) */
static void turn(struct mdp_rank *g, double beta, double omega, const double *r, const double *v, double *p)
{
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < g->padded; i++)
        p[i] = r[i] + beta * (p[i] - omega * v[i]);
    g->vectors += 4;
}

/* y += factor · x */
static void add(struct mdp_rank *g, double factor, double *x, double *y)
{
    mdp_combine(g, 1, &x, &factor, y);
}

/* One step; false in `more` where it breaks down. */
static int step(struct mdp_rank *g, struct sable_context *context, int now, double rho, double *length, bool *more,
                double *alpha, double *omega, struct sable_error *error)
{
    double *const r = g->vector[0], *shadow = g->vector[1], *const p = g->vector[2], *const v = g->vector[3];
    double *const s = r, *t = g->vector[4], *const x = g->value[now], *z = g->value[1 - now], along, both[2];
    if (mdp_operate(g, context, now, p, v, error) || mdp_dots(g, context, 1, &shadow, v, &along, error))
        return error->code;
    *more = along != 0;
    if (!*more)
        return SABLE_OK;
    *alpha = rho / along;
    add(g, *alpha, z, x);
    add(g, -*alpha, v, s);
    if (mdp_operate(g, context, now, s, t, error))
        return error->code;
    double *const with_t[2] = {t, s};
    if (mdp_dots(g, context, 2, with_t, t, both, error))
        return error->code;
    *omega = both[0] > 0 ? both[1] / both[0] : 0;
    add(g, *omega, z, x);
    add(g, -*omega, t, r);
    double *own = r, square;
    if (mdp_dots(g, context, 1, &own, r, &square, error))
        return error->code;
    *length = sqrt(square);
    *more = *omega != 0 && isfinite(*length);
    return SABLE_OK;
}

int mdp_bicgstab(struct mdp_rank *g, struct sable_context *context, double forcing, int64_t most, int *now,
                 struct sable_error *error)
{
    double *r = g->vector[0], *shadow = g->vector[1], *p = g->vector[2], *v = g->vector[3];
    double length, first = 0, before = INFINITY, rho, last = 1, alpha = 1, omega = 1;
    const int64_t first_product = g->products;
    /* The residual that is carried along drifts from the true one: started again from that, as long as it falls. */
    while (!mdp_residual(g, context, *now, r, &length, error)) {
        first = first > 0 ? first : length;
        if (!(length > forcing * first) || !(length < 0.9 * before) || g->products - first_product >= most)
            break;
        before = length;
        memcpy(shadow, r, (size_t)g->padded * sizeof *r);
        memset(p, 0, (size_t)g->padded * sizeof *p);
        memset(v, 0, (size_t)g->padded * sizeof *v);
        last = alpha = omega = 1;
        for (bool more = true; more && length > forcing * first && g->products - first_product < most;) {
            if (mdp_dots(g, context, 1, &shadow, r, &rho, error))
                return error->code;
            if (rho == 0)
                break;
            turn(g, rho / last * (alpha / omega), omega, r, v, p);
            last = rho;
            if (step(g, context, *now, rho, &length, &more, &alpha, &omega, error))
                return error->code;
        }
    }
    return error->code;
}
