/* Measures against an epidemic as a finite decision process: SIS, where who recovers can be infected again.
 *
 * The state is the number S of susceptible people out of N; the other N − S are infected, and recover within the step.
 * Each susceptible one is infected with probability q = 1 − exp(−ψ λ (N − S)/N), ψ the risk of a contact, λ contacts a
 * step: S′ = N − B, B ~ Binomial(S, q). S = N is absorbing, the epidemic is over. An action is one of five levels of
 * hygiene (which lower ψ) and four of distancing (which lower λ), hygiene + 5·distancing. Costs: of the measures, of
 * the quality of life that they take, and of hospitals, which grow like (share of infected)^1.1.
 *
 * Rows hold the most probable `window` successors at most, one interval, scaled to sum to 1: dense blocks that wander
 * with S. Source: M. Gargiani et al., Inexact policy iteration methods for large-scale Markov decision processes
 * (arXiv:2404.06136, 2024), §5, with a contact rate that does not grow with N; N. Bailey, The Mathematical Theory of
 * Infectious Diseases (1975), ch. 14 (chain binomials). */
#ifndef SABLE_EPIDEMIC_H
#define SABLE_EPIDEMIC_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { SABLE_EPIDEMIC_ACTIONS = 20 };

struct sable_epidemic {
    int64_t population; /* N ≥ 1; states 0 … N */
    int64_t window;     /* successors of a row at most, ≥ 1 */
    double contacts;    /* a step without distancing, ≥ 0 */
};

/* Probability q that a susceptible person is infected. */
double sable_epidemic_risk(const struct sable_epidemic *epidemic, int64_t state, int64_t action);

/* Row (state, action): the cost of the step, and successors, ascending, with probabilities. column and probability hold
 * min(window, population + 1) elements, owned by the caller. Returns how many there are. */
int64_t sable_epidemic_row(const struct sable_epidemic *epidemic, int64_t state, int64_t action, double *cost,
                           int64_t *column, double *probability);

/* The largest |cost| of a step. */
double sable_epidemic_most_cost(void);

#ifdef __cplusplus
}
#endif
#endif
