"""Random changes to images: one resampling, and one affine map of the colours.

Called from threads that work ahead of the training, one for each batch; so neither shares its
work out.

    images (N, C, H, W), uint8 for 0 ... 255 or float for 0 ... 1   y (N, C, P, Q) float

    x = m[0] q + m[1] p + m[2],  y = m[3] q + m[4] p + m[5]     column and row of the input that
                                                                output pixel (p, q) shows
    value = (1 - fy) ((1 - fx) a + fx b) + fy ((1 - fx) c + fx d)

with a b above c d, the four pixels around (x, y), and fx, fy how far it is from a's column and
row. Centres of pixels have whole numbers. Outside of the image its nearest pixel is shown.
"""

import numpy as np

from libc.math cimport isfinite
from libc.stdint cimport int32_t, uint8_t

from minicnn.kernels.checks import check_not_empty, check_shape

ctypedef fused pixel:
    uint8_t
    float

cdef float[3] LUMINANCE = [0.299, 0.587, 0.114]         # ITU-R BT.601


def warp(
    const pixel[:, :, :, ::1] images not None,      # (N, C, H, W)
    const double[:, ::1] maps not None,             # (N, 6), m above
    float[:, :, :, ::1] y not None,                 # (N, C, P, Q), overwritten
):
    """Resample each image once, as its map says; uint8 is divided by 255.

    The identity (1, 0, 0, 0, 1, 0) gives every pixel back exactly. Raises ValueError when shapes
    disagree, an axis is empty, or a map is not finite.
    """
    cdef Py_ssize_t N = images.shape[0], C = images.shape[1], n, k
    cdef Py_ssize_t Q = y.shape[3]
    check_not_empty("images", (N, C, images.shape[2], images.shape[3]), first_axis=1)
    check_not_empty("y", (N, C, y.shape[2], y.shape[3]), first_axis=1)
    check_shape("y", (y.shape[0], y.shape[1]), (N, C))
    check_shape("maps", (maps.shape[0], maps.shape[1]), (N, 6))
    if images.shape[2] * images.shape[3] > 2**31 - 1:
        raise ValueError("images have more than 2**31 - 1 pixels; their offsets are 32 bits wide")
    for n in range(N):
        for k in range(6):
            if not isfinite(maps[n, k]):
                raise ValueError(f"maps[{n}, {k}] is {maps[n, k]}; expected a finite number")
    cdef int32_t[:, ::1] corners = np.empty((3, Q), np.int32)      # of one row of pixels
    cdef float[:, ::1] shares = np.empty((2, Q), np.float32)
    with nogil:
        for n in range(N):
            warp_image(images[n], &maps[n, 0], y[n], corners, shares)


cdef void warp_image(
    const pixel[:, :, ::1] image, const double* m, float[:, :, ::1] y,
    int32_t[:, ::1] corners, float[:, ::1] shares,
) noexcept nogil:
    cdef Py_ssize_t c, p
    for p in range(y.shape[1]):
        # 1. Where the row's pixels come from is the same in all channels.
        find_corners(m, p, image.shape[1], image.shape[2], y.shape[2], corners, shares)
        # 2. Their values.
        for c in range(y.shape[0]):
            blend_corners(&image[c, 0, 0], &corners[0, 0], &corners[1, 0], &corners[2, 0],
                          &shares[0, 0], &shares[1, 0], &y[c, p, 0], y.shape[2])


cdef inline void find_corners(
    const double* m, Py_ssize_t p, Py_ssize_t H, Py_ssize_t W, Py_ssize_t Q,
    int32_t[:, ::1] corners,        # (3, Q): offset of a, and from it to b and to c
    float[:, ::1] shares,           # (2, Q): fx and fy
) noexcept nogil:
    cdef Py_ssize_t q, column, row
    cdef double x, y
    for q in range(Q):
        # Clamped before they become integers, which cuts them off: none is too large or negative.
        x = clamp(m[0] * q + (m[1] * p + m[2]), W - 1)
        y = clamp(m[3] * q + (m[4] * p + m[5]), H - 1)
        column = <Py_ssize_t>x
        row = <Py_ssize_t>y
        corners[0, q] = <int32_t>(row * W + column)
        corners[1, q] = column < W - 1
        corners[2, q] = <int32_t>W if row < H - 1 else 0
        shares[0, q] = <float>(x - column)
        shares[1, q] = <float>(y - row)


cdef inline double clamp(double value, Py_ssize_t largest) noexcept nogil:
    # Written so that inf - inf, which a map of huge numbers can give, is 0 and not an index.
    return 0.0 if not value > 0.0 else <double>largest if value > largest else value


cdef inline void blend_corners(
    const pixel* plane, const int32_t* first, const int32_t* right, const int32_t* below,
    const float* fx, const float* fy, float* y, Py_ssize_t Q,
) noexcept nogil:
    cdef Py_ssize_t q
    cdef const pixel* a
    cdef const pixel* c
    cdef float top, bottom, value
    for q in range(Q):
        a = plane + first[q]
        c = a + below[q]
        top = a[0] + fx[q] * (<float>a[right[q]] - <float>a[0])
        bottom = c[0] + fx[q] * (<float>c[right[q]] - <float>c[0])
        value = top + fy[q] * (bottom - top)
        if pixel is uint8_t:
            y[q] = value / <float>255.0
        else:
            y[q] = value


def map_colors(
    float[:, :, ::1] x not None,                # (N, C, S), C = 1 or 3, changed in place
    const float[:, :, ::1] matrices not None,   # (N, C, C)
    const float[::1] grey_shares not None,      # (N,)
):
    """x[n, :, s] = matrices[n] @ x[n, :, s] + grey_shares[n] * g[n], clamped to 0 ... 1.

    g[n] is the mean brightness of the image before: 0.299 red + 0.587 green + 0.114 blue. Raises
    ValueError when shapes disagree.
    """
    cdef Py_ssize_t N = x.shape[0], C = x.shape[1], n
    cdef float grey
    if C not in (1, 3):
        raise ValueError(f"x has {C} channels; expected 1 or 3")
    check_not_empty("x", (N, C, x.shape[2]), first_axis=1)
    check_shape("matrices", (matrices.shape[0], matrices.shape[1], matrices.shape[2]), (N, C, C))
    check_shape("grey_shares", (grey_shares.shape[0],), (N,))
    with nogil:
        for n in range(N):
            grey = grey_shares[n] * mean_grey(x[n])
            if C == 1:
                map_grey(&x[n, 0, 0], matrices[n, 0, 0], grey, x.shape[2])
            else:
                map_rgb(&x[n, 0, 0], &x[n, 1, 0], &x[n, 2, 0], &matrices[n, 0, 0], grey,
                        x.shape[2])


cdef float mean_grey(const float[:, ::1] x) noexcept nogil:
    """Mean brightness of an image (C, S)."""
    cdef Py_ssize_t c, s
    cdef double total = 0.0, channel
    for c in range(x.shape[0]):
        channel = 0.0
        for s in range(x.shape[1]):
            channel = channel + x[c, s]
        total = total + channel * (1.0 if x.shape[0] == 1 else LUMINANCE[c])
    return <float>(total / x.shape[1])


cdef void map_grey(float* x, float factor, float shift, Py_ssize_t S) noexcept nogil:
    cdef Py_ssize_t s
    for s in range(S):
        x[s] = unit(factor * x[s] + shift)


cdef void map_rgb(
    float* red, float* green, float* blue, const float* m, float shift, Py_ssize_t S
) noexcept nogil:
    cdef Py_ssize_t s
    cdef float r, g, b
    # Read once: the compiler cannot know that the matrix is no part of the image.
    cdef float m0 = m[0], m1 = m[1], m2 = m[2], m3 = m[3], m4 = m[4], m5 = m[5]
    cdef float m6 = m[6], m7 = m[7], m8 = m[8]
    for s in range(S):
        r = red[s]
        g = green[s]
        b = blue[s]
        red[s] = unit(m0 * r + m1 * g + m2 * b + shift)
        green[s] = unit(m3 * r + m4 * g + m5 * b + shift)
        blue[s] = unit(m6 * r + m7 * g + m8 * b + shift)


cdef inline float unit(float value) noexcept nogil:
    """Clamped to 0 ... 1; a NaN stays one."""
    return <float>0.0 if value < 0 else <float>1.0 if value > 1 else value
