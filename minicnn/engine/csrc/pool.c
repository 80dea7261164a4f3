/* MaxPool2d and AvgPool2d: y summarises one window of each channel of x, one slot at a time. */
#include "kernels.h"

/* The part of window (oh, ow) that lies within the image. */
typedef struct {
    ptrdiff_t top, bottom, left, right;
} window;

INLINE ptrdiff_t larger(ptrdiff_t a, ptrdiff_t b) { return a > b ? a : b; }

INLINE window window_at(const op *o, ptrdiff_t oh, ptrdiff_t ow)
{
    const ptrdiff_t top = oh * o->stride_h - o->pad_h, left = ow * o->stride_w - o->pad_w;
    return (window){
        larger(top, 0), smaller(top + o->kernel_h, o->x.height),
        larger(left, 0), smaller(left + o->kernel_w, o->x.width),
    };
}

/* Which of the kernel's positions window (oh, ow) has at pixel (h, w). */
INLINE int32_t position(const op *o, ptrdiff_t oh, ptrdiff_t ow, ptrdiff_t h, ptrdiff_t w)
{
    const ptrdiff_t kh = h - (oh * o->stride_h - o->pad_h), kw = w - (ow * o->stride_w - o->pad_w);
    return (int32_t)(kh * o->kernel_w + kw);
}

/* Whether the windows lie side by side and inside the image. */
INLINE int side_by_side_windows(const op *o)
{
    return o->stride_h == o->kernel_h && o->stride_w == o->kernel_w && !o->pad_h && !o->pad_w
        && o->y.height * o->kernel_h <= o->x.height && o->y.width * o->kernel_w <= o->x.width;
}

/* dx = 0, unless the windows lie side by side and cover it, so that each value is set once. */
static int clear_unless_covered(const op *o, float *dx)
{
    const int covered = side_by_side_windows(o)
        && o->y.height * o->kernel_h == o->x.height && o->y.width * o->kernel_w == o->x.width;
    for (ptrdiff_t c = 0; !covered && c < o->dx.channels; c++) {
        for (ptrdiff_t h = 0; h < o->dx.height; h++)
            memset(dx + c * o->dx.plane + h * o->dx.row, 0,
                   o->dx.width * LANES * sizeof *dx);
    }
    return covered;
}

/* --- maximum ---------------------------------------------------------------------------------- */

/* Winners are positions in the kernel. */
INLINE void max_window(
    const op *o, const float *x, ptrdiff_t oh, ptrdiff_t ow, float *y, uint8_t *winner)
{
    const window at = window_at(o, oh, ow);
    vec best = load(x + at.top * o->x.row + at.left * LANES);
    ivec which = (ivec)ALL(0) + position(o, oh, ow, at.top, at.left);
    for (ptrdiff_t h = at.top; h < at.bottom; h++) {
        for (ptrdiff_t w = at.left; w < at.right; w++) {
            const vec v = load(x + h * o->x.row + w * LANES);
            keep_larger(&best, winner ? &which : NULL, v,
                        (ivec)ALL(0) + position(o, oh, ow, h, w));
        }
    }
    store(y, best);
    if (winner)
        store_bytes(winner, which);
}

/* A unit is a row of windows. */
void NAMED(max_pool_forward)(const op *o, const run *r, ptrdiff_t item)
{
    const share own = share_of(o, item, o->y.channels * o->y.height);
    uint8_t *winners = keeps_winners(o) ? at_bytes(r, own.slot, o) : NULL;
    for (ptrdiff_t unit = own.first; unit < own.end; unit++) {
        const row_of_block at = row_of_block_at(o, unit, o->y.channels, o->y.height);
        const ptrdiff_t c = at.block, oh = at.row;
        const float *x = at_map(r, own.slot, &o->x) + c * o->x.plane;
        float *y = at_map(r, own.slot, &o->y) + c * o->y.plane + oh * o->y.row;
        uint8_t *winner = winners ? winners + (c * o->y.height + oh) * o->y.width * LANES : NULL;
        if (side_by_side_windows(o)) {
            largest_of_windows(x + oh * o->kernel_h * o->x.row, o->x.row, o->y.width, y, winner, 0,
                               o->kernel_h, o->kernel_w);
            continue;
        }
        for (ptrdiff_t ow = 0; ow < o->y.width; ow++)
            max_window(o, x, oh, ow, y + ow * LANES, winner ? winner + ow * LANES : NULL);
    }
}

/* dx += dy at the winner of a window. */
static void max_window_backward(
    const op *o, float *dx, ptrdiff_t oh, ptrdiff_t ow, vec dy, const uint8_t *winner)
{
    const window at = window_at(o, oh, ow);
    const ivec which = load_bytes(winner);
    for (ptrdiff_t h = at.top; h < at.bottom; h++) {
        for (ptrdiff_t w = at.left; w < at.right; w++) {
            float *to = dx + h * o->dx.row + w * LANES;
            store(to, load(to) + keep((ivec)(which == position(o, oh, ow, h, w)), dy));
        }
    }
}

void NAMED(max_pool_backward)(const op *o, const run *r, ptrdiff_t slot)
{
    const uint8_t *winner = at_bytes(r, slot, o);
    clear_unless_covered(o, at_map(r, slot, &o->dx));
    for (ptrdiff_t c = 0; c < o->y.channels; c++) {
        /* y is the winner's own value, so it tells as much about a ReLU as x. */
        const float *gate = o->gate ? at_map(r, slot, &o->y) + c * o->y.plane : NULL;
        const float *dy = at_map(r, slot, &o->dy) + c * o->dy.plane;
        float *dx = at_map(r, slot, &o->dx) + c * o->dx.plane;
        for (ptrdiff_t oh = 0; oh < o->y.height; oh++, winner += o->y.width * LANES) {
            const float *row = dy + oh * o->dy.row, *gate_row = gate ? gate + oh * o->y.row : NULL;
            if (side_by_side_windows(o)) {
                spread_over_windows(row, gate_row, winner, o->y.width,
                                    dx + oh * o->kernel_h * o->dx.row, o->dx.row, splat(0.0f),
                                    o->kernel_h, o->kernel_w);
                continue;
            }
            for (ptrdiff_t at = 0; at < o->y.width * LANES; at += LANES) {
                const vec gradient = load(row + at);
                max_window_backward(o, dx, oh, at / LANES,
                                    gate_row ? gated(gradient, load(gate_row + at)) : gradient,
                                    winner + at);
            }
        }
    }
}

/* --- average ---------------------------------------------------------------------------------- */

/* How many positions window (oh, ow) counts: with count_include_pad the border counts as far as
 * the padding reaches, and what ceil_mode lets hang over beyond that never counts. */
INLINE float divisor(const op *o, ptrdiff_t oh, ptrdiff_t ow)
{
    const window at = window_at(o, oh, ow);
    const ptrdiff_t top = oh * o->stride_h - o->pad_h, left = ow * o->stride_w - o->pad_w;
    if (!o->count_include_pad)
        return (float)((at.bottom - at.top) * (at.right - at.left));
    return (float)((smaller(top + o->kernel_h, o->x.height + o->pad_h) - top)
        * (smaller(left + o->kernel_w, o->x.width + o->pad_w) - left));
}

void NAMED(avg_pool_forward)(const op *o, const run *r, ptrdiff_t slot)
{
    for (ptrdiff_t c = 0; c < o->y.channels; c++) {
        const float *x = at_map(r, slot, &o->x) + c * o->x.plane;
        float *y = at_map(r, slot, &o->y) + c * o->y.plane;
        for (ptrdiff_t oh = 0; oh < o->y.height; oh++) {
            for (ptrdiff_t ow = 0; ow < o->y.width; ow++) {
                const window at = window_at(o, oh, ow);
                vec total = splat(0.0f);
                for (ptrdiff_t h = at.top; h < at.bottom; h++) {
                    vec sum = splat(0.0f);
                    for (ptrdiff_t w = at.left; w < at.right; w++)
                        sum += load(x + h * o->x.row + w * LANES);
                    total += sum;
                }
                store(y + oh * o->y.row + ow * LANES, total / splat(divisor(o, oh, ow)));
            }
        }
    }
}

void NAMED(avg_pool_backward)(const op *o, const run *r, ptrdiff_t slot)
{
    const int covered = clear_unless_covered(o, at_map(r, slot, &o->dx));
    for (ptrdiff_t c = 0; c < o->y.channels; c++) {
        const float *x = at_map(r, slot, &o->x) + c * o->x.plane;
        const float *dy = at_map(r, slot, &o->dy) + c * o->dy.plane;
        float *dx = at_map(r, slot, &o->dx) + c * o->dx.plane;
        for (ptrdiff_t oh = 0; oh < o->y.height; oh++) {
            for (ptrdiff_t ow = 0; ow < o->y.width; ow++) {
                const window at = window_at(o, oh, ow);
                const vec share = load(dy + oh * o->dy.row + ow * LANES)
                    / splat(divisor(o, oh, ow));
                for (ptrdiff_t h = at.top; h < at.bottom; h++) {
                    for (ptrdiff_t w = at.left; w < at.right; w++) {
                        float *to = dx + h * o->dx.row + w * LANES;
                        vec v = share;
                        if (o->gate)
                            v = gated(v, load(x + h * o->x.row + w * LANES));
                        store(to, covered ? v : load(to) + v);
                    }
                }
            }
        }
    }
}
