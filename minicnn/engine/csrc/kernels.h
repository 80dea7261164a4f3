/* What all families of kernels share. */
#ifndef MINICNN_KERNELS_H
#define MINICNN_KERNELS_H

#include "engine.h"
#include "lanes.h"
#include "tiles.h"
#include "windows.h"

enum { GRADIENT_BLOCK = 28672 / (4 * LANES) };  /* vectors of dy that stay in the nearest cache */

INLINE ptrdiff_t smaller(ptrdiff_t a, ptrdiff_t b) { return a < b ? a : b; }

INLINE ptrdiff_t vectors_for(ptrdiff_t channels) { return (channels + LANES - 1) / LANES; }

INLINE float *at_map(const run *r, ptrdiff_t slot, const map *m)
{
    if (m->where == IN_SLOT)
        return r->arena + slot * r->slot_stride + m->offset;
    if (m->where == IN_INPUT)       /* never written */
        return (float *)r->input + slot * r->input_size + m->offset;
    const ptrdiff_t copy = m->copies > 1 ? slot % m->copies : 0;
    return r->local + copy * m->step + m->offset;
}

typedef struct {
    ptrdiff_t first, end;
} range;

/* Those of the set's positions whose rows exist in a map of that height, for its row number `row`; all
 * of them where the set does not tell its rows. The others would meet zeros only. */
INLINE range existing_taps(const tap_set *set, ptrdiff_t row, ptrdiff_t height)
{
    if (set->rows == 0)
        return (range){0, set->count};
    const ptrdiff_t columns = set->count / set->rows, *down = set->down;
    ptrdiff_t first = 0, end = set->rows;       /* from row to row they go up, or down */
    while (first < end && (row + down[first] < 0 || row + down[first] >= height))
        first++;
    while (first < end && (row + down[end - 1] < 0 || row + down[end - 1] >= height))
        end--;
    return (range){first * columns, end * columns};
}

/* At least `floats`, in an odd number of cache lines: what lies so far apart is spread over the cache. */
INLINE ptrdiff_t spread(ptrdiff_t floats) { return ((floats + 15) / 16 | 1) * 16; }

/* Slots are shared out over the items as evenly as can be. */
INLINE ptrdiff_t first_slot(const run *r, ptrdiff_t item) { return item * r->slots / r->items; }
INLINE ptrdiff_t item_of(const run *r, ptrdiff_t slot)
{
    return ((slot + 1) * r->items - 1) / r->slots;
}

/* What an item does of the `units` of work of a slot: all, where slots are not divided. */
typedef struct {
    ptrdiff_t slot, first, end;
} share;

INLINE share share_of(const op *o, ptrdiff_t item, ptrdiff_t units)
{
    const ptrdiff_t part = item % o->parts;
    return (share){item / o->parts, part * units / o->parts, (part + 1) * units / o->parts};
}

/* Rows of some blocks of channels as units. Parts of a slot are neighbouring rows of all blocks, which
 * the next layer will read together; a whole slot goes block by block, whose weights then stay in the
 * nearest cache. */
typedef struct {
    ptrdiff_t block, row;
} row_of_block;

INLINE row_of_block row_of_block_at(const op *o, ptrdiff_t unit, ptrdiff_t blocks, ptrdiff_t height)
{
    if (o->parts > 1)
        return (row_of_block){unit % blocks, unit / blocks};
    return (row_of_block){unit / height, unit % height};
}

/* The slots slot … end - 1 are those that a kernel of this op takes at once. */
INLINE ptrdiff_t group_end(const op *o, const run *r, ptrdiff_t slot)
{
    return smaller(slot + o->group, first_slot(r, item_of(r, slot) + 1));
}

/* The sum of what all items hold at `partial`, in their order. */
INLINE vec sum_of_items(const run *r, const float *partial)
{
    vec sum = load(partial);
    for (ptrdiff_t i = 1; i < r->items; i++)
        sum += load(partial + i * r->partial_stride);
    return sum;
}

/* Winners of pooling are kept for the backward pass; where there is none they have no place. */
INLINE int keeps_winners(const op *o) { return o->bytes.step > 0; }

INLINE uint8_t *at_bytes(const run *r, ptrdiff_t slot, const op *o)
{
    return (uint8_t *)at_map(r, slot, &o->bytes);
}

/* How many lanes of a slot are samples; the others repeat the last sample, and have no
 * gradient. */
INLINE ptrdiff_t samples_in(const run *r, ptrdiff_t slot)
{
    const ptrdiff_t left = r->batch - slot * LANES;
    return left < LANES ? left : LANES;
}

/* All ones in the lanes that are samples. */
INLINE ivec sample_mask(const run *r, ptrdiff_t slot)
{
    int32_t mask[LANES] __attribute__((aligned(64)));
    for (int l = 0; l < LANES; l++)
        mask[l] = -(l < samples_in(r, slot));
    return *(const ivec *)mask;
}

#endif
