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

/* Both halves of the 64 bits of a * factor in each lane. Where a compiler is left to itself with the
 * constants of Philox, it makes dozens of shifts and additions out of them. */
#if defined(__SSE2__)
typedef uint64_t pairs_of_words __attribute__((vector_size(4 * LANES)));

INLINE pairs_of_words multiply_even(words a, uint32_t factor)
{
#if LANES == 16
    return (pairs_of_words)_mm512_mul_epu32((__m512i)a, _mm512_set1_epi32((int)factor));
#elif LANES == 8
    return (pairs_of_words)_mm256_mul_epu32((__m256i)a, _mm256_set1_epi32((int)factor));
#else
    return (pairs_of_words)_mm_mul_epu32((__m128i)a, _mm_set1_epi32((int)factor));
#endif
}

INLINE void multiply(words a, uint32_t factor, words *low, words *high)
{
    const pairs_of_words even = multiply_even(a, factor);
    const pairs_of_words odd = multiply_even((words)((pairs_of_words)a >> 32), factor);
    *low = (words)((even & 0xFFFFFFFFu) | odd << 32);
    *high = (words)(even >> 32 | (odd & ~(uint64_t)0xFFFFFFFFu));
}
#else
INLINE void multiply(words a, uint32_t factor, words *low, words *high)
{
    typedef uint64_t products __attribute__((vector_size(8 * LANES)));
    const products product = __builtin_convertvector(a, products) * factor;
    *low = __builtin_convertvector(product, words);
    *high = __builtin_convertvector(product >> 32, words);
}
#endif

/* Philox4x32-10 (Salmon et al. 2011) of one counter in each lane, under the operation's key: the
 * four words of group[l], which are the choices of four units. */
static void draw(const op *o, words group, words word[4])
{
    const words zero = {0};
    uint32_t key0 = (uint32_t)o->seed, key1 = (uint32_t)(o->seed >> 32);
    word[0] = group;
    word[1] = zero + o->stream;
    word[2] = zero + (uint32_t)o->step;
    word[3] = zero + (uint32_t)(o->step >> 32);
    for (int i = 0; i < 10; i++) {
        words low0, high0, low1, high1;
        multiply(word[0], 0xD2511F53u, &low0, &high0);
        multiply(word[2], 0xCD9E8D57u, &low1, &high1);
        word[0] = high1 ^ word[1] ^ key0;
        word[1] = low1;
        word[2] = high0 ^ word[3] ^ key1;
        word[3] = low0;
        key0 += 0x9E3779B9u;
        key1 += 0xBB67AE85u;
    }
}

/* What a word must reach for its unit to stay: word / 2^32 >= p, as integers. */
static uint64_t threshold_of(const op *o)
{
    const double limit = o->p * 4294967296.0;
    const uint64_t threshold = (uint64_t)limit;
    return threshold + ((double)threshold < limit);
}

/* mask[e][l] = 1 where unit e of the slot's sample l stays. Sample n has the units n * units + e
 * of the batch; four of them share one counter. */
static void draw_mask(const op *o, ptrdiff_t slot, ptrdiff_t units, uint8_t *mask)
{
    const uint64_t threshold = threshold_of(o);
    words drawn[4];
    for (ptrdiff_t e = 0; e < units; e++) {
        uint32_t phase[LANES];
        words group;
        for (int l = 0; l < LANES; l++) {
            const uint64_t unit = (uint64_t)(slot * LANES + l) * units + e;
            group[l] = (uint32_t)(unit / 4);
            phase[l] = unit % 4;
        }
        if (e % 4 == 0 || units % 4)
            draw(o, group, drawn);
        uint32_t word[4][LANES];
        memcpy(word, drawn, sizeof word);
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

enum { DRAWN = 4 * LANES };                 /* units whose choices are drawn together */

/* stays[i] = 1 where unit 4 * group + i of the batch stays. */
static void draw_units(const op *o, uint64_t group, uint64_t threshold, uint8_t stays[DRAWN])
{
    const words groups = (words)lane_numbers() + (uint32_t)group;
    words word[4];
    draw(o, groups, word);
    for (int i = 0; i < 4; i++) {
        uint8_t to[LANES];
        store_bytes(to, (ivec)(word[i] >= (uint32_t)threshold) & 1);
        for (int l = 0; l < LANES; l++)
            stays[4 * l + i] = to[l];
    }
    if (threshold >> 32)
        memset(stays, 0, DRAWN);
}

/* A mask of the sample's units, [plane][pixel][LANES]; unit e is in the order of (C, H, W). */
static void draw_planes(const op *o, ptrdiff_t slot, ptrdiff_t area, uint8_t *mask)
{
    const uint64_t threshold = threshold_of(o), units = (uint64_t)(o->outputs * area);
    const uint64_t first = (uint64_t)slot * units, end = first + units;
    uint8_t stays[DRAWN];
    ptrdiff_t c = 0, p = 0;
    for (uint64_t group = first / 4; 4 * group < end; group += LANES) {
        const uint64_t begin = 4 * group > first ? 4 * group : first;
        const uint64_t after = 4 * group + DRAWN < end ? 4 * group + DRAWN : end;
        draw_units(o, group, threshold, stays);
        if (area == 1) {
            memcpy(mask + (begin - first), stays + (begin - 4 * group), after - begin);
            continue;
        }
        for (uint64_t unit = begin; unit < after; unit++) {
            mask[(c / LANES * area + p) * LANES + c % LANES] = stays[unit - 4 * group];
            if (++p == area) {
                p = 0;
                c++;
            }
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
