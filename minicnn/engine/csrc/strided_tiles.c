/* The tiles of convolutions at stride 2: their way to the products and sums, and back. */
#include "strided.h"

void NAMED(next_pairs)(
    pair_block *b, const map *y, ptrdiff_t slot, ptrdiff_t first, ptrdiff_t end, ptrdiff_t floats)
{
    const ptrdiff_t most = smaller(STRIDED_FLOATS / floats, WINOGRAD_MOST_TILES);
    NAMED(next_block)(&b->of, y, PAIR, slot, first, end,
                      (int)(most < WINOGRAD_FEWEST_TILES ? WINOGRAD_FEWEST_TILES : most));
    ptrdiff_t of_kind[PAIR][PAIR] = {{0}};      /* rows, columns: how many, then the next place */
    for (const tile *t = b->of.tiles; t < b->of.tiles + b->of.count; t++)
        of_kind[t->rows - 1][t->columns - 1]++;
    b->corner = of_kind[0][0];
    b->narrow = of_kind[1][0];
    b->low = of_kind[0][1];
    of_kind[0][1] = b->of.count - b->low;
    of_kind[1][1] = b->corner + b->narrow;
    of_kind[1][0] = b->corner;
    of_kind[0][0] = 0;
    for (ptrdiff_t i = 0; i < b->of.count; i++) {
        const tile *t = b->of.tiles + i;
        b->place[i] = of_kind[t->rows - 1][t->columns - 1]++;
    }
}

/* --- 1. x to the products --------------------------------------------------------------------------- */

/* Rows, or columns, of products that belong to the same sums. */
static const int first_of_sum[AXIS_SUMS + 1] = {0, 2, 3, 5};

/* A tile sees so many rows and columns of x: 5, or 3 where it has one output. As many rows and columns of
 * products are made, in the order of their numbers. */
INLINE void window_to_products(
    const float *x, ptrdiff_t row, float *v, ptrdiff_t step, const int rows, const int columns)
{
    UNROLL
    for (int a = 0; a < AXIS_SUMS; a++) {
        vec half[REACH][REACH], full[REACH][REACH];     /* of which only the rows of this sum are used */
        if (first_of_sum[a] >= rows)
            continue;
        UNROLL
        for (int j = 0; j < columns; j++) {
            vec d[REACH], products[REACH];
            UNROLL
            for (int k = 0; k < REACH; k++)
                d[k] = k < rows ? load(x + k * row + j * LANES) : splat(0.0f);
            values_to_products(d, products);
            UNROLL
            for (int i = first_of_sum[a]; i < first_of_sum[a + 1]; i++)
                half[i][j] = products[i];
        }
        UNROLL
        for (int i = first_of_sum[a]; i < first_of_sum[a + 1]; i++)
            values_to_products(half[i], full[i]);
        UNROLL
        for (int b = 0; b < AXIS_SUMS; b++) {
            UNROLL
            for (int i = first_of_sum[a]; i < first_of_sum[a + 1]; i++) {
                UNROLL
                for (int j = first_of_sum[b]; j < first_of_sum[b + 1]; j++, v += step) {
                    if (j < columns)
                        store(v, full[i][j]);
                }
            }
        }
    }
}

void NAMED(windows_to_products)(
    const pair_block *b, const op *o, ptrdiff_t plane, float *v, ptrdiff_t step)
{
    const ptrdiff_t row = o->x.row;
    const float *data = NULL;
    for (ptrdiff_t i = 0; i < b->of.count; i++) {
        const tile *t = b->of.tiles + i;
        data = plane_of(&b->of, t, &o->x, plane, data);
        const float *from = data + (t->h * 2 - o->pad_h) * row + (t->w * 2 - o->pad_w) * LANES;
        float *to = v + b->place[i] * LANES;
        if (t->rows == PAIR && t->columns == PAIR)
            window_to_products(from, row, to, step, REACH, REACH);
        else if (t->rows == PAIR)
            window_to_products(from, row, to, step, REACH, 3);
        else if (t->columns == PAIR)
            window_to_products(from, row, to, step, 3, REACH);
        else
            window_to_products(from, row, to, step, 3, 3);
    }
}

/* --- 2. sums to y ----------------------------------------------------------------------------------- */

INLINE void sums_to_tile(
    const float *m, ptrdiff_t step, vec bias, int relu, float *y, ptrdiff_t row, int rows, int columns)
{
    vec shared[AXIS_SUMS];
    UNROLL
    for (int j = 0; j < AXIS_SUMS; j++)
        shared[j] = j < 2 || columns == PAIR ? load(m + (AXIS_SUMS + j) * step) : splat(0.0f);
    shared[1] += bias;
    UNROLL
    for (int i = 0; i < PAIR; i++) {
        if (i >= rows)
            continue;
        const float *own = m + 2 * i * AXIS_SUMS * step;
        const vec middle = load(own + step) + shared[1];
        UNROLL
        for (int j = 0; j < PAIR; j++) {
            if (j >= columns)
                continue;
            vec v = (load(own + 2 * j * step) + shared[2 * j]) + middle;
            if (relu)
                v = gated(v, v);
            store(y + i * row + j * LANES, v);
        }
    }
}

void NAMED(sums_to_outputs)(
    const pair_block *b, const op *o, const float *m, ptrdiff_t step, vec bias, ptrdiff_t plane)
{
    float *data = NULL;
    for (ptrdiff_t i = 0; i < b->of.count; i++) {
        const tile *t = b->of.tiles + i;
        data = plane_of(&b->of, t, &o->y, plane, data);
        float *to = data + t->h * o->y.row + t->w * LANES;
        const float *from = m + b->place[i] * LANES;
        if (t->rows < PAIR || t->columns < PAIR)
            sums_to_tile(from, step, bias, o->relu, to, o->y.row, t->rows, t->columns);
        else if (o->relu)
            sums_to_tile(from, step, bias, 1, to, o->y.row, PAIR, PAIR);
        else
            sums_to_tile(from, step, bias, 0, to, o->y.row, PAIR, PAIR);
    }
}

/* --- 3. dy to the sums ------------------------------------------------------------------------------- */

INLINE vec gradient_to_sums(
    const float *dy, ptrdiff_t row, int rows, int columns, float *w, ptrdiff_t step)
{
    vec half[AXIS_SUMS][PAIR], sum = splat(0.0f);
    UNROLL
    for (int j = 0; j < PAIR; j++) {
        vec d[PAIR], column[AXIS_SUMS];
        UNROLL
        for (int i = 0; i < PAIR; i++)
            d[i] = i < rows && j < columns ? load(dy + i * row + j * LANES) : splat(0.0f);
        pair_to_sums(d, column);
        sum += column[1];
        UNROLL
        for (int i = 0; i < AXIS_SUMS; i++)
            half[i][j] = column[i];
    }
    UNROLL
    for (int i = 0; i < AXIS_SUMS; i++) {
        vec full[AXIS_SUMS];
        pair_to_sums(half[i], full);
        UNROLL
        for (int j = 0; j < AXIS_SUMS; j++)
            store(w + (i * AXIS_SUMS + j) * step, full[j]);
    }
    return sum;
}

vec NAMED(gradients_to_sums)(
    const pair_block *b, const op *o, ptrdiff_t plane, float *w, ptrdiff_t step)
{
    const float *data = NULL;
    vec sum = splat(0.0f);
    for (ptrdiff_t i = 0; i < b->of.count; i++) {
        const tile *t = b->of.tiles + i;
        data = plane_of(&b->of, t, &o->dy, plane, data);
        const float *from = data + t->h * o->dy.row + t->w * LANES;
        float *to = w + b->place[i] * LANES;
        if (t->rows == PAIR && t->columns == PAIR)
            sum += gradient_to_sums(from, o->dy.row, PAIR, PAIR, to, step);
        else
            sum += gradient_to_sums(from, o->dy.row, t->rows, t->columns, to, step);
    }
    return sum;
}

/* --- 4. products to dx ------------------------------------------------------------------------------- */

/* Where the values of a tile go: to which of them the tiles above and to the left have already added, and
 * which of them the map has. */
typedef struct {
    int above, left;
    ptrdiff_t first_row, end_row, first_column, end_column;
} patch;

static const patch inside = {1, 1, 0, REACH, 0, REACH};

INLINE void add_row_of_patch(
    const vec values[REACH], const int i, const patch *p, const float *gate, ptrdiff_t gate_row,
    float *dx, ptrdiff_t row)
{
    if (i < p->first_row || i >= p->end_row)
        return;
    UNROLL
    for (int j = 0; j < REACH; j++) {
        if (j < p->first_column || j >= p->end_column)
            continue;
        float *to = dx + i * row + j * LANES;
        vec v = values[j];
        if (gate)
            v = gated(v, load(gate + i * gate_row + j * LANES));
        if ((i == 0 && p->above) || (j == 0 && p->left))
            v += load(to);
        store(to, v);
    }
}

/* Those rows of products that belong to sums in row a, taken back along the columns. As stored, products
 * of the same sum lie side by side. */
INLINE void rows_of_products(
    const float *m, ptrdiff_t step, const int a, const int columns, vec values[REACH][REACH])
{
    vec v[REACH][REACH];
    m += first_product[a * AXIS_SUMS] * step;
    UNROLL
    for (int b = 0; b < AXIS_SUMS; b++) {
        UNROLL
        for (int i = first_of_sum[a]; i < first_of_sum[a + 1]; i++) {
            UNROLL
            for (int j = first_of_sum[b]; j < first_of_sum[b + 1]; j++, m += step)
                v[i][j] = b < 2 || columns == PAIR ? load(m) : splat(0.0f);
        }
    }
    UNROLL
    for (int i = first_of_sum[a]; i < first_of_sum[a + 1]; i++)
        products_to_values(v[i], values[i]);
}

/* products_to_values along the rows as well, each of which is added as soon as it is there. */
INLINE void products_to_patch(
    const float *m, ptrdiff_t step, const int rows, const int columns, const patch *p,
    const float *gate, ptrdiff_t gate_row, float *dx, ptrdiff_t row)
{
    vec v[REACH][REACH], shared[REACH];
    rows_of_products(m, step, 1, columns, v);
    UNROLL
    for (int j = 0; j < REACH; j++)
        shared[j] = v[2][j];
    rows_of_products(m, step, 0, columns, v);
    UNROLL
    for (int j = 0; j < REACH; j++)
        shared[j] -= v[0][j];
    add_row_of_patch(v[0], 0, p, gate, gate_row, dx, row);
    add_row_of_patch(v[1], 1, p, gate, gate_row, dx, row);
    if (rows == PAIR) {
        rows_of_products(m, step, 2, columns, v);
        UNROLL
        for (int j = 0; j < REACH; j++)
            shared[j] -= v[3][j];
        add_row_of_patch(v[3], 4, p, gate, gate_row, dx, row);
        add_row_of_patch(v[4], 3, p, gate, gate_row, dx, row);
    }
    add_row_of_patch(shared, 2, p, gate, gate_row, dx, row);
}

void NAMED(products_to_inputs)(
    const pair_block *b, const op *o, const float *m, ptrdiff_t step, ptrdiff_t plane)
{
    const map *dx = &o->dx;
    float *data = NULL, *gate_data = NULL;
    for (ptrdiff_t i = 0; i < b->of.count; i++) {
        const tile *t = b->of.tiles + i;
        const ptrdiff_t h = 2 * t->h - o->pad_h, w = 2 * t->w - o->pad_w;
        const float *from = m + b->place[i] * LANES;
        data = plane_of(&b->of, t, dx, plane, data);
        gate_data = o->gate ? plane_of(&b->of, t, &o->x, plane, gate_data) : NULL;
        float *to = data + h * dx->row + w * LANES;
        const float *gate = o->gate ? gate_data + h * o->x.row + w * LANES : NULL;
        const patch p = {
            t->h > 0, t->w > 0, -h, smaller(2 * t->rows + 1, dx->height - h),
            -w, smaller(2 * t->columns + 1, dx->width - w),
        };
        if (!p.above || !p.left || h < 0 || w < 0 || p.end_row < REACH || p.end_column < REACH)
            products_to_patch(from, step, t->rows, t->columns, &p, gate, o->x.row, to, dx->row);
        else if (gate)
            products_to_patch(from, step, PAIR, PAIR, &inside, gate, o->x.row, to, dx->row);
        else
            products_to_patch(from, step, PAIR, PAIR, &inside, NULL, 0, to, dx->row);
    }
}
