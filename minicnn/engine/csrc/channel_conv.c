/* Conv2d with channels in the lanes: y[k] = bias[k] + sum over c of weight[k, c] * x[c].
 *
 *     x (C, H, W)   y (K, OH, OW)   weight (K, C, kernel_h, kernel_w), as users see it
 *
 * The first convolution of a network may read its input as it came, one channel a plane and one
 * value a pixel (o->planar). Borders of zeros around x and dy take the place of every test for
 * the edge of the image.
 */
#include "kernels.h"
#include "channel_conv.h"

/* --- 1. weights in the order in which the sums take them: once a step ---------------------------- */

/* One after the other, the weights of an output as users see them: channel and position. */
typedef struct {
    ptrdiff_t c, t;
} weight_number;

INLINE weight_number weight_at(ptrdiff_t at, ptrdiff_t taps)
{
    return (weight_number){at / taps, at % taps};
}

INLINE void next_weight(weight_number *w, ptrdiff_t taps)
{
    if (++w->t == taps) {
        w->t = 0;
        w->c++;
    }
}

/* Where (c, t) stands among the channels * taps weights of one output. */
INLINE ptrdiff_t packed_place(ptrdiff_t c, ptrdiff_t t, ptrdiff_t channels, ptrdiff_t taps)
{
    const ptrdiff_t first = c / LANES * LANES;
    return first * taps + t * smaller(LANES, channels - first) + (c - first);
}

/* packed [K / LANES][c, t][LANES], then the bias [K / LANES][LANES]. An item is one vector of
 * outputs. */
void NAMED(channel_pack_forward)(const op *o, const run *r, ptrdiff_t item)
{
    const ptrdiff_t taps = taps_of(o), row = o->inputs * taps, first = item * LANES;
    const ptrdiff_t outputs = smaller(LANES, o->outputs - first);
    float *packed = o->packed + item * row * LANES;
    (void)r;
    if (packed_already(o, item))
        return;
    const normalisation n = normalisation_of(o, first);
    const vec scale = load(n.scale);
    const int paired = NAMED(paired_suits)(o);
    weight_number w = {0, 0};
    for (ptrdiff_t at = 0; at < row; at += LANES) {
        const ptrdiff_t count = smaller(LANES, row - at);
        vec block[LANES];
        load_columns(o->weight + first * row + at, row, outputs, count, block);
        for (ptrdiff_t i = 0; i < count; i++, next_weight(&w, taps)) {
            const ptrdiff_t place = o->planar ? at + i : packed_place(w.c, w.t, o->inputs, taps);
            const vec weights = block[i] * scale;
            store(packed + place * LANES, paired ? NAMED(paired_weights)(weights) : weights);
        }
    }
    const vec shift = load(n.shift);
    store(o->packed + vectors_for(o->outputs) * row * LANES + first,
          paired ? NAMED(paired_weights)(shift) : shift);
}

/* For `side` neighbouring pixels of x at once: lanes [side][LANES / side], of which the first
 * o->inputs are channels. */
static void pack_side_by_side(const op *o, ptrdiff_t first, ptrdiff_t end)
{
    const tap_set *set = o->input_taps;
    const ptrdiff_t columns = set->count / set->rows, taps = taps_of(o);
    for (ptrdiff_t k = first; k < end; k++) {
        for (ptrdiff_t t = 0; t < set->count; t++) {
            float *to = o->packed_back + packed_place(k, t, o->outputs, set->count) * LANES;
            store(to, splat(0.0f));
            for (ptrdiff_t p = 0; p < o->side; p++, to += LANES / o->side) {
                const ptrdiff_t j = set->weight[t] + p;
                const float *from = o->weight + k * o->inputs * taps + t / columns * o->kernel_w + j;
                for (ptrdiff_t c = 0; c < o->inputs && j >= 0 && j < o->kernel_w; c++)
                    to[c] = from[c * taps];
            }
        }
    }
}

/* The positions first … first + LANES - 1 of the weights (c, t) of output k, for a plane of inputs, to
 * where their sets have them. */
static void pack_positions(const op *o, ptrdiff_t k, ptrdiff_t plane, ptrdiff_t first)
{
    const ptrdiff_t taps = taps_of(o), inputs = smaller(LANES, o->inputs - plane * LANES);
    const float *from = o->weight + (k * o->inputs + plane * LANES) * taps + first;
    float *of_set = o->packed_back;
    vec block[LANES];
    load_columns(from, taps, inputs, smaller(LANES, taps - first), block);
    for (const tap_set *set = o->input_taps; set < o->input_taps + o->input_sets; set++) {
        const ptrdiff_t size = o->outputs * set->count * LANES;
        float *to = of_set + plane * size + packed_place(k, 0, o->outputs, set->count) * LANES;
        const ptrdiff_t step = smaller(LANES, o->outputs - k / LANES * LANES) * LANES;
        for (ptrdiff_t t = 0; t < set->count; t++) {
            const ptrdiff_t i = set->weight[t] - first;
            if (i >= 0 && i < LANES)
                store(to + t * step, block[i]);
        }
        of_set += vectors_for(o->inputs) * size;
    }
}

/* packed_back [set][C / LANES][k, t of the set][LANES]. An item is a vector of outputs: who has moved
 * them packs them. */
void NAMED(channel_pack_backward)(const op *o, const run *r, ptrdiff_t item)
{
    const ptrdiff_t first = item * LANES, end = smaller(first + LANES, o->outputs);
    (void)r;
    if (o->side > 1) {
        pack_side_by_side(o, first, end);
        return;
    }
    for (ptrdiff_t k = first; k < end; k++) {
        for (ptrdiff_t plane = 0; plane < vectors_for(o->inputs); plane++) {
            for (ptrdiff_t t = 0; t < taps_of(o); t += LANES)
                pack_positions(o, k, plane, t);
        }
    }
}

/* --- 2. forward ------------------------------------------------------------------------------------ */

/* A unit is a row of outputs, of as many vectors as a tile has. */
void NAMED(channel_conv_forward)(const op *o, const run *r, ptrdiff_t item)
{
    const ptrdiff_t vectors = vectors_for(o->outputs), height = o->y.height;
    const ptrdiff_t next_vector = o->inputs * taps_of(o) * LANES;
    const channel_sum s = forward_sum(o, o->y.plane);
    const int most = NAMED(vectors_of_tile)(vectors, o->y.width);
    const ptrdiff_t blocks = (vectors + most - 1) / most;
    const share own = share_of(o, item, blocks * height);
    const float *x = at_map(r, own.slot, &o->x), *bias = o->packed + vectors * next_vector;
    float *y = at_map(r, own.slot, &o->y);
    for (ptrdiff_t unit = own.first; unit < own.end; unit++) {
        const row_of_block at = row_of_block_at(o, unit, blocks, height);
        const ptrdiff_t k = at.block * most, h = at.row;
        NAMED(channel_sum_block)(
            &s, x + h * o->stride_h * o->x.row, o->packed + k * next_vector, bias + k * LANES,
            y + k * o->y.plane + h * o->y.row, NULL, o->relu, o->y.width,
            (int)smaller(most, vectors - k));
    }
}

/* --- 3. backward: dx ------------------------------------------------------------------------------- */

static void choose_taps(channel_sum *s, const tap_set *set, ptrdiff_t row, ptrdiff_t height)
{
    const range those = existing_taps(set, row, height);
    s->first_tap = those.first;
    s->end_tap = those.end;
}

/* Where x has few channels, some neighbouring pixels share a vector. */
static void side_by_side(const op *o, const run *r, ptrdiff_t slot)
{
    const tap_set *set = o->input_taps;
    const ptrdiff_t pixels = (o->dx.width + o->side - 1) / o->side, room = LANES / o->side;
    const float *dy = at_map(r, slot, &o->dy), *gate = at_map(r, slot, &o->x);
    float *dx = at_map(r, slot, &o->dx), *sums = r->scratch;
    channel_sum s = {
        .channels = o->outputs, .per_plane = LANES, .x_plane = o->dy.plane,
        .x_step = o->side * LANES, .taps = set->count, .tap_x = set->x, .y_step = LANES,
    };
    for (ptrdiff_t h = 0; h < o->dx.height; h++) {
        choose_taps(&s, set, h, o->dy.height);
        NAMED(channel_sum_block)(
            &s, dy + h * o->dy.row, o->packed_back, NULL, sums, NULL, 0, pixels, 1);
        for (ptrdiff_t w = 0; w < o->dx.width; w++) {
            vec v = load_some(sums + w * room, room);
            if (o->gate)
                v = gated(v, load(gate + h * o->x.row + w * LANES));
            store(dx + h * o->dx.row + w * LANES, v);
        }
    }
}

/* The pixels of x whose row and column leave the same rest modulo the stride see the same
 * positions of the kernel, so each such set is a dense sum over dy. */
void NAMED(channel_conv_backward_input)(const op *o, const run *r, ptrdiff_t slot)
{
    if (o->side > 1) {
        side_by_side(o, r, slot);
        return;
    }
    const ptrdiff_t vectors = vectors_for(o->inputs);
    const float *dy = at_map(r, slot, &o->dy), *weight = o->packed_back;
    const float *gate = o->gate ? at_map(r, slot, &o->x) : NULL;
    float *dx = at_map(r, slot, &o->dx);
    for (const tap_set *set = o->input_taps; set < o->input_taps + o->input_sets; set++) {
        const ptrdiff_t next_vector = o->outputs * set->count * LANES;
        const ptrdiff_t pixels = (o->dx.width - set->first_column + o->stride_w - 1) / o->stride_w;
        channel_sum s = {
            .channels = o->outputs, .per_plane = LANES, .x_plane = o->dy.plane, .x_step = LANES,
            .taps = set->count, .tap_x = set->x,
            .y_plane = o->dx.plane, .y_step = o->stride_w * LANES,
            .gate_plane = o->x.plane, .gate_step = o->stride_w * LANES,
        };
        const int most = NAMED(vectors_of_tile)(vectors, pixels);
        for (ptrdiff_t c = 0; c < vectors; c += most) {
            const int count = (int)smaller(most, vectors - c);
            for (ptrdiff_t h = set->first_row, i = 0; h < o->dx.height; h += o->stride_h, i++) {
                const ptrdiff_t at = set->first_column * LANES;
                choose_taps(&s, set, i, o->dy.height);
                NAMED(channel_sum_block)(
                    &s, dy + i * o->dy.row, weight + c * next_vector, NULL,
                    dx + c * o->dx.plane + h * o->dx.row + at,
                    gate ? gate + c * o->x.plane + h * o->x.row + at : NULL, 0, pixels, count);
            }
        }
        weight += vectors * next_vector;
    }
}

/* --- 4. backward: dweight and dbias, summed over the slots of an item ------------------------------ */

INLINE ptrdiff_t gradient_place(const op *o, const gradient_order *g, weight_number w)
{
    if (o->planar)                          /* [start][run] are its positions in their order */
        return w.c * g->starts * g->run + w.t;
    return (w.c / LANES * g->starts + w.t) * LANES + w.c % LANES;
}

static void add_bias_gradients(
    const op *o, const float *dy, ptrdiff_t rows, ptrdiff_t vectors, float *dbias, int add)
{
    for (ptrdiff_t k = 0; k < vectors; k++) {
        vec sum[4] = {add ? load(dbias + k * LANES) : splat(0.0f)};
        sum[1] = sum[2] = sum[3] = splat(0.0f);
        for (ptrdiff_t h = 0; h < rows; h++)
            add_vectors(sum, dy + k * o->dy.plane + h * o->dy.row, o->dy.width);
        store(dbias + k * LANES, (sum[0] + sum[1]) + (sum[2] + sum[3]));
    }
}

/* Blocks of rows, so that a few planes of dy stay in the nearest cache while all of x meets them. */
void NAMED(channel_conv_backward_weight)(const op *o, const run *r, ptrdiff_t slot)
{
    const gradient_order g = order_of(o);
    const ptrdiff_t fitting = GRADIENT_BLOCK / (MOST_VECTORS * o->dy.width);
    const ptrdiff_t block = fitting > 1 ? fitting : 1;
    const float *x = at_map(r, slot, &o->x), *dy = at_map(r, slot, &o->dy);
    float *dweight = gradients_at(o, r, slot);
    float *dbias = dweight + g.planes * g.starts * g.run * g.vectors * LANES;
    const int first = slot == first_slot(r, item_of(r, slot));
    channel_products s = gradient_products(o, &g, o->dy.plane, o->dy.row);
    s.width = o->dy.width;
    for (ptrdiff_t h = 0; h < o->dy.height; h += block) {
        const int add = h > 0 || !first;
        s.height = smaller(block, o->dy.height - h);
        add_bias_gradients(o, dy + h * s.dy_row, s.height, g.vectors, dbias, add);
        add_weight_gradients(o, &g, &s, dy + h * s.dy_row, x + h * s.x_row, dweight, add);
    }
}

/* Gradients (c, t) of LANES outputs, from vectors of outputs: as users see them. `from[i]` is the
 * vector of weight `first + i`. */
INLINE void store_gradients(
    const op *o, vec from[LANES], ptrdiff_t outputs, float *to, ptrdiff_t count)
{
    const ptrdiff_t row = o->inputs * taps_of(o);
    transpose(from);
    if (outputs == LANES && count == LANES) {
        UNROLL
        for (int i = 0; i < LANES; i++)
            store_loose(to + i * row, from[i]);
        return;
    }
    for (ptrdiff_t i = 0; i < outputs; i++)
        store_some(to + i * row, from[i], count);
}

void NAMED(store_plane_gradients)(
    const op *o, ptrdiff_t plane, ptrdiff_t k, ptrdiff_t vectors, const float *sums, const float *dbias)
{
    const ptrdiff_t taps = taps_of(o), row = o->inputs * taps;
    const ptrdiff_t inputs = smaller(LANES, o->inputs - plane * LANES);
    for (ptrdiff_t v = 0; v < vectors; v++) {
        const ptrdiff_t outputs = smaller(LANES, o->outputs - (k + v) * LANES);
        float *dweight = o->dweight + (k + v) * LANES * row + plane * LANES * taps;
        weight_number w = {0, 0};
        for (ptrdiff_t first = 0; first < inputs * taps; first += LANES) {
            const ptrdiff_t count = smaller(LANES, inputs * taps - first);
            vec block[LANES];
            UNROLL
            for (int i = 0; i < LANES; i++) {
                block[i] = i < count ? load(sums + ((w.t * LANES + w.c) * vectors + v) * LANES)
                                     : splat(0.0f);
                next_weight(&w, taps);
            }
            store_gradients(o, block, outputs, dweight + first, count);
        }
        if (plane == 0 && o->dbias)
            store_some(o->dbias + (k + v) * LANES, load(dbias + v * LANES), outputs);
    }
}

/* Where there are more weights than pixels they are better off in one place: the gradients of one
 * plane of inputs and a few vectors of outputs, for all samples one after the other. */
void NAMED(channel_conv_backward_weight_of_all)(const op *o, const run *r, ptrdiff_t item)
{
    const gradient_order g = order_of(o);
    const ptrdiff_t taps = taps_of(o);
    const ptrdiff_t plane = item % g.planes, k = item / g.planes * BATCH_VECTORS;
    const ptrdiff_t vectors = smaller(BATCH_VECTORS, g.vectors - k);
    const ptrdiff_t inputs = smaller(LANES, o->inputs - plane * LANES);
    float *sums = r->scratch, *dbias = sums + taps * LANES * vectors * LANES;
    channel_products s = gradient_products(o, &g, o->dy.plane, o->dy.row);
    s.out_step = vectors * LANES;
    s.width = o->dy.width;
    s.height = o->dy.height;
    for (ptrdiff_t slot = 0; slot < r->slots; slot++) {
        const float *x = at_map(r, slot, &o->x) + plane * o->x.plane;
        const float *dy = at_map(r, slot, &o->dy) + k * o->dy.plane;
        NAMED(channel_gradient_block)(
            &s, dy, x, o->weight_taps, taps, inputs, vectors, sums, slot > 0);
        if (plane == 0)
            add_bias_gradients(o, dy, s.height, vectors, dbias, slot > 0);
    }
    NAMED(store_plane_gradients)(o, plane, k, vectors, sums, dbias);
}

/* --- 5. the sum over all items, in their order, as users see it ------------------------------------ */

/* An item is some of the weights (c, t) of a vector of outputs; the first of them has its dbias. */
void NAMED(channel_sum_partials)(const op *o, const run *r, ptrdiff_t item)
{
    const gradient_order g = order_of(o);
    const ptrdiff_t taps = taps_of(o), row = o->inputs * taps, most = SUM_VECTORS * LANES;
    const ptrdiff_t parts = (row + most - 1) / most, k = item / parts, begin = item % parts * most;
    const ptrdiff_t outputs = smaller(LANES, o->outputs - k * LANES);
    const float *partial = r->partials + o->partial;
    if (begin == 0 && o->dbias) {
        const float *dbias = partial + (g.planes * g.starts * g.run * g.vectors + k) * LANES;
        store_some(o->dbias + k * LANES, sum_of_items(r, dbias), outputs);
    }
    weight_number w = weight_at(begin, taps);
    for (ptrdiff_t first = begin; first < smaller(begin + most, row); first += LANES) {
        const ptrdiff_t count = smaller(LANES, row - first);
        vec block[LANES] = {{0}};
        for (ptrdiff_t i = 0; i < count; i++, next_weight(&w, taps))
            block[i] = sum_of_items(
                r, partial + (gradient_place(o, &g, w) * g.vectors + k) * LANES);
        store_gradients(o, block, outputs, o->dweight + k * LANES * row + first, count);
    }
}
