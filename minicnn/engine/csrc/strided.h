/* Winograd's method at stride 2: four outputs of a 3x3 convolution from 25 products, not from 36.
 *
 * Along one axis, two neighbouring outputs see five values of x:
 *
 *     y0 = x0 w0 + x1 w1 + x2 w2  =  [(x0 - x2) w0 + x1 w1] + [x2 (w0 + w2)]
 *     y1 = x2 w0 + x3 w1 + x4 w2  =  [(x4 - x2) w2 + x3 w1] + [x2 (w0 + w2)]
 *
 * That is five products in three sums, the middle one of which both outputs share. (The even values of
 * x meet two weights at stride 1, which is Winograd's F(2, 2); the odd ones meet a single weight.)
 * Nothing is multiplied but x and the weight, so this rounds no worse than direct sums.
 * In two dimensions 5 * 5 products make 3 * 3 sums, which add up over channels before they are
 * turned into 2 * 2 outputs.
 *
 * The gradients are the same sums read backwards, as in winograd.h: along one axis dy becomes its
 * values at the three sums, (dy0, dy0 + dy1, dy1). Each meets the weights of its products to make dx,
 * or its values of x to make dweight.
 *
 * Source: Winograd, "Arithmetic complexity of computations", 1980; the split by stride: Huang et al.,
 * "DWM: a decomposable Winograd method for convolution acceleration", 2020.
 */
#ifndef MINICNN_STRIDED_H
#define MINICNN_STRIDED_H

#include "winograd.h"

enum {
    PAIR = 2,                       /* outputs of a tile, along one axis */
    REACH = 5,                      /* values of x that they see; as many products */
    PRODUCTS = REACH * REACH,
    AXIS_SUMS = 3,
    PAIR_SUMS = AXIS_SUMS * AXIS_SUMS,
};

/* The products of sum s are first_product[s] … first_product[s + 1] - 1. */
static const int first_product[PAIR_SUMS + 1] = {0, 4, 6, 10, 12, 13, 15, 19, 21, 25};

/* Which of them the products number i and j along the axes make. */
static const int product_at[REACH][REACH] = {
    {0, 1, 4, 6, 7}, {2, 3, 5, 8, 9}, {10, 11, 12, 13, 14}, {15, 16, 19, 21, 22}, {17, 18, 20, 23, 24},
};

/* Which sum that is part of. */
static const int sum_at[REACH][REACH] = {
    {0, 0, 1, 2, 2}, {0, 0, 1, 2, 2}, {3, 3, 4, 5, 5}, {6, 6, 7, 8, 8}, {6, 6, 7, 8, 8},
};

/* --- 1. along one axis ----------------------------------------------------------------------------- */

INLINE void values_to_products(const vec x[REACH], vec v[REACH])
{
    v[0] = x[0] - x[2];
    v[1] = x[1];
    v[2] = x[2];
    v[3] = x[4] - x[2];
    v[4] = x[3];
}

INLINE void weight_to_products(const vec g[3], vec u[REACH])
{
    u[0] = g[0];
    u[1] = g[1];
    u[2] = g[0] + g[2];
    u[3] = g[2];
    u[4] = g[1];
}

INLINE void pair_to_sums(const vec dy[PAIR], vec w[AXIS_SUMS])
{
    w[0] = dy[0];
    w[1] = dy[0] + dy[1];
    w[2] = dy[1];
}

/* The transpose of values_to_products. */
INLINE void products_to_values(const vec v[REACH], vec dx[REACH])
{
    dx[0] = v[0];
    dx[1] = v[1];
    dx[2] = v[2] - v[0] - v[3];
    dx[3] = v[4];
    dx[4] = v[3];
}

/* The transpose of weight_to_products. */
INLINE void products_to_weight(const vec du[REACH], vec dg[3])
{
    dg[0] = du[0] + du[2];
    dg[1] = du[1] + du[4];
    dg[2] = du[3] + du[2];
}

/* --- 2. blocks of tiles: strided_tiles.c ------------------------------------------------------------ */

/* Tiles at the end of a row or column may hold one output only, which needs no third sum. Among the
 * values at products and sums a tile has a place of its own, so that those which need a sum lie side
 * by side: corner tiles first, then narrow ones, whole ones, and low ones. */
typedef struct {
    tile_block of;
    ptrdiff_t corner, narrow, low;  /* how many there are */
    ptrdiff_t place[WINOGRAD_MOST_TILES];
} pair_block;

/* The places of those tiles that need sum s. */
INLINE range places_of_sum(const pair_block *b, int s)
{
    const int second_row = s / AXIS_SUMS == 2, second_column = s % AXIS_SUMS == 2;
    const ptrdiff_t whole = b->corner + b->narrow;
    return (range){second_column ? whole : second_row ? b->corner : 0,
                   second_row ? b->of.count - b->low : b->of.count};
}

/* As next_block; `floats` are what a tile takes. */
void NAMED(next_pairs)(
    pair_block *b, const map *y, ptrdiff_t slot, ptrdiff_t first, ptrdiff_t end, ptrdiff_t floats);

/* v[product][place] of one plane of x; products are `step` floats apart. */
void NAMED(windows_to_products)(
    const pair_block *b, const op *o, ptrdiff_t plane, float *v, ptrdiff_t step);

/* w[sum][place] of one plane of dy. Returns the sum of that dy. */
vec NAMED(gradients_to_sums)(
    const pair_block *b, const op *o, ptrdiff_t plane, float *w, ptrdiff_t step);

/* One plane of y from m[sum][place], then ReLU where the operation has one. */
void NAMED(sums_to_outputs)(
    const pair_block *b, const op *o, const float *m, ptrdiff_t step, vec bias, ptrdiff_t plane);

/* One plane of dx, to which every tile of a slot adds, in their order; m[product][place]. */
void NAMED(products_to_inputs)(
    const pair_block *b, const op *o, const float *m, ptrdiff_t step, ptrdiff_t plane);

#endif
