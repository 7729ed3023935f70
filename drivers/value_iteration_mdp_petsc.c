/* Decision processes in PETSc's binary format, as madupite reads them: the transition matrix [states·actions × states],
 * row s·A + a, and the rewards or costs, a matrix [states × actions] or a vector of as many, or of one a state. Rewards
 * follow in the same file or are a file of their own.
 *
 * The format (PETSc manual, MatLoad, VecLoad): big-endian; class number, rows, columns, stored numbers; length of each
 * row; columns; values. −1 stored numbers: a dense matrix by rows. A vector: class number, length, values. Integers
 * have 64 bits where PETSc was built so, which the class number tells. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sable_array.h"
#include "value_iteration_mdp_input.h"

enum { MATRIX = 1211216, VECTOR = 1211214, AT_ONCE = 8192 };

struct reader {
    FILE *file;
    const char *path;
    int64_t size, at; /* bytes of the file; where the next object starts */
    int width;        /* bytes of an integer */
};

/* One object's head, and where its parts lie. */
struct object {
    bool vector, dense;
    int64_t rows, columns, stored;
    int64_t lengths, indices, values; /* offsets in the file */
};

static int64_t integer_of(const unsigned char *bytes, int width)
{
    uint64_t value = 0;
    for (int i = 0; i < width; i++)
        value = value << 8 | bytes[i];
    return width == 4 ? (int32_t)(uint32_t)value : (int64_t)value;
}

static int read_bytes(struct reader *r, int64_t offset, unsigned char *bytes, int64_t count, struct sable_error *error)
{
    if (offset < 0 || offset > r->size - count || fseeko(r->file, (off_t)offset, SEEK_SET) ||
        fread(bytes, 1, (size_t)count, r->file) != (size_t)count)
        return sable_fail(error, SABLE_BAD_INPUT, "%s is truncated: it ends within a matrix of PETSc", r->path);
    return SABLE_OK;
}

static int read_integers(struct reader *r, int64_t offset, int64_t count, int64_t *to, struct sable_error *error)
{
    unsigned char bytes[8 * AT_ONCE];
    for (int64_t done = 0; done < count; done += AT_ONCE) {
        int64_t n = count - done < AT_ONCE ? count - done : AT_ONCE;
        if (read_bytes(r, offset + done * r->width, bytes, n * r->width, error))
            return error->code;
        for (int64_t i = 0; i < n; i++)
            to[done + i] = integer_of(bytes + i * r->width, r->width);
    }
    return SABLE_OK;
}

static int read_reals(struct reader *r, int64_t offset, int64_t count, double *to, struct sable_error *error)
{
    unsigned char bytes[8 * AT_ONCE];
    for (int64_t done = 0; done < count; done += AT_ONCE) {
        int64_t n = count - done < AT_ONCE ? count - done : AT_ONCE;
        if (read_bytes(r, offset + 8 * done, bytes, 8 * n, error))
            return error->code;
        for (int64_t i = 0; i < n; i++) {
            int64_t bits = integer_of(bytes + 8 * i, 8);
            memcpy(&to[done + i], &bits, sizeof bits);
        }
    }
    return SABLE_OK;
}

static int refuse(const struct reader *r, const char *what, struct sable_error *error)
{
    return sable_fail(error, SABLE_BAD_INPUT, "%s: %s", r->path, what);
}

/* The head of the next object; sizes are checked against the file's before anybody trusts them. */
static int read_object(struct reader *r, struct object *object, struct sable_error *error)
{
    int64_t head[4], lengths, indices, cells;
    if (read_integers(r, r->at, 2, head, error))
        return error->code;
    *object = (struct object){.vector = head[0] == VECTOR};
    if (head[0] == VECTOR) {
        object->rows = head[1], object->columns = 1;
        object->values = r->at + 2 * r->width;
        if (head[1] < 1 || head[1] > (r->size - object->values) / 8)
            return refuse(r, "a vector of PETSc is truncated, or has no elements", error);
        r->at = object->values + 8 * head[1];
        return SABLE_OK;
    }
    if (head[0] != MATRIX)
        return refuse(r, "neither a matrix nor a vector of PETSc where one should begin", error);
    if (read_integers(r, r->at, 4, head, error))
        return error->code;
    object->rows = head[1], object->columns = head[2], object->stored = head[3];
    object->dense = head[3] == -1;
    object->lengths = r->at + 4 * r->width;
    if (head[1] < 1 || head[2] < 1 || head[3] < -1 || !sable_multiply(head[1], head[2], &cells))
        return refuse(r, "a matrix of PETSc has impossible sizes", error);
    object->stored = object->dense ? cells : head[3];
    if (!sable_multiply(object->dense ? 0 : head[1], r->width, &lengths) ||
        !sable_multiply(object->dense ? 0 : object->stored, r->width, &indices) || lengths > r->size ||
        indices > r->size || object->stored > r->size / 8)
        return refuse(r, "a matrix of PETSc is truncated, or has impossible sizes", error);
    object->indices = object->lengths + lengths;
    object->values = object->indices + indices;
    r->at = object->values + 8 * object->stored;
    return r->at > r->size ? refuse(r, "a matrix of PETSc is truncated", error) : SABLE_OK;
}

static int open_reader(const char *path, struct reader *r, struct sable_error *error)
{
    *r = (struct reader){.file = fopen(path, "rb"), .path = path};
    unsigned char first[4];
    if (!r->file || fseeko(r->file, 0, SEEK_END) || (r->size = (int64_t)ftello(r->file)) < 0)
        return sable_fail(error, SABLE_BAD_INPUT, "cannot read %s", path);
    if (read_bytes(r, 0, first, 4, error))
        return error->code;
    r->width = integer_of(first, 4) == 0 ? 8 : 4;
    return SABLE_OK;
}

static void close_reader(struct reader *r)
{
    if (r->file)
        fclose(r->file);
}

bool mdp_is_petsc(const char *path)
{
    unsigned char bytes[8] = {0};
    FILE *file = fopen(path, "rb");
    size_t got = file ? fread(bytes, 1, sizeof bytes, file) : 0;
    if (file)
        fclose(file);
    int64_t narrow = integer_of(bytes, 4);
    return got >= 4 && (narrow == MATRIX || narrow == VECTOR || (narrow == 0 && integer_of(bytes, 8) == MATRIX));
}

/* Sums lengths of rows [0, first) into *before, and starts of the rank's rows. */
static int read_starts(struct reader *r, const struct object *p, struct mdp_file *file, int64_t *before,
                       struct sable_error *error)
{
    const int64_t first = file->part.first * file->actions, rows = file->part.count * file->actions;
    int64_t length[AT_ONCE], sum = 0;
    *before = 0;
    for (int64_t done = 0; done < p->rows; done += AT_ONCE) {
        int64_t n = p->rows - done < AT_ONCE ? p->rows - done : AT_ONCE;
        if (read_integers(r, p->lengths + done * r->width, n, length, error))
            return error->code;
        for (int64_t i = 0; i < n; i++) {
            int64_t row = done + i;
            if (length[i] < 0 || length[i] > p->columns || sum > p->stored - length[i])
                return sable_fail(error, SABLE_BAD_INPUT, "%s: row %lld of the matrix has an impossible length %lld",
                                  r->path, (long long)row, (long long)length[i]);
            if (row == first)
                *before = sum;
            if (row >= first && row < first + rows)
                file->start[row - first] = sum - *before;
            sum += length[i];
            if (row >= first && row < first + rows)
                file->start[row - first + 1] = sum - *before;
        }
    }
    return sum == p->stored ? SABLE_OK : refuse(r, "the rows of the matrix do not add up to its stored numbers", error);
}

static int read_matrix(struct reader *r, struct sable_layout layout, struct mdp_file *file, struct sable_error *error)
{
    struct object p;
    if (read_object(r, &p, error))
        return error->code;
    if (p.vector || p.dense || p.rows % p.columns != 0)
        return refuse(r, "needs a sparse transition matrix of states·actions × states first", error);
    file->states = p.columns, file->actions = p.rows / p.columns;
    file->part = mdp_part_of(file->states, layout.rank, layout.ranks);
    const int64_t rows = file->part.count * file->actions;
    file->start = sable_array(rows + 1, 1, sizeof *file->start);
    file->reward = sable_array(rows, 1, sizeof *file->reward);
    if (!file->start || !file->reward)
        return sable_fail(error, SABLE_ENVIRONMENT, "out of memory for %lld rows", (long long)rows);
    int64_t before;
    file->start[0] = 0;
    if (read_starts(r, &p, file, &before, error))
        return error->code;
    file->column = sable_array(file->start[rows], 1, sizeof *file->column);
    file->probability = sable_array(file->start[rows], 1, sizeof *file->probability);
    if (!file->column || !file->probability)
        return sable_fail(error, SABLE_ENVIRONMENT, "out of memory for %lld transitions", (long long)file->start[rows]);
    if (read_integers(r, p.indices + before * r->width, file->start[rows], file->column, error))
        return error->code;
    return read_reals(r, p.values + 8 * before, file->start[rows], file->probability, error);
}

/* What a sparse matrix of rewards does not store is 0. */
static int read_sparse_rewards(struct reader *r, const struct object *g, struct mdp_file *file,
                               struct sable_error *error)
{
    int64_t at = 0, length = 0, column;
    double value;
    for (int64_t s = 0; s < file->part.first + file->part.count; s++, at += length) {
        if (read_integers(r, g->lengths + s * r->width, 1, &length, error))
            return error->code;
        if (length < 0 || length > file->actions || at > g->stored - length)
            return refuse(r, "a row of the rewards has an impossible length", error);
        for (int64_t k = at; s >= file->part.first && k < at + length; k++) {
            if (read_integers(r, g->indices + k * r->width, 1, &column, error) ||
                read_reals(r, g->values + 8 * k, 1, &value, error))
                return error->code;
            if (column < 0 || column >= file->actions)
                return refuse(r, "a reward is of an action that isn't there", error);
            file->reward[(s - file->part.first) * file->actions + column] = value;
        }
    }
    return SABLE_OK;
}

static int read_rewards(struct reader *r, struct mdp_file *file, struct sable_error *error)
{
    struct object g;
    const int64_t rows = file->part.count * file->actions, first = file->part.first * file->actions;
    if (read_object(r, &g, error))
        return error->code;
    memset(file->reward, 0, (size_t)rows * sizeof *file->reward);
    const bool whole = g.vector && g.rows / file->actions == file->states && g.rows % file->actions == 0;
    if (whole || (g.dense && g.rows == file->states && g.columns == file->actions))
        return read_reals(r, g.values + 8 * first, rows, file->reward, error);
    if (g.vector && g.rows == file->states) {
        double *of_state = sable_array(file->part.count, 1, sizeof *of_state);
        if (!of_state)
            return sable_fail(error, SABLE_ENVIRONMENT, "out of memory for rewards");
        read_reals(r, g.values + 8 * file->part.first, file->part.count, of_state, error);
        for (int64_t i = 0; i < rows && !error->code; i++)
            file->reward[i] = of_state[i / file->actions];
        sable_array_free(of_state);
        return error->code;
    }
    if (g.vector || g.dense || g.rows != file->states || g.columns != file->actions)
        return refuse(r, "the rewards are no matrix of states × actions, nor a vector of these or of states", error);
    return read_sparse_rewards(r, &g, file, error);
}

int mdp_petsc_read(const char *path, const char *rewards, struct sable_layout layout, struct mdp_file *file,
                   struct sable_error *error)
{
    struct reader matrix = {0}, own = {0};
    if (!open_reader(path, &matrix, error) && !read_matrix(&matrix, layout, file, error)) {
        if (rewards[0] && !open_reader(rewards, &own, error))
            read_rewards(&own, file, error);
        else if (!rewards[0] && matrix.at == matrix.size)
            refuse(&matrix, "no rewards follow the transition matrix: give their file by -s rewards=FILE", error);
        else if (!rewards[0])
            read_rewards(&matrix, file, error);
    }
    close_reader(&matrix);
    close_reader(&own);
    return error->code;
}
