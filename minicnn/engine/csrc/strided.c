/* Conv2d with kernel 3x3, stride 2 and channels in the lanes, from 25 products for four outputs.
 *
 *     x (C, H, W)   y (K, OH, OW)   weight (K, C, 3, 3), as users see it
 *
 * At the products and sums (strided.h), where PANEL vectors of outputs are computed at a time:
 *
 *     u  [K / LANES / PANEL][PRODUCTS][C][PANEL][LANES]    the weight; for dx, C and K change places
 *     v  [PRODUCTS][C / LANES][tiles][LANES]               windows of x
 *     m  [PAIR_SUMS][PANEL][tiles][LANES]                  outputs; for dx [PRODUCTS]…, its values
 *     w  [PAIR_SUMS][K / LANES][tiles][LANES]              gradients of outputs
 *
 * Tiles are cut into blocks that stay in the cache.
 */
#include "channel_conv.h"
#include "strided.h"

/* --- 1. the weight at the products: once a step ---------------------------------------------------- */

/* The products of a sum lie one after the other; sums are spread over the sets of the cache. */
INLINE ptrdiff_t floats_of_panel(ptrdiff_t channels)
{
    return PRODUCTS * channels * PANEL * LANES + PAIR_SUMS * 16;
}

/* Where the weights of a product begin, which belongs to sum s. */
INLINE ptrdiff_t weights_at(int product, int s, ptrdiff_t channels, int vectors)
{
    return product * channels * vectors * LANES + s * 16;
}

/* u of one input and one vector of outputs, in a panel of `width`. */
INLINE void taps_to_products(const vec g[3][3], ptrdiff_t inputs, int width, float *u)
{
    vec half[REACH][3];
    UNROLL
    for (int j = 0; j < 3; j++) {
        vec column[REACH];
        weight_to_products(g[j], column);
        UNROLL
        for (int i = 0; i < REACH; i++)
            half[i][j] = column[i];
    }
    UNROLL
    for (int i = 0; i < REACH; i++) {
        vec full[REACH];
        weight_to_products(half[i], full);
        UNROLL
        for (int j = 0; j < REACH; j++)
            store(u + weights_at(product_at[i][j], sum_at[i][j], inputs, width), full[j]);
    }
}

INLINE int vectors_of_panel(ptrdiff_t outputs, ptrdiff_t panel)
{
    return (int)smaller(PANEL, vectors_for(outputs) - panel * PANEL);
}

/* The vectors of a panel share cache lines, so they are written together. n[k] scales one; NULL: 1. */
static void pack_products(taps_order s, const normalisation *n, ptrdiff_t panel, float *packed)
{
    const int width = vectors_of_panel(s.outputs, panel);
    float *u = packed + panel * floats_of_panel(s.inputs);
    for (ptrdiff_t c = 0; c < s.inputs; c++) {
        for (int k = 0; k < width; k++, u += LANES) {
            vec g[3][3];
            s.scale = n ? n[k].scale : NULL;
            load_taps(&s, (panel * PANEL + k) * LANES, c, g);
            taps_to_products(g, s.inputs, width, u);
        }
    }
}

/* The bias [K / LANES][LANES], behind u. */
INLINE float *bias_behind(const op *o)
{
    return o->packed + panels_of(o->outputs) * floats_of_panel(o->inputs);
}

/* An item is a panel of outputs. */
void NAMED(strided_pack_forward)(const op *o, const run *r, ptrdiff_t panel)
{
    const int width = vectors_of_panel(o->outputs, panel);
    const taps_order s = {o->weight, o->outputs, o->inputs, o->inputs * 9, 9, 0, NULL};
    normalisation n[PANEL];
    int same = 1;
    (void)r;
    for (int k = 0; k < width; k++)
        same &= packed_already(o, panel * PANEL + k);
    if (same)
        return;
    for (int k = 0; k < width; k++) {
        const ptrdiff_t first = (panel * PANEL + k) * LANES;
        n[k] = normalisation_of(o, first);
        store(bias_behind(o) + first, load(n[k].shift));
    }
    pack_products(s, o->gamma ? n : NULL, panel, o->packed);
}

/* An item is a panel of inputs. */
void NAMED(strided_pack_backward)(const op *o, const run *r, ptrdiff_t panel)
{
    const taps_order s = {o->weight, o->inputs, o->outputs, 9, o->inputs * 9, 0, NULL};
    (void)r;
    pack_products(s, NULL, panel, o->packed_back);
}

/* --- 2. forward ------------------------------------------------------------------------------------ */

/* Some panels of the outputs of a block of tiles. */
static void convolve_pairs(const op *o, const pair_block *b, range panels, float *scratch)
{
    const ptrdiff_t planes = vectors_for(o->inputs), vectors = vectors_for(o->outputs);
    const ptrdiff_t plane = spread(b->of.count * LANES);
    const ptrdiff_t v_step = planes * plane, m_step = PANEL * plane;
    float *v = scratch, *m = v + PRODUCTS * v_step;
    for (ptrdiff_t p = 0; p < planes; p++)
        NAMED(windows_to_products)(b, o, p, v + p * plane, v_step);
    for (ptrdiff_t panel = panels.first; panel < panels.end; panel++) {
        const ptrdiff_t k = panel * PANEL;
        const int width = (int)smaller(PANEL, vectors - k);
        const float *u = o->packed + panel * floats_of_panel(o->inputs);
        for (int s = 0; s < PAIR_SUMS; s++) {
            const range places = places_of_sum(b, s);
            const ptrdiff_t at = places.first * LANES, first = first_product[s];
            NAMED(point_sums)(
                v + first * v_step + at, plane, o->inputs, first_product[s + 1] - first,
                u + weights_at(first, s, o->inputs, width), m + s * m_step + at, plane,
                places.end - places.first, width);
        }
        for (int i = 0; i < width; i++)
            NAMED(sums_to_outputs)(
                b, o, m + i * plane, m_step, load(bias_behind(o) + (k + i) * LANES), k + i);
    }
}

void NAMED(strided_conv_forward)(const op *o, const run *r, ptrdiff_t item)
{
    const ptrdiff_t floats = (PRODUCTS * vectors_for(o->inputs) + PAIR_SUMS * PANEL) * LANES;
    const tiles_part part = part_of(o, item, NAMED(tiles_of_map)(&o->y, PAIR));
    pair_block b = {.of.run = r};
    for (ptrdiff_t first = part.tiles.first; first < part.tiles.end; first += b.of.count) {
        NAMED(next_pairs)(&b, &o->y, item / o->parts, first, part.tiles.end, floats);
        convolve_pairs(o, &b, part.panels, r->scratch);
    }
}

/* --- 3. backward: dx ------------------------------------------------------------------------------- */

/* What no window reaches has no gradient. */
static void clear_unreached(const op *o, const run *r, ptrdiff_t slot)
{
    const map *dx = &o->dx;
    const ptrdiff_t rows = smaller(2 * o->dy.height + 1 - o->pad_h, dx->height);
    const ptrdiff_t columns = smaller(2 * o->dy.width + 1 - o->pad_w, dx->width);
    for (ptrdiff_t plane = 0; plane < vectors_for(o->inputs); plane++) {
        for (ptrdiff_t h = 0; h < dx->height; h++) {
            float *row = at_map(r, slot, dx) + plane * dx->plane + h * dx->row;
            for (ptrdiff_t w = h < rows ? columns : 0; w < dx->width; w++)
                store(row + w * LANES, splat(0.0f));
        }
    }
}

static void convolve_pairs_back(const op *o, const pair_block *b, float *scratch)
{
    const ptrdiff_t planes = vectors_for(o->outputs), vectors = vectors_for(o->inputs);
    const ptrdiff_t plane = spread(b->of.count * LANES);
    const ptrdiff_t w_step = planes * plane, m_step = PANEL * plane;
    float *w = scratch, *m = w + PAIR_SUMS * w_step;
    for (ptrdiff_t p = 0; p < planes; p++)
        NAMED(gradients_to_sums)(b, o, p, w + p * plane, w_step);
    for (ptrdiff_t c = 0; c < vectors; c += PANEL) {
        const int width = (int)smaller(PANEL, vectors - c);
        const float *u = o->packed_back + c / PANEL * floats_of_panel(o->outputs);
        for (int s = 0; s < PAIR_SUMS; s++) {
            const range places = places_of_sum(b, s);
            const ptrdiff_t at = places.first * LANES;
            for (int i = first_product[s]; i < first_product[s + 1]; i++)
                NAMED(point_sums)(
                    w + s * w_step + at, plane, o->outputs, 1, u + weights_at(i, s, o->outputs, width),
                    m + i * m_step + at, plane, places.end - places.first, width);
        }
        for (int i = 0; i < width; i++)
            NAMED(products_to_inputs)(b, o, m + i * plane, m_step, c + i);
    }
}

void NAMED(strided_conv_backward_input)(const op *o, const run *r, ptrdiff_t slot)
{
    const ptrdiff_t tiles = NAMED(tiles_of_map)(&o->dy, PAIR);
    const ptrdiff_t floats = (PAIR_SUMS * vectors_for(o->outputs) + PRODUCTS * PANEL) * LANES;
    pair_block b = {.of.run = r};
    clear_unreached(o, r, slot);
    for (ptrdiff_t first = 0; first < tiles; first += b.of.count) {
        NAMED(next_pairs)(&b, &o->dy, slot, first, tiles, floats);
        convolve_pairs_back(o, &b, r->scratch);
    }
}

/* --- 4. backward: dweight and dbias ---------------------------------------------------------------- */

/* One input's weights to one vector of outputs, `step` floats apart, from their products. */
INLINE void products_to_taps(
    const float *du, ptrdiff_t du_step, float *dweight, ptrdiff_t step, int add)
{
    vec half[3][REACH];
    UNROLL
    for (int j = 0; j < REACH; j++) {
        vec sums[REACH], column[3];
        UNROLL
        for (int i = 0; i < REACH; i++)
            sums[i] = load(du + product_at[i][j] * du_step);
        products_to_weight(sums, column);
        UNROLL
        for (int i = 0; i < 3; i++)
            half[i][j] = column[i];
    }
    UNROLL
    for (int i = 0; i < 3; i++) {
        vec full[3];
        products_to_weight(half[i], full);
        UNROLL
        for (int j = 0; j < 3; j++) {
            float *to = dweight + (i * 3 + j) * step;
            store(to, add ? load(to) + full[j] : full[j]);
        }
    }
}

/* The gradients that are made of one plane of x and `vectors` planes of dy: where they go. That of
 * input c, output vector k and tap t is at c * input + k * output + t * tap. */
typedef struct {
    float *dweight;
    ptrdiff_t input, output, tap;
} taps_place;

/* dweight (+)= what a block of tiles makes of one plane of x, at the products in v, and of dy. */
static void add_plane_gradients(
    const op *o, const pair_block *b, ptrdiff_t plane, ptrdiff_t vectors, const float *w, float *v,
    const taps_place *to, int add)
{
    const ptrdiff_t step = spread(b->of.count * LANES), w_step = vectors * step;
    const ptrdiff_t channels = smaller(LANES, o->inputs - plane * LANES);
    const ptrdiff_t du_step = spread(LANES * PANEL * LANES);
    float *du = v + PRODUCTS * step;
    NAMED(windows_to_products)(b, o, plane, v, step);
    for (ptrdiff_t k = 0; k < vectors; k += PANEL) {
        const int width = (int)smaller(PANEL, vectors - k);
        for (int s = 0; s < PAIR_SUMS; s++) {
            const range places = places_of_sum(b, s);
            const ptrdiff_t at = places.first * LANES;
            for (int i = first_product[s]; i < first_product[s + 1]; i++)
                NAMED(point_gradients)(
                    v + i * step + at, w + s * w_step + k * step + at, step,
                    places.end - places.first, du + i * du_step, width);
        }
        for (ptrdiff_t at = 0; at < channels * width; at++) {
            const ptrdiff_t c = at / width, i = at % width;
            products_to_taps(du + (c * PANEL + i) * LANES, du_step,
                             to->dweight + c * to->input + (k + i) * to->output, to->tap, add);
        }
    }
}

/* w of some planes of dy, whose sums are added to dbias. */
static void gradients_at_sums(
    const op *o, const pair_block *b, ptrdiff_t first, ptrdiff_t vectors, float *w, float *dbias,
    int add)
{
    const ptrdiff_t step = spread(b->of.count * LANES);
    for (ptrdiff_t k = 0; k < vectors; k++) {
        const vec sum = NAMED(gradients_to_sums)(b, o, first + k, w + k * step, vectors * step);
        store(dbias + k * LANES, add ? load(dbias + k * LANES) + sum : sum);
    }
}

INLINE ptrdiff_t gradient_floats(ptrdiff_t vectors) { return (PAIR_SUMS * vectors + PRODUCTS) * LANES; }

/* Private gradients are those of winograd.c. */
void NAMED(strided_conv_backward_weight)(const op *o, const run *r, ptrdiff_t slot)
{
    const ptrdiff_t tiles = NAMED(tiles_of_map)(&o->dy, PAIR), vectors = vectors_for(o->outputs);
    float *dweight = gradients_at(o, r, slot), *w = r->scratch;
    float *dbias = dweight + vectors * o->inputs * 9 * LANES;
    pair_block b = {.of.run = r};
    for (ptrdiff_t first = 0; first < tiles; first += b.of.count) {
        const int add = first > 0 || slot != first_slot(r, item_of(r, slot));
        NAMED(next_pairs)(&b, &o->dy, slot, first, tiles, gradient_floats(vectors));
        float *v = w + PAIR_SUMS * vectors * spread(b.of.count * LANES);
        gradients_at_sums(o, &b, 0, vectors, w, dbias, add);
        for (ptrdiff_t p = 0; p < vectors_for(o->inputs); p++) {
            const taps_place to = {
                dweight + p * LANES * 9 * LANES, 9 * LANES, o->inputs * 9 * LANES, LANES};
            add_plane_gradients(o, &b, p, vectors, w, v, &to, add);
        }
    }
}

/* As channel_conv_backward_weight_of_all, for a block of inputs and one of outputs. */
void NAMED(strided_conv_backward_weight_of_all)(const op *o, const run *r, ptrdiff_t item)
{
    enum { BLOCK = STRIDED_CHANNELS / LANES, TAPS = 9 };
    const ptrdiff_t blocks = (vectors_for(o->inputs) + BLOCK - 1) / BLOCK;
    const ptrdiff_t plane = item % blocks * BLOCK, k = item / blocks * BLOCK;
    const ptrdiff_t planes = smaller(BLOCK, vectors_for(o->inputs) - plane);
    const ptrdiff_t vectors = smaller(BLOCK, vectors_for(o->outputs) - k);
    const ptrdiff_t tiles = NAMED(tiles_of_map)(&o->dy, PAIR) * r->slots;
    const ptrdiff_t floats = TAPS * LANES * vectors * LANES;        /* of a plane's gradients */
    float *sums = r->scratch, *dbias = sums + planes * floats, *w = dbias + vectors * LANES;
    pair_block b = {.of.run = r};
    for (ptrdiff_t first = 0; first < tiles; first += b.of.count) {
        NAMED(next_pairs)(&b, &o->dy, 0, first, tiles, gradient_floats(vectors));
        float *v = w + PAIR_SUMS * vectors * spread(b.of.count * LANES);
        gradients_at_sums(o, &b, k, vectors, w, dbias, first > 0);
        for (ptrdiff_t p = 0; p < planes; p++) {
            const taps_place to = {
                sums + p * floats, vectors * LANES, LANES, LANES * vectors * LANES};
            add_plane_gradients(o, &b, plane + p, vectors, w, v, &to, first > 0);
        }
    }
    for (ptrdiff_t p = 0; p < planes; p++)
        NAMED(store_plane_gradients)(o, plane + p, k, vectors, sums + p * floats, dbias);
}
