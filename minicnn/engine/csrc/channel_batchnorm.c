/* BatchNorm with channels in the lanes; `batchnorm.c` has the equations.
 *
 * Sums within a row are in float, sums of rows and slots in double. Each slot leaves its own sums;
 * when all have, one item for each plane adds them up in the order of the slots.
 *
 *     sums         (slots, 2, planes, LANES)    of each slot
 *     statistics   (4, planes, LANES)           mean, 1 / deviation; then what dx subtracts
 */
#include <math.h>

#include "kernels.h"

INLINE double *sums_at(const op *o, ptrdiff_t slot, ptrdiff_t plane)
{
    return o->sums + (slot * 2 * o->x.channels + plane) * LANES;
}

INLINE double *statistics_at(const op *o, int which, ptrdiff_t plane)
{
    return o->statistics + (which * o->x.channels + plane) * LANES;
}

INLINE dvec load_doubles(const double *p) { return *(const dvec *)p; }
INLINE void store_doubles(double *p, dvec v) { *(dvec *)p = v; }

/* The mean as a sum of two floats: x - high is exact where x is near the mean. */
typedef struct {
    vec high, low;
} plane_center;

INLINE plane_center plane_center_at(const double *mean)
{
    const dvec m = load_doubles(mean);
    const vec high = narrowed(m);
    return (plane_center){high, narrowed(m - widened(high))};
}

INLINE ptrdiff_t channels_of(const op *o, ptrdiff_t plane)
{
    return smaller(LANES, o->outputs - plane * LANES);
}

/* --- 1. forward: the mean of each channel in a slot, and the squares around it ------------------ */

void NAMED(channel_batchnorm_sums)(const op *o, const run *r, ptrdiff_t slot)
{
    const double area = (double)(o->x.height * o->x.width);
    for (ptrdiff_t c = 0; c < o->x.channels; c++) {
        const float *x = at_map(r, slot, &o->x) + c * o->x.plane;
        double *sums = sums_at(o, slot, c);
        const vec pivot = load(x);              /* any value of a channel: keeps the sums small */
        dvec total = {0};
        for (ptrdiff_t h = 0; h < o->x.height; h++) {
            vec sum = splat(0.0f);
            for (ptrdiff_t i = 0; i < o->x.width * LANES; i += LANES)
                sum += load(x + h * o->x.row + i) - pivot;
            total += widened(sum);
        }
        store_doubles(sums, widened(pivot) + total / area);
        const plane_center mean = plane_center_at(sums);
        total = (dvec){0};
        for (ptrdiff_t h = 0; h < o->x.height; h++) {
            vec sum = splat(0.0f);
            for (ptrdiff_t i = 0; i < o->x.width * LANES; i += LANES) {
                const vec d = load(x + h * o->x.row + i) - mean.high - mean.low;
                sum += d * d;
            }
            total += widened(sum);
        }
        store_doubles(sums + o->x.channels * LANES, total);
    }
}

/* --- 2. forward: mean and variance of the batch; an item is a plane ----------------------------- */

static void update_running(
    float *running, ptrdiff_t channels, double momentum, const double *now, double factor)
{
    for (ptrdiff_t l = 0; l < channels; l++)
        running[l] = (float)((1.0 - momentum) * running[l] + momentum * (now[l] * factor));
}

void NAMED(channel_batchnorm_combine)(const op *o, const run *r, ptrdiff_t plane)
{
    const double area = (double)(o->x.height * o->x.width), count = (double)r->batch * area;
    const ptrdiff_t squares_at = o->x.channels * LANES;
    double var[LANES] __attribute__((aligned(128)));
    dvec mean = {0}, squares = {0};
    for (ptrdiff_t slot = 0; slot < r->slots; slot++)
        mean += load_doubles(sums_at(o, slot, plane)) * area;
    mean /= count;
    for (ptrdiff_t slot = 0; slot < r->slots; slot++) {
        const dvec apart = load_doubles(sums_at(o, slot, plane)) - mean;
        squares += load_doubles(sums_at(o, slot, plane) + squares_at) + area * apart * apart;
    }
    store_doubles(var, squares / count);
    store_doubles(statistics_at(o, 0, plane), mean);
    for (int l = 0; l < LANES; l++)
        statistics_at(o, 1, plane)[l] = 1.0 / sqrt(var[l] + o->eps);
    update_running(o->running_mean + plane * LANES, channels_of(o, plane), o->momentum,
                   statistics_at(o, 0, plane), 1.0);
    update_running(o->running_var + plane * LANES, channels_of(o, plane), o->momentum, var,
                   count / (count - 1.0));
}

/* --- 3. forward: normalise ----------------------------------------------------------------------- */

static void normalise_plane(
    const op *o, const run *r, ptrdiff_t slot, ptrdiff_t c, const double *mean, const double *inv_std)
{
    const plane_center m = plane_center_at(mean);
    const vec weight = load_some(o->weight + c * LANES, channels_of(o, c));
    const vec shift = load_some(o->bias + c * LANES, channels_of(o, c));
    const vec scale = narrowed(load_doubles(inv_std) * widened(weight));
    for (ptrdiff_t h = 0; h < o->x.height; h++) {
        const float *x = at_map(r, slot, &o->x) + c * o->x.plane + h * o->x.row;
        float *y = at_map(r, slot, &o->y) + c * o->y.plane + h * o->y.row;
        for (ptrdiff_t i = 0; i < o->x.width * LANES; i += LANES) {
            const vec v = (load(x + i) - m.high - m.low) * scale + shift;
            store(y + i, o->relu ? gated(v, v) : v);
        }
    }
}

void NAMED(channel_batchnorm_forward)(const op *o, const run *r, ptrdiff_t slot)
{
    for (ptrdiff_t c = 0; c < o->x.channels; c++)
        normalise_plane(o, r, slot, c, statistics_at(o, 0, c), statistics_at(o, 1, c));
}

void NAMED(channel_batchnorm_eval)(const op *o, const run *r, ptrdiff_t slot)
{
    double mean[LANES] __attribute__((aligned(128))), inv_std[LANES] __attribute__((aligned(128)));
    for (ptrdiff_t c = 0; c < o->x.channels; c++) {
        for (ptrdiff_t l = 0; l < LANES; l++) {
            const int alive = l < channels_of(o, c);
            mean[l] = alive ? o->running_mean[c * LANES + l] : 0.0;
            inv_std[l] = alive ? 1.0 / sqrt(o->running_var[c * LANES + l] + o->eps) : 0.0;
        }
        normalise_plane(o, r, slot, c, mean, inv_std);
        if (o->frozen && slot == 0) {
            memcpy(statistics_at(o, 0, c), mean, sizeof mean);
            memcpy(statistics_at(o, 1, c), inv_std, sizeof inv_std);
        }
    }
}

/* --- 4. backward: sum of dy and of dy (x - mean), slot by slot; then of the batch ---------------- */

void NAMED(channel_batchnorm_gradient_sums)(const op *o, const run *r, ptrdiff_t slot)
{
    for (ptrdiff_t c = 0; c < o->x.channels; c++) {
        const plane_center mean = plane_center_at(statistics_at(o, 0, c));
        dvec total = {0}, product = {0};
        for (ptrdiff_t h = 0; h < o->x.height; h++) {
            const float *x = at_map(r, slot, &o->x) + c * o->x.plane + h * o->x.row;
            const float *dy = at_map(r, slot, &o->dy) + c * o->dy.plane + h * o->dy.row;
            vec row_total = splat(0.0f), row_product = splat(0.0f);
            for (ptrdiff_t i = 0; i < o->x.width * LANES; i += LANES) {
                const vec gradient = load(dy + i);
                row_total += gradient;
                row_product += gradient * (load(x + i) - mean.high - mean.low);
            }
            total += widened(row_total);
            product += widened(row_product);
        }
        store_doubles(sums_at(o, slot, c), total);
        store_doubles(sums_at(o, slot, c) + o->x.channels * LANES, product);
    }
}

void NAMED(channel_batchnorm_gradient_combine)(const op *o, const run *r, ptrdiff_t plane)
{
    const double count = (double)(r->batch * o->x.height * o->x.width);
    const dvec inv_std = load_doubles(statistics_at(o, 1, plane));
    dvec total = {0}, product = {0};
    for (ptrdiff_t slot = 0; slot < r->slots; slot++) {
        total += load_doubles(sums_at(o, slot, plane));
        product += load_doubles(sums_at(o, slot, plane) + o->x.channels * LANES);
    }
    store_some(o->dbias + plane * LANES, narrowed(total), channels_of(o, plane));
    store_some(o->dweight + plane * LANES, narrowed(product * inv_std), channels_of(o, plane));
    if (o->frozen)
        total = product = (dvec){0};
    store_doubles(statistics_at(o, 2, plane), total / count);
    store_doubles(statistics_at(o, 3, plane), product * inv_std * inv_std / count);
}

/* --- 5. backward: dx = weight inv_std (dy - dbias / M - xhat dweight / M); without the last two where
 *     the statistics are constants ----------------------------------------------------------------- */

void NAMED(channel_batchnorm_backward)(const op *o, const run *r, ptrdiff_t slot)
{
    for (ptrdiff_t c = 0; c < o->x.channels; c++) {
        const plane_center mean = plane_center_at(statistics_at(o, 0, c));
        const vec weight = load_some(o->weight + c * LANES, channels_of(o, c));
        const vec scale = narrowed(load_doubles(statistics_at(o, 1, c)) * widened(weight));
        const vec offset = narrowed(load_doubles(statistics_at(o, 2, c)));
        const vec slope = narrowed(load_doubles(statistics_at(o, 3, c)));
        for (ptrdiff_t h = 0; h < o->x.height; h++) {
            const float *x = at_map(r, slot, &o->x) + c * o->x.plane + h * o->x.row;
            const float *dy = at_map(r, slot, &o->dy) + c * o->dy.plane + h * o->dy.row;
            float *dx = at_map(r, slot, &o->dx) + c * o->dx.plane + h * o->dx.row;
            for (ptrdiff_t i = 0; i < o->x.width * LANES; i += LANES) {
                const vec distance = load(x + i) - mean.high - mean.low;
                const vec v = scale * (load(dy + i) - offset - distance * slope);
                store(dx + i, o->gate ? gated(v, load(x + i)) : v);
            }
        }
    }
}
