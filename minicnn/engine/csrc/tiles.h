/* The two inner loops of the engine. Convolution, Linear and all their gradients are made of them.
 *
 * A tile of sums stays in registers while its terms run by; the tile's size is what the registers
 * of the instruction set hold. No sum depends on the size of its tile, or on its neighbours.
 */
#ifndef MINICNN_TILES_H
#define MINICNN_TILES_H

#include "lanes.h"
#include "windows.h"

#if LANES == 16                 /* 32 registers: at most 24 sums, the rest for operands */
#define TILE_PIXELS 6
#define TILE_ROWS 8
#define TILE_SUMS 24
#define GRADIENT_ROWS 4
#define GRADIENT_TAPS 8
#define GRADIENT_SUMS 24
#else                           /* 16 registers */
#define TILE_PIXELS 4
#define TILE_ROWS 6
#define TILE_SUMS 12
#define GRADIENT_ROWS 3
#define GRADIENT_TAPS 4
#define GRADIENT_SUMS 12
#endif
#define WINDOW_ROWS (TILE_SUMS / 4)

/* y[k, p] = bias[k] + sum over c < channels, t < taps of
 *           weight[k * weight_row + c * weight_channel + tap_weight[t]]
 *         * x[c * x_plane + tap_x[t] + p * x_step]           vectors; all strides in floats */
typedef struct {
    ptrdiff_t channels, x_plane, x_step;
    ptrdiff_t x_row;                            /* between the two rows of a window */
    ptrdiff_t taps;
    const ptrdiff_t *tap_x, *tap_weight;        /* (taps,) */
    ptrdiff_t weight_row, weight_channel;
    ptrdiff_t y_plane, y_step;                  /* from k to k + 1, from p to p + 1 */
    ptrdiff_t gate_plane, gate_step;
    int tile_rows;                              /* as `rows_of_tile` says */
} weighted_sum;

/* The sums of `pixels` pixels, `columns` of them in a row, and `rows` outputs. */
INLINE void sum_products(
    const weighted_sum *s, const float *restrict x, const float *restrict weight,
    const float *bias,                  /* (rows,) or NULL */
    vec sum[TILE_ROWS][TILE_PIXELS], const int pixels, const int columns, const int rows,
    const int adjacent)
{
    const float *row[TILE_ROWS];                /* of the weight; pointers need no arithmetic */
    const ptrdiff_t x_step = adjacent ? LANES : s->x_step, taps = s->taps, x_plane = s->x_plane;
    const ptrdiff_t *tap_x = s->tap_x, *tap_weight = s->tap_weight;
    UNROLL
    for (int k = 0; k < rows; k++) {
        row[k] = weight + k * s->weight_row;
        UNROLL
        for (int p = 0; p < pixels; p++)
            sum[k][p] = splat(bias ? bias[k] : 0.0f);
    }
    /* One step: `pixels` vectors of x, each used by `rows` weights. */
    for (ptrdiff_t c = s->channels; c; c--) {
        for (ptrdiff_t t = 0; t < taps; t++) {
            const float *from = x + tap_x[t];
            const ptrdiff_t at = tap_weight[t];
            /* Channels lie far apart, further than the hardware looks ahead. */
            __builtin_prefetch(from + x_plane);
            if (columns > 3)
                __builtin_prefetch(from + x_plane + 3 * x_step);
            /* Whichever are fewer wait in registers for the others, which come one by one. */
            vec value[TILE_PIXELS], factor[TILE_ROWS];
            if (rows >= pixels || LANES == 16) {
                UNROLL
                for (int p = 0; p < pixels; p++)
                    value[p] = load(from + p / columns * s->x_row + p % columns * x_step);
                UNROLL
                for (int k = 0; k < rows; k++) {
                    factor[k] = splat(row[k][at]);
                    UNROLL
                    for (int p = 0; p < pixels; p++)
                        sum[k][p] += factor[k] * value[p];
                }
            } else {
                UNROLL
                for (int k = 0; k < rows; k++)
                    factor[k] = held(splat(row[k][at]));
                UNROLL
                for (int p = 0; p < pixels; p++) {
                    value[p] = held(load(from + p / columns * s->x_row + p % columns * x_step));
                    UNROLL
                    for (int k = 0; k < rows; k++)
                        sum[k][p] += factor[k] * value[p];
                }
            }
        }
        x += x_plane;
        UNROLL
        for (int k = 0; k < rows; k++)
            row[k] += s->weight_channel;
    }
}

INLINE void sum_tile(
    const weighted_sum *s, const float *restrict x, const float *restrict weight,
    const float *bias,                  /* (rows,) or NULL */
    float *restrict y, const float *gate, int relu,
    const int pixels, const int rows, const int adjacent)
{
    vec sum[TILE_ROWS][TILE_PIXELS];
    sum_products(s, x, weight, bias, sum, pixels, pixels, rows, adjacent);
    /* ReLU, or the derivative of the ReLU that made the values at `gate`. */
    UNROLL
    for (int k = 0; k < rows; k++) {
        UNROLL
        for (int p = 0; p < pixels; p++) {
            vec v = sum[k][p];
            if (relu)
                v = gated(v, v);
            if (gate)
                v = gated(v, load(gate + k * s->gate_plane + p * s->gate_step));
            store(y + k * s->y_plane + p * s->y_step, v);
        }
    }
}

/* The same for one window of 2 x 2 pixels, of which only the largest is kept. */
INLINE void window_tile(
    const weighted_sum *s, const float *restrict x, const float *restrict weight,
    const float *bias, float *restrict y, uint8_t *winner, ptrdiff_t winner_plane, int relu,
    const int rows, const int adjacent)
{
    vec sum[TILE_ROWS][TILE_PIXELS];
    sum_products(s, x, weight, bias, sum, 4, 2, rows, adjacent);
    UNROLL
    for (int k = 0; k < rows; k++)
        store_largest_of_four(
            sum[k], y + k * s->y_plane, winner ? winner + k * winner_plane : NULL, relu);
}

/* sums[k * taps + t] (+)= sum over rows r and pixels p, each lane by itself, of
 *                         dy[k * dy_plane + r * dy_row + p * LANES]
 *                       * x[tap[t] + r * x_row + p * x_step] */
typedef struct {
    ptrdiff_t height, width;
    ptrdiff_t dy_plane, dy_row, x_row, x_step;
    ptrdiff_t taps;
} pixel_products;

INLINE void gradient_tile(
    const pixel_products *s, const float *restrict dy, const float *restrict x,
    const ptrdiff_t *tap,               /* (taps,) */
    float *restrict sums, int add, const int rows, const int taps, const int adjacent)
{
    vec sum[GRADIENT_ROWS][GRADIENT_TAPS];
    const float *from[GRADIENT_TAPS], *gradient_of[GRADIENT_ROWS];
    const ptrdiff_t x_step = adjacent ? LANES : s->x_step;
    UNROLL
    for (int k = 0; k < rows; k++) {
        UNROLL
        for (int t = 0; t < taps; t++)
            sum[k][t] = splat(0.0f);
    }
    /* 1. One step: `rows` gradients and `taps` inputs, each used for all of the others. */
    for (ptrdiff_t r = 0; r < s->height; r++) {
        UNROLL
        for (int k = 0; k < rows; k++)
            gradient_of[k] = dy + r * s->dy_row + k * s->dy_plane;
        UNROLL
        for (int t = 0; t < taps; t++)
            from[t] = x + r * s->x_row + tap[t];
        for (ptrdiff_t p = 0; p < s->width * LANES; p += LANES) {
            vec gradient[GRADIENT_ROWS];
            UNROLL
            for (int k = 0; k < rows; k++)
                gradient[k] = load(gradient_of[k] + p);
            UNROLL
            for (int t = 0; t < taps; t++) {
                const vec value = held(load(from[t] + (adjacent ? p : p / LANES * x_step)));
                UNROLL
                for (int k = 0; k < rows; k++)
                    sum[k][t] += gradient[k] * value;
            }
        }
    }
    /* 2. What is there already comes from other rows. */
    UNROLL
    for (int k = 0; k < rows; k++) {
        UNROLL
        for (int t = 0; t < taps; t++) {
            float *to = sums + (k * s->taps + t) * LANES;
            store(to, add ? load(to) + sum[k][t] : sum[k][t]);
        }
    }
}

/* --- any number of pixels, rows or taps: tiles of nearly equal size --------------------------- */

/* The size of the next of the fewest equal parts, none above `most`, of what is left. */
INLINE int next_part(ptrdiff_t left, int most)
{
    if (left <= most)
        return (int)left;
    const ptrdiff_t parts = (left + most - 1) / most;
    return (int)((left + parts - 1) / parts);
}

int NAMED(rows_of_tile)(ptrdiff_t pixels, ptrdiff_t rows);

void NAMED(sum_block)(
    const weighted_sum *s, const float *x, const float *weight, const float *bias,
    float *y, const float *gate, int relu, ptrdiff_t pixels, ptrdiff_t rows);

/* The largest of each of `windows` windows; see `window_tile`. */
void NAMED(window_block)(
    const weighted_sum *s, const float *x, const float *weight, const float *bias, float *y,
    uint8_t *winner, ptrdiff_t winner_plane, int relu, ptrdiff_t windows, ptrdiff_t rows);

/* For at most GRADIENT_ROWS rows. */
void NAMED(gradient_block)(
    const pixel_products *s, const float *dy, const float *x, const ptrdiff_t *tap,
    float *sums, int add, ptrdiff_t rows);

#endif
