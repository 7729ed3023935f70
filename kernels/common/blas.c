#ifdef SABLE_HAVE_OPENBLAS

#include "blas.h"

#include <dlfcn.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sable_isa.h"

static void describe(struct sable_blas *blas)
{
    const char *name[2] = {"openblas_get_config", "openblas_get_corename"}, *text[2] = {"?", "?"};
    for (int i = 0; i < 2; i++) {
        char *(*get)(void);
        void *symbol = dlsym(blas->library, name[i]);
        memcpy(&get, &symbol, sizeof get);
        text[i] = symbol ? get() : text[i];
    }
    snprintf(blas->name, sizeof blas->name, "%.120s, core %.24s", text[0], text[1]);
}

struct sable_blas *sable_blas_open(void)
{
    struct sable_blas *blas = calloc(1, sizeof *blas);
    const int threads = omp_get_max_threads();
    const struct {
        const char *name;
        void *to;
    } symbols[] = {{"cblas_strmm", &blas->strmm}, {"cblas_strsm", &blas->strsm}, {"cblas_strmv", &blas->strmv},
                   {"cblas_strsv", &blas->strsv}, {"cblas_sgemm", &blas->sgemm}, {"cblas_sgemv", &blas->sgemv}};
    if (!blas)
        return NULL;
    setenv("OPENBLAS_NUM_THREADS", "1", 1);
    if (sable_isa_best() == SABLE_ISA_V4)
        setenv("OPENBLAS_CORETYPE", "SkylakeX", 0);
    blas->library = dlopen(SABLE_HAVE_OPENBLAS, RTLD_NOW | RTLD_LOCAL);
    for (size_t i = 0; blas->library && i < sizeof symbols / sizeof *symbols; i++) {
        void *symbol = dlsym(blas->library, symbols[i].name);
        memcpy(symbols[i].to, &symbol, sizeof symbol);
        if (!symbol) {
            sable_blas_close(blas);
            return NULL;
        }
    }
    omp_set_num_threads(threads); /* which its OpenMP build changes */
    if (blas->library) {
        describe(blas);
        return blas;
    }
    free(blas);
    return NULL;
}

void sable_blas_close(struct sable_blas *blas)
{
    if (blas)
        dlclose(blas->library);
    free(blas);
}

const char *sable_blas_describe(const struct sable_blas *blas)
{
    return blas->name;
}

#else
typedef int sable_no_openblas; /* a translation unit holds something */
#endif
