"""Optimizer steps on a flat run of parameters, in the order of operations that PyTorch uses.

    param, grad, buffer, exp_avg, exp_avg_sq (n,)

Also the norm that gradient clipping needs, and the moving average of parameters.
"""

import numpy as np

from cython.parallel cimport prange
from libc.math cimport pow, sqrt, sqrtf

from minicnn.kernels.checks import check_at_least, check_shapes, check_threads

cdef enum:
    BLOCK = 8192        # elements that a thread takes at a time, and one partial sum of the norm

# The numbers of one step, rounded to float once.
cdef struct SGD:
    float lr, momentum, undamped, weight_decay
    bint nesterov, first_step

cdef struct Adam:
    float step_size, decay, weight_decay, rest1, beta2, rest2, root_correction, eps


def sgd_step(
    float[::1] param not None, const float[::1] grad not None,      # (n,)
    float[::1] buffer,                                              # (n,), None without momentum
    double lr, double momentum, double dampening, double weight_decay, bint nesterov,
    bint first_step, num_threads,
):
    """One step of stochastic gradient descent (Sutskever et al. 2013, with lr outside).

    g += weight_decay p;  buf = g at first, then momentum buf + (1 - dampening) g;
    nesterov: g += momentum buf, else g = buf;  p -= lr g

    Raises ValueError when lengths differ, or momentum is used without a buffer.
    """
    cdef int threads = check_threads(num_threads, <double>param.shape[0])
    cdef Py_ssize_t n = param.shape[0], block
    check_shapes((n,), grad=grad, buffer=buffer)
    if momentum != 0.0 and buffer is None:
        raise ValueError(f"momentum = {momentum} needs a buffer of {n} floats, got None")
    if nesterov and (momentum <= 0.0 or dampening != 0.0):
        raise ValueError(
            f"nesterov needs momentum > 0 and dampening = 0, got {momentum} and {dampening}"
        )
    if n == 0:
        return
    cdef SGD s = SGD(lr=lr, momentum=momentum, undamped=1.0 - dampening,
                     weight_decay=weight_decay, nesterov=nesterov, first_step=first_step)
    cdef float* buffer_data = NULL
    if momentum != 0.0:
        buffer_data = &buffer[0]
    for block in prange((n + BLOCK - 1) // BLOCK, nogil=True,
                        num_threads=threads, use_threads_if=threads > 1):
        sgd_block(s, &param[0], &grad[0], buffer_data, block * BLOCK, min((block + 1) * BLOCK, n))


cdef void sgd_block(
    SGD s, float* param, const float* grad, float* buffer, Py_ssize_t first, Py_ssize_t last
) noexcept nogil:
    cdef Py_ssize_t i
    cdef float g
    for i in range(first, last):
        g = grad[i] + s.weight_decay * param[i]
        if buffer != NULL:
            buffer[i] = g if s.first_step else s.momentum * buffer[i] + s.undamped * g
            g = g + s.momentum * buffer[i] if s.nesterov else buffer[i]
        param[i] -= s.lr * g


def adam_step(
    float[::1] param not None, const float[::1] grad not None,              # (n,)
    float[::1] exp_avg not None, float[::1] exp_avg_sq not None,            # (n,)
    double lr, double beta1, double beta2, double eps, double weight_decay, bint decoupled,
    step, num_threads,
):
    """One step of Adam (Kingma & Ba 2015), or AdamW (Loshchilov & Hutter 2019) if decoupled.

    coupled: g += weight_decay p;  decoupled: p *= 1 - lr weight_decay
    m += (1 - beta1)(g - m);  v = beta2 v + (1 - beta2) g²
    p -= lr / (1 - beta1^step) m / (sqrt(v) / sqrt(1 - beta2^step) + eps)

    `step` counts from 1. Raises ValueError when lengths differ or step < 1.
    """
    cdef int threads = check_threads(num_threads, <double>param.shape[0])
    cdef double t = check_at_least("step", step, 1)
    cdef Py_ssize_t n = param.shape[0], block
    check_shapes((n,), grad=grad, exp_avg=exp_avg, exp_avg_sq=exp_avg_sq)
    for name, beta in (("beta1", beta1), ("beta2", beta2)):
        if not 0.0 <= beta < 1.0:
            raise ValueError(f"{name} must be at least 0 and below 1, got {beta}")
    if n == 0:
        return
    cdef Adam a = Adam(
        step_size=lr / (1.0 - pow(beta1, t)), root_correction=sqrt(1.0 - pow(beta2, t)), eps=eps,
        decay=1.0 - lr * weight_decay if decoupled else 1.0,
        weight_decay=0.0 if decoupled else weight_decay,
        beta2=beta2, rest1=1.0 - beta1, rest2=1.0 - beta2)
    for block in prange((n + BLOCK - 1) // BLOCK, nogil=True,
                        num_threads=threads, use_threads_if=threads > 1):
        adam_block(a, &param[0], &grad[0], &exp_avg[0], &exp_avg_sq[0],
                   block * BLOCK, min((block + 1) * BLOCK, n))


cdef void adam_block(
    Adam a, float* param, const float* grad, float* exp_avg, float* exp_avg_sq,
    Py_ssize_t first, Py_ssize_t last,
) noexcept nogil:
    cdef Py_ssize_t i
    cdef float g, p
    for i in range(first, last):
        p = param[i] * a.decay
        g = grad[i] + a.weight_decay * p
        exp_avg[i] += a.rest1 * (g - exp_avg[i])
        exp_avg_sq[i] = a.beta2 * exp_avg_sq[i] + a.rest2 * g * g
        param[i] = p - a.step_size * (
            exp_avg[i] / (sqrtf(exp_avg_sq[i]) / a.root_correction + a.eps))


def grad_norm(const float[::1] grad not None, num_threads=1):
    """Return sqrt(sum grad²) as a Python float, 0.0 for an empty array.

    The sum is in double over blocks of fixed size, added in order: the same bits for any
    number of threads.
    """
    cdef int threads = check_threads(num_threads, <double>grad.shape[0])
    cdef Py_ssize_t n = grad.shape[0], blocks = (n + BLOCK - 1) // BLOCK, block
    cdef double[::1] partial = np.empty(blocks, np.float64)
    cdef double total = 0.0
    for block in prange(blocks, nogil=True, num_threads=threads, use_threads_if=threads > 1):
        partial[block] = square_sum(&grad[0], block * BLOCK, min((block + 1) * BLOCK, n))
    for block in range(blocks):
        total += partial[block]
    return sqrt(total)


cdef double square_sum(const float* x, Py_ssize_t first, Py_ssize_t last) noexcept nogil:
    """Four sums side by side, so that an addition need not wait for the one before."""
    cdef double total[4]
    cdef Py_ssize_t i, j
    for j in range(4):
        total[j] = 0.0
    for i in range((last - first) // 4):
        for j in range(4):
            total[j] += <double>x[first + 4 * i + j] * x[first + 4 * i + j]
    for i in range(first + (last - first) // 4 * 4, last):
        total[0] += <double>x[i] * x[i]
    return (total[0] + total[1]) + (total[2] + total[3])


def scale(float[::1] grad not None, float factor, num_threads):
    """grad *= factor, in place."""
    cdef int threads = check_threads(num_threads, <double>grad.shape[0])
    cdef Py_ssize_t n = grad.shape[0], block
    for block in prange((n + BLOCK - 1) // BLOCK, nogil=True,
                        num_threads=threads, use_threads_if=threads > 1):
        scale_block(&grad[0], factor, block * BLOCK, min((block + 1) * BLOCK, n))


cdef void scale_block(float* x, float factor, Py_ssize_t first, Py_ssize_t last) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(first, last):
        x[i] *= factor


def average_step(float[::1] average not None, const float[::1] value not None, float rate,
                 num_threads):
    """average += rate (value - average), in place; rate = 1 - decay. Both are (n,)."""
    cdef int threads = check_threads(num_threads, <double>average.shape[0])
    cdef Py_ssize_t n = average.shape[0], block
    check_shapes((n,), value=value)
    if n == 0:
        return
    for block in prange((n + BLOCK - 1) // BLOCK, nogil=True,
                        num_threads=threads, use_threads_if=threads > 1):
        average_block(&average[0], &value[0], rate, block * BLOCK, min((block + 1) * BLOCK, n))


cdef void average_block(
    float* average, const float* value, float rate, Py_ssize_t first, Py_ssize_t last
) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(first, last):
        average[i] += rate * (value[i] - average[i])
