/* Linear on rows: a slot holds one sample, and its features lie side by side.
 *
 *     x (I,)   y (O,)   of each slot   weight (O, I), bias (O,)   as users see them
 *
 * What follows a row up to a whole vector is never used; y and dx get zeros there. Items share out
 * outputs (forward) or inputs (backward), so no sum belongs to two of them; and no sum depends on
 * the size of its tile or of its item, or on other samples.
 */
#ifndef MINICNN_ROWS_H
#define MINICNN_ROWS_H

#include "kernels.h"

enum { MANY_SAMPLES = 16 };

INLINE ptrdiff_t whole_parts(ptrdiff_t count, ptrdiff_t most) { return (count + most - 1) / most; }

/* One of the fewest nearly equal parts of `count` values, none above `most`. */
INLINE range equal_part(ptrdiff_t count, ptrdiff_t most, ptrdiff_t part)
{
    const ptrdiff_t parts = whole_parts(count, most);
    if (parts == 1)
        return (range){0, count};
    return (range){part * count / parts, (part + 1) * count / parts};
}

/* The outputs of an item that shares them out. Where every thread gets an even number of items, each
 * second one does the work of two: what many samples have in common is then prepared once. */
INLINE range outputs_of(const op *o, const run *r, ptrdiff_t item)
{
    const ptrdiff_t parts = whole_parts(o->outputs, ROWS_OUTPUTS);
    range outputs = equal_part(o->outputs, ROWS_OUTPUTS, item);
    if (parts % (2 * r->threads) == 0 && r->slots >= MANY_SAMPLES)
        outputs.end = item % 2 ? outputs.first : equal_part(o->outputs, ROWS_OUTPUTS, item + 1).end;
    return outputs;
}

/* From sample to sample of a map, in floats. */
INLINE ptrdiff_t sample_step(const run *r, const map *m)
{
    return m->where == IN_INPUT ? r->input_size
        : m->where == IN_OUTPUT ? r->output_size : r->slot_stride;
}

/* Tiles of one height, and of all widths up to some. */
#define TO_2(M, N) M(N, 1) M(N, 2)
#define TO_3(M, N) TO_2(M, N) M(N, 3)
#define TO_4(M, N) TO_3(M, N) M(N, 4)
#define TO_6(M, N) TO_4(M, N) M(N, 5) M(N, 6)
#define TO_8(M, N) TO_6(M, N) M(N, 7) M(N, 8)
#define TO_16(M, N) \
    TO_8(M, N) M(N, 9) M(N, 10) M(N, 11) M(N, 12) M(N, 13) M(N, 14) M(N, 15) M(N, 16)

#endif
