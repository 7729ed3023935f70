/* The functions of OpenBLAS that kernels use; private to kernels. */
#ifndef BLAS_H
#define BLAS_H

#include <cblas.h>

#include "sable_blas.h"

struct sable_blas {
    void *library;
    __typeof__(cblas_strmm) *strmm;
    __typeof__(cblas_strsm) *strsm;
    __typeof__(cblas_strmv) *strmv;
    __typeof__(cblas_strsv) *strsv;
    __typeof__(cblas_sgemm) *sgemm;
    __typeof__(cblas_sgemv) *sgemv;
    char name[160];
};

#endif
