/* Conv2d: y[k] = bias[k] + sum over c of weight[k, c] * x[c], one slot at a time.
 *
 *     x (C, H, W)   y (K, OH, OW)   weight (K, C / groups, kernel_h, kernel_w), as users see it
 *
 * Borders of zeros around x and dy take the place of every test for the edge of the image.
 */
#include "conv.h"
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
    s.tile_rows = NAMED(rows_of_tile)(pixels, rows);
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
    const weighted_sum s = sum_over_inputs(o, &o->y);
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

/* sums[k] (+)= the sum of dy[k], each lane by itself. */
static void add_gradients(
    const pixel_products *s, const float *dy, float *sums, int add, ptrdiff_t rows)
{
    for (ptrdiff_t k = 0; k < rows; k++) {
        vec sum[4] = {add ? load(sums + k * LANES) : splat(0.0f)};
        sum[1] = sum[2] = sum[3] = splat(0.0f);
        for (ptrdiff_t h = 0; h < s->height; h++)
            add_vectors(sum, dy + k * s->dy_plane + h * s->dy_row, s->width);
        store(sums + k * LANES, (sum[0] + sum[1]) + (sum[2] + sum[3]));
    }
}

/* dweight and dbias of one slot, into its own partial sums. Blocks of rows, so that what a few outputs
 * have of dy stays in the first-level cache while every tap of the kernel uses it. */
static void backward_weight(const op *o, const run *r, ptrdiff_t slot)
{
    pixel_products s = sum_over_pixels(o, o->dy.width, o->dy.plane, o->dy.row);
    outputs k;
    for (ptrdiff_t first = 0; first < o->y.channels; first += k.rows) {
        k = outputs_from(o, r, slot, first);
        const float *dy = at_map(r, slot, &o->dy) + first * o->dy.plane;
        const ptrdiff_t fitting = GRADIENT_BLOCK / (k.rows * o->dy.width);
        for (ptrdiff_t h = 0; h < o->dy.height; h += s.height) {
            s.height = next_part(o->dy.height - h, fitting > 1 ? (int)fitting : 1);
            NAMED(gradient_block)(
                &s, dy + h * s.dy_row, k.x + h * s.x_row, o->weight_taps, k.dweight, h > 0, k.rows);
            add_gradients(&s, dy + h * s.dy_row, k.dbias, h > 0, k.rows);
        }
        store_gradients_of(o, r, slot, &k);
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
