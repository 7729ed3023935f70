/* Links the installed kernels: the sum of 1 … 10000 over fixed blocks is exact. */
#include <sable_array.h>
#include <sable_sum.h>

int main(void)
{
    enum { N = 10000 };
    double *x = sable_array(1, N, sizeof *x), scratch[8];
    for (int i = 0; x && i < N; i++)
        x[i] = i + 1;
    int good = x && sable_sum_blocks(N) <= 8 && sable_sum(x, N, scratch) == 0.5 * N * (N + 1);
    sable_array_free(x);
    return good ? 0 : 1;
}
