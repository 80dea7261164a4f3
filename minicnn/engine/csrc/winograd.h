/* Winograd's F(4x4, 3x3): sixteen outputs of a 3x3 convolution from 36 products, not from 144.
 *
 *     y = A^T [(G g G^T) * (B^T d B)] A       g 3x3 of the weight, d 6x6 of x, y 4x4
 *
 * Polynomials are multiplied by multiplying their values at six points: 0, a, -a, b, -b, infinity.
 * The gradients are the same sums read backwards: dx is a convolution of dy with the weight turned
 * round, and dg = G^T [(B^T d B) * (A dy A^T)] G.
 *
 * Source: Winograd, "Arithmetic complexity of computations", 1980; Lavin and Gray, "Fast
 * algorithms for convolutional neural networks", 2016.
 */
#ifndef MINICNN_WINOGRAD_H
#define MINICNN_WINOGRAD_H

#include "kernels.h"

enum {
    OUTPUTS = 4,                    /* of a tile, along one axis */
    WINDOW = 6,                     /* of x, along one axis; as many points */
    POINTS = WINDOW * WINDOW,
    PANEL = WINOGRAD_PANEL,
};

/* --- 1. transforms along one axis ----------------------------------------------------------------- */

/* All coefficients of A and B are exact in float32, and none is large: a = 1, b = 2, which most
 * write, would lose twice as much to rounding (docs/numerics.md). */
#define A1 (5.0f / 8)
#define A2 (A1 * A1)
#define B1 (3.0f / 2)
#define B2 (B1 * B1)
#define AT_A (1 / (2 * A2 * (A2 - B2)))        /* 1 / product of the distances to other points */
#define AT_B (1 / (2 * B2 * (B2 - A2)))
#define AT_0 (1 / (A2 * B2))

/* v = B^T d */
INLINE void transform_input(const vec d[WINDOW], vec v[WINDOW])
{
    const vec even_a = d[4] - splat(B2) * d[2], odd_a = d[3] - splat(B2) * d[1];
    const vec even_b = d[4] - splat(A2) * d[2], odd_b = d[3] - splat(A2) * d[1];
    v[0] = splat(A2 * B2) * d[0] + (d[4] - splat(A2 + B2) * d[2]);
    v[1] = even_a + splat(A1) * odd_a;
    v[2] = even_a - splat(A1) * odd_a;
    v[3] = even_b + splat(B1) * odd_b;
    v[4] = even_b - splat(B1) * odd_b;
    v[5] = splat(A2 * B2) * d[1] + (d[5] - splat(A2 + B2) * d[3]);
}

/* u = G g */
INLINE void transform_weight(const vec g[3], vec u[WINDOW])
{
    const vec even_a = splat(AT_A) * g[0] + splat(AT_A * A2) * g[2];
    const vec even_b = splat(AT_B) * g[0] + splat(AT_B * B2) * g[2];
    u[0] = splat(AT_0) * g[0];
    u[1] = even_a + splat(AT_A * A1) * g[1];
    u[2] = even_a - splat(AT_A * A1) * g[1];
    u[3] = even_b + splat(AT_B * B1) * g[1];
    u[4] = even_b - splat(AT_B * B1) * g[1];
    u[5] = g[2];
}

/* y = A^T m */
INLINE void transform_output(const vec m[WINDOW], vec y[OUTPUTS])
{
    const vec even_a = m[1] + m[2], odd_a = m[1] - m[2];
    const vec even_b = m[3] + m[4], odd_b = m[3] - m[4];
    y[0] = m[0] + even_a + even_b;
    y[1] = splat(A1) * odd_a + splat(B1) * odd_b;
    y[2] = splat(A2) * even_a + splat(B2) * even_b;
    y[3] = m[5] + splat(A1 * A2) * odd_a + splat(B1 * B2) * odd_b;
}

/* w = A dy */
INLINE void transform_gradient(const vec dy[OUTPUTS], vec w[WINDOW])
{
    const vec even_a = dy[0] + splat(A2) * dy[2], even_b = dy[0] + splat(B2) * dy[2];
    const vec odd_a = splat(A1) * dy[1] + splat(A1 * A2) * dy[3];
    const vec odd_b = splat(B1) * dy[1] + splat(B1 * B2) * dy[3];
    w[0] = dy[0];
    w[1] = even_a + odd_a;
    w[2] = even_a - odd_a;
    w[3] = even_b + odd_b;
    w[4] = even_b - odd_b;
    w[5] = dy[3];
}

/* dg = G^T du */
INLINE void transform_weight_gradient(const vec du[WINDOW], vec dg[3])
{
    const vec even_a = du[1] + du[2], odd_a = du[1] - du[2];
    const vec even_b = du[3] + du[4], odd_b = du[3] - du[4];
    dg[0] = splat(AT_0) * du[0] + splat(AT_A) * even_a + splat(AT_B) * even_b;
    dg[1] = splat(AT_A * A1) * odd_a + splat(AT_B * B1) * odd_b;
    dg[2] = du[5] + splat(AT_A * A2) * even_a + splat(AT_B * B2) * even_b;
}

/* --- 2. the weight, as the transforms want it ------------------------------------------------------ */

/* A weight as one of the passes reads it: that of output l and input c is at
 * l * to_output + c * to_input, its tap t there at t or, turned round, at 8 - t. */
typedef struct {
    const float *data;
    ptrdiff_t outputs, inputs, to_output, to_input;
    int turned;
    const float *scale;             /* of a vector of outputs; NULL: 1 */
} taps_order;

/* g[j][i] = tap (i, j) of LANES outputs; 0 for those beyond the last. */
INLINE void load_taps(const taps_order *s, ptrdiff_t output, ptrdiff_t input, vec g[3][3])
{
    const float *from = s->data + output * s->to_output + input * s->to_input;
    const ptrdiff_t count = smaller(LANES, s->outputs - output);
    const vec scale = s->scale ? load(s->scale) : splat(1.0f);
    UNROLL
    for (int first = 0; first < 9; first += LANES) {
        vec block[LANES];
        if (first == 8)
            block[0] = load_column(from + first, s->to_output, count);
        else
            load_columns(from + first, s->to_output, count, smaller(LANES, 9 - first), block);
        UNROLL
        for (int i = 0; i < LANES; i++) {
            const int t = s->turned ? 8 - (first + i) : first + i;
            if (first + i < 9)
                g[t % 3][t / 3] = block[i] * scale;
        }
    }
}

INLINE ptrdiff_t panels_of(ptrdiff_t outputs) { return (vectors_for(outputs) + PANEL - 1) / PANEL; }

/* What an item of a forward pass does: parts share the tiles and, of each of these shares, `output_parts`
 * the panels. */
typedef struct {
    range tiles, panels;
} tiles_part;

INLINE tiles_part part_of(const op *o, ptrdiff_t item, ptrdiff_t tiles)
{
    const ptrdiff_t across = o->output_parts, panels = panels_of(o->outputs);
    const ptrdiff_t part = item % o->parts / across, parts = o->parts / across, panel = item % across;
    return (tiles_part){{part * tiles / parts, (part + 1) * tiles / parts},
                        {panel * panels / across, (panel + 1) * panels / across}};
}

/* --- 3. blocks of tiles: winograd_tiles.c ---------------------------------------------------------- */

/* Where a tile of outputs is, and how much of it exists. */
typedef struct {
    ptrdiff_t slot, h, w;
    int rows, columns;
} tile;

/* Tiles that are worked on together, so that their values at the points stay in the cache. */
typedef struct {
    const run *run;
    ptrdiff_t count;
    tile tiles[WINOGRAD_MOST_TILES];
} tile_block;

/* Tiles of so many outputs along each axis in a map like y. */
ptrdiff_t NAMED(tiles_of_map)(const map *y, int outputs);

/* The next of the tiles first … end - 1 of the maps like y from `slot` on, at most `most` of them. */
void NAMED(next_block)(
    tile_block *b, const map *y, int outputs, ptrdiff_t slot, ptrdiff_t first, ptrdiff_t end, int most);

/* The plane of map m that tile t belongs to; `before`, if the tile before t is in the same slot. */
INLINE float *plane_of(
    const tile_block *b, const tile *t, const map *m, ptrdiff_t plane, const float *before)
{
    if (t > b->tiles && t[-1].slot == t->slot)
        return (float *)before;
    return at_map(b->run, t->slot, m) + plane * m->plane;
}

/* v[point][tile] = B^T d B of one plane of x; points are `point` floats apart. */
void NAMED(windows_to_points)(
    const tile_block *b, const map *x, ptrdiff_t pad_h, ptrdiff_t pad_w, ptrdiff_t plane, float *v,
    ptrdiff_t point);

/* w[point][tile] = A dy A^T of one plane of dy. Returns the sum of that dy. */
vec NAMED(gradients_to_points)(
    const tile_block *b, const map *dy, ptrdiff_t plane, float *w, ptrdiff_t point);

/* One plane of y = A^T m A + bias, then ReLU if `relu`, or the derivative of the ReLU that made
 * `gate` unless that is NULL. */
void NAMED(points_to_outputs)(
    const tile_block *b, const float *m, ptrdiff_t point, vec bias, int relu, const map *gate,
    const map *y, ptrdiff_t plane);

/* --- 4. products, the same for all points: winograd_products.c ------------------------------------- */

/* m[k][t] = sum over p < points and c < channels of v[p, c / LANES][t][c % LANES] * u[p, c][k] for
 * `vectors` vectors k and tiles t: of a forward pass, or of dx. */
void NAMED(point_sums)(
    const float *v, ptrdiff_t v_plane, ptrdiff_t channels, ptrdiff_t points, const float *u, float *m,
    ptrdiff_t m_plane, ptrdiff_t tiles, int vectors);

/* du[c][k] = sum over tiles t of v[t][c] * w[k][t] for LANES channels c and
 * `vectors` vectors k: one point of dweight. */
void NAMED(point_gradients)(
    const float *v, const float *w, ptrdiff_t w_plane, ptrdiff_t tiles, float *du, int vectors);

#endif
