/* Windows of 2×2 pixels of a first convolution with few outputs: two neighbouring pixels share a
 * vector, lanes [outputs][2], which would be half idle otherwise.
 *
 * At stride 1 the row of x under row i of the kernel, for the upper pixels of a window, is under
 * row i - 1 for the lower ones. So each pair of values is fetched once for both.
 */
#include "kernels.h"
#include "channel_conv.h"

#define MOST_PAIRED (MOST_SUMS / 2)             /* windows of a tile */

int NAMED(paired_suits)(const op *o)
{
    return o->planar && o->outputs <= LANES / 2 && o->pool_h == SIDE && o->pool_w == SIDE
        && o->stride_h == 1 && o->stride_w == 1 && o->gradient_run == o->kernel_w
        && (o->kernel_h == 1 || o->forward_taps.x[o->kernel_w] - *o->forward_taps.x == o->x.row);
}

#if LANES == 16
#define TWICE(v) __builtin_shufflevector(v, v, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7)
#define LEFT(a, b) \
    __builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30)
#define RIGHT(a, b) \
    __builtin_shufflevector(a, b, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31)
#define FIRST_HALF(v) \
    __builtin_shufflevector(v, (vec){0}, 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23)
#define SECOND_HALF(v) \
    __builtin_shufflevector(v, (vec){0}, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23)
#elif LANES == 8
#define TWICE(v) __builtin_shufflevector(v, v, 0, 0, 1, 1, 2, 2, 3, 3)
#define LEFT(a, b) __builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14)
#define RIGHT(a, b) __builtin_shufflevector(a, b, 1, 3, 5, 7, 9, 11, 13, 15)
#define FIRST_HALF(v) __builtin_shufflevector(v, (vec){0}, 0, 1, 2, 3, 8, 9, 10, 11)
#define SECOND_HALF(v) __builtin_shufflevector(v, (vec){0}, 4, 5, 6, 7, 8, 9, 10, 11)
#else
#define TWICE(v) __builtin_shufflevector(v, v, 0, 0, 1, 1)
#define LEFT(a, b) __builtin_shufflevector(a, b, 0, 2, 4, 6)
#define RIGHT(a, b) __builtin_shufflevector(a, b, 1, 3, 5, 7)
#define FIRST_HALF(v) __builtin_shufflevector(v, (vec){0}, 0, 1, 4, 5)
#define SECOND_HALF(v) __builtin_shufflevector(v, (vec){0}, 2, 3, 4, 5)
#endif

/* Two values, again and again. */
INLINE vec pair_at(const float *p)
{
    typedef double two_floats __attribute__((aligned(4), may_alias));
    const double pair = *(const two_floats *)p;
#if LANES == 16
    return (vec)_mm512_set1_pd(pair);
#elif LANES == 8
    return (vec)_mm256_set1_pd(pair);
#else
    typedef double pairs __attribute__((vector_size(4 * LANES)));
    return (vec)(pairs){pair, pair};
#endif
}

/* The weights of LANES outputs, of which the first half exist, for both pixels of a pair. */
vec NAMED(paired_weights)(vec weights) { return TWICE(weights); }

/* Adds one row of x, met by a row of weights for the upper pixels and by the one above it for the
 * lower ones; either may be missing. */
INLINE void add_row(
    const float *restrict x, const float *restrict weight, ptrdiff_t columns, vec *sum_upper,
    vec *sum_lower, const int windows, const int upper, const int lower)
{
    for (ptrdiff_t j = 0; j < columns; j++, x++, weight += LANES) {
        __asm__("" : "+r"(x));          /* or GCC carries pairs from column to column, through memory */
        const vec for_upper = upper ? load(weight) : splat(0.0f);
        const vec for_lower = lower ? load(weight - columns * LANES) : splat(0.0f);
        UNROLL
        for (int w = 0; w < windows; w++) {
            const vec value = pair_at(x + SIDE * w);
            if (upper)
                sum_upper[w] += value * for_upper;
            if (lower)
                sum_lower[w] += value * for_lower;
        }
    }
}

/* The largest of two windows, whose sums share vectors. */
INLINE void store_windows(
    vec upper, vec lower, vec next_upper, vec next_lower, float *y, uint8_t *winner, int relu,
    int both)
{
    const vec four[] = {LEFT(upper, next_upper), RIGHT(upper, next_upper),
                        LEFT(lower, next_lower), RIGHT(lower, next_lower)};
    ivec which = (ivec)ALL(0);
    const vec best = largest_of_four(four, winner ? &which : NULL);
    const vec number = (vec)which;
    store_largest(FIRST_HALF(best), (ivec)FIRST_HALF(number), y, winner, relu);
    if (both)
        store_largest(SECOND_HALF(best), (ivec)SECOND_HALF(number), y + LANES,
                      winner ? winner + LANES : NULL, relu);
}

INLINE void paired_tile(
    const op *o, const channel_sum *s, const float *x, const float *weight, const float *bias,
    float *y, uint8_t *winner, const int windows)
{
    const ptrdiff_t columns = o->kernel_w, taps = taps_of(o);
    vec upper[MOST_PAIRED + 1], lower[MOST_PAIRED + 1];
    UNROLL
    for (int w = 0; w <= windows; w++)
        upper[w] = lower[w] = load(bias);
    for (ptrdiff_t c = 0; c < o->inputs; c++, weight += taps * LANES) {
        const float *row = x + s->tap_x[c * taps];
        add_row(row, weight, columns, upper, lower, windows, 1, 0);
        for (ptrdiff_t i = 1; i < o->kernel_h; i++)
            add_row(row + i * o->x.row, weight + i * columns * LANES, columns, upper, lower, windows,
                    1, 1);
        add_row(row + o->kernel_h * o->x.row, weight + taps * LANES, columns, upper, lower, windows,
                0, 1);
    }
    UNROLL
    for (int w = 0; w < windows; w += 2)
        store_windows(upper[w], lower[w], upper[w + 1], lower[w + 1], y + w * LANES,
                      winner ? winner + w * LANES : NULL, o->relu, w + 1 < windows);
}

typedef void paired_function(
    const op *, const channel_sum *, const float *, const float *, const float *, float *, uint8_t *);

#define PAIRED(W) \
    static void paired_##W( \
        const op *o, const channel_sum *s, const float *x, const float *weight, \
        const float *bias, float *y, uint8_t *winner) \
    { \
        paired_tile(o, s, x, weight, bias, y, winner, W); \
    }
#if LANES == 16
#define ALL_PAIRED(M) \
    M(1) M(2) M(3) M(4) M(5) M(6) M(7) M(8) M(9) M(10) M(11) M(12) M(13) M(14)
#else
#define ALL_PAIRED(M) M(1) M(2) M(3) M(4) M(5) M(6)
#endif

ALL_PAIRED(PAIRED)

#define PAIRED_ENTRY(W) [W] = paired_##W,
static paired_function *const paired_functions[MOST_PAIRED + 1] = {ALL_PAIRED(PAIRED_ENTRY)};

/* A row of windows. winner: NULL where nobody asks. */
void NAMED(paired_row)(
    const op *o, const channel_sum *s, const float *x, const float *weight, const float *bias,
    float *y, uint8_t *winner)
{
    for (ptrdiff_t w = 0; w < o->pooled.width;) {
        const int windows = next_part(o->pooled.width - w, MOST_PAIRED);
        paired_functions[windows](
            o, s, x + SIDE * w, weight, bias, y + w * LANES, winner ? winner + w * LANES : NULL);
        w += windows;
    }
}
