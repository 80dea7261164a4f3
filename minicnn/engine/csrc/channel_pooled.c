/* Windows of 2×2 pixels whose sums stay in registers until the largest is known: what
 * channel_conv_pool.c does for one vector of outputs, where nothing else would share the values of x.
 */
#include "kernels.h"
#include "channel_conv.h"

#define MOST_WINDOWS (MOST_SUMS / 4)

typedef struct {
    const channel_sum *s;
    ptrdiff_t x_row;                            /* between the two rows of a window */
    int relu;
} pooled_sum;

INLINE void pooled_tile(
    const pooled_sum *p, const float *restrict x, const float *restrict weight,
    const float *restrict bias, float *restrict y, uint8_t *winner, const int windows,
    const ptrdiff_t x_step, const int single)
{
    const channel_sum *s = p->s;
    vec sum[2][2 * MOST_WINDOWS];
    UNROLL
    for (int i = 0; i < 2 * windows; i++)
        sum[0][i] = sum[1][i] = load(bias);
    const ptrdiff_t channels = single ? 1 : s->channels;
    for (ptrdiff_t first = 0; first < channels; first += s->per_plane, x += s->x_plane) {
        const ptrdiff_t left = s->channels - first;
        const ptrdiff_t count = single ? 1 : left < s->per_plane ? left : s->per_plane;
        for (ptrdiff_t t = 0; t < s->taps; t++) {
            const float *above = x + s->tap_x[t], *below = above + p->x_row;
            for (ptrdiff_t c = 0; c < count; c++, weight += LANES) {
                const vec factor = load(weight);
                UNROLL
                for (int i = 0; i < 2 * windows; i++) {
                    sum[0][i] += splat(above[c + i * x_step]) * factor;
                    sum[1][i] += splat(below[c + i * x_step]) * factor;
                }
            }
        }
    }
    UNROLL
    for (int w = 0; w < windows; w++) {
        const vec four[PIXELS] = {sum[0][2 * w], sum[0][2 * w + 1], sum[1][2 * w], sum[1][2 * w + 1]};
        store_largest_of_four(four, y + w * LANES, winner ? winner + w * LANES : NULL, p->relu);
    }
}

typedef void pooled_function(
    const pooled_sum *, const float *, const float *, const float *, float *, uint8_t *);

#define POOLED_FUNCTION(W, NAME, STEP, SINGLE) \
    static void pooled_##W##_##NAME( \
        const pooled_sum *p, const float *x, const float *weight, const float *bias, float *y, \
        uint8_t *winner) \
    { \
        pooled_tile(p, x, weight, bias, y, winner, W, STEP, SINGLE); \
    }
#define POOLED(W) \
    POOLED_FUNCTION(W, any, p->s->x_step, 0) \
    POOLED_FUNCTION(W, one, 1, 1) \
    POOLED_FUNCTION(W, two, 2, 1) \
    POOLED_FUNCTION(W, vector, LANES, 0)
#define POOLED_ENTRY(W) \
    [W] = {pooled_##W##_any, pooled_##W##_one, pooled_##W##_two, pooled_##W##_vector},
#if LANES == 16
#define ALL_POOLED(M) M(1) M(2) M(3) M(4) M(5) M(6) M(7)
#else
#define ALL_POOLED(M) M(1) M(2) M(3)
#endif

ALL_POOLED(POOLED)

static pooled_function *const pooled_functions[MOST_WINDOWS + 1][4] = {ALL_POOLED(POOLED_ENTRY)};

/* A row of windows for one vector of outputs. winner: NULL where nobody asks. */
void NAMED(channel_pooled_row)(
    const op *o, const channel_sum *s, const float *x, const float *weight, const float *bias,
    float *y, uint8_t *winner)
{
    const pooled_sum p = {.s = s, .x_row = o->stride_h * o->x.row, .relu = o->relu};
    const int single = s->channels == 1;
    const int step = single && s->x_step == 1 ? 1 : single && s->x_step == 2 ? 2
        : s->x_step == LANES ? 3 : 0;
    for (ptrdiff_t w = 0; w < o->pooled.width;) {
        const int windows = next_part(o->pooled.width - w, MOST_WINDOWS);
        pooled_functions[windows][step](
            &p, x + 2 * w * s->x_step, weight, bias, y + w * LANES,
            winner ? winner + w * LANES : NULL);
        w += windows;
    }
}
