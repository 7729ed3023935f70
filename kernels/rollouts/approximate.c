/* Stochastic approximation, one replicate after the other, as the formulas of sable_mean.h say. Bound by the draws, or
 * by log, sin and cos of the C library where there is normal noise: its bits are those of the library. */
#include "mean_isa.h"

#include <math.h>

#include "sable_random.h"

static double towards_the_mean(uint64_t seed, int64_t replicate, const struct sable_mean_rule *rule)
{
    double w = rule->start;
    for (int64_t k = 0; k < rule->steps; k++) {
        double step = rule->alpha > 0 ? rule->alpha : 1.0 / (double)(k + 1);
        w = fma(step, sable_mean_sample(seed, replicate * rule->steps + k) - w, w);
    }
    return w;
}

/* The two normal samples of a pair of words. */
static void normal_pair(uint64_t seed, int64_t pair, double normal[2])
{
    static const double two_pi = 6.283185307179586;
    struct sable_random_block drawn = sable_random(seed, SABLE_NORMAL_PURPOSE, (uint64_t)pair / 2, 0);
    const uint32_t *word = drawn.word + pair % 2 * 2;
    double radius = sqrt(-2 * log(((double)word[0] + 0.5) * 0x1p-32)), angle = two_pi * ((double)word[1] * 0x1p-32);
    normal[0] = radius * cos(angle);
    normal[1] = radius * sin(angle);
}

double sable_mean_approximate(uint64_t seed, int64_t replicate, const struct sable_mean_rule *rule, double *noise)
{
    *noise = 0;
    if (rule->kind == SABLE_RULE_MEAN)
        return towards_the_mean(seed, replicate, rule);
    double w = rule->start, normal[2] = {0, 0};
    for (int64_t k = 0; k < rule->steps; k++) {
        const int64_t i = replicate * rule->steps + k;
        const double step = rule->a / ((double)(k + 1) + rule->k0), off = rule->c * (w - rule->root);
        if (rule->sigma > 0 && (k == 0 || i % 2 == 0))
            normal_pair(seed, i / 2, normal);
        const double eta = rule->sigma * normal[i % 2];
        w -= step * ((rule->kind == SABLE_RULE_TANH ? tanh(off) : off) + eta);
        *noise += step * eta;
    }
    return w;
}
