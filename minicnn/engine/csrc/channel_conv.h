/* What convolutions with channels in the lanes share, with or without pooling. */
#ifndef MINICNN_CHANNEL_CONV_H
#define MINICNN_CHANNEL_CONV_H

#include <math.h>

#include "channel_tiles.h"
#include "kernels.h"

INLINE ptrdiff_t taps_of(const op *o) { return o->kernel_h * o->kernel_w; }
INLINE ptrdiff_t channels_a_plane(const op *o) { return o->planar ? 1 : LANES; }
INLINE ptrdiff_t floats_a_pixel(const op *o) { return o->planar ? 1 : LANES; }

/* A number that a change of any one value changes for certain, and of several all but certainly.
 * A step turns a sum round and adds the next bits, which takes no time beside the reading; once in
 * a turn it is multiplied, so that no two places count the same. Never 0. */
INLINE uint64_t fingerprint(const float *values, ptrdiff_t count, uint64_t before)
{
    enum { SUMS = 4, STEP = SUMS * LANES, TURN = 32 * STEP };
    const words factor = (words)ALL((int32_t)0x9E3779B1u);
    words sum[SUMS] = {{0}, {0}, {0}, {0}};
    for (ptrdiff_t i = 0; i < count; i += STEP) {
        UNROLL
        for (int j = 0; j < SUMS; j++) {
            const float *from = values + i + j * LANES;
            const ptrdiff_t left = count - i - j * LANES;
            if (i % TURN == 0)
                sum[j] *= factor;
            if (left >= LANES)
                sum[j] = (sum[j] << 5 | sum[j] >> 27) + (words)load_loose(from);
            else if (left > 0)
                sum[j] = (sum[j] << 5 | sum[j] >> 27) + (words)load_some(from, left);
        }
    }
    for (int j = 0; j < SUMS; j++) {
        for (int l = 0; l < LANES; l++)
            before = before * 0x9E3779B97F4A7C15u + sum[j][l];
    }
    return before | (uint64_t)1 << 63;
}

INLINE uint64_t fingerprint_of_normalisation(
    const op *o, ptrdiff_t first, ptrdiff_t outputs, uint64_t before)
{
    const float eps[] = {(float)o->eps, (float)(o->eps - (float)o->eps)};
    before = fingerprint(o->gamma + first, outputs, before);
    before = fingerprint(o->beta + first, outputs, before);
    before = fingerprint(o->running_mean + first, outputs, before);
    before = fingerprint(o->running_var + first, outputs, before);
    return fingerprint(eps, 2, before);
}

/* Whether the weights of some outputs are packed already. Prediction asks, because reading them is
 * much cheaper than packing, and users may write into a parameter at any time. */
INLINE int packed_already(const op *o, ptrdiff_t item)
{
    const ptrdiff_t row = o->inputs * taps_of(o), first = item * LANES;
    const ptrdiff_t outputs = smaller(LANES, o->outputs - first);
    if (o->seen == NULL)
        return 0;
    uint64_t now = fingerprint(o->weight + first * row, outputs * row, 0);
    if (o->bias)
        now = fingerprint(o->bias + first, outputs, now);
    if (o->gamma)
        now = fingerprint_of_normalisation(o, first, outputs, now);
    const int same = o->seen[item] == now;
    o->seen[item] = now;
    return same;
}

/* What becomes of LANES sums: y = scale * sum + shift. Only the shift is there where no BatchNorm
 * follows: the bias. Scales go into the weights. */
typedef struct {
    float scale[LANES] __attribute__((aligned(64))), shift[LANES] __attribute__((aligned(64)));
} normalisation;

INLINE normalisation normalisation_of(const op *o, ptrdiff_t first)
{
    normalisation n;
    for (ptrdiff_t l = 0; l < LANES; l++) {
        const ptrdiff_t k = smaller(first + l, o->outputs - 1);
        double scale = 1.0, shift = o->bias ? o->bias[k] : 0.0;
        if (o->gamma) {
            scale = o->gamma[k] / sqrt(o->running_var[k] + o->eps);
            shift = o->beta[k] + (shift - o->running_mean[k]) * scale;
        }
        n.scale[l] = first + l < o->outputs ? (float)scale : 0.0f;
        n.shift[l] = first + l < o->outputs ? (float)shift : 0.0f;
    }
    return n;
}

/* y, whose planes are so far apart, as sums over x. */
INLINE channel_sum forward_sum(const op *o, ptrdiff_t y_plane)
{
    return (channel_sum){
        .channels = o->planar ? 1 : o->inputs, .per_plane = LANES, .x_plane = o->x.plane,
        .x_step = o->stride_w * floats_a_pixel(o),
        .taps = o->forward_taps.count, .end_tap = o->forward_taps.count, .tap_x = o->forward_taps.x,
        .y_plane = y_plane, .y_step = LANES,
    };
}

/* In memory the gradients are [plane of x][start][run][K / LANES][LANES], then dbias. A plane has
 * one start for each row of the kernel, whose values lie side by side (planar), or else for each
 * of its positions, where the channels do. */
typedef struct {
    ptrdiff_t planes, starts, run, vectors;
} gradient_order;

INLINE gradient_order order_of(const op *o)
{
    const ptrdiff_t run = o->planar ? o->gradient_run : LANES;
    return (gradient_order){
        o->planar ? o->inputs : vectors_for(o->inputs),
        o->planar ? taps_of(o) / run : taps_of(o), run, vectors_for(o->outputs)};
}

INLINE float *gradients_at(const op *o, const run *r, ptrdiff_t slot)
{
    return r->partials + item_of(r, slot) * r->partial_stride + o->partial;
}

/* The sums that make dweight; height and width are to be set. */
INLINE channel_products gradient_products(
    const op *o, const gradient_order *g, ptrdiff_t dy_plane, ptrdiff_t dy_row)
{
    return (channel_products){
        .x_row = o->stride_h * o->x.row, .x_step = o->stride_w * floats_a_pixel(o),
        .dy_plane = dy_plane, .dy_row = dy_row, .run = g->run, .out_step = g->vectors * LANES,
    };
}

/* Asks for the rows of a plane of x that the next rows of dy will meet: they may come from far, and
 * the jump from row block to row block hides them from the hardware's own look-ahead. */
INLINE void fetch_ahead(const op *o, const float *x, ptrdiff_t rows)
{
    const ptrdiff_t length = o->x.width * floats_a_pixel(o);
    for (ptrdiff_t h = 0; h < rows; h++) {
        for (ptrdiff_t i = 0; i < length; i += 16)
            __builtin_prefetch(x + h * o->x.row + i, 0, 2);
    }
}

/* dweight (+)= the products of some rows of dy and of the rows of x below them. */
INLINE void add_weight_gradients(
    const op *o, const gradient_order *g, const channel_products *s, const float *dy,
    const float *x, float *dweight, int add)
{
    for (ptrdiff_t k = 0, vectors; k < g->vectors; k += vectors) {
        vectors = next_part(g->vectors - k, MOST_VECTORS);
        for (ptrdiff_t plane = 0; plane < g->planes; plane++) {
            const ptrdiff_t run = o->planar ? g->run : smaller(LANES, o->inputs - plane * LANES);
            if (k == 0)
                fetch_ahead(o, x + plane * o->x.plane + s->height * s->x_row,
                            s->height * o->stride_h);
            NAMED(channel_gradient_block)(
                s, dy + k * s->dy_plane, x + plane * o->x.plane, o->weight_taps, g->starts, run,
                vectors, dweight + plane * g->starts * g->run * s->out_step + k * LANES, add);
        }
    }
}

/* The gradients (c, t) of one plane of inputs and some vectors of outputs from k on, as users see them;
 * sums [taps][LANES of the plane][vectors][LANES]. dbias goes with plane 0. See channel_conv.c. */
void NAMED(store_plane_gradients)(
    const op *o, ptrdiff_t plane, ptrdiff_t k, ptrdiff_t vectors, const float *sums, const float *dbias);

/* See channel_pooled.c. */
void NAMED(channel_pooled_row)(
    const op *o, const channel_sum *s, const float *x, const float *weight, const float *bias,
    float *y, uint8_t *winner);

/* See channel_paired.c: whether it can do this operation; the order of its weights; a row of windows. */
int NAMED(paired_suits)(const op *o);
vec NAMED(paired_weights)(vec weights);
void NAMED(paired_row)(
    const op *o, const channel_sum *s, const float *x, const float *weight, const float *bias,
    float *y, uint8_t *winner);

#if LANES == 16
/* See channel_winners.c: whether it can do this operation, and what one row of windows adds. */
int NAMED(winners_suit)(const op *o);
void NAMED(add_winners)(
    const op *o, const gradient_order *g, const float *x, const float *dy, const float *y,
    const uint8_t *winner, float *scratch, float *dweight, float *dbias, int add);
#elif LANES == 8
/* See winner_rows.c: whether it can do this operation, and better; the gradients of a slot. */
int NAMED(winner_rows_suit)(const op *o);
void NAMED(add_winner_rows)(
    const op *o, const run *r, ptrdiff_t slot, const gradient_order *g, float *dweight, float *dbias,
    int add);
#endif

#endif
