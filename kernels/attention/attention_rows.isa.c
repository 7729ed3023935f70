/* Two passes over a row of logits that lies in the cache: the largest, then exponentials and their sum. Exponentials as
 * attention_block.isa.c makes them: a polynomial times a power of two. Speed: some ten operations a vector of keys. */
#include "attention_rows.h"

#include <math.h>
#include <string.h>

#include "attention_weights.h"

static lanes places(void)
{
    lanes x;
    for (int i = 0; i < LANES; i++)
        x[i] = (float)i;
    return x;
}

static float largest_of(lanes x)
{
    float most = x[0];
    for (int i = 1; i < LANES; i++)
        most = x[i] > most ? x[i] : most;
    return most;
}

static double sum_of(lanes x)
{
    double sum = 0;
    for (int i = 0; i < LANES; i++)
        sum += (double)x[i];
    return sum;
}

/* Of one row over `seen` keys: the sum, and the integer power of two *m. */
static double softmax_row(int64_t seen, struct softmax c, lanes sign, float *s, float *m)
{
    const lanes none = splat(-FLT_MAX / 4), place = places();
    const int64_t whole = seen / LANES * LANES;
    const words there = place < splat((float)(seen - whole));
    lanes most = none, sum = splat(0);
    for (int64_t j = 0; j < whole; j += LANES)
        most = larger(load(s + j) * sign, most);
    if (whole < seen)
        most = larger(choose(there, load(s + whole) * sign, none), most);
    const lanes top = rounded(splat(largest_of(most)), c), tops[4] = {top, top, top, top};
    int64_t j = 0;
    for (; j + STRIP * LANES <= whole; j += STRIP * LANES) {
        lanes p[STRIP];
        UNROLL
        for (int i = 0; i < STRIP; i++)
            p[i] = load(s + j + i * LANES) * sign;
        weights_of(STRIP, c, tops, p, false);
        UNROLL
        for (int i = 0; i < STRIP; i++) {
            store(s + j + i * LANES, p[i]);
            sum += p[i];
        }
    }
    for (; j < seen; j += LANES) { /* places behind the last key are 0 */
        const words inside = place < splat((float)(seen - j));
        lanes p = choose(inside, load(s + j) * sign, splat(0));
        weights_of(1, c, tops, &p, false);
        p = choose(inside, p, splat(0));
        store(s + j, p);
        sum += p;
    }
    *m = top[0];
    return sum_of(sum);
}

void SABLE_ISA_NAME(sable_attention_softmax_rows)(int rows, int64_t n, int64_t first_seen, int64_t pitch, double scale,
                                                  float *s, float *inverse, float *lse)
{
    const struct softmax c = softmax_of(fabs(scale));
    const lanes sign = splat(scale < 0 ? -1 : 1);
    for (int r = 0; r < rows; r++) {
        int64_t seen = first_seen + r < n ? first_seen + r : n, end = (seen + LANES - 1) / LANES * LANES;
        float m, *row = s + r * pitch;
        seen = seen > 0 ? seen : 0;
        end = end > 0 ? end : 0;
        const double sum = softmax_row(seen, c, sign, row, &m);
        if (end < n)
            memset(row + end, 0, (size_t)(n - end) * sizeof *row);
        inverse[r] = seen > 0 ? (float)(1 / sum) : 0;
        lse[r] = seen > 0 ? (float)((double)m * 0x1.62e42fefa39efp-1 + log(sum)) : -INFINITY;
    }
}

void SABLE_ISA_NAME(sable_attention_scale_rows)(int rows, int64_t dim, const float *factor, float *x)
{
    for (int r = 0; r < rows; r++)
        for (int64_t d = 0; d < dim; d++)
            x[r * dim + d] *= factor[r];
}
