/* The tiles of Winograd's convolutions: where they are, and their way to the points and back. */
#include "winograd.h"

/* --- 1. blocks ------------------------------------------------------------------------------------- */

INLINE ptrdiff_t tiles_along(ptrdiff_t size, int outputs) { return (size + outputs - 1) / outputs; }

ptrdiff_t NAMED(tiles_of_map)(const map *y, int outputs)
{
    return tiles_along(y->height, outputs) * tiles_along(y->width, outputs);
}

void NAMED(next_block)(
    tile_block *b, const map *y, int outputs, ptrdiff_t slot, ptrdiff_t first, ptrdiff_t end, int most)
{
    const ptrdiff_t across = tiles_along(y->width, outputs), tiles = NAMED(tiles_of_map)(y, outputs);
    b->count = next_part(end - first, most);
    for (ptrdiff_t i = 0; i < b->count; i++) {
        const ptrdiff_t at = (first + i) % tiles;
        tile *t = b->tiles + i;
        t->slot = slot + (first + i) / tiles;
        t->h = at / across * outputs;
        t->w = at % across * outputs;
        t->rows = (int)smaller(outputs, y->height - t->h);
        t->columns = (int)smaller(outputs, y->width - t->w);
    }
}

INLINE int whole(const tile *t) { return t->rows == OUTPUTS && t->columns == OUTPUTS; }

/* --- 2. to the points ------------------------------------------------------------------------------ */

/* Rows of points that are computed together: a and -a, b and -b have much in common, and more
 * would not fit into the registers. */
enum { ROW_GROUPS = 4 };
static const int first_row[ROW_GROUPS + 1] = {0, 1, 3, 5, 6};

/* What `rows` and `columns` leave out of the window counts as 0. */
INLINE void window_to_points(
    const float *x, ptrdiff_t row, int rows, int columns, float *v, ptrdiff_t point)
{
    UNROLL
    for (int group = 0; group < ROW_GROUPS; group++) {
        vec half[WINDOW][WINDOW];           /* of which only the rows of the group are used */
        UNROLL
        for (int j = 0; j < WINDOW; j++) {
            vec d[WINDOW], column[WINDOW];
            UNROLL
            for (int i = 0; i < WINDOW; i++)
                d[i] = i < rows && j < columns ? load(x + i * row + j * LANES) : splat(0.0f);
            transform_input(d, column);
            UNROLL
            for (int i = first_row[group]; i < first_row[group + 1]; i++)
                half[i][j] = column[i];
        }
        UNROLL
        for (int i = first_row[group]; i < first_row[group + 1]; i++) {
            vec full[WINDOW];
            transform_input(half[i], full);
            UNROLL
            for (int j = 0; j < WINDOW; j++)
                store(v + (i * WINDOW + j) * point, full[j]);
        }
    }
}

void NAMED(windows_to_points)(
    const tile_block *b, const map *x, ptrdiff_t pad_h, ptrdiff_t pad_w, ptrdiff_t plane, float *v,
    ptrdiff_t point)
{
    const float *data = NULL;
    for (const tile *t = b->tiles; t < b->tiles + b->count; t++, v += LANES) {
        data = plane_of(b, t, x, plane, data);
        const float *from = data + (t->h - pad_h) * x->row + (t->w - pad_w) * LANES;
        if (whole(t))
            window_to_points(from, x->row, WINDOW, WINDOW, v, point);
        else
            window_to_points(from, x->row, t->rows + 2, t->columns + 2, v, point);
    }
}

INLINE void gradient_to_points(
    const float *dy, ptrdiff_t row, int rows, int columns, float *w, ptrdiff_t point, vec *sum)
{
    UNROLL
    for (int group = 0; group < ROW_GROUPS; group++) {
        vec half[WINDOW][OUTPUTS];
        UNROLL
        for (int j = 0; j < OUTPUTS; j++) {
            vec d[OUTPUTS], column[WINDOW];
            UNROLL
            for (int i = 0; i < OUTPUTS; i++)
                d[i] = i < rows && j < columns ? load(dy + i * row + j * LANES) : splat(0.0f);
            if (group == 0)
                *sum += (d[0] + d[1]) + (d[2] + d[3]);
            transform_gradient(d, column);
            UNROLL
            for (int i = first_row[group]; i < first_row[group + 1]; i++)
                half[i][j] = column[i];
        }
        UNROLL
        for (int i = first_row[group]; i < first_row[group + 1]; i++) {
            vec full[WINDOW];
            transform_gradient(half[i], full);
            UNROLL
            for (int j = 0; j < WINDOW; j++)
                store(w + (i * WINDOW + j) * point, full[j]);
        }
    }
}

vec NAMED(gradients_to_points)(
    const tile_block *b, const map *dy, ptrdiff_t plane, float *w, ptrdiff_t point)
{
    const float *data = NULL;
    vec sum = splat(0.0f);
    for (const tile *t = b->tiles; t < b->tiles + b->count; t++, w += LANES) {
        data = plane_of(b, t, dy, plane, data);
        const float *from = data + t->h * dy->row + t->w * LANES;
        if (whole(t))
            gradient_to_points(from, dy->row, OUTPUTS, OUTPUTS, w, point, &sum);
        else
            gradient_to_points(from, dy->row, t->rows, t->columns, w, point, &sum);
    }
    return sum;
}

/* --- 3. and back ------------------------------------------------------------------------------------ */

INLINE void points_to_tile(
    const float *m, ptrdiff_t point, vec bias, int relu, const float *gate, ptrdiff_t gate_row,
    float *y, ptrdiff_t row, int rows, int columns)
{
    vec half[OUTPUTS][WINDOW];
    UNROLL
    for (int j = 0; j < WINDOW; j++) {
        vec products[WINDOW], column[OUTPUTS];
        UNROLL
        for (int i = 0; i < WINDOW; i++)
            products[i] = load(m + (i * WINDOW + j) * point);
        transform_output(products, column);
        UNROLL
        for (int i = 0; i < OUTPUTS; i++)
            half[i][j] = column[i];
    }
    UNROLL
    for (int i = 0; i < OUTPUTS; i++) {
        vec full[OUTPUTS];
        transform_output(half[i], full);
        UNROLL
        for (int j = 0; j < OUTPUTS; j++) {
            if (i >= rows || j >= columns)
                continue;
            vec v = full[j] + bias;
            if (relu)
                v = gated(v, v);
            if (gate)
                v = gated(v, load(gate + i * gate_row + j * LANES));
            store(y + i * row + j * LANES, v);
        }
    }
}

void NAMED(points_to_outputs)(
    const tile_block *b, const float *m, ptrdiff_t point, vec bias, int relu, const map *gate,
    const map *y, ptrdiff_t plane)
{
    float *data = NULL, *gate_data = NULL;
    const ptrdiff_t gate_row = gate ? gate->row : 0;
    for (const tile *t = b->tiles; t < b->tiles + b->count; t++, m += LANES) {
        data = plane_of(b, t, y, plane, data);
        gate_data = gate ? plane_of(b, t, gate, plane, gate_data) : NULL;
        float *to = data + t->h * y->row + t->w * LANES;
        const float *mask = gate ? gate_data + t->h * gate_row + t->w * LANES : NULL;
        if (!whole(t))
            points_to_tile(m, point, bias, relu, mask, gate_row, to, y->row, t->rows, t->columns);
        else if (mask)
            points_to_tile(m, point, bias, 0, mask, gate_row, to, y->row, OUTPUTS, OUTPUTS);
        else if (relu)
            points_to_tile(m, point, bias, 1, NULL, 0, to, y->row, OUTPUTS, OUTPUTS);
        else
            points_to_tile(m, point, bias, 0, NULL, 0, to, y->row, OUTPUTS, OUTPUTS);
    }
}
