/* Conv2d and a MaxPool2d behind it whose windows of 2×2 pixels lie side by side and inside the map,
 * one slot at a time. Only the largest sum of a window leaves the registers.
 *
 * Pixels that no window holds are not computed. The backward pass of a first layer, which needs no
 * dx, spreads the gradients of a few outputs and one row of windows at a time.
 */
#include "conv.h"
#include "kernels.h"

INLINE uint8_t *winners_at(const op *o, const run *r, ptrdiff_t slot, ptrdiff_t k, ptrdiff_t h)
{
    return at_bytes(r, slot, o) + (k * o->pooled.height + h) * o->pooled.width * LANES;
}

void NAMED(conv_pool_forward)(const op *o, const run *r, ptrdiff_t slot)
{
    const ptrdiff_t outputs = o->y.channels / o->groups, down = SIDE * o->stride_h;
    weighted_sum s = sum_over_inputs(o, &o->pooled);
    for (ptrdiff_t k = 0; k < o->y.channels; k += outputs) {
        const float *x = at_map(r, slot, &o->x) + k / outputs * s.channels * s.x_plane;
        float *y = at_map(r, slot, &o->pooled) + k * o->pooled.plane;
        for (ptrdiff_t h = 0; h < o->pooled.height; h++) {
            const range upper = existing_taps(&o->forward_taps, h * down, o->x.height);
            const range lower = existing_taps(
                &o->forward_taps, h * down + o->stride_h, o->x.height);
            const ptrdiff_t first = smaller(upper.first, lower.first);
            s.taps = (upper.end > lower.end ? upper.end : lower.end) - first;
            s.tap_x = o->forward_taps.x + first;
            s.tap_weight = o->forward_taps.weight + first;
            NAMED(window_block)(
                &s, x + h * down * o->x.row, o->weight + k * s.weight_row,
                o->bias ? o->bias + k : NULL, y + h * o->pooled.row,
                keeps_winners(o) ? winners_at(o, r, slot, k, h) : NULL,
                o->pooled.height * o->pooled.width * LANES, o->relu, o->pooled.width, outputs);
        }
    }
}

/* dweight and dbias of one slot, into its own partial sums. */
void NAMED(conv_pool_backward_weight)(const op *o, const run *r, ptrdiff_t slot)
{
    const ptrdiff_t row = o->pooled.width * SIDE * LANES, plane = SIDE * row;
    pixel_products s = sum_over_pixels(o, o->pooled.width * SIDE, plane, row);
    s.height = SIDE;
    outputs k;
    for (ptrdiff_t first = 0; first < o->y.channels; first += k.rows) {
        k = outputs_from(o, r, slot, first);
        const float *y = at_map(r, slot, &o->pooled) + first * o->pooled.plane;
        const float *dy = at_map(r, slot, &o->dpooled) + first * o->dpooled.plane;
        float *spread = k.dbias + k.rows * LANES;       /* [rows][SIDE][pixels][LANES] */
        for (ptrdiff_t h = 0; h < o->pooled.height; h++) {
            for (ptrdiff_t i = 0; i < k.rows; i++) {
                const vec before = h > 0 ? load(k.dbias + i * LANES) : splat(0.0f);
                store(k.dbias + i * LANES,
                      spread_over_windows(
                          dy + i * o->dpooled.plane + h * o->dpooled.row,
                          o->relu ? y + i * o->pooled.plane + h * o->pooled.row : NULL,
                          winners_at(o, r, slot, first + i, h), o->pooled.width,
                          spread + i * plane, row, before, SIDE, SIDE));
            }
            NAMED(gradient_block)(
                &s, spread, k.x + h * SIDE * s.x_row, o->weight_taps, k.dweight, h > 0, k.rows);
        }
        store_gradients_of(o, r, slot, &k);
    }
}
