"""Dropout from a counter-based generator.

Philox4x32-10 (Salmon, Moraes, Dror & Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC
2011) turns a counter and a key into four random words without any state. So element i of a mask
is a function of (seed, step, layer, i) alone: any thread may compute it, a resumed run repeats
it, and no two steps or layers share a mask.

    key      the two halves of seed
    counter  (i // 4, layer, low half of step, high half of step); element i takes word i % 4
    u = word / 2**32 in [0, 1);  keep when u >= p;  y = x / (1 - p) when kept, else 0
"""

from cython.parallel cimport prange
from libc.math cimport ceil
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from minicnn.kernels.checks import (
    check_not_empty, check_probability, check_shape, check_threads, check_unsigned,
)

cdef enum:
    BLOCK = 8192                    # elements that a thread takes at a time, a multiple of 4

MAX_ELEMENTS = 2**34                # the counter's first word counts groups of four


def dropout_forward(
    const float[::1] x not None,            # (n,)
    float[::1] y not None,                  # (n,)
    uint8_t[::1] mask not None,             # (n,), 1 = kept
    p, seed, step, layer, num_threads,
):
    """Drop each element with probability p. p = 0 keeps all, p = 1 drops all.

    seed and step are 64 bits wide, layer 32. Raises ValueError when lengths differ, p is not in
    [0, 1], or one of the three integers is out of range.
    """
    cdef int threads = check_threads(num_threads, 4.0 * x.shape[0])
    cdef double rate = check_probability("p", p)
    cdef Py_ssize_t n = x.shape[0], block
    check_shape("y", (y.shape[0],), (n,))
    draw_mask(mask, n, rate, check_unsigned("seed", seed, 64), check_unsigned("step", step, 64),
              check_unsigned("layer", layer, 32), threads)
    cdef float scale = kept_scale(rate)
    for block in prange((n + BLOCK - 1) // BLOCK, nogil=True,
                        num_threads=threads, use_threads_if=threads > 1):
        apply_mask(&x[block * BLOCK], &mask[block * BLOCK], scale, &y[block * BLOCK],
                   min(n - block * BLOCK, <Py_ssize_t>BLOCK))


def dropout_backward(
    const float[::1] dy not None, const uint8_t[::1] mask not None, float[::1] dx not None,  # (n,)
    p, num_threads,
):
    """dx = dy / (1 - p) where kept, else 0. Raises ValueError as the forward pass does."""
    cdef int threads = check_threads(num_threads, <double>dy.shape[0])
    cdef float scale = kept_scale(check_probability("p", p))
    cdef Py_ssize_t n = dy.shape[0], block
    check_shape("mask", (mask.shape[0],), (n,))
    check_shape("dx", (dx.shape[0],), (n,))
    for block in prange((n + BLOCK - 1) // BLOCK, nogil=True,
                        num_threads=threads, use_threads_if=threads > 1):
        apply_mask(&dy[block * BLOCK], &mask[block * BLOCK], scale, &dx[block * BLOCK],
                   min(n - block * BLOCK, <Py_ssize_t>BLOCK))


def dropout2d_forward(
    const float[:, :, ::1] x not None,      # (N, C, S), S = H * W
    float[:, :, ::1] y not None,            # (N, C, S)
    uint8_t[:, ::1] mask not None,          # (N, C), 1 = kept
    p, seed, step, layer, num_threads,
):
    """Drop each plane (n, c) as a whole; it counts as element n * C + c.

    Raises ValueError when shapes disagree, C or S is 0, or p is not in [0, 1].
    """
    cdef int threads = check_threads(num_threads, <double>x.size)
    cdef double rate = check_probability("p", p)
    check_planes(x, y, mask, "y")
    if x.shape[0] == 0:
        return
    draw_mask(<uint8_t[:mask.size]>&mask[0, 0], mask.size, rate, check_unsigned("seed", seed, 64),
              check_unsigned("step", step, 64), check_unsigned("layer", layer, 32), threads)
    scale_planes(x, mask, kept_scale(rate), y, threads)


def dropout2d_backward(
    const float[:, :, ::1] dy not None,         # (N, C, S)
    const uint8_t[:, ::1] mask not None,        # (N, C)
    float[:, :, ::1] dx not None,               # (N, C, S)
    p, num_threads,
):
    """dx = dy / (1 - p) in the planes that were kept, else 0. Raises as the forward pass."""
    cdef int threads = check_threads(num_threads, <double>dy.size)
    cdef float scale = kept_scale(check_probability("p", p))
    check_planes(dy, dx, mask, "dx")
    if dy.shape[0]:
        scale_planes(dy, mask, scale, dx, threads)


def philox4x32(
    const uint32_t[::1] counter not None, const uint32_t[::1] key not None,
    uint32_t[::1] out not None,
):
    """out (4,) = ten rounds of Philox4x32 on counter (4,) under key (2,)."""
    check_shape("counter", (counter.shape[0],), (4,))
    check_shape("key", (key.shape[0],), (2,))
    check_shape("out", (out.shape[0],), (4,))
    philox(counter[0], counter[1], counter[2], counter[3], key[0], key[1], &out[0])


cdef void philox(
    uint32_t c0, uint32_t c1, uint32_t c2, uint32_t c3, uint32_t k0, uint32_t k1, uint32_t* out
) noexcept nogil:
    cdef uint64_t p0, p1
    for _ in range(10):
        p0 = <uint64_t>0xD2511F53 * c0
        p1 = <uint64_t>0xCD9E8D57 * c2
        c0 = <uint32_t>(p1 >> 32) ^ c1 ^ k0
        c1 = <uint32_t>p1
        c2 = <uint32_t>(p0 >> 32) ^ c3 ^ k1
        c3 = <uint32_t>p0
        k0 += <uint32_t>0x9E3779B9          # Weyl sequences: golden ratio and sqrt(3) - 1
        k1 += <uint32_t>0xBB67AE85
    out[0] = c0
    out[1] = c1
    out[2] = c2
    out[3] = c3


cdef draw_mask(
    uint8_t[::1] mask, Py_ssize_t n, double p, uint64_t seed, uint64_t step, uint32_t layer,
    int threads,
):
    """mask[i] = 1 where u_i >= p. Raises ValueError when the mask has not n elements."""
    cdef Py_ssize_t block
    cdef uint64_t threshold = <uint64_t>ceil(p * 4294967296.0)      # u >= p as integers
    check_shape("mask", (mask.shape[0],), (n,))
    if n > MAX_ELEMENTS:
        raise ValueError(f"dropout takes at most {MAX_ELEMENTS} elements, got {n}")
    for block in prange((n + BLOCK - 1) // BLOCK, nogil=True,
                        num_threads=threads, use_threads_if=threads > 1):
        draw_block(mask, block * BLOCK, min((block + 1) * BLOCK, n), threshold, seed, step, layer)


cdef void draw_block(
    uint8_t[::1] mask, Py_ssize_t first, Py_ssize_t last, uint64_t threshold,
    uint64_t seed, uint64_t step, uint32_t layer,
) noexcept nogil:
    cdef uint32_t word[4]
    cdef Py_ssize_t group, i
    for group in range(first // 4, (last + 3) // 4):
        philox(<uint32_t>group, layer, <uint32_t>step, <uint32_t>(step >> 32),
               <uint32_t>seed, <uint32_t>(seed >> 32), word)
        for i in range(4 * group, min(4 * group + 4, last)):
            mask[i] = word[i - 4 * group] >= threshold


cdef float kept_scale(double p) noexcept nogil:
    return <float>(1.0 / (1.0 - p)) if p < 1.0 else 0.0


cdef void apply_mask(
    const float* x, const uint8_t* mask, float scale, float* y, Py_ssize_t n
) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        y[i] = x[i] * scale if mask[i] else 0.0         # a choice, so that a dropped NaN is 0


cdef check_planes(
    const float[:, :, ::1] x, const float[:, :, ::1] y, const uint8_t[:, ::1] mask, name
):
    shape = (x.shape[0], x.shape[1], x.shape[2])
    check_not_empty("the input", shape, first_axis=1)
    check_shape(name, (y.shape[0], y.shape[1], y.shape[2]), shape)
    check_shape("mask", (mask.shape[0], mask.shape[1]), shape[:2])


cdef void scale_planes(
    const float[:, :, ::1] x, const uint8_t[:, ::1] mask, float scale, float[:, :, ::1] y,
    int threads,
) noexcept nogil:
    cdef Py_ssize_t C = x.shape[1], plane, i
    for plane in prange(x.shape[0] * C, num_threads=threads, use_threads_if=threads > 1):
        for i in range(x.shape[2]):
            y[plane // C, plane % C, i] = (
                x[plane // C, plane % C, i] * scale if mask[plane // C, plane % C] else 0.0)
