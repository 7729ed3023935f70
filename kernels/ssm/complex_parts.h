/* A complex number of its parts. CMPLX of C11 does that, but glibc's is gcc's alone. */
#ifndef COMPLEX_PARTS_H
#define COMPLEX_PARTS_H

#include <complex.h>
#include <string.h>

static inline double complex complex_of(double re, double im)
{
    const double parts[2] = {re, im};
    double complex z;
    memcpy(&z, parts, sizeof z);
    return z;
}

#endif
