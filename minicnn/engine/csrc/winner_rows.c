/* dweight of a first convolution of few outputs under a MaxPool2d with windows of 2×2 pixels, where
 * no instruction picks for all lanes (`channel_winners.c`): one output at a time, or two.
 *
 * Of each window only the winner has a gradient. A row of the kernel met values of x side by side
 * under it, which are a vector of that row's gradients:
 *
 *     dweight[k, i, …] += g[k] * x[winner's row + i, winner's column …]
 *
 * Colours would make that a short vector for each plane. So 2 to 4 planes are copied first, 4 values
 * a pixel, for one row of windows at a time: a row of a 3×3 kernel is then 12 values side by side.
 */
#include "kernels.h"
#include "channel_conv.h"

#if LANES == 8

enum {
    WINDOWS_AT_ONCE = WINNER_WINDOWS, ROWS_AT_ONCE = 6,
    COPIED_PLANES = WINNER_PLANES,          /* values of a pixel of the copy */
    COPIED_VECTORS = 2,                     /* of a row of the kernel there, and */
    COPIED_ROWS = 3,                        /* rows of it at a time, for */
    OUTPUTS_AT_ONCE = 2,                    /* as many outputs */
};

/* --- 1. whether to ------------------------------------------------------------------------------- */

INLINE int copies_planes(const op *o)
{
    return o->inputs > 1 && o->inputs <= COPIED_PLANES
        && o->kernel_w * COPIED_PLANES <= COPIED_VECTORS * LANES;
}

/* Rows of x from one row of the kernel to the next. */
INLINE ptrdiff_t kernel_step(const op *o)
{
    return o->kernel_h > 1 ? (o->weight_taps[1] - o->weight_taps[0]) / o->x.row : 1;
}

/* Rows of x that a row of windows meets, and pixels of such a row. */
INLINE ptrdiff_t rows_met(const op *o)
{
    return (SIDE - 1) * o->stride_h + (o->kernel_h - 1) * kernel_step(o) + 1;
}
INLINE ptrdiff_t pixels_met(const op *o)
{
    return (SIDE * o->pooled.width - 1) * o->stride_w + o->kernel_w;
}

/* Cycles of a window, in quarters: each row has a load that may lie in two cache lines, and a sum
 * waits four cycles for the one before it. */
static ptrdiff_t cycles_by_rows(const op *o)
{
    if (copies_planes(o)) {
        const ptrdiff_t products = o->kernel_h * COPIED_VECTORS;
        return o->outputs * (5 + 7 * products / 2) + 6 * rows_met(o) * o->stride_w;
    }
    const ptrdiff_t rows = o->inputs * o->kernel_h;
    const ptrdiff_t waits = 16 * o->inputs * ((o->kernel_h + ROWS_AT_ONCE - 1) / ROWS_AT_ONCE);
    return o->outputs * (4 + (3 * rows > waits ? 3 * rows : waits));
}

/* Whether that takes fewer cycles than a product for each pixel and weight. */
int NAMED(winner_rows_suit)(const op *o)
{
    const ptrdiff_t by_pixels = vectors_for(o->outputs) * (8 * o->inputs * taps_of(o) + 48);
    return o->planar && o->pool_h == SIDE && o->pool_w == SIDE && o->kernel_w <= LANES
        && o->gradient_run == o->kernel_w && cycles_by_rows(o) < by_pixels;
}

/* --- 2. where the winners are ---------------------------------------------------------------------- */

/* From row to row and from pixel to pixel of x, or of its copy. */
typedef struct {
    ptrdiff_t row, pixel;
} steps;

/* One vector of outputs, and some rows of windows: their gradients behind the ReLU, and where the
 * kernel begins under each winner, from the first of these rows on. Returns dbias + the gradients. */
static vec gradients_and_places(
    const op *o, const run *r, ptrdiff_t slot, ptrdiff_t k, range rows, steps x, float *gradients,
    int32_t *places, vec dbias)
{
    const ptrdiff_t width = o->pooled.width;
    const uint8_t *winner = at_bytes(r, slot, o) + k * o->pooled.height * width * LANES;
    const float *dy = at_map(r, slot, &o->dpooled) + k * o->dpooled.plane;
    const float *y = at_map(r, slot, &o->pooled) + k * o->pooled.plane;
    const int32_t down = (int32_t)(o->stride_h * x.row), right = (int32_t)(o->stride_w * x.pixel);
    for (ptrdiff_t h = rows.first; h < rows.end; h++) {
        for (ptrdiff_t w = 0; w < width; w++, gradients += LANES, places += LANES) {
            const ivec which = load_bytes(winner + (h * width + w) * LANES);
            vec gradient = load(dy + h * o->dpooled.row + w * LANES);
            if (o->relu)                    /* the window's largest value tells for all of it */
                gradient = gated(gradient, load(y + h * o->pooled.row + w * LANES));
            dbias += gradient;
            store(gradients, gradient);
            *(ivec *)places = (int32_t)(SIDE * (h - rows.first)) * down + (int32_t)(SIDE * w) * right
                + (which >> 1) * down + (which & 1) * right;
        }
    }
    return dbias;
}

/* --- 3. planes as they lie: one output -------------------------------------------------------------- */

/* sums[i] += the products of some rows of the kernel; lanes beyond the kernel's width stay 0. */
INLINE void rows_tile(
    const float *x, const ptrdiff_t *start, const float *gradients, const int32_t *places,
    ptrdiff_t windows, __m256i lanes, float *sums, const int rows)
{
    vec sum[ROWS_AT_ONCE];
    UNROLL
    for (int i = 0; i < rows; i++)
        sum[i] = load(sums + i * LANES);
    for (ptrdiff_t w = 0; w < windows * LANES; w += LANES) {
        const vec gradient = splat(gradients[w]);
        const float *from = x + places[w];
        UNROLL
        for (int i = 0; i < rows; i++)
            sum[i] += gradient * (vec)_mm256_maskload_ps(from + start[i], lanes);
    }
    UNROLL
    for (int i = 0; i < rows; i++)
        store(sums + i * LANES, sum[i]);
}

typedef void rows_function(
    const float *, const ptrdiff_t *, const float *, const int32_t *, ptrdiff_t, __m256i, float *);

#define WINNER_ROWS(R) \
    static void winner_rows_##R( \
        const float *x, const ptrdiff_t *start, const float *gradients, const int32_t *places, \
        ptrdiff_t windows, __m256i lanes, float *sums) \
    { \
        rows_tile(x, start, gradients, places, windows, lanes, sums, R); \
    }
#define ALL_WINNER_ROWS(M) M(1) M(2) M(3) M(4) M(5) M(6)

ALL_WINNER_ROWS(WINNER_ROWS)

#define WINNER_ROWS_ENTRY(R) [R] = winner_rows_##R,
static rows_function *const rows_functions[ROWS_AT_ONCE + 1] = {ALL_WINNER_ROWS(WINNER_ROWS_ENTRY)};

/* --- 4. planes side by side: two outputs ------------------------------------------------------------- */

/* to[w][c] = plane[c][w] */
INLINE void store_side_by_side(const vec plane[COPIED_PLANES], float *to)
{
    const __m256d low_01 = (__m256d)_mm256_unpacklo_ps((__m256)plane[0], (__m256)plane[1]);
    const __m256d high_01 = (__m256d)_mm256_unpackhi_ps((__m256)plane[0], (__m256)plane[1]);
    const __m256d low_23 = (__m256d)_mm256_unpacklo_ps((__m256)plane[2], (__m256)plane[3]);
    const __m256d high_23 = (__m256d)_mm256_unpackhi_ps((__m256)plane[2], (__m256)plane[3]);
    const __m256d a = _mm256_unpacklo_pd(low_01, low_23), b = _mm256_unpackhi_pd(low_01, low_23);
    const __m256d c = _mm256_unpacklo_pd(high_01, high_23), d = _mm256_unpackhi_pd(high_01, high_23);
    store(to, (vec)_mm256_permute2f128_pd(a, b, 0x20));
    store(to + LANES, (vec)_mm256_permute2f128_pd(c, d, 0x20));
    store(to + 2 * LANES, (vec)_mm256_permute2f128_pd(a, b, 0x31));
    store(to + 3 * LANES, (vec)_mm256_permute2f128_pd(c, d, 0x31));
}

/* The rows that a row of windows meets, 4 values a pixel; those without a plane are 0. */
static void copy_planes(const op *o, const float *x, float *to, ptrdiff_t to_row)
{
    const ptrdiff_t pixels = pixels_met(o), rows = rows_met(o);
    for (ptrdiff_t i = 0; i < rows; i++) {
        for (ptrdiff_t w = 0; w < pixels; w += LANES) {
            vec plane[COPIED_PLANES];
            UNROLL
            for (int c = 0; c < COPIED_PLANES; c++) {
                const float *from = x + c * o->x.plane + i * o->x.row + w;
                plane[c] = c >= o->inputs ? splat(0.0f)
                    : w + LANES <= pixels ? load_loose(from) : load_some(from, pixels - w);
            }
            store_side_by_side(plane, to + i * to_row + w * COPIED_PLANES);
        }
    }
}

/* sums[l][i] += the products of some rows of the kernel for two outputs l. */
INLINE void copied_tile(
    const float *x, ptrdiff_t row, const float *gradients, const int32_t *places,
    ptrdiff_t windows, float *sums, ptrdiff_t next_output, const int rows)
{
    vec sum[OUTPUTS_AT_ONCE][COPIED_ROWS][COPIED_VECTORS];
    UNROLL
    for (int l = 0; l < OUTPUTS_AT_ONCE; l++) {
        UNROLL
        for (int i = 0; i < rows * COPIED_VECTORS; i++)
            sum[l][i / COPIED_VECTORS][i % COPIED_VECTORS] = load(sums + l * next_output + i * LANES);
    }
    _Pragma("GCC unroll 4")
    for (ptrdiff_t w = 0; w < windows * LANES; w += LANES) {
        UNROLL
        for (int l = 0; l < OUTPUTS_AT_ONCE; l++) {
            const vec gradient = splat(gradients[w + l]);
            const float *from = x + places[w + l];
            UNROLL
            for (int i = 0; i < rows; i++) {
                UNROLL
                for (int v = 0; v < COPIED_VECTORS; v++)
                    sum[l][i][v] += gradient * load_loose(from + i * row + v * LANES);
            }
        }
    }
    UNROLL
    for (int l = 0; l < OUTPUTS_AT_ONCE; l++) {
        UNROLL
        for (int i = 0; i < rows * COPIED_VECTORS; i++)
            store(sums + l * next_output + i * LANES, sum[l][i / COPIED_VECTORS][i % COPIED_VECTORS]);
    }
}

typedef void copied_function(
    const float *, ptrdiff_t, const float *, const int32_t *, ptrdiff_t, float *, ptrdiff_t);

#define COPIED_FUNCTION(R) \
    static void copied_rows_##R( \
        const float *x, ptrdiff_t row, const float *gradients, const int32_t *places, \
        ptrdiff_t windows, float *sums, ptrdiff_t next_output) \
    { \
        copied_tile(x, row, gradients, places, windows, sums, next_output, R); \
    }
#define ALL_COPIED(M) M(1) M(2) M(3)

ALL_COPIED(COPIED_FUNCTION)

#define COPIED_ENTRY(R) [R] = copied_rows_##R,
static copied_function *const copied_functions[COPIED_ROWS + 1] = {ALL_COPIED(COPIED_ENTRY)};

/* --- 5. all of a slot ---------------------------------------------------------------------------- */

/* How the sums of an output lie: plane c, row i, value j of the kernel. */
typedef struct {
    ptrdiff_t output, plane, row, value;
} sums_order;

/* dweight (+)= the sums of one vector of outputs. */
static void store_rows(
    const gradient_order *g, const sums_order *order, ptrdiff_t outputs, const float *sums,
    float *dweight, int add)
{
    for (ptrdiff_t at = 0; at < g->planes * g->starts * g->run; at++) {
        const ptrdiff_t plane = at / g->run / g->starts, i = at / g->run % g->starts, j = at % g->run;
        const float *from = sums + plane * order->plane + i * order->row + j * order->value;
        vec all = splat(0.0f);
        for (ptrdiff_t k = 0; k < outputs; k++)
            all[k] = from[k * order->output];
        store(dweight, add ? load(dweight) + all : all);
        dweight += g->vectors * LANES;
    }
}

/* One vector of outputs and some rows of windows, whose first pixels meet x. */
static void add_rows_of_planes(
    const op *o, const gradient_order *g, const sums_order *order, const float *x,
    const float *gradients, const int32_t *places, ptrdiff_t windows, ptrdiff_t outputs, float *sums)
{
    const __m256i lanes = first_lanes(g->run);
    for (ptrdiff_t l = 0; l < outputs; l++) {
        for (ptrdiff_t plane = 0; plane < g->planes; plane++) {
            float *to = sums + l * order->output + plane * order->plane;
            for (ptrdiff_t i = 0, count; i < g->starts; i += count) {
                count = next_part(g->starts - i, ROWS_AT_ONCE);
                rows_functions[count](
                    x + plane * o->x.plane, o->weight_taps + i, gradients + l, places + l, windows,
                    lanes, to + i * order->row);
            }
        }
    }
}

static void add_rows_of_copy(
    const gradient_order *g, const sums_order *order, const float *x, ptrdiff_t row,
    const float *gradients, const int32_t *places, ptrdiff_t windows, ptrdiff_t outputs, float *sums)
{
    for (ptrdiff_t l = 0; l < outputs; l += OUTPUTS_AT_ONCE) {
        for (ptrdiff_t i = 0, count; i < g->starts; i += count) {
            count = next_part(g->starts - i, COPIED_ROWS);
            copied_functions[count](
                x + i * row, row, gradients + l, places + l, windows,
                sums + l * order->output + i * order->row, order->output);
        }
    }
}

/* dweight and dbias (+)= those of a slot, in the order of other convolutions. Scratch: gradients and
 * places of some windows, the sums, and the copy of the rows that a row of windows meets. */
void NAMED(add_winner_rows)(
    const op *o, const run *r, ptrdiff_t slot, const gradient_order *g, float *dweight, float *dbias,
    int add)
{
    const int copied = copies_planes(o);
    const ptrdiff_t width = o->pooled.width;
    const ptrdiff_t block = copied || width >= WINDOWS_AT_ONCE ? 1 : WINDOWS_AT_ONCE / width;
    const ptrdiff_t row = copied ? COPIED_VECTORS * LANES : LANES;
    const sums_order order = {
        .output = (copied ? 1 : g->planes) * g->starts * row, .plane = copied ? 1 : g->starts * row,
        .row = row, .value = copied ? COPIED_PLANES : 1,
    };
    const ptrdiff_t of_vector = LANES * order.output, down = SIDE * o->stride_h * o->x.row;
    const ptrdiff_t copy_row = spread((pixels_met(o) + LANES) * COPIED_PLANES);
    const steps from = copied ? (steps){copy_row, COPIED_PLANES} : (steps){o->x.row, 1};
    float *gradients = r->scratch, *sums = gradients + 2 * block * width * LANES;
    float *copy = sums + g->vectors * of_vector;
    int32_t *places = (int32_t *)(gradients + block * width * LANES);
    const float *x = at_map(r, slot, &o->x);
    memset(sums, 0, g->vectors * of_vector * sizeof *sums);
    for (ptrdiff_t h = 0; h < o->pooled.height; h += block) {
        const range those = {h, smaller(h + block, o->pooled.height)};
        if (copied)
            copy_planes(o, x + h * down + o->weight_taps[0], copy, copy_row);
        for (ptrdiff_t k = 0; k < g->vectors; k++) {
            const ptrdiff_t outputs = smaller(LANES, o->outputs - k * LANES);
            const ptrdiff_t windows = (those.end - those.first) * width;
            const vec bias = add || h > 0 ? load(dbias + k * LANES) : splat(0.0f);
            store(dbias + k * LANES, gradients_and_places(
                o, r, slot, k, those, from, gradients, places, bias));
            if (copied)
                add_rows_of_copy(g, &order, copy, kernel_step(o) * copy_row, gradients, places,
                                 windows, outputs, sums + k * of_vector);
            else
                add_rows_of_planes(o, g, &order, x + h * down, gradients, places, windows, outputs,
                                   sums + k * of_vector);
        }
    }
    for (ptrdiff_t k = 0; k < g->vectors; k++)
        store_rows(g, &order, smaller(LANES, o->outputs - k * LANES), sums + k * of_vector,
                   dweight + k * LANES, add);
}

#endif
