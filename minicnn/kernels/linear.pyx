"""Linear: y = x Wᵀ + b.

    x (N, I)   weight (O, I)   bias (O,)   y (N, O)      I = in_features, O = out_features

    forward     y[n, o]  = bias[o] + sum_i x[n, i] weight[o, i]
    backward    dx[n, i] = sum_o dy[n, o] weight[o, i]
                dweight[o, i] = sum_n dy[n, o] x[n, i]
                dbias[o] = sum_n dy[n, o]

The three sums are one matrix product, `out[r, c] = sum_t a[r, t] b[t, c]`, read with different
strides. Threads share out blocks of `out`; the sum over t is cut at fixed places.
"""

from cython.parallel cimport prange
from minicnn.kernels.tile cimport LANES, ROWS, multiply_tile, pack_panel

from minicnn.kernels.checks import check_not_empty, check_shape, check_threads

cdef enum:
    DEPTH_BLOCK = 512       # 512 x 8 floats are 16 KiB: a panel stays in the first-level cache
    ROW_BLOCK = 64          # rows that reuse one packed panel

# A matrix that is read through strides: element (i, j) is data[i * row + j * column].
cdef struct Matrix:
    const float* data
    Py_ssize_t row
    Py_ssize_t column


def linear_forward(
    const float[:, ::1] x not None,         # (N, I)
    const float[:, ::1] weight not None,    # (O, I)
    const float[::1] bias,                  # (O,) or None
    float[:, ::1] y not None,               # (N, O)
    num_threads,
):
    """y = x Wᵀ + bias. Raises ValueError when shapes disagree or I or O is 0."""
    cdef Py_ssize_t N = x.shape[0], in_features = x.shape[1], out_features = weight.shape[0]
    cdef int threads = check_threads(num_threads, <double>N * in_features * out_features)
    check_not_empty("weight", (out_features, weight.shape[1]))
    check_shape("weight", (out_features, weight.shape[1]), (out_features, in_features))
    check_shape("y", (y.shape[0], y.shape[1]), (N, out_features))
    cdef const float* start = NULL
    if bias is not None:
        check_shape("bias", (bias.shape[0],), (out_features,))
        start = &bias[0]
    if N == 0:
        return
    with nogil:                             # y (N, O) = x (N, I) · Wᵀ (I, O)
        multiply(Matrix(&x[0, 0], in_features, 1), Matrix(&weight[0, 0], 1, in_features), start,
                 &y[0, 0], N, out_features, in_features, threads)


def linear_backward_input(
    const float[:, ::1] dy not None,        # (N, O)
    const float[:, ::1] weight not None,    # (O, I)
    float[:, ::1] dx not None,              # (N, I)
    num_threads,
):
    """dx = dy W. Raises ValueError when shapes disagree or I or O is 0."""
    cdef Py_ssize_t N = dy.shape[0], out_features = weight.shape[0], in_features = weight.shape[1]
    cdef int threads = check_threads(num_threads, <double>N * in_features * out_features)
    check_not_empty("weight", (out_features, in_features))
    check_shape("dy", (N, dy.shape[1]), (N, out_features))
    check_shape("dx", (dx.shape[0], dx.shape[1]), (N, in_features))
    if N == 0:
        return
    with nogil:                             # dx (N, I) = dy (N, O) · W (O, I)
        multiply(Matrix(&dy[0, 0], out_features, 1), Matrix(&weight[0, 0], in_features, 1), NULL,
                 &dx[0, 0], N, in_features, out_features, threads)


def linear_backward_weight(
    const float[:, ::1] x not None,         # (N, I)
    const float[:, ::1] dy not None,        # (N, O)
    float[:, ::1] dweight not None,         # (O, I)
    float[::1] dbias,                       # (O,) or None
    num_threads,
):
    """dweight = dyᵀ x and dbias = sum of dy over the batch; both 0 for an empty batch.

    Raises ValueError when shapes disagree or I or O is 0.
    """
    cdef Py_ssize_t N = x.shape[0], in_features = x.shape[1], out_features = dy.shape[1]
    cdef int threads = check_threads(num_threads, <double>N * in_features * out_features)
    check_not_empty("x", (N, in_features), first_axis=1)
    check_not_empty("dy", (dy.shape[0], out_features), first_axis=1)
    check_shape("dy", (dy.shape[0], out_features), (N, out_features))
    check_shape("dweight", (dweight.shape[0], dweight.shape[1]), (out_features, in_features))
    if dbias is not None:
        check_shape("dbias", (dbias.shape[0],), (out_features,))
        sum_columns(dy, dbias)
    if N == 0:
        dweight[...] = 0.0
        return
    with nogil:                             # dW (O, I) = dyᵀ (O, N) · x (N, I)
        multiply(Matrix(&dy[0, 0], 1, out_features), Matrix(&x[0, 0], in_features, 1), NULL,
                 &dweight[0, 0], out_features, in_features, N, threads)


cdef void sum_columns(const float[:, ::1] dy, float[::1] dbias) noexcept nogil:
    cdef Py_ssize_t n, o
    cdef double total
    for o in range(dy.shape[1]):
        total = 0.0
        for n in range(dy.shape[0]):
            total += dy[n, o]
        dbias[o] = <float>total


cdef void multiply(
    Matrix a,                   # (rows, depth)
    Matrix b,                   # (depth, columns)
    const float* bias,          # (columns,) or NULL: what each sum starts from
    float* out,                 # (rows, columns)
    Py_ssize_t rows, Py_ssize_t columns, Py_ssize_t depth, int threads,
) noexcept nogil:
    cdef Py_ssize_t column_blocks = (columns + LANES - 1) // LANES
    cdef Py_ssize_t row_blocks = (rows + ROW_BLOCK - 1) // ROW_BLOCK
    cdef Py_ssize_t task
    for task in prange(row_blocks * column_blocks, schedule="static",
                       num_threads=threads, use_threads_if=threads > 1):
        multiply_block(a, b, bias, out, rows, columns, depth,
                       task // column_blocks * ROW_BLOCK, task % column_blocks * LANES)


cdef void multiply_block(
    Matrix a, Matrix b, const float* bias, float* out,
    Py_ssize_t rows, Py_ssize_t columns, Py_ssize_t depth,
    Py_ssize_t first_row, Py_ssize_t first_column,
) noexcept nogil:
    """out[first_row : + ROW_BLOCK, first_column : + LANES], complete."""
    cdef float panel[4096]              # (DEPTH_BLOCK, LANES)
    cdef Py_ssize_t step[512]           # (DEPTH_BLOCK,)
    cdef float sums[32]                 # (ROWS, LANES)
    cdef Py_ssize_t last_row = min(first_row + ROW_BLOCK, rows)
    cdef Py_ssize_t lanes = min(columns - first_column, <Py_ssize_t>LANES)
    cdef Py_ssize_t part, start, count, tile, t, r, i, j
    cdef const float* base
    cdef float* target
    cdef float before

    for part in range((depth + DEPTH_BLOCK - 1) // DEPTH_BLOCK):
        start = part * DEPTH_BLOCK
        count = min(depth - start, <Py_ssize_t>DEPTH_BLOCK)
        # 1. Gather count x 8 values of b side by side.
        pack_panel(b.data + start * b.row + first_column * b.column,
                   b.row, b.column, count, lanes, panel)
        for t in range(count):
            step[t] = t * a.column
        # 2. Four rows at a time; rows past the last repeat it and are not stored.
        base = a.data + start * a.column
        for tile in range((last_row - first_row + ROWS - 1) // ROWS):
            r = first_row + tile * ROWS
            multiply_tile(base + r * a.row,
                          base + min(r + 1, last_row - 1) * a.row,
                          base + min(r + 2, last_row - 1) * a.row,
                          base + min(r + 3, last_row - 1) * a.row,
                          step, panel, count, sums)
            # 3. The first part of the sum starts from the bias, later parts are added.
            for i in range(min(<Py_ssize_t>ROWS, last_row - r)):
                target = out + (r + i) * columns + first_column
                for j in range(lanes):
                    before = target[j] if start > 0 else bias[first_column + j] if bias else 0.0
                    target[j] = before + sums[LANES * i + j]
