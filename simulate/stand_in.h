/* What stands in for the kernels while a launch is simulated: time passes on the simulated rank, nothing is computed.
 *
 * A simulated program is the drivers and the harness as they are, compiled by SimGrid's smpicc. The linker turns each
 * call of a kernel f for which a function __wrap_f exists in this folder into a call of that one. Each stand-in knows
 * how much work the kernel would have done, in units of its family's choice; the time of a unit is measured by a real
 * run on one rank (scripts/simulate/predict). */
#ifndef SABLE_STAND_IN_H
#define SABLE_STAND_IN_H

enum { SIMULATE_MOST_RANKS = 1 << 16, SIMULATE_MOST_THREADS = 1 << 12 };

/* Lets the time of so many units pass on the calling rank. */
void simulate_units(double units);

/* Declares the stand-in of a function with that function's own type. */
#define STAND_IN(function) __typeof__(function) __wrap_##function

#endif
