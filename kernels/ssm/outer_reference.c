/* The formula in float64, and how far single precision may lie from it. o_t is a sum over earlier steps j of
 * (q_t·k_j) exp(Σ g) a_j v_j. Every fast form makes each term of it with relative errors only: of the exponent, by its
 * own size (below), and by the lengths of the chains of additions that it goes through, which are no more than `terms`
 * in all. So |error of o_t| is at most the same sum of absolute values, each term times its relative error: a second
 * recurrence (size), and a third (error), beside the first.
 *
 * Decays below e^-69 are taken for 0 (outer.isa.c): of each term less than 2^-99 |k a v| is lost, once. */
#include <math.h>
#include <stddef.h>

#include "sable_outer.h"

static const double u = 0x1p-24; /* of a rounding; an ulp is 2 u */

/* Roundings of a term apart from those of its decay: q·k and two sums over keys, two over a chunk, and single ones. */
static double terms_of(const struct sable_outer *m, const struct sable_outer_evidence *e)
{
    double keys = (double)m->keys, chunk = (double)e->chunk;
    if (e->form == SABLE_OUTER_RECURRENT)
        return 2 * keys + 12;
    return 2 * keys + 2 * chunk + 24 + (e->form == SABLE_OUTER_PARALLEL ? (double)(m->length / e->chunk + 1) : 0);
}

/* Relative error that step t adds to all before it. The exponential of a float x is 1 ulp off and x rounded: 2u + u|x|
 * each time one is applied: every step, at the seams of chunks (and within blocks of steps, by key), or twice a term.
 */
static double decay_error(const struct sable_outer *m, const struct sable_outer_evidence *e, int64_t t, double g,
                          double error)
{
    bool seam = (e->first + t) % e->chunk == 0;
    bool every = e->form == SABLE_OUTER_RECURRENT || m->bonus;
    return fabs(g) * (error + 4 * u) + (every ? 5 * u : 0) + (seam ? 12 * u : 0);
}

struct head {
    const float *q, *k, *v, *decay; /* of step t */
    double weight, error;
};

static struct head at_step(const struct sable_outer *m, int64_t row, int64_t t, const struct sable_outer_exact *x)
{
    const int64_t s = row / m->heads, h = row % m->heads, step = s * m->length + t, head = step * m->heads + h;
    const int64_t group = (h + m->group_offset) / m->group_heads, key = (step * m->groups + group) * m->keys;
    return (struct head){
        .q = m->q + key,
        .k = m->k + key,
        .v = m->v + head * m->values,
        .decay = m->decay ? m->decay + head * (m->bonus ? m->keys : 1) : NULL,
        .weight = x && x->weight ? x->weight[t]
                  : m->weight    ? (double)m->weight[head]
                                 : 1,
        .error = x && x->error ? x->error[t] : 0,
    };
}

/* One key's row of the state, and what it adds to o and to its bound. */
static void advance(const struct sable_outer *m, const struct head *now, int64_t n, int64_t h, double w, double rel,
                    double terms, double *restrict state, double *restrict o, const struct sable_outer_evidence *e,
                    double *restrict bound)
{
    const int64_t P = m->values;
    const double q = (double)now->q[n], k = (double)now->k[n], own = m->bonus ? (double)m->bonus[h * m->keys + n] : 0;
    double *restrict x = state + n * P, *restrict size = e ? e->size + n * P : NULL;
    double *restrict error = e ? e->error + n * P : NULL;
    for (int64_t p = 0; p < P; p++) {
        double push = k * (now->weight * (double)now->v[p]);
        if (m->bonus) {
            o[p] += q * (x[p] + own * push);
            if (e)
                bound[p] += fabs(q) * (error[p] + terms * u * (size[p] + fabs(own * push)));
        }
        x[p] = w * x[p] + push;
        if (e) {
            error[p] = w * (error[p] + size[p] * rel) + fabs(push) * (now->error + u) + 0x1p-148;
            size[p] = w * size[p] + fabs(push);
        }
        if (!m->bonus) {
            o[p] += q * x[p];
            if (e)
                bound[p] += fabs(q) * (error[p] + terms * u * size[p]);
        }
    }
}

/* Counts the step's push among what may be lost; returns how much that is of an output. */
static double lose(const struct sable_outer *m, const struct head *now, const struct sable_outer_evidence *e)
{
    double k = 0, v = 0, q = 0;
    for (int64_t n = 0; n < m->keys; n++) {
        k = fmax(k, fabs((double)now->k[n]));
        q += fabs((double)now->q[n]);
    }
    for (int64_t p = 0; p < m->values; p++)
        v = fmax(v, fabs(now->weight * (double)now->v[p]));
    *e->lost += k * v;
    return 0x1p-99 * q * *e->lost;
}

double sable_outer_state_bound(const struct sable_outer *m, const struct sable_outer_evidence *e, int64_t i,
                               double state)
{
    return 1.1 * (e->error[i] + terms_of(m, e) * u * e->size[i]) + 2 * u * fabs(state) + 0x1p-99 * *e->lost + 0x1p-130;
}

void sable_outer_reference(const struct sable_outer *m, int64_t row, int64_t begin, int64_t end,
                           const struct sable_outer_exact *exact, double *state, double *o,
                           const struct sable_outer_evidence *e)
{
    const int64_t h = row % m->heads, P = m->values;
    const double terms = e ? terms_of(m, e) : 0, skip = m->skip ? (double)m->skip[h] : 0;
    const double sums = e && e->form == SABLE_OUTER_PARALLEL ? (double)(m->length / e->chunk + 4) : 4;
    for (int64_t t = begin; t < end; t++, o += P) {
        const struct head now = at_step(m, row, t, exact);
        double *bound = e ? e->bound + (t - begin) * P : NULL, w = 1, rel = 0;
        const double lost = e ? lose(m, &now, e) : 0;
        for (int64_t p = 0; p < P; p++) {
            o[p] = skip * (double)now.v[p];
            if (e)
                bound[p] = sums * u * fabs(o[p]) + lost + 0x1p-130;
        }
        for (int64_t n = 0; n < m->keys; n++) {
            if (n == 0 || m->bonus) {
                double g = exact && exact->decay ? exact->decay[t] : (double)now.decay[n];
                w = exp(g);
                rel = e ? decay_error(m, e, t, g, now.error) : 0;
            }
            advance(m, &now, n, h, w, rel, terms, state, o, e, bound);
        }
        for (int64_t p = 0; e && p < P; p++)
            bound[p] = 1.1 * bound[p] + 2 * u * fabs(o[p]); /* higher orders; the last roundings */
    }
}
