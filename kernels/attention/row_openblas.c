/* OpenBLAS's sgemm for attention by rows. */
#include "row_products.h"

#ifdef SABLE_HAVE_OPENBLAS

#include <limits.h>
#include <stdio.h>

#include "blas.h"

static bool multiply(void *library, int thread, const struct row_product *p, const float *a, const float *b, float *c)
{
    const struct sable_blas *blas = library;
    (void)thread;
    if (p->n > INT_MAX || p->depth > INT_MAX)
        return false;
    blas->sgemm(CblasRowMajor, CblasNoTrans, p->transposed ? CblasTrans : CblasNoTrans, (int)p->m, (int)p->n,
                (int)p->depth, 1, a, (int)p->a_pitch, b, (int)p->b_pitch, 0, c, (int)p->c_pitch);
    return true;
}

static void close_blas(void *library)
{
    sable_blas_close(library);
}

bool row_library_openblas(struct row_library *library)
{
    struct sable_blas *blas = sable_blas_open();
    *library = (struct row_library){multiply, close_blas, blas, false, {0}};
    if (blas)
        snprintf(library->name, sizeof library->name, "%s", sable_blas_describe(blas));
    return blas;
}

#else
bool row_library_openblas(struct row_library *library)
{
    *library = (struct row_library){0};
    return false;
}
#endif
