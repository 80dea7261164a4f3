/* Both gradients of a convolution of few channels under a MaxPool2d with windows of 2×2 pixels.
 *
 * Of each window only the winner has a gradient, and with a vector for each pixel of x most lanes
 * would be idle. Here x and dx lie tight, [height][width][inputs] with no idle lanes, so that a row of
 * an output's weights is kernel_w * inputs values side by side:
 *
 *     dweight[k, i]                += g[k] * x[winner's row + i, winner's column …]
 *     dx[winner's row + i, its column …] += g[k] * weight[k, i]
 *
 * A tight map begins where the kernel begins for the first pixel: in the border of x.
 */
#include "kernels.h"
#include "channel_conv.h"

#if LANES >= 8

#if LANES == 16                 /* 32 registers */
#define TIGHT_SUMS 24
#else                           /* 16 registers */
#define TIGHT_SUMS 12
#endif
#define TIGHT_VECTORS (TIGHT_FLOATS / LANES)

typedef struct {
    ptrdiff_t height, width, row;               /* of a tight map; row: in floats */
    ptrdiff_t wide;                             /* vectors of a row of weights, */
    ptrdiff_t reach;                            /* and of one that may start a pixel later */
    ptrdiff_t windows;
    ptrdiff_t to_pixel[PIXELS];                 /* from a window to each of its pixels in such a map */
    float *x, *dx, *gradients;                  /* gradients: [vectors][windows][LANES] */
} tight;

INLINE ptrdiff_t vectors_of(ptrdiff_t floats) { return (floats + LANES - 1) / LANES; }

static tight tight_of(const op *o, const run *r)
{
    tight t = {
        .height = o->y.height + o->kernel_h - 1, .width = o->y.width + o->kernel_w - 1,
        .wide = vectors_of(o->kernel_w * o->inputs),
        .reach = vectors_of((o->kernel_w + 1) * o->inputs),
        .windows = o->pooled.height * o->pooled.width,
    };
    t.row = (vectors_of(t.width * o->inputs) + 1) * LANES;
    for (ptrdiff_t i = 0; i < PIXELS; i++)
        t.to_pixel[i] = i / SIDE * t.row + i % SIDE * o->inputs;
    t.x = r->scratch;
    t.dx = t.x + t.height * t.row + t.reach * LANES;
    t.gradients = t.dx + (t.height + 1) * t.row + t.reach * LANES;
    return t;
}

/* --- 1. weights, once a step: [k][0, kernel_h rows, 0][a pixel of 0, weights (j, c), 0 …] ------------ */

INLINE ptrdiff_t row_of_weights(const op *o)
{
    return vectors_of((o->kernel_w + 1) * o->inputs) * LANES + LANES;
}

/* An item is a vector of outputs: who has moved them packs them. */
void NAMED(tight_pack_backward)(const op *o, const run *r, ptrdiff_t item)
{
    const ptrdiff_t first = item * LANES, end = smaller(first + LANES, o->outputs);
    const ptrdiff_t row = row_of_weights(o), size = (o->kernel_h + 2) * row;
    (void)r;
    memset(o->packed_back + first * size, 0, (end - first) * size * sizeof *o->packed_back);
    for (ptrdiff_t k = first; k < end; k++) {
        const float *from = o->weight + k * o->inputs * taps_of(o);
        for (ptrdiff_t c = 0; c < o->inputs; c++) {
            float *to = o->packed_back + k * size + row + o->inputs + c;
            for (ptrdiff_t i = 0; i < o->kernel_h; i++, to += row) {
                for (ptrdiff_t j = 0; j < o->kernel_w; j++)
                    to[j * o->inputs] = *from++;
            }
        }
    }
}

/* --- 2. between maps with channels in the lanes and tight ones --------------------------------------- */

static void tighten(const op *o, const tight *t, const float *x)
{
    const float *from = x - o->pad_h * o->x.row - o->pad_w * LANES;
    for (ptrdiff_t h = 0; h < t->height; h++, from += o->x.row) {
        for (ptrdiff_t w = 0; w < t->width; w++)        /* the next pixel goes over the idle lanes */
            store_loose(t->x + h * t->row + w * o->inputs, load(from + w * LANES));
    }
}

static void loosen(const op *o, const tight *t, const float *x, float *dx)
{
    const float *from = t->dx + o->pad_h * t->row + o->pad_w * o->inputs;
    for (ptrdiff_t h = 0; h < o->dx.height; h++, from += t->row) {
        for (ptrdiff_t w = 0; w < o->dx.width; w++) {
            vec v = load_some(from + w * o->inputs, o->inputs);
            if (o->gate)
                v = gated(v, load(x + h * o->x.row + w * LANES));
            store(dx + h * o->dx.row + w * LANES, v);
        }
    }
}

/* The windows' gradients behind the ReLU; adds them up in dbias. */
static void gather_gradients(
    const op *o, const run *r, ptrdiff_t slot, const tight *t, float *dbias, int add)
{
    const float *y = at_map(r, slot, &o->pooled), *dy = at_map(r, slot, &o->dpooled);
    float *to = t->gradients;
    for (ptrdiff_t k = 0; k < vectors_for(o->outputs); k++) {
        vec sum = add ? load(dbias + k * LANES) : splat(0.0f);
        for (ptrdiff_t h = 0; h < o->pooled.height; h++) {
            const float *dy_row = dy + k * o->dpooled.plane + h * o->dpooled.row;
            const float *y_row = y + k * o->pooled.plane + h * o->pooled.row;
            for (ptrdiff_t at = 0; at < o->pooled.width * LANES; at += LANES, to += LANES) {
                const vec gradient = load(dy_row + at);
                store(to, o->relu ? gated(gradient, load(y_row + at)) : gradient);
                sum += load(to);
            }
        }
        store(dbias + k * LANES, sum);
    }
}

/* As many rows at once as there are registers for. */
INLINE int rows_of_sums(ptrdiff_t left, ptrdiff_t wide)
{
    return next_part(left, smaller(TIGHT_SUMS / wide, TIGHT_ROWS + 1));
}

/* --- 3. dweight of one output: [kernel_h][wide] vectors, some rows of it ------------------------------- */

INLINE void dweight_tile(
    const op *o, const tight *t, const float *first_row, const float *gradients,
    const uint8_t *winner, float *dweight, int add, const int rows, const int wide)
{
    vec sum[TIGHT_ROWS + 1][TIGHT_VECTORS];
    UNROLL
    for (int i = 0; i < rows; i++) {
        UNROLL
        for (int v = 0; v < wide; v++)
            sum[i][v] = add ? load(dweight + (i * wide + v) * LANES) : splat(0.0f);
    }
    for (ptrdiff_t h = 0; h < o->pooled.height; h++) {
        const float *window = first_row + h * SIDE * t->row;
        for (ptrdiff_t w = 0; w < o->pooled.width; w++, window += SIDE * o->inputs) {
            const float *x = window + t->to_pixel[*winner];
            const vec gradient = held(splat(*gradients));
            UNROLL
            for (int i = 0; i < rows; i++) {
                UNROLL
                for (int v = 0; v < wide; v++)
                    sum[i][v] += gradient * load_loose(x + i * t->row + v * LANES);
            }
            gradients += LANES;
            winner += LANES;
        }
    }
    UNROLL
    for (int i = 0; i < rows; i++) {
        UNROLL
        for (int v = 0; v < wide; v++)
            store(dweight + (i * wide + v) * LANES, sum[i][v]);
    }
}

/* --- 4. dx: what all outputs add around one window, [kernel_h + 1][reach] vectors, some rows of it ------ */

INLINE void dx_tile(
    const op *o, const tight *t, const float *gradients, const uint8_t *winner,
    ptrdiff_t first_row, float *dx, const int rows, const int wide)
{
    vec sum[TIGHT_ROWS + 1][TIGHT_VECTORS];
    const ptrdiff_t row = row_of_weights(o), size = (o->kernel_h + 2) * row;
    ptrdiff_t start[PIXELS];                    /* of the weights, moved to each pixel of the window */
    UNROLL
    for (int i = 0; i < PIXELS; i++)
        start[i] = (first_row + 1 - i / SIDE) * row + (1 - i % SIDE) * o->inputs;
    UNROLL
    for (int i = 0; i < rows; i++) {
        UNROLL
        for (int v = 0; v < wide; v++)
            sum[i][v] = splat(0.0f);
    }
    const float *weight = o->packed_back;
    for (ptrdiff_t first = 0; first < o->outputs; first += LANES) {
        for (ptrdiff_t k = 0; k < smaller(LANES, o->outputs - first); k++, weight += size) {
            const float *from = weight + start[winner[k]];
            const vec gradient = held(splat(gradients[k]));
            UNROLL
            for (int i = 0; i < rows; i++) {
                UNROLL
                for (int v = 0; v < wide; v++)
                    sum[i][v] += gradient * load_loose(from + i * row + v * LANES);
            }
        }
        gradients += t->windows * LANES;
        winner += t->windows * LANES;
    }
    UNROLL
    for (int i = 0; i < rows; i++) {
        UNROLL
        for (int v = 0; v < wide; v++) {
            float *to = dx + i * t->row + v * LANES;
            store_loose(to, load_loose(to) + sum[i][v]);
        }
    }
}

typedef void dweight_function(
    const op *, const tight *, const float *, const float *, const uint8_t *, float *, int);
typedef void dx_function(
    const op *, const tight *, const float *, const uint8_t *, ptrdiff_t, float *);

#define TIGHT(R, V) \
    static void tight_dweight_##R##_##V( \
        const op *o, const tight *t, const float *first_row, const float *gradients, \
        const uint8_t *winner, float *dweight, int add) \
    { \
        dweight_tile(o, t, first_row, gradients, winner, dweight, add, R, V); \
    } \
    static void tight_dx_##R##_##V( \
        const op *o, const tight *t, const float *gradients, const uint8_t *winner, \
        ptrdiff_t first_row, float *dx) \
    { \
        dx_tile(o, t, gradients, winner, first_row, dx, R, V); \
    }
#define TIGHT_2(M, V) M(1, V) M(2, V)
#define TIGHT_3(M, V) TIGHT_2(M, V) M(3, V)
#define TIGHT_4(M, V) TIGHT_3(M, V) M(4, V)
#define TIGHT_6(M, V) TIGHT_4(M, V) M(5, V) M(6, V)
#if LANES == 16
#define ALL_TIGHT(M) TIGHT_6(M, 1) TIGHT_6(M, 2) TIGHT_6(M, 3) TIGHT_6(M, 4)
#else
#define ALL_TIGHT(M) \
    TIGHT_6(M, 1) TIGHT_6(M, 2) TIGHT_4(M, 3) TIGHT_3(M, 4) TIGHT_2(M, 5) TIGHT_2(M, 6) \
    M(1, 7) M(1, 8)
#endif

ALL_TIGHT(TIGHT)

#define DWEIGHT_ENTRY(R, V) [R][V] = tight_dweight_##R##_##V,
#define DX_ENTRY(R, V) [R][V] = tight_dx_##R##_##V,
static dweight_function *const dweight_functions[TIGHT_ROWS + 2][TIGHT_VECTORS + 1] = {
    ALL_TIGHT(DWEIGHT_ENTRY)};
static dx_function *const dx_functions[TIGHT_ROWS + 2][TIGHT_VECTORS + 1] = {ALL_TIGHT(DX_ENTRY)};

/* In memory the gradients are [outputs, in whole vectors][kernel_h][wide] vectors, then dbias. */
INLINE ptrdiff_t floats_of_output(const op *o)
{
    return o->kernel_h * vectors_of(o->kernel_w * o->inputs) * LANES;
}

void NAMED(tight_conv_backward)(const op *o, const run *r, ptrdiff_t slot)
{
    const tight t = tight_of(o, r);
    const float *x = at_map(r, slot, &o->x);
    const uint8_t *winner = at_bytes(r, slot, o);
    const int add = slot != first_slot(r, item_of(r, slot));
    float *dweight = gradients_at(o, r, slot);
    float *dbias = dweight + vectors_for(o->outputs) * LANES * floats_of_output(o);
    tighten(o, &t, x);
    gather_gradients(o, r, slot, &t, dbias, add);
    for (ptrdiff_t k = 0; k < o->outputs; k++) {
        const ptrdiff_t at = k / LANES * t.windows * LANES + k % LANES;
        for (ptrdiff_t i = 0, rows; i < o->kernel_h; i += rows) {
            rows = rows_of_sums(o->kernel_h - i, t.wide);
            dweight_functions[rows][t.wide](
                o, &t, t.x + i * t.row, t.gradients + at, winner + at,
                dweight + k * floats_of_output(o) + i * t.wide * LANES, add);
        }
    }
    memset(t.dx, 0, (t.height + 1) * t.row * sizeof *t.dx);
    for (ptrdiff_t window = 0; window < t.windows; window++) {
        const ptrdiff_t h = window / o->pooled.width, w = window % o->pooled.width;
        float *dx = t.dx + h * SIDE * t.row + w * SIDE * o->inputs;
        for (ptrdiff_t i = 0, rows; i < o->kernel_h + 1; i += rows) {
            rows = rows_of_sums(o->kernel_h + 1 - i, t.reach);
            dx_functions[rows][t.reach](
                o, &t, t.gradients + window * LANES, winner + window * LANES, i, dx + i * t.row);
        }
    }
    loosen(o, &t, x, at_map(r, slot, &o->dx));
}

/* The sum over all items, in their order, as users see it. An item is a few outputs. */
void NAMED(tight_sum_partials)(const op *o, const run *r, ptrdiff_t item)
{
    const ptrdiff_t size = floats_of_output(o), row = size / o->kernel_h, first = item * TIGHT_OUTPUTS;
    const float *partial = r->partials + o->partial;
    float sum[TIGHT_ROWS * TIGHT_FLOATS] __attribute__((aligned(64)));
    for (ptrdiff_t k = first; k < smaller(first + TIGHT_OUTPUTS, o->outputs); k++) {
        float *to = o->dweight + k * o->inputs * taps_of(o);
        for (ptrdiff_t at = 0; at < size; at += LANES)
            store(sum + at, sum_of_items(r, partial + k * size + at));
        for (ptrdiff_t c = 0; c < o->inputs; c++) {
            for (ptrdiff_t i = 0; i < o->kernel_h; i++) {
                for (ptrdiff_t j = 0; j < o->kernel_w; j++)
                    *to++ = sum[i * row + j * o->inputs + c];
            }
        }
    }
    if (first % LANES == 0 && o->dbias) {
        const float *dbias = partial + vectors_for(o->outputs) * LANES * size + first;
        store_some(o->dbias + first, sum_of_items(r, dbias), smaller(LANES, o->outputs - first));
    }
}

#endif
