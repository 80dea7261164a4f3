/* Linear on rows, forward: y[n, o] = bias[o] + sum over i of x[n, i] weight[o, i].
 *
 * The lanes are inputs; they are added up when a sum is complete.
 */
#include "rows.h"

#if LANES == 16
enum { DOT_SAMPLES = 6, DOT_OUTPUTS = 16, DOT_SUMS = 24 };
static const int dot_outputs[] = {0, 16, 8, 8, 6, 4, 4};    /* for so many samples */
#else
enum { DOT_SAMPLES = 4, DOT_OUTPUTS = 8, DOT_SUMS = 12 };
static const int dot_outputs[] = {0, 8, 6, 4, 3};
#endif

enum { WORTH_COPYING = 16 };                /* outputs that make up for a copy of x */

/* Sums over some neighbouring inputs. */
typedef struct {
    ptrdiff_t x_row, y_row;                 /* from sample to sample */
    ptrdiff_t weight_row;                   /* from output to output */
    ptrdiff_t inputs;
    int first, last, relu;                  /* whether they are the first, or last, of all */
} dots;

INLINE vec some_of(const float *p, ptrdiff_t count, const int whole)
{
    return whole ? load_loose(p) : load_some(p, count);
}

/* sum[n, k] += x[n] * weight[k] for `count` inputs from the i-th on: LANES if `whole` */
INLINE void add_products(
    const dots *d, const float *x, const float *const *weight, ptrdiff_t i, ptrdiff_t count,
    vec *sum, const int samples, const int outputs, const int whole)
{
    vec factor[DOT_OUTPUTS], value[DOT_SAMPLES];
    /* Whichever are fewer wait in registers for the others, which come one by one. */
    if (outputs <= samples || LANES == 16) {
        UNROLL
        for (int k = 0; k < outputs; k++)
            factor[k] = some_of(weight[k] + i, count, whole);
        UNROLL
        for (int n = 0; n < samples; n++) {
            value[n] = some_of(x + n * d->x_row + i, count, whole);
            UNROLL
            for (int k = 0; k < outputs; k++)
                sum[n * outputs + k] += value[n] * factor[k];
        }
    } else {
        UNROLL
        for (int n = 0; n < samples; n++)
            value[n] = held(some_of(x + n * d->x_row + i, count, whole));
        UNROLL
        for (int k = 0; k < outputs; k++) {
            factor[k] = held(some_of(weight[k] + i, count, whole));
            UNROLL
            for (int n = 0; n < samples; n++)
                sum[n * outputs + k] += value[n] * factor[k];
        }
    }
}

INLINE void dot_tile(
    const dots *d, const float *restrict x, const float *restrict weight, const float *bias,
    float *restrict sums,                   /* [samples][outputs][LANES] between the calls */
    float *restrict y, const int samples, const int outputs)
{
    enum { GROUPS = (DOT_SUMS + LANES - 1) / LANES };
    vec sum[GROUPS * LANES];                /* [samples][outputs], then zeros */
    const float *row[DOT_OUTPUTS];
    /* 1. The bias, in one of the lanes; or what the inputs before these came to. */
    UNROLL
    for (int k = 0; k < outputs; k++) {
        row[k] = weight + k * d->weight_row;
        UNROLL
        for (int n = 0; n < samples; n++) {
            const int i = n * outputs + k;
            sum[i] = d->first ? (vec){bias ? bias[k] : 0.0f} : load(sums + i * LANES);
        }
    }
    UNROLL
    for (int i = samples * outputs; i % LANES; i++)
        sum[i] = splat(0.0f);
    /* 2. One step: `samples` vectors of x, each used for `outputs` sums. */
    ptrdiff_t i = 0;
    _Pragma("GCC unroll 2")
    for (; i + LANES <= d->inputs; i += LANES)
        add_products(d, x, row, i, LANES, sum, samples, outputs, 1);
    if (i < d->inputs)
        add_products(d, x, row, i, d->inputs - i, sum, samples, outputs, 0);
    if (!d->last) {
        UNROLL
        for (int n = 0; n < samples; n++) {
            UNROLL
            for (int k = 0; k < outputs; k++)
                store(sums + (n * outputs + k) * LANES, sum[n * outputs + k]);
        }
        return;
    }
    /* 3. The lanes of each sum, and ReLU. */
    float total[GROUPS * LANES] __attribute__((aligned(64)));
    UNROLL
    for (int g = 0; g * LANES < samples * outputs; g++) {
        const vec v = lane_sums(sum + g * LANES);
        store(total + g * LANES, d->relu ? gated(v, v) : v);
    }
    UNROLL
    for (int n = 0; n < samples; n++)
        memcpy(y + n * d->y_row, total + n * outputs, outputs * sizeof(float));
}

typedef void dot_function(
    const dots *, const float *, const float *, const float *, float *, float *);

#define DOT_TILE(N, K) \
    static void dot_tile_##N##_##K( \
        const dots *d, const float *x, const float *weight, const float *bias, float *sums, \
        float *y) \
    { \
        dot_tile(d, x, weight, bias, sums, y, N, K); \
    }
#if LANES == 16
#define DOT_TILES(M) TO_16(M, 1) TO_8(M, 2) TO_8(M, 3) TO_6(M, 4) TO_4(M, 5) TO_4(M, 6)
#else
#define DOT_TILES(M) TO_8(M, 1) TO_6(M, 2) TO_4(M, 3) TO_3(M, 4)
#endif

DOT_TILES(DOT_TILE)

#define DOT_ENTRY(N, K) [N][K] = dot_tile_##N##_##K,
static dot_function *const dot_tiles[DOT_SAMPLES + 1][DOT_OUTPUTS + 1] = {DOT_TILES(DOT_ENTRY)};

/* Rows of users start anywhere; a vector that lies in two cache lines takes twice as long to load. */
static const float *aligned_rows(
    const float *x, ptrdiff_t x_row, int rows, ptrdiff_t inputs, float *copies, ptrdiff_t copy_row)
{
    const ptrdiff_t whole = inputs / LANES * LANES;
    for (int n = 0; n < rows; n++, x += x_row) {
        float *to = copies + n * copy_row;
        for (ptrdiff_t i = 0; i < whole; i += LANES)
            store(to + i, load_loose(x + i));
        if (whole < inputs)
            store(to + whole, load_some(x + whole, inputs - whole));
    }
    return copies;
}

/* Some samples and outputs. A few samples stay in the nearest cache while all these weights pass by;
 * they are few enough for the next cache, so memory delivers each once. */
static void dot_block(
    dots *d, const float *x, const float *weight, const float *bias, float *sums, float *y,
    ptrdiff_t samples, ptrdiff_t outputs, float *copies)
{
    const ptrdiff_t x_row = d->x_row;
    const int copied = outputs >= WORTH_COPYING && ((uintptr_t)x % sizeof(vec) || x_row % LANES);
    if (copied)
        d->x_row = whole_parts(d->inputs, LANES) * LANES;
    for (ptrdiff_t n = 0; n < samples;) {
        const int tile_samples = next_part(samples - n, DOT_SAMPLES);
        const float *rows = x + n * x_row;
        if (copied)
            rows = aligned_rows(rows, x_row, tile_samples, d->inputs, copies, d->x_row);
        for (ptrdiff_t k = 0; k < outputs;) {
            const int tile_outputs = next_part(outputs - k, dot_outputs[tile_samples]);
            dot_tiles[tile_samples][tile_outputs](
                d, rows, weight + k * d->weight_row, bias ? bias + k : NULL, sums,
                y + n * d->y_row + k);
            sums += tile_samples * tile_outputs * LANES;
            k += tile_outputs;
        }
        n += tile_samples;
    }
}

/* y of a sample; the answer itself is a plain array. */
static float *row_of(const op *o, const run *r, ptrdiff_t slot)
{
    return o->y.where == IN_OUTPUT ? r->output + slot * r->output_size : at_map(r, slot, &o->y);
}

/* y of `samples` samples from `slot` on, for some outputs. Inputs go by in blocks. */
static void forward_block(
    const op *o, const run *r, ptrdiff_t slot, ptrdiff_t samples, range outputs)
{
    const ptrdiff_t inputs = o->inputs, vectors = whole_parts(inputs, LANES);
    const ptrdiff_t blocks = whole_parts(vectors, ROWS_BLOCK / LANES);
    for (ptrdiff_t block = 0; block < blocks; block++) {
        const range part = equal_part(vectors, ROWS_BLOCK / LANES, block);
        const ptrdiff_t i = part.first * LANES;
        dots d = {
            .x_row = sample_step(r, &o->x), .y_row = sample_step(r, &o->y),
            .weight_row = inputs, .inputs = smaller(part.end * LANES, inputs) - i,
            .first = block == 0, .last = block == blocks - 1, .relu = o->relu,
        };
        dot_block(&d, at_map(r, slot, &o->x) + i, o->weight + outputs.first * inputs + i,
                  o->bias ? o->bias + outputs.first : NULL, r->scratch,
                  row_of(o, r, slot) + outputs.first, samples, outputs.end - outputs.first,
                  r->scratch + ROWS_SCRATCH - DOT_SAMPLES * ROWS_BLOCK);
    }
}

/* Zeros where the last vector of y will not be filled. */
static void clear_last(const op *o, const run *r, ptrdiff_t slot)
{
    if (o->outputs % LANES && o->y.where != IN_OUTPUT)
        store(row_of(o, r, slot) + o->outputs / LANES * LANES, splat(0.0f));
}

/* Item: one of the equal parts of the outputs, none above ROWS_OUTPUTS; where that is one part, one of
 * ROWS_SHARES equal parts of many samples. */
void NAMED(rows_forward)(const op *o, const run *r, ptrdiff_t item)
{
    range outputs = {0, o->outputs}, slots = {0, r->slots};
    if (o->outputs > ROWS_OUTPUTS)
        outputs = outputs_of(o, r, item);
    else if (r->slots >= MANY_SAMPLES)
        slots = (range){item * r->slots / ROWS_SHARES, (item + 1) * r->slots / ROWS_SHARES};
    else if (item > 0)
        return;
    if (outputs.first == outputs.end)
        return;
    for (ptrdiff_t slot = slots.first; slot < slots.end && outputs.end == o->outputs; slot++)
        clear_last(o, r, slot);
    for (ptrdiff_t slot = slots.first; slot < slots.end; slot += ROWS_SAMPLES)
        forward_block(o, r, slot, smaller(ROWS_SAMPLES, slots.end - slot), outputs);
}

/* One row, where a slot goes through the whole net before the next one. */
void NAMED(row_forward)(const op *o, const run *r, ptrdiff_t slot)
{
    clear_last(o, r, slot);
    forward_block(o, r, slot, 1, (range){0, o->outputs});
}
