"""Conv2d: cross-correlation with stride, padding, dilation and groups.

    x (N, C, H, W)   weight (K, C/G, kH, kW)   bias (K,)   y (N, K, OH, OW)

In an image with its zero borders in place, the value that tap t = (c, kh, kw) of the kernel
meets at output pixel p = (oh, ow) lies at

    pixel[p] + tap[t],    pixel[p] = oh * stride_h * Wp + ow * stride_w
                          tap[t]   = c * Hp * Wp + kh * dilation_h * Wp + kw * dilation_w

so two small tables hold all of the geometry, and the three passes are

    forward     y[k, p]         = bias[k] + sum_t weight[k, t] x[pixel[p] + tap[t]]
    backward    dx[pixel[p] + tap[t]] += sum_k dy[k, p] weight[k, t]
                dweight[k, t]   = sum_n sum_p dy[k, p] x[pixel[p] + tap[t]]
                dbias[k]        = sum_n sum_p dy[k, p]

for each sample n and each group. P = OH * OW pixels, T = C/G * kH * kW taps, Cg = C/G,
Kg = K/G. Forward and weight gradient run the same tile with the two tables in swapped roles.
"""

import numpy as np

from cython.parallel cimport prange, threadid
from minicnn.kernels.tile cimport LANES, ROWS, multiply_tile, pack_panel

from minicnn.kernels.checks import check_shape, check_threads
from minicnn.kernels.conv2d_geometry import check_geometry, pack_lanes

cdef enum:
    PIXEL_BLOCK = 512       # pixels of dy that are packed at once: 16 KiB
    MAX_SLOTS = 8           # partial weight gradients; fixed, so that threads do not change sums

# The sizes of one call; Hp and Wp count the zero borders, R = kH * kW.
cdef struct Sizes:
    Py_ssize_t N, C, K, G, Cg, Kg, Hp, Wp, P, R, T


def conv2d_forward(
    const float[:, :, :, ::1] x not None,       # (N, C, H, W)
    const float[:, :, :, ::1] weight not None,  # (K, C/G, kH, kW)
    const float[::1] bias,                      # (K,) or None
    float[:, :, :, ::1] y not None,             # (N, K, OH, OW)
    stride_h, stride_w, pad_top, pad_left, dilation_h, dilation_w, groups, num_threads,
):
    """y = weight ⋆ x + bias; the bottom and right padding follow from the shape of y.

    Raises ValueError for shapes or a geometry that do not fit.
    """
    geometry = check_geometry(shape(x), shape(weight), shape(y), stride_h, stride_w,
                              pad_top, pad_left, dilation_h, dilation_w, groups)
    cdef Sizes s = geometry.sizes()
    cdef int threads = check_threads(num_threads, <double>s.N * s.K * s.P * s.T)
    cdef const float* start = NULL
    if bias is not None:
        check_shape("bias", (bias.shape[0],), (s.K,))
        start = &bias[0]
    if s.N == 0:
        return
    cdef const float[:, :, :, ::1] image = geometry.add_border(np.asarray(x))  # (N, C, Hp, Wp)
    # (G, Kg, T) -> blocks of 8 output channels side by side.
    cdef const float[:, :, :, ::1] panels = pack_lanes(
        np.asarray(weight).reshape(s.G, s.Kg, s.T).transpose(0, 2, 1), LANES)
    cdef const Py_ssize_t[::1] pixel = geometry.pixel_table()
    cdef const Py_ssize_t[::1] tap = geometry.tap_table()
    cdef Py_ssize_t blocks = s.G * panels.shape[1], task
    with nogil:
        for task in prange(s.N * blocks, schedule="dynamic",
                           num_threads=threads, use_threads_if=threads > 1):
            forward_block(s, &image[task // blocks, 0, 0, 0], panels, start,
                          &y[task // blocks, 0, 0, 0], &pixel[0], &tap[0], task % blocks)


cdef void forward_block(
    Sizes s,
    const float* x,                         # (C, Hp, Wp), one sample
    const float[:, :, :, ::1] panels,       # (G, blocks of Kg, T, LANES)
    const float* bias,                      # (K,) or NULL
    float* y,                               # (K, P)
    const Py_ssize_t* pixel, const Py_ssize_t* tap,
    Py_ssize_t block,
) noexcept nogil:
    """Up to LANES output channels of one sample."""
    cdef float sums[32]                     # (ROWS, LANES)
    cdef Py_ssize_t g = block // panels.shape[1]
    cdef Py_ssize_t first = block % panels.shape[1] * LANES
    cdef Py_ssize_t k = g * s.Kg + first                            # first channel
    cdef Py_ssize_t lanes = min(s.Kg - first, <Py_ssize_t>LANES)
    cdef const float* image = x + g * s.Cg * s.Hp * s.Wp
    cdef const float* panel = &panels[g, first // LANES, 0, 0]
    cdef Py_ssize_t tile, p, i, j
    cdef float start
    for tile in range((s.P + ROWS - 1) // ROWS):
        # 1. Four pixels, eight channels, all taps. Pixels past the last repeat it.
        p = tile * ROWS
        multiply_tile(image + pixel[p],
                      image + pixel[min(p + 1, s.P - 1)],
                      image + pixel[min(p + 2, s.P - 1)],
                      image + pixel[min(p + 3, s.P - 1)],
                      tap, panel, s.T, sums)
        # 2. Add the bias and store.
        for j in range(lanes):
            start = 0.0 if bias == NULL else bias[k + j]
            for i in range(min(<Py_ssize_t>ROWS, s.P - p)):
                y[(k + j) * s.P + p + i] = start + sums[LANES * i + j]


def conv2d_backward_input(
    const float[:, :, :, ::1] dy not None,      # (N, K, OH, OW)
    const float[:, :, :, ::1] weight not None,  # (K, C/G, kH, kW)
    float[:, :, :, ::1] dx not None,            # (N, C, H, W)
    stride_h, stride_w, pad_top, pad_left, dilation_h, dilation_w, groups, num_threads,
):
    """The gradient of the input: each dy is spread over the pixels that its window saw.

    Raises ValueError for shapes or a geometry that do not fit.
    """
    geometry = check_geometry(shape(dx), shape(weight), shape(dy), stride_h, stride_w,
                              pad_top, pad_left, dilation_h, dilation_w, groups)
    cdef Sizes s = geometry.sizes()
    cdef int threads = check_threads(num_threads, <double>s.N * s.K * s.P * s.T)
    if s.N == 0:
        return
    cdef float[:, :, :, ::1] image = dx                             # (N, C, Hp, Wp)
    if geometry.bordered():
        image = np.empty((s.N, s.C, s.Hp, s.Wp), np.float32)
    # (G, Kg, T) -> blocks of 8 taps side by side.
    cdef const float[:, :, :, ::1] panels = pack_lanes(
        np.asarray(weight).reshape(s.G, s.Kg, s.T), LANES)
    cdef const Py_ssize_t[::1] pixel = geometry.pixel_table()
    cdef const Py_ssize_t[::1] tap = geometry.tap_table()
    cdef const Py_ssize_t[::1] plane = np.arange(s.Kg, dtype=np.intp) * s.P
    # LANES input channels are R = kH * kW whole blocks of taps: no two tasks share a pixel.
    cdef Py_ssize_t blocks = s.G * ((s.Cg + LANES - 1) // LANES), task
    with nogil:
        for task in prange(s.N * blocks, schedule="dynamic",
                           num_threads=threads, use_threads_if=threads > 1):
            backward_input_block(s, &dy[task // blocks, 0, 0, 0], panels,
                                 &image[task // blocks, 0, 0, 0],
                                 &pixel[0], &tap[0], &plane[0], task % blocks)
    if geometry.bordered():
        np.asarray(dx)[...] = geometry.crop_border(np.asarray(image))


cdef void backward_input_block(
    Sizes s,
    const float* dy,                        # (K, P), one sample
    const float[:, :, :, ::1] panels,       # (G, blocks of T, Kg, LANES)
    float* dx,                              # (C, Hp, Wp)
    const Py_ssize_t* pixel, const Py_ssize_t* tap,
    const Py_ssize_t* plane,                # (Kg,): where each channel of dy begins
    Py_ssize_t block,
) noexcept nogil:
    """Up to LANES input channels of one sample."""
    cdef float sums[32]                     # (ROWS, LANES)
    cdef Py_ssize_t per_group = (s.Cg + LANES - 1) // LANES
    cdef Py_ssize_t g = block // per_group
    cdef Py_ssize_t c = block % per_group * LANES                   # first channel
    cdef Py_ssize_t area = s.Hp * s.Wp
    cdef Py_ssize_t last_tap = min(s.T, (c + LANES) * s.R)
    cdef const float* upstream = dy + g * s.Kg * s.P
    cdef float* image = dx + g * s.Cg * area
    cdef float* target
    cdef Py_ssize_t part, tile, p, t, i, j
    # 1. Contributions overlap, so they are added to zeros.
    for i in range(c * area, min(c + LANES, s.Cg) * area):
        image[i] = 0.0
    for part in range((last_tap - c * s.R + LANES - 1) // LANES):
        t = c * s.R + part * LANES
        for tile in range((s.P + ROWS - 1) // ROWS):
            # 2. Four pixels, eight taps, all channels of dy.
            p = tile * ROWS
            multiply_tile(upstream + p,
                          upstream + min(p + 1, s.P - 1),
                          upstream + min(p + 2, s.P - 1),
                          upstream + min(p + 3, s.P - 1),
                          plane, &panels[g, t // LANES, 0, 0], s.Kg, sums)
            # 3. Spread them over the image.
            for i in range(min(<Py_ssize_t>ROWS, s.P - p)):
                target = image + pixel[p + i]
                for j in range(min(<Py_ssize_t>LANES, last_tap - t)):
                    target[tap[t + j]] += sums[LANES * i + j]


def conv2d_backward_weight(
    const float[:, :, :, ::1] x not None,       # (N, C, H, W)
    const float[:, :, :, ::1] dy not None,      # (N, K, OH, OW)
    float[:, :, :, ::1] dweight not None,       # (K, C/G, kH, kW)
    float[::1] dbias,                           # (K,) or None
    stride_h, stride_w, pad_top, pad_left, dilation_h, dilation_w, groups, num_threads,
):
    """The gradients of weight and bias, summed over the batch; 0 for an empty batch.

    Raises ValueError for shapes or a geometry that do not fit.
    """
    geometry = check_geometry(shape(x), shape(dweight), shape(dy), stride_h, stride_w,
                              pad_top, pad_left, dilation_h, dilation_w, groups)
    cdef Sizes s = geometry.sizes()
    cdef int threads = check_threads(num_threads, <double>s.N * s.K * s.P * s.T)
    if dbias is not None:
        check_shape("dbias", (dbias.shape[0],), (s.K,))
    cdef const float[:, :, :, ::1] image = geometry.add_border(np.asarray(x))  # (N, C, Hp, Wp)
    cdef const Py_ssize_t[::1] pixel = geometry.pixel_table()
    cdef const Py_ssize_t[::1] tap = geometry.tap_table()
    # A slot is a run of samples with a gradient of its own; the batch alone says how many.
    cdef Py_ssize_t slots = max(1, min(s.N, <Py_ssize_t>MAX_SLOTS)), task, k
    cdef float[:, :, ::1] partial = np.zeros((slots, s.K, s.T), np.float32)
    cdef float[:, ::1] packed = np.empty((threads, PIXEL_BLOCK * LANES), np.float32)
    cdef Py_ssize_t blocks = s.G * ((s.Kg + LANES - 1) // LANES)
    with nogil:
        for task in prange(slots * blocks, schedule="dynamic",
                           num_threads=threads, use_threads_if=threads > 1):
            backward_weight_block(s, image, dy, &partial[task // blocks, 0, 0],
                                  &packed[threadid(), 0], &pixel[0], &tap[0],
                                  slots, task // blocks, task % blocks)
        for k in prange(s.K, num_threads=threads, use_threads_if=threads > 1):
            sum_slots(partial, k, &dweight[k, 0, 0, 0])
            if dbias is not None:
                dbias[k] = sum_channel(dy, k)


cdef void backward_weight_block(
    Sizes s,
    const float[:, :, :, ::1] x,            # (N, C, Hp, Wp)
    const float[:, :, :, ::1] dy,           # (N, K, OH, OW)
    float* partial,                         # (K, T), this slot's sum
    float* packed,                          # (PIXEL_BLOCK, LANES), this thread's scratch
    const Py_ssize_t* pixel, const Py_ssize_t* tap,
    Py_ssize_t slots, Py_ssize_t slot, Py_ssize_t block,
) noexcept nogil:
    """Up to LANES output channels, all taps, the samples of one slot."""
    cdef float sums[32]                     # (ROWS, LANES)
    cdef Py_ssize_t per_group = (s.Kg + LANES - 1) // LANES
    cdef Py_ssize_t g = block // per_group
    cdef Py_ssize_t first = block % per_group * LANES
    cdef Py_ssize_t k = g * s.Kg + first                            # first channel
    cdef Py_ssize_t lanes = min(s.Kg - first, <Py_ssize_t>LANES)
    cdef Py_ssize_t n, part, p, count, tile, t, i, j
    cdef const float* image
    for n in range(slot * s.N // slots, (slot + 1) * s.N // slots):
        for part in range((s.P + PIXEL_BLOCK - 1) // PIXEL_BLOCK):
            # 1. Up to 512 pixels of eight channels of dy, side by side.
            p = part * PIXEL_BLOCK
            count = min(s.P - p, <Py_ssize_t>PIXEL_BLOCK)
            pack_panel(&dy[n, k, 0, 0] + p, 1, s.P, count, lanes, packed)
            image = &x[n, g * s.Cg, 0, 0]
            for tile in range((s.T + ROWS - 1) // ROWS):
                # 2. Four taps, eight channels, all of these pixels.
                t = tile * ROWS
                multiply_tile(image + tap[t],
                              image + tap[min(t + 1, s.T - 1)],
                              image + tap[min(t + 2, s.T - 1)],
                              image + tap[min(t + 3, s.T - 1)],
                              pixel + p, packed, count, sums)
                # 3. Add to the slot.
                for j in range(lanes):
                    for i in range(min(<Py_ssize_t>ROWS, s.T - t)):
                        partial[(k + j) * s.T + t + i] += sums[LANES * i + j]


cdef void sum_slots(const float[:, :, ::1] partial, Py_ssize_t k, float* dweight) noexcept nogil:
    """dweight[k] = the slots' gradients, added in the order of the slots."""
    cdef Py_ssize_t slot, t
    for t in range(partial.shape[2]):
        dweight[t] = partial[0, k, t]
    for slot in range(1, partial.shape[0]):
        for t in range(partial.shape[2]):
            dweight[t] += partial[slot, k, t]


cdef float sum_channel(const float[:, :, :, ::1] dy, Py_ssize_t k) noexcept nogil:
    """dbias[k], in double; four sums side by side, so that additions need not wait."""
    cdef double total[4]
    cdef Py_ssize_t n, p, j, size = dy.shape[2] * dy.shape[3]
    cdef const float* plane
    for j in range(4):
        total[j] = 0.0
    for n in range(dy.shape[0]):
        plane = &dy[n, k, 0, 0]
        for p in range(size // 4):
            for j in range(4):
                total[j] += plane[4 * p + j]
        for p in range(size // 4 * 4, size):
            total[0] += plane[p]
    return <float>(total[0] + total[1] + (total[2] + total[3]))


cdef tuple shape(const float[:, :, :, ::1] array):
    return array.shape[0], array.shape[1], array.shape[2], array.shape[3]
