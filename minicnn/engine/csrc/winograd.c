/* Conv2d with kernel 3x3, stride 1 and channels in the lanes, by Winograd's F(4x4, 3x3).
 *
 *     x (C, H, W)   y (K, OH, OW)   weight (K, C, 3, 3), as users see it
 *
 * At the points, where PANEL vectors of outputs are computed at a time:
 *
 *     u  [K / LANES / PANEL][POINTS][C][PANEL][LANES]    the weight; for dx, C and K change places
 *     v  [POINTS][C / LANES][tiles][LANES]               windows of x
 *     m  [POINTS][PANEL][tiles][LANES]                   outputs
 *     w  [POINTS][K / LANES][tiles][LANES]               gradients of outputs
 *
 * A pass takes o->group slots; their tiles are cut into blocks that stay in the cache.
 */
#include "channel_conv.h"
#include "winograd.h"

/* --- 1. the weight at the points: once a step ------------------------------------------------------ */

INLINE ptrdiff_t panel_floats(ptrdiff_t channels)
{
    return POINTS * spread(channels * PANEL * LANES);
}

/* u = G g G^T for one vector of outputs and all inputs. */
static void pack_vector(const taps_order *s, ptrdiff_t vector, float *packed)
{
    const ptrdiff_t panel = vector / PANEL, vectors = vectors_for(s->outputs);
    const ptrdiff_t width = smaller(PANEL, vectors - panel * PANEL) * LANES;
    const ptrdiff_t point = spread(s->inputs * PANEL * LANES);
    float *u = packed + panel * panel_floats(s->inputs) + vector % PANEL * LANES;
    for (ptrdiff_t c = 0; c < s->inputs; c++, u += width) {
        vec g[3][3], half[WINDOW][3];
        load_taps(s, vector * LANES, c, g);
        UNROLL
        for (int j = 0; j < 3; j++) {
            vec column[WINDOW];
            transform_weight(g[j], column);
            UNROLL
            for (int i = 0; i < WINDOW; i++)
                half[i][j] = column[i];
        }
        UNROLL
        for (int i = 0; i < WINDOW; i++) {
            vec full[WINDOW];
            transform_weight(half[i], full);
            UNROLL
            for (int j = 0; j < WINDOW; j++)
                store(u + (i * WINDOW + j) * point, full[j]);
        }
    }
}

/* The bias [K / LANES][LANES], behind u. */
INLINE float *packed_bias(const op *o)
{
    return o->packed + panels_of(o->outputs) * panel_floats(o->inputs);
}

/* An item is a vector of outputs. */
void NAMED(winograd_pack_forward)(const op *o, const run *r, ptrdiff_t item)
{
    (void)r;
    if (packed_already(o, item))
        return;
    const normalisation n = normalisation_of(o, item * LANES);
    const taps_order s = {
        o->weight, o->outputs, o->inputs, o->inputs * 9, 9, 0, o->gamma ? n.scale : NULL};
    pack_vector(&s, item, o->packed);
    store(packed_bias(o) + item * LANES, load(n.shift));
}

/* An item is a vector of inputs. */
void NAMED(winograd_pack_backward)(const op *o, const run *r, ptrdiff_t item)
{
    const taps_order s = {o->weight, o->inputs, o->outputs, 9, o->inputs * 9, 1, NULL};
    (void)r;
    pack_vector(&s, item, o->packed_back);
}

/* --- 2. forward ------------------------------------------------------------------------------------- */

/* y from x, or dx from dy. */
typedef struct {
    const map *x, *y, *gate;        /* gate: NULL for none */
    ptrdiff_t pad_h, pad_w;
    ptrdiff_t inputs, outputs;
    const float *u, *bias;          /* bias: whole vectors; NULL for none */
    int relu;
} convolution;

/* `panels` of the outputs of a block of tiles. */
static void convolve_block(
    const convolution *s, const tile_block *b, range panels, float *scratch)
{
    const ptrdiff_t planes = vectors_for(s->inputs);
    const ptrdiff_t vectors = smaller(vectors_for(s->outputs), panels.end * PANEL);
    const ptrdiff_t plane = b->count * LANES, u_point = spread(s->inputs * PANEL * LANES);
    const ptrdiff_t v_point = spread(planes * plane), m_point = spread(PANEL * plane);
    float *v = scratch, *m = v + POINTS * v_point;
    for (ptrdiff_t p = 0; p < planes; p++)
        NAMED(windows_to_points)(b, s->x, s->pad_h, s->pad_w, p, v + p * plane, v_point);
    for (ptrdiff_t k = panels.first * PANEL; k < vectors; k += PANEL) {
        const int width = (int)smaller(PANEL, vectors - k);
        const float *u = s->u + k / PANEL * panel_floats(s->inputs);
        for (int i = 0; i < POINTS; i++)
            NAMED(point_sums)(v + i * v_point, plane, s->inputs, 1, u + i * u_point, m + i * m_point,
                              plane, b->count, width);
        for (int i = 0; i < width; i++) {
            const vec bias = s->bias ? load(s->bias + (k + i) * LANES) : splat(0.0f);
            NAMED(points_to_outputs)(
                b, m + i * plane, m_point, bias, s->relu, s->gate, s->y, k + i);
        }
    }
}

/* What a block of tiles may take where weights pass by for it. Processors without AVX-512 have smaller
 * second-level caches. */
enum { FLOATS_OF_SUMS = LANES == 16 ? WINOGRAD_FLOATS : WINOGRAD_FLOATS / 4 };

/* Which block a tile belongs to follows from sizes alone; engine/winograd.py knows them too, and takes
 * those of gradients, which are not smaller: each block ends with the way back to the weight. */
static int tiles_of_block(ptrdiff_t planes, ptrdiff_t floats)
{
    const ptrdiff_t fitting = floats / (POINTS * LANES * (planes + WINOGRAD_PANEL));
    const ptrdiff_t most = smaller(fitting, WINOGRAD_MOST_TILES);
    return (int)(most < WINOGRAD_FEWEST_TILES ? WINOGRAD_FEWEST_TILES : most);
}

/* Tiles of the maps like y of a call that begins with `slot`. */
static ptrdiff_t tiles_of_call(const op *o, const run *r, const map *y, ptrdiff_t slot)
{
    return (group_end(o, r, slot) - slot) * NAMED(tiles_of_map)(y, OUTPUTS);
}

/* Some of the tiles of the maps from `slot` on. */
static void convolve_tiles(
    const convolution *s, const run *r, ptrdiff_t slot, range tiles, range panels)
{
    const int most = tiles_of_block(vectors_for(s->inputs), FLOATS_OF_SUMS);
    tile_block b = {.run = r};
    for (ptrdiff_t first = tiles.first; first < tiles.end; first += b.count) {
        NAMED(next_block)(&b, s->y, OUTPUTS, slot, first, tiles.end, most);
        convolve_block(s, &b, panels, r->scratch);
    }
}

void NAMED(winograd_conv_forward)(const op *o, const run *r, ptrdiff_t item)
{
    const convolution s = {
        .x = &o->x, .y = &o->y, .pad_h = o->pad_h, .pad_w = o->pad_w,
        .inputs = o->inputs, .outputs = o->outputs, .u = o->packed, .bias = packed_bias(o),
        .relu = o->relu,
    };
    const ptrdiff_t slot = item / o->parts;
    const tiles_part part = part_of(o, item, tiles_of_call(o, r, s.y, slot));
    convolve_tiles(&s, r, slot, part.tiles, part.panels);
}

/* --- 3. backward: dx -------------------------------------------------------------------------------- */

void NAMED(winograd_conv_backward_input)(const op *o, const run *r, ptrdiff_t slot)
{
    const convolution s = {
        .x = &o->dy, .y = &o->dx, .gate = o->gate ? &o->x : NULL,
        .pad_h = 2 - o->pad_h, .pad_w = 2 - o->pad_w,
        .inputs = o->outputs, .outputs = o->inputs, .u = o->packed_back,
    };
    convolve_tiles(&s, r, slot, (range){0, tiles_of_call(o, r, s.y, slot)},
                   (range){0, panels_of(s.outputs)});
}

/* --- 4. backward: dweight and dbias, summed over the slots of an item ------------------------------- */

/* dg = G^T du G for one input and one vector of outputs. */
INLINE void points_to_weight(const float *du, ptrdiff_t point, float *dweight, int add)
{
    vec half[3][WINDOW];
    UNROLL
    for (int j = 0; j < WINDOW; j++) {
        vec sums[WINDOW], column[3];
        UNROLL
        for (int i = 0; i < WINDOW; i++)
            sums[i] = load(du + (i * WINDOW + j) * point);
        transform_weight_gradient(sums, column);
        UNROLL
        for (int i = 0; i < 3; i++)
            half[i][j] = column[i];
    }
    UNROLL
    for (int i = 0; i < 3; i++) {
        vec full[3];
        transform_weight_gradient(half[i], full);
        UNROLL
        for (int j = 0; j < 3; j++) {
            float *to = dweight + (i * 3 + j) * LANES;
            store(to, add ? load(to) + full[j] : full[j]);
        }
    }
}

/* Private gradients are [K / LANES][C][3][3][LANES], then dbias [K / LANES][LANES]: transformed
 * back after each block, they take a quarter of the memory that du would. */
static void add_block_gradients(
    const op *o, const tile_block *b, float *scratch, float *dweight, int add)
{
    const ptrdiff_t planes = vectors_for(o->inputs), vectors = vectors_for(o->outputs);
    const ptrdiff_t plane = b->count * LANES, du_point = spread(LANES * PANEL * LANES);
    const ptrdiff_t w_point = spread(vectors * plane), v_point = spread(plane);
    float *w = scratch, *v = w + POINTS * w_point, *du = v + POINTS * v_point;
    float *dbias = dweight + vectors * o->inputs * 9 * LANES;
    for (ptrdiff_t k = 0; k < vectors; k++) {
        const vec before = add ? load(dbias + k * LANES) : splat(0.0f);
        const vec sum = NAMED(gradients_to_points)(b, &o->dy, k, w + k * plane, w_point);
        store(dbias + k * LANES, before + sum);
    }
    for (ptrdiff_t p = 0; p < planes; p++) {
        const ptrdiff_t channels = smaller(LANES, o->inputs - p * LANES);
        NAMED(windows_to_points)(b, &o->x, o->pad_h, o->pad_w, p, v, v_point);
        for (ptrdiff_t k = 0; k < vectors; k += PANEL) {
            const int width = (int)smaller(PANEL, vectors - k);
            for (int i = 0; i < POINTS; i++)
                NAMED(point_gradients)(v + i * v_point, w + i * w_point + k * plane, plane,
                                       b->count, du + i * du_point, width);
            for (ptrdiff_t at = 0; at < channels * width; at++) {
                const ptrdiff_t c = at / width, i = at % width;
                const ptrdiff_t place = (k + i) * o->inputs + p * LANES + c;
                points_to_weight(du + (c * PANEL + i) * LANES, du_point,
                                 dweight + place * 9 * LANES, add);
            }
        }
    }
}

void NAMED(winograd_conv_backward_weight)(const op *o, const run *r, ptrdiff_t slot)
{
    const ptrdiff_t all = tiles_of_call(o, r, &o->dy, slot), item = item_of(r, slot);
    float *dweight = r->partials + item * r->partial_stride + o->partial;
    const int most = tiles_of_block(vectors_for(o->outputs), WINOGRAD_FLOATS);
    tile_block b = {.run = r};
    for (ptrdiff_t first = 0; first < all; first += b.count) {
        NAMED(next_block)(&b, &o->dy, OUTPUTS, slot, first, all, most);
        add_block_gradients(
            o, &b, r->scratch, dweight, first > 0 || slot != first_slot(r, item));
    }
}

/* --- 5. the sum over all items, in their order, as users see it ------------------------------------- */

/* An item of this pass is a vector of outputs. */
void NAMED(winograd_sum_partials)(const op *o, const run *r, ptrdiff_t item)
{
    const ptrdiff_t row = o->inputs * 9, first = item * LANES;
    const ptrdiff_t outputs = smaller(LANES, o->outputs - first);
    const float *partial = r->partials + o->partial;
    const float *dbias = partial + vectors_for(o->outputs) * row * LANES;
    for (ptrdiff_t at = 0; at < row; at += LANES) {
        const ptrdiff_t count = smaller(LANES, row - at);
        vec rows[LANES];
        for (ptrdiff_t i = 0; i < LANES; i++) {
            const ptrdiff_t place = item * row + at + smaller(i, count - 1);
            rows[i] = sum_of_items(r, partial + place * LANES);
        }
        transpose(rows);
        for (ptrdiff_t k = 0; k < outputs; k++)
            store_some(o->dweight + (first + k) * row + at, rows[k], count);
    }
    if (o->dbias)
        store_some(o->dbias + first, sum_of_items(r, dbias + first), outputs);
}
