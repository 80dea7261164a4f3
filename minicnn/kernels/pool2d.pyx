"""Max, average and global average pooling.

    x (N, C, H, W)   y (N, C, OH, OW)      B = N * C planes, each pooled by itself

Window (oh, ow) covers rows oh * s_h - pad_h to oh * s_h - pad_h + k_h of the plane, columns
alike. Only the part inside the plane is read: the border counts as -inf for the maximum and as
0 for the average. ceil_mode is expressed by the shape of y, as PyTorch defines it: a window may
hang over the far border, but starts inside the plane or its near border.
"""

import numpy as np

from cython.parallel cimport prange

from minicnn.kernels.checks import (
    INT32_MAX, check_not_empty, check_pool_axis, check_shape, check_threads,
)

cdef struct Window:
    Py_ssize_t H, W, OH, OW, k_h, k_w, s_h, s_w, pad_h, pad_w
    bint count_include_pad


# --- maximum ---------------------------------------------------------------------------------

def max_pool2d_forward(
    const float[:, :, :, ::1] x not None,       # (N, C, H, W)
    float[:, :, :, ::1] y not None,             # (N, C, OH, OW)
    int[:, :, :, ::1] indices not None,         # (N, C, OH, OW), h * W + w of each winner
    k_h, k_w, s_h, s_w, pad_h, pad_w, num_threads,
):
    """y = maximum of each window. The first maximum wins a tie; the first NaN beats all.

    Raises ValueError for shapes or windows that do not fit.
    """
    cdef int threads = check_threads(num_threads, <double>x.size)
    cdef Window w = check_window(shape(x), shape(y), k_h, k_w, s_h, s_w, pad_h, pad_w)
    check_shape("indices", index_shape(indices), shape(y))
    if w.H * w.W > INT32_MAX:
        raise ValueError(f"a plane of {w.H} x {w.W} has positions beyond the range of int32")
    cdef Py_ssize_t b, C = x.shape[1]
    for b in prange(x.shape[0] * C, nogil=True, num_threads=threads, use_threads_if=threads > 1):
        max_plane(w, &x[b // C, b % C, 0, 0], &y[b // C, b % C, 0, 0],
                  &indices[b // C, b % C, 0, 0])


cdef void max_plane(Window w, const float* x, float* y, int* indices) noexcept nogil:
    """x (H, W) -> y, indices (OH, OW)."""
    cdef Py_ssize_t oh, ow, h, i, top, bottom, left, right, winner
    cdef float best
    for oh in range(w.OH):
        top = max(oh * w.s_h - w.pad_h, <Py_ssize_t>0)
        bottom = min(oh * w.s_h - w.pad_h + w.k_h, w.H)
        for ow in range(w.OW):
            left = max(ow * w.s_w - w.pad_w, <Py_ssize_t>0)
            right = min(ow * w.s_w - w.pad_w + w.k_w, w.W)
            winner = top * w.W + left
            best = x[winner]
            for h in range(top, bottom):
                for i in range(h * w.W + left, h * w.W + right):
                    # "not <=" is true for a greater value and for NaN; nothing follows NaN.
                    if not x[i] <= best and best == best:
                        best = x[i]
                        winner = i
            y[oh * w.OW + ow] = best
            indices[oh * w.OW + ow] = <int>winner       # < H * W, which fits an int32


def max_pool2d_backward(
    const float[:, :, :, ::1] dy not None,          # (N, C, OH, OW)
    const int[:, :, :, ::1] indices not None,       # (N, C, OH, OW), from the forward pass
    float[:, :, :, ::1] dx not None,                # (N, C, H, W)
    num_threads,
):
    """dx = dy at each window's winner, 0 elsewhere; overlapping windows add.

    Raises ValueError when shapes disagree or an index lies outside its plane.
    """
    cdef int threads = check_threads(num_threads, <double>dx.size)
    cdef Py_ssize_t b, C = dx.shape[1], size = dx.shape[2] * dx.shape[3]
    cdef Py_ssize_t windows = dy.shape[2] * dy.shape[3]
    check_not_empty("dx", shape(dx), first_axis=1)
    check_not_empty("dy", shape(dy), first_axis=1)
    check_shape("dy", shape(dy), (dx.shape[0], C, dy.shape[2], dy.shape[3]))
    check_shape("indices", index_shape(indices), shape(dy))
    positions = np.asarray(indices)
    if positions.size and not (0 <= positions.min() and positions.max() < size):
        raise ValueError(
            f"indices must lie in 0..{size - 1} for a plane of {dx.shape[2]} x {dx.shape[3]}, "
            f"got {positions.min()}..{positions.max()}; pass those of the forward call"
        )
    for b in prange(dx.shape[0] * C, nogil=True, num_threads=threads,
                    use_threads_if=threads > 1):
        spread_plane(&dy[b // C, b % C, 0, 0], &indices[b // C, b % C, 0, 0], windows,
                     &dx[b // C, b % C, 0, 0], size)


cdef void spread_plane(
    const float* dy, const int* indices, Py_ssize_t windows, float* dx, Py_ssize_t size
) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(size):
        dx[i] = 0.0
    for i in range(windows):
        dx[indices[i]] += dy[i]


# --- average ---------------------------------------------------------------------------------

def avg_pool2d_forward(
    const float[:, :, :, ::1] x not None,       # (N, C, H, W)
    float[:, :, :, ::1] y not None,             # (N, C, OH, OW)
    k_h, k_w, s_h, s_w, pad_h, pad_w, count_include_pad, num_threads,
):
    """y = sum of each window / its divisor (see `divisor`).

    Raises ValueError for shapes or windows that do not fit.
    """
    cdef int threads = check_threads(num_threads, <double>x.size)
    cdef Window w = check_window(shape(x), shape(y), k_h, k_w, s_h, s_w, pad_h, pad_w)
    w.count_include_pad = count_include_pad
    cdef Py_ssize_t b, C = x.shape[1]
    for b in prange(x.shape[0] * C, nogil=True, num_threads=threads, use_threads_if=threads > 1):
        average_plane(w, &x[b // C, b % C, 0, 0], &y[b // C, b % C, 0, 0])


cdef void average_plane(Window w, const float* x, float* y) noexcept nogil:
    """x (H, W) -> y (OH, OW)."""
    cdef Py_ssize_t oh, ow, h, i, left, right
    cdef double total
    for oh in range(w.OH):
        for ow in range(w.OW):
            left = max(ow * w.s_w - w.pad_w, <Py_ssize_t>0)
            right = min(ow * w.s_w - w.pad_w + w.k_w, w.W)
            total = 0.0
            for h in range(max(oh * w.s_h - w.pad_h, <Py_ssize_t>0),
                           min(oh * w.s_h - w.pad_h + w.k_h, w.H)):
                for i in range(h * w.W + left, h * w.W + right):
                    total += x[i]
            y[oh * w.OW + ow] = <float>(total / divisor(w, oh, ow))


cdef double divisor(Window w, Py_ssize_t oh, Py_ssize_t ow) noexcept nogil:
    """How many positions window (oh, ow) counts.

    With count_include_pad the border counts as far as the padding reaches; what ceil_mode lets
    hang over beyond that never counts. Without it only real pixels count. (As PyTorch.)
    """
    cdef Py_ssize_t top = oh * w.s_h - w.pad_h, bottom = min(top + w.k_h, w.H + w.pad_h)
    cdef Py_ssize_t left = ow * w.s_w - w.pad_w, right = min(left + w.k_w, w.W + w.pad_w)
    if not w.count_include_pad:
        top = max(top, <Py_ssize_t>0)
        left = max(left, <Py_ssize_t>0)
        bottom = min(bottom, w.H)
        right = min(right, w.W)
    return <double>(bottom - top) * <double>(right - left)


def avg_pool2d_backward(
    const float[:, :, :, ::1] dy not None,      # (N, C, OH, OW)
    float[:, :, :, ::1] dx not None,            # (N, C, H, W)
    k_h, k_w, s_h, s_w, pad_h, pad_w, count_include_pad, num_threads,
):
    """dx = sum over the windows that hold a pixel of dy / divisor.

    Raises ValueError for shapes or windows that do not fit.
    """
    cdef int threads = check_threads(num_threads, <double>dx.size)
    cdef Window w = check_window(shape(dx), shape(dy), k_h, k_w, s_h, s_w, pad_h, pad_w)
    w.count_include_pad = count_include_pad
    cdef Py_ssize_t b, C = dx.shape[1]
    for b in prange(dx.shape[0] * C, nogil=True, num_threads=threads, use_threads_if=threads > 1):
        average_plane_backward(w, &dy[b // C, b % C, 0, 0], &dx[b // C, b % C, 0, 0])


cdef void average_plane_backward(Window w, const float* dy, float* dx) noexcept nogil:
    """dy (OH, OW) -> dx (H, W)."""
    cdef Py_ssize_t oh, ow, h, i, left, right
    cdef float share
    for i in range(w.H * w.W):
        dx[i] = 0.0
    for oh in range(w.OH):
        for ow in range(w.OW):
            left = max(ow * w.s_w - w.pad_w, <Py_ssize_t>0)
            right = min(ow * w.s_w - w.pad_w + w.k_w, w.W)
            share = <float>(dy[oh * w.OW + ow] / divisor(w, oh, ow))
            for h in range(max(oh * w.s_h - w.pad_h, <Py_ssize_t>0),
                           min(oh * w.s_h - w.pad_h + w.k_h, w.H)):
                for i in range(h * w.W + left, h * w.W + right):
                    dx[i] += share


# --- global average: one window that is the whole plane --------------------------------------

def global_avg_pool_forward(
    const float[:, :, :, ::1] x not None,       # (N, C, H, W)
    float[:, :, :, ::1] y not None,             # (N, C, 1, 1)
    num_threads,
):
    """y = mean of each plane. Raises ValueError for shapes that do not fit."""
    H, W = x.shape[2], x.shape[3]
    check_shape("y", shape(y), (x.shape[0], x.shape[1], 1, 1))
    avg_pool2d_forward(x, y, H, W, H, W, 0, 0, False, num_threads)


def global_avg_pool_backward(
    const float[:, :, :, ::1] dy not None,      # (N, C, 1, 1)
    float[:, :, :, ::1] dx not None,            # (N, C, H, W)
    num_threads,
):
    """dx = dy / (H * W) everywhere. Raises ValueError for shapes that do not fit."""
    H, W = dx.shape[2], dx.shape[3]
    check_shape("dy", shape(dy), (dx.shape[0], dx.shape[1], 1, 1))
    avg_pool2d_backward(dy, dx, H, W, H, W, 0, 0, False, num_threads)


# --- checks ----------------------------------------------------------------------------------

cdef tuple shape(const float[:, :, :, ::1] array):
    return array.shape[0], array.shape[1], array.shape[2], array.shape[3]


cdef tuple index_shape(const int[:, :, :, ::1] array):
    return array.shape[0], array.shape[1], array.shape[2], array.shape[3]


cdef Window check_window(tuple x, tuple y, k_h, k_w, s_h, s_w, pad_h, pad_w) except *:
    """The sizes of the call, after every check that memory safety needs."""
    check_not_empty("x", x, first_axis=1)
    check_shape("y", y, (x[0], x[1], y[2], y[3]))
    check_pool_axis("height", x[2], y[2], k_h, s_h, pad_h)
    check_pool_axis("width", x[3], y[3], k_w, s_w, pad_w)
    return Window(H=x[2], W=x[3], OH=y[2], OW=y[3], k_h=k_h, k_w=k_w, s_h=s_h, s_w=s_w,
                  pad_h=pad_h, pad_w=pad_w, count_include_pad=True)
