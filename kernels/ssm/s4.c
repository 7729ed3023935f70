#include "sable_s4.h"

#include <math.h>
#include <omp.h>
#include <stddef.h>

#include "complex_parts.h"
#include "convolution_isa.h"
#include "s4_isa.h"
#include "sable_array.h"

enum { WIDEST = 16 };
static const double pi = 3.14159265358979323846;

/* Of a table [P, 2, H]. */
static double complex at(const double *table, int64_t channels, int64_t p, int64_t h)
{
    return complex_of(table[2 * p * channels + h], table[(2 * p + 1) * channels + h]);
}

static void put(double *table, int64_t channels, int64_t p, int which, int64_t h, double complex z)
{
    double *to = table + (p * SABLE_S4_TABLES + which) * 2 * channels + h;
    to[0] = creal(z);
    to[channels] = cimag(z);
}

/* (I − Δ/2 A)⁻¹ = E − κ E p p* E with E = 1/(1 − Δλ/2), κ = Δ/2 / (1 + Δ/2 p* E p), and Ā = 2 (I − Δ/2 A)⁻¹ − I. */
void sable_s4_discretise(const struct sable_s4 *model, double *table)
{
    const int64_t channels = model->channels, pairs = model->pairs;
#pragma omp parallel for schedule(static)
    for (int64_t h = 0; h < channels; h++) {
        const double half = model->dt[h] / 2;
        double pep = 0, peb = 0;
        for (int64_t n = 0; n < pairs; n++) {
            const double complex e = 1 / (1 - half * at(model->lambda, channels, n, h));
            const double complex p = at(model->p, channels, n, h);
            pep += 2 * creal(conj(p) * e * p);
            peb += 2 * creal(conj(p) * e * at(model->b, channels, n, h));
        }
        const double kappa = half / (1 + half * pep);
        for (int64_t n = 0; n < pairs; n++) {
            const double complex e = 1 / (1 - half * at(model->lambda, channels, n, h));
            const double complex p = at(model->p, channels, n, h), b = at(model->b, channels, n, h);
            put(table, channels, n, SABLE_S4_A, h, 2 * e - 1);
            put(table, channels, n, SABLE_S4_B, h, 2 * half * e * (b - kappa * peb * p));
            put(table, channels, n, SABLE_S4_W, h, 2 * kappa * e * p);
            put(table, channels, n, SABLE_S4_V, h, 2 * conj(p) * e);
            put(table, channels, n, SABLE_S4_C, h, 2 * conj(at(model->c, channels, n, h)));
        }
    }
}

void sable_s4_factors(int64_t channels, int64_t pairs, const double *table, float *factors)
{
    const int64_t rows = pairs * SABLE_S4_TABLES * 2;
#pragma omp parallel for schedule(static)
    for (int64_t row = 0; row < rows; row++)
        for (int64_t h = 0; h < channels; h++)
            factors[sable_kernel_index(rows, h, row)] = (float)table[row * channels + h];
}

/* ---- Dense steps ---- */

/* Elements of a channel: its N rows in fours × N. */
static int64_t matrix_size(int64_t pairs)
{
    return (2 * pairs + S4_TILE - 1) / S4_TILE * S4_TILE * 2 * pairs;
}

int64_t sable_s4_matrix_floats(int64_t channels, int64_t pairs)
{
    return sable_kernel_floats(channels, matrix_size(pairs));
}

void sable_s4_matrix(int64_t channels, int64_t pairs, const double *table, float *matrix)
{
    const int64_t order = 2 * pairs, size = matrix_size(pairs), of_pair = 2 * channels;
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < size / order; i++)
        for (int64_t j = 0; j < order; j++)
            for (int64_t h = 0; h < channels; h++) {
                double value = 0;
                if (i < order) {
                    const double *row = table + i / 2 * SABLE_S4_TABLES * of_pair + h;
                    const double *column = table + j / 2 * SABLE_S4_TABLES * of_pair + h;
                    const double w = row[SABLE_S4_W * of_pair + i % 2 * channels];
                    const double v = column[SABLE_S4_V * of_pair + j % 2 * channels];
                    value = -w * (j % 2 ? -v : v); /* s = Σ v_r x_r − v_i x_i */
                    if (i / 2 == j / 2)
                        value += i == j ? row[0] : i % 2 ? row[channels] : -row[channels];
                }
                matrix[sable_kernel_index(size, h, (i / S4_TILE * order + j) * S4_TILE + i % S4_TILE)] = (float)value;
            }
}

/* ---- Steps ---- */

static int64_t room_of(int64_t pairs)
{
    return (4 * pairs + 2 * S4_TILE) * WIDEST;
}

int64_t sable_s4_steps_room(int64_t pairs, int threads)
{
    int64_t all;
    return sable_multiply(room_of(pairs), threads, &all) ? all : -1;
}

void sable_s4_steps(int64_t channels, int64_t pairs, int64_t sequences, int64_t length, const float *factors,
                    const float *matrix, const float *u, const float *skip, float *state, float *y, float *room)
{
    const int64_t width = SABLE_ISA_PICK(sable_s4_width)(), vectors = (channels + width - 1) / width;
#pragma omp parallel for schedule(static)
    for (int64_t task = 0; task < sequences * vectors; task++) {
        const int64_t h = task / sequences * width, sequence = task % sequences,
                      from = sequence * length * channels + h;
        const int64_t count = channels - h < width ? channels - h : width;
        float *own = state + sequence * 2 * pairs * channels + h, *x = room + omp_get_thread_num() * room_of(pairs);
        const float *of_vector = factors + sable_kernel_index(pairs * SABLE_S4_TABLES * 2, h, 0);
        if (matrix)
            SABLE_ISA_PICK(sable_s4_dense)
        (channels, count, pairs, length, of_vector, matrix + sable_kernel_index(matrix_size(pairs), h, 0), u + from,
         skip + h, own, y + from, x);
        else SABLE_ISA_PICK(sable_s4_low_rank)(channels, count, pairs, length, of_vector, u + from, skip + h, own,
                                               y + from, x);
    }
}

/* ---- The kernel ---- */

void sable_s4_truncate(int64_t channels, int64_t pairs, int64_t size, const double *table, double *truncated)
{
    enum { BLOCK = 32 }; /* channels side by side, for vectors */
#pragma omp parallel for schedule(dynamic)
    for (int64_t first = 0; first < channels; first += BLOCK) {
        const int64_t count = channels - first < BLOCK ? channels - first : BLOCK;
        for (int64_t i = 0; i < 2 * pairs; i++)
            for (int64_t h = first; h < first + count; h++)
                truncated[i * channels + h] =
                    table[((i / 2 * SABLE_S4_TABLES + SABLE_S4_C) * 2 + i % 2) * channels + h];
        for (int64_t t = 0; t < size; t++) { /* row ← row Ā = row ā − (row w) v */
            double s[BLOCK] = {0};
            for (int64_t p = 0; p < pairs; p++) {
                const double *w = table + (p * SABLE_S4_TABLES + SABLE_S4_W) * 2 * channels + first;
                const double *row = truncated + 2 * p * channels + first;
                for (int64_t h = 0; h < count; h++)
                    s[h] += row[h] * w[h] - row[channels + h] * w[channels + h];
            }
            for (int64_t p = 0; p < pairs; p++) {
                const double *a = table + p * SABLE_S4_TABLES * 2 * channels + first,
                             *v = a + SABLE_S4_V * 2 * channels;
                double *row = truncated + 2 * p * channels + first;
                for (int64_t h = 0; h < count; h++) {
                    const double re = row[h], im = row[channels + h];
                    row[h] = re * a[h] - im * a[channels + h] - s[h] * v[h];
                    row[channels + h] = re * a[channels + h] + im * a[h] - s[h] * v[channels + h];
                }
            }
        }
        for (int64_t i = 0; i < 2 * pairs; i++)
            for (int64_t h = first; h < first + count; h++) {
                double *to = truncated + i * channels + h; /* the table holds 2 c̄ */
                *to = 0.5 * (*to + table[((i / 2 * SABLE_S4_TABLES + SABLE_S4_C) * 2 + i % 2) * channels + h]);
            }
    }
}

void sable_s4_nodes(const struct sable_fft *half, float *nodes)
{
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < half->size; i++) {
        const double f = sable_fft_node(half, i), sine = sin(pi * f), cosine = cos(pi * f), size = fabs(cosine);
        float *node = nodes + i * SABLE_S4_NODE;
        node[NODE_SINE] = (float)sine;
        node[NODE_SINE_LOW] = (float)(sine - (double)(float)sine);
        node[NODE_COSINE] = (float)size;
        node[NODE_COSINE_LOW] = (float)(size - (double)(float)size);
        node[NODE_SIGNED] = (float)cosine;
        node[NODE_PRODUCT] = (float)(sine * cosine);
    }
}

void sable_s4_cauchy_factors(const struct sable_s4 *model, const double *truncated, float *factors)
{
    const int64_t channels = model->channels;
#pragma omp parallel for schedule(static)
    for (int64_t n = 0; n < model->pairs; n++)
        for (int64_t h = 0; h < channels; h++) {
            const double half = model->dt[h] / 2;
            const double complex lambda = half * at(model->lambda, channels, n, h);
            const double complex p = at(model->p, channels, n, h), b = at(model->b, channels, n, h);
            const double complex c = at(truncated, channels, n, h), v[4] = {c * b, c * p, conj(p) * b, conj(p) * p};
            float *to = factors + sable_kernel_index(model->pairs * SABLE_S4_CAUCHY, h, n * SABLE_S4_CAUCHY);
            const double size = cabs(lambda);
            to[CAUCHY_SIZE * SABLE_KERNEL_BLOCK] = (float)size;
            to[CAUCHY_SIZE_LOW * SABLE_KERNEL_BLOCK] = (float)(size - (double)(float)size);
            to[CAUCHY_DECAY * SABLE_KERNEL_BLOCK] = (float)(2 * creal(lambda));
            for (int k = 0; k < 4; k++) {
                to[(CAUCHY_SUMS + 2 * k) * SABLE_KERNEL_BLOCK] = (float)(2 * half * creal(v[k]));
                to[(CAUCHY_SUMS + 2 * k + 1) * SABLE_KERNEL_BLOCK] = (float)(-2 * half * creal(v[k] * conj(lambda)));
            }
        }
}

void sable_s4_kernel(int64_t channels, int64_t pairs, int64_t length, const struct sable_fft *half, const float *nodes,
                     const float *factors, float *kernel, float *room)
{
    const int64_t width = SABLE_ISA_PICK(sable_s4_width)();
    const float scale = 1 / (float)half->size; /* exact */
#pragma omp parallel for schedule(static)
    for (int64_t h = 0; h < channels; h += width) {
        const int64_t count = channels - h < width ? channels - h : width;
        float *z = room + omp_get_thread_num() * 2 * WIDEST * half->size;
        SABLE_ISA_PICK(sable_s4_cauchy)
        (count, pairs, half->size, nodes, factors + sable_kernel_index(pairs * SABLE_S4_CAUCHY, h, 0), scale, z);
        SABLE_ISA_PICK(sable_fft_backward)
        (half, SABLE_KERNEL_BLOCK, count, length, z, kernel + sable_kernel_index(length, h, 0));
    }
}
