/* BatchNorm (Ioffe & Szegedy 2015): statistics over all samples and pixels of a channel.
 *
 *     x, y, dx, dy (C, H, W) of each slot;  M = batch * H * W values a channel
 *     xhat = (x - mean) inv_std,   inv_std = 1 / sqrt(var + eps),   y = weight xhat + bias
 *
 * Sums within a row are in float, sums of rows and slots in double. Each slot leaves its own
 * sums; when all have, each slot adds them up in the same order and gets the same bits.
 */
#include <math.h>

#include "kernels.h"

/* The mean as a sum of two floats: x - high is exact where x is near the mean. */
typedef struct {
    vec high, low;
} center;

INLINE center center_at(double mean)
{
    const float high = (float)mean;
    return (center){splat(high), splat((float)(mean - high))};
}

INLINE double lane_total(dvec v)
{
    for (int half = LANES / 2; half; half /= 2) {
        for (int l = 0; l < half; l++)
            v[l] += v[l + half];
    }
    return v[0];
}

/* --- 1. forward: the mean of each channel in a slot, and the squares around it ------------------ */

static void channel_sums(const op *o, const run *r, ptrdiff_t slot, ptrdiff_t c, double sums[2])
{
    const float *x = at_map(r, slot, &o->x) + c * o->x.plane;
    const ivec mask = sample_mask(r, slot);
    const double count = (double)(samples_in(r, slot) * o->x.height * o->x.width);
    const vec pivot = splat(x[0]);              /* any value of the channel: keeps the sums small */
    dvec total = {0};
    for (ptrdiff_t h = 0; h < o->x.height; h++) {
        vec sum = splat(0.0f);
        for (ptrdiff_t w = 0; w < o->x.width; w++)
            sum += load(x + h * o->x.row + w * LANES) - pivot;
        total += __builtin_convertvector(keep(mask, sum), dvec);
    }
    sums[0] = x[0] + lane_total(total) / count;
    const center mean = center_at(sums[0]);
    total = (dvec){0};
    for (ptrdiff_t h = 0; h < o->x.height; h++) {
        vec sum = splat(0.0f);
        for (ptrdiff_t w = 0; w < o->x.width; w++) {
            const vec d = load(x + h * o->x.row + w * LANES) - mean.high - mean.low;
            sum += d * d;
        }
        total += __builtin_convertvector(keep(mask, sum), dvec);
    }
    sums[1] = lane_total(total);
}

void NAMED(batchnorm_sums)(const op *o, const run *r, ptrdiff_t slot)
{
    const ptrdiff_t channels = o->x.channels;
    double *sums = o->sums + slot * 2 * channels;
    for (ptrdiff_t c = 0; c < channels; c++) {
        double pair[2];
        channel_sums(o, r, slot, c, pair);
        sums[c] = pair[0];
        sums[channels + c] = pair[1];
    }
}

/* --- 2. forward: normalise ----------------------------------------------------------------------- */

/* Mean and biased variance of a channel from those of the slots. */
static void combine(const op *o, const run *r, ptrdiff_t c, double *mean, double *var)
{
    const ptrdiff_t channels = o->x.channels, area = o->x.height * o->x.width;
    const double count = (double)(r->batch * area);
    double sum = 0.0, squares = 0.0;
    for (ptrdiff_t slot = 0; slot < r->slots; slot++)
        sum += o->sums[slot * 2 * channels + c] * (double)(samples_in(r, slot) * area);
    *mean = sum / count;
    for (ptrdiff_t slot = 0; slot < r->slots; slot++) {
        const double *of_slot = o->sums + slot * 2 * channels;
        const double apart = of_slot[c] - *mean;
        squares += of_slot[channels + c] + (double)(samples_in(r, slot) * area) * apart * apart;
    }
    *var = squares / count;
}

static void normalise(
    const op *o, const run *r, ptrdiff_t slot, ptrdiff_t c, double mean, double inv_std)
{
    const center m = center_at(mean);
    const vec scale = splat((float)(inv_std * o->weight[c])), shift = splat(o->bias[c]);
    for (ptrdiff_t h = 0; h < o->x.height; h++) {
        const float *x = at_map(r, slot, &o->x) + c * o->x.plane + h * o->x.row;
        float *y = at_map(r, slot, &o->y) + c * o->y.plane + h * o->y.row;
        for (ptrdiff_t i = 0; i < o->x.width * LANES; i += LANES) {
            const vec v = (load(x + i) - m.high - m.low) * scale + shift;
            store(y + i, o->relu ? gated(v, v) : v);
        }
    }
}

void NAMED(batchnorm_forward)(const op *o, const run *r, ptrdiff_t slot)
{
    const double count = (double)(r->batch * o->x.height * o->x.width);
    for (ptrdiff_t c = 0; c < o->x.channels; c++) {
        double mean, var;
        combine(o, r, c, &mean, &var);
        const double inv_std = 1.0 / sqrt(var + o->eps), m = o->momentum;
        normalise(o, r, slot, c, mean, inv_std);
        if (slot == 0) {            /* kept for the backward pass and, unbiased, for evaluation */
            o->statistics[c] = mean;
            o->statistics[o->x.channels + c] = inv_std;
            o->running_mean[c] = (float)((1.0 - m) * o->running_mean[c] + m * mean);
            o->running_var[c] =
                (float)((1.0 - m) * o->running_var[c] + m * (var * count / (count - 1.0)));
        }
    }
}

void NAMED(batchnorm_eval)(const op *o, const run *r, ptrdiff_t slot)
{
    for (ptrdiff_t c = 0; c < o->x.channels; c++) {
        const double inv_std = 1.0 / sqrt(o->running_var[c] + o->eps);
        normalise(o, r, slot, c, o->running_mean[c], inv_std);
        if (o->frozen && slot == 0) {
            o->statistics[c] = o->running_mean[c];
            o->statistics[o->x.channels + c] = inv_std;
        }
    }
}

/* --- 3. backward: sum of dy and of dy (x - mean), slot by slot ------------------------------------ */

void NAMED(batchnorm_gradient_sums)(const op *o, const run *r, ptrdiff_t slot)
{
    const ptrdiff_t channels = o->x.channels;
    double *sums = o->sums + slot * 2 * channels;
    for (ptrdiff_t c = 0; c < channels; c++) {
        const center mean = center_at(o->statistics[c]);
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
            total += __builtin_convertvector(row_total, dvec);
            product += __builtin_convertvector(row_product, dvec);
        }
        sums[c] = lane_total(total);
        sums[channels + c] = lane_total(product);
    }
}

/* --- 4. backward: dx = weight inv_std (dy - dbias / M - xhat dweight / M), or weight inv_std dy where
 *     the statistics are constants ----------------------------------------------------------------- */

static void backward_channel(
    const op *o, const run *r, ptrdiff_t slot, ptrdiff_t c, double total, double product)
{
    const double inv_std = o->statistics[o->x.channels + c];
    const double count = (double)(r->batch * o->x.height * o->x.width);
    const center mean = center_at(o->statistics[c]);
    const ivec mask = sample_mask(r, slot);
    const vec scale = splat((float)(inv_std * o->weight[c]));
    const vec offset = splat((float)(total / count));
    const vec slope = splat((float)(product * inv_std * inv_std / count));
    for (ptrdiff_t h = 0; h < o->x.height; h++) {
        const float *x = at_map(r, slot, &o->x) + c * o->x.plane + h * o->x.row;
        const float *dy = at_map(r, slot, &o->dy) + c * o->dy.plane + h * o->dy.row;
        float *dx = at_map(r, slot, &o->dx) + c * o->dx.plane + h * o->dx.row;
        for (ptrdiff_t i = 0; i < o->x.width * LANES; i += LANES) {
            const vec distance = load(x + i) - mean.high - mean.low;
            vec v = keep(mask, scale * (load(dy + i) - offset - distance * slope));
            if (o->gate)
                v = gated(v, load(x + i));
            store(dx + i, v);
        }
    }
}

void NAMED(batchnorm_backward)(const op *o, const run *r, ptrdiff_t slot)
{
    const ptrdiff_t channels = o->x.channels;
    for (ptrdiff_t c = 0; c < channels; c++) {
        double total = 0.0, product = 0.0;
        for (ptrdiff_t s = 0; s < r->slots; s++) {
            total += o->sums[s * 2 * channels + c];
            product += o->sums[s * 2 * channels + channels + c];
        }
        if (slot == 0) {
            o->dbias[c] = (float)total;
            o->dweight[c] = (float)(product * o->statistics[channels + c]);
        }
        if (o->dx.channels)
            backward_channel(o, r, slot, c, o->frozen ? 0.0 : total, o->frozen ? 0.0 : product);
    }
}
