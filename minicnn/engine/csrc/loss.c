/* What stands between the passes of a training step: softmax cross-entropy and its gradient.
 *
 *     logits z, dlogits (N, K)   labels (N,)   w = class_weight (K,) or all 1   s = smoothing
 *
 *     p[k]       = e[k] / sum_j e[j],   e[k] = exp(z[k] - largest z)
 *     loss[n]    = (1 - s) w[y] (-log p[y]) + s/K sum_k w[k] (-log p[k])
 *     dlogits[k] = ((1 - s) w[y] (p[k] - [k = y]) + s/K (p[k] sum_j w[j] - w[k])) / W
 *
 * W is the sum of w[y] over the batch, known beforehand. `minicnn/kernels/softmax_cross_entropy.pyx`
 * is the specification. Here e is float; sums, logarithms and the loss are double, as there.
 */
#include <math.h>

#include "kernels.h"

/* e^x for x <= 0, to two units in the last place; 0 below -87. x = n log 2 + r with an integer n
 * and |r| <= log 2 / 2, where eight terms of the series are enough: the ninth is below 6e-9. */
INLINE vec exponential(vec x)
{
    const vec magic = splat(12582912.0f);   /* 1.5 * 2^23: what is added to it loses its fraction */
    const ivec tiny = x < splat(-87.0f);
    const vec inside = choose(tiny, splat(-87.0f), x);
    const vec n = inside * splat(1.44269504f) + magic - magic;
    const vec r = inside - n * splat(0.693145752f) - n * splat(1.42860677e-6f);
    vec series = splat(1.0f / 5040);
    series = series * r + splat(1.0f / 720);
    series = series * r + splat(1.0f / 120);
    series = series * r + splat(1.0f / 24);
    series = series * r + splat(1.0f / 6);
    series = series * r + splat(0.5f);
    series = series * r + splat(1.0f);
    series = series * r + splat(1.0f);
    const ivec power = (__builtin_convertvector(n, ivec) + 127) << 23;
    return keep(~tiny, series * (vec)power);
}

/* Each lane with the one that is n lanes away, n a power of two. */
#define FOUR_AWAY(i, n) (i) ^ (n), ((i) + 1) ^ (n), ((i) + 2) ^ (n), ((i) + 3) ^ (n)
#if LANES == 16
#define EXCHANGED(v, n) \
    __builtin_shufflevector( \
        v, v, FOUR_AWAY(0, n), FOUR_AWAY(4, n), FOUR_AWAY(8, n), FOUR_AWAY(12, n))
#elif LANES == 8
#define EXCHANGED(v, n) __builtin_shufflevector(v, v, FOUR_AWAY(0, n), FOUR_AWAY(4, n))
#else
#define EXCHANGED(v, n) __builtin_shufflevector(v, v, FOUR_AWAY(0, n))
#endif

/* Both leave the result in all lanes. */
INLINE vec largest_lane(vec v)
{
    if (LANES > 8)
        v = maximum(v, EXCHANGED(v, LANES / 2));
    if (LANES > 4)
        v = maximum(v, EXCHANGED(v, 4));
    v = maximum(v, EXCHANGED(v, 2));
    return maximum(v, EXCHANGED(v, 1));
}

INLINE dvec sum_of_lanes(dvec v)
{
    if (LANES > 8)
        v += EXCHANGED(v, LANES / 2);
    if (LANES > 4)
        v += EXCHANGED(v, 4);
    v += EXCHANGED(v, 2);
    return v + EXCHANGED(v, 1);
}

/* LANES values, or the `count` there are with `rest` behind them. */
INLINE vec load_padded(const float *p, ptrdiff_t count, float rest)
{
    return count >= LANES ? load_loose(p)
        : choose(lane_numbers() < (int32_t)count, load_some(p, count), splat(rest));
}

INLINE void store_left(float *p, ptrdiff_t count, vec v)
{
    if (count >= LANES)
        store_loose(p, v);
    else
        store_some(p, v, count);
}

/* Vectors of a row that stay in registers; longer rows go through memory. */
enum { HELD = 2 };

/* Vector i of a row, which is held, or else lies at `from`. */
INLINE vec vector_of(
    const vec row[HELD], const float *from, ptrdiff_t classes, ptrdiff_t i, float rest,
    const int held)
{
    return held ? row[i] : load_padded(from + i * LANES, classes - i * LANES, rest);
}

/* Whether the first of the largest logits is the label's; a NaN counts as the largest. A label
 * that stands for no class is never right. */
INLINE int is_right(
    const vec row[HELD], const float *z, ptrdiff_t classes, vec largest, int64_t label,
    const int held)
{
    ptrdiff_t first = -1;
    for (ptrdiff_t i = 0; i < (held ? held : vectors_for(classes)); i++) {
        const vec v = vector_of(row, z, classes, i, -INFINITY, held);
        const int nan = first_lane(v != v), top = first_lane(v == largest);
        if (nan < LANES)
            return i * LANES + nan == label;
        if (first < 0 && top < LANES)
            first = i * LANES + top;
    }
    return first == label;
}

/* sum_k w[k] (z[k] - largest) */
static double weighted_gaps(const training *t, const float *z, double largest)
{
    double sum = 0.0;
    for (ptrdiff_t k = 0; k < t->classes; k++)
        sum += (z[k] - largest) * (t->class_weight ? t->class_weight[k] : 1.0);
    return sum;
}

/* One row; dz may be z. Its vectors are `held` in registers, or too many for that (0). */
INLINE void loss_of_row(
    const training *t, const float *z, ptrdiff_t n, float *dz, const int held)
{
    const ptrdiff_t classes = t->classes, vectors = held ? held : vectors_for(classes);
    const int64_t y = t->labels[n];
    /* 1. The largest logit, so that no exponential overflows, and what needs z. */
    vec row[HELD] = {{0}}, v = splat(-INFINITY);
    for (ptrdiff_t i = 0; i < vectors; i++) {
        const vec logits = load_padded(z + i * LANES, classes - i * LANES, -INFINITY);
        if (held)
            row[i] = logits;
        v = maximum(logits, v);
    }
    const vec largest = largest_lane(v);
    t->right[n] = is_right(row, z, classes, largest, y, held);
    if (y == t->ignore_index) {
        t->sums[n] = 1.0;
        t->of_log[n] = t->rest[n] = 0.0;
        memset(dz, 0, classes * sizeof(float));
        return;
    }
    const double even = t->smoothing / classes, gap = (double)z[y] - largest[0];
    const double gaps = even != 0.0 ? weighted_gaps(t, z, largest[0]) : 0.0;
    /* 2. The exponentials, in dz where they are many, and their sum. */
    vec e[HELD] = {{0}};
    float each[HELD * LANES] __attribute__((aligned(64)));
    dvec sums = ALL(0);
    for (ptrdiff_t i = 0; i < vectors; i++) {
        const vec logits = vector_of(row, z, classes, i, -INFINITY, held);
        const vec part = exponential(logits - largest);
        if (held)
            store(each + i * LANES, e[i] = part);
        else
            store_left(dz + i * LANES, classes - i * LANES, part);
        sums += __builtin_convertvector(part, dvec);
    }
    const double sum = sum_of_lanes(sums)[0], e_of_label = (held ? each : dz)[y];
    /* 3. The loss, from z, since p may be 0. The log would vanish beside a logit of 1e20. */
    const double hard = (1.0 - t->smoothing) * (t->class_weight ? t->class_weight[y] : 1.0);
    t->sums[n] = sum;
    t->of_log[n] = hard + even * t->weight_of_all;
    t->rest[n] = -hard * gap;
    if (even != 0.0)                        /* an infinite -log p elsewhere must not become NaN */
        t->rest[n] -= even * gaps;
    /* 4. The gradient: a part in proportion to e, less what the target asks for. */
    const double slope = t->of_log[n] / (sum * t->weight_sum);
    const double share = even / t->weight_sum;
    const double at_label = e_of_label * slope - hard / t->weight_sum
        - share * (t->class_weight ? t->class_weight[y] : 1.0);
    for (ptrdiff_t i = 0; i < vectors; i++) {
        const ptrdiff_t k = i * LANES, left = classes - k;
        vec gradient = vector_of(e, dz, classes, i, 0.0f, held) * splat(slope);
        if (even != 0.0)
            gradient -= splat(share) * (t->class_weight
                ? load_padded(t->class_weight + k, left, 0.0f) : splat(1.0f));
        const ivec here = lane_numbers() + (int32_t)k == (int32_t)y;
        store_left(dz + k, left, choose(here, splat(at_label), gradient));
    }
}

static void loss_row(const training *t, const float *z, ptrdiff_t n, float *dz)
{
    if (t->classes <= LANES)
        loss_of_row(t, z, n, dz, 1);
    else if (t->classes <= 2 * LANES)
        loss_of_row(t, z, n, dz, 2);
    else
        loss_of_row(t, z, n, dz, 0);
}

/* The rows of the samples of a slot, from the network's output to the gradient of it. */
void NAMED(cross_entropy)(const op *o, const run *r, ptrdiff_t slot)
{
    (void)o;
    const ptrdiff_t last = smaller((slot + 1) * r->samples, r->batch);
    for (ptrdiff_t n = slot * r->samples; n < last; n++)
        loss_row(r->step, r->output + n * r->step->classes, n,
                 r->step->dlogits + n * r->step->classes);
}

/* The row of a slot that is one sample, from the row o->y to the row o->dy. */
void NAMED(row_cross_entropy)(const op *o, const run *r, ptrdiff_t slot)
{
    loss_row(r->step, at_map(r, slot, &o->y), slot, at_map(r, slot, &o->dy));
}

/* --- LANES rows of few classes side by side ---------------------------------------------------------
 *
 * A class is a vector, and a row a lane. Each row's sums are those of `loss_of_row`, in its order. */

enum { FEW_CLASSES = HELD * LANES };

/* rows[k] is value k of the LANES rows of m from `slot` on; and back. */
INLINE void load_turned(const run *r, ptrdiff_t slot, const map *m, vec rows[FEW_CLASSES])
{
    for (int v = 0; v < HELD && v < m->channels; v++) {
        for (int n = 0; n < LANES; n++)
            rows[v * LANES + n] = load(at_map(r, slot + n, m) + v * LANES);
        transpose(rows + v * LANES);
    }
}

INLINE void store_turned(const run *r, ptrdiff_t slot, const map *m, vec rows[FEW_CLASSES])
{
    for (int v = 0; v < HELD && v < m->channels; v++) {
        transpose(rows + v * LANES);
        for (int n = 0; n < LANES; n++)
            store(at_map(r, slot + n, m) + v * LANES, rows[v * LANES + n]);
    }
}

/* What the labels of LANES rows ask for. */
typedef struct {
    ivec label;
    dvec weight;
    int plain;                              /* no row is ignored */
} targets;

INLINE targets targets_of(const training *t, ptrdiff_t n)
{
    int32_t label[LANES] __attribute__((aligned(64)));
    targets a = {.weight = ALL(1), .plain = 1};
    for (int l = 0; l < LANES; l++) {
        const int64_t y = t->labels[n + l];
        label[l] = (int32_t)y;
        if (y == t->ignore_index)
            a.plain = 0;
        else if (t->class_weight)
            a.weight[l] = t->class_weight[y];
    }
    a.label = *(const ivec *)label;
    return a;
}

/* 0 where a row is none of the usual ones, and nothing has been done. */
static int losses_side_by_side(const op *o, const run *r, ptrdiff_t slot)
{
    const training *t = r->step;
    const int classes = (int)t->classes;
    const targets a = targets_of(t, slot);
    vec z[FEW_CLASSES], e[FEW_CLASSES];
    dvec sums[LANES];
    if (!a.plain)
        return 0;
    /* 1. The largest logits, and those of the labels. */
    load_turned(r, slot, &o->y, z);
    vec largest = z[0], of_label = z[0];
    ivec nan = z[0] != z[0], first = lane_numbers() * 0;
    for (int k = 1; k < classes; k++) {
        nan |= z[k] != z[k];
        const ivec above = z[k] > largest;
        first = (above & k) | (~above & first);
        largest = maximum(z[k], largest);
        of_label = choose(a.label == k, z[k], of_label);
    }
    if (first_lane(nan) < LANES)
        return 0;
    /* 2. The exponentials and their sums. */
    for (int k = 0; k < FEW_CLASSES; k++)
        e[k] = k < classes ? exponential(z[k] - largest) : splat(0.0f);
    for (int l = 0; l < LANES; l++)
        sums[l] = widened(e[l]) + widened(e[l + LANES]);
    for (int n = LANES / 2; n > 0; n /= 2) {
        for (int l = 0; l < n; l++)
            sums[l] += sums[l + n];
    }
    /* 3. The losses. */
    const ivec right = first == a.label;
    *(loose_dvec *)(t->sums + slot) = sums[0];
    *(loose_dvec *)(t->of_log + slot) = a.weight;
    *(loose_dvec *)(t->rest + slot) = -a.weight * (widened(of_label) - widened(largest));
    for (int l = 0; l < LANES; l++)
        t->right[slot + l] = -right[l];
    /* 4. The gradients. */
    const dvec slope = a.weight / (sums[0] * t->weight_sum);
    const vec factor = narrowed(slope);
    vec e_of_label = e[0];
    for (int k = 1; k < classes; k++)
        e_of_label = choose(a.label == k, e[k], e_of_label);
    const vec at_label = narrowed(widened(e_of_label) * slope - a.weight / t->weight_sum);
    for (int k = 0; k < classes; k++)
        e[k] = choose(a.label == k, at_label, e[k] * factor);
    store_turned(r, slot, &o->dy, e);
    return 1;
}

/* The rows of all slots, from the rows o->y to the rows o->dy. An item is LANES of them. */
void NAMED(rows_cross_entropy)(const op *o, const run *r, ptrdiff_t item)
{
    const ptrdiff_t first = item * LANES, end = smaller(first + LANES, r->slots);
    const int usual = end - first == LANES && r->step->classes <= FEW_CLASSES
        && r->step->smoothing == 0.0;
    if (usual && losses_side_by_side(o, r, first))
        return;
    for (ptrdiff_t slot = first; slot < end; slot++)
        NAMED(row_cross_entropy)(o, r, slot);
}

/* log x for x >= 1 or NaN, to three units in the last place. x = 2^k m with sqrt(1/2) < m < sqrt 2,
 * and log m = 2 atanh f with f = (m - 1) / (m + 1), |f| < 0.172: ten terms of its series do. */
INLINE dvec logarithm(dvec x)
{
    typedef int64_t bits __attribute__((vector_size(8 * LANES)));
    const dvec one = ALL(1), root = ALL(0x1.6a09e667f3bcdp0);
    const bits magic = (bits)((dvec)ALL(0x1p52));       /* behind it, integers are fractions */
    dvec k = (dvec)(((bits)x >> 52) | magic) - (dvec)ALL(0x1p52 + 1023);
    dvec m = (dvec)(((bits)x & (((int64_t)1 << 52) - 1)) | (bits)one);
    const bits high = m > root;
    k += (dvec)((bits)one & high);
    m -= (dvec)((bits)(m * 0.5) & high);
    const dvec f = (m - one) / (m + one), square = f * f;
    dvec series = ALL(1.0 / 19);
    UNROLL
    for (int i = 17; i > 0; i -= 2)
        series = series * square + 1.0 / i;
    return k * 0x1.62e42fefa38p-1 + (2.0 * f * series + k * 0x1.ef35793c7673p-45) + (x - x);
}

/* The batch's loss; one item. */
void NAMED(sum_losses)(const op *o, const run *r, ptrdiff_t item)
{
    (void)o, (void)item;
    training *t = r->step;
    dvec losses = ALL(0);
    ptrdiff_t correct = 0;
    for (ptrdiff_t n = 0; n < r->batch; n += LANES) {
        const loose_dvec *sums = (const loose_dvec *)(t->sums + n);
        const loose_dvec *of_log = (const loose_dvec *)(t->of_log + n);
        losses += *of_log * logarithm(*sums) + *(const loose_dvec *)(t->rest + n);
    }
    for (ptrdiff_t n = 0; n < r->batch; n++)
        correct += t->right[n];
    t->loss = sum_of_lanes(losses)[0] / t->weight_sum;  /* 0/0, when all are ignored, is NaN */
    t->correct = correct;
}
