/* The update of all parameters, in blocks of a flat array, and the clipping before it. An item is a
 * block; `lowering/whole_step.py` cuts and orders them.
 *
 *     values, gradients, state (size,)
 *
 * `minicnn/kernels/optim.pyx` is the specification. Loops without a vector in sight are made of
 * vectors by the compiler.
 */
#include <math.h>

#include "kernels.h"

/* The sum of the squares of a block of gradients. */
void NAMED(square_gradients)(const op *o, const run *r, ptrdiff_t item)
{
    (void)o;
    const float *gradients = r->step->gradients;
    const ptrdiff_t last = r->step->blocks[item][1];
    ptrdiff_t i = r->step->blocks[item][0];
    dvec sum = ALL(0);
    for (; i + LANES <= last; i += LANES) {
        const dvec g = __builtin_convertvector(*(const loose_vec *)(gradients + i), dvec);
        sum += g * g;
    }
    double total = 0.0;
    for (; i < last; i++)
        total += (double)gradients[i] * gradients[i];
    for (int l = 0; l < LANES; l++)
        total += sum[l];
    r->step->squares[item] = total;
}

/* What clipping multiplies the gradients by: at most 1; a NaN spreads. One item. */
void NAMED(clip_factor)(const op *o, const run *r, ptrdiff_t item)
{
    (void)o, (void)item;
    training *t = r->step;
    double total = 0.0;
    for (ptrdiff_t block = 0; block < t->block_count; block++)
        total += t->squares[block];
    const double factor = t->max_norm / (sqrt(total) + 1e-6);
    t->factor = factor >= 1.0 ? 1.0 : factor;
}

/* g += weight_decay p;  buffer = g at first, then momentum buffer + undamped g;
 * nesterov: g += momentum buffer, else g = buffer;  p -= lr g */
INLINE void sgd_block(
    const training *t, float *restrict p, const float *restrict gradient, float *restrict buffer,
    ptrdiff_t count, const int has_buffer, const int first, const int nesterov)
{
    const float lr = t->lr, momentum = t->momentum, undamped = t->undamped;
    const float weight_decay = t->weight_decay;
    for (ptrdiff_t i = 0; i < count; i++) {
        float g = gradient[i] + weight_decay * p[i];
        if (has_buffer) {
            const float b = first ? g : momentum * buffer[i] + undamped * g;
            buffer[i] = b;
            g = nesterov ? g + momentum * b : b;
        }
        p[i] -= lr * g;
    }
}

static void sgd(const training *t, ptrdiff_t start, ptrdiff_t count)
{
    float *p = t->values + start, *buffer = t->state[0];
    const float *gradient = t->gradients + start;
    if (buffer == NULL)
        sgd_block(t, p, gradient, NULL, count, 0, 0, 0);
    else if (t->first)
        sgd_block(t, p, gradient, buffer + start, count, 1, 1, t->nesterov);
    else if (t->nesterov)
        sgd_block(t, p, gradient, buffer + start, count, 1, 0, 1);
    else
        sgd_block(t, p, gradient, buffer + start, count, 1, 0, 0);
}

/* coupled: g += weight_decay p;  decoupled: p *= 1 - lr weight_decay
 * m += (1 - beta1) (g - m);  v = beta2 v + (1 - beta2) g²
 * p -= lr / root1 m / (sqrt(v) / root2 + eps) */
static void adam(const training *t, ptrdiff_t start, ptrdiff_t count)
{
    float *restrict p = t->values + start, *restrict m = t->state[0] + start;
    float *restrict v = t->state[1] + start;
    const float *restrict gradient = t->gradients + start;
    const float decay = t->decoupled ? 1.0 - t->lr * t->weight_decay : 1.0;
    const float weight_decay = t->decoupled ? 0.0 : t->weight_decay;
    const float rest1 = 1.0 - t->beta1, beta2 = t->beta2, rest2 = 1.0 - t->beta2, eps = t->eps;
    const float step_size = t->lr / t->root1, root2 = t->root2;
    for (ptrdiff_t i = 0; i < count; i++) {
        const float decayed = p[i] * decay, g = gradient[i] + weight_decay * decayed;
        m[i] += rest1 * (g - m[i]);
        v[i] = beta2 * v[i] + rest2 * g * g;
        p[i] = decayed - step_size * (m[i] / (sqrtf(v[i]) / root2 + eps));
    }
}

/* One block of parameters; nothing moves where the loss is NaN or infinite. */
void NAMED(update)(const op *o, const run *r, ptrdiff_t item)
{
    (void)o;
    const training *t = r->step;
    const ptrdiff_t start = t->blocks[item][0], count = t->blocks[item][1] - start;
    if (!isfinite(t->loss))
        return;
    if (t->factor != 1.0) {
        const float factor = t->factor;
        for (ptrdiff_t i = start; i < start + count; i++)
            t->gradients[i] *= factor;
    }
    if (t->rule == SGD)
        sgd(t, start, count);
    else
        adam(t, start, count);
}
