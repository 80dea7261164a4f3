/* The products of Winograd's convolutions: at each of the points a small matrix product. */
#include "winograd.h"

#if LANES == 16                 /* 32 registers */
#define MOST_SUM_TILES 14
#define GRADIENT_CHANNELS 8
#else                           /* 16 registers */
#define MOST_SUM_TILES 6
#define GRADIENT_CHANNELS 4
#endif

INLINE void point_sum_tile(
    const float *restrict v, ptrdiff_t v_plane, ptrdiff_t channels, ptrdiff_t points,
    const float *restrict u, float *restrict m, ptrdiff_t m_plane, const int tiles, const int vectors)
{
    vec sum[MOST_SUM_TILES][PANEL];
    UNROLL
    for (int t = 0; t < tiles; t++) {
        UNROLL
        for (int k = 0; k < vectors; k++)
            sum[t][k] = splat(0.0f);
    }
    for (ptrdiff_t p = 0, left = channels; p < points; v += v_plane) {
        const ptrdiff_t count = smaller(LANES, left);
        left -= count;
        if (left == 0) {
            left = channels;
            p++;
        }
        for (ptrdiff_t c = 0; c < count; c++, u += vectors * LANES) {
            vec factor[PANEL];
            UNROLL
            for (int k = 0; k < vectors; k++)
                factor[k] = load(u + k * LANES);
            UNROLL
            for (int t = 0; t < tiles; t++) {
                const vec value = splat(v[t * LANES + c]);
                UNROLL
                for (int k = 0; k < vectors; k++)
                    sum[t][k] += value * factor[k];
            }
        }
    }
    UNROLL
    for (int k = 0; k < vectors; k++) {
        UNROLL
        for (int t = 0; t < tiles; t++)
            store(m + k * m_plane + t * LANES, sum[t][k]);
    }
}

INLINE void point_gradient_tile(
    const float *restrict v, const float *restrict w, ptrdiff_t w_plane, ptrdiff_t tiles,
    float *restrict du, const int vectors)
{
    vec sum[GRADIENT_CHANNELS][PANEL];
    UNROLL
    for (int c = 0; c < GRADIENT_CHANNELS; c++) {
        UNROLL
        for (int k = 0; k < vectors; k++)
            sum[c][k] = splat(0.0f);
    }
    _Pragma("GCC unroll 4")
    for (ptrdiff_t t = 0; t < tiles * LANES; t += LANES) {
        vec gradient[PANEL];
        UNROLL
        for (int k = 0; k < vectors; k++)
            gradient[k] = load(w + k * w_plane + t);
        UNROLL
        for (int c = 0; c < GRADIENT_CHANNELS; c++) {
            const vec value = splat(v[t + c]);
            UNROLL
            for (int k = 0; k < vectors; k++)
                sum[c][k] += value * gradient[k];
        }
    }
    UNROLL
    for (int c = 0; c < GRADIENT_CHANNELS; c++) {
        UNROLL
        for (int k = 0; k < vectors; k++)
            store(du + (c * PANEL + k) * LANES, sum[c][k]);
    }
}

/* --- every size as a function of its own, and the choice among them ----------------------------- */

typedef void point_sum_function(
    const float *, ptrdiff_t, ptrdiff_t, ptrdiff_t, const float *, float *, ptrdiff_t);

#define POINT_SUM(T, K) \
    static void point_sum_##T##_##K( \
        const float *v, ptrdiff_t v_plane, ptrdiff_t channels, ptrdiff_t points, const float *u, \
        float *m, ptrdiff_t m_plane) \
    { \
        point_sum_tile(v, v_plane, channels, points, u, m, m_plane, T, K); \
    }
#define POINT_SUM_ENTRY(T, K) [T][K] = point_sum_##T##_##K,
#define UP_TO_6(M, K) M(1, K) M(2, K) M(3, K) M(4, K) M(5, K) M(6, K)
#define UP_TO_14(M, K) \
    UP_TO_6(M, K) M(7, K) M(8, K) M(9, K) M(10, K) M(11, K) M(12, K) M(13, K) M(14, K)
#if LANES == 16
#define POINT_SUMS(M) UP_TO_14(M, 1) UP_TO_14(M, 2)
#else
#define POINT_SUMS(M) UP_TO_6(M, 1) UP_TO_6(M, 2)
#endif

POINT_SUMS(POINT_SUM)
static point_sum_function *const point_sum_functions[MOST_SUM_TILES + 1][PANEL + 1] = {
    POINT_SUMS(POINT_SUM_ENTRY)};

void NAMED(point_sums)(
    const float *v, ptrdiff_t v_plane, ptrdiff_t channels, ptrdiff_t points, const float *u, float *m,
    ptrdiff_t m_plane, ptrdiff_t tiles, int vectors)
{
    for (ptrdiff_t t = 0; t < tiles;) {
        const int count = next_part(tiles - t, MOST_SUM_TILES);
        point_sum_functions[count][vectors](
            v + t * LANES, v_plane, channels, points, u, m + t * LANES, m_plane);
        t += count;
    }
}

void NAMED(point_gradients)(
    const float *v, const float *w, ptrdiff_t w_plane, ptrdiff_t tiles, float *du, int vectors)
{
    for (int c = 0; c < LANES; c += GRADIENT_CHANNELS) {
        float *to = du + c * PANEL * LANES;
        if (vectors == PANEL)
            point_gradient_tile(v + c, w, w_plane, tiles, to, PANEL);
        else
            point_gradient_tile(v + c, w, w_plane, tiles, to, 1);
    }
}
