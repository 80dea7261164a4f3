/* Conv2d: y[k] = bias[k] + sum over c of weight[k, c] * x[c], one slot at a time.
 *
 *     x (C, H, W)   y (K, OH, OW)   weight (K, C / groups, kernel_h, kernel_w), as users see it
 *
 * Borders of zeros around x and dy take the place of every test for the edge of the image.
 */
#include "kernels.h"

/* Pixels of one set of rows and columns of `y`, for all groups. Rows are the outer loop: the rows
 * of x under one row of y stay in the caches while all channels of y use them. */
static void weigh(
    const op *o, const tap_set *taps, const map *x, const float *x_data, const map *y,
    float *y_data, ptrdiff_t stride_h, ptrdiff_t stride_w, weighted_sum s,
    ptrdiff_t weight_group, const float *bias, const float *gate, const map *gate_map, int relu,
    ptrdiff_t x_stride_h)
{
    const ptrdiff_t rows = y->channels / o->groups;
    const ptrdiff_t pixels = (y->width - taps->first_column + stride_w - 1) / stride_w;
    for (ptrdiff_t g = 0; g < o->groups; g++) {
        for (ptrdiff_t h = taps->first_row, i = 0; h < y->height; h += stride_h, i++) {
            const ptrdiff_t at = taps->first_column * LANES;
            const range those = existing_taps(taps, i * x_stride_h, x->height);
            s.taps = those.end - those.first;
            s.tap_x = taps->x + those.first;
            s.tap_weight = taps->weight + those.first;
            NAMED(sum_block)(
                &s, x_data + g * s.channels * x->plane + i * x_stride_h * x->row,
                o->weight + g * weight_group, bias ? bias + g * rows : NULL,
                y_data + g * rows * y->plane + h * y->row + at,
                gate ? gate + g * rows * gate_map->plane + h * gate_map->row + at : NULL,
                relu, pixels, rows);
        }
    }
}

/* --- forward ---------------------------------------------------------------------------------- */

void NAMED(conv_forward)(const op *o, const run *r, ptrdiff_t slot)
{
    const ptrdiff_t kernel = o->kernel_h * o->kernel_w, channels = o->x.channels / o->groups;
    const weighted_sum s = {
        .channels = channels, .x_plane = o->x.plane, .x_step = o->stride_w * LANES,
        .weight_row = channels * kernel, .weight_channel = kernel,
        .y_plane = o->y.plane, .y_step = LANES,
    };
    weigh(o, &o->forward_taps, &o->x, at_map(r, slot, &o->x), &o->y, at_map(r, slot, &o->y), 1, 1,
          s, o->y.channels / o->groups * s.weight_row, o->bias, NULL, NULL, o->relu,
          o->stride_h);
}

/* --- backward --------------------------------------------------------------------------------- */

/* dx: the pixels whose row and column leave the same rest modulo the stride see the same
 * positions of the kernel, so each such set is a dense sum over dy. */
static void backward_input(const op *o, const run *r, ptrdiff_t slot)
{
    const ptrdiff_t kernel = o->kernel_h * o->kernel_w, channels = o->x.channels / o->groups;
    const ptrdiff_t outputs = o->y.channels / o->groups;
    const weighted_sum s = {
        .channels = outputs, .x_plane = o->dy.plane, .x_step = LANES,
        .weight_row = kernel, .weight_channel = channels * kernel,
        .y_plane = o->dx.plane, .y_step = o->stride_w * LANES,
        .gate_plane = o->x.plane, .gate_step = o->stride_w * LANES,
    };
    for (ptrdiff_t i = 0; i < o->input_sets; i++) {
        weigh(o, &o->input_taps[i], &o->dy, at_map(r, slot, &o->dy), &o->dx,
              at_map(r, slot, &o->dx), o->stride_h, o->stride_w, s,
              outputs * channels * kernel, NULL, o->gate ? at_map(r, slot, &o->x) : NULL, &o->x,
              0, 1);
    }
}

/* dbias[k] = sum of dy[k], for `rows` rows of it. */
static void add_bias_gradient(
    const op *o, const float *dy, ptrdiff_t rows, ptrdiff_t outputs, float *dbias)
{
    for (ptrdiff_t k = 0; k < outputs; k++) {
        vec sum[LANES] = {ALL(0)};
        for (ptrdiff_t h = 0; h < rows; h++) {
            const float *from = dy + k * o->dy.plane + h * o->dy.row;
            for (ptrdiff_t w = 0; w < o->dy.width; w++)
                sum[w % 4] += load(from + w * LANES);
        }
        sum[0] = (sum[0] + sum[1]) + (sum[2] + sum[3]);
        for (int i = 1; i < LANES; i++)
            sum[i] = splat(0.0f);
        dbias[k] += lane_sums(sum)[0];
    }
}

/* dweight and dbias of one slot, into its own partial sums. Blocks of rows, so that a few
 * channels of dy stay in the first-level cache while every tap of the kernel uses them. */
static void backward_weight(const op *o, const run *r, ptrdiff_t slot)
{
    const ptrdiff_t channels = o->x.channels / o->groups, outputs = o->y.channels / o->groups;
    const ptrdiff_t taps = channels * o->kernel_h * o->kernel_w;
    const ptrdiff_t fitting = GRADIENT_BLOCK / (GRADIENT_ROWS * o->y.width);
    const ptrdiff_t block = fitting > 1 ? fitting : 1;
    const float *x = at_map(r, slot, &o->x), *dy = at_map(r, slot, &o->dy);
    float *dweight = r->partials + slot * r->partial_stride + o->partial;
    float *dbias = dweight + o->y.channels * taps;
    memset(dweight, 0, o->y.channels * (taps + (o->dbias != NULL)) * sizeof *dweight);
    pixel_products s = {
        .width = o->y.width, .dy_plane = o->dy.plane, .dy_row = o->dy.row,
        .x_row = o->stride_h * o->x.row, .x_step = o->stride_w * LANES, .dweight_row = taps,
    };
    for (ptrdiff_t h = 0; h < o->y.height; h += block) {
        s.height = o->y.height - h < block ? o->y.height - h : block;
        if (o->dbias)
            add_bias_gradient(o, dy + h * s.dy_row, s.height, o->y.channels, dbias);
        for (ptrdiff_t g = 0; g < o->groups; g++) {
            NAMED(gradient_block)(
                &s, dy + g * outputs * o->dy.plane + h * s.dy_row,
                x + g * channels * o->x.plane + h * s.x_row, o->weight_taps,
                dweight + g * outputs * taps, outputs, taps);
        }
    }
}

void NAMED(conv_backward)(const op *o, const run *r, ptrdiff_t slot)
{
    backward_weight(o, r, slot);
    if (o->dx.channels)
        backward_input(o, r, slot);
}

/* dweight = the partial sums of all slots, in their order; dbias lies behind it in both. */
void NAMED(sum_partials)(const op *o, const run *r, ptrdiff_t item)
{
    const ptrdiff_t weights = o->y.channels * (o->x.channels / o->groups) * o->kernel_h * o->kernel_w;
    const ptrdiff_t size = weights + (o->dbias ? o->y.channels : 0);
    const ptrdiff_t first = item * PARTIAL_BLOCK;
    const ptrdiff_t last = first + PARTIAL_BLOCK < size ? first + PARTIAL_BLOCK : size;
    for (ptrdiff_t i = first; i < last; i++) {
        const float *partial = r->partials + o->partial + i;
        float sum = partial[0];
        for (ptrdiff_t slot = 1; slot < r->slots; slot++)
            sum += partial[slot * r->partial_stride];
        *(i < weights ? o->dweight + i : o->dbias + (i - weights)) = sum;
    }
}
