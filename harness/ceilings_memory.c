/* Streams and random access over working sets of a given size. */
#include "ceilings_site.h"

#include <math.h>

#include "sable_array.h"
#include "sable_latencies.h"
#include "sable_streams.h"

/* ---- Streams ---- */

enum { MOST_ARRAYS = 3 };
static const int arrays_of[] = {[SABLE_READ] = 1, [SABLE_COPY] = 2, [SABLE_TRIAD] = 3};

/* Arrays are streamed over window by window, round and round, so that a slice of time is short although the arrays are
 * large. Each window is cut over the threads, when it is filled and when it is used. */
static const double window_per_thread = 32 << 20; /* bytes of all arrays */

struct stream {
    int threads;
    enum sable_pattern pattern;
    enum sable_route route;
    int64_t n; /* doubles of each array in a window */
    int64_t windows, next;
    double *array[MOST_ARRAYS]; /* the first is written (or read), the others are read */
    uint64_t sum;               /* of what was read: used, so that it is read */
};

static void stream_window(struct stream *s, int64_t window, int64_t passes)
{
    double *array[MOST_ARRAYS] = {0};
    for (int i = 0; i < arrays_of[s->pattern]; i++)
        array[i] = s->array[i] + window * s->n;
    if (s->pattern == SABLE_READ)
        s->sum += sable_stream_read(s->threads, s->n, passes, s->route, array[0]);
    else if (s->pattern == SABLE_COPY)
        sable_stream_copy(s->threads, s->n, passes, s->route, array[1], array[0]);
    else
        sable_stream_triad(s->threads, s->n, passes, s->route, 3, array[1], array[2], array[0]);
}

static int run_stream(void *state, int64_t count, struct sable_error *error)
{
    (void)error;
    struct stream *s = state;
    if (s->windows == 1) /* threads then don't wait for one another between passes */
        stream_window(s, 0, count);
    else
        for (int64_t i = 0; i < count; i++, s->next = (s->next + 1) % s->windows)
            stream_window(s, s->next, 1);
    return SABLE_OK;
}

/* Cuts one allocation into arrays and fills them. Arrays of a whole number of huge pages would begin at the same offset
 * in a page, and compete for the same banks and cache sets: each begins some lines later. */
static double *allocate(struct stream *s, double bytes, struct sable_error *error)
{
    enum { STAGGER = 5 * SABLE_STREAM_BLOCK };
    int arrays = arrays_of[s->pattern];
    s->windows = (int64_t)fmax(bytes / (window_per_thread * s->threads), 1);
    double block_bytes = (double)(arrays * s->windows) * SABLE_STREAM_BLOCK * sizeof(double);
    s->n = (int64_t)fmax(bytes / block_bytes, s->threads) * SABLE_STREAM_BLOCK;
    double *block = sable_array(arrays, s->windows * s->n + STAGGER, sizeof *block);
    if (!block) {
        sable_fail(error, SABLE_ENVIRONMENT, "no memory for arrays of %.0f bytes to measure bandwidth with", bytes);
        return NULL;
    }
    for (int i = 0; i < arrays; i++) {
        s->array[i] = block + i * (s->windows * s->n + STAGGER);
        for (int64_t window = 0; window < s->windows; window++)
            sable_stream_fill(s->threads, s->n, 1 + i, s->array[i] + window * s->n);
    }
    return block;
}

int ceilings_stream(const struct ceilings_site *site, const char *name, enum sable_pattern pattern, double bytes,
                    struct sable_ceilings *ceilings, int *index, struct sable_error *error)
{
    struct stream stream = {.threads = site->threads, .pattern = pattern};
    struct ceilings_kernel kernel = {.run = run_stream, .state = &stream, .most = 0};
    struct sable_interval cached, streaming;
    double *block = allocate(&stream, bytes, error);
    if (sable_agree(site->comm, error) || ceilings_time(site, &kernel, &cached, error))
        goto done;
    stream.route = SABLE_ROUTE_STREAMING;
    if (ceilings_time(site, &kernel, &streaming, error))
        goto done;
    bool faster = streaming.mid < cached.mid;
    double window = (double)(arrays_of[pattern] * stream.n) * sizeof(double);
    if (ceilings_add_rate(site, name, "GB/s", window * site->ranks, faster ? &streaming : &cached, ceilings, index,
                          error) == SABLE_OK)
        ceilings_set_means(&ceilings->list[*index], faster ? "streaming" : "cached");
done:
    sable_array_free(block);
    return error->code;
}

/* ---- Random access ---- */

enum { ACCESSES = SABLE_GATHER_RUN }; /* in one unit of work */

struct table {
    int threads;
    int64_t n;
    void *entry;
    uint32_t *place; /* gathers: where to read, in turn */
    int64_t places;
    bool wide;      /* by gather instructions */
    uint64_t first; /* where the next repetition goes on: not over lines that the last one left in a cache */
    uint64_t sum;   /* of what was read: used, so that it is read */
};

static int allocate_table(const struct ceilings_site *site, double bytes, size_t entry_size, struct table *table,
                          struct sable_error *error)
{
    table->threads = site->threads;
    table->n = (int64_t)(bytes / (double)entry_size);
    table->entry = sable_array(table->n, 1, entry_size);
    if (!table->entry)
        sable_fail(error, SABLE_ENVIRONMENT, "no memory for a table of %.0f bytes to measure random access with",
                   bytes);
    return sable_agree(site->comm, error);
}

static int run_gather(void *state, int64_t count, struct sable_error *error)
{
    (void)error;
    struct table *table = state;
    table->sum += sable_gather(table->threads, table->n, table->first, count * ACCESSES, table->entry);
    table->first += (uint64_t)(count * ACCESSES * table->threads);
    return SABLE_OK;
}

static int run_listed_gather(void *state, int64_t count, struct sable_error *error)
{
    (void)error;
    struct table *table = state;
    table->sum += sable_gather_listed(table->threads, table->places, table->first, count * ACCESSES, table->wide,
                                      table->place, table->entry);
    table->first = (table->first + (uint64_t)(count * ACCESSES)) % (uint64_t)table->places;
    return SABLE_OK;
}

/* Where to read: computed, or from a list by gathers or by single loads. The fastest way is the ceiling. */
int ceilings_gather(const struct ceilings_site *site, const char *name, double bytes, struct sable_ceilings *ceilings,
                    int *index, struct sable_error *error)
{
    static const char *const means[] = {"hash", "list", "list, single loads"};
    struct table table = {0};
    struct ceilings_kernel kernel = {.state = &table, .most = 0};
    struct sable_interval seconds[3];
    int best = 0;
    if (allocate_table(site, bytes, sizeof(uint64_t), &table, error))
        goto done;
    table.places = table.n / 8 > 2 * ACCESSES ? table.n / 8 : 2 * ACCESSES;
    table.place = sable_array(table.places, 1, sizeof *table.place);
    if (!table.place)
        sable_fail(error, SABLE_ENVIRONMENT, "no memory for a list of %lld places to measure random access with",
                   (long long)table.places);
    if (sable_agree(site->comm, error))
        goto done;
    sable_gather_fill(site->threads, table.n, table.entry);
    sable_gather_list(site->threads, table.n, table.places, table.place);
    for (int way = 0; way < 3; way++) {
        kernel.run = way == 0 ? run_gather : run_listed_gather;
        table.wide = way == 1;
        table.first = 0;
        if (ceilings_time(site, &kernel, &seconds[way], error))
            goto done;
        if (seconds[way].mid < seconds[best].mid)
            best = way;
    }
    if (ceilings_add_rate(site, name, "Gaccess/s", (double)ACCESSES * site->threads * site->ranks, &seconds[best],
                          ceilings, index, error) == SABLE_OK)
        ceilings_set_means(&ceilings->list[*index], means[best]);
done:
    sable_array_free(table.place);
    sable_array_free(table.entry);
    return error->code;
}

static int run_chase(void *state, int64_t count, struct sable_error *error)
{
    (void)error;
    struct table *table = state;
    int64_t reached = sable_chase(table->threads, table->n, (int64_t)table->first, count * ACCESSES, table->entry);
    table->first = (uint64_t)(reached % table->n);
    return SABLE_OK;
}

int ceilings_chase(const struct ceilings_site *site, const char *name, double bytes, struct sable_ceilings *ceilings,
                   struct sable_error *error)
{
    struct table table = {0};
    struct ceilings_kernel kernel = {.run = run_chase, .state = &table, .most = 0};
    struct sable_interval seconds;
    if (allocate_table(site, bytes, sizeof(struct sable_chase_node), &table, error))
        goto done;
    sable_chase_link(site->threads, table.n, 1, table.entry);
    if (ceilings_time(site, &kernel, &seconds, error))
        goto done;
    ceilings_add_time(site, name, "ns", 1e-9 * ACCESSES, &seconds, ceilings, error);
done:
    sable_array_free(table.entry);
    return error->code;
}
