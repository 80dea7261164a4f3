/* What the machine can do at best: multiply-adds that wait for nothing but each other. */
#include "kernels.h"

/* As many sums as stay in registers beside the factor and the term, and enough to hide how long a
 * product takes: two a cycle, four or five cycles each. */
#define SUMS (LANES == 16 ? 16 : 12)

/* `steps` times SUMS independent multiply-adds of a vector; returns how many operations those are. */
double NAMED(fma_probe)(ptrdiff_t steps, float *sink)
{
    /* Read from memory, or the compiler knows that a sum of 1 stays 1, and leaves it out. */
    volatile float given[] = {0.999f, 0.001f};
    const vec factor = splat(given[0]), term = splat(given[1]);
    vec sum[SUMS];
    UNROLL
    for (int i = 0; i < SUMS; i++)
        sum[i] = splat((float)i);
    for (ptrdiff_t s = 0; s < steps; s++) {
        UNROLL
        for (int i = 0; i < SUMS; i++)
            sum[i] = sum[i] * factor + term;
    }
    UNROLL
    for (int i = 1; i < SUMS; i++)
        sum[0] += sum[i];
    store(sink, sum[0]);
    return 2.0 * SUMS * LANES * (double)steps;
}
