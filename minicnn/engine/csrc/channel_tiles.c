/* Every size of tile as a function of its own, and the choice among them. */
#include "channel_tiles.h"
#include "kernels.h"

typedef void channel_sum_function(
    const channel_sum *, const float *, const float *, const float *, float *, const float *, int);
typedef void channel_gradient_function(
    const channel_products *, const float *, const float *, const ptrdiff_t *, float *, int);

/* Distances between pixels of x that are worth a function: one or two values (of a single
 * channel), one or two vectors. */
enum { ANY_STEP, ONE_VALUE, TWO_VALUES, ONE_VECTOR, TWO_VECTORS, STEPS };

#define SUM_FUNCTION(P, K, NAME, STEP, SINGLE) \
    static void channel_sum_##P##_##K##_##NAME( \
        const channel_sum *s, const float *x, const float *weight, const float *bias, \
        float *y, const float *gate, int relu) \
    { \
        channel_sum_tile(s, x, weight, bias, y, gate, relu, P, K, STEP, SINGLE); \
    }
#define CHANNEL_SUM(P, K) \
    SUM_FUNCTION(P, K, any, s->x_step, 0) \
    SUM_FUNCTION(P, K, one, 1, 1) \
    SUM_FUNCTION(P, K, two, 2, 1) \
    SUM_FUNCTION(P, K, vector, LANES, 0) \
    SUM_FUNCTION(P, K, vectors, 2 * LANES, 0)
#define CHANNEL_SUM_ENTRY(P, K) \
    [ANY_STEP][P][K] = channel_sum_##P##_##K##_any, \
    [ONE_VALUE][P][K] = channel_sum_##P##_##K##_one, \
    [TWO_VALUES][P][K] = channel_sum_##P##_##K##_two, \
    [ONE_VECTOR][P][K] = channel_sum_##P##_##K##_vector, \
    [TWO_VECTORS][P][K] = channel_sum_##P##_##K##_vectors,

#define PIXELS_2(M, K) M(1, K) M(2, K)
#define PIXELS_4(M, K) PIXELS_2(M, K) M(3, K) M(4, K)
#define PIXELS_6(M, K) PIXELS_4(M, K) M(5, K) M(6, K)
#define PIXELS_9(M, K) PIXELS_6(M, K) M(7, K) M(8, K) M(9, K)
#define PIXELS_12(M, K) PIXELS_9(M, K) M(10, K) M(11, K) M(12, K)
#define PIXELS_14(M, K) PIXELS_12(M, K) M(13, K) M(14, K)

#if LANES == 16
#define CHANNEL_SUMS(M) PIXELS_14(M, 1) PIXELS_14(M, 2) PIXELS_9(M, 3) PIXELS_6(M, 4)
static const int most_pixels[] = {0, 14, 14, 9, 6};
#else
#define CHANNEL_SUMS(M) PIXELS_12(M, 1) PIXELS_6(M, 2) PIXELS_4(M, 3)
static const int most_pixels[] = {0, 12, 6, 4};
#endif

CHANNEL_SUMS(CHANNEL_SUM)

static channel_sum_function *const
    sum_functions[STEPS][MOST_PIXELS + 1][MOST_VECTORS + 1] = {CHANNEL_SUMS(CHANNEL_SUM_ENTRY)};

/* The tile of fewest cycles, where a cycle takes two products or two loads, and a product waits
 * four cycles for the one before it in the same sum. */
int NAMED(vectors_of_tile)(ptrdiff_t vectors, ptrdiff_t pixels)
{
    int best = 1;
    ptrdiff_t least = 0;
    for (int k = 1; k <= MOST_VECTORS && k <= vectors; k++) {
        ptrdiff_t cycles = 0;                   /* times two */
        for (ptrdiff_t v = 0; v < vectors; v += k) {
            const ptrdiff_t of_tile = vectors - v < k ? vectors - v : k;
            for (ptrdiff_t p = 0; p < pixels;) {
                const int width = next_part(pixels - p, most_pixels[of_tile]);
                const ptrdiff_t products = width * of_tile, loads = width + of_tile;
                const ptrdiff_t most = products > loads ? products : loads;
                cycles += (most > 8 ? most : 8) + 1;
                p += width;
            }
        }
        if (k == 1 || cycles < least) {
            least = cycles;
            best = k;
        }
    }
    return best;
}

/* y[p, k] for p < pixels and `vectors` vectors of k; see `channel_sum`. */
void NAMED(channel_sum_block)(
    const channel_sum *s, const float *x, const float *weight, const float *bias,
    float *y, const float *gate, int relu, ptrdiff_t pixels, int vectors)
{
    const int single = s->channels == 1;
    const int step = s->x_step == 1 && single ? ONE_VALUE : s->x_step == 2 && single ? TWO_VALUES
        : s->x_step == LANES ? ONE_VECTOR : s->x_step == 2 * LANES ? TWO_VECTORS : ANY_STEP;
    const unsigned most = most_pixels[vectors], tiles = ((unsigned)pixels + most - 1) / most;
    const unsigned least = (unsigned)pixels / tiles, wider = (unsigned)pixels % tiles;
    for (ptrdiff_t p = 0, tile = 0; p < pixels; tile++) {
        const ptrdiff_t width = least + (tile < wider);
        sum_functions[step][width][vectors](
            s, x + p * s->x_step, weight, bias, y + p * s->y_step,
            gate ? gate + p * s->gate_step : NULL, relu);
        p += width;
    }
}

/* --- gradients ---------------------------------------------------------------------------------- */

#define CHANNEL_GRADIENT(S, J, K) \
    static void channel_gradient_##S##_##J##_##K( \
        const channel_products *s, const float *dy, const float *x, const ptrdiff_t *start, \
        float *out, int add) \
    { \
        channel_gradient_tile(s, dy, x, start, out, add, S, J, K); \
    }
#define CHANNEL_GRADIENT_ENTRY(S, J, K) [S][J][K] = channel_gradient_##S##_##J##_##K,

#define RUN_2(M, S, K) M(S, 1, K) M(S, 2, K)
#define RUN_4(M, S, K) RUN_2(M, S, K) M(S, 3, K) M(S, 4, K)
#define RUN_6(M, S, K) RUN_4(M, S, K) M(S, 5, K) M(S, 6, K)
#define RUN_8(M, S, K) RUN_6(M, S, K) M(S, 7, K) M(S, 8, K)

#if LANES == 16
#define CHANNEL_GRADIENTS(M) \
    RUN_8(M, 1, 1) RUN_8(M, 1, 2) RUN_8(M, 1, 3) RUN_6(M, 1, 4) \
    RUN_8(M, 2, 1) RUN_6(M, 2, 2) RUN_4(M, 2, 3) \
    RUN_8(M, 3, 1) RUN_4(M, 3, 2)
#else
#define CHANNEL_GRADIENTS(M) \
    RUN_6(M, 1, 1) RUN_6(M, 1, 2) RUN_4(M, 1, 3) \
    RUN_6(M, 2, 1) M(2, 1, 2) M(2, 2, 2) M(2, 3, 2) RUN_2(M, 2, 3) \
    RUN_4(M, 3, 1) RUN_2(M, 3, 2) M(3, 1, 3)
#endif

CHANNEL_GRADIENTS(CHANNEL_GRADIENT)

static channel_gradient_function *const
    gradient_functions[MOST_STARTS + 1][MOST_RUN + 1][MOST_VECTORS + 1] = {
        CHANNEL_GRADIENTS(CHANNEL_GRADIENT_ENTRY)};

/* How many of `left` values go into one tile, beside so many vectors. */
static int values_of_tile(ptrdiff_t left, ptrdiff_t vectors)
{
#if LANES == 16
    (void)vectors;
    return next_part(left, MOST_RUN);
#else
    /* With as many starts as there is a function for, 12 sums out of at most 8 loads wherever the run
     * allows that, or else at least the 8 sums that hide how long a product takes. */
    static const int best[MOST_VECTORS + 1][9] = {
        [1] = {0, 1, 2, 3, 4, 5, 6, 4, 4}, [2] = {0, 1, 2, 3, 2, 5, 6, 2, 2},
        [3] = {0, 1, 2, 3, 4, 3, 3, 4, 4},
    };
    return best[(int)smaller(vectors, MOST_VECTORS)][(int)smaller(left, 8)];
#endif
}

/* How many of `left` starts go into one tile: as many as there is a function for. */
static int starts_of_tile(ptrdiff_t left, int run, int vectors)
{
    int starts = left < MOST_STARTS ? (int)left : MOST_STARTS;
    while (gradient_functions[starts][run][vectors] == NULL)
        starts--;
    return starts;
}

/* out[start, j, k] for all starts, j < run, and `vectors` vectors of k; see `channel_products`. */
void NAMED(channel_gradient_block)(
    const channel_products *s, const float *dy, const float *x, const ptrdiff_t *start,
    ptrdiff_t starts, ptrdiff_t run, ptrdiff_t vectors, float *out, int add)
{
    for (ptrdiff_t j = 0; j < run;) {
        const int values = values_of_tile(run - j, vectors);
        const int most = MOST_GRADIENTS / values < MOST_VECTORS ? MOST_GRADIENTS / values
            : MOST_VECTORS;
        for (ptrdiff_t k = 0; k < vectors;) {
            const int width = next_part(vectors - k, most);
            for (ptrdiff_t i = 0; i < starts;) {
                const int count = starts_of_tile(starts - i, values, width);
                gradient_functions[count][values][width](
                    s, dy + k * s->dy_plane, x + j, start + i,
                    out + (i * s->run + j) * s->out_step + k * LANES, add);
                i += count;
            }
            k += width;
        }
        j += values;
    }
}
