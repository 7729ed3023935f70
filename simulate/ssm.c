/* Stand-ins of ssm/scan. Unit: one complex multiply and add, of a state's step or of a chunk's carry. */
#include "sable_scan.h"

#include "ssm_part.h"
#include "stand_in.h"

STAND_IN(ssm_draw);
STAND_IN(sable_scan);
STAND_IN(sable_scan_ends);
STAND_IN(sable_scan_chunks);
STAND_IN(sable_scan_through);
STAND_IN(sable_scan_carry);

double __wrap_ssm_draw(uint64_t seed, enum ssm_purpose purpose, int64_t index, double low, double high)
{
    (void)seed, (void)purpose, (void)index, (void)high;
    return low;
}

void __wrap_sable_scan(int64_t states, int64_t length, const float *a, const float *b, float *state, float *x,
                       bool stream)
{
    (void)a, (void)b, (void)state, (void)x, (void)stream;
    simulate_units((double)states * (double)length);
}

void __wrap_sable_scan_ends(int64_t states, int64_t length, int64_t chunk, const float *a, const float *b, float *ends)
{
    (void)chunk, (void)a, (void)b, (void)ends;
    simulate_units((double)states * (double)length);
}

void __wrap_sable_scan_through(int64_t states, int64_t length, int64_t chunk, const float *a, const float *b,
                               double *carry, float *ends, float *x, bool stream)
{
    (void)chunk, (void)a, (void)b, (void)carry, (void)ends, (void)x, (void)stream;
    simulate_units(2 * (double)states * (double)length);
}

void __wrap_sable_scan_chunks(int64_t states, int64_t length, int64_t chunk, const float *a, const float *b,
                              float *seed, float *x, bool stream)
{
    (void)chunk, (void)a, (void)b, (void)seed, (void)x, (void)stream;
    simulate_units((double)states * (double)length);
}

void __wrap_sable_scan_carry(int64_t states, int64_t count, int64_t chunk, const float *a, float *ends, double *carry)
{
    (void)chunk, (void)a, (void)ends, (void)carry;
    simulate_units((double)states * (double)count);
}
