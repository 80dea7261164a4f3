/* The two inner loops of the engine. Convolution, Linear and all their gradients are made of them.
 *
 * A tile of sums stays in registers while its terms run by; the tile's size is what the registers
 * of the instruction set hold. No sum depends on the size of its tile, or on its neighbours.
 */
#ifndef MINICNN_TILES_H
#define MINICNN_TILES_H

#include "lanes.h"

#if LANES == 16                 /* 32 registers: at most 24 sums, the rest for operands */
#define TILE_PIXELS 6
#define TILE_ROWS 8
#define TILE_SUMS 24
#define GRADIENT_ROWS 4
#define GRADIENT_TAPS 6
#else                           /* 16 registers */
#define TILE_PIXELS 4
#define TILE_ROWS 6
#define TILE_SUMS 12
#define GRADIENT_ROWS 3
#define GRADIENT_TAPS 4
#endif

/* y[k, p] = bias[k] + sum over c < channels, t < taps of
 *           weight[k * weight_row + c * weight_channel + tap_weight[t]]
 *         * x[c * x_plane + tap_x[t] + p * x_step]           vectors; all strides in floats */
typedef struct {
    ptrdiff_t channels, x_plane, x_step;
    ptrdiff_t taps;
    const ptrdiff_t *tap_x, *tap_weight;        /* (taps,) */
    ptrdiff_t weight_row, weight_channel;
    ptrdiff_t y_plane, y_step;                  /* from k to k + 1, from p to p + 1 */
    ptrdiff_t gate_plane, gate_step;
} weighted_sum;

INLINE void sum_tile(
    const weighted_sum *s, const float *restrict x, const float *restrict weight,
    const float *bias,                  /* (rows,) or NULL */
    float *restrict y, const float *gate, int relu,
    const int pixels, const int rows, const int adjacent)
{
    vec sum[TILE_ROWS][TILE_PIXELS];
    const float *row[TILE_ROWS];                /* of the weight; pointers need no arithmetic */
    const ptrdiff_t x_step = adjacent ? LANES : s->x_step, taps = s->taps, x_plane = s->x_plane;
    const ptrdiff_t *tap_x = s->tap_x, *tap_weight = s->tap_weight;
    /* 1. The sums start from the bias. */
    UNROLL
    for (int k = 0; k < rows; k++) {
        row[k] = weight + k * s->weight_row;
        UNROLL
        for (int p = 0; p < pixels; p++)
            sum[k][p] = splat(bias ? bias[k] : 0.0f);
    }
    /* 2. One step: `pixels` vectors of x, each used by `rows` weights. */
    for (ptrdiff_t c = s->channels; c; c--) {
        for (ptrdiff_t t = 0; t < taps; t++) {
            const float *from = x + tap_x[t];
            const ptrdiff_t at = tap_weight[t];
            /* Channels lie far apart, further than the hardware looks ahead. */
            __builtin_prefetch(from + x_plane);
            if (pixels > 3)
                __builtin_prefetch(from + x_plane + 3 * x_step);
            vec value[TILE_PIXELS];
            UNROLL
            for (int p = 0; p < pixels; p++)
                value[p] = load(from + p * x_step);
            UNROLL
            for (int k = 0; k < rows; k++) {
                const vec factor = splat(row[k][at]);
                UNROLL
                for (int p = 0; p < pixels; p++)
                    sum[k][p] += factor * value[p];
            }
        }
        x += x_plane;
        UNROLL
        for (int k = 0; k < rows; k++)
            row[k] += s->weight_channel;
    }
    /* 3. ReLU, or the derivative of the ReLU that made the values at `gate`. */
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

/* dweight[k * dweight_row + t] += sum over rows r, pixels p and all lanes of
 *                                 dy[k * dy_plane + r * dy_row + p * LANES]
 *                               * x[tap[t] + r * x_row + p * x_step] */
typedef struct {
    ptrdiff_t height, width;
    ptrdiff_t dy_plane, dy_row, x_row, x_step;
    ptrdiff_t dweight_row;
} pixel_products;

INLINE void gradient_tile(
    const pixel_products *s, const float *restrict dy, const float *restrict x,
    const ptrdiff_t *tap,               /* (taps,) */
    float *restrict dweight, const int rows, const int taps, const int adjacent)
{
    enum { GROUPS = (GRADIENT_ROWS * GRADIENT_TAPS + LANES - 1) / LANES };
    vec sum[GROUPS * LANES];            /* [rows][taps], then zeros */
    const float *from[GRADIENT_TAPS], *gradient_of[GRADIENT_ROWS];
    const ptrdiff_t x_step = adjacent ? LANES : s->x_step;
    UNROLL
    for (int i = 0; i < GROUPS * LANES; i++)
        sum[i] = splat(0.0f);
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
                const vec value = load(from[t] + (adjacent ? p : p / LANES * x_step));
                UNROLL
                for (int k = 0; k < rows; k++)
                    sum[k * taps + t] += gradient[k] * value;
            }
        }
    }
    /* 2. The lanes of each sum, LANES sums at a time. */
    float total[GROUPS * LANES] __attribute__((aligned(64)));
    UNROLL
    for (int g = 0; g * LANES < rows * taps; g++)
        store(total + g * LANES, lane_sums(sum + g * LANES));
    for (int k = 0; k < rows; k++) {
        for (int t = 0; t < taps; t++)
            dweight[k * s->dweight_row + t] += total[k * taps + t];
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

void NAMED(sum_block)(
    const weighted_sum *s, const float *x, const float *weight, const float *bias,
    float *y, const float *gate, int relu, ptrdiff_t pixels, ptrdiff_t rows);

void NAMED(gradient_block)(
    const pixel_products *s, const float *dy, const float *x, const ptrdiff_t *tap,
    float *dweight, ptrdiff_t rows, ptrdiff_t taps);

#endif
