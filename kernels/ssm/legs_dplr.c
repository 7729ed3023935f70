#include "sable_legs_dplr.h"

#include <math.h>

#include "complex_parts.h"
#include "sable_array.h"

enum { SWEEPS = 30 };

/* Columns i and j of `z` [n, n] times [[c, s e], [−s ē, c]]. */
static void rotate_columns(int64_t n, double complex *z, int64_t i, int64_t j, double c, double s, double complex e)
{
    for (int64_t k = 0; k < n; k++) {
        const double complex x = z[k * n + i], y = z[k * n + j];
        z[k * n + i] = c * x - s * conj(e) * y;
        z[k * n + j] = s * e * x + c * y;
    }
}

static void rotate_rows(int64_t n, double complex *z, int64_t i, int64_t j, double c, double s, double complex e)
{
    for (int64_t k = 0; k < n; k++) {
        const double complex x = z[i * n + k], y = z[j * n + k];
        z[i * n + k] = c * x - s * e * y;
        z[j * n + k] = s * conj(e) * x + c * y;
    }
}

/* Hermitian h → diagonal, v ← its eigenvectors. */
static void jacobi(int64_t n, double complex *h, double complex *v)
{
    for (int64_t i = 0; i < n * n; i++)
        v[i] = i % (n + 1) == 0;
    for (int sweep = 0; sweep < SWEEPS; sweep++) {
        double off = 0, all = 0;
        for (int64_t i = 0; i < n * n; i++) {
            const double size = creal(h[i] * conj(h[i]));
            all += size;
            off += i % (n + 1) ? size : 0;
        }
        if (off <= 1e-32 * all)
            return;
        for (int64_t i = 0; i < n; i++)
            for (int64_t j = i + 1; j < n; j++) {
                const double size = cabs(h[i * n + j]);
                if (size == 0)
                    continue;
                const double tau = (creal(h[j * n + j]) - creal(h[i * n + i])) / (2 * size);
                const double t = (tau < 0 ? -1 : 1) / (fabs(tau) + sqrt(1 + tau * tau)), c = 1 / sqrt(1 + t * t);
                const double complex e = h[i * n + j] / size;
                rotate_columns(n, h, i, j, c, t * c, e);
                rotate_rows(n, h, i, j, c, t * c, e);
                rotate_columns(n, v, i, j, c, t * c, e);
            }
    }
}

/* V* (p, b) of column i. */
static void project(int64_t n, const double complex *v, int64_t i, double *p, double *b)
{
    double complex low = 0, in = 0;
    for (int64_t k = 0; k < n; k++) {
        low += conj(v[k * n + i]) * sqrt((double)k + 0.5);
        in += conj(v[k * n + i]) * sqrt(2 * (double)k + 1);
    }
    p[0] = creal(low), p[1] = cimag(low);
    b[0] = creal(in), b[1] = cimag(in);
}

bool sable_legs_dplr(int64_t order, double *lambda, double *p, double *b)
{
    const int64_t n = order;
    double complex *h = sable_array(n, n, sizeof *h), *v = sable_array(n, n, sizeof *v);
    if (h && v) {
        for (int64_t i = 0; i < n; i++)
            for (int64_t j = 0; j < n; j++) { /* −iS, S below the diagonal −√((2i+1)(2j+1))/2 */
                const double size = 0.5 * sqrt((2 * (double)i + 1) * (2 * (double)j + 1));
                h[i * n + j] = i == j ? 0 : complex_of(0, i > j ? size : -size);
            }
        jacobi(n, h, v);
        for (int64_t rank = 0, last = -1; rank < n / 2; rank++) { /* by insertion: the next larger one */
            int64_t next = -1;
            for (int64_t i = 0; i < n; i++) {
                const double x = creal(h[i * n + i]);
                if (x > (last < 0 ? 0 : creal(h[last * n + last])) && (next < 0 || x < creal(h[next * n + next])))
                    next = i;
            }
            if (next < 0)
                break;
            lambda[2 * rank] = -0.5;
            lambda[2 * rank + 1] = creal(h[next * n + next]);
            project(n, v, next, p + 2 * rank, b + 2 * rank);
            last = next;
        }
    }
    const bool good = h && v;
    sable_array_free(h);
    sable_array_free(v);
    return good;
}
