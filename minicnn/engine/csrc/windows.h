/* The windows of MaxPool2d: their largest values, who won, and where gradients go. */
#ifndef MINICNN_WINDOWS_H
#define MINICNN_WINDOWS_H

#include "lanes.h"

enum { SIDE = 2, PIXELS = SIDE * SIDE };        /* of windows that have kernels of their own */

/* One more of the values whose largest is wanted. The first maximum wins, and the first NaN beats all.
 * `which` tells the winner's number, unless it is NULL. */
INLINE void keep_larger(vec *best, ivec *which, vec v, ivec number)
{
    const ivec better = ~(ivec)(v <= *best) & (ivec)(*best == *best);
    *best = choose(better, v, *best);
    if (which)
        *which = (better & number) | (~better & *which);
}

/* ReLU comes last: that of the largest is the largest of their ReLUs, and where it is 0 nobody asks
 * who won. */
INLINE void store_largest(vec best, ivec which, float *y, uint8_t *winner, int relu)
{
    store(y, relu ? gated(best, best) : best);
    if (winner)
        store_bytes(winner, which);
}

/* The largest of the pixels of a window; which: its number, 0 before, unless it is NULL. */
INLINE vec largest_of_four(const vec value[PIXELS], ivec *which)
{
    vec best = value[0];
    UNROLL
    for (int i = 1; i < PIXELS; i++)
        keep_larger(&best, which, value[i], (ivec)ALL(0) + i);
    return best;
}

INLINE void store_largest_of_four(const vec value[PIXELS], float *y, uint8_t *winner, int relu)
{
    ivec which = (ivec)ALL(0);
    const vec best = largest_of_four(value, winner ? &which : NULL);
    store_largest(best, which, y, winner, relu);
}

/* --- a row of windows that lie side by side and inside their map --------------------------------
 *
 *     rows (height, count * width, LANES), `row` floats apart     y (count, LANES)
 */

INLINE void largest_by_size(
    const float *rows, ptrdiff_t row, ptrdiff_t count, float *y, uint8_t *winner, int relu,
    ptrdiff_t height, ptrdiff_t width)
{
    for (ptrdiff_t w = 0; w < count; w++, rows += width * LANES) {
        vec best = load(rows);
        ivec which = (ivec)ALL(0);
        for (ptrdiff_t i = 0; i < height; i++) {
            for (ptrdiff_t j = 0; j < width; j++) {
                const vec v = load(rows + i * row + j * LANES);
                const ivec here = (ivec)ALL(0) + (int32_t)(i * width + j);
                keep_larger(&best, winner ? &which : NULL, v, here);
            }
        }
        store_largest(best, which, y + w * LANES, winner ? winner + w * LANES : NULL, relu);
    }
}

/* The largest value of each window, and, unless `winner` is NULL, its position in the window. */
INLINE void largest_of_windows(
    const float *rows, ptrdiff_t row, ptrdiff_t count, float *y, uint8_t *winner, int relu,
    ptrdiff_t height, ptrdiff_t width)
{
    const int is_2_2 = height == 2 && width == 2;
    if (is_2_2 && winner)
        largest_by_size(rows, row, count, y, winner, relu, 2, 2);
    else if (is_2_2)
        largest_by_size(rows, row, count, y, NULL, relu, 2, 2);
    else if (winner)
        largest_by_size(rows, row, count, y, winner, relu, height, width);
    else
        largest_by_size(rows, row, count, y, NULL, relu, height, width);
}

INLINE vec spread_by_size(
    const float *dy, const float *gate, const uint8_t *winner, ptrdiff_t count, float *rows,
    ptrdiff_t row, vec sum, ptrdiff_t height, ptrdiff_t width)
{
    for (ptrdiff_t w = 0; w < count; w++, rows += width * LANES) {
        const ivec which = load_bytes(winner + w * LANES);
        vec gradient = load(dy + w * LANES);
        if (gate)
            gradient = gated(gradient, load(gate + w * LANES));
        sum += gradient;
        for (ptrdiff_t i = 0; i < height; i++) {
            for (ptrdiff_t j = 0; j < width; j++) {
                const ivec here = (ivec)ALL(0) + (int32_t)(i * width + j);
                store(rows + i * row + j * LANES, keep((ivec)(which == here), gradient));
            }
        }
    }
    return sum;
}

/* Each window's gradient at its winner, 0 at its other pixels. The gate is y where a ReLU made it: a
 * window's largest value tells for all of it. Returns sum + the gradients. */
INLINE vec spread_over_windows(
    const float *dy, const float *gate, const uint8_t *winner, ptrdiff_t count, float *rows,
    ptrdiff_t row, vec sum, ptrdiff_t height, ptrdiff_t width)
{
    if (height == 2 && width == 2 && gate)
        return spread_by_size(dy, gate, winner, count, rows, row, sum, 2, 2);
    if (height == 2 && width == 2)
        return spread_by_size(dy, NULL, winner, count, rows, row, sum, 2, 2);
    return spread_by_size(dy, gate, winner, count, rows, row, sum, height, width);
}

#endif
