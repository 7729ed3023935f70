/* Each step is checked against float64: |x_t − (a x_{t−1} + b_t)| may be what its roundings are, with x_{t−1} as
 * stored. Where a chunk begins, x was continued from the chunk's seed, which the carries gave, and not from the x
 * stored before: both lie near what exact steps from the last seed would give, x by its own roundings (`scan`), the
 * seed by those of the scan from 0 (`zero`) and of the two seeds. By induction the whole result is then that of the
 * recurrence with a known disturbance in each step.
 *
 * With few states a scan from 0 is sixteen recurrences of parts of b (sable_scan_ends()), each of which is followed
 * with its own roundings and that of its factor, then their sum. */
#include "sable_scan.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "scan_isa.h"

static double room_of(double a, double s, double b, double x)
{
    return 0x1p-24 * 1.1 * (a * s + b + x) + 0x1p-148; /* 1-norms: modulus of both parts' roundings */
}

/* A recurrence in float64, and how far one of single precision may lie from it. */
struct followed {
    double re, im, error;
};

struct factor {
    double re, im, norm /* 1-norm */, size, wrong /* of the rounded one */;
};

static void follow(const struct factor *a, double br, double bi, struct followed *z)
{
    const double old = fabs(z->re) + fabs(z->im), re = a->re * z->re - a->im * z->im + br;
    z->im = a->re * z->im + a->im * z->re + bi;
    z->re = re;
    z->error = (a->size + a->wrong) * z->error + a->wrong * old +
               room_of(a->norm, old, fabs(br) + fabs(bi), fabs(z->re) + fabs(z->im));
}

static struct factor factor_of(double re, double im)
{
    return (struct factor){re, im, fabs(re) + fabs(im), hypot(re, im),
                           hypot(re - (double)(float)re, im - (double)(float)im)};
}

/* The end of a chunk from 0: what of it is behind. */
struct from_0 {
    bool few;
    struct factor one, apart; /* a, a^16 */
    struct followed z[SABLE_SCAN_APART][2], x;
};

static void begin(int64_t states, double ar, double ai, struct from_0 *s)
{
    double re = ar, im = ai;
    scan_power(&re, &im, SABLE_SCAN_APART);
    *s = (struct from_0){.few = states < SABLE_SCAN_FEW, .one = factor_of(ar, ai), .apart = factor_of(re, im)};
}

/* Step `t` of the chunk. */
static void advance(int64_t t, int64_t chunk, double br, double bi, struct from_0 *s)
{
    const int64_t in_blocks = s->few ? chunk / SABLE_SCAN_APART * SABLE_SCAN_APART : 0;
    if (t == 0) {
        memset(s->z, 0, sizeof s->z);
        memset(&s->x, 0, sizeof s->x);
    }
    if (t >= in_blocks) {
        follow(&s->one, br, bi, &s->x);
        return;
    }
    follow(&s->apart, br, 0, &s->z[t % SABLE_SCAN_APART][0]);
    follow(&s->apart, bi, 0, &s->z[t % SABLE_SCAN_APART][1]);
    for (int k = 0; t + 1 == in_blocks && k < SABLE_SCAN_APART; k++) {
        const struct followed *r = &s->z[k][0], *i = &s->z[k][1];
        const double re = r->re - i->im, im = r->im + i->re;
        follow(&s->one, re, im, &s->x);
        s->x.error += r->error + i->error + 0x1p-24 * 1.1 * (fabs(re) + fabs(im));
    }
}

struct sable_scan_evidence sable_scan_examine(int64_t states, int64_t length, int64_t chunk, int64_t m, const float *a,
                                              const float *b, const float *before, const float *x)
{
    const double ar = (double)a[m], ai = (double)a[states + m], norm = fabs(ar) + fabs(ai), size = hypot(ar, ai);
    struct sable_scan_evidence found = {.reach = size};
    double sr = (double)before[m], si = (double)before[states + m], scan = 0, start = 0;
    struct from_0 zero;
    begin(states, ar, ai, &zero);
    for (int64_t t = 0; t < length; t++) {
        const int64_t at = 2 * t * states + m;
        double br = (double)b[at], bi = (double)b[at + states], xr = (double)x[at], xi = (double)x[at + states];
        double residual = hypot(xr - (ar * sr - ai * si + br), xi - (ar * si + ai * sr + bi));
        double room = room_of(norm, fabs(sr) + fabs(si), fabs(br) + fabs(bi), fabs(xr) + fabs(xi));
        if (t % chunk == 0) {
            scan = 0;
            start = fabs(sr) + fabs(si);
        }
        if (t == 0) {
            found.first = residual;
            found.room = room;
        } else {
            double ratio = residual / (room + (t % chunk == 0 ? size * found.seam : 0));
            found.worst = ratio <= found.worst ? found.worst : isnan(ratio) ? (double)INFINITY : ratio;
        }
        advance(t % chunk, chunk, br, bi, &zero);
        scan = size * scan + room;
        sr = xr;
        si = xi;
        if ((t + 1) % chunk == 0)
            found.seam = zero.x.error + scan + 0x1p-23 * (start + fabs(xr) + fabs(xi)) + 0x1p-148;
    }
    return found;
}
