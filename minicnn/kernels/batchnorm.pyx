"""Batch normalisation (Ioffe & Szegedy 2015) over every axis but the channels.

    x, y, dx, dy (N, C, S)      S = H * W pixels, or 1 for BatchNorm1d; M = N * S values a channel
    weight, bias, mean, inv_std, running_mean, running_var (C,)

    xhat = (x - mean) inv_std,    inv_std = 1 / sqrt(var + eps),    y = weight xhat + bias

`var` divides by M when it normalises and by M - 1 when it is stored; `momentum` weighs the new
value: running = (1 - momentum) running + momentum batch (both as PyTorch). Without weight and
bias they count as 1 and 0. Sums are in double and belong to one channel; threads share channels.
"""

from cython.parallel cimport prange
from libc.math cimport sqrt

from minicnn.kernels.checks import check_not_empty, check_shapes, check_threads

cdef enum:
    SUMS = 4        # partial sums side by side, so that an addition need not wait for the last


# --- training: statistics of the batch -------------------------------------------------------

def batchnorm_forward_train(
    const float[:, :, ::1] x not None,                      # (N, C, S)
    const float[::1] weight, const float[::1] bias,         # (C,) or None
    float[:, :, ::1] y not None,                            # (N, C, S)
    float[::1] mean not None, float[::1] inv_std not None,  # (C,), kept for the backward pass
    float[::1] running_mean, float[::1] running_var,        # (C,) or None, updated
    double momentum, double eps, num_threads,
):
    """Normalise with the statistics of this batch and update the running ones.

    Raises ValueError when shapes disagree or a channel has fewer than two values.
    """
    cdef int threads = check_threads(num_threads, <double>x.size)
    cdef Py_ssize_t C = x.shape[1], M = x.shape[0] * x.shape[2], c
    cdef double m, v
    check_not_empty("x", shape(x), first_axis=1)
    check_shapes(shape(x), y=y)
    check_shapes((C,), weight=weight, bias=bias, mean=mean, inv_std=inv_std,
                 running_mean=running_mean, running_var=running_var)
    if M < 2:
        raise ValueError(
            f"training needs more than one value per channel, got x of shape {shape(x)}; "
            f"use a larger batch or eval mode"
        )
    for c in prange(C, nogil=True, num_threads=threads, use_threads_if=threads > 1):
        # 1. Two passes: squares are taken of x - mean, so a large mean costs no accuracy.
        m = channel_sum(x, c, 0.0) / M
        v = channel_product(x, x, c, m, m) / M
        mean[c] = <float>m
        inv_std[c] = <float>(1.0 / sqrt(v + eps))
        # 2. y = weight (x - mean) inv_std + bias
        normalise(x, y, c, m, 1.0 / sqrt(v + eps), weight, bias)
        # 3. The stored variance is the unbiased one.
        if running_mean is not None:
            running_mean[c] = <float>((1.0 - momentum) * running_mean[c] + momentum * m)
        if running_var is not None:
            v = v * M / (M - 1)
            running_var[c] = <float>((1.0 - momentum) * running_var[c] + momentum * v)


def batchnorm_backward(
    const float[:, :, ::1] dy not None, const float[:, :, ::1] x not None,      # (N, C, S)
    const float[::1] weight,                                                    # (C,) or None
    const float[::1] mean not None, const float[::1] inv_std not None,          # (C,)
    float[:, :, ::1] dx not None,                                               # (N, C, S)
    float[::1] dweight, float[::1] dbias,                                       # (C,) or None
    num_threads,
):
    """Gradients when mean and variance depend on x (training).

    dbias = sum dy,  dweight = sum dy xhat,
    dx = weight inv_std (dy - dbias / M - xhat dweight / M)
    """
    cdef int threads = check_threads(num_threads, <double>x.size)
    cdef Py_ssize_t C = x.shape[1], c
    check_not_empty("x", shape(x), first_axis=1)
    check_shapes(shape(x), dy=dy, dx=dx)
    check_shapes((C,), weight=weight, mean=mean, inv_std=inv_std, dweight=dweight, dbias=dbias)
    for c in prange(C, nogil=True, num_threads=threads, use_threads_if=threads > 1):
        channel_backward(dy, x, dx, c, mean[c], inv_std[c], weight, dweight, dbias, True)


# --- evaluation, or training with frozen statistics: mean and variance are constants ---------

def batchnorm_forward_eval(
    const float[:, :, ::1] x not None,                              # (N, C, S)
    const float[::1] weight, const float[::1] bias,                 # (C,) or None
    const float[::1] running_mean not None, const float[::1] running_var not None,
    float[:, :, ::1] y not None,                                    # (N, C, S)
    double eps, num_threads,
):
    """Normalise with the running statistics. Raises ValueError when shapes disagree."""
    cdef int threads = check_threads(num_threads, <double>x.size)
    cdef Py_ssize_t C = x.shape[1], c
    check_not_empty("x", shape(x), first_axis=1)
    check_shapes(shape(x), y=y)
    check_shapes((C,), weight=weight, bias=bias, running_mean=running_mean,
                 running_var=running_var)
    for c in prange(C, nogil=True, num_threads=threads, use_threads_if=threads > 1):
        normalise(x, y, c, running_mean[c], 1.0 / sqrt(running_var[c] + eps), weight, bias)


def batchnorm_backward_eval(
    const float[:, :, ::1] dy not None, const float[:, :, ::1] x not None,      # (N, C, S)
    const float[::1] weight,                                                    # (C,) or None
    const float[::1] running_mean not None, const float[::1] running_var not None,
    float[:, :, ::1] dx not None,                                               # (N, C, S)
    float[::1] dweight, float[::1] dbias,                                       # (C,) or None
    double eps, num_threads,
):
    """Gradients when the statistics are constants: dx = weight inv_std dy."""
    cdef int threads = check_threads(num_threads, <double>x.size)
    cdef Py_ssize_t C = x.shape[1], c
    check_not_empty("x", shape(x), first_axis=1)
    check_shapes(shape(x), dy=dy, dx=dx)
    check_shapes((C,), weight=weight, running_mean=running_mean, running_var=running_var,
                 dweight=dweight, dbias=dbias)
    for c in prange(C, nogil=True, num_threads=threads, use_threads_if=threads > 1):
        channel_backward(dy, x, dx, c, running_mean[c], 1.0 / sqrt(running_var[c] + eps),
                         weight, dweight, dbias, False)


# --- one channel -----------------------------------------------------------------------------

cdef void normalise(
    const float[:, :, ::1] x, float[:, :, ::1] y, Py_ssize_t c, double mean, double inv_std,
    const float[::1] weight, const float[::1] bias,
) noexcept nogil:
    # The mean as a sum of two floats: x - high is exact where x is near the mean, so nothing is
    # lost when the mean is far larger than the deviation.
    cdef float high = <float>mean, low = <float>(mean - high)
    cdef float scale = <float>(inv_std if weight is None else inv_std * weight[c])
    cdef float shift = 0.0 if bias is None else bias[c]
    cdef Py_ssize_t n, i
    cdef const float* source
    cdef float* target
    for n in range(x.shape[0]):
        source = &x[n, c, 0]
        target = &y[n, c, 0]
        for i in range(x.shape[2]):
            target[i] = ((source[i] - high) - low) * scale + shift


cdef void channel_backward(
    const float[:, :, ::1] dy, const float[:, :, ::1] x, float[:, :, ::1] dx,
    Py_ssize_t c, double mean, double inv_std,
    const float[::1] weight, float[::1] dweight, float[::1] dbias, bint batch_statistics,
) noexcept nogil:
    cdef Py_ssize_t N = x.shape[0], S = x.shape[2], M = N * S, n, i
    cdef double scale = inv_std if weight is None else inv_std * weight[c]
    cdef double total, product, slope, offset
    # 1. The saved mean was rounded to float; the batch tells by how much it is off.
    if batch_statistics and M > 0:
        mean = mean + channel_sum(x, c, mean) / M
    # 2. The gradients of bias and weight: sum dy and sum dy xhat.
    total = channel_sum(dy, c, 0.0)
    product = channel_product(dy, x, c, 0.0, mean) * inv_std
    if dbias is not None:
        dbias[c] = <float>total
    if dweight is not None:
        dweight[c] = <float>product
    # 3. dx.
    if batch_statistics and M > 0:
        offset = total / M
        slope = product * inv_std / M
        for n in range(N):
            for i in range(S):
                dx[n, c, i] = <float>(
                    scale * (dy[n, c, i] - offset - (x[n, c, i] - mean) * slope))
    else:
        for n in range(N):
            for i in range(S):
                dx[n, c, i] = <float>(scale * dy[n, c, i])


cdef double channel_sum(const float[:, :, ::1] a, Py_ssize_t c, double shift) noexcept nogil:
    """sum (a - shift)"""
    cdef double total[4]                    # (SUMS,)
    cdef Py_ssize_t n, i, j, S = a.shape[2]
    cdef const float* row
    for j in range(SUMS):
        total[j] = 0.0
    for n in range(a.shape[0]):
        row = &a[n, c, 0]
        for i in range(S // SUMS):
            for j in range(SUMS):
                total[j] += row[SUMS * i + j] - shift
        for i in range(S // SUMS * SUMS, S):
            total[0] += row[i] - shift
    return (total[0] + total[1]) + (total[2] + total[3])


cdef double channel_product(
    const float[:, :, ::1] a, const float[:, :, ::1] b, Py_ssize_t c,
    double a_shift, double b_shift,
) noexcept nogil:
    """sum (a - a_shift) (b - b_shift)"""
    cdef double total[4]                    # (SUMS,)
    cdef Py_ssize_t n, i, j, S = a.shape[2]
    cdef const float* p
    cdef const float* q
    for j in range(SUMS):
        total[j] = 0.0
    for n in range(a.shape[0]):
        p = &a[n, c, 0]
        q = &b[n, c, 0]
        for i in range(S // SUMS):
            for j in range(SUMS):
                total[j] += (p[SUMS * i + j] - a_shift) * (q[SUMS * i + j] - b_shift)
        for i in range(S // SUMS * SUMS, S):
            total[0] += (p[i] - a_shift) * (q[i] - b_shift)
    return (total[0] + total[1]) + (total[2] + total[3])


cdef tuple shape(const float[:, :, ::1] array):
    return array.shape[0], array.shape[1], array.shape[2]
