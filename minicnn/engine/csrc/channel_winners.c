/* dweight of a first convolution under a MaxPool2d whose windows have two rows.
 *
 * Of each window only the winner has a gradient, but in each lane, which is a channel, it may be
 * another pixel. The values of x that a weight met under the four pixels lie in two rows, so an
 * instruction that picks one of 32 values for each lane brings those under the winners: one
 * product a window instead of four. Other instruction sets have no such instruction.
 */
#include "kernels.h"
#include "channel_conv.h"

#if LANES == 16

enum { MOST_ROWS = 5, MOST_WIDTH = 7 };

/* Values of a row of x that the windows' pixels meet together in one row of the kernel. */
static ptrdiff_t reach(const op *o)
{
    return (o->pool_w - 1) * o->stride_w + o->gradient_run;
}

int NAMED(winners_suit)(const op *o)
{
    return o->planar && o->pool_h == 2 && o->gradient_run <= MOST_WIDTH && reach(o) <= LANES;
}

/* For each window of a row its gradient, and where the winner's values start in two rows of x. */
static vec gradients_and_places(
    const op *o, const float *dy, const float *y, const uint8_t *winner, float *gradients,
    int32_t *places, vec dbias)
{
    for (ptrdiff_t w = 0; w < o->pooled.width * LANES; w += LANES) {
        const ivec which = load_bytes(winner + w);
        const ivec below = (ivec)(which >= (int32_t)o->pool_w);
        const ivec column = which - (below & (int32_t)o->pool_w);
        vec gradient = load(dy + w);
        if (o->relu)                    /* the window's largest value tells for all of it */
            gradient = gated(gradient, load(y + w));
        dbias += gradient;
        store(gradients + w, gradient);
        *(ivec *)(places + w) = column * (int32_t)o->stride_w + (below & LANES);
    }
    return dbias;
}

/* out[i * width + j] (+)= the sum over a row of windows, for `rows` rows of the kernel. */
INLINE void winners_tile(
    const op *o, const float *x, const ptrdiff_t *start, const float *gradients,
    const int32_t *places, float *out, ptrdiff_t out_step, int add, const int rows,
    const int width)
{
    const ptrdiff_t next_row = o->stride_h * o->x.row, step = o->pool_w * o->stride_w;
    const __mmask16 lanes = first_lanes(reach(o));
    vec sum[MOST_ROWS][MOST_WIDTH];
    UNROLL
    for (int i = 0; i < rows; i++) {
        UNROLL
        for (int j = 0; j < width; j++)
            sum[i][j] = splat(0.0f);
    }
    for (ptrdiff_t w = 0; w < o->pooled.width; w++, x += step) {
        const vec gradient = load(gradients + w * LANES);
        const ivec place = *(const ivec *)(places + w * LANES);
        UNROLL
        for (int i = 0; i < rows; i++) {
            const __m512 above = _mm512_maskz_loadu_ps(lanes, x + start[i]);
            const __m512 below = _mm512_maskz_loadu_ps(lanes, x + start[i] + next_row);
            UNROLL
            for (int j = 0; j < width; j++)
                sum[i][j] += gradient
                    * (vec)_mm512_permutex2var_ps(above, (__m512i)(place + j), below);
        }
    }
    UNROLL
    for (int i = 0; i < rows; i++) {
        UNROLL
        for (int j = 0; j < width; j++) {
            float *to = out + (i * width + j) * out_step;
            store(to, add ? load(to) + sum[i][j] : sum[i][j]);
        }
    }
}

typedef void winners_function(
    const op *, const float *, const ptrdiff_t *, const float *, const int32_t *, float *,
    ptrdiff_t, int);

#define WINNERS(R, W) \
    static void winners_##R##_##W( \
        const op *o, const float *x, const ptrdiff_t *start, const float *gradients, \
        const int32_t *places, float *out, ptrdiff_t out_step, int add) \
    { \
        winners_tile(o, x, start, gradients, places, out, out_step, add, R, W); \
    }
#define WIDTHS_5(M, R) M(R, 1) M(R, 2) M(R, 3) M(R, 4) M(R, 5)
#define WIDTHS_7(M, R) WIDTHS_5(M, R) M(R, 6) M(R, 7)
#define ALL_WINNERS(M) WIDTHS_7(M, 1) WIDTHS_7(M, 3) WIDTHS_5(M, 5)

ALL_WINNERS(WINNERS)

#define WINNERS_ENTRY(R, W) [R][W] = winners_##R##_##W,
static winners_function *const winners_functions[MOST_ROWS + 1][MOST_WIDTH + 1] = {
    ALL_WINNERS(WINNERS_ENTRY)};

/* As many rows as there is a function for. */
static int rows_at_once(ptrdiff_t left, ptrdiff_t width)
{
    if (left >= 5 && width <= 5)
        return 5;
    return left >= 3 ? 3 : 1;
}

/* dweight (+)= what one row of windows adds, and dbias. `scratch`: two vectors a window. */
void NAMED(add_winners)(
    const op *o, const gradient_order *g, const float *x, const float *dy, const float *y,
    const uint8_t *winner, float *scratch, float *dweight, float *dbias, int add)
{
    const ptrdiff_t out_step = g->vectors * LANES;
    int32_t *places = (int32_t *)(scratch + o->pooled.width * LANES);
    for (ptrdiff_t k = 0; k < g->vectors; k++) {
        const vec before = add ? load(dbias + k * LANES) : splat(0.0f);
        store(dbias + k * LANES,
              gradients_and_places(
                  o, dy + k * o->dpooled.plane, y + k * o->pooled.plane,
                  winner + k * o->pooled.height * o->pooled.width * LANES, scratch, places, before));
        for (ptrdiff_t plane = 0; plane < g->planes; plane++) {
            if (k == 0)
                fetch_ahead(o, x + plane * o->x.plane + o->pool_h * o->stride_h * o->x.row,
                            o->pool_h * o->stride_h);
            for (ptrdiff_t i = 0, rows; i < g->starts; i += rows) {
                rows = rows_at_once(g->starts - i, g->run);
                winners_functions[rows][g->run](
                    o, x + plane * o->x.plane, o->weight_taps + i, scratch, places,
                    dweight + (plane * g->starts + i) * g->run * out_step + k * LANES, out_step,
                    add);
            }
        }
    }
}

#endif
