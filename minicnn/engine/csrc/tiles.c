/* Every size of tile as a function of its own, and the choice among them. */
#include "tiles.h"

typedef void sum_function(
    const weighted_sum *, const float *, const float *, const float *, float *, const float *, int);
typedef void gradient_function(
    const pixel_products *, const float *, const float *, const ptrdiff_t *, float *, int);
typedef void window_function(
    const weighted_sum *, const float *, const float *, const float *, float *, uint8_t *, ptrdiff_t,
    int);

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
        float *sums, int add) \
    { \
        if (s->x_step == LANES) \
            gradient_tile(s, dy, x, tap, sums, add, K, T, 1); \
        else \
            gradient_tile(s, dy, x, tap, sums, add, K, T, 0); \
    }
#define WINDOW_TILE(K) \
    static void window_tile_##K( \
        const weighted_sum *s, const float *x, const float *weight, const float *bias, float *y, \
        uint8_t *winner, ptrdiff_t winner_plane, int relu) \
    { \
        if (s->x_step == LANES) \
            window_tile(s, x, weight, bias, y, winner, winner_plane, relu, K, 1); \
        else \
            window_tile(s, x, weight, bias, y, winner, winner_plane, relu, K, 0); \
    }
#define EACH_3(M, A) M(A, 1) M(A, 2) M(A, 3)
#define EACH_4(M, A) EACH_3(M, A) M(A, 4)
#define EACH_6(M, A) EACH_4(M, A) M(A, 5) M(A, 6)
#define EACH_8(M, A) EACH_6(M, A) M(A, 7) M(A, 8)

#if LANES == 16
#define SUM_TILES(M) \
    EACH_8(M, 1) EACH_8(M, 2) EACH_8(M, 3) EACH_6(M, 4) EACH_4(M, 5) EACH_4(M, 6)
#define GRADIENT_TILES(M) EACH_8(M, 1) EACH_8(M, 2) EACH_8(M, 3) EACH_6(M, 4)
#define WINDOW_TILES(M) M(1) M(2) M(3) M(4) M(5) M(6)
#else
#define SUM_TILES(M) EACH_6(M, 1) EACH_6(M, 2) EACH_4(M, 3) EACH_3(M, 4)
#define GRADIENT_TILES(M) EACH_4(M, 1) EACH_4(M, 2) EACH_4(M, 3)
#define WINDOW_TILES(M) M(1) M(2) M(3)
#endif

SUM_TILES(SUM_TILE)
GRADIENT_TILES(GRADIENT_TILE)
WINDOW_TILES(WINDOW_TILE)

#define SUM_ENTRY(P, K) [P][K] = sum_tile_##P##_##K,
static sum_function *const sum_tiles[TILE_PIXELS + 1][TILE_ROWS + 1] = {SUM_TILES(SUM_ENTRY)};

#define GRADIENT_ENTRY(K, T) [K][T] = gradient_tile_##K##_##T,
static gradient_function *const gradient_tiles[GRADIENT_ROWS + 1][GRADIENT_TAPS + 1] = {
    GRADIENT_TILES(GRADIENT_ENTRY)};

#define WINDOW_ENTRY(K) [K] = window_tile_##K,
static window_function *const window_tiles[WINDOW_ROWS + 1] = {WINDOW_TILES(WINDOW_ENTRY)};

INLINE int widest_tile(int tile_rows)
{
    return TILE_SUMS / tile_rows < TILE_PIXELS ? TILE_SUMS / tile_rows : TILE_PIXELS;
}

/* Most rows of a tile so that sums are many for what they load, and wait for no product. */
int NAMED(rows_of_tile)(ptrdiff_t pixels, ptrdiff_t rows)
{
    int best = 1;
    ptrdiff_t least = 0;
    for (int most = 1; most <= TILE_ROWS && most <= rows; most++) {
        ptrdiff_t cost = 0;
        for (ptrdiff_t k = 0, height; k < rows; k += height) {
            height = next_part(rows - k, most);
            for (ptrdiff_t p = 0, width; p < pixels; p += width) {
                width = next_part(pixels - p, widest_tile((int)height));
                const ptrdiff_t products = width * height, loads = width + height;
                cost += 2 * (products > 8 ? products : 8) + loads;
            }
        }
        if (most == 1 || cost < least) {
            least = cost;
            best = most;
        }
    }
    return best;
}

/* y[k, p] for k < rows, p < pixels; see `weighted_sum`. */
void NAMED(sum_block)(
    const weighted_sum *s, const float *x, const float *weight, const float *bias,
    float *y, const float *gate, int relu, ptrdiff_t pixels, ptrdiff_t rows)
{
    for (ptrdiff_t k = 0; k < rows;) {
        const int tile_rows = next_part(rows - k, s->tile_rows), widest = widest_tile(tile_rows);
        for (ptrdiff_t p = 0; p < pixels;) {
            const int tile_pixels = next_part(pixels - p, widest);
            sum_tiles[tile_pixels][tile_rows](
                s, x + p * s->x_step, weight + k * s->weight_row, bias ? bias + k : NULL,
                y + k * s->y_plane + p * s->y_step,
                gate ? gate + k * s->gate_plane + p * s->gate_step : NULL, relu);
            p += tile_pixels;
        }
        k += tile_rows;
    }
}

void NAMED(window_block)(
    const weighted_sum *s, const float *x, const float *weight, const float *bias, float *y,
    uint8_t *winner, ptrdiff_t winner_plane, int relu, ptrdiff_t windows, ptrdiff_t rows)
{
    for (ptrdiff_t k = 0; k < rows;) {
        const int count = next_part(rows - k, WINDOW_ROWS);
        for (ptrdiff_t w = 0; w < windows; w++)
            window_tiles[count](
                s, x + 2 * w * s->x_step, weight + k * s->weight_row, bias ? bias + k : NULL,
                y + k * s->y_plane + w * s->y_step,
                winner ? winner + k * winner_plane + w * LANES : NULL, winner_plane, relu);
        k += count;
    }
}

void NAMED(gradient_block)(
    const pixel_products *s, const float *dy, const float *x, const ptrdiff_t *tap,
    float *sums, int add, ptrdiff_t rows)
{
    const int most = GRADIENT_SUMS / rows < GRADIENT_TAPS ? GRADIENT_SUMS / rows : GRADIENT_TAPS;
    for (ptrdiff_t t = 0; t < s->taps;) {
        const int count = next_part(s->taps - t, most);
        gradient_tiles[rows][count](s, dy, x, tap + t, sums + t * LANES, add);
        t += count;
    }
}
