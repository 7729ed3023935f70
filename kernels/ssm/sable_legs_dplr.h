/* HiPPO-LegS as diagonal plus low rank (Gu, Goel & Ré, "Efficiently Modeling Long Sequences with Structured State
 * Spaces", ICLR 2022, theorem 1 and appendix C.1.1): with p_n = √(n + 1/2), A + p pᵀ = −I/2 + S, S skew, so in the
 * basis V of S's eigenvectors V* A V = diag(λ) − (V*p)(V*p)*, and b goes to V*b. */
#ifndef SABLE_LEGS_DPLR_H
#define SABLE_LEGS_DPLR_H

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* For even N, the N/2 eigenvalues of positive imaginary part, ascending: `lambda`, `p`, `b` [N/2, 2] complex. By
 * Jacobi's rotations of −iS (Golub & Van Loan, Matrix Computations, § 8.5, with phases). False if memory is short. */
bool sable_legs_dplr(int64_t order, double *lambda, double *p, double *b);

#ifdef __cplusplus
}
#endif
#endif
