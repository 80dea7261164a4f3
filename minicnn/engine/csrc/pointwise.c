/* ReLU and LeakyReLU that no other kernel does on the way, and Dropout; one slot at a time. */
#include "kernels.h"

/* --- y = x where x > 0, else slope x ----------------------------------------------------------- */

INLINE vec leak(vec v, vec x, float slope)      /* slope 0: not 0 * inf, which is NaN */
{
    return choose((ivec)(x <= splat(0.0f)), slope != 0.0f ? slope * v : splat(0.0f), v);
}

void NAMED(relu_forward)(const op *o, const run *r, ptrdiff_t slot)
{
    for (ptrdiff_t c = 0; c < o->x.channels; c++) {
        for (ptrdiff_t h = 0; h < o->x.height; h++) {
            const float *x = at_map(r, slot, &o->x) + c * o->x.plane + h * o->x.row;
            float *y = at_map(r, slot, &o->y) + c * o->y.plane + h * o->y.row;
            for (ptrdiff_t i = 0; i < o->x.width * LANES; i += LANES)
                store(y + i, leak(load(x + i), load(x + i), o->slope));
        }
    }
}

void NAMED(relu_backward)(const op *o, const run *r, ptrdiff_t slot)
{
    for (ptrdiff_t c = 0; c < o->x.channels; c++) {
        for (ptrdiff_t h = 0; h < o->x.height; h++) {
            const float *x = at_map(r, slot, &o->x) + c * o->x.plane + h * o->x.row;
            const float *dy = at_map(r, slot, &o->dy) + c * o->dy.plane + h * o->dy.row;
            float *dx = at_map(r, slot, &o->dx) + c * o->dx.plane + h * o->dx.row;
            for (ptrdiff_t i = 0; i < o->x.width * LANES; i += LANES) {
                vec v = leak(load(dy + i), load(x + i), o->slope);
                if (o->gate)
                    v = gated(v, load(x + i));
                store(dx + i, v);
            }
        }
    }
}

/* --- Dropout: the choices of kernels/dropout.pyx, bit for bit ------------------------------------ */

typedef uint64_t products __attribute__((vector_size(8 * LANES)));

INLINE words low(products p) { return __builtin_convertvector(p, words); }
INLINE words high(products p) { return __builtin_convertvector(p >> 32, words); }

/* Philox4x32-10 (Salmon et al. 2011) of one counter in each lane, under one key. */
static void philox(words counter[4], uint32_t key0, uint32_t key1)
{
    for (int i = 0; i < 10; i++) {
        const products p0 = __builtin_convertvector(counter[0], products) * 0xD2511F53u;
        const products p1 = __builtin_convertvector(counter[2], products) * 0xCD9E8D57u;
        counter[0] = high(p1) ^ counter[1] ^ key0;
        counter[1] = low(p1);
        counter[2] = high(p0) ^ counter[3] ^ key1;
        counter[3] = low(p0);
        key0 += 0x9E3779B9u;
        key1 += 0xBB67AE85u;
    }
}

/* mask[e][l] = 1 where unit e of the slot's sample l stays. Sample n has the units n * units + e
 * of the batch; four of them share one counter. */
static void draw_mask(const op *o, ptrdiff_t slot, ptrdiff_t units, uint8_t *mask)
{
    const double limit = o->p * 4294967296.0;
    uint64_t threshold = (uint64_t)limit;
    threshold += (double)threshold < limit;             /* word >= p, as integers */
    const words zero = {0};
    words counter[4];
    for (ptrdiff_t e = 0; e < units; e++) {
        uint32_t group[LANES], phase[LANES];
        for (int l = 0; l < LANES; l++) {
            const uint64_t unit = (uint64_t)(slot * LANES + l) * units + e;
            group[l] = (uint32_t)(unit / 4);
            phase[l] = unit % 4;
        }
        if (e % 4 == 0 || units % 4) {
            memcpy(&counter[0], group, sizeof group);
            counter[1] = zero + o->stream;
            counter[2] = zero + (uint32_t)o->step;
            counter[3] = zero + (uint32_t)(o->step >> 32);
            philox(counter, (uint32_t)o->seed, (uint32_t)(o->seed >> 32));
        }
        uint32_t word[4][LANES];
        memcpy(word, counter, sizeof word);
        for (int l = 0; l < LANES; l++)
            mask[e * LANES + l] = word[phase[l]][l] >= threshold;
    }
}

/* to = from / (1 - p) where the unit stays, else 0: a choice, so that a dropped NaN is 0. */
static void apply_mask(
    const op *o, const run *r, ptrdiff_t slot, const map *from, const map *to, const map *gate)
{
    const uint8_t *mask = at_bytes(r, slot, o);
    const vec scale = splat(o->p < 1.0 ? (float)(1.0 / (1.0 - o->p)) : 0.0f);
    const ptrdiff_t next = o->whole_channels ? 0 : LANES;
    for (ptrdiff_t c = 0; c < from->channels; c++) {
        for (ptrdiff_t h = 0; h < from->height; h++) {
            const float *x = at_map(r, slot, from) + c * from->plane + h * from->row;
            float *y = at_map(r, slot, to) + c * to->plane + h * to->row;
            const float *g = gate ? at_map(r, slot, gate) + c * gate->plane + h * gate->row : NULL;
            for (ptrdiff_t i = 0; i < from->width * LANES; i += LANES, mask += next) {
                const ivec stays = load_bytes(mask) != 0;
                const vec v = keep(stays, load(x + i) * scale);
                store(y + i, g ? gated(v, load(g + i)) : v);
            }
        }
        if (o->whole_channels)
            mask += LANES;
    }
}

void NAMED(dropout_forward)(const op *o, const run *r, ptrdiff_t slot)
{
    const ptrdiff_t area = o->whole_channels ? 1 : o->x.height * o->x.width;
    draw_mask(o, slot, o->x.channels * area, at_bytes(r, slot, o));
    apply_mask(o, r, slot, &o->x, &o->y, NULL);
}

void NAMED(dropout_backward)(const op *o, const run *r, ptrdiff_t slot)
{
    apply_mask(o, r, slot, &o->dy, &o->dx, o->gate ? &o->x : NULL);
}

/* --- Dropout with channels in the lanes --------------------------------------------------------- */

/* Units first … first + LANES - 1 of a sample: 1 where a unit stays. */
static bvec draw_units(const op *o, uint64_t first, uint64_t threshold)
{
    const words zero = {0};
    words counter[4] = {zero, zero + o->stream, zero + (uint32_t)o->step,
                        zero + (uint32_t)(o->step >> 32)};
    uint32_t group[LANES];
    for (int l = 0; l < LANES; l++)
        group[l] = (uint32_t)((first + l) / 4);
    memcpy(&counter[0], group, sizeof group);
    philox(counter, (uint32_t)o->seed, (uint32_t)(o->seed >> 32));
    uint32_t word[4][LANES];
    bvec stays;
    memcpy(word, counter, sizeof word);
    for (int l = 0; l < LANES; l++)
        stays[l] = word[(first + l) % 4][l] >= threshold;
    return stays;
}

/* A mask of the sample's units, [plane][pixel][LANES]; unit e is in the order of (C, H, W). */
static void draw_planes(const op *o, ptrdiff_t slot, ptrdiff_t area, uint8_t *mask)
{
    const double limit = o->p * 4294967296.0;
    uint64_t threshold = (uint64_t)limit;
    threshold += (double)threshold < limit;             /* word >= p, as integers */
    const ptrdiff_t units = o->outputs * area;
    for (ptrdiff_t e = 0; e < units; e += LANES) {
        const bvec stays = draw_units(o, (uint64_t)slot * units + e, threshold);
        if (area == 1) {
            *(bvec *)(mask + e) = stays;
            continue;
        }
        for (ptrdiff_t l = 0; l < smaller(LANES, units - e); l++) {
            const ptrdiff_t c = (e + l) / area, p = (e + l) % area;
            mask[(c / LANES * area + p) * LANES + c % LANES] = stays[l];
        }
    }
}

void NAMED(channel_dropout_forward)(const op *o, const run *r, ptrdiff_t slot)
{
    draw_planes(o, slot, o->whole_channels ? 1 : o->x.height * o->x.width, at_bytes(r, slot, o));
    apply_mask(o, r, slot, &o->x, &o->y, NULL);
}

void NAMED(channel_dropout_backward)(const op *o, const run *r, ptrdiff_t slot)
{
    apply_mask(o, r, slot, &o->dy, &o->dx, o->gate ? &o->x : NULL);
}
