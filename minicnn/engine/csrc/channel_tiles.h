/* The two inner loops of plans with channels in the lanes; `tiles.h` is their counterpart for
 * samples in the lanes.
 *
 *     sums       y[p, k] += x[p] * weight[k]     one x in all lanes, a vector of output channels
 *     gradients  dweight[j, k] += x[j] * dy[k]   one x in all lanes, a vector of output channels
 *
 * Either way a step loads `vectors` vectors, and each x meets them all. No sum depends on the size
 * of its tile, or on its neighbours.
 */
#ifndef MINICNN_CHANNEL_TILES_H
#define MINICNN_CHANNEL_TILES_H

#include "lanes.h"
#include "tiles.h"

#if LANES == 16                 /* 32 registers */
#define MOST_SUMS 28
#define MOST_PIXELS 14
#define MOST_VECTORS 4
#define MOST_GRADIENTS 24
#define MOST_RUN 8
#else                           /* 16 registers */
#define MOST_SUMS 12
#define MOST_PIXELS 12
#define MOST_VECTORS 3
#define MOST_GRADIENTS 12
#define MOST_RUN 6
#endif
#define MOST_STARTS 3

/* Where a plane holds one channel, all channels' positions are written as taps of a single one.
 *
 * y[p, k] = bias[k] + sum over c < channels, t < taps of
 *           x[c / per_plane * x_plane + tap_x[t] + p * x_step + c % per_plane]
 *         * weight[k / LANES][c / per_plane][t][c % per_plane][k % LANES] */
typedef struct {
    ptrdiff_t channels, per_plane, x_plane, x_step;
    ptrdiff_t taps;
    ptrdiff_t first_tap, end_tap;               /* the others meet zeros only */
    const ptrdiff_t *tap_x;                     /* (taps,) */
    ptrdiff_t y_plane, y_step, gate_plane, gate_step;
} channel_sum;

INLINE void channel_sum_tile(
    const channel_sum *s, const float *restrict x, const float *restrict weight,
    const float *restrict bias,                 /* (vectors, LANES) or NULL */
    float *restrict y, const float *gate, int relu,
    const int pixels, const int vectors, const ptrdiff_t x_step, const int single)
{
    vec sum[MOST_PIXELS][MOST_VECTORS];
    const ptrdiff_t next_vector = s->channels * s->taps * LANES;
    /* 1. The sums start from the bias. */
    UNROLL
    for (int k = 0; k < vectors; k++) {
        const vec start = bias ? load(bias + k * LANES) : splat(0.0f);
        UNROLL
        for (int p = 0; p < pixels; p++)
            sum[p][k] = start;
    }
    /* 2. One step: `vectors` vectors of the weight, each met by `pixels` values of x. */
    const ptrdiff_t channels = single ? 1 : s->channels;
    for (ptrdiff_t first = 0; first < channels; first += s->per_plane, x += s->x_plane) {
        const ptrdiff_t left = s->channels - first;
        const ptrdiff_t count = single ? 1 : left < s->per_plane ? left : s->per_plane;
        weight += s->first_tap * count * LANES;
        for (ptrdiff_t t = s->first_tap; t < s->end_tap; t++) {
            const float *from = x + s->tap_x[t];
            for (ptrdiff_t c = 0; c < count; c++, weight += LANES) {
                vec factor[MOST_VECTORS];
                UNROLL
                for (int k = 0; k < vectors; k++)
                    factor[k] = load(weight + k * next_vector);
                UNROLL
                for (int p = 0; p < pixels; p++) {
                    const vec value = splat(from[c + p * x_step]);
                    UNROLL
                    for (int k = 0; k < vectors; k++)
                        sum[p][k] += value * factor[k];
                }
            }
        }
        weight += (s->taps - s->end_tap) * count * LANES;
    }
    /* 3. ReLU, or the derivative of the ReLU that made the values at `gate`. */
    UNROLL
    for (int k = 0; k < vectors; k++) {
        UNROLL
        for (int p = 0; p < pixels; p++) {
            vec v = sum[p][k];
            if (relu)
                v = gated(v, v);
            if (gate)
                v = gated(v, load(gate + k * s->gate_plane + p * s->gate_step));
            store(y + k * s->y_plane + p * s->y_step, v);
        }
    }
}

/* out[i * run + j, k] (+)= sum over rows r and pixels p of
 *     x[start[i] + r * x_row + p * x_step + j] * dy[k * dy_plane + r * dy_row + p * LANES] */
typedef struct {
    ptrdiff_t height, width;
    ptrdiff_t x_row, x_step, dy_plane, dy_row;
    ptrdiff_t run;                              /* values of x side by side that belong together */
    ptrdiff_t out_step;                         /* from j to j + 1 */
} channel_products;

INLINE void channel_gradient_tile(
    const channel_products *s, const float *restrict dy, const float *restrict x,
    const ptrdiff_t *start, float *restrict out, int add,
    const int starts, const int run, const int vectors)
{
    vec sum[MOST_STARTS][MOST_RUN][MOST_VECTORS];
    UNROLL
    for (int i = 0; i < starts; i++) {
        UNROLL
        for (int j = 0; j < run; j++) {
            UNROLL
            for (int k = 0; k < vectors; k++)
                sum[i][j][k] = splat(0.0f);
        }
    }
    /* 1. One step: one pixel of dy, and the values of x that its weights met. */
    for (ptrdiff_t r = 0; r < s->height; r++) {
        const float *from[MOST_STARTS], *gradients = dy + r * s->dy_row;
        UNROLL
        for (int i = 0; i < starts; i++)
            from[i] = x + start[i] + r * s->x_row;
        for (ptrdiff_t p = 0; p < s->width; p++, gradients += LANES) {
            vec gradient[MOST_VECTORS];
            UNROLL
            for (int k = 0; k < vectors; k++)
                gradient[k] = load(gradients + k * s->dy_plane);
            UNROLL
            for (int i = 0; i < starts; i++) {
                UNROLL
                for (int j = 0; j < run; j++) {
                    const vec value = splat(from[i][j]);
                    UNROLL
                    for (int k = 0; k < vectors; k++)
                        sum[i][j][k] += value * gradient[k];
                }
                from[i] += s->x_step;
            }
        }
    }
    /* 2. What is there already comes from other rows, or other samples. */
    UNROLL
    for (int i = 0; i < starts; i++) {
        UNROLL
        for (int j = 0; j < run; j++) {
            UNROLL
            for (int k = 0; k < vectors; k++) {
                float *to = out + (i * s->run + j) * s->out_step + k * LANES;
                store(to, add ? load(to) + sum[i][j][k] : sum[i][j][k]);
            }
        }
    }
}

/* --- any number of pixels, vectors, starts or values ------------------------------------------- */

/* How to cut `vectors` × `pixels` sums into tiles: vectors of a tile. */
int NAMED(vectors_of_tile)(ptrdiff_t vectors, ptrdiff_t pixels);

void NAMED(channel_sum_block)(
    const channel_sum *s, const float *x, const float *weight, const float *bias,
    float *y, const float *gate, int relu, ptrdiff_t pixels, int vectors);

void NAMED(channel_gradient_block)(
    const channel_products *s, const float *dy, const float *x, const ptrdiff_t *start,
    ptrdiff_t starts, ptrdiff_t run, ptrdiff_t vectors, float *out, int add);

#endif
