/* Exact sums of quantised returns, and their mean and variance. Addition of integers is associative: any order of
 * episodes, threads and ranks gives the same bits, and a plain MPI_SUM of the limbs is enough. See sable_rollouts.h. */
#include "sable_rollouts.h"

#include <math.h>
#include <string.h>

enum { LIMB_BITS = 32 };
static const int64_t LIMB_MASK = 0xffffffff;

void sable_exact_carry(int64_t *limb, int limbs)
{
    for (int i = 0; i + 1 < limbs; i++) {
        limb[i + 1] += limb[i] >> LIMB_BITS; /* arithmetic: rounds down */
        limb[i] &= LIMB_MASK;
    }
}

static void add_limbs(int64_t *total, const int64_t *part, int limbs)
{
    for (int i = 0; i < limbs; i++)
        total[i] += part[i];
    sable_exact_carry(total, limbs);
}

void sable_exact_add(struct sable_exact_moments *total, const struct sable_exact_moments *part)
{
    total->count += part->count;
    add_limbs(total->sum, part->sum, SABLE_EXACT_SUM);
    add_limbs(total->squares, part->squares, SABLE_EXACT_SQUARES);
}

/* limb += value · 2^{32·at}; the value is not negative unless its highest limb is the number's. */
static void add_wide(int64_t *limb, int limbs, sable_int128 value, int at)
{
    for (int i = 0; i < 4 && at + i < limbs; i++, value >>= LIMB_BITS)
        limb[at + i] += i < 3 ? (int64_t)(value & LIMB_MASK) : (int64_t)value;
    sable_exact_carry(limb, limbs);
}

void sable_tally_flush(const struct sable_tally *tally, struct sable_exact_moments *moments)
{
    moments->count += tally->count;
    add_wide(moments->sum, SABLE_EXACT_SUM, tally->sum, 0);
    add_wide(moments->squares, SABLE_EXACT_SQUARES, (sable_int128)tally->squares_low, 0);
    add_wide(moments->squares, SABLE_EXACT_SQUARES, (sable_int128)tally->squares_high, 2);
}

void sable_digits_flush(struct sable_digits *digits, struct sable_exact_moments *moments)
{
    moments->count += digits->count;
    moments->sum[0] += digits->sum;
    moments->sum[1] += digits->sum_32;
    moments->squares[0] += digits->squares;
    moments->squares[1] += digits->squares_32;
    moments->squares[2] += digits->squares_64;
    moments->squares[3] += digits->squares_96;
    sable_exact_carry(moments->sum, SABLE_EXACT_SUM);
    sable_exact_carry(moments->squares, SABLE_EXACT_SQUARES);
    *digits = (struct sable_digits){0};
}

void sable_exact_add_value(struct sable_exact_moments *total, int64_t quantised)
{
    struct sable_tally one = {0};
    sable_tally_add(&one, quantised);
    sable_tally_flush(&one, total);
}

/* ---- Statistics ---- */

/* The magnitude of a carried number as limbs in [0, 2³²); returns whether it was negative. */
static bool magnitude(const int64_t *limb, int limbs, uint64_t *size)
{
    bool negative = limb[limbs - 1] < 0;
    int64_t carry = negative;
    for (int i = 0; i < limbs; i++) {
        int64_t digit = negative ? (~limb[i] & LIMB_MASK) + carry : limb[i];
        size[i] = (uint64_t)(digit & LIMB_MASK);
        carry = digit >> LIMB_BITS;
    }
    return negative;
}

static double to_double(const uint64_t *limb, int limbs)
{
    double value = 0;
    for (int i = limbs - 1; i >= 0; i--)
        value = value * 0x1p32 + (double)limb[i];
    return value;
}

/* product[na + nb] = a · b, schoolbook. */
static void multiply(const uint64_t *a, int na, const uint64_t *b, int nb, uint64_t *product)
{
    memset(product, 0, (size_t)(na + nb) * sizeof *product);
    for (int i = 0; i < na; i++) {
        uint64_t carry = 0;
        for (int j = 0; j < nb; j++) {
            uint64_t digit = a[i] * b[j] + product[i + j] + carry; /* < 2⁶⁴: (2³²−1)² + 2(2³²−1) */
            product[i + j] = digit & (uint64_t)LIMB_MASK;
            carry = digit >> LIMB_BITS;
        }
        product[i + nb] = carry;
    }
}

double sable_exact_mean(const struct sable_exact_moments *moments)
{
    uint64_t size[SABLE_EXACT_SUM];
    bool negative = magnitude(moments->sum, SABLE_EXACT_SUM, size);
    double sum = to_double(size, SABLE_EXACT_SUM);
    return (negative ? -sum : sum) * SABLE_QUANTUM / (double)moments->count;
}

double sable_exact_variance(const struct sable_exact_moments *moments)
{
    enum { COUNT = 2, ALL = SABLE_EXACT_SQUARES + COUNT };
    _Static_assert(2 * (int)SABLE_EXACT_SUM <= (int)ALL, "the numerator has room for (sum of q) squared");
    if (moments->count < 2)
        return moments->count == 1 ? 0 : NAN;
    uint64_t sum[SABLE_EXACT_SUM], squares[SABLE_EXACT_SQUARES], left[ALL], right[ALL];
    uint64_t count[COUNT] = {(uint64_t)moments->count & (uint64_t)LIMB_MASK, (uint64_t)moments->count >> LIMB_BITS};
    magnitude(moments->sum, SABLE_EXACT_SUM, sum);
    magnitude(moments->squares, SABLE_EXACT_SQUARES, squares);
    multiply(squares, SABLE_EXACT_SQUARES, count, COUNT, left); /* n Σq² ≥ (Σq)² */
    multiply(sum, SABLE_EXACT_SUM, sum, SABLE_EXACT_SUM, right);
    uint64_t borrow = 0;
    for (int i = 0; i < ALL; i++) {
        uint64_t digit = left[i] - right[i] - borrow;
        left[i] = digit & (uint64_t)LIMB_MASK;
        borrow = digit >> 63;
    }
    double n = (double)moments->count;
    return to_double(left, ALL) * (SABLE_QUANTUM * SABLE_QUANTUM) / n / (n - 1);
}

double sable_exact_squares(const struct sable_exact_moments *moments)
{
    uint64_t squares[SABLE_EXACT_SQUARES];
    magnitude(moments->squares, SABLE_EXACT_SQUARES, squares);
    return to_double(squares, SABLE_EXACT_SQUARES) * (SABLE_QUANTUM * SABLE_QUANTUM);
}
