/* What convolutions with samples in the lanes share, with or without pooling. */
#ifndef MINICNN_CONV_H
#define MINICNN_CONV_H

#include "kernels.h"

INLINE ptrdiff_t weights_of_output(const op *o)
{
    return o->x.channels / o->groups * o->kernel_h * o->kernel_w;
}

/* The sums that make y, of one group. */
INLINE weighted_sum sum_over_inputs(const op *o, const map *y)
{
    return (weighted_sum){
        .channels = o->x.channels / o->groups, .x_plane = o->x.plane, .x_step = o->stride_w * LANES,
        .x_row = o->stride_h * o->x.row,
        .weight_row = weights_of_output(o), .weight_channel = o->kernel_h * o->kernel_w,
        .y_plane = y->plane, .y_step = LANES,
    };
}

/* Those that make dweight; height is to be set. */
INLINE pixel_products sum_over_pixels(
    const op *o, ptrdiff_t width, ptrdiff_t dy_plane, ptrdiff_t dy_row)
{
    return (pixel_products){
        .width = width, .dy_plane = dy_plane, .dy_row = dy_row,
        .x_row = o->stride_h * o->x.row, .x_step = o->stride_w * LANES,
        .taps = weights_of_output(o),
    };
}

/* Some outputs of one group, whose gradients are summed at a time: in scratch memory
 * [rows][weights of an output][LANES], then [rows][LANES] of dbias. */
_Static_assert(GRADIENT_ROWS <= MOST_OUTPUTS, "scratch memory is for so many");

typedef struct {
    ptrdiff_t first, rows;
    const float *x;                             /* of their group */
    float *dweight, *dbias;
} outputs;

INLINE outputs outputs_from(const op *o, const run *r, ptrdiff_t slot, ptrdiff_t first)
{
    const ptrdiff_t of_group = o->y.channels / o->groups, group = first / of_group;
    const ptrdiff_t rows = next_part(of_group - first % of_group, GRADIENT_ROWS);
    const float *x = at_map(r, slot, &o->x) + group * (o->x.channels / o->groups) * o->x.plane;
    return (outputs){
        first, rows, x, r->scratch, r->scratch + rows * weights_of_output(o) * LANES};
}

/* The sums over their lanes are the slot's own partial sums. */
INLINE void store_gradients_of(const op *o, const run *r, ptrdiff_t slot, const outputs *k)
{
    const ptrdiff_t weights = weights_of_output(o);
    float *partial = r->partials + slot * r->partial_stride + o->partial;
    store_lane_sums(partial + k->first * weights, k->dweight, k->rows * weights);
    if (o->dbias)
        store_lane_sums(partial + o->y.channels * weights + k->first, k->dbias, k->rows);
}

#endif
