/* Between the arrays of users, (N, C, H, W), and slots with channels in the lanes.
 *
 * The input stays as it came where the first operation can read it so: a convolution, in one
 * plane for each channel and with the border it wants, or Linear, as one row.
 */
#include "kernels.h"

/* The network's input into o->x, whose pixels are single values. */
void NAMED(read_planar)(const op *o, const run *r, ptrdiff_t slot)
{
    const map *x = &o->x;
    const float *from = r->input + slot * x->channels * x->height * x->width;
    for (ptrdiff_t c = 0; c < x->channels; c++) {
        float *to = at_map(r, slot, x) + c * x->plane;
        for (ptrdiff_t h = 0; h < x->height; h++, from += x->width)
            memcpy(to + h * x->row, from, x->width * sizeof(float));
    }
}

/* `count` rows of `area` values, at most LANES of them, to `area` vectors: [c][p] -> [p][c]. */
static void channels_to_lanes(
    const float *from, ptrdiff_t count, ptrdiff_t height, ptrdiff_t width, float *to, ptrdiff_t row)
{
    for (ptrdiff_t h = 0; h < height; h++) {
        for (ptrdiff_t first = 0; first < width; first += LANES) {
            const ptrdiff_t pixels = smaller(LANES, width - first);
            vec block[LANES];
            load_columns(from + h * width + first, height * width, count, pixels, block);
            for (ptrdiff_t p = 0; p < pixels; p++)
                store(to + h * row + (first + p) * LANES, block[p]);
        }
    }
}

/* The network's input into o->x. */
void NAMED(read_channels)(const op *o, const run *r, ptrdiff_t slot)
{
    const map *x = &o->x;
    const ptrdiff_t area = x->height * x->width;
    for (ptrdiff_t c = 0; c < o->inputs; c += LANES)
        channels_to_lanes(r->input + (slot * o->inputs + c) * area, smaller(LANES, o->inputs - c),
                          x->height, x->width, at_map(r, slot, x) + c / LANES * x->plane, x->row);
}

/* `count` values; rows are short, and a call of memcpy takes longer than the few vectors. */
INLINE void copy_row(float *to, const float *from, ptrdiff_t count)
{
    for (ptrdiff_t i = 0; i < count; i += LANES) {
        const ptrdiff_t some = smaller(LANES, count - i);
        store_some(to + i, load_some(from + i, some), some);
    }
}

/* The network's output from the row o->y, and the gradient of it into the row o->dy. */
void NAMED(write_row)(const op *o, const run *r, ptrdiff_t slot)
{
    copy_row(r->output + slot * o->outputs, at_map(r, slot, &o->y), o->outputs);
}

void NAMED(read_drow)(const op *o, const run *r, ptrdiff_t slot)
{
    copy_row(at_map(r, slot, &o->dy), r->doutput + slot * o->outputs, o->outputs);
}

/* The row o->dx to the gradient of the network's input. */
void NAMED(write_drow)(const op *o, const run *r, ptrdiff_t slot)
{
    memcpy(r->dinput + slot * o->inputs, at_map(r, slot, &o->dx), o->inputs * sizeof(float));
}

/* The channels first … end - 1 of a map to the row `to` of all of them, in the order (C, H, W). */
static void lanes_to_channels(
    const run *r, ptrdiff_t slot, const map *m, ptrdiff_t first_channel, ptrdiff_t end, float *to)
{
    const ptrdiff_t area = m->height * m->width;
    for (ptrdiff_t c = first_channel; c < end; c += LANES) {
        const float *plane = at_map(r, slot, m) + c / LANES * m->plane;
        const ptrdiff_t count = smaller(LANES, end - c);
        for (ptrdiff_t first = 0; first < area; first += LANES) {
            const ptrdiff_t pixels = smaller(LANES, area - first);
            vec block[LANES];
            for (ptrdiff_t p = 0; p < LANES; p++) {
                const ptrdiff_t at = first + smaller(p, pixels - 1);
                block[p] = load(plane + at / m->width * m->row + at % m->width * LANES);
            }
            transpose(block);
            for (ptrdiff_t i = 0; i < count; i++)
                store_some(to + (c + i) * area + first, block[i], pixels);
        }
    }
}

/* The map o->dx to the gradient of the network's input. */
void NAMED(write_dchannels)(const op *o, const run *r, ptrdiff_t slot)
{
    lanes_to_channels(r, slot, &o->dx, 0, o->inputs,
                      r->dinput + slot * o->inputs * o->dx.height * o->dx.width);
}

/* --- Flatten ---------------------------------------------------------------------------------------- */

/* The row o->y, in the order (C, H, W), from the map o->x. A unit is a plane. */
void NAMED(flatten_forward)(const op *o, const run *r, ptrdiff_t item)
{
    const share own = share_of(o, item, vectors_for(o->inputs));
    lanes_to_channels(r, own.slot, &o->x, own.first * LANES, smaller(own.end * LANES, o->inputs),
                      at_map(r, own.slot, &o->y));
}

enum { LONG_ROW = 2048 };                   /* floats; the hardware looks ahead in longer ones */

/* Asks for the row of the next slot, of which another core may have written a part. */
static void fetch_next_row(const op *o, const run *r, ptrdiff_t slot, ptrdiff_t floats)
{
    if (slot + 1 >= r->slots || floats > LONG_ROW)
        return;
    const float *row = at_map(r, slot + 1, &o->dy);
    for (ptrdiff_t i = 0; i < floats; i += 16)
        __builtin_prefetch(row + i);
}

/* The gradient back: the map o->dx from the row o->dy. */
void NAMED(flatten_backward)(const op *o, const run *r, ptrdiff_t slot)
{
    const map *dx = &o->dx;
    const ptrdiff_t area = dx->height * dx->width;
    fetch_next_row(o, r, slot, o->inputs * area);
    for (ptrdiff_t c = 0; c < o->inputs; c += LANES) {
        float *to = at_map(r, slot, dx) + c / LANES * dx->plane;
        channels_to_lanes(at_map(r, slot, &o->dy) + c * area, smaller(LANES, o->inputs - c),
                          dx->height, dx->width, to, dx->row);
        if (!o->gate)
            continue;
        const float *x = at_map(r, slot, &o->x) + c / LANES * o->x.plane;
        for (ptrdiff_t h = 0; h < dx->height; h++) {
            for (ptrdiff_t i = 0; i < dx->width * LANES; i += LANES) {
                float *at = to + h * dx->row + i;
                store(at, gated(load(at), load(x + h * o->x.row + i)));
            }
        }
    }
}
