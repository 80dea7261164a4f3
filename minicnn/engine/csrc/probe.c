/* What the machine can do at best: multiply-adds that wait for nothing but each other. */
#include "kernels.h"

/* `steps` times 16 independent multiply-adds of a vector; returns how many operations those are. */
double NAMED(fma_probe)(ptrdiff_t steps, float *sink)
{
    vec sum[16];
    const vec factor = splat(0.999f), term = splat(0.001f);
    UNROLL
    for (int i = 0; i < 16; i++)
        sum[i] = splat((float)i);
    for (ptrdiff_t s = 0; s < steps; s++) {
        UNROLL
        for (int i = 0; i < 16; i++)
            sum[i] = sum[i] * factor + term;
    }
    UNROLL
    for (int i = 1; i < 16; i++)
        sum[0] += sum[i];
    store(sink, sum[0]);
    return 2.0 * 16 * LANES * (double)steps;
}
