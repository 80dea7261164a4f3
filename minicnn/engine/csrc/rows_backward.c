/* Linear on rows, backward: sums of outer products.
 *
 *     dweight[o, i] = sum over n of dy[n, o] x[n, i]
 *     dx[n, i]      = sum over o of dy[n, o] weight[o, i]
 *
 * Both are out[a, i] = sum over t of factor[a, t] row[t, i], with inputs in the lanes. The items
 * of both are the same blocks of inputs, so one stage can hold both calls; it reads x and dy once.
 */
#include "rows.h"

enum {
    OUTER_ROWS = 6,
    OUTER_VECTORS = LANES == 16 ? 4 : 2,
    FEW_SAMPLES = 16,           /* they take less time than it takes to pack the weight */
};

typedef struct {
    ptrdiff_t terms;
    ptrdiff_t factor_row, factor_term;      /* from a to a + 1, from t to t + 1 */
    ptrdiff_t row_term, out_row, gate_row;
    int add;                                /* to what is in out */
} outer;

/* `last`: values of out in the last of the vectors. */
INLINE void outer_tile(
    const outer *s, const float *restrict factor, const float *restrict row,
    float *restrict out, const float *gate, ptrdiff_t last, const int rows, const int vectors)
{
    vec sum[OUTER_ROWS][OUTER_VECTORS];
    const float *factor_of[OUTER_ROWS];
    /* 1. Zeros, or what the terms before these came to. */
    UNROLL
    for (int a = 0; a < rows; a++) {
        factor_of[a] = factor + a * s->factor_row;
        UNROLL
        for (int v = 0; v < vectors; v++) {
            const float *from = out + a * s->out_row + v * LANES;
            sum[a][v] = splat(0.0f);
            if (s->add)
                sum[a][v] = v + 1 < vectors ? load_loose(from) : load_some(from, last);
        }
    }
    /* 2. One step: `vectors` vectors of a row, each used for `rows` sums. */
    ptrdiff_t at = 0;
    for (ptrdiff_t t = s->terms; t; t--) {
        vec value[OUTER_VECTORS];
        UNROLL
        for (int v = 0; v < vectors; v++)
            value[v] = load_loose(row + v * LANES);
        UNROLL
        for (int a = 0; a < rows; a++) {
            const vec f = splat(factor_of[a][at]);
            UNROLL
            for (int v = 0; v < vectors; v++)
                sum[a][v] += f * value[v];
        }
        row += s->row_term;
        at += s->factor_term;
    }
    /* 3. The derivative of the ReLU that made the values at `gate`. */
    UNROLL
    for (int a = 0; a < rows; a++) {
        UNROLL
        for (int v = 0; v < vectors; v++) {
            float *to = out + a * s->out_row + v * LANES;
            if (gate)
                sum[a][v] = gated(sum[a][v], load(gate + a * s->gate_row + v * LANES));
            if (v + 1 < vectors)
                store_loose(to, sum[a][v]);
            else
                store_some(to, sum[a][v], last);
        }
    }
}

typedef void outer_function(
    const outer *, const float *, const float *, float *, const float *, ptrdiff_t);

#define OUTER_TILE(A, V) \
    static void outer_tile_##A##_##V( \
        const outer *s, const float *factor, const float *row, float *out, const float *gate, \
        ptrdiff_t last) \
    { \
        outer_tile(s, factor, row, out, gate, last, A, V); \
    }
#if LANES == 16
#define OUTER_TO TO_4
#else
#define OUTER_TO TO_2
#endif
#define OUTER_TILES(M) \
    OUTER_TO(M, 1) OUTER_TO(M, 2) OUTER_TO(M, 3) OUTER_TO(M, 4) OUTER_TO(M, 5) OUTER_TO(M, 6)

OUTER_TILES(OUTER_TILE)

#define OUTER_ENTRY(A, V) [A][V] = outer_tile_##A##_##V,
static outer_function *const outer_tiles[OUTER_ROWS + 1][OUTER_VECTORS + 1] = {
    OUTER_TILES(OUTER_ENTRY)};

/* Some columns of some rows as blocks of OUTER_VECTORS vectors, the last one of what is left; zeros
 * fill the last vector. Rows of the weight start anywhere and may be a multiple of 4096 bytes apart,
 * where they push each other out of the nearest cache. */
static void pack_columns(
    const float *from, ptrdiff_t from_row, ptrdiff_t rows, ptrdiff_t columns,
    float *panel)                           /* [block][rows][vectors of the block][LANES] */
{
    const ptrdiff_t whole = whole_parts(columns, LANES) * LANES;
    for (ptrdiff_t i = 0; i < columns; i += OUTER_VECTORS * LANES) {
        const ptrdiff_t width = smaller(OUTER_VECTORS * LANES, whole - i);
        const float *row = from + i;
        if (i + OUTER_VECTORS * LANES <= columns) {
            for (ptrdiff_t a = 0; a < rows; a++, row += from_row) {
                UNROLL
                for (int v = 0; v < OUTER_VECTORS; v++, panel += LANES)
                    store(panel, load_loose(row + v * LANES));
            }
            continue;
        }
        for (ptrdiff_t a = 0; a < rows; a++, row += from_row) {
            for (ptrdiff_t j = 0; j < width; j += LANES, panel += LANES)
                store(panel, load_some(row + j, smaller(LANES, columns - i - j)));
        }
    }
}

/* All rows of out, and `columns` of its columns, row by row of tiles: what memory takes and gives
 * are runs of columns as long as the item. */
static void outer_block(
    outer s, const float *factor, const float *row, float *out, const float *gate,
    ptrdiff_t rows, ptrdiff_t columns, int packed)
{
    const ptrdiff_t vectors = whole_parts(columns, LANES);
    for (ptrdiff_t a = 0; a < rows;) {
        const int tile_rows = next_part(rows - a, OUTER_ROWS);
        for (ptrdiff_t v = 0; v < vectors; v += OUTER_VECTORS) {
            const int tile_vectors = (int)smaller(OUTER_VECTORS, vectors - v);
            const ptrdiff_t i = v * LANES;
            if (packed)
                s.row_term = tile_vectors * LANES;
            outer_tiles[tile_rows][tile_vectors](
                &s, factor + a * s.factor_row, row + (packed ? i * s.terms : i),
                out + a * s.out_row + i, gate ? gate + a * s.gate_row + i : NULL,
                smaller(LANES, columns - (v + tile_vectors - 1) * LANES));
        }
        a += tile_rows;
    }
}

/* One of the equal parts of the inputs, none above `most`: whole tiles where there are two sizes of
 * them, of which the narrower one wastes half of its loads. */
static range part_of_inputs(const op *o, ptrdiff_t most, ptrdiff_t part)
{
    enum { UNIT = LANES == 16 ? LANES : OUTER_VECTORS * LANES };
    const range v = equal_part(whole_parts(o->inputs, UNIT), most / UNIT, part);
    return (range){v.first * UNIT, smaller(v.end * UNIT, o->inputs)};
}

/* The inputs of an item. Few inputs are two items, so that each half stays with the thread that has
 * made it, and will use its gradient, as half of the outputs of the layer before. */
static range inputs_of(const op *o, ptrdiff_t item)
{
    return part_of_inputs(o, o->inputs > ROWS_INPUTS ? ROWS_INPUTS : ROWS_INPUTS / 2, item);
}

static void rows_bias_gradient(const op *o, const run *r)
{
    for (ptrdiff_t k = 0; k < o->outputs; k += LANES) {
        vec sum = splat(0.0f);
        for (ptrdiff_t slot = 0; slot < r->slots; slot++)
            sum += load(at_map(r, slot, &o->dy) + k);
        store_some(o->dbias + k, sum, smaller(LANES, o->outputs - k));
    }
}

/* Whether x is copied first: where vectors of a user's rows lie in two cache lines, or nothing may follow
 * the last of them. (The former was measured with AVX2 only.) */
INLINE int packs_x(const op *o, const run *r, ptrdiff_t columns)
{
    const int aligned = (uintptr_t)r->input % sizeof(vec) == 0 && r->input_size % LANES == 0;
    return o->x.where == IN_INPUT && (columns % LANES || (LANES == 8 && !aligned));
}

/* dweight[o, i] for some outputs and some inputs; ROWS_INPUTS at most, so that they stay in the
 * nearest cache for all of these outputs. */
static void weight_block(const op *o, const run *r, range outputs, range inputs)
{
    const ptrdiff_t columns = inputs.end - inputs.first;
    const int pack = packs_x(o, r, columns);
    outer s = {
        .factor_row = 1, .factor_term = sample_step(r, &o->dy),
        .row_term = sample_step(r, &o->x), .out_row = o->inputs,
    };
    for (ptrdiff_t slot = 0; slot < r->slots; slot += s.terms) {
        const float *x = at_map(r, slot, &o->x) + inputs.first;
        s.terms = smaller(ROWS_SAMPLES, r->slots - slot);
        s.add = slot > 0;
        if (pack)
            pack_columns(x, s.row_term, s.terms, columns, r->scratch);
        outer_block(s, at_map(r, slot, &o->dy) + outputs.first, pack ? r->scratch : x,
                    o->dweight + outputs.first * o->inputs + inputs.first, NULL,
                    outputs.end - outputs.first, columns, pack);
    }
}

/* Item: some inputs. */
void NAMED(rows_backward_weight)(const op *o, const run *r, ptrdiff_t item)
{
    weight_block(o, r, (range){0, o->outputs}, inputs_of(o, item));
    if (item == 0 && o->dbias)
        rows_bias_gradient(o, r);
}

/* Item: as in rows_forward, so that a thread finds its part of the weight where it left it. */
void NAMED(rows_backward_weight_by_outputs)(const op *o, const run *r, ptrdiff_t item)
{
    const range outputs = outputs_of(o, r, item);
    const ptrdiff_t parts = whole_parts(o->inputs, ROWS_INPUTS);
    for (ptrdiff_t part = 0; part < parts; part++)
        weight_block(o, r, outputs, part_of_inputs(o, ROWS_INPUTS, part));
    if (item == 0 && o->dbias)
        rows_bias_gradient(o, r);
}

/* Item: as in rows_backward_weight. */
void NAMED(rows_backward_input)(const op *o, const run *r, ptrdiff_t item)
{
    const range inputs = inputs_of(o, item);
    const ptrdiff_t columns = inputs.end - inputs.first;
    const ptrdiff_t whole = whole_parts(columns, LANES) * LANES;
    const int pack = columns % LANES || r->slots > FEW_SAMPLES;
    const float *gate = o->gate ? at_map(r, 0, &o->x) + inputs.first : NULL;
    outer s = {
        .factor_row = sample_step(r, &o->dy), .factor_term = 1, .row_term = o->inputs,
        .out_row = sample_step(r, &o->dx), .gate_row = sample_step(r, &o->x),
    };
    for (ptrdiff_t k = 0; k < o->outputs; k += s.terms) {
        const float *weight = o->weight + k * o->inputs + inputs.first;
        s.terms = smaller(ROWS_TERMS, o->outputs - k);
        s.add = k > 0;
        if (pack)
            pack_columns(weight, o->inputs, s.terms, columns, r->scratch);
        outer_block(s, at_map(r, 0, &o->dy) + k, pack ? r->scratch : weight,
                    at_map(r, 0, &o->dx) + inputs.first,
                    k + s.terms == o->outputs ? gate : NULL, r->slots, whole, pack);
    }
}

/* --- one row, where a slot goes through the whole net before the next one ------------------------ */

/* Private gradients: the weight as users see it up to a whole vector, then the bias. */
static ptrdiff_t private_bias(const op *o)
{
    return whole_parts(o->outputs * o->inputs, LANES) * LANES;
}

/* Added up over the slots of an item. */
void NAMED(row_backward_weight)(const op *o, const run *r, ptrdiff_t slot)
{
    const ptrdiff_t item = item_of(r, slot);
    const int add = slot != first_slot(r, item);
    float *dweight = r->partials + item * r->partial_stride + o->partial;
    float *dbias = dweight + private_bias(o);
    const float *dy = at_map(r, slot, &o->dy), *x = at_map(r, slot, &o->x);
    const outer s = {.terms = 1, .factor_row = 1, .out_row = o->inputs, .add = add};
    const int pack = o->x.where == IN_INPUT && o->inputs % LANES;
    if (pack)
        pack_columns(x, 0, 1, o->inputs, r->scratch);
    outer_block(s, dy, pack ? r->scratch : x, dweight, NULL, o->outputs, o->inputs, pack);
    for (ptrdiff_t k = 0; k < o->outputs; k += LANES)
        store(dbias + k, add ? load(dbias + k) + load(dy + k) : load(dy + k));
}

void NAMED(row_backward_input)(const op *o, const run *r, ptrdiff_t slot)
{
    const ptrdiff_t whole = o->inputs / LANES * LANES, rest = o->inputs - whole;
    const float *gate = o->gate ? at_map(r, slot, &o->x) : NULL;
    const float *dy = at_map(r, slot, &o->dy);
    float *dx = at_map(r, slot, &o->dx);
    outer s = {.terms = o->outputs, .factor_term = 1, .row_term = o->inputs};
    outer_block(s, dy, o->weight, dx, gate, 1, whole, 0);
    for (ptrdiff_t k = 0; rest && k < o->outputs; k += s.terms) {
        s.terms = smaller(ROWS_TERMS, o->outputs - k);
        s.add = k > 0;
        pack_columns(o->weight + k * o->inputs + whole, o->inputs, s.terms, rest, r->scratch);
        outer_block(s, dy + k, r->scratch, dx + whole,
                    gate && k + s.terms == o->outputs ? gate + whole : NULL, 1, LANES, 1);
    }
}

/* The sum over all items, in their order. Item: PARTIAL_BLOCK values; the last one is dbias. */
void NAMED(row_sum_partials)(const op *o, const run *r, ptrdiff_t item)
{
    const ptrdiff_t weights = o->outputs * o->inputs, first = item * PARTIAL_BLOCK;
    const int bias = first >= weights;
    const ptrdiff_t count = bias ? o->outputs : smaller(PARTIAL_BLOCK, weights - first);
    const float *partial = r->partials + o->partial + (bias ? private_bias(o) : first);
    float *to = bias ? o->dbias : o->dweight + first;
    for (ptrdiff_t i = 0; to && i < count; i += LANES)
        store_some(to + i, sum_of_items(r, partial + i), smaller(LANES, count - i));
}
