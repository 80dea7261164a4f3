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

/* All three leave the result in all lanes. */
INLINE vec largest_lane(vec v)
{
    UNROLL
    for (int i = 1; i < LANES; i *= 2) {
        const vec a = LOW(v, v), b = HIGH(v, v);
        v = choose(a > b, a, b);
    }
    return v;
}

INLINE ivec smallest_lane(ivec v)
{
    UNROLL
    for (int i = 1; i < LANES; i *= 2) {
        const ivec a = LOW(v, v), b = HIGH(v, v), less = a < b;
        v = (a & less) | (b & ~less);
    }
    return v;
}

INLINE dvec sum_of_lanes(dvec v)
{
    UNROLL
    for (int i = 1; i < LANES; i *= 2)
        v = LOW(v, v) + HIGH(v, v);
    return v;
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

/* Whether the first of the largest logits is the label's; a NaN counts as the largest. A label
 * that stands for no class is never right. */
static int is_right(const float *z, ptrdiff_t classes, vec largest, int64_t label)
{
    const ivec none = (ivec)ALL(INT32_MAX);
    ivec nan = none, first = none;              /* in each lane, where the first one is */
    for (ptrdiff_t k = 0; k < classes; k += LANES) {
        const vec v = load_padded(z + k, classes - k, -INFINITY);
        const ivec here = lane_numbers() + (int32_t)k;
        const ivec not_one = v != v, top = (v == largest) & (first == none);
        nan = (here & not_one & (nan == none)) | (nan & ~(not_one & (nan == none)));
        first = (here & top) | (first & ~top);
    }
    const int32_t of_nan = smallest_lane(nan)[0], of_largest = smallest_lane(first)[0];
    return (of_nan < INT32_MAX ? of_nan : of_largest) == label;
}

/* e of one row, and the sum of its values. */
INLINE double exponentials(const float *z, ptrdiff_t classes, vec largest, float *e)
{
    dvec sum = ALL(0);
    for (ptrdiff_t k = 0; k < classes; k += LANES) {
        const vec part = exponential(load_padded(z + k, classes - k, -INFINITY) - largest);
        store_left(e + k, classes - k, part);
        sum += __builtin_convertvector(part, dvec);
    }
    return sum_of_lanes(sum)[0];
}

/* sum_k w[k] (-log p[k]) */
static double spread_loss(const training *t, const float *z, double log_sum, double largest)
{
    double sum = 0.0;
    for (ptrdiff_t k = 0; k < t->classes; k++)
        sum += (log_sum - (z[k] - largest)) * (t->class_weight ? t->class_weight[k] : 1.0);
    return sum;
}

static void loss_row(const training *t, const float *z, ptrdiff_t n, float *dz)
{
    const ptrdiff_t classes = t->classes;
    const int64_t y = t->labels[n];
    /* 1. The largest logit, so that no exponential overflows, and the sum. */
    vec v = splat(-INFINITY);
    for (ptrdiff_t k = 0; k < classes; k += LANES) {
        const vec part = load_padded(z + k, classes - k, -INFINITY);
        v = choose(part > v, part, v);
    }
    const vec largest = largest_lane(v);
    t->right[n] = is_right(z, classes, largest, y);
    t->losses[n] = 0.0;
    if (y == t->ignore_index) {
        memset(dz, 0, classes * sizeof(float));
        return;
    }
    const double sum = exponentials(z, classes, largest, dz), log_sum = log(sum);
    /* 2. The loss, from z, since p may be 0. log_sum would vanish beside a logit of 1e20. */
    const double hard = (1.0 - t->smoothing) * (t->class_weight ? t->class_weight[y] : 1.0);
    const double even = t->smoothing / classes;
    t->losses[n] = (log_sum - ((double)z[y] - largest[0])) * hard;
    if (even != 0.0)                        /* an infinite -log p elsewhere must not become NaN */
        t->losses[n] += even * spread_loss(t, z, log_sum, largest[0]);
    /* 3. The gradient: a part in proportion to e, less what the target asks for. */
    const double slope = (hard + even * t->weight_of_all) / (sum * t->weight_sum);
    const double share = even / t->weight_sum, at_label = dz[y] * slope - hard / t->weight_sum;
    for (ptrdiff_t k = 0; k < classes; k += LANES) {
        vec gradient = load_padded(dz + k, classes - k, 0.0f) * splat(slope);
        if (even != 0.0)
            gradient -= splat(share) * (t->class_weight
                ? load_padded(t->class_weight + k, classes - k, 0.0f) : splat(1.0f));
        store_left(dz + k, classes - k, gradient);
    }
    dz[y] = at_label - share * (t->class_weight ? t->class_weight[y] : 1.0);
}

/* The rows of the samples of a slot. */
void NAMED(cross_entropy)(const op *o, const run *r, ptrdiff_t slot)
{
    (void)o;
    const ptrdiff_t last = smaller((slot + 1) * r->samples, r->batch);
    for (ptrdiff_t n = slot * r->samples; n < last; n++)
        loss_row(r->step, r->output + n * r->step->classes, n,
                 r->step->dlogits + n * r->step->classes);
}

/* The batch's loss, its rows added in order; one item. */
void NAMED(sum_losses)(const op *o, const run *r, ptrdiff_t item)
{
    (void)o, (void)item;
    double loss = 0.0;
    ptrdiff_t correct = 0;
    for (ptrdiff_t n = 0; n < r->batch; n++) {
        loss += r->step->losses[n];
        correct += r->step->right[n];
    }
    r->step->loss = loss / r->step->weight_sum;         /* 0/0, when all are ignored, is NaN */
    r->step->correct = correct;
}
