/* An S4 model from a file. Its N states come in conjugates: λ, p, b of one are those of the other conjugated, p and b
 * up to a common phase. A file may hold one of each pair (no imaginary part of λ below 0), or all N with any c, which
 * gives a complex kernel c* Ā^l B̄; then c of a pair n, m (m's phase taken away) is (c_n + c̄_m)/2 for its real part, and
 * i (c_n − c̄_m)/2 for its imaginary one. */
#ifndef SSM_S4_INPUT_H
#define SSM_S4_INPUT_H

#include "ssm_filter.h"

int s4_sizes(struct filter_params *params, struct sable_context *context, struct sable_error *error);
/* Puts what the file has in the place of what was drawn. */
int s4_read(struct filter *filter, struct sable_context *context, struct sable_error *error);

#endif
