/* Every size of tile as a function of its own, and the choice among them. */
#include "tiles.h"

typedef void sum_function(
    const weighted_sum *, const float *, const float *, const float *, float *, const float *, int);
typedef void gradient_function(
    const pixel_products *, const float *, const float *, const ptrdiff_t *, float *);

#define SUM_TILE(P, K) \
    static void sum_tile_##P##_##K( \
        const weighted_sum *s, const float *x, const float *weight, const float *bias, \
        float *y, const float *gate, int relu) \
    { \
        if (s->x_step == LANES) \
            sum_tile(s, x, weight, bias, y, gate, relu, P, K, 1); \
        else \
            sum_tile(s, x, weight, bias, y, gate, relu, P, K, 0); \
    }
#define GRADIENT_TILE(K, T) \
    static void gradient_tile_##K##_##T( \
        const pixel_products *s, const float *dy, const float *x, const ptrdiff_t *tap, \
        float *dweight) \
    { \
        if (s->x_step == LANES) \
            gradient_tile(s, dy, x, tap, dweight, K, T, 1); \
        else \
            gradient_tile(s, dy, x, tap, dweight, K, T, 0); \
    }
#define EACH_3(M, A) M(A, 1) M(A, 2) M(A, 3)
#define EACH_4(M, A) EACH_3(M, A) M(A, 4)
#define EACH_6(M, A) EACH_4(M, A) M(A, 5) M(A, 6)
#define EACH_8(M, A) EACH_6(M, A) M(A, 7) M(A, 8)

#if LANES == 16
#define SUM_TILES(M) \
    EACH_8(M, 1) EACH_8(M, 2) EACH_8(M, 3) EACH_6(M, 4) EACH_4(M, 5) EACH_4(M, 6)
#define GRADIENT_TILES(M) EACH_6(M, 1) EACH_6(M, 2) EACH_6(M, 3) EACH_6(M, 4)
#else
#define SUM_TILES(M) EACH_6(M, 1) EACH_6(M, 2) EACH_4(M, 3) EACH_3(M, 4)
#define GRADIENT_TILES(M) EACH_4(M, 1) EACH_4(M, 2) EACH_4(M, 3)
#endif

SUM_TILES(SUM_TILE)
GRADIENT_TILES(GRADIENT_TILE)

#define SUM_ENTRY(P, K) [P][K] = sum_tile_##P##_##K,
static sum_function *const sum_tiles[TILE_PIXELS + 1][TILE_ROWS + 1] = {SUM_TILES(SUM_ENTRY)};

#define GRADIENT_ENTRY(K, T) [K][T] = gradient_tile_##K##_##T,
static gradient_function *const gradient_tiles[GRADIENT_ROWS + 1][GRADIENT_TAPS + 1] = {
    GRADIENT_TILES(GRADIENT_ENTRY)};

/* y[k, p] for k < rows, p < pixels; see `weighted_sum`. */
void NAMED(sum_block)(
    const weighted_sum *s, const float *x, const float *weight, const float *bias,
    float *y, const float *gate, int relu, ptrdiff_t pixels, ptrdiff_t rows)
{
    const int widest = next_part(pixels, TILE_PIXELS);
    const int most_rows = TILE_SUMS / widest < TILE_ROWS ? TILE_SUMS / widest : TILE_ROWS;
    for (ptrdiff_t k = 0; k < rows;) {
        const int tile_rows = next_part(rows - k, most_rows);
        for (ptrdiff_t p = 0; p < pixels;) {
            const int tile_pixels = next_part(pixels - p, TILE_PIXELS);
            sum_tiles[tile_pixels][tile_rows](
                s, x + p * s->x_step, weight + k * s->weight_row, bias ? bias + k : NULL,
                y + k * s->y_plane + p * s->y_step,
                gate ? gate + k * s->gate_plane + p * s->gate_step : NULL, relu);
            p += tile_pixels;
        }
        k += tile_rows;
    }
}

/* dweight[k, t] for k < rows, t < taps; see `pixel_products`. */
void NAMED(gradient_block)(
    const pixel_products *s, const float *dy, const float *x, const ptrdiff_t *tap,
    float *dweight, ptrdiff_t rows, ptrdiff_t taps)
{
    for (ptrdiff_t k = 0; k < rows;) {
        const int tile_rows = next_part(rows - k, GRADIENT_ROWS);
        for (ptrdiff_t t = 0; t < taps;) {
            const int tile_taps = next_part(taps - t, GRADIENT_TAPS);
            gradient_tiles[tile_rows][tile_taps](
                s, dy + k * s->dy_plane, x, tap + t, dweight + k * s->dweight_row + t);
            t += tile_taps;
        }
        k += tile_rows;
    }
}
