/* Linear: y[o] = bias[o] + sum over i of weight[o, i] x[i], all slots at once.
 *
 *     x (I,)   y (O,)   weight (O, I)      of each slot
 *
 * The slots take the place that neighbouring pixels have in a convolution, so that a weight is
 * fetched once for all of them. Items are blocks of outputs (forward) or inputs (backward):
 * no sum is shared between two items.
 */
#include "kernels.h"

INLINE ptrdiff_t features(const map *m) { return m->channels * m->height * m->width; }

void NAMED(linear_forward)(const op *o, const run *r, ptrdiff_t item)
{
    const ptrdiff_t inputs = features(&o->x), first = item * LINEAR_OUTPUTS;
    const ptrdiff_t outputs = smaller(LINEAR_OUTPUTS, features(&o->y) - first), zero = 0;
    const weighted_sum s = {
        .channels = inputs, .x_plane = LANES, .x_step = r->slot_stride,
        .taps = 1, .tap_x = &zero, .tap_weight = &zero,
        .weight_row = inputs, .weight_channel = 1,
        .y_plane = LANES, .y_step = r->slot_stride,
        .tile_rows = NAMED(rows_of_tile)(r->slots, outputs),
    };
    NAMED(sum_block)(
        &s, at_map(r, 0, &o->x), o->weight + first * inputs, o->bias ? o->bias + first : NULL,
        at_map(r, 0, &o->y) + first * LANES, NULL, o->relu, r->slots, outputs);
}

/* dx[i] = sum over o of weight[o, i] dy[o] */
void NAMED(linear_backward_input)(const op *o, const run *r, ptrdiff_t item)
{
    const ptrdiff_t all = features(&o->x), first = item * LINEAR_INPUTS;
    const ptrdiff_t inputs = smaller(LINEAR_INPUTS, all - first), zero = 0;
    const weighted_sum s = {
        .channels = features(&o->y), .x_plane = LANES, .x_step = r->slot_stride,
        .taps = 1, .tap_x = &zero, .tap_weight = &zero,
        .weight_row = 1, .weight_channel = all,
        .y_plane = LANES, .y_step = r->slot_stride,
        .gate_plane = LANES, .gate_step = r->slot_stride,
        .tile_rows = NAMED(rows_of_tile)(r->slots, inputs),
    };
    NAMED(sum_block)(
        &s, at_map(r, 0, &o->dy), o->weight + first, NULL,
        at_map(r, 0, &o->dx) + first * LANES,
        o->gate ? at_map(r, 0, &o->x) + first * LANES : NULL, 0, r->slots, inputs);
}

/* --- weight gradient: dweight[o, i] = sum over samples of dy[o] x[i] ---------------------------
 *
 * Here the samples are summed over, so they must not lie side by side in a vector: x is
 * transposed, LINEAR_VECTORS vectors of inputs at a time, and a sample's dy is one factor. */

enum {
    OUTPUT_ROWS = LANES == 16 ? 6 : 3,
    SLOT_BLOCK = 64 / LANES,                /* slots transposed at a time: 16 KiB */
};

/* dweight[k, i] (+)= sum over n of dy[k, n] x[n, i] for `rows` outputs k and all vectors of i. */
INLINE void outer_products(
    const float *restrict dy, ptrdiff_t slot_stride,    /* [slot][k][LANES] */
    const float *restrict x,                            /* [slot][LANES][LINEAR_VECTORS * LANES] */
    ptrdiff_t slots, float *dweight, ptrdiff_t inputs, ptrdiff_t columns, int add, const int rows)
{
    vec sum[OUTPUT_ROWS][LINEAR_VECTORS];
    UNROLL
    for (int k = 0; k < rows; k++) {
        UNROLL
        for (int v = 0; v < LINEAR_VECTORS; v++)
            sum[k][v] = splat(0.0f);
    }
    for (ptrdiff_t slot = 0; slot < slots; slot++) {
        for (int l = 0; l < LANES; l++) {
            UNROLL
            for (int k = 0; k < rows; k++) {
                const vec gradient = splat(dy[slot * slot_stride + k * LANES + l]);
                UNROLL
                for (int v = 0; v < LINEAR_VECTORS; v++)
                    sum[k][v] += gradient * load(x + v * LANES);
            }
            x += LINEAR_VECTORS * LANES;
        }
    }
    float total[LINEAR_VECTORS * LANES] __attribute__((aligned(64)));
    UNROLL
    for (int k = 0; k < rows; k++) {
        UNROLL
        for (int v = 0; v < LINEAR_VECTORS; v++)
            store(total + v * LANES, sum[k][v]);
        for (ptrdiff_t i = 0; i < columns; i++)
            dweight[k * inputs + i] = add ? dweight[k * inputs + i] + total[i] : total[i];
    }
}

/* x[first + i] of `slots` slots from `slot` on, sample by sample; 0 beyond the last input. */
static void transpose_inputs(
    const op *o, const run *r, ptrdiff_t slot, ptrdiff_t slots, ptrdiff_t first,
    ptrdiff_t columns, float *out)          /* [slots][LANES][LINEAR_VECTORS * LANES] */
{
    for (ptrdiff_t s = 0; s < slots; s++) {
        const float *x = at_map(r, slot + s, &o->x) + first * LANES;
        for (int v = 0; v < LINEAR_VECTORS; v++) {
            vec block[LANES];
            UNROLL
            for (int i = 0; i < LANES; i++) {
                const ptrdiff_t column = v * LANES + i;
                block[i] = column < columns ? load(x + column * LANES) : splat(0.0f);
            }
            transpose(block);
            UNROLL
            for (int l = 0; l < LANES; l++)
                store(out + ((s * LANES + l) * LINEAR_VECTORS + v) * LANES, block[l]);
        }
    }
}

static void bias_gradient(const op *o, const run *r)
{
    for (ptrdiff_t k = 0; k < features(&o->y); k++) {
        vec sum[LANES] = {ALL(0)};
        for (ptrdiff_t slot = 0; slot < r->slots; slot++)
            sum[0] += load(at_map(r, slot, &o->dy) + k * LANES);
        for (int i = 1; i < LANES; i++)
            sum[i] = splat(0.0f);
        o->dbias[k] = lane_sums(sum)[0];
    }
}

void NAMED(linear_backward_weight)(const op *o, const run *r, ptrdiff_t item)
{
    const ptrdiff_t inputs = features(&o->x), outputs = features(&o->y);
    const ptrdiff_t first = item * LINEAR_VECTORS * LANES;
    const ptrdiff_t columns = smaller(LINEAR_VECTORS * LANES, inputs - first);
    float x[SLOT_BLOCK * LANES * LINEAR_VECTORS * LANES] __attribute__((aligned(64)));
    for (ptrdiff_t slot = 0; slot < r->slots; slot += SLOT_BLOCK) {
        const ptrdiff_t slots = smaller(SLOT_BLOCK, r->slots - slot);
        const float *dy = at_map(r, slot, &o->dy);
        float *dweight = o->dweight + first;
        ptrdiff_t k = 0;
        transpose_inputs(o, r, slot, slots, first, columns, x);
        for (; k + OUTPUT_ROWS <= outputs; k += OUTPUT_ROWS)
            outer_products(dy + k * LANES, r->slot_stride, x, slots, dweight + k * inputs,
                           inputs, columns, slot > 0, OUTPUT_ROWS);
        for (; k < outputs; k++)
            outer_products(dy + k * LANES, r->slot_stride, x, slots, dweight + k * inputs,
                           inputs, columns, slot > 0, 1);
    }
    if (item == 0 && o->dbias)
        bias_gradient(o, r);
}
