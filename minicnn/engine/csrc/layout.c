/* Between the arrays of users, (N, C, H, W), and the slots, [C][H][W][LANES]. */
#include "kernels.h"

/* A sample of the batch to where the passes read it; bytes 0 ... 255 become 0 ... 1. An item is a
 * sample, so the thread that gathers it is the one that goes on with it. */
void NAMED(gather)(const op *o, const run *r, ptrdiff_t item)
{
    (void)o;
    const training *step = r->step;
    const ptrdiff_t size = r->input_size, from = size * (step->chosen ? step->chosen[item] : item);
    float *restrict to = step->gathered + item * size;
    if (step->bytes == NULL) {
        memcpy(to, step->floats + from, size * sizeof(float));
        return;
    }
    const uint8_t *restrict bytes = step->bytes + from;
    for (ptrdiff_t i = 0; i < size; i++)
        to[i] = bytes[i] / 255.0f;
}

/* `columns` values from each of LANES rows, to `columns` vectors. */
static void interleave(const float *const row[LANES], ptrdiff_t columns, float *out)
{
    for (ptrdiff_t first = 0; first < columns; first += LANES) {
        const ptrdiff_t count = smaller(LANES, columns - first);
        vec block[LANES];
        for (int l = 0; l < LANES; l++) {
            block[l] = splat(0.0f);
            if (count == LANES)
                block[l] = *(const loose_vec *)(row[l] + first);
            else
                memcpy(&block[l], row[l] + first, count * sizeof(float));
        }
        transpose(block);
        for (ptrdiff_t i = 0; i < count; i++)
            store(out + (first + i) * LANES, block[i]);
    }
}

/* The network's input into o->x. Lanes without a sample repeat the last one: they can hold no
 * infinity or NaN that the samples do not hold as well. */
void NAMED(read_input)(const op *o, const run *r, ptrdiff_t slot)
{
    const map *x = &o->x;
    const ptrdiff_t sample = x->channels * x->height * x->width;
    const int dense = x->plane * x->channels == sample * LANES;
    const ptrdiff_t rows = dense ? 1 : x->channels * x->height, columns = sample / rows;
    for (ptrdiff_t i = 0; i < rows; i++) {
        const float *row[LANES];
        for (int l = 0; l < LANES; l++) {
            const ptrdiff_t n = smaller(slot * LANES + l, r->batch - 1);
            row[l] = r->input + n * sample + i * columns;
        }
        interleave(row, columns,
                   at_map(r, slot, x) + i / x->height * x->plane + i % x->height * x->row);
    }
}

/* A map of a slot, which has no border, to the rows of its samples. */
static void separate(const run *r, ptrdiff_t slot, const map *m, float *rows)
{
    const ptrdiff_t sample = m->channels * m->height * m->width;
    const float *from = at_map(r, slot, m);
    for (ptrdiff_t first = 0; first < sample; first += LANES) {
        const ptrdiff_t count = smaller(LANES, sample - first);
        vec block[LANES];
        for (int i = 0; i < LANES; i++)
            block[i] = i < count ? load(from + (first + i) * LANES) : splat(0.0f);
        transpose(block);
        for (ptrdiff_t l = 0; l < samples_in(r, slot); l++)
            memcpy(rows + (slot * LANES + l) * sample + first, &block[l], count * sizeof(float));
    }
}

/* o->y to the network's output, and o->dx to the gradient of its input. */
void NAMED(write_output)(const op *o, const run *r, ptrdiff_t slot)
{
    separate(r, slot, &o->y, r->output);
}

void NAMED(write_dinput)(const op *o, const run *r, ptrdiff_t slot)
{
    separate(r, slot, &o->dx, r->dinput);
}

/* The gradient of the network's output into o->dy; 0 in the lanes without a sample. */
void NAMED(read_doutput)(const op *o, const run *r, ptrdiff_t slot)
{
    const ptrdiff_t sample = o->dy.channels * o->dy.height * o->dy.width;
    const ivec mask = sample_mask(r, slot);
    const float *row[LANES];
    float *dy = at_map(r, slot, &o->dy);
    for (int l = 0; l < LANES; l++) {
        row[l] = r->doutput + smaller(slot * LANES + l, r->batch - 1) * sample;
    }
    interleave(row, sample, dy);
    for (ptrdiff_t i = 0; i < sample; i++)
        store(dy + i * LANES, keep(mask, load(dy + i * LANES)));
}

/* o->dx, without a border, to o->dy, where a convolution wants one. */
void NAMED(copy_gradient)(const op *o, const run *r, ptrdiff_t slot)
{
    for (ptrdiff_t c = 0; c < o->dy.channels; c++) {
        for (ptrdiff_t h = 0; h < o->dy.height; h++)
            memcpy(at_map(r, slot, &o->dy) + c * o->dy.plane + h * o->dy.row,
                   at_map(r, slot, &o->dx) + c * o->dx.plane + h * o->dx.row,
                   o->dy.width * LANES * sizeof(float));
    }
}
