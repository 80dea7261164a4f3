"""Element-wise activations on flat arrays: y = f(x) and dx = f'(x) dy.

    x, y, dx, dy, saved (n,)      `saved` is what the derivative is written in:

    the input x     relu, leaky_relu, gelu, gelu_tanh, silu
    the output y    sigmoid, tanh         (for relu the output does as well)

All but relu and leaky_relu work in double and round once, so they are accurate and finite for
every finite input. An output may be the same array as an input. NaN stays NaN.
"""

from cython.parallel cimport prange
from libc.math cimport M_2_SQRTPI, M_PI, M_SQRT1_2, erfc, exp, fabs, sqrt
from libc.math cimport tanh as c_tanh

from minicnn.kernels.checks import check_shape, check_threads

cdef enum:
    BLOCK = 8192        # elements that a thread takes at a time

ctypedef void (*Forward)(const float* x, float* y, Py_ssize_t n, float slope) noexcept nogil
ctypedef void (*Backward)(
    const float* saved, const float* dy, float* dx, Py_ssize_t n, float slope) noexcept nogil


# --- relu: f(x) = max(x, 0) ------------------------------------------------------------------

cdef void relu(const float* x, float* y, Py_ssize_t n, float slope) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        y[i] = 0.0 if x[i] <= 0.0 else x[i]         # written so that NaN is passed on


cdef void relu_gradient(
    const float* saved, const float* dy, float* dx, Py_ssize_t n, float slope
) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        dx[i] = 0.0 if saved[i] <= 0.0 else dy[i]   # 0 at 0, dy at NaN, as PyTorch


# --- leaky_relu: f(x) = x for x > 0, else slope x --------------------------------------------

cdef void leaky_relu(const float* x, float* y, Py_ssize_t n, float slope) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        y[i] = x[i] if x[i] > 0.0 else slope * x[i]


cdef void leaky_relu_gradient(
    const float* saved, const float* dy, float* dx, Py_ssize_t n, float slope
) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        dx[i] = dy[i] if saved[i] > 0.0 else slope * dy[i]


# --- sigmoid: f(x) = 1 / (1 + exp(-x)) -------------------------------------------------------

cdef inline double logistic(double x) noexcept nogil:
    """The sigmoid; the exponent is never positive, so nothing overflows."""
    cdef double e = exp(-fabs(x))
    return (1.0 if x >= 0.0 else e) / (1.0 + e)


cdef void sigmoid(const float* x, float* y, Py_ssize_t n, float slope) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        y[i] = <float>logistic(x[i])


cdef void sigmoid_gradient(
    const float* saved, const float* dy, float* dx, Py_ssize_t n, float slope
) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        dx[i] = <float>(dy[i] * (saved[i] * (1.0 - <double>saved[i])))


# --- tanh ------------------------------------------------------------------------------------

cdef void tanh(const float* x, float* y, Py_ssize_t n, float slope) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        y[i] = <float>c_tanh(x[i])


cdef void tanh_gradient(
    const float* saved, const float* dy, float* dx, Py_ssize_t n, float slope
) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        dx[i] = <float>(dy[i] * (1.0 - <double>saved[i] * saved[i]))


# --- gelu: f(x) = x Phi(x), Phi the normal distribution function (Hendrycks & Gimpel 2016) ---

cdef inline double normal_cdf(double x) noexcept nogil:
    return 0.5 * erfc(-x * M_SQRT1_2)       # erfc, because 1 + erf cancels for x < 0


cdef void gelu(const float* x, float* y, Py_ssize_t n, float slope) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        y[i] = <float>(x[i] * normal_cdf(x[i]))


cdef void gelu_gradient(
    const float* saved, const float* dy, float* dx, Py_ssize_t n, float slope
) noexcept nogil:
    cdef Py_ssize_t i
    cdef double x, density
    for i in range(n):
        x = saved[i]
        density = exp(-0.5 * x * x) / sqrt(2.0 * M_PI)
        dx[i] = <float>(dy[i] * (normal_cdf(x) + x * density))


# --- gelu_tanh: f(x) = x s(2u), u = sqrt(2/pi) (x + 0.044715 x^3), s the sigmoid -------------
# The usual form is x (1 + tanh u) / 2; s(2u) is the same number without the cancellation.

cdef inline double inner(double x) noexcept nogil:
    return M_2_SQRTPI * M_SQRT1_2 * (x + 0.044715 * x * x * x)


cdef void gelu_tanh(const float* x, float* y, Py_ssize_t n, float slope) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        y[i] = <float>(x[i] * logistic(2.0 * inner(x[i])))


cdef void gelu_tanh_gradient(
    const float* saved, const float* dy, float* dx, Py_ssize_t n, float slope
) noexcept nogil:
    cdef Py_ssize_t i
    cdef double x, u, s, du
    for i in range(n):
        x = saved[i]
        u = 2.0 * inner(x)
        s = logistic(u)
        du = 2.0 * M_2_SQRTPI * M_SQRT1_2 * (1.0 + 3.0 * 0.044715 * x * x)
        dx[i] = <float>(dy[i] * (s + x * (s * logistic(-u)) * du))


# --- silu: f(x) = x s(x), s the sigmoid ------------------------------------------------------

cdef void silu(const float* x, float* y, Py_ssize_t n, float slope) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        y[i] = <float>(x[i] * logistic(x[i]))


cdef void silu_gradient(
    const float* saved, const float* dy, float* dx, Py_ssize_t n, float slope
) noexcept nogil:
    cdef Py_ssize_t i
    cdef double x, s
    for i in range(n):
        x = saved[i]
        s = logistic(x)
        dx[i] = <float>(dy[i] * (s + x * (s * logistic(-x))))


# --- what Python sees ------------------------------------------------------------------------

cdef apply(Forward f, const float[::1] x, float slope, float[::1] y, num_threads):
    """y = f(x), a block at a time. Raises ValueError when the lengths differ."""
    cdef int threads = check_threads(num_threads, <double>x.shape[0])
    cdef Py_ssize_t n = x.shape[0], block
    check_shape("y", (y.shape[0],), (n,))
    if n == 0:
        return
    cdef const float* source = &x[0]
    cdef float* target = &y[0]
    for block in prange((n + BLOCK - 1) // BLOCK, nogil=True, schedule="static",
                        num_threads=threads, use_threads_if=threads > 1):
        f(source + block * BLOCK, target + block * BLOCK,
          min(n - block * BLOCK, <Py_ssize_t>BLOCK), slope)


cdef apply_gradient(
    Backward f, const float[::1] saved, const float[::1] dy, float slope, float[::1] dx,
    num_threads,
):
    """dx = f'(saved) dy, a block at a time. Raises ValueError when the lengths differ."""
    cdef int threads = check_threads(num_threads, <double>saved.shape[0])
    cdef Py_ssize_t n = saved.shape[0], block
    check_shape("dy", (dy.shape[0],), (n,))
    check_shape("dx", (dx.shape[0],), (n,))
    if n == 0:
        return
    cdef const float* source = &saved[0]
    cdef const float* upstream = &dy[0]
    cdef float* target = &dx[0]
    for block in prange((n + BLOCK - 1) // BLOCK, nogil=True, schedule="static",
                        num_threads=threads, use_threads_if=threads > 1):
        f(source + block * BLOCK, upstream + block * BLOCK, target + block * BLOCK,
          min(n - block * BLOCK, <Py_ssize_t>BLOCK), slope)


def relu_forward(const float[::1] x not None, float[::1] y not None, num_threads):
    apply(relu, x, 0.0, y, num_threads)


def relu_backward(
    const float[::1] saved not None, const float[::1] dy not None, float[::1] dx not None,
    num_threads,
):
    apply_gradient(relu_gradient, saved, dy, 0.0, dx, num_threads)


def leaky_relu_forward(
    const float[::1] x not None, float[::1] y not None, float slope, num_threads,
):
    apply(leaky_relu, x, slope, y, num_threads)


def leaky_relu_backward(
    const float[::1] saved not None, const float[::1] dy not None, float[::1] dx not None,
    float slope, num_threads,
):
    apply_gradient(leaky_relu_gradient, saved, dy, slope, dx, num_threads)


def sigmoid_forward(const float[::1] x not None, float[::1] y not None, num_threads):
    apply(sigmoid, x, 0.0, y, num_threads)


def sigmoid_backward(
    const float[::1] saved not None, const float[::1] dy not None, float[::1] dx not None,
    num_threads,
):
    apply_gradient(sigmoid_gradient, saved, dy, 0.0, dx, num_threads)


def tanh_forward(const float[::1] x not None, float[::1] y not None, num_threads):
    apply(tanh, x, 0.0, y, num_threads)


def tanh_backward(
    const float[::1] saved not None, const float[::1] dy not None, float[::1] dx not None,
    num_threads,
):
    apply_gradient(tanh_gradient, saved, dy, 0.0, dx, num_threads)


def gelu_forward(const float[::1] x not None, float[::1] y not None, num_threads):
    apply(gelu, x, 0.0, y, num_threads)


def gelu_backward(
    const float[::1] saved not None, const float[::1] dy not None, float[::1] dx not None,
    num_threads,
):
    apply_gradient(gelu_gradient, saved, dy, 0.0, dx, num_threads)


def gelu_tanh_forward(const float[::1] x not None, float[::1] y not None, num_threads):
    apply(gelu_tanh, x, 0.0, y, num_threads)


def gelu_tanh_backward(
    const float[::1] saved not None, const float[::1] dy not None, float[::1] dx not None,
    num_threads,
):
    apply_gradient(gelu_tanh_gradient, saved, dy, 0.0, dx, num_threads)


def silu_forward(const float[::1] x not None, float[::1] y not None, num_threads):
    apply(silu, x, 0.0, y, num_threads)


def silu_backward(
    const float[::1] saved not None, const float[::1] dy not None, float[::1] dx not None,
    num_threads,
):
    apply_gradient(silu_gradient, saved, dy, 0.0, dx, num_threads)
