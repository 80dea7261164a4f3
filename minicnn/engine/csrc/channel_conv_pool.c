/* Conv2d and the MaxPool2d behind it, with channels in the lanes: the rows under one row of windows
 * are computed into scratch memory and reduced there, so the whole map is never written.
 *
 * Windows lie side by side and inside the map; pixels that no window holds are not computed. The
 * backward pass of a first layer, which needs no dx, spreads each row of gradients likewise.
 */
#include "kernels.h"
#include "channel_conv.h"

/* A unit is a row of windows, of as many vectors as a tile has. */
void NAMED(channel_conv_pool_forward)(const op *o, const run *r, ptrdiff_t item)
{
    const ptrdiff_t vectors = vectors_for(o->outputs), pixels = o->pooled.width * o->pool_w;
    const ptrdiff_t next_vector = o->inputs * taps_of(o) * LANES, row = pixels * LANES;
    const channel_sum s = forward_sum(o, o->pool_h * row);
    const int most = NAMED(vectors_of_tile)(vectors, pixels);
    const ptrdiff_t blocks = (vectors + most - 1) / most;
    const share own = share_of(o, item, blocks * o->pooled.height);
    const float *x = at_map(r, own.slot, &o->x), *bias = o->packed + vectors * next_vector;
    uint8_t *winners = keeps_winners(o) ? at_bytes(r, own.slot, o) : NULL;
    float *y = at_map(r, own.slot, &o->pooled), *rows = r->scratch;
    const int paired = NAMED(paired_suits)(o);
    for (ptrdiff_t unit = own.first; unit < own.end; unit++) {
        const row_of_block place = row_of_block_at(o, unit, blocks, o->pooled.height);
        const ptrdiff_t k = place.block * most, h = place.row;
        const int count = (int)smaller(most, vectors - k);
        if (count == 1 && o->pool_h == 2 && o->pool_w == 2) {
            const ptrdiff_t at = (k * o->pooled.height + h) * o->pooled.width * LANES;
            (paired ? NAMED(paired_row) : NAMED(channel_pooled_row))(
                o, &s, x + h * 2 * o->stride_h * o->x.row, o->packed + k * next_vector,
                bias + k * LANES, y + k * o->pooled.plane + h * o->pooled.row,
                winners ? winners + at : NULL);
            continue;
        }
        /* 1. The rows under one row of windows. */
        for (ptrdiff_t i = 0; i < o->pool_h; i++)
            NAMED(channel_sum_block)(
                &s, x + (h * o->pool_h + i) * o->stride_h * o->x.row, o->packed + k * next_vector,
                bias + k * LANES, rows + i * row, NULL, 0, pixels, count);
        /* 2. Their largest values. */
        for (int v = 0; v < count; v++) {
            const ptrdiff_t at = ((k + v) * o->pooled.height + h) * o->pooled.width * LANES;
            float *to = y + (k + v) * o->pooled.plane + h * o->pooled.row;
            largest_of_windows(rows + v * o->pool_h * row, row, o->pooled.width, to,
                               winners ? winners + at : NULL, o->relu, o->pool_h, o->pool_w);
        }
    }
}

void NAMED(channel_conv_pool_backward_weight)(const op *o, const run *r, ptrdiff_t slot)
{
    const gradient_order g = order_of(o);
    const ptrdiff_t pixels = o->pooled.width * o->pool_w, plane = o->pool_h * pixels * LANES;
    const float *x = at_map(r, slot, &o->x), *dy = at_map(r, slot, &o->dpooled);
    const float *y = at_map(r, slot, &o->pooled);
    const uint8_t *winners = at_bytes(r, slot, o);
    float *rows = r->scratch, *dweight = gradients_at(o, r, slot);
    float *dbias = dweight + g.planes * g.starts * g.run * g.vectors * LANES;
    const int first = slot == first_slot(r, item_of(r, slot));
#if LANES == 8
    if (NAMED(winner_rows_suit)(o)) {
        NAMED(add_winner_rows)(o, r, slot, &g, dweight, dbias, !first);
        return;
    }
#endif
    channel_products s = gradient_products(o, &g, plane, pixels * LANES);
    s.height = o->pool_h;
    s.width = pixels;
    for (ptrdiff_t h = 0; h < o->pooled.height; h++) {
        const int add = h > 0 || !first;
#if LANES == 16
        if (NAMED(winners_suit)(o)) {
            NAMED(add_winners)(o, &g, x + h * o->pool_h * s.x_row, dy + h * o->dpooled.row,
                               y + h * o->pooled.row, winners + h * o->pooled.width * LANES, rows,
                               dweight, dbias, add);
            continue;
        }
#endif
        for (ptrdiff_t k = 0; k < g.vectors; k++) {
            const ptrdiff_t at = k * o->dpooled.plane + h * o->dpooled.row;
            const vec sum = add ? load(dbias + k * LANES) : splat(0.0f);
            store(dbias + k * LANES,
                  spread_over_windows(
                      dy + at, o->relu ? y + k * o->pooled.plane + h * o->pooled.row : NULL,
                      winners + (k * o->pooled.height + h) * o->pooled.width * LANES,
                      o->pooled.width, rows + k * plane, pixels * LANES, sum, o->pool_h, o->pool_w));
        }
        add_weight_gradients(o, &g, &s, rows, x + h * o->pool_h * s.x_row, dweight, add);
    }
}
