/* oneDNN's matmul for attention by rows: a primitive for each shape and thread, made when it is first needed, in the
 * thread that runs it, so that oneDNN takes that thread alone. Primitives share a thread's scratchpad. */
#include "row_products.h"

#ifdef SABLE_HAVE_ONEDNN

#include <oneapi/dnnl/dnnl.h>
#include <stdio.h>
#include <stdlib.h>

#include "sable_array.h"

struct made {
    struct row_product shape;
    dnnl_primitive_t primitive;
    dnnl_memory_t a, b, c, room;
    int64_t room_size;
};

struct worker { /* of one thread */
    int64_t count, size;
    struct made *made;
    void *room;
    int64_t room_size;
    dnnl_stream_t stream;
};

struct onednn {
    dnnl_engine_t engine;
    dnnl_primitive_attr_t own_room;
    int threads;
    struct worker worker[];
};

static bool same(const struct row_product *a, const struct row_product *b)
{
    return a->transposed == b->transposed && a->m == b->m && a->n == b->n && a->depth == b->depth &&
           a->a_pitch == b->a_pitch && a->b_pitch == b->b_pitch && a->c_pitch == b->c_pitch;
}

static bool describe(dnnl_memory_desc_t *to, int64_t rows, int64_t columns, int64_t row_step, int64_t column_step)
{
    const dnnl_dims_t size = {rows, columns}, step = {row_step, column_step};
    return dnnl_memory_desc_init_by_strides(to, 2, size, dnnl_f32, step) == dnnl_success;
}

static void forget(struct made *m)
{
    dnnl_memory_destroy(m->a);
    dnnl_memory_destroy(m->b);
    dnnl_memory_destroy(m->c);
    dnnl_memory_destroy(m->room);
    dnnl_primitive_destroy(m->primitive);
}

static bool make(struct onednn *d, const struct row_product *p, struct made *m)
{
    dnnl_memory_desc_t a, b, c;
    dnnl_matmul_desc_t matmul;
    dnnl_primitive_desc_t chosen = NULL;
    *m = (struct made){.shape = *p};
    bool good = describe(&a, p->m, p->depth, p->a_pitch, 1) &&
                describe(&b, p->depth, p->n, p->transposed ? 1 : p->b_pitch, p->transposed ? p->b_pitch : 1) &&
                describe(&c, p->m, p->n, p->c_pitch, 1) &&
                dnnl_matmul_desc_init(&matmul, &a, &b, NULL, &c) == dnnl_success &&
                dnnl_primitive_desc_create(&chosen, &matmul, d->own_room, d->engine, NULL) == dnnl_success;
    if (good) {
        const dnnl_memory_desc_t *room = dnnl_primitive_desc_query_md(chosen, dnnl_query_scratchpad_md, 0);
        m->room_size = (int64_t)dnnl_memory_desc_get_size(room);
        good = dnnl_primitive_create(&m->primitive, chosen) == dnnl_success &&
               dnnl_memory_create(&m->a, &a, d->engine, DNNL_MEMORY_NONE) == dnnl_success &&
               dnnl_memory_create(&m->b, &b, d->engine, DNNL_MEMORY_NONE) == dnnl_success &&
               dnnl_memory_create(&m->c, &c, d->engine, DNNL_MEMORY_NONE) == dnnl_success &&
               dnnl_memory_create(&m->room, room, d->engine, DNNL_MEMORY_NONE) == dnnl_success;
    }
    dnnl_primitive_desc_destroy(chosen);
    if (!good)
        forget(m);
    return good;
}

/* The worker's primitive of this shape, made if there is none; NULL if that failed. */
static struct made *made_for(struct onednn *d, struct worker *w, const struct row_product *p)
{
    for (int64_t i = 0; i < w->count; i++)
        if (same(&w->made[i].shape, p))
            return &w->made[i];
    if (w->count == w->size) {
        const int64_t size = 2 * w->size + 16;
        struct made *more = realloc(w->made, (size_t)size * sizeof *more);
        if (!more)
            return NULL;
        w->made = more, w->size = size;
    }
    struct made *m = &w->made[w->count];
    if (!make(d, p, m))
        return NULL;
    w->count++;
    if (m->room_size > w->room_size) {
        sable_array_free(w->room);
        w->room = sable_array(m->room_size, 1, 1);
        w->room_size = w->room ? m->room_size : 0;
    }
    return m->room_size > w->room_size ? NULL : m;
}

static bool multiply(void *library, int thread, const struct row_product *p, const float *a, const float *b, float *c)
{
    struct onednn *d = library;
    struct worker *w = &d->worker[thread];
    struct made *m = made_for(d, w, p);
    if (!m || dnnl_memory_set_data_handle(m->a, (void *)(uintptr_t)a) != dnnl_success ||
        dnnl_memory_set_data_handle(m->b, (void *)(uintptr_t)b) != dnnl_success ||
        dnnl_memory_set_data_handle(m->c, c) != dnnl_success ||
        dnnl_memory_set_data_handle(m->room, w->room) != dnnl_success)
        return false;
    const dnnl_exec_arg_t arguments[] = {
        {DNNL_ARG_SRC, m->a}, {DNNL_ARG_WEIGHTS, m->b}, {DNNL_ARG_DST, m->c}, {DNNL_ARG_SCRATCHPAD, m->room}};
    return dnnl_primitive_execute(m->primitive, w->stream, 4, arguments) == dnnl_success;
}

static void close_onednn(void *library)
{
    struct onednn *d = library;
    for (int t = 0; t < d->threads; t++) {
        struct worker *w = &d->worker[t];
        for (int64_t i = 0; i < w->count; i++)
            forget(&w->made[i]);
        free(w->made);
        sable_array_free(w->room);
        if (w->stream)
            dnnl_stream_destroy(w->stream);
    }
    if (d->own_room)
        dnnl_primitive_attr_destroy(d->own_room);
    if (d->engine)
        dnnl_engine_destroy(d->engine);
    free(d);
}

bool row_library_onednn(int threads, struct row_library *library)
{
    struct onednn *d = calloc(1, sizeof *d + (size_t)threads * sizeof d->worker[0]);
    *library = (struct row_library){multiply, close_onednn, d, true, {0}};
    if (!d)
        return false;
    d->threads = threads;
    bool good = dnnl_engine_create(&d->engine, dnnl_cpu, 0) == dnnl_success &&
                dnnl_primitive_attr_create(&d->own_room) == dnnl_success &&
                dnnl_primitive_attr_set_scratchpad_mode(d->own_room, dnnl_scratchpad_mode_user) == dnnl_success;
    for (int t = 0; t < threads && good; t++)
        good = dnnl_stream_create(&d->worker[t].stream, d->engine, dnnl_stream_default_flags) == dnnl_success;
    const dnnl_version_t *version = dnnl_version();
    snprintf(library->name, sizeof library->name, "oneDNN %d.%d.%d, instruction set %x", version->major, version->minor,
             version->patch, (unsigned)dnnl_get_effective_cpu_isa());
    if (!good)
        close_onednn(d);
    return good;
}

#else
bool row_library_onednn(int threads, struct row_library *library)
{
    (void)threads;
    *library = (struct row_library){0};
    return false;
}
#endif
