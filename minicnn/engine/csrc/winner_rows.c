/* dweight of a first convolution of few outputs under a MaxPool2d with windows of 2×2 pixels, where
 * no instruction picks for all lanes (`channel_winners.c`): one output at a time.
 *
 * Of each window only the winner has a gradient. A row of the kernel met values of x side by side
 * under it, which are a vector of that row's gradients:
 *
 *     dweight[k, i, …] += g[k] * x[winner's row + i, winner's column …]
 */
#include "kernels.h"
#include "channel_conv.h"

#if LANES == 8

enum { WINDOWS_AT_ONCE = WINNER_WINDOWS, ROWS_AT_ONCE = 6 };

/* Whether that takes fewer cycles, here in quarters, than a product for each pixel and weight: each
 * row has a load that may lie in two cache lines, and a sum waits four cycles for the one before. */
int NAMED(winner_rows_suit)(const op *o)
{
    const ptrdiff_t rows = o->inputs * o->kernel_h;
    const ptrdiff_t waits = 16 * o->inputs * ((o->kernel_h + ROWS_AT_ONCE - 1) / ROWS_AT_ONCE);
    const ptrdiff_t by_rows = o->outputs * (4 + (3 * rows > waits ? 3 * rows : waits));
    const ptrdiff_t by_pixels = vectors_for(o->outputs) * (8 * o->inputs * taps_of(o) + 48);
    return o->planar && o->pool_h == SIDE && o->pool_w == SIDE && o->kernel_w <= LANES
        && o->gradient_run == o->kernel_w && by_rows < by_pixels;
}

/* One vector of outputs, and some rows of windows: their gradients behind the ReLU, and where in x the
 * kernel begins under each winner. Returns dbias + the gradients. */
static vec gradients_and_places(
    const op *o, const run *r, ptrdiff_t slot, ptrdiff_t k, range rows, float *gradients,
    int32_t *places, vec dbias)
{
    const ptrdiff_t width = o->pooled.width;
    const uint8_t *winner = at_bytes(r, slot, o) + k * o->pooled.height * width * LANES;
    const float *dy = at_map(r, slot, &o->dpooled) + k * o->dpooled.plane;
    const float *y = at_map(r, slot, &o->pooled) + k * o->pooled.plane;
    const int32_t down = (int32_t)(o->stride_h * o->x.row), right = (int32_t)o->stride_w;
    for (ptrdiff_t h = rows.first; h < rows.end; h++) {
        for (ptrdiff_t w = 0; w < width; w++, gradients += LANES, places += LANES) {
            const ivec which = load_bytes(winner + (h * width + w) * LANES);
            vec gradient = load(dy + h * o->dpooled.row + w * LANES);
            if (o->relu)                    /* the window's largest value tells for all of it */
                gradient = gated(gradient, load(y + h * o->pooled.row + w * LANES));
            dbias += gradient;
            store(gradients, gradient);
            *(ivec *)places = (int32_t)(SIDE * h) * down + (int32_t)(SIDE * w) * right
                + (which >> 1) * down + (which & 1) * right;
        }
    }
    return dbias;
}

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

/* dweight (+)= the sums [outputs][planes][starts][LANES] of one vector of outputs. */
static void store_rows(
    const gradient_order *g, ptrdiff_t outputs, const float *sums, float *dweight, int add)
{
    const ptrdiff_t rows = g->planes * g->starts;
    for (ptrdiff_t at = 0; at < rows * g->run; at++, dweight += g->vectors * LANES) {
        const float *from = sums + at / g->run * LANES + at % g->run;
        vec all = splat(0.0f);
        for (ptrdiff_t k = 0; k < outputs; k++)
            all[k] = from[k * rows * LANES];
        store(dweight, add ? load(dweight) + all : all);
    }
}

/* dweight and dbias (+)= those of a slot, in the order of other convolutions. Scratch: gradients and
 * places of some windows, then the sums of a vector of outputs. */
void NAMED(add_winner_rows)(
    const op *o, const run *r, ptrdiff_t slot, const gradient_order *g, float *dweight, float *dbias,
    int add)
{
    const ptrdiff_t rows = g->planes * g->starts, width = o->pooled.width;
    const ptrdiff_t block = width < WINDOWS_AT_ONCE ? WINDOWS_AT_ONCE / width : 1;
    const __m256i lanes = first_lanes(g->run);
    float *gradients = r->scratch, *sums = gradients + 2 * block * width * LANES;
    int32_t *places = (int32_t *)(gradients + block * width * LANES);
    const float *x = at_map(r, slot, &o->x);
    for (ptrdiff_t k = 0; k < g->vectors; k++) {
        const ptrdiff_t outputs = smaller(LANES, o->outputs - k * LANES);
        vec bias = add ? load(dbias + k * LANES) : splat(0.0f);
        memset(sums, 0, outputs * rows * LANES * sizeof *sums);
        for (ptrdiff_t h = 0; h < o->pooled.height; h += block) {
            const range those = {h, smaller(h + block, o->pooled.height)};
            bias = gradients_and_places(o, r, slot, k, those, gradients, places, bias);
            for (ptrdiff_t l = 0; l < outputs; l++) {
                for (ptrdiff_t plane = 0; plane < g->planes; plane++) {
                    float *to = sums + (l * rows + plane * g->starts) * LANES;
                    for (ptrdiff_t i = 0, count; i < g->starts; i += count) {
                        count = next_part(g->starts - i, ROWS_AT_ONCE);
                        rows_functions[count](
                            x + plane * o->x.plane, o->weight_taps + i, gradients + l, places + l,
                            (those.end - those.first) * width, lanes, to + i * LANES);
                    }
                }
            }
        }
        store(dbias + k * LANES, bias);
        store_rows(g, outputs, sums, dweight + k * LANES, add);
    }
}

#endif
