/* LIBXSMM's small matrix products for attention by rows: kernels made at run time for tiles that stay in the caches.
 *
 * LIBXSMM's matrices are in columns, so a product of matrices in rows is that of its operands in turn, cᵀ = bᵀ·aᵀ:
 * tiles of KEYS columns of c and ROWS rows, DEPTH terms at a time. Its kernels take no b in columns, [n][depth]: such a
 * tile is transposed first, once for all rows. */
#include "row_products.h"

#ifdef SABLE_HAVE_LIBXSMM

#include <libxsmm.h>
#include <stdio.h>
#include <stdlib.h>

#include "sable_array.h"

enum { KEYS = 64, ROWS = 128, DEPTH = 256 };

struct libxsmm {
    int threads;
    struct {
        float *tile; /* [depth][KEYS] */
        int64_t size;
    } worker[];
};

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* c [m][n] (+)= a [m][depth] · b [depth][n] for one tile. */
static bool tile(const struct row_product *p, const float *a, const float *b, float *c, bool add)
{
    const libxsmm_blasint lda = (libxsmm_blasint)p->b_pitch, ldb = (libxsmm_blasint)p->a_pitch,
                          ldc = (libxsmm_blasint)p->c_pitch;
    const float alpha = 1, beta = add ? 1 : 0;
    const libxsmm_smmfunction run =
        libxsmm_smmdispatch((libxsmm_blasint)p->n, (libxsmm_blasint)p->m, (libxsmm_blasint)p->depth, &lda, &ldb, &ldc,
                            &alpha, &beta, NULL, NULL);
    if (run)
        run(b, a, c);
    return run;
}

/* The tile of b [n][depth] that begins at `b`, as [depth][KEYS]; NULL if memory is short. */
static const float *turned(struct libxsmm *x, int thread, const struct row_product *p, const float *b, int64_t n)
{
    const int64_t size = KEYS * p->depth;
    if (size > x->worker[thread].size) {
        sable_array_free(x->worker[thread].tile);
        x->worker[thread].tile = sable_array(size, 1, sizeof(float));
        x->worker[thread].size = x->worker[thread].tile ? size : 0;
    }
    float *to = x->worker[thread].tile;
    if (to)
        libxsmm_otrans(to, b, sizeof *to, (libxsmm_blasint)p->depth, (libxsmm_blasint)n, (libxsmm_blasint)p->b_pitch,
                       KEYS);
    return to;
}

static bool multiply(void *library, int thread, const struct row_product *p, const float *a, const float *b, float *c)
{
    struct libxsmm *x = library;
    bool good = true;
    for (int64_t j = 0; good && j < p->n; j += KEYS) {
        struct row_product part = *p;
        part.n = least(KEYS, p->n - j);
        const float *columns = p->transposed ? turned(x, thread, p, b + j * p->b_pitch, part.n) : b + j;
        if (!columns)
            return false;
        part.b_pitch = p->transposed ? KEYS : p->b_pitch;
        for (int64_t k = 0; good && k < p->depth; k += DEPTH) {
            part.depth = least(DEPTH, p->depth - k);
            for (int64_t i = 0; good && i < p->m; i += ROWS) {
                part.m = least(ROWS, p->m - i);
                good = tile(&part, a + i * p->a_pitch + k, columns + k * part.b_pitch, c + i * p->c_pitch + j, k > 0);
            }
        }
    }
    return good;
}

static void close_libxsmm(void *library)
{
    struct libxsmm *x = library;
    for (int t = 0; t < x->threads; t++)
        sable_array_free(x->worker[t].tile);
    free(x);
}

bool row_library_libxsmm(int threads, struct row_library *library)
{
    struct libxsmm *x = calloc(1, sizeof *x + (size_t)threads * sizeof x->worker[0]);
    *library = (struct row_library){multiply, close_libxsmm, x, false, {0}};
    if (!x)
        return false;
    x->threads = threads;
    libxsmm_init();
    snprintf(library->name, sizeof library->name, "LIBXSMM %s, %s", LIBXSMM_VERSION, libxsmm_get_target_arch());
    return true;
}

#else
bool row_library_libxsmm(int threads, struct row_library *library)
{
    (void)threads;
    *library = (struct row_library){0};
    return false;
}
#endif
